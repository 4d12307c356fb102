"""What an answer means: the status it should have had. Pure: no I/O, no clock.

An answer of the 2xx is only a success if it carries JSON as RFC 8259 has it, and an object or an array of
it; everything else is a bad payload, which reads as 502.
"""

import json
import math
from typing import Any, NamedTuple

__all__ = ["Meaning", "as_utf8", "clean", "interpret", "parse"]

_SAID = 200  # characters of a provider's own words that go into attempts, errors and logs
_DEEPEST = 200  # brackets within brackets; 3,000 crash the process in a thread with a stack of 128 KiB
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Meaning(NamedTuple):
    """An answer as the matrix should see it."""

    status: int
    detail: str  # why: the provider's words, or what is wrong with the payload
    data: Any  # decoded JSON of a success


def interpret(status: int, body: bytes) -> Meaning:
    """Translate one whole answer, as decoded from its content encoding."""
    if not 200 <= status < 300:
        return Meaning(status, _words(body), None)
    try:
        return Meaning(status, "", parse(body))
    except ValueError as problem:
        return Meaning(502, f"bad payload: {problem}", None)


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
        raise ValueError(f"not JSON: {_words(body, 40)!r}") from None
    if not isinstance(data, (dict, list)):
        raise ValueError(f"neither an object nor an array: {_words(body, 40)!r}")
    return data


def as_utf8(body: bytes) -> bytes:
    """JSON in UTF-8, where it came in UTF-16 or UTF-32 or with a BOM; anything else as it is."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    try:
        return body.decode(encoding).encode()
    except UnicodeError:
        return body


def clean(text: str, limit: int = _SAID) -> str:
    """Other people's words as they may stand in a log: one line, printable, no longer than ``limit``."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text[:20 * limit]).split())
    return text if len(text) <= limit else text[:limit - 1] + "…"


def _check_depth(body: bytes) -> None:
    """Before parsing, because the parser's recursion can crash the process before it is a RecursionError."""
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    outside_texts = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    depth = 0
    for bracket in outside_texts.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number that is none")
    return number


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _words(body: bytes, limit: int = _SAID) -> str:
    """What the answer says in words: its message where it is an object with one, else how it begins."""
    try:
        _check_depth(body)
        said = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict):
        told = [said[name] for name in ("message", "messages", "msg", "error") if isinstance(said.get(name), str)]
        text = told[0] if told else ""
    else:
        text = body[:4 * limit].decode("utf-8", "replace")
    return clean(text, limit)
