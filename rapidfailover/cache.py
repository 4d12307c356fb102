"""The last good answers: the record of one, and the cache in memory that keeps them by default.

Any object with ``get(key)`` and ``set(key, value, timeout)`` serves as a cache: Django's and cachelib's do
as they are. What is kept is bytes, parsed anew on each hit, so nobody can change the copy of another.
"""

import base64
import hashlib
import json
import logging
import math
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from typing import Any, Callable, List, NamedTuple, Optional, Tuple, Union

from .fork import anew_in_child

__all__ = ["Copy", "FileCache", "LRUTTLCache", "Records", "key_of", "record_of"]

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
        self._entries: "OrderedDict[str, _Entry]" = OrderedDict()  # least recently used first
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._bytes = sum(entry.cost for entry in self._entries.values())

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
        return _loads(entry.kept) if entry.pickled else entry.kept

    def set(self, key: str, value: Any, timeout: Optional[float] = None) -> None:
        """Keep a copy of ``value`` for ``timeout`` seconds (``ttl`` when None, not at all when 0 or less)."""
        pickled = not isinstance(value, bytes)  # bytes cannot change: they are their own copy
        kept = _dumps(value) if pickled else value
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


def _dumps(value: Any) -> bytes:
    import pickle  # here: the library itself keeps bytes only, and 1 ms of import is felt

    return pickle.dumps(value)


def _loads(kept: bytes) -> Any:
    import pickle

    return pickle.loads(kept)


class _Entry(NamedTuple):
    kept: bytes
    pickled: bool
    cost: int
    expires: float


