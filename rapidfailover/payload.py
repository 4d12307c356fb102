"""From the bytes of an answer to text and JSON, under limits. Pure, but for a look at the clock.

Each step raises a ValueError that says what is wrong with the body: ``gather`` undoes the content
encodings, ``as_utf8`` the charset, ``parse`` the JSON.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import time
import zlib
from itertools import accumulate
from typing import Any, Callable, Iterable, List

__all__ = ["SAID", "as_utf8", "beginning", "charset", "check_depth", "clean", "gather", "parse"]

SAID = 200  # characters of a provider's own words that go into attempts, errors and logs
_PIECE = 2**16  # bytes decoded at a time
# bytes inflated at a time: zlib copies what follows a member, for each of thousands of members
_SLICE = 2**14
# content encodings that are real, and cannot be inflated under a limit here
_NOT_OFFERED = frozenset(("br", "zstd"))
_CODINGS = 5  # content encodings on top of each other; urllib3 takes no more either
_MEMBERS = 10_000  # of a gzip stream; each costs some microseconds whatever it holds
_GZIP = b"\x1f\x8b\x08"  # how a member begins
# bytes at the beginning of a body, from which the rest is guessed: for speed alone
_SAMPLE = 2**12
# bytes; of an ordinary body up to this size, a count of the brackets is enough
_SHORT = 2**14
# brackets within brackets; 3,000 crash the process in a thread with a stack of 128 KiB
_DEEPEST = 200


def gather(
    pieces: Iterable[bytes],
    limit: int,
    ends: float,
    encodings: str = "",
    length: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The whole body, inflated, or a ValueError. Neither side of the inflating ever exceeds
    ``limit`` by much.

    ``ends`` is by the ``clock``; ``length`` is the ``Content-Length`` where it counts.

    urllib3's own inflating is not used: until 2.6 it makes 300 MB of a few hundred bytes before
    anyone can look, and it takes a gzip stream that breaks off for a whole one.
    """
    inflaters = _inflaters(encodings)
    parts: list[bytes] = []
    inflated = received = 0
    for piece in pieces:
        received += len(piece)
        for inflater in inflaters:
            piece = inflater.inflate(piece, limit)
        inflated += len(piece)
        parts.append(piece)
        if inflated > limit or received > limit:
            raise ValueError(f"longer than {limit} bytes")
        if clock() > ends:
            raise TimeoutError
    if received and not all(inflater.is_whole() for inflater in inflaters):
        raise ValueError("the compressed body is cut short")
    if length is not None and _lengths(length) not in (set(), {received}):
        raise ValueError(f"{received} bytes, which is not what was announced")
    return b"".join(parts)


def parse(body: bytes, checked: bool = False) -> Any:
    """The object or array in ``body``, or a ValueError that says what is there instead.

    ``checked``: it was parsed before, and has not left this process since.

    UTF-8, whatever the charset of the answer says (RFC 8259 §8.1); no NaN, Infinity or 1e999 (§6).
    """
    if not body or body.isspace():
        raise ValueError("empty")
    if not checked:
        check_depth(body)
    try:
        data = (_plain if checked else _decoder(body)).decode(body.decode())
    except ValueError:
        raise ValueError(f"not JSON: {beginning(body)!r}") from None
    if not isinstance(data, (dict, list)):
        raise ValueError(f"neither an object nor an array: {beginning(body)!r}")
    return data


def as_utf8(body: bytes, charset: str = "utf-8") -> bytes:
    """A body as JSON has to be (RFC 8259 §8.1). What is UTF-8 stays, whatever the charset of the
    answer says.

    Else it is read in the charset that it was declared in, if there is such a one, as requests
    does: a byte that makes no sense becomes U+FFFD. So is ASCII with an ESC in it, which no JSON
    has: ISO-2022-JP is written so.
    """
    encoding: str = json.detect_encoding(body)  # by its BOM and zeros: UTF-16 and UTF-32 too
    if encoding == "utf-8" and b"\x1b" in body and body.isascii():
        encoding = charset
    elif encoding == "utf-8":
        if _is_utf8(body):
            return body
        encoding = charset
    try:
        return body.decode(encoding, "replace").encode()
    # no charset, or one that is no charset of texts
    except (LookupError, UnicodeError, ValueError):
        return body.decode("utf-8", "replace").encode()


def _is_utf8(body: bytes) -> bool:
    """Whether the body is UTF-8. In pieces: to decode a megabyte only to throw the text away costs
    a sixth of the parse.
    """
    view, start = memoryview(body), 0
    try:
        while start < len(view):
            end = start + _PIECE
            start += codecs.utf_8_decode(view[start:end], "strict", end >= len(view))[1]
    except UnicodeDecodeError:
        return False
    return True


def charset(content_type: str) -> str:
    """The one that ``Content-Type`` names, the last where there are several, as for requests."""
    named: list[str] = _CHARSETS(content_type)
    return named[-1] if named else "utf-8"


_CHARSETS = re.compile(r"(?i)(?:^|[;,\s])charset\s*=[\s\"']*([\w.:-]{1,40})").findall


def clean(text: str, limit: int = SAID) -> str:
    """Other people's words as they may stand in a log: one line, printable, no longer than
    ``limit``.
    """
    text = " ".join(
        "".join(char if char.isprintable() else " " for char in text[: 20 * limit]).split()
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def beginning(body: bytes, limit: int = 40) -> str:
    return clean(body[: 4 * limit].decode("utf-8", "replace"), limit)


def check_depth(body: bytes) -> None:
    """Before parsing, because the parser's recursion can crash the process before it is a
    RecursionError.
    """
    if len(body) <= _SHORT and body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    brackets = _outside_texts(body)
    # Remove the innermost pairs, round by round: each round makes the rest one level less deep.
    for removed in range(_DEEPEST):
        if brackets.count(b"[") + removed <= _DEEPEST:
            return
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) > 0.9 * len(brackets):  # the body was made to be slow: count instead
            break
        brackets = fewer
    _count_depth(brackets, _DEEPEST - removed)


