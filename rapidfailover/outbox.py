"""Copies that wait to be sent to a store: the latest of each key, bounded by their bytes. Knows no
server.
"""

from __future__ import annotations

from typing import Callable, NamedTuple, Sequence

from .fork import new_lock
from .records import record_of

__all__ = ["LARGEST", "Copy", "Outbox", "Record"]

LARGEST = 16 * 2**20  # bytes of one copy, and of all that wait
_BATCH = 2**18  # bytes that are sent at a time
_OVERHEAD = 500  # bytes that a copy takes beside its body, about


class Record(NamedTuple):
    """A copy for the server to keep."""

    key: str
    kept_at: float  # by the server's clock
    lifetime: int  # seconds
    content: bytes


class Copy(NamedTuple):
    """A good answer."""

    provider: str
    body: bytes
    kept_at: float  # by our clock
    lifetime: int  # seconds

    def size(self) -> int:
        return len(self.body) + _OVERHEAD


class Outbox:
    """Thread-safe. Of what is more than it may hold, the latest is not taken."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._copies: dict[str, Copy] = {}
        self.size = 0

    def __contains__(self, key: str) -> bool:
        return key in self._copies

    def __len__(self) -> int:
        return len(self._copies)

    def is_pressed(self) -> bool:
        """Whether a batch is full."""
        return self.size >= _BATCH

    def put(self, key: str, copy: Copy) -> None:
        with self._lock:
            before = self._copies.pop(key, None)
            self.size -= before.size() if before else 0
            if self.size + copy.size() <= LARGEST:
                self._copies[key] = copy
                self.size += copy.size()

    def send(self, keep: Callable[[Sequence[Record]], None], offset: float) -> None:
        """Send a batch.

        What ``keep`` raises is passed on, and what was not kept is sent another time.
        """
        batch = self._take()
        records = []
        for key, copy in batch.items():
            kept_at = copy.kept_at + offset
            records.append(
                Record(key, kept_at, copy.lifetime, record_of(copy.provider, copy.body, kept_at))
            )
        try:
            keep(records)
        except Exception:
            self._put_back(batch)
            raise

    def _take(self) -> dict[str, Copy]:
        """As many as fit into a batch; one at least, if there is one."""
        batch: dict[str, Copy] = {}
        size = 0
        with self._lock:
            for key, copy in self._copies.items():
                if batch and size + copy.size() > _BATCH:
                    break
                batch[key] = copy
                size += copy.size()
            for key in batch:
                del self._copies[key]
            self.size -= size
        return batch

    def _put_back(self, batch: dict[str, Copy]) -> None:
        """Keep them for another time; a copy that alone is more than a batch is given up."""
        if sum(copy.size() for copy in batch.values()) <= _BATCH:
            for key, copy in batch.items():
                if key not in self:
                    self.put(key, copy)
