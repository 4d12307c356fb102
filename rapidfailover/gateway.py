"""What an answer means: the status it should have had. Pure: no I/O, no clock.

An answer of the 2xx is only a success if it carries JSON as RFC 8259 has it, and an object or an array of
it; everything else is a bad payload, which reads as 502.
"""

import json
from typing import Any, NamedTuple

__all__ = ["Meaning", "interpret", "parse"]

_SAID = 200  # characters of a provider's own words that go into attempts, errors and logs


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

    UTF-8 whatever the charset of the answer says (RFC 8259 §8.1), with the BOM and UTF-16 that
    ``json.loads`` takes; no NaN or Infinity (§6).
    """
    if not body.strip():
        raise ValueError("empty")
    try:
        data = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError(f"not JSON: {_words(body, 40)!r}") from None
    if not isinstance(data, (dict, list)):
        raise ValueError(f"neither an object nor an array: {_words(body, 40)!r}")
    return data


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _words(body: bytes, limit: int = _SAID) -> str:
    """What the answer says in words: its message where it is an object with one, else how it begins."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        told = [said[name] for name in ("message", "messages", "msg", "error") if isinstance(said.get(name), str)]
        text = told[0] if told else ""
    else:
        text = body[:4 * limit].decode("utf-8", "replace")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[:limit - 1] + "…"