class FileCache:
    """One small JSON file an entry in ``directory``, shared by any number of processes.

    Written beside and renamed, so that a reader finds a whole entry or none; mode 0600. The oldest go when
    there are more than ``max_entries``. Keeps bytes and what JSON can hold. Whatever is wrong with the
    directory or a file is a miss, and a log line where an entry could not be kept.
    """

    def __init__(self, directory: Union[str, "os.PathLike[str]"], max_entries: int = 1024) -> None:
        if not max_entries > 0:
            raise ValueError("max_entries is positive")
        self._directory = os.fspath(directory)
        self._max_entries = max_entries

    def get(self, key: str, default: Any = None) -> Any:
        """What was set, or ``default`` when there is nothing or it has expired."""
        try:
            # O_NONBLOCK: a foreign FIFO under our name would block for ever.
            handle = os.open(self._path(key), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                return default
            with open(handle, "rb") as file:
                entry = json.loads(file.read())
            if entry["key"] != key or entry["expires"] <= time.time():
                return default
            return base64.b64decode(entry["bytes"], validate=True) if "bytes" in entry else entry["value"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return default  # not there, torn, or somebody else's

    def set(self, key: str, value: Any, timeout: Optional[float] = None) -> None:
        """Keep ``value`` for ``timeout`` seconds (a day when None, not at all when 0 or less)."""
        lifetime = _DAY if timeout is None else timeout
        if lifetime <= 0:
            return _remove(self._path(key))
        kept = {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else {"value": value}
        entry = json.dumps({"key": key, "expires": time.time() + lifetime, **kept}).encode()
        beside = f"{self._path(key)}.{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            try:
                _remove(beside)  # of a thread that was killed; or a link that somebody planted
                with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(entry)
                os.replace(beside, self._path(key))
            except OSError:
                _remove(beside)
                raise
            self._evict()
        except OSError as problem:
            _log.warning("an entry could not be kept in %s: %s", self._directory, problem.strerror)

    def __len__(self) -> int:
        """How many entries are kept, those included that have expired and were not yet evicted."""
        return len(self._files(_OURS))

    def _path(self, key: str) -> str:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40] + _ENDING
        return os.path.join(self._directory, name)

    def _files(self, names: "re.Pattern[str]") -> List[Tuple[float, str]]:
        """(when it was written, its path) for our files alone."""
        found = []
        for name in _listed(self._directory):
            if names.match(name):
                path = os.path.join(self._directory, name)
                try:
                    found.append((os.lstat(path).st_mtime, path))
                except OSError:
                    pass  # another process was faster
        return sorted(found)

    def _evict(self) -> None:
        entries = self._files(_OURS)
        for _, path in entries[:max(0, len(entries) - self._max_entries)]:
            _remove(path)
        for written, path in self._files(_LEFT):
            if time.time() - written > _DAY:  # left by a process that was killed
                _remove(path)


_ENDING = ".rapidfailover.json"
_OURS = re.compile(r"[0-9a-f]{40}\.rapidfailover\.json$")
_LEFT = re.compile(r"[0-9a-f]{40}\.rapidfailover\.json\.[0-9]+-[0-9]+\.tmp$")  # while it is being written
_DAY = 86400.0


def _listed(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []  # not there yet, or gone


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # another process was faster


class Copy(NamedTuple):
    """A good answer from earlier."""

    data: Any
    body: bytes  # that it was decoded from
    provider: str
    age: float  # seconds


class Records:
    """Writes and reads good answers in a cache that may be shared, foreign or broken.

    A record is one line of JSON (version, provider, wall-clock time, so that the age is right on another
    machine too) and then the body as it came. A cache that raises costs a log line, never the call.
    ``fleet`` is what a store gives: it keeps every record as well, and may have newer ones.
    """

    def __init__(self, cache: Any, parse: Callable[[bytes], Any], lifetime: float,
                 clock: Callable[[], float] = time.time, fleet: Any = None) -> None:
        self._cache = cache
        self._parse = parse  # raises ValueError for a body that is none of ours
        self._lifetime = int(-(-lifetime // 1))  # whole seconds, rounded up: some caches take no others
        self._clock = clock
        self._fleet = fleet

    def keep(self, key: str, provider: str, body: bytes) -> None:
        if self._lifetime <= 0:
            return
        self._set(key, provider, body, self._clock())
        if self._fleet is not None:
            self._fleet.keep(key, provider, body, self._lifetime)

    def find(self, key: str, max_age: float, *, newest: bool = False) -> Optional[Copy]:
        """The copy, if there is one that is no older than ``max_age`` seconds; the fleet's where it is ``newest``."""
        if not max_age:
            return None
        try:
            copy = self._read(self._cache.get(key), self._clock(), max_age)
        except Exception as problem:  # the user's own cache: it may raise anything
            _log.warning("the cache could not be asked: %s", type(problem).__name__)
            copy = None
        if self._fleet is not None and (copy is None or newest):
            record, now = self._fleet.find(key, patient=newest and copy is None)
            theirs = self._read(record, now, max_age)
            if theirs is not None and (copy is None or theirs.age < copy.age):
                self._set(key, theirs.provider, theirs.body, self._clock() - theirs.age)
                return theirs
        return copy

    def _set(self, key: str, provider: str, body: bytes, kept_at: float) -> None:
        try:
            self._cache.set(key, record_of(provider, body, kept_at), self._lifetime)
        except Exception as problem:  # as above
            _log.warning("the cache could not keep an answer: %s", type(problem).__name__)

    def _read(self, record: Any, now: float, max_age: float) -> Optional[Copy]:
        if not isinstance(record, bytes):
            return None
        head, _, body = record.partition(b"\n")
        try:
            version, provider, kept_at = _head(head)
            age = abs(now - kept_at)  # of the future: a clock was set, its age is anybody's guess
            if version != _VERSION or age > max_age:
                return None
            return Copy(self._parse(body), body, provider, age)
        except (ValueError, RecursionError):
            return None  # somebody else's entry, or a torn one


_VERSION = 1
_DECODER = json.JSONDecoder()


def record_of(provider: str, body: bytes, kept_at: float) -> bytes:
    """What is kept of a good answer; ``kept_at`` in seconds since 1970."""
    return json.dumps([_VERSION, provider, float(kept_at)]).encode() + b"\n" + body


def _head(line: bytes) -> Tuple[int, str, float]:
    head, end = _DECODER.raw_decode(line.decode()) if len(line) < 1000 else (None, 0)
    if not isinstance(head, list) or end != len(line) or len(head) != 3 or not isinstance(head[1], str) \
            or not head[1].isprintable() or not isinstance(head[2], float) or not math.isfinite(head[2]):
        raise ValueError("not the head of a record")
    return head[0], head[1], head[2]


def key_of(platform: str, endpoint: str, query: str) -> str:
    """The cache key of a question: no blanks, under 200 bytes (memcached takes 250)."""
    asked = "\0".join((platform, endpoint, query)).encode("utf-8", "surrogatepass")
    return f"rapidfailover:{_VERSION}:{hashlib.sha256(asked).hexdigest()}"
