"""The file of a SQLiteStore: made whole or not at all, opened anew where another took its place,
closed at a fork.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator
from weakref import WeakSet

__all__ = ["DatabaseFile"]

# seconds to wait for another process's transaction; a call waits no longer than 0.06 for us
_BUSY = 0.04
_MAKING = 2.0  # seconds that it takes at most to make the file
_PAUSE = 0.04  # seconds between two looks at whether another has made it
_APPLICATION = 0x72666F76  # the file's application_id: "rfov"
_VERSION = 2  # its user_version

_SCHEMA = f"""
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE head (epoch TEXT NOT NULL, version INTEGER NOT NULL, joined_at REAL,
    copies INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE circuits (name BLOB PRIMARY KEY, circuit BLOB NOT NULL, changed_at REAL NOT NULL,
    version INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
CREATE TABLE turns (name BLOB PRIMARY KEY, free_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE copies (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kept_at REAL NOT NULL,
    expires_at REAL NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL,
    ends_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX leases_by_end ON leases (ends_at);
INSERT INTO head VALUES ('{{epoch}}', 0, NULL, 0, 0);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class DatabaseFile:
    """One connection, opened when it is needed. Thread-safe, and safe where the process forks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] = 0, 0  # device and inode of the open file
        self._lock = threading.Lock()  # held while SQLite works: no fork then
        self._is_paused = False
        _files.add(self)

    def __del__(self) -> None:
        if self._connection is not None and os.getpid() != self._pid:
            _inherited.append(self._connection)  # to close it would harm the parent's

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """What is done within is done as one, or not at all."""
        with self._lock:
            connection = self._open()
            try:
                connection.execute(f"BEGIN {kind}")
                yield connection
                connection.execute("COMMIT")
            except BaseException:  # whatever it was: the next one begins with a new connection
                self._close()
                raise

    def hang_up(self) -> None:
        with self._lock:
            self._close()

    def explain(self, problem: Exception) -> str:
        if isinstance(problem, OSError):
            return problem.strerror or type(problem).__name__
        return str(problem) if isinstance(problem, sqlite3.Error) else type(problem).__name__

    def pause(self) -> None:
        """A fork comes: nothing is open, and nobody works, until it is over."""
        self._is_paused = self._lock.acquire(timeout=_BUSY)
        if self._is_paused:
            self._close()

    def go_on(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        """The connection to the file that now bears the name."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            found = self._make()
        if found.st_size == 0 and stat.S_ISREG(found.st_mode):
            found = self._make()
        if self._connection is None or self._file != (found.st_dev, found.st_ino):
            self._close()
            connection = sqlite3.connect(
                f"{Path(self._path).as_uri()}?mode=rw",
                uri=True,
                timeout=_BUSY,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection, self._file = connection, (found.st_dev, found.st_ino)
            try:
                ((application,),) = connection.execute("PRAGMA application_id")
                ((version,),) = connection.execute("PRAGMA user_version")
                if (application, version) != (_APPLICATION, _VERSION):
                    raise sqlite3.DatabaseError(
                        "it is of another version"
                        if application == _APPLICATION
                        else "it is the file of something else"
                    )
                connection.execute("PRAGMA synchronous = NORMAL")  # no fsync at each commit
            except BaseException:
                self._close()
                raise
        return self._connection

    def _make(self) -> os.stat_result:
        """Make the file under another name, and rename it when it is whole. Only one process at a
        time can make it.

        A log that is still there belongs to a file that was removed: SQLite would play it into the
        new one.
        """
        beside = f"{self._path}.new"
        try:
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return self._made_by_another(beside)
        try:
            if not os.path.exists(self._path) or os.path.getsize(self._path) == 0:
                connection = sqlite3.connect(beside, timeout=_BUSY, isolation_level=None)
                try:
                    connection.executescript(_SCHEMA.format(epoch=uuid.uuid4().hex))
                finally:
                    connection.close()
                for ending in ("-wal", "-shm"):
                    _remove(self._path + ending)
                os.replace(beside, self._path)
        finally:
            _remove(beside)
        return os.stat(self._path)

    def _made_by_another(self, beside: str) -> os.stat_result:
        ends = time.monotonic() + _MAKING
        while time.monotonic() < ends:
            time.sleep(_PAUSE)
            if not os.path.exists(beside):
                return os.stat(self._path)
        _remove(beside)  # of a process that was killed
        raise sqlite3.OperationalError("another process did not finish it")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass


_files: WeakSet[DatabaseFile] = WeakSet()
_inherited: list[sqlite3.Connection] = []  # never to be used, nor to be closed


def _before_fork() -> None:
    for file in list(_files):
        file.pause()


def _after_fork() -> None:
    for file in list(_files):
        file.go_on()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork)
