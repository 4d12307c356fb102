"""How a circuit is written down in a store: its name, and one flat list of numbers. Knows no server
and no thread.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any, NamedTuple

from .circuit import ANYBODY, FIRST_EARLY, LAST_EARLY, Circuit
from .members import Slot
from .pace import FORGOTTEN, Pace, of_count
from .quota import Quota

__all__ = [
    "LONGEST",
    "LONGEST_NAME",
    "Entry",
    "dump",
    "load",
    "merged",
    "name_of",
    "name_parts",
    "tells_something",
]

LONGEST = 1000  # bytes of a circuit
# bytes; a process that has not asked the endpoint itself ignores a circuit with a longer name
LONGEST_NAME = 1000
_LONGEST_TRIAL = 300.0  # seconds
_VERSION = 3

# The list: the version, a random number (no two changes look alike), then ...
_COUNTS = (
    "generation",
    "error_count",
    "limits",
    "rate_limited",
    "opened_by",
    "patient_count",
    "early_tried",
)
_SECONDS = ("early_pause", "patience", "patient_patience")
# ... times, which are the server's or null ...
_TIMES = ("early_at", "last_error", "open_until", "hold_until", "trial_until")
# ... when the quota was told and what it was; when the pace was learned, of how many answers in how
# many seconds.
_QUOTA = ("limit", "remaining", "reset")
_PARTS = (2, len(_COUNTS), len(_SECONDS), len(_TIMES), 1, len(_QUOTA), 1, 2)


class Entry(NamedTuple):
    """What a store holds of a slot; the times are ours, but for one."""

    circuit: Circuit
    quota: Quota  # told_at 0.0: never
    learned: Pace | None
    learned_at: float  # by the server's clock: the same for all who know of it; 0.0: never


def name_of(slot: Slot) -> bytes:
    where = f"\0{slot.endpoint}" if slot.endpoint else ""
    return f"{slot.platform}\0{slot.provider.name}{where}".encode("utf-8", "surrogatepass")


def name_parts(name: bytes) -> tuple[str, str, str] | None:
    """Platform, provider and endpoint; None for a provider's own circuit, and for foreign data."""
    try:
        parts = name.decode("utf-8", "surrogatepass").split("\0")
    except ValueError:
        return None
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 and len(name) <= LONGEST_NAME else None


def dump(
    slot: Slot, circuit: Circuit, now: float, offset: float, learned_at: float, counted: int
) -> bytes:
    """``offset``: the server's time less ours. The pace was learned then, by its clock, of so many
    more answers.
    """
    quota, learned = slot.quota, slot.learned
    pace = (None, None) if learned is None else (learned.counted + counted, learned.seconds)
    times = {name: getattr(circuit, name) for name in _TIMES}
    if circuit.trial_until is not None:
        times["trial_until"] = min(circuit.trial_until, now + _LONGEST_TRIAL)

    def there(at: float | None) -> float | None:
        return None if at is None else round(at + offset, 6)

    numbers = [
        _VERSION,
        random.getrandbits(48),
        *(getattr(circuit, name) for name in _COUNTS + _SECONDS),
        *map(there, times.values()),
        there(quota.told_at or None),
        *quota[: len(_QUOTA)],
        learned_at or None,
        *pace,
    ]
    return json.dumps(numbers, separators=(",", ":")).encode()


def load(rules: Circuit, held: bytes, now: float, offset: float) -> Entry | None:
    """The entry, its circuit under those rules; None for foreign data."""
    try:
        numbers = json.loads(held.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(numbers, list) or len(numbers) != sum(_PARTS):
        return None
    parts = _split(numbers)
    if not _is_sound(*parts):
        return None
    _, counts, seconds, times, (quota_at,), quota, (learned_at,), pace = parts
    times = _here(times, offset)
    learned_at = learned_at or 0.0
    longest = [rules.max_cooldown] * 4 + [_LONGEST_TRIAL, 0.0]
    if any(
        at is not None and at > now + most + 5.0
        for at, most in zip([*times, learned_at - offset], longest)
    ):
        # later than the rules allow: foreign data, or the server's clock was set back
        return None
    values = {
        **dict(zip(_COUNTS, counts)),
        **dict(zip(_SECONDS, seconds)),
        **dict(zip(_TIMES, times)),
    }
    circuit = replace(rules, **values)
    circuit.early_pause = float(min(max(circuit.early_pause, FIRST_EARLY), LAST_EARLY))
    told_at = 0.0 if quota_at is None else quota_at - offset
    known = Quota(*quota)._replace(told_at=told_at)
    return Entry(circuit, known, _pace(learned_at - offset, *pace), learned_at)


def tells_something(held: bytes, now: float, offset: float) -> bool:
    """Whether that is a circuit against which something counts."""
    entry = load(Circuit(max_cooldown=ANYBODY), held, now, offset)
    return entry is not None and not entry.circuit.is_healthy()


def merged(stored: Circuit, local: Circuit) -> Circuit:
    """What both know: the circuit that changed more often, or met the later fault; the longer
    hold.
    """
    later = max(
        stored, local, key=lambda circuit: (circuit.generation, circuit.last_error or -math.inf)
    )
    holds = [circuit.hold_until for circuit in (stored, local) if circuit.hold_until is not None]
    return replace(later, hold_until=max(holds, default=None))


def _split(numbers: list[Any]) -> list[list[Any]]:
    parts, begin = [], 0
    for length in _PARTS:
        parts.append(numbers[begin : begin + length])
        begin += length
    return parts


def _is_sound(
    head: list[Any], counts: list[Any], seconds: list[Any], times: list[Any], *others: list[Any]
) -> bool:
    every = [number for part in (counts, seconds, times, *others) for number in part]
    return (
        head[0] == _VERSION
        and all(
            number is None or isinstance(number, (int, float)) and abs(number) < 1e15
            for number in every
        )
        and all(isinstance(number, int) and 0 <= number < 1e10 for number in counts)
        and all(number is not None and 0 <= number <= ANYBODY for number in seconds)
        and times[0] is not None
    )


def _here(times: list[Any], offset: float) -> list[Any]:
    return [None if at is None else at - offset for at in times]


def _pace(learned_at: float, counted: int | None, seconds: float | None) -> Pace | None:
    if (
        not isinstance(counted, int)
        or seconds is None
        or not (counted >= 0 and 0 < seconds <= FORGOTTEN)
    ):
        return None
    return of_count(counted, seconds, learned_at)
