"""Keeps a registry's circuits and those in a store the same: tells the store what changed here, and
takes over what changed there.

Only the thread that talks to the server works on it, except for ``note`` and ``unshared``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import (
    Any,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    Protocol,
    Sequence,
    TypeVar,
)

from .circuit import Circuit, Ticket
from .entries import Entry, dump, load, merged, name_of, name_parts, tells_something
from .link import Job
from .members import Slot
from .outbox import Record
from .pace import of_count
from .sharing import Circuits

__all__ = ["Mirror", "Seen", "Server"]

_NEWS = 60.0  # seconds between two updates, by any process, of a quota that is not used up
_MOMENT = 0.001  # seconds; by so much a time may differ that went to the server and back

Outcome = TypeVar("Outcome")


class Seen(NamedTuple):
    """What a look at the server tells."""

    now: float  # by the server's clock
    mark: bytes  # how far this look came: the next one goes on from there
    # the look cannot go on from the mark: the data is another, or an earlier state of it
    is_lost: bool
    # the circuits that changed since the mark, by name; all, where it is lost
    news: Mapping[bytes, bytes]


class Server(Protocol):
    """Where a store keeps its data. One thread calls it; all of it may raise."""

    def look(self, mark: bytes, joining: bool) -> Seen | None:
        """What changed since that look (b"" for the first), or None for nothing.

        ``joining``: see that it can be written to.
        """

    def change(self, name: bytes, seen: bytes, new: bytes) -> bytes | None:
        """Set that circuit if it is as it was ``seen``, else return what it is now."""

    def reserve(self, name: bytes, interval: float, longest: float) -> float:
        """When the next free turn is; it is taken if that is in no more than the ``longest``
        seconds.
        """

    def keep(self, records: Sequence[Record]) -> None:
        """Keep each unless there is a newer one by its key."""

    def read(self, key: str) -> bytes | None:
        """The content of a record."""

    def lease(self, owner: str, key: str, seconds: float) -> float:
        """0.0: leased to this owner; else for how long it is another's. 0 seconds gives it back."""

    def hang_up(self) -> None:
        """Let the connection go."""

    def explain(self, problem: Exception) -> str:
        """What went wrong, without anything secret."""


class Lesson(NamedTuple):
    """When a pace was learned or forgotten."""

    learned_at: float  # by our clock
    at_server: float  # by the server's: the same for all who know of it
    counted: int  # answers of ours that are still to be added


