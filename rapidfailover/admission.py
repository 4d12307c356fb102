"""Who may be asked now, in order: by the circuits, the holds, the plans and the paces.

The lock is held for a few lines of dictionary work, never over a request, a sleep or a log line.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Generator

from .circuit import Asker
from .deadline import Patience, fair_share
from .leaves import Leaves
from .members import Member, Serving, Visit
from .sharing import Circuits

__all__ = ["Admission", "surely"]


class Admission(Leaves):
    """Each provider in its turn."""

    def visits(
        self,
        serving: Serving,
        time_left: Callable[[], float],
        asker: Asker = Asker(),
        patience: Patience | None = None,
    ) -> Generator[Visit, None, None]:
        """One provider after the other, each admitted by its circuits at the moment its turn comes.

        One that does not serve the endpoint comes without leave, to be told and not to be asked.
        ``patience`` is asked where there is something to wait for: a turn by a provider's pace, and
        where nobody else serves, the end of a hold.

        ``time_left`` tells how long in seconds the call has left, which is how long it may keep a
        trial. A visit that is left without a report gives its trial back.
        """
        asker = self._as_may(asker)
        waiting = list(serving.members)
        put_off: list[Member] = []
        is_anybody, member = False, None
        self.sharing.look(time_left, partial(self._use, serving))
        while True:
            left = time_left()
            ready, fair = self._ready(waiting, serving, asker, left)
            if not ready:
                if not is_anybody and self._waited(serving, asker, patience):
                    continue
                return
            if patience is not None and member is not ready[0]:
                patience.renew()
            member = ready[0]
            is_served = member in serving.routes
            place = self._place(member, left, insist=patience is None) if is_served else None
            if is_served and place is None:
                if patience is None or not patience.queue():
                    waiting.remove(member)  # it queued as long as an attempt may take
                continue
            waiting.remove(member)
            leave = (
                None
                if place is None
                else self._admit(
                    member, place, serving.endpoint, left, fair, insist=member in put_off
                )
            )
            # another call has the trial, or the store is slow: ask other providers first
            if is_served and leave is None:
                if member not in put_off:
                    put_off.append(member)
                    waiting.append(member)
                continue
            try:
                if leave is None or _had_turn(self, member, patience, asker.background):
                    is_anybody = is_anybody or is_served
                    still_to_ask = len([one for one in ready if one in serving.routes])
                    yield Visit(member.provider, serving.routes.get(member), still_to_ask, leave)
            finally:
                self._release(leave)

    def ask_again(
        self,
        visit: Visit,
        endpoint: str,
        seconds: float,
        time_left: Callable[[], float],
        asker: Asker,
        patience: Patience,
        window: float | None = None,
    ) -> bool:
        """After a 429: all leave the provider alone for so long; then the visit has leave to ask
        once more.

        It is told at once, before anybody waits for it. False: not in time.
        """
        leave = visit.leave
        assert leave is not None
        member = leave.member
        with self._lock:
            if window is not None:
                member.learn(window, self._clock())
                self.sharing.note(member)
        self._change(member, lambda circuit, now: circuit.hold(now, seconds))
        self._release(leave)
        while True:
            with self._lock:
                now = self._clock()
                is_ready = member.blocked_for(endpoint, now, asker) <= 0
                is_limited = member.is_limited(endpoint, now, asker)
            if is_ready:
                left = time_left()
                again = self._admit(
                    member, self._place(member, left, insist=True), endpoint, left, asker
                )
                if again is not None and _had_turn(self, member, patience):
                    leave.place, leave.tickets, leave.is_back = again.place, again.tickets, False
                    return True
                self._release(again)
                if again is not None:
                    return False
            elif not is_limited:
                return False
            if not patience.wait(member.pause(now)):
                return False

    def retry_after(self, serving: Serving, asker: Asker = Asker()) -> float | None:
        """Seconds until the first of them can be asked; None when one can be now, or none is
        enabled.
        """
        asker = self._as_may(asker)
        with self._lock:
            now, endpoint = self._clock(), serving.endpoint
            members = [member for member in serving.routes if member.enabled]
            ready = [one for one in members if one.blocked_for(endpoint, now, asker) <= 0]
            asker = asker._replace(most=surely(asker.most, max(len(ready), 1)))
            waits = [member.comes_in(endpoint, now, asker) for member in members]
        return min(waits, default=0.0) or None

    def _ready(
        self, waiting: list[Member], serving: Serving, asker: Asker, left: float
    ) -> tuple[list[Member], Asker]:
        """The providers that may be asked now, by priority; last those whose quota is used up: they
        cost money. And who asks: where one is open, with the time that the deadline leaves each.
        """
        with self._lock:
            now, endpoint = self._clock(), serving.endpoint
            ready = [
                member
                for member in waiting
                if member.enabled and member.blocked_for(endpoint, now, asker) <= 0
            ]
            if any(member.circuit.open_until is not None for member in ready):
                to_ask = len([member for member in ready if member in serving.routes])
                asker = asker._replace(most=surely(left, max(to_ask, 1)))
                ready = [
                    member for member in ready if member.blocked_for(endpoint, now, asker) <= 0
                ]
            ready.sort(key=lambda member: member.quota.is_used_up(now))
        return ready, asker

    def _waited(self, serving: Serving, asker: Asker, patience: Patience | None) -> bool:
        """Wait until the first hold ends, or a moment for the request that goes first after a
        hold. False: there is nothing to wait for, or not enough time.
        """
        with self._lock:
            now = self._clock()
            pauses = [
                member.pause(now)
                for member in serving.routes
                if member.enabled and member.is_limited(serving.endpoint, now, asker)
            ]
        return bool(pauses) and patience is not None and patience.wait(min(pauses))

    def _as_may(self, asker: Asker) -> Asker:
        return asker if self._early_trials else asker._replace(early=False)


def surely(left: float, to_ask: int) -> float:
    """Seconds that a provider gets at least of so many, some of which pass before it is asked."""
    return 0.95 * fair_share(left, to_ask)


def _had_turn(
    circuits: Circuits, member: Member, patience: Patience | None, background: bool = False
) -> bool:
    """Wait for a turn by the provider's pace and take it; False: it is too far away."""
    if member.rate is None and member.learned is None:
        return True
    with circuits.lock:
        now = circuits.clock()
        pace = member.pace(now)
        if pace is None:
            return True
        if background and pace.turn_in(now) > 0:  # behind all who wait for an answer
            return False
    at = circuits.sharing.reserve(member, pace, 0.0 if patience is None else patience.left())
    while True:
        with circuits.lock:
            wait = pace.take(circuits.clock(), at)
        if wait <= 0:
            return True
        if patience is None or not patience.wait(wait):
            with circuits.lock:
                pace.give_back(at)
            return False