def _outside_texts(body: bytes) -> bytes:
    """The body's brackets outside texts; curly ones are turned into square ones."""
    if body.count(b"\\", 0, _SAMPLE) > _SAMPLE // 16:  # many: two replaces beat the regex
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    else:
        body = _ESCAPED_QUOTES(b"", body)
    # most texts hold no bracket: of those, only "" is left, and goes
    brackets = body.translate(_ALIKE, _OTHERS).replace(b'""', b"")
    return b"".join(brackets.split(b'"')[::2]) if b'"' in brackets else brackets


def _count_depth(brackets: bytes, deepest: int) -> None:
    depth = 0
    for start in range(0, len(brackets), _BLOCK):
        block = brackets[start : start + _BLOCK]
        opened = block.count(b"[")
        if (
            depth + opened > deepest
            and max(accumulate(map(_STEPS.__getitem__, block), initial=depth)) > deepest
        ):
            raise ValueError("nested too deeply")
        depth += 2 * opened - len(block)


_ALIKE = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b'[]{}"'))
_ESCAPED_QUOTES = re.compile(rb'\\["\\]').sub  # and backslashes
_BLOCK = 256
_STEPS = {ord("["): 1, ord("]"): -1}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number that is none")
    return number


_careful = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_plain = json.JSONDecoder(parse_constant=_refuse_constant)


def _decoder(body: bytes) -> json.JSONDecoder:
    """A decoder that refuses 1e999 by a Python call for each float; the plain one where there are
    many floats and none can be that large.
    """
    few = _SAMPLE // _RARE
    if body.count(b".", 0, _SAMPLE) < few or len(_FLOATS(body, 0, _SAMPLE)) < few:
        return _careful
    digits = body.translate(_DIGITS, b"+")
    # an exponent, or 300 digits
    return _careful if b"0e0" in digits or b"0" * 75 in digits[::4] else _plain


_FLOATS = re.compile(rb"[0-9]\.[0-9]").findall
_RARE = 80  # bytes for each float; with fewer of them, calls cost less than a look at each byte
_DIGITS = bytes(
    ord("0") if char in b"0123456789" else ord("e") if char in b"eE" else ord(" ")
    for char in range(256)
)


def _lengths(announced: str) -> set[int]:
    """The numbers in ``Content-Length``; none where it is no number, as for urllib3."""
    try:
        return {length for length in map(int, announced.split(",")) if length >= 0}
    except ValueError:
        return set()


def _inflaters(encodings: str) -> List[_Inflater]:
    """The inflaters for ``Content-Encoding``; the encoding that was applied last comes first.

    An unknown encoding is ignored, as urllib3 does.
    """
    names = [name.strip() for name in encodings.lower().split(",")]
    if not _NOT_OFFERED.isdisjoint(names):
        raise ValueError("a content encoding that was not offered")
    inflaters = [
        _Inflater(name) for name in reversed(names) if name in ("gzip", "x-gzip", "deflate")
    ]
    if inflaters and len(names) > _CODINGS:  # urllib3 makes an inflater of each name
        raise ValueError("too many content encodings")
    return inflaters


class _Inflater:
    """Undoes one content encoding under a limit. ``gzip`` may have several members (RFC 1952 §2.2).

    What follows a whole stream and is no further member is ignored, as urllib3 does: servers pad
    with zeros.
    """

    def __init__(self, name: str) -> None:
        self._is_gzip = name != "deflate"
        self._stream: Any = None  # None: before the first member, and between two
        self._members = 0  # which are whole
        self._start = b""  # bytes after a member: too few to tell whether another begins
        self._is_over = False  # nothing that follows counts

    def inflate(self, data: bytes, limit: int) -> bytes:
        inflated = bytearray()
        for start in range(0, len(data), _SLICE):
            self._inflate(self._start + data[start : start + _SLICE], inflated, limit)
        return bytes(inflated)

    def is_whole(self) -> bool:
        return self._members > 0 and self._stream is None and not self._start

    def _inflate(self, data: bytes, inflated: bytearray, limit: int) -> None:
        self._start = b""
        while data and self._goes_on(data):
            if self._stream is None:
                self._stream = zlib.decompressobj(self._format(data))
            inflated += self._stream.decompress(data, limit + 1 - len(inflated))
            if len(inflated) > limit:
                raise ValueError(f"longer than {limit} bytes")
            data = self._stream.unused_data
            if self._stream.eof:
                self._stream, self._members = None, self._members + 1
            if self._members > _MEMBERS:
                raise ValueError("too many members in a gzip")

    def _goes_on(self, data: bytes) -> bool:
        """Whether ``data`` belongs to a stream, as far as it can be told."""
        if self._stream is None and self._members:
            if self._is_gzip and len(data) < len(_GZIP) and _GZIP.startswith(data):
                self._start = data
                return False
            self._is_over = self._is_over or not self._is_gzip or not data.startswith(_GZIP)
        return not self._is_over

    def _format(self, first: bytes) -> int:
        if self._is_gzip:
            return 16 + zlib.MAX_WBITS
        # "deflate" is zlib's format (RFC 9110 §8.4.1.2), but some servers send the bare stream.
        is_zlib = first[0] & 0x0F == 8 and (len(first) < 2 or (first[0] * 256 + first[1]) % 31 == 0)
        return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
