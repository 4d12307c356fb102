"""What is left of a provider's plan, as its answers told it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Quota"]

_WHOLE = 2.0  # seconds by which two tellings of one reset differ, since they come in whole ones
_UNTOLD_RESET = 3600.0  # seconds for which a quota without a reset is believed


class Quota(NamedTuple):
    """A plan's requests. None: no answer told that.

    It is good until its reset. Read without a clock, it is as it was told.
    """

    limit: float | None = None  # requests of the plan
    left: float | None = None  # requests of them
    reset: float | None = None  # seconds, from when it was told
    told_at: float = 0.0  # on the clock of whoever keeps it

    def is_known(self) -> bool:
        """Whether any answer told something of it."""
        return self[:3] != (None, None, None)

    def then(self, told: Quota, now: float, took: float) -> Quota:
        """As an answer tells it that took so long.

        Of two that were under way together, and until the same reset, the one with less left
        knows more.
        """
        left, later = told.left, told._replace(told_at=now).renewed_in(now) - self.renewed_in(now)
        if left is not None and self.left is not None:
            if self.told_at > now - took and abs(later) < took + _WHOLE:
                left = min(left, self.left)
        return told._replace(left=left, told_at=now)

    def renewed_in(self, now: float) -> float:
        """Seconds until its reset; 0.0 after that, and where nothing is known."""
        if not self.is_known():
            return 0.0
        lasts = _UNTOLD_RESET if self.reset is None else self.reset
        return max(self.told_at + lasts - now, 0.0)

    def remaining(self, now: float) -> float | None:
        """Requests that may be sent until the reset; None: unknown."""
        return self.left if self.renewed_in(now) > 0 else None

    def is_used_up(self, now: float) -> bool:
        """Whether no request is left until the reset."""
        return self.left == 0 and self.renewed_in(now) > 0

    def is_scarce(self, now: float) -> bool:
        """Whether less than a tenth of the plan is left until the reset."""
        remaining = self.remaining(now)
        return remaining is not None and remaining < (self.limit or 0) / 10

    def as_told(self, now: float | None = None) -> dict[str, float | None] | None:
        """{"limit", "remaining", "reset"}: reset in seconds from now; None where nothing is known,
        or no more.
        """
        if now is None:
            known, reset = self.is_known(), self.reset
        else:
            left = self.renewed_in(now)
            known, reset = left > 0, None if self.reset is None else round(left, 3)
        return {"limit": self.limit, "remaining": self.left, "reset": reset} if known else None
