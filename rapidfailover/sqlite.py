"""What the processes of one machine share through a file, without a server: on the standard
library's sqlite3.

Knows only how that is put into the file; ``fleet`` and ``mirror`` know what is shared and when.
Each question is one transaction of a write-ahead log, so a process that is killed loses no more
than what it had not yet told.
"""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any, Sequence

from .entries import LONGEST, LONGEST_NAME
from .fleet import Fleet
from .mirror import Seen
from .outbox import LARGEST, Record
from .sharing import Circuits
from .sqlite_file import DatabaseFile

__all__ = ["SQLiteStore"]

_AT_ONCE = 500  # keys in a statement; before 3.32 SQLite takes 999 values
_KEPT = 7 * 86400.0  # seconds for which circuits are kept that nobody changes
_MOST = 4000  # circuits; the latest stay, after ...
_NOW_AND_THEN = 100  # ... so many changes
_LONGEST_LEASE = 3600.0  # seconds; a longer lease, or a turn further away, is foreign data


class SQLiteStore:
    """Where the processes of one machine share what they learn:
    ``FailoverClient(store=SQLiteStore(path))``.

    ``path``         the file, made with mode 0600; SQLite puts two more beside it. On a disk of
                     this machine: the locks of network file systems cannot be relied on
    ``max_entries``  of the last good copies, and ...
    ``max_bytes``    ... their bytes: the oldest go

    ValueError for a path that is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_entries: int = 10_000,
        max_bytes: int = 256 * 2**20,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"a store's path is a text or a Path, not {type(path).__name__}")
        if not os.fspath(path) or "\0" in os.fspath(path):
            raise ValueError(f"a store's path is that of a file, not {os.fspath(path)!r}")
        for name, value in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is a positive whole number, not {value!r}")
        self.path = os.path.realpath(path)
        self._limits = max_entries, max_bytes

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    def share(self, circuits: Circuits) -> Fleet:
        """Make the registry's circuits those of all who use the file.

        It leaves the store that it was in.
        """
        fleet = circuits.sharing
        if not isinstance(fleet, Fleet) or fleet.store is not self:
            fleet = circuits.sharing = Fleet(
                self, lambda: _SQLiteServer(self.path, *self._limits), circuits
            )
        return fleet


class _SQLiteServer(DatabaseFile):
    """A ``mirror.Server``. Its times are those of the machine's wall clock."""

    def __init__(self, path: str, max_entries: int, max_bytes: int) -> None:
        super().__init__(path)
        self._max_entries = max_entries
        self._max_bytes = max_bytes

    def look(self, mark: bytes, joining: bool) -> Seen:
        now = time.time()
        with self.transaction("IMMEDIATE" if joining else "DEFERRED") as connection:
            ((epoch, version),) = _rows(connection, "SELECT epoch, version FROM head")
            if joining:
                _rows(connection, "UPDATE head SET joined_at = ?", now)
            known, _, seen = mark.decode().partition(" ")
            is_lost = known != epoch or int(seen) > version
            news = _rows(
                connection,
                "SELECT name, circuit FROM circuits WHERE version > ? "
                "AND length(name) < ? AND length(circuit) < ? ORDER BY version DESC LIMIT ?",
                0 if is_lost else int(seen),
                2 * LONGEST_NAME,
                LONGEST,
                _MOST,
            )
        circuits = {
            name: circuit
            for name, circuit in news
            if isinstance(name, bytes) and isinstance(circuit, bytes)
        }
        # The time is held against the middle of the look.
        return Seen((now + time.time()) / 2, f"{epoch} {version}".encode(), is_lost, circuits)

    def change(self, name: bytes, seen: bytes, new: bytes) -> bytes | None:
        with self.transaction() as connection:
            held = _rows(
                connection,
                "SELECT circuit FROM circuits WHERE name = ? AND length(circuit) < ?",
                name,
                LONGEST,
            )
            circuit = held[0][0] if held and isinstance(held[0][0], bytes) else b""
            if circuit not in (seen, new):
                return circuit
            _rows(connection, "UPDATE head SET version = version + 1")
            _rows(
                connection,
                "INSERT OR REPLACE INTO circuits SELECT ?, ?, ?, version FROM head",
                name,
                new,
                time.time(),
            )
            _rows(
                connection,
                "DELETE FROM circuits WHERE (SELECT version % ? FROM head) = 0 AND (changed_at < ?"
                " OR version <= (SELECT version FROM circuits ORDER BY version DESC LIMIT 1"
                " OFFSET ?))",
                _NOW_AND_THEN,
                time.time() - _KEPT,
                _MOST,
            )
            return None

    def reserve(self, name: bytes, interval: float, longest: float) -> float:
        with self.transaction() as connection:
            now = free_at = time.time()
            for (at,) in _rows(connection, "SELECT free_at FROM turns WHERE name = ?", name):
                if now < at < now + _LONGEST_LEASE:
                    free_at = float(at)
            if free_at - now <= longest:
                _rows(
                    connection,
                    "INSERT OR REPLACE INTO turns VALUES (?, ?)",
                    name,
                    free_at + interval,
                )
            return free_at

    def keep(self, records: Sequence[Record]) -> None:
        with self.transaction() as connection:
            ((entries, size),) = _rows(connection, "SELECT copies, bytes FROM head")
            now = time.time()
            for begin in range(0, len(records), _AT_ONCE):
                part = records[begin : begin + _AT_ONCE]
                marks = ", ".join("?" * len(part))
                found = _rows(
                    connection,
                    f"SELECT key, kept_at, size FROM copies WHERE key IN ({marks})",
                    *(record.key for record in part),
                )
                held = {key: (kept_at, length) for key, kept_at, length in found}
                part = [
                    record
                    for record in part
                    if record.key not in held
                    or not record.kept_at < held[record.key][0] < now + 1.0
                ]
                connection.executemany(  # a copy has a new number each time
                    "INSERT OR REPLACE INTO copies (key, kept_at, expires_at, size, content) VALUES"
                    " (?, ?, ?, ?, ?)",
                    [
                        (key, kept_at, now + lifetime, len(content), content)
                        for key, kept_at, lifetime, content in part
                    ],
                )
                replaced = [held[record.key][1] for record in part if record.key in held]
                entries += len(part) - len(replaced)
                size += sum(len(record.content) for record in part) - sum(replaced)
            entries, size = self._evict(connection, entries, size, now)
            _rows(connection, "UPDATE head SET copies = ?, bytes = ?", entries, size)

    def _evict(
        self, connection: sqlite3.Connection, entries: int, size: int, now: float
    ) -> tuple[int, int]:
        """Remove copies that have expired or are too many; the oldest has the lowest number."""
        while True:
            oldest = _rows(
                connection, "SELECT number, size, expires_at FROM copies ORDER BY number LIMIT 1"
            )
            if not oldest:
                return 0, 0
            ((number, length, expires_at),) = oldest
            if entries <= self._max_entries and size <= self._max_bytes and expires_at > now:
                return entries, size
            _rows(connection, "DELETE FROM copies WHERE number = ?", number)
            entries, size = entries - 1, size - length

    def read(self, key: str) -> bytes | None:
        with self.transaction("DEFERRED") as connection:
            found = _rows(
                connection,
                "SELECT content FROM copies WHERE key = ? AND expires_at > ? AND size < ?",
                key,
                time.time(),
                LARGEST,
            )
            return found[0][0] if found else None

    def lease(self, owner: str, key: str, seconds: float) -> float:
        with self.transaction() as connection:
            now = time.time()
            for other, ends_at in _rows(
                connection, "SELECT owner, ends_at FROM leases WHERE key = ?", key
            ):
                if other != owner and now < ends_at < now + _LONGEST_LEASE:
                    return float(ends_at - now)
            _rows(connection, "DELETE FROM leases WHERE key = ? OR ends_at < ?", key, now)
            if seconds > 0:
                _rows(connection, "INSERT INTO leases VALUES (?, ?, ?)", key, owner, now + seconds)
            return 0.0


def _rows(connection: sqlite3.Connection, sql: str, *values: Any) -> list[Any]:
    return connection.execute(sql, values).fetchall()
