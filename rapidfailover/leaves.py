"""Leave to send a request: a place, and a ticket of each circuit. A trial is one request of all who
share them.
"""

from __future__ import annotations

import time
from typing import Callable, Iterable, Mapping, TypeVar

from .circuit import Asker, Circuit, Ticket
from .config import ProviderConfig
from .directory import Directory
from .members import Leave, Member, Serving, Slot, Visit
from .sharing import OwnMemory, Sharing

__all__ = ["Leaves"]

Outcome = TypeVar("Outcome")

_NO_TICKET = Ticket(-1)


class Leaves(Directory):
    """Gives leave, and takes it back."""

    def __init__(
        self,
        providers: Mapping[str, Iterable[ProviderConfig]],
        rules: tuple[int, float, float],
        early_trials: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._early_trials = early_trials
        self._clock = clock
        # with a store, what that gives: its circuits are everybody's
        self.sharing: Sharing = OwnMemory(self)
        super().__init__(providers, rules)

    @property
    def clock(self) -> Callable[[], float]:
        """Of all times in the circuits."""
        return self._clock

    def give_back(self, visit: Visit | None) -> None:
        """Leave that was not used, or was already reported: its trial is free for others."""
        if visit is not None:
            self._release(visit.leave)

    def _place(self, member: Member, lease: float, insist: bool = False) -> object | None:
        """Among those who are asking it; None where others are about to find out whether it takes
        one more.

        It frees itself when the call is over, for an interrupt can arrive anywhere.
        """
        with self._lock:
            now = self._clock()
            if member.is_crowded(now) and not insist:
                return None
            place = object()
            member.under_way[place] = now, now + lease
            return place

    def _use(self, serving: Serving) -> None:
        """See that there is a circuit of the endpoint at each who serves it."""
        with self._lock:
            for member in serving.routes:
                member.slot(serving.endpoint)

    def _change(self, slot: Slot, change: Callable[[Circuit, float], Outcome]) -> Outcome | None:
        """Change a circuit, for all who share it; what the change returned."""
        return self.sharing.change(slot, change)

    def _admit(
        self,
        member: Member,
        place: object,
        endpoint: str,
        lease: float,
        asker: Asker,
        insist: bool = True,
    ) -> Leave | None:
        """Leave to send one request; a trial is the only one of all processes that share the
        circuit.
        """
        with self._lock:
            slot, asker = member.slot(endpoint), member.as_asked(asker)
        leave = Leave(member, place, slot, (_NO_TICKET, _NO_TICKET))
        own = self._ticket(member, lease, asker, insist)
        its = None if own is None else self._ticket(slot, lease, asker, insist)
        leave.tickets = own or _NO_TICKET, its or _NO_TICKET
        if own is None or its is None:
            self._release(leave)
            return None
        return leave

    def _ticket(self, slot: Slot, lease: float, asker: Asker, insist: bool) -> Ticket | None:
        if slot.circuit.open_until is None and slot.circuit.hold_until is None:
            with self._lock:
                if slot.circuit.open_until is None and slot.circuit.hold_until is None:
                    return slot.circuit.admit(self._clock(), lease, asker)
        return self.sharing.change(
            slot, lambda circuit, now: circuit.admit(now, lease, asker), insist
        )

    def _release(self, leave: Leave | None) -> None:
        if leave is not None and not leave.is_back:
            leave.is_back = True
            with self._lock:
                leave.member.under_way.pop(leave.place, None)
            for slot, ticket in zip((leave.member, leave.slot), leave.tickets):
                self._release_one(slot, ticket)

    def _release_one(self, slot: Slot, ticket: Ticket) -> None:
        if ticket.trial:
            self._change(slot, lambda circuit, now: circuit.release(ticket))
