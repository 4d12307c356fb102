"""Two caches for the last good answers: one in memory, which is the default, and one of files.

Any object with ``get(key)`` and ``set(key, value, timeout)`` serves as a cache: Django's and
cachelib's do as they are. What is kept is bytes, parsed anew on each hit, so nobody can change the
copy of another.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import os
import random
import re
import stat
import threading
import time
from collections import OrderedDict
from inspect import iscoroutinefunction
from typing import Any, Callable, NamedTuple

from .fork import anew_in_child, new_lock

__all__ = ["FileCache", "LRUTTLCache", "check_cache"]

_log = logging.getLogger(__package__)

_ENTRY = 200  # bytes that an entry costs beside its key and value, about


class LRUTTLCache:
    """In memory, thread-safe; the least recently used entry goes first when ``max_entries`` or
    ``max_bytes`` is full.

    ``ttl`` in seconds is how long an entry lives that is set without a ``timeout``. A value that is
    larger than ``max_bytes`` is not kept.
    """

    def __init__(
        self,
        max_entries: int = 1024,
        ttl: float = 86400.0,
        *,
        max_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (max_entries > 0 and max_bytes > 0 and ttl > 0):
            raise ValueError("max_entries, max_bytes and ttl are positive")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()
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

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        """Keep a copy of ``value`` for ``timeout`` seconds (``ttl`` when None, not at all
        when 0 or less).
        """
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
    import pickle  # not at the top: the library itself keeps bytes only, the import takes 1 ms

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

    Written beside and renamed, so that a reader finds a whole entry or none; mode 0600. Keeps bytes
    and what JSON can hold. Whatever is wrong with the directory or a file is a miss, and a log line
    where an entry could not be kept.

    The oldest go when there are more than ``max_entries``. The directory is looked through for them
    once in ``max_entries / 4`` sets, so that a ``set`` costs the same among ten files and among ten
    thousand. Until then there can be a quarter more than ``max_entries``, for each process that
    writes.
    """

    def __init__(self, directory: str | os.PathLike[str], max_entries: int = 1024) -> None:
        if not max_entries > 0:
            raise ValueError("max_entries is positive")
        if not os.fspath(directory):
            raise ValueError("the directory of a FileCache is not empty")
        # wherever the process goes later
        self._directory = os.path.abspath(os.fspath(directory))
        self._max_entries = max_entries
        self._between_looks = max(1, max_entries // 4)  # sets
        # sets until a look; random, because a process may live for a few sets only
        self._sets_left = random.randint(1, self._between_looks)

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
            return (
                base64.b64decode(entry["bytes"], validate=True)
                if "bytes" in entry
                else entry["value"]
            )
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return default  # not there, torn, or somebody else's

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        """Keep ``value`` for ``timeout`` seconds (a day when None, not at all when 0 or less)."""
        lifetime = _DAY if timeout is None else timeout
        if lifetime <= 0:
            return _remove(self._path(key))
        kept = (
            {"bytes": base64.b64encode(value).decode()}
            if isinstance(value, bytes)
            else {"value": value}
        )
        entry = json.dumps({"key": key, "expires": time.time() + lifetime, **kept}).encode()
        beside = f"{self._path(key)}.{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            try:
                with open(self._opened(beside), "wb") as file:
                    file.write(entry)
                os.replace(beside, self._path(key))
            except OSError:
                _remove(beside)
                raise
            self._sets_left -= 1
            if self._sets_left <= 0:
                self._sets_left = self._between_looks
                self._evict()
        except OSError as problem:
            _log.warning("an entry could not be kept in %s: %s", self._directory, problem.strerror)

    def __len__(self) -> int:
        """How many entries are kept, those included that have expired and were not yet evicted."""
        return sum(_OURS.match(name) is not None for name in _listed(self._directory))

    def _path(self, key: str) -> str:
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:40] + _ENDING
        return os.path.join(self._directory, name)

    def _opened(self, path: str) -> int:
        """A new file for its owner alone."""
        try:
            return os.open(path, _NEW, 0o600)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except FileExistsError:
            os.remove(path)  # of a thread that was killed; or a link that somebody planted
        return os.open(path, _NEW, 0o600)

    def _evict(self) -> None:
        """Remove the oldest entries beyond ``max_entries``, and what killed writers left a
        day ago.
        """
        entries: list[tuple[float, str]] = []
        try:
            with os.scandir(self._directory) as files:
                for file in files:
                    written = _written(file)
                    if _OURS.match(file.name):
                        entries.append((written, file.path))
                    elif written < time.time() - _DAY and _LEFT.match(file.name):
                        _remove(file.path)
        except OSError:
            return  # it is gone
        entries.sort()
        for _, path in entries[: max(0, len(entries) - self._max_entries)]:
            _remove(path)


_ENDING = ".rapidfailover.json"
_OURS = re.compile(r"[0-9a-f]{40}\.rapidfailover\.json$")
# the name of an entry's file while it is being written
_LEFT = re.compile(r"[0-9a-f]{40}\.rapidfailover\.json\.[0-9]+-[0-9]+\.tmp$")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_DAY = 86400.0


def _written(file: os.DirEntry[str]) -> float:
    """When, in seconds since 1970; inf where another process has removed the file."""
    try:
        return file.stat(follow_symlinks=False).st_mtime
    except OSError:
        return math.inf


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []  # not there yet, or gone


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        pass  # another process was faster


def check_cache(cache: Any) -> None:
    """TypeError for what cannot keep a copy: says what to write, and not what was given."""
    get, put = getattr(cache, "get", None), getattr(cache, "set", None)
    problem = ""
    if isinstance(cache, type):
        problem = f"the class {cache.__name__}: write {cache.__name__}(...)"
    elif isinstance(cache, (str, bytes, os.PathLike)):
        problem = "a text: write FileCache(directory)"
    elif callable(getattr(cache, "execute_command", None)):
        problem = "a Redis client: write store=RedisStore(client), and leave the cache out"
    elif not callable(get) or not callable(put):
        problem = (
            f"a {type(cache).__name__} without get and set: write LRUTTLCache() or"
            " FileCache(directory)"
        )
    elif iscoroutinefunction(get) or iscoroutinefunction(put):
        problem = (
            f"an asynchronous {type(cache).__name__}: write LRUTTLCache(), or one whose get and set"
            " are plain"
        )
    if problem:
        raise TypeError(
            f"cache is an object with get(key) and set(key, value, timeout), not {problem}"
        )
