"""What a snapshot of the registry tells: plain JSON types, times as seconds from now."""

from __future__ import annotations

from typing import Any

from .circuit import Circuit
from .members import Member

__all__ = ["describe"]


def describe(member: Member, now: float) -> dict[str, Any]:
    """For a snapshot: plain JSON types, times as seconds from now."""
    provider, pace, slots = member.provider, member.pace(now), member.slots()
    errors = [slot.circuit.last_error for slot in slots if slot.circuit.last_error is not None]
    return {
        "priority": provider.priority,
        "status": provider.status,
        "enabled": member.enabled,
        "host": provider.host,
        "advice": provider.advice,
        "circuit": member.state(now),
        "error_count": max(slot.circuit.error_count for slot in slots),
        "last_error": round(max(errors) - now, 3) if errors else None,
        "disabled_until": _ahead(_open_until(member), now),
        "hold_until": _ahead(member.circuit.hold_until, now),
        "quota": member.quota.as_told(now),
        "requests": member.requests,
        "pace": None if pace is None else [pace.requests, pace.seconds],
        "latency_ms": None if member.latency is None else round(1000 * member.latency, 2),
        "endpoints": {
            name: _describe_endpoint(slot.circuit, now)
            for name, slot in member.endpoints.items()
            if not slot.circuit.is_healthy()
        },
    }


def _describe_endpoint(circuit: Circuit, now: float) -> dict[str, Any]:
    return {
        "circuit": circuit.state(now),
        "error_count": circuit.error_count,
        "last_error": None if circuit.last_error is None else round(circuit.last_error - now, 3),
        "disabled_until": _ahead(circuit.open_until, now),
    }


def _ahead(moment: float | None, now: float) -> float | None:
    return round(moment - now, 3) if moment is not None and moment > now else None


def _open_until(member: Member) -> float | None:
    """When the provider's own circuit, or else the first of its endpoints in use, can be tried
    again; None where there is nothing to wait for.
    """
    opened = [slot.circuit.open_until for slot in member.endpoints.values()]
    if member.circuit.open_until is None and opened and None not in opened:
        return min(moment for moment in opened if moment is not None)
    return member.circuit.open_until
