"""What a store does for the registry, the records and the refreshes, and how one process does the
same by itself.

Knows no server and no thread. A caller need not know whether there is a store: without a store,
``OwnMemory`` answers.
"""

from __future__ import annotations

from typing import Any, Callable, ContextManager, Protocol, TypeVar

from .circuit import Circuit
from .members import Slot
from .pace import Pace

__all__ = ["Circuits", "Copies", "Lock", "OwnCopies", "OwnMemory", "Sharing", "Store"]

Lock = ContextManager[Any]
Outcome = TypeVar("Outcome")


def _nothing() -> None:
    """There is nothing to do before a look."""


class Circuits(Protocol):
    """What a registry hands to whoever shares its circuits."""

    sharing: Sharing

    @property
    def lock(self) -> Lock:
        """It guards every circuit and quota. Another one after a fork."""

    @property
    def clock(self) -> Callable[[], float]:
        """Of all times in the circuits."""

    def slots(self) -> list[Slot]:
        """All circuits."""

    def slot_of_others(self, platform: str, provider_name: str, endpoint: str) -> Slot | None:
        """Where that one lives, made if need be; None where it is of nobody known here, or there is
        no room.
        """


class Copies(Protocol):
    """What records need."""

    def keep(self, key: str, provider: str, body: bytes, lifetime: int) -> None:
        """Keep a good answer for others too, for so many seconds."""

    def find(self, key: str, patient: bool) -> tuple[bytes | None, float]:
        """The record that others have, and the time of the clock by which its age counts.

        ``patient``: wait for it though the store was slow just now.
        """


class Sharing(Copies, Protocol):
    """The share of one registry in what processes know. Thread-safe; raises nothing."""

    def look(self, left: Callable[[], float], first: Callable[[], None] = _nothing) -> None:
        """See, within the seconds that are left, that what is known is what the others know.

        ``first`` is called before a look: it puts the circuits in place that the look is for.
        """

    def change(
        self, slot: Slot, change: Callable[[Circuit, float], Outcome], insist: bool = True
    ) -> Outcome | None:
        """Change a circuit for all; what ``change(circuit, now)`` returned.

        It may be called several times, on copies: it touches nothing but the circuit that it is
        given. None where it asked for a trial, the others are slow to answer, and this process does
        not ``insist`` on one of its own.
        """

    def note(self, slot: Slot) -> None:
        """The quota or the learned pace there is new. Called under the lock."""

    def reserve(self, slot: Slot, pace: Pace, longest: float) -> float:
        """When the caller's turn is by that pace, on our clock.

        None is taken where that is in more seconds.
        """

    def lease(self, owner: int, key: str, seconds: float) -> float:
        """0.0: this owner may refresh the key, for so long; else for how long another may. 0
        seconds gives it back.
        """

    def describe(self) -> dict[str, str]:
        """What a snapshot tells of it, at each provider."""

    def be_patient(self, seconds: float) -> None:
        """Wait for the others for so long, for who would rather be late than not know what
        they know.
        """

    def close(self) -> None:
        """Send what is left, within a moment. What is used afterwards begins anew."""


class Store(Protocol):
    """What ``FailoverClient(store=)`` takes."""

    def share(self, circuits: Circuits) -> Sharing:
        """Make a registry's circuits those of all. It leaves the store that it was in."""


class OwnCopies:
    """Where nobody else keeps copies."""

    def keep(self, key: str, provider: str, body: bytes, lifetime: int) -> None:
        pass

    def find(self, key: str, patient: bool) -> tuple[bytes | None, float]:
        return None, 0.0


class OwnMemory(OwnCopies):
    """The process's own memory, which is all that there is without a store."""

    def __init__(self, circuits: Circuits) -> None:
        self._circuits = circuits

    def look(self, left: Callable[[], float], first: Callable[[], None] = _nothing) -> None:
        pass

    def change(
        self, slot: Slot, change: Callable[[Circuit, float], Outcome], insist: bool = True
    ) -> Outcome | None:
        with self._circuits.lock:
            return change(slot.circuit, self._circuits.clock())

    def note(self, slot: Slot) -> None:
        pass

    def reserve(self, slot: Slot, pace: Pace, longest: float) -> float:
        with self._circuits.lock:
            return pace.reserve(self._circuits.clock())

    def lease(self, owner: int, key: str, seconds: float) -> float:
        return 0.0

    def describe(self) -> dict[str, str]:
        return {}

    def be_patient(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass
