"""What an answer means: the status it should have had, and for how long to stay away. Pure: no I/O, no clock.

RapidAPI's gateway writes errors of its own in front of a provider's, and reuses codes for them: two of its three 401s
are not about the key, its 429 can mean one second or one month, and an outage can come with a 200. Its own
words are one text, ``message`` (or ``messages`` and ``info``), at the top of a JSON object; what a provider
says elsewhere never counts as the gateway's. What is not recognised passes through as it came.
"""

import json
import math
import re
from email.utils import parsedate_to_datetime
from itertools import accumulate
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

__all__ = ["Meaning", "as_utf8", "clean", "interpret", "parse"]

_SAID = 200  # characters of a provider's own words that go into attempts, errors and logs
_DEEPEST = 200  # brackets within brackets; 3,000 crash the process in a thread with a stack of 128 KiB
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_HOUR = 3600.0
_MONTH = 31 * 86400.0  # the longest time until a quota resets
_YEAR_2001 = 1e9  # a reset beyond is a timestamp

# status, what its message says (lower case, on one line), the status it should have had, the hold in seconds
_GATEWAY: Tuple[Tuple[int, "re.Pattern[str]", int, Optional[float]], ...] = tuple(
    (status, re.compile(says), meant, hold) for status, says, meant, hold in (
        (401, r"disabled for your subscription", 403, _HOUR),
        (401, r"blocked user", 403, _HOUR),
        (403, r"not subscribed", 403, _HOUR),
        (404, r"api doesn.?t exist", 403, _HOUR),
        (404, r"^endpoint\b.*\bdoes not exist", 403, None),  # our route is wrong, not what was asked for
        (429, r"exceeded the .{0,40}\bquota\b", 429, math.inf),  # until the reset
        (429, r"rate limit per second", 429, 1.0),
        (429, r"rate limit per minute", 429, 60.0),
        (429, r"rate limit per hour", 429, _HOUR),
        (429, r"too many requests", 429, 1.0),
    ))

Check = Callable[[str, Any], int]


class Meaning(NamedTuple):
    """An answer as the matrix should see it."""

    status: int
    detail: str = ""  # why: the gateway's or the provider's words, or what is wrong with the payload
    data: Any = None  # decoded JSON of a success
    hold: Optional[float] = None  # seconds to stay away, where the answer says so; inf: nobody knows how long
    quota: Optional[Dict[str, float]] = None  # {"limit", "remaining", "reset"}, what was told of it; seconds


def interpret(status: int, headers: Mapping[str, str], body: bytes, endpoint: str = "/",
              check: Optional[Check] = None, adapt: Optional[Callable[[Any], Any]] = None) -> Meaning:
    """Translate one whole answer, its body in UTF-8 and without content encoding."""
    fields = {name.lower(): value for name, value in headers.items()}
    quota = _quota(fields)
    if 200 <= status < 300:
        meaning = _success(status, body, endpoint, check)
        return (_adapted(meaning, adapt) if adapt and meaning.data is not None else meaning)._replace(quota=quota)
    said = _object(body)
    outage = _outage(said)
    if outage is not None:
        return outage._replace(quota=quota)
    words = _words(said, body)
    hold = _seconds(fields.get("retry-after"), fields) if status in (429, 503) else None
    if status == 429 and hold is None and fields.get("x-ratelimit-remaining") == "0":  # the provider's own limiter
        hold = _seconds(fields.get("x-ratelimit-reset"), fields)
    message = " ".join(words.lower().split()) if isinstance(said.get("message"), str) else ""
    meant = status
    for row, says, read_as, asked_for in _GATEWAY:
        if row == status and says.search(message):
            meant, hold = read_as, asked_for if hold is None or asked_for == math.inf else hold
            break
    if status == 429 and (hold == math.inf or quota is not None and quota.get("remaining") == 0):
        hold = (quota or {}).get("reset", math.inf)  # the quota, whatever else is said: no use to ask before
        quota = None if quota is None else {**quota, "remaining": 0}
    return Meaning(meant, words, None, hold, quota)


def _success(status: int, body: bytes, endpoint: str, check: Optional[Check]) -> Meaning:
    """A 2xx: only if it carries an object or an array of JSON that passes the provider's own check."""
    try:
        data = parse(body)
    except ValueError as problem:
        return Meaning(502, f"bad payload: {problem}")
    outage = _outage(data)
    if outage is not None:
        return outage
    if check is None:
        return Meaning(status, "", data)
    try:
        meant: Any = check(endpoint, data)
    except Exception as problem:  # a provider's or a user's function, on data that nobody foresaw
        return Meaning(502, f"bad payload: its check raised {type(problem).__name__}")
    if meant == 200:
        return Meaning(status, "", data)
    words = _words(data, body)
    if not isinstance(meant, int) or not 300 <= meant <= 599 or meant in (400, 422, 502):
        # 400: from an envelope, it is not known to be about the caller's own parameters.
        return Meaning(502, f"bad payload: {words}".rstrip(": "))
    return Meaning(meant, f"a {status} that means {meant}: {words}" if words else f"a {status} that means {meant}")


