"""The one single-flight: whoever asks second for what is under way waits for whoever asked
first.
"""

from __future__ import annotations

from typing import Generic, Hashable, TypeVar

from .fork import Latch, anew_in_child, new_lock

__all__ = ["Flight", "SingleFlight"]


class Flight:
    """Something under way that others may wait for. What comes of it is for subclasses to hold."""

    def __init__(self) -> None:
        self.landed = Latch()

    def may_be_joined_by(self, later: Flight) -> bool:
        """Whether the later one need not fly."""
        return not self.landed.is_open


F = TypeVar("F", bound=Flight)


class SingleFlight(Generic[F]):
    """The flights under way, by key. Thread-safe. A forked child begins with none."""

    def __init__(self) -> None:
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()
        self._under_way: dict[Hashable, F] = {}

    def join(self, key: Hashable, own: F, most: int | None = None) -> F | None:
        """The flight to wait for, or ``own``, which others may wait for until it lands.

        None where ``most`` are under way already, and none of them is for this key.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None and flight.may_be_joined_by(own):
                return flight
            if flight is None and most is not None and len(self._under_way) >= most:
                return None
            self._under_way[key] = own
            return own

    def land(self, key: Hashable, own: F) -> None:
        """It is over, however it ended. For a ``finally``: an interrupt can arrive anywhere."""
        own.landed.open()
        with self._lock:
            if self._under_way.get(key) is own:
                del self._under_way[key]
