"""Gives the health check leave to ask each provider once."""

from __future__ import annotations

from .admission import Admission
from .circuit import Asker
from .members import Checkup, Visit

__all__ = ["Checkups", "a_second"]


class Checkups(Admission):
    """Of each enabled provider of a platform."""

    def checkups(
        self, platform: str, lease: float, *, sparing: float | None = None
    ) -> list[Checkup]:
        """The enabled providers, with leave to ask those that are neither held nor cooling down.

        Leave is reported like that of a visit. ``sparing`` is for the monitor: it asks none that
        answered within so many seconds, and none with less than a tenth of its quota left.
        """
        checkups = []
        self.sharing.look(a_second)
        endpoint = self._probes[platform][0] if platform in self._probes else None
        routes = {} if endpoint is None else self.serving(platform, endpoint).routes
        for member in self._members(platform).values():
            if not member.enabled:
                continue
            with self._lock:
                now = self._clock()
                why_not = (
                    "no probe is known for the platform"
                    if endpoint is None
                    else (
                        f"it does not serve {endpoint}"
                        if member not in routes
                        else member.why_out(endpoint, now)
                    )
                )
                if not why_not and sparing is not None:
                    if member.answered_at is not None and now - member.answered_at < sparing:
                        why_not = f"answered {now - member.answered_at:.0f} s ago"
                    elif member.quota.is_scarce(now):
                        why_not = "less than a tenth of its quota is left"
            leave = None
            if not why_not and endpoint is not None:
                leave = self._admit(
                    member, self._place(member, lease, insist=True), endpoint, lease, Asker()
                )
            visit = None if leave is None else Visit(member.provider, routes[member], 1, leave)
            checkups.append(Checkup(platform, member.provider, visit, why_not or "on trial"))
        return checkups


def a_second() -> float:
    """For who has no deadline."""
    return 1.0
