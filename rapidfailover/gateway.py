"""What an answer means: the status it should have had, and for how long to stay away. Pure: no I/O,
no clock.

RapidAPI's gateway writes errors of its own in front of a provider's, and reuses codes for them: two
of its three 401s are not about the key, its 429 can mean one second or one month, and an outage can
come with a 200. Its own words are whole sentences at the start of ``message`` (or ``messages`` and
``info``), at the top of a JSON object; what a provider says in other words or elsewhere never
counts as the gateway's. What is not recognised passes through as it came.
"""

from __future__ import annotations

import json
import math
import re
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from .config import texts_in
from .fork import pass_on
from .payload import SAID, beginning, check_depth, clean, parse
from .quota import Quota

__all__ = ["Meaning", "interpret"]


_MINUTE, _HOUR = 60.0, 3600.0
_MONTH = 31 * 86400.0  # the longest time until a quota resets
_YEAR_2001 = 1e9  # a reset beyond is a timestamp


class _Sentence(NamedTuple):
    """What the gateway says with a status, and what it means."""

    status: int
    says: re.Pattern[str]  # of a message in lower case, on one line, from its start
    meant: int
    hold: float | None = None  # seconds; inf: until the quota resets
    window: float | None = None  # seconds, of a rate limit
    names_host: bool = False  # a person has to do something about that host


def _sentence(text: str) -> re.Pattern[str]:
    """A whole sentence: something else may follow, but the sentence does not go on."""
    return re.compile(rf"(?:{text})\s*(?:[.!](?:\s|$)|$)")


_PLAN = r"for your plan(?:, .{1,80})?"

# The gateway's own sentences (rapidapi.md, B). A provider that says one of their phrases in a
# sentence of its own talks about an item ("You are not subscribed to this creator"), and is left
# alone.
_GATEWAY: tuple[_Sentence, ...] = (
    _Sentence(
        401,
        _sentence(r"invalid api key\. go to https?://docs\.rapidapi\.com\S*( for more info)?"),
        401,
    ),
    _Sentence(401, _sentence(r"this endpoint is disabled for your subscription"), 403, _HOUR),
    _Sentence(401, _sentence(r"blocked user\. please contact your api provider"), 403, _HOUR),
    _Sentence(403, _sentence(r"you are not subscribed to this api"), 403, _HOUR, names_host=True),
    _Sentence(404, _sentence(r"api doesn.?t exists?"), 403, _HOUR),
    # our route is wrong
    _Sentence(404, _sentence(r"endpoint ('/\S*'|\"/\S*\"|/\S*) does not exist"), 403),
    _Sentence(
        429,
        _sentence(
            r"you have exceeded the \w+ quota for "
            r"(requests|[\w ./-]{1,60} on your current plan(, .{1,80})?)"
        ),
        429,
        math.inf,
    ),
    _Sentence(
        429, _sentence(rf"you have exceeded the rate limit per second {_PLAN}"), 429, 1.0, 1.0
    ),
    _Sentence(
        429,
        _sentence(rf"you have exceeded the rate limit per minute {_PLAN}"),
        429,
        _MINUTE,
        _MINUTE,
    ),
    _Sentence(
        429, _sentence(rf"you have exceeded the rate limit per hour {_PLAN}"), 429, _HOUR, _HOUR
    ),
    _Sentence(429, _sentence(r"too many requests"), 429, 1.0),
    _Sentence(500, _sentence(r"oops, an error in the gateway has occurred"), 500),
)

# A provider's own rate limit, in so many words: "Free Api Limit: 1 request/second." (TikTok's
# vendor: B at its own site, not seen at the RapidAPI host). It speaks of requests, so it is about
# the account and not about an item.
_RATES: tuple[_Sentence, ...] = tuple(
    _Sentence(
        429,
        _sentence(
            rf"(free |your )?(api |rate |request )?limit:? [0-9]{{1,6}} requests? ?(/|per) ?{unit}"
        ),
        429,
        seconds,
        seconds,
    )
    for unit, seconds in (("second", 1.0), ("minute", _MINUTE), ("hour", _HOUR))
)

