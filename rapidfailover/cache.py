"""The last good answers: the record of one, and the cache in memory that keeps them by default.

Any object with ``get(key)`` and ``set(key, value, timeout)`` serves as a cache: Django's and cachelib's do
as they are. What is kept is bytes, parsed anew on each hit, so nobody can change the copy of another.
"""

import hashlib
import json
import logging
import pickle
import threading
import time
from collections import OrderedDict
from typing import Any, Callable, NamedTuple, Optional, Tuple

__all__ = ["Copy", "LRUTTLCache", "Records", "key_of"]

_log = logging.getLogger(__package__)

_ENTRY = 200  # bytes that an entry costs beside its key and value, about


class LRUTTLCache:
    """In memory, thread-safe; the least recently used entry goes first when ``max_entries`` or ``max_bytes`` is full.

    ``ttl`` in seconds is how long an entry lives that is set without a ``timeout``. A value that is larger
    than ``max_bytes`` is not kept.
    """

    def __init__(self, max_entries: int = 1024, ttl: float = 86400.0, *, max_bytes: int = 64 * 2 ** 20,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if not (max_entries > 0 and max_bytes > 0 and ttl > 0):
            raise ValueError("max_entries, max_bytes and ttl are positive")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: "OrderedDict[str, _Entry]" = OrderedDict()  # least recently used first
        self._bytes = 0

    def get(self, key: str, default: Any = None) -> Any:
        """A copy of what was set, or ``default`` when there is nothing or it has expired."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return default
            if entry.expires <= self._clock():
                self._drop(key)
                return default
            self._entries.move_to_end(key)
        return pickle.loads(entry.kept) if entry.pickled else entry.kept

    def set(self, key: str, value: Any, timeout: Optional[float] = None) -> None:
        """Keep a copy of ``value`` for ``timeout`` seconds (``ttl`` when None, not at all when 0 or less)."""
        pickled = not isinstance(value, bytes)  # bytes cannot change: they are their own copy
        kept = pickle.dumps(value) if pickled else value
        cost = len(key) + len(kept) + _ENTRY
        seconds = self._ttl if timeout is None else timeout
        with self._lock:
            self._drop(key)
            if seconds <= 0 or cost > self._max_bytes:
                return
            self._entries[key] = _Entry(kept, pickled, cost, self._clock() + seconds)
            self._bytes += cost
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def __len__(self) -> int:
        """How many entries are kept, those included whose expiry nobody has met yet."""
        return len(self._entries)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.cost


class _Entry(NamedTuple):
    kept: bytes
    pickled: bool
    cost: int
    expires: float


class Copy(NamedTuple):
    """A good answer from earlier."""

    data: Any
    provider: str
    age: float  # seconds


class Records:
    """Writes and reads good answers in a cache that may be shared, foreign or broken.

    A record is one line of JSON (version, provider, wall-clock time, so that the age is right on another
    machine too) and then the body as it came. A cache that raises costs a log line, never the call.
    """

    def __init__(self, cache: Any, parse: Callable[[bytes], Any], lifetime: float,
                 clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._parse = parse  # raises ValueError for a body that is none of ours
        self._lifetime = int(-(-lifetime // 1))  # whole seconds, rounded up: some caches take no others
        self._clock = clock

    def keep(self, key: str, provider: str, body: bytes) -> None:
        if self._lifetime <= 0:
            return
        head = json.dumps([_VERSION, provider, self._clock()])
        try:
            self._cache.set(key, head.encode() + b"\n" + body, self._lifetime)
        except Exception as problem:  # the user's own cache: it may raise anything
            _log.warning("the cache could not keep an answer: %s", type(problem).__name__)

    def find(self, key: str, max_age: float) -> Optional[Copy]:
        """The copy, if there is one that is no older than ``max_age`` seconds."""
        try:
            record = self._cache.get(key)
        except Exception as problem:  # as above
            _log.warning("the cache could not be asked: %s", type(problem).__name__)
            return None
        if not isinstance(record, bytes):
            return None
        head, _, body = record.partition(b"\n")
        try:
            version, provider, kept_at = _head(head)
            age = max(0.0, self._clock() - kept_at)  # the clock of another machine may be ahead
            if version != _VERSION or age > max_age:
                return None
            return Copy(self._parse(body), provider, age)
        except ValueError:
            return None  # somebody else's entry, or a torn one


_VERSION = 1


def _head(line: bytes) -> Tuple[int, str, float]:
    head = json.loads(line)
    if not isinstance(head, list) or len(head) != 3 or not isinstance(head[1], str) \
            or not isinstance(head[2], (int, float)):
        raise ValueError("not the head of a record")
    return head[0], head[1], head[2]


def key_of(platform: str, endpoint: str, query: str) -> str:
    """The cache key of a question: no blanks, under 200 bytes (memcached takes 250)."""
    asked = "\0".join((platform, endpoint, query)).encode("utf-8", "surrogatepass")
    return f"rapidfailover:{_VERSION}:{hashlib.sha256(asked).hexdigest()}"
