"""The form of a copy, in a cache of the user's and in a store; and where copies are kept, found and
forgotten.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import Any, Callable, NamedTuple

from .cache import FileCache, LRUTTLCache
from .events import log
from .fork import pass_on
from .sharing import Copies, OwnCopies

__all__ = ["Copy", "Records", "key_of", "record_of"]

_VERSION = 1
_MISSING = "missing"  # stands for the provider where there is none
_DECODER = json.JSONDecoder()

Report = Callable[..., None]  # report(kind, words=...)
Vouch = Callable[[str, Any], bool]


class Copy(NamedTuple):
    """A good answer from earlier."""

    data: Any
    body: bytes  # that it was decoded from
    provider: str
    age: float  # seconds


def _anybody(provider: str, data: Any) -> bool:
    return True


class Records:
    """Writes and reads good answers in a cache that may be shared, foreign or broken.

    A record is one line of JSON (version, provider, wall-clock time, so that the age is right on
    another machine too) and then the body as it came. A cache that raises costs a log line, never
    the call. ``copies`` are those of a store: it keeps every record as well, and may have newer
    ones. ``parse(body, checked)`` raises ValueError for a body that is none of ours; checked is
    what this process's own memory has kept.
    """

    def __init__(
        self,
        cache: Any,
        parse: Callable[[bytes, bool], Any],
        lifetime: float,
        clock: Callable[[], float] = time.time,
        copies: Copies = OwnCopies(),
        report: Report = log,
    ) -> None:
        self._cache = cache
        self._report = report
        self._parse = parse
        self._is_own = type(cache) is LRUTTLCache
        # whole seconds, rounded up: some caches take no others
        self._lifetime = int(-(-lifetime // 1))
        self._clock = clock
        self._copies = copies
        # whether the cache is known to give back what it was given
        self._is_proven = isinstance(cache, (LRUTTLCache, FileCache))

    def keep(self, key: str, provider: str, body: bytes) -> None:
        if self._lifetime <= 0:
            return
        self._set(key, provider, body, self._clock())
        self._copies.keep(key, provider, body, self._lifetime)

    def find(
        self, key: str, max_age: float, *, newest: bool = False, vouch: Vouch = _anybody
    ) -> Copy | None:
        """The copy, if there is one that is no older than ``max_age`` seconds; the store's where it
        is ``newest``.

        One that ``vouch(provider, data)`` does not take is as good as none: another app's, on the
        same cache or store.
        """
        copy = self._find(key, max_age, newest, vouch)
        return copy if copy is not None and copy.body else None

    def is_missing(self, key: str, max_age: float) -> bool:
        """Whether it was found to be nowhere, no longer than ``max_age`` seconds ago."""
        copy = self._find(key, max_age, False, _anybody)
        return copy is not None and not copy.body and copy.provider == _MISSING

    def _find(self, key: str, max_age: float, newest: bool, vouch: Vouch) -> Copy | None:
        if not max_age:
            return None
        try:
            copy = self._read(self._cache.get(key), self._clock(), max_age, self._is_own)
        except Exception as problem:  # the user's own cache: it may raise anything
            pass_on(problem)
            self._report("cache", words=f"could not be asked: {type(problem).__name__}")
            copy = None
        copy = _vouched(copy, vouch)
        if copy is None or newest:
            record, now = self._copies.find(key, patient=newest and copy is None)
            theirs = _vouched(self._read(record, now, max_age), vouch)
            if theirs is not None and (copy is None or theirs.age < copy.age):
                self._set(key, theirs.provider, theirs.body, self._clock() - theirs.age)
                copy = theirs
        return copy

    def forget(self, key: str, *, missing: bool = False) -> None:
        """An empty record takes the copy's place, here and in the store.

        ``missing``: as nobody has it any more.
        """
        self.keep(key, _MISSING if missing else "", b"")

    def _set(self, key: str, provider: str, body: bytes, kept_at: float) -> None:
        try:
            record = record_of(provider, body, kept_at)
            self._cache.set(key, record, self._lifetime)
            if not self._is_proven and body:
                self._prove(key, record)
        except Exception as problem:  # the user's own cache, as in _find
            pass_on(problem)
            self._report("cache", words=f"could not keep an answer: {type(problem).__name__}")

    def _prove(self, key: str, record: bytes) -> None:
        """Look once whether the cache gives back what it was given, and say so where it does
        not.
        """
        self._is_proven = True
        found = self._cache.get(key)
        head = record.partition(b"\n")[0]
        if found == record and isinstance(found, bytes):
            return
        if (
            isinstance(found, bytes)
            and found.partition(b"\n")[0] != head
            and self._read(found, 0.0, math.inf)
        ):
            return  # of another process, which was faster
        self._report(
            "cache",
            words=(
                f"does not give back what it was given ({type(found).__name__} for bytes), so "
                "that its copies are lost: is it a dummy, too small, or does it decode?"
            ),
        )

    def _read(self, record: Any, now: float, max_age: float, checked: bool = False) -> Copy | None:
        if not isinstance(record, bytes):
            return None
        head, _, body = record.partition(b"\n")
        try:
            version, provider, kept_at = _head(head)
            age = abs(now - kept_at)  # of the future: a clock was set, its age is anybody's guess
            if version != _VERSION or age > max_age:
                return None
            return Copy(self._parse(body, checked) if body else None, body, provider, age)
        except (ValueError, RecursionError):
            return None  # somebody else's entry, or a torn one


def _vouched(copy: Copy | None, vouch: Vouch) -> Copy | None:
    """The copy, if ``vouch`` takes it. An empty one (nobody has an answer) always passes."""
    return copy if copy is None or not copy.body or vouch(copy.provider, copy.data) else None


def record_of(provider: str, body: bytes, kept_at: float) -> bytes:
    """What is kept of a good answer; ``kept_at`` in seconds since 1970."""
    return json.dumps([_VERSION, provider, float(kept_at)]).encode() + b"\n" + body


def _head(line: bytes) -> tuple[int, str, float]:
    head, end = _DECODER.raw_decode(line.decode()) if len(line) < 1000 else (None, 0)
    if (
        not isinstance(head, list)
        or end != len(line)
        or len(head) != 3
        or not isinstance(head[1], str)
        or not head[1].isprintable()
        or not isinstance(head[2], float)
        or not math.isfinite(head[2])
    ):
        raise ValueError("not the head of a record")
    return head[0], head[1], head[2]


def key_of(platform: str, endpoint: str, query: str, namespace: str = "") -> str:
    """The cache key of a question: no blanks, under 200 bytes (memcached takes 250)."""
    parts = (platform, endpoint, query, namespace) if namespace else (platform, endpoint, query)
    asked = "\0".join(parts).encode("utf-8", "surrogatepass")
    return f"rapidfailover:{_VERSION}:{hashlib.sha256(asked).hexdigest()}"