# X-RateLimit-Minute-Remaining and the like: a rate limit's window, which is no quota of the plan.
_WINDOWS: Mapping[str, float] = {"second": 1.0, "minute": _MINUTE, "hour": _HOUR, "burst": 1.0}

Check = Callable[[str, Any], int]


class Meaning(NamedTuple):
    """An answer as the matrix should see it."""

    status: int
    # why: the gateway's or the provider's words, or what is wrong with the payload
    detail: str = ""
    data: Any = None  # decoded JSON of a success
    # seconds to stay away, where the answer says so; inf: nobody knows how long
    hold: float | None = None
    quota: Quota = Quota()
    window: float | None = None  # seconds, of the rate limit that a 429 names: 1, 60 or 3600


def interpret(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    endpoint: str = "/",
    check: Check | None = None,
    adapt: Callable[[Any], Any] | None = None,
    host: str = "",
) -> Meaning:
    """Translate one whole answer, its body in UTF-8 and without content encoding.

    ``host`` is the one that was asked, to be named where a person has to subscribe to it.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    quota = _quota(fields)
    if 200 <= status < 300:
        meaning = _success(status, body, endpoint, check, fields, quota, host)
        meaning = _adapted(meaning, adapt) if adapt and meaning.data is not None else meaning
    else:
        meaning = _error(status, body, fields, quota, host)
    return meaning if meaning.quota.is_known() else meaning._replace(quota=quota)


def _success(
    status: int,
    body: bytes,
    endpoint: str,
    check: Check | None,
    fields: Mapping[str, str],
    quota: Quota,
    host: str,
) -> Meaning:
    """A 2xx: only if it carries an object or an array of JSON that passes the provider's own
    check.
    """
    # some providers send it for "nothing found" (C); it has no body (RFC 9110 §15.3.5)
    if status == 204:
        return Meaning(204, "no content")
    try:
        data = parse(body)
    except ValueError as problem:
        return Meaning(502, f"bad payload: {problem}")
    outage = _outage(data)
    if outage is not None:
        return outage
    if isinstance(data, dict) and set(data) == {"message"}:
        sentence = _sentence_in(_GATEWAY, data["message"])
        if sentence is not None:  # the gateway's own errors come with a 200, too
            return _meant(sentence, _words(data, body), fields, quota, host)
    if check is None:
        return Meaning(status, "", data)
    try:
        meant: Any = check(endpoint, data)
    except Exception as problem:  # a provider's or a user's function, on data that nobody foresaw
        pass_on(problem)
        return Meaning(502, f"bad payload: its check raised {type(problem).__name__}")
    if meant == 200:
        return Meaning(status, "", data)
    words = _words(data, body)
    if not isinstance(meant, int) or not 300 <= meant <= 599 or meant in (400, 422, 502):
        # A 400 from an envelope is not known to be about the caller's own parameters.
        return Meaning(502, f"bad payload: {words}".rstrip(": "))
    meaning = Meaning(
        meant,
        f"a {status} that means {meant}: {words}" if words else f"a {status} that means {meant}",
    )
    return _with_rate(meaning, words, fields) if meant == 429 else meaning


def _error(status: int, body: bytes, fields: Mapping[str, str], quota: Quota, host: str) -> Meaning:
    """Any other status: the gateway's own words, else what a provider or its web server said."""
    data = _json(body)
    outage = _outage(data)
    if outage is not None:
        return outage
    words = _words(data, body)
    row = [sentence for sentence in _GATEWAY if sentence.status == status]
    sentence = _sentence_in(row, data.get("message") if isinstance(data, dict) else None)
    if sentence is not None:
        return _meant(sentence, words, fields, quota, host)
    if status == 401 and (
        "www-authenticate" in fields or isinstance(data, dict) and data and "message" not in data
    ):
        return Meaning(403, f"the provider's own 401: {words}".rstrip(": "))  # not about our key
    if status == 404 and (not isinstance(data, (dict, list)) or data == {"detail": "Not Found"}):
        # From Express, FastAPI, nginx and the like: no application has looked for the item.
        return Meaning(403, f"a web server's own 404, the route is gone: {words}".rstrip(": "))
    if status == 429:
        return _until_reset(_with_rate(Meaning(429, words), words, fields), quota)
    return Meaning(status, words, None, _told_to_wait(fields) if status == 503 else None)


