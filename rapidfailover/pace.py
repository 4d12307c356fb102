"""How often a provider may be asked: a token bucket of one. Pure: takes ``now``, reads no clock,
never sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Deque

__all__ = ["FORGOTTEN", "Pace", "learned", "of_count"]

# times the interval, because not every request takes the same time to arrive
_MARGIN = 1.05
FORGOTTEN = 3600.0  # seconds after the last 429 that named its window


@dataclass
class Pace:
    """So many ``requests`` in so many ``seconds``, evenly; turns are given in order."""

    requests: float
    seconds: float
    until: float | None = None  # when a learned one is forgotten; None: it was set
    counted: int = 0  # answers in the window, of which a learned one was made
    free_at: float = 0.0  # when the next turn is that nobody has taken
    taken_at: float = -1e9  # when the last was used

    def interval(self) -> float:
        return _MARGIN * self.seconds / self.requests

    def reserve(self, now: float) -> float:
        """When the turn is that the caller has from now on."""
        at = max(now, self.free_at, self.taken_at + self.interval())
        self.free_at = at + self.interval()
        return at

    def follow(self, at: float, is_taken: bool) -> float:
        """Others told when the next free turn is, and whether the caller has it."""
        self.free_at = max(self.free_at, at + self.interval() if is_taken else at)
        return at

    def give_back(self, at: float) -> None:
        """A turn that is not used, if nobody has one behind it."""
        if self.free_at == at + self.interval():
            self.free_at = at

    def take(self, now: float, at: float) -> float:
        """Use the turn: 0.0, or the seconds that it is too early, be it that another was late with
        its own.
        """
        wait = max(at, self.taken_at + self.interval()) - now
        if wait > 0:
            return wait
        self.taken_at = now
        self.free_at = max(self.free_at, now + self.interval())
        return 0.0

    def turn_in(self, now: float) -> float:
        """Seconds until a turn is free."""
        return max(self.free_at, self.taken_at + self.interval(), now) - now

    def is_forgotten(self, now: float) -> bool:
        return self.until is not None and now > self.until


def learned(window: float, answered: Deque[float], now: float) -> Pace:
    """From a 429 that names its window: as many as were answered in it before, at least one."""
    return of_count(len([moment for moment in answered if now - moment < window]), window, now)


def of_count(counted: int, window: float, learned_at: float, before: Pace | None = None) -> Pace:
    """So many were answered in the window before that.

    Turns that were given by the pace ``before`` stay given.
    """
    pace = Pace(max(counted, 1), window, until=learned_at + FORGOTTEN, counted=counted)
    if before is not None:
        pace.free_at, pace.taken_at = before.free_at, before.taken_at
    return pace