def _adapted(meaning: Meaning, adapt: Callable[[Any], Any]) -> Meaning:
    """A success in the shape of the platform's primary, as JSON would have it."""
    try:
        data = json.loads(json.dumps(adapt(meaning.data), allow_nan=False))
    except Exception as problem:  # as above
        return Meaning(502, f"bad payload: its adapt raised {type(problem).__name__}")
    if not isinstance(data, (dict, list)):
        return Meaning(502, "bad payload: its adapt gave neither an object nor an array")
    return meaning._replace(data=data)


def _outage(said: Any) -> Optional[Meaning]:
    """The gateway's 502 and 504, which it sends at any status: two texts and nothing else."""
    if not isinstance(said, dict) or set(said) != {"messages", "info"} \
            or not all(isinstance(text, str) for text in said.values()):
        return None
    words = clean(f"{said['messages']} {said['info']}")
    late = re.search(r"timed out|took too long", " ".join(words.lower().split()))
    return Meaning(504 if late else 502, words)


def _quota(fields: Mapping[str, str]) -> Optional[Dict[str, float]]:
    """The plan's quota: of the billing object that is used up, else of requests, else of any other.

    The hard limit of free plans is the platform's ceiling, it says nothing about the plan (rapidapi.md).
    """
    told: Dict[str, Dict[str, float]] = {}
    for name, value in fields.items():
        if name.startswith("x-ratelimit-") and "hard-limit" not in name:
            billed, _, kind = name[len("x-ratelimit-"):].rpartition("-")
            number = _seconds(value, fields) if kind == "reset" else _number(value)
            if billed and kind in ("limit", "remaining", "reset") and number is not None:
                told.setdefault(billed, {})[kind] = number
    if not told:
        return None
    used_up = [quota for quota in told.values() if quota.get("remaining") == 0]
    return used_up[0] if used_up else told.get("requests") or next(iter(told.values()))


def _number(text: str) -> Optional[float]:
    """A count, where it is one: 0 for a negative one (overage), None for two different ones or any nonsense."""
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not re.match(r"-?[0-9]{1,15}(\.[0-9]{1,9})?$", value):
        return None
    number = max(float(value), 0.0)
    return int(number) if number == int(number) else number


def _seconds(text: Optional[str], fields: Mapping[str, str]) -> Optional[float]:
    """Seconds from the moment of the answer, given as such, as a timestamp or as an HTTP date; None: unknown.

    Timestamps and dates are held against the answer's own ``Date``: our clock may be off.
    """
    if text is None:
        return None
    text = text.strip()
    if re.match(r"[0-9]{1,18}$", text):
        number = float(text)
        if number < _YEAR_2001:
            return min(number, _MONTH)
        moment: Optional[float] = number / 1000 if number > 1e12 else number
    else:
        moment = _moment(text)
    sent = _moment(fields.get("date", ""))
    if moment is None or sent is None or moment - sent > _MONTH:
        return None
    return max(moment - sent, 0.0)


def _moment(text: str) -> Optional[float]:
    """An HTTP date as a timestamp."""
    try:
        return parsedate_to_datetime(text).timestamp() if len(text) < 50 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse(body: bytes) -> Any:
    """The object or array in ``body``, or a ValueError that says what is there instead.

    UTF-8, whatever the charset of the answer says (RFC 8259 §8.1); no NaN, Infinity or 1e999 (§6).
    """
    if not body.strip():
        raise ValueError("empty")
    _check_depth(body)
    try:
        data = _decoder.decode(body.decode())
    except ValueError:
        raise ValueError(f"not JSON: {_beginning(body)!r}") from None
    if not isinstance(data, (dict, list)):
        raise ValueError(f"neither an object nor an array: {_beginning(body)!r}")
    return data


def as_utf8(body: bytes) -> bytes:
    """JSON in UTF-8, where it came in UTF-16 or UTF-32 or with a BOM; anything else as it is."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding).encode()
    except UnicodeError:  # none, but its words may be told: nothing between the letters hides what they spell
        return body.decode(encoding, "replace").encode() + b"\xff"


def clean(text: str, limit: int = _SAID) -> str:
    """Other people's words as they may stand in a log: one line, printable, no longer than ``limit``."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text[:20 * limit]).split())
    return text if len(text) <= limit else text[:limit - 1] + "…"


def _check_depth(body: bytes) -> None:
    """Before parsing, because the parser's recursion can crash the process before it is a RecursionError."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    outside_texts = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    steps = map(_STEPS.__getitem__, outside_texts.translate(None, _NO_BRACKETS))
    if max(accumulate(steps), default=0) > _DEEPEST:  # 30 ns a bracket, a loop takes 130
        raise ValueError("nested too deeply")


_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number that is none")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _object(body: bytes) -> Dict[str, Any]:
    """The JSON object in an error's body; an empty one where there is none."""
    try:
        _check_depth(body)
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _words(said: Any, body: bytes) -> str:
    """What an answer says in words: its message where it is an object, else how it begins."""
    if isinstance(said, dict) and said:
        told = [said[name] for name in ("message", "messages", "msg", "error") if isinstance(said.get(name), str)]
        return clean(told[0]) if told else ""
    return _beginning(body, _SAID)


def _beginning(body: bytes, limit: int = 40) -> str:
    return clean(body[:4 * limit].decode("utf-8", "replace"), limit)