def _sentence_in(sentences: Iterable[_Sentence], message: Any) -> _Sentence | None:
    """The sentence that a message begins with."""
    if not isinstance(message, str):
        return None
    message = " ".join(message[:1000].lower().split())
    return next((sentence for sentence in sentences if sentence.says.match(message)), None)


def _meant(
    sentence: _Sentence,
    words: str,
    fields: Mapping[str, str],
    quota: Quota,
    host: str,
) -> Meaning:
    """What the gateway's own sentence comes to."""
    detail = f"{words} ({host})" if sentence.names_host and host else words
    meaning = Meaning(sentence.meant, detail, hold=sentence.hold, window=sentence.window)
    if meaning.status != 429:
        return meaning
    seconds = _retry_after(fields)
    if seconds is not None and meaning.hold != math.inf:
        meaning = meaning._replace(hold=seconds)
    return _until_reset(meaning, quota)


def _with_rate(meaning: Meaning, words: str, fields: Mapping[str, str]) -> Meaning:
    """A provider's own 429: for how long, and of which window, if its headers or its words say
    so.
    """
    sentence = _sentence_in(_RATES, words)
    used_up = [
        unit for unit in _WINDOWS if fields.get(f"x-ratelimit-{unit}-remaining", "").strip() == "0"
    ]
    hold, window = (sentence.hold, sentence.window) if sentence else (None, None)
    if sentence is None and used_up:
        longest = max(used_up, key=_WINDOWS.__getitem__)
        reset = _seconds(fields.get(f"x-ratelimit-{longest}-reset"), fields)
        hold = _WINDOWS[longest] if reset is None else min(reset, _WINDOWS[longest])
        window = None if longest == "burst" else _WINDOWS[longest]
    seconds = _retry_after(fields)
    return meaning._replace(hold=hold if seconds is None else seconds, window=window)


def _retry_after(fields: Mapping[str, str]) -> float | None:
    """Seconds to stay away, by ``Retry-After`` or the provider's own limiter."""
    hold = _told_to_wait(fields)
    if hold is None and fields.get("x-ratelimit-remaining") == "0":
        hold = _seconds(fields.get("x-ratelimit-reset"), fields)
    return hold


def _told_to_wait(fields: Mapping[str, str]) -> float | None:
    """Seconds, by ``Retry-After``. A number that is no moment to come is seconds, however many."""
    text = fields.get("retry-after")
    seconds = _seconds(text, fields)
    return _MONTH if seconds is None and re.match(r"\s*[0-9]{10,18}\s*$", text or "") else seconds


def _until_reset(meaning: Meaning, quota: Quota) -> Meaning:
    """Where a 429 means the quota, hold until its reset, whatever else the answer says."""
    if meaning.hold != math.inf and quota.left != 0:
        return meaning
    hold = math.inf if quota.reset is None else quota.reset
    return meaning._replace(hold=hold, quota=quota._replace(left=0) if quota.is_known() else quota)


