"""A registry's share in a store, whatever server that store is: circuits, quotas, the last good
copies, leases.

A process decides from its own memory. The thread of a ``Link`` renews that memory twice a second; a
call that changes a circuit has the thread make the change at the server first, and waits a moment
for it. The rules of a circuit are those of ``circuit`` and stand nowhere else: a change is made on
a copy of what the server holds, and set if that is still what it holds (compare-and-set), else made
anew on what it holds now. Times at the server are the server's. Nothing is unpickled; foreign data
is ignored.
"""

from __future__ import annotations

import atexit
import math
import time
import uuid
from dataclasses import replace
from typing import Callable, TypeVar
from weakref import WeakSet

from .circuit import Circuit, Ticket
from .entries import name_of
from .fork import anew_in_child
from .link import Job, Link
from .members import Slot
from .mirror import Mirror, Server
from .outbox import Copy, Outbox
from .pace import Pace
from .sharing import Circuits

__all__ = ["Fleet"]

_SENDING = 0.5  # seconds between two batches of copies

Outcome = TypeVar("Outcome")


class Fleet:
    """What ``sharing.Sharing`` asks for, by a server that ``connect`` gives.

    ``store`` is whose share this is.
    """

    def __init__(self, store: object, connect: Callable[[], Server], circuits: Circuits) -> None:
        self.store = store
        self._connect = connect
        self._circuits = circuits
        self._clock = circuits.clock
        anew_in_child(self._renew)
        self.link = Link(self, lambda: circuits.lock)
        _fleets.add(self)

    def _renew(self) -> None:
        self._server = self._connect()
        self._token = uuid.uuid4().hex
        self._sent_at = -math.inf
        self._mirror = Mirror(self._server, self._circuits)
        self._outbox = Outbox()

    # --- Sharing: what the registry, the records and the refreshes call ---

    def look(self, left: Callable[[], float], first: Callable[[], None] = lambda: None) -> None:
        first()
        self.link.look(left)

    def change(
        self, slot: Slot, change: Callable[[Circuit, float], Outcome], insist: bool = True
    ) -> Outcome | None:
        """Where it takes too long, it is made all the same, and what it would return here
        counts.
        """
        is_away, is_late = self.link.is_away(), self.link.is_late()
        with self._circuits.lock:
            circuit = replace(slot.circuit)
            outcome = change(circuit, self._clock())
            # most calls change nothing
            if circuit == slot.circuit and not self._mirror.unshared.get(slot):
                return outcome
            is_trial = isinstance(outcome, Ticket)
            if (
                is_away
                or self.link.is_full()
                or is_late
                and not is_trial
                and self.link.is_pending(slot)
            ):
                return self._change_here(slot, change)
        job = Job(
            lambda job: self._mirror.change(slot, change, job),
            lambda: self._change_here(slot, change),
            slot,
        )
        if not is_trial or not is_late:
            self.link.do(job)
        with self._circuits.lock:
            if job.is_done:
                result: Outcome = job.outcome
                return result
            if not is_trial:
                return outcome
            job.is_wanted = False
            return self._change_here(slot, change) if insist or self.link.away else None

    def note(self, slot: Slot) -> None:
        self._mirror.note(slot)

    def reserve(self, slot: Slot, pace: Pace, longest: float) -> float:
        """A turn of all who share the pace; of this process alone where the server is slow or
        away.
        """
        job = Job(
            lambda job: self._server.reserve(name_of(slot), pace.interval(), longest),
            is_question=True,
        )
        self.link.do(job)
        with self._circuits.lock:
            now = self._clock()
            if not job.is_done:
                return pace.reserve(now)
            at = float(job.outcome) - self._mirror.offset
            return pace.follow(at, is_taken=at - now <= longest)

    def keep(self, key: str, provider: str, body: bytes, lifetime: int) -> None:
        """Send a copy soon: it goes with others."""
        self._outbox.put(key, Copy(provider, body, self._clock(), lifetime))
        if time.monotonic() - self._sent_at > _SENDING:
            self._sent_at = time.monotonic()
            self.link.post(Job(lambda job: self._send(), kind="copies"))

    def find(self, key: str, patient: bool) -> tuple[bytes | None, float]:
        job = Job(lambda job: self._server.read(key), is_question=True)
        self.link.do(job, patient=patient)
        return job.outcome, self._clock() + self._mirror.offset

    def lease(self, owner: int, key: str, seconds: float) -> float:
        job = Job(lambda job: self._lease(f"{self._token}:{owner}", key, seconds))
        self.link.do(job, patient=True)
        return float(job.outcome or 0.0)

    def describe(self) -> dict[str, str]:
        return {"store": self.link.describe()}

    def be_patient(self, seconds: float) -> None:
        self.link.be_patient(seconds)

    def close(self) -> None:
        if self._outbox or self._mirror.unshared:
            self.link.do(Job(lambda job: self._tell_all()), patient=True)
        self.link.close()

    def _tell_all(self) -> None:
        self._mirror.tell_all()
        self._send_while(lambda: len(self._outbox) > 0)

    def _change_here(self, slot: Slot, change: Callable[[Circuit, float], Outcome]) -> Outcome:
        self._mirror.unshared[slot] = True
        self.link.touch()
        return change(slot.circuit, self._clock())

    # --- Peer: what the link's thread does; all of it may raise ---

    def tick(self) -> None:
        slots = self._circuits.slots() if self._circuits.sharing is self else []
        self._mirror.look(slots, bool(self.link.away))
        self._send()

    def is_pressed(self) -> bool:
        return self._outbox.is_pressed()

    def hang_up(self) -> None:
        self._server.hang_up()

    def explain(self, problem: Exception) -> str:
        return self._server.explain(problem)

    def _send(self) -> None:
        if self._outbox:
            self._sent_at = time.monotonic()
            self._outbox.send(self._server.keep, self._mirror.offset)

    def _send_while(self, is_needed: Callable[[], bool]) -> None:
        while is_needed():
            self._send()

    def _lease(self, owner: str, key: str, seconds: float) -> float:
        if seconds <= 0:
            # the next owner of the lease must find the answer
            self._send_while(lambda: key in self._outbox)
        return self._server.lease(owner, key, seconds)


_fleets: WeakSet[Fleet] = WeakSet()


def _close_all() -> None:
    for fleet in list(_fleets):
        fleet.close()


atexit.register(_close_all)