class Mirror:
    """The circuits of a registry beside those of a ``server``."""

    def __init__(self, server: Server, circuits: Circuits) -> None:
        self._server = server
        self._circuits = circuits
        self._clock = circuits.clock
        self.offset = 0.0  # the server's time less ours
        # slots with changes that only this process has: True of the circuit, else of quota or pace
        self.unshared: dict[Slot, bool] = {}
        self._mark = b""  # of the last look
        self._held: dict[bytes, bytes] = {}  # what the server is known to hold, by name
        self._seen: dict[Slot, bytes] = {}  # what of that is in our circuits
        self._loaded: dict[Slot, Entry] = {}  # the same, as it was read
        self._lessons: dict[Slot, Lesson] = {}

    def note(self, slot: Slot) -> None:
        """A quota or a pace goes with the next change, else with the next look, where it has
        to be told.
        """
        if self._is_news(slot):
            self.unshared.setdefault(slot, False)

    def look(self, slots_here: Iterable[Slot], joining: bool) -> None:
        """Let those circuits be what the server holds, and tell it what was changed here."""
        began = self._clock()
        seen = self._server.look(self._mark, joining)
        slots = {name_of(slot): slot for slot in slots_here}
        if seen is not None:
            self._set_clock(seen.now, began)
            self._take(seen, slots)
        for name, slot in slots.items():
            if name in self._held and not self.unshared.get(slot):
                self._adopt(slot, self._held[name])
        # forget the slots that the registry has dropped
        for known in (self._seen, self._loaded, self._lessons):
            for slot in known.keys() - slots.values():
                del known[slot]
        self.tell_all()

    def tell_all(self) -> None:
        """What was changed here alone."""
        for slot in list(self.unshared):
            self._tell(slot)

    def change(self, slot: Slot, change: Callable[[Circuit, float], Outcome], job: Job) -> Outcome:
        """Make the change at the server, then here; the job is done with that."""
        if self.unshared.get(slot):
            self._tell(slot)
        outcome = self._set(slot, change, job)
        # the caller who asked for the trial is gone: give it back
        if isinstance(outcome, Ticket) and not (job.is_wanted and job.outcome is outcome):
            ticket = outcome
            self._set(slot, lambda circuit, now: circuit.release(ticket))
        return outcome

    def _take(self, seen: Seen, slots: dict[bytes, Slot]) -> None:
        """Take over what a look told, and add to ``slots`` those that are new."""
        if seen.is_lost:
            self._held, self._seen, self._loaded = {}, {}, {}
            for slot, is_changed in _to_be_told(slots.values()):
                self.unshared[slot] = is_changed or self.unshared.get(slot, False)
        self._held.update(seen.news)
        if slots:
            slots.update(self._slots_of_others(name for name in seen.news if name not in slots))
        self._mark = seen.mark

    def _set_clock(self, server_now: float, began: float) -> None:
        """Keep the known offset of the server's clock for as long as it can be right, so that all
        times stay as they are.
        """
        ended = self._clock()
        if not server_now - ended <= self.offset <= server_now - began:
            self.offset = server_now - (began + ended) / 2

    def _slots_of_others(self, names: Iterable[bytes]) -> Iterator[tuple[bytes, Slot]]:
        """The slots of endpoints that are out and that nobody has asked here: a snapshot shows them
        all the same.
        """
        for name in names:
            parts = name_parts(name)
            if parts is not None and tells_something(self._held[name], self._clock(), self.offset):
                slot = self._circuits.slot_of_others(*parts)
                if slot is not None:
                    yield name, slot

    def _tell(self, slot: Slot) -> None:
        """Tell what was changed here alone."""
        was_changed = self.unshared.pop(slot, False)
        with self._circuits.lock:
            local = replace(slot.circuit)
        try:
            self._set(slot, lambda circuit, now: None, local=local if was_changed else None)
        except Exception:
            with self._circuits.lock:
                self.unshared[slot] = was_changed or self.unshared.get(slot, False)
            raise

    def _set(
        self,
        slot: Slot,
        change: Callable[[Circuit, float], Outcome],
        job: Job | None = None,
        local: Circuit | None = None,
    ) -> Outcome:
        """Compare and set, until nobody else was faster."""
        name = name_of(slot)
        seen = self._held.get(name, b"")
        for _ in range(100):
            entry = self._load(slot, seen)
            circuit = replace(slot.circuit) if entry is None else entry.circuit
            before = replace(circuit)
            if local is not None:
                circuit = merged(circuit, local)
            outcome = change(circuit, self._clock())
            is_changed = circuit != before or local is not None
            if not is_changed and (job is not None or not self._is_news(slot)):
                break
            lesson = self._lesson(slot)
            new = dump(slot, circuit, self._clock(), self.offset, lesson.at_server, lesson.counted)
            held = self._server.change(name, seen, new)
            if held is None:
                seen, self._lessons[slot] = new, lesson._replace(counted=0)
                break
            seen = held
        else:
            raise RuntimeError("another change was always faster")
        self._adopt(slot, seen, job, outcome)
        return outcome

    def _adopt(self, slot: Slot, held: bytes, job: Job | None = None, outcome: Any = None) -> None:
        """Take over what the server holds. At the same moment the job is done, and nobody does it
        here as well.
        """
        entry = None if held == self._seen.get(slot) else self._load(slot, held)
        self._held[name_of(slot)] = self._seen[slot] = held
        with self._circuits.lock:
            if entry is not None and not self.unshared.get(slot):  # else it was changed here
                slot.circuit = entry.circuit
            if job is not None and job.is_wanted and not job.is_done:
                job.finish(outcome)

    def _load(self, slot: Slot, held: bytes) -> Entry | None:
        """What the server holds, or None for foreign data.

        A newer quota and a newer pace are taken over.
        """
        now = self._clock()
        entry = load(slot.circuit, held, now, self.offset)
        if entry is not None:
            self._loaded[slot] = entry
            with self._circuits.lock:
                told_at = min(entry.quota.told_at, now)
                if slot.quota.told_at + _MOMENT < told_at:
                    slot.quota = entry.quota._replace(told_at=told_at)
                self._learn(slot, entry)
        return entry

    def _learn(self, slot: Slot, entry: Entry) -> None:
        """Take over the pace that another process learned or forgot.

        That process counted its own answers alone: ours are added, once.
        """
        lesson, learned = self._lesson(slot), entry.learned
        if lesson.at_server < entry.learned_at:
            slot.learned_at = min(entry.learned_at - self.offset, self._clock())
            counted = 0 if learned is None else slot.counted(learned.seconds, slot.learned_at)
            self._lessons[slot] = lesson = Lesson(slot.learned_at, entry.learned_at, counted)
            if counted:
                self.unshared.setdefault(slot, False)
        if lesson.at_server == entry.learned_at:
            slot.learned = learned and of_count(
                learned.counted, learned.seconds, slot.learned_at, slot.learned
            )

    def _lesson(self, slot: Slot) -> Lesson:
        lesson = self._lessons.get(slot)
        if lesson is not None and lesson.learned_at == slot.learned_at:
            return lesson
        at_server = round(slot.learned_at + self.offset, 6) if slot.learned_at else 0.0
        return Lesson(slot.learned_at, at_server, 0)  # learned by this process

    def _is_news(self, slot: Slot) -> bool:
        """Whether pace or quota has to be told: at once when the quota is used up or no longer is,
        else once a minute.
        """
        loaded, lesson = self._loaded.get(slot), self._lesson(slot)
        if loaded is None or lesson.counted:
            return True
        return (
            (slot.quota.left == 0) != (loaded.quota.left == 0)
            or slot.quota.told_at - loaded.quota.told_at > _NEWS
            or lesson.at_server > loaded.learned_at
        )


def _to_be_told(slots: Iterable[Slot]) -> Iterator[tuple[Slot, bool]]:
    """The slots of which the server has to know, and whether because of their circuit."""
    for slot in slots:
        circuit = slot.circuit
        is_changed = bool(
            circuit.generation or circuit.error_count or circuit.hold_until or circuit.limits
        )
        if is_changed or slot.quota.told_at or slot.learned_at:
            yield slot, is_changed