def _adapted(meaning: Meaning, adapt: Callable[[Any], Any]) -> Meaning:
    """A success in the shape of the platform's primary, as JSON would have it."""
    try:
        data = json.loads(json.dumps(adapt(meaning.data), allow_nan=False))
    except Exception as problem:  # a provider's or a user's function
        pass_on(problem)
        return Meaning(502, f"bad payload: its adapt raised {type(problem).__name__}")
    if not isinstance(data, (dict, list)):
        return Meaning(502, "bad payload: its adapt gave neither an object nor an array")
    return meaning._replace(data=data)


def _outage(data: Any) -> Meaning | None:
    """The gateway's 502 and 504, which it sends at any status: two texts and nothing else, in its
    own words.
    """
    if (
        not isinstance(data, dict)
        or set(data) != {"messages", "info"}
        or not all(isinstance(text, str) for text in data.values())
    ):
        return None
    words = " ".join(f"{data['messages'][:1000]} {data['info'][:1000]}".lower().split())
    if not _OUTAGE.search(words):
        return None
    timed_out = re.search(r"timed out|took too long", words)
    return Meaning(504 if timed_out else 502, clean(f"{data['messages']} {data['info']}"))


# How its messages begin, and the drawing in its info.
_OUTAGE = re.compile(
    r"^the api is unreachable\b|^the request to the api has timed out\b|---> api \("
)


_KINDS = {"limit": "limit", "remaining": "left", "reset": "reset"}  # of the headers


def _quota(fields: Mapping[str, str]) -> Quota:
    """The plan's quota: of the billing object that is used up, else of requests, else of any other.

    The hard limit of free plans is the platform's ceiling, it says nothing about the plan
    (rapidapi.md). Nor does the window of a rate limit.
    """
    quotas: dict[str, Quota] = {}
    for name, value in fields.items():
        if name.startswith("x-ratelimit-") and "hard-limit" not in name:
            billed, _, kind = name[len("x-ratelimit-") :].rpartition("-")
            number = _seconds(value, fields) if kind == "reset" else _number(value)
            is_plan = billed and _WINDOWS.keys().isdisjoint(billed.split("-"))
            if is_plan and kind in _KINDS and number is not None:
                known = quotas.get(billed, Quota())
                quotas[billed] = known._replace(**{_KINDS[kind]: number})
    if not quotas:
        return Quota()
    used_up = [quota for quota in quotas.values() if quota.left == 0]
    return used_up[0] if used_up else quotas.get("requests") or next(iter(quotas.values()))


def _number(text: str) -> float | None:
    """A count, where it is one: 0 for a negative one (overage), None for two different ones or any
    nonsense.
    """
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not re.match(r"-?[0-9]{1,15}(\.[0-9]{1,9})?$", value):
        return None
    number = max(float(value), 0.0)
    return int(number) if number == int(number) else number


def _seconds(text: str | None, fields: Mapping[str, str]) -> float | None:
    """Seconds from the moment of the answer, given as such, as a timestamp or as an HTTP date;
    None: unknown.

    Timestamps and dates are held against the answer's own ``Date``: our clock may be off.
    """
    if text is None:
        return None
    text = text.strip()
    if re.match(r"[0-9]{1,18}$", text):
        number = float(text)
        if number < _YEAR_2001:
            return min(number, _MONTH)
        moment: float | None = number / 1000 if number > 1e12 else number
    else:
        moment = _moment(text)
    sent = _moment(fields.get("date", ""))
    if moment is None or sent is None or moment - sent > _MONTH:
        return None
    return max(moment - sent, 0.0)


def _moment(text: str) -> float | None:
    """An HTTP date as a timestamp."""
    try:
        return parsedate_to_datetime(text).timestamp() if len(text) < 50 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _json(body: bytes) -> Any:
    """The JSON in an error's body; None where there is none."""
    try:
        check_depth(body)
        return json.loads(body)
    except ValueError:
        return None


def _words(data: Any, body: bytes) -> str:
    """What an answer says in words: its message where it is an object, else how it begins."""
    if isinstance(data, dict) and data:
        return clean(next(iter(texts_in(data)), ""))
    return beginning(body, SAID)
