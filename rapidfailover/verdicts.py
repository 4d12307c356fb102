"""What an attempt came to, and what that changes in the circuits of a provider and of an
endpoint.
"""

from __future__ import annotations

from typing import NamedTuple

from .circuit import ANYBODY, Circuit, Ticket
from .quota import Quota

__all__ = ["ENDPOINT", "NOBODY", "PROVIDER", "Verdict", "judge_endpoint", "judge_provider"]

PROVIDER, ENDPOINT, NOBODY = "provider", "endpoint", "nobody"  # what a fault is evidence against


class Verdict(NamedTuple):
    """What an attempt came to, for the circuits."""

    words: str = ""  # for the log
    # against whom it is evidence: PROVIDER, ENDPOINT, NOBODY; None: no fault
    fault: str | None = None
    given: float = ANYBODY  # seconds that a timeout waited
    took: float = 0.0  # seconds that an answer took
    question: int = 0  # a hash of what was asked
    background: bool = False  # for a refresh: its fault at a closed circuit counts nowhere
    rate_limited: bool = False
    hold: float | None = None  # seconds ...
    told: float = 0.0  # ... since so many seconds ago
    window: float | None = None  # seconds, in which a 429 says that there were too many
    requests: int = 1  # that it took
    quota: Quota = Quota()

    def at(self, ticket: Ticket) -> Verdict:
        """What it is at the circuit that gave out the ticket."""
        if self.fault and self.background and not ticket.trial:
            return self._replace(fault=NOBODY, rate_limited=False)
        return self


def judge_provider(circuit: Circuit, now: float, ticket: Ticket, verdict: Verdict) -> str | None:
    """What a verdict changes in the provider's own circuit: "trip", "hold", "recovery" or nothing.

    What is evidence against an endpoint is none about the provider; but a trial before its time has
    failed.
    """
    verdict = verdict.at(ticket)
    was_held = circuit.hold_until is not None and circuit.hold_until > now
    tripped = recovered = False
    if verdict.rate_limited and verdict.fault and verdict.hold is not None:
        tripped = circuit.count_limit(now, verdict.hold, ticket, verdict.told)
    else:
        if verdict.hold is not None:
            circuit.hold(now - verdict.told, verdict.hold)
            circuit.release(ticket)
        if verdict.fault == PROVIDER or verdict.fault == ENDPOINT and ticket.early:
            tripped = circuit.fault(
                now,
                ticket,
                rate_limited=verdict.rate_limited,
                given=verdict.given,
                question=verdict.question,
            )
        elif verdict.fault is None and verdict.hold is None:
            recovered = circuit.success(ticket, verdict.took, now)
        else:
            circuit.release(ticket)
    if tripped:
        return "trip"
    if verdict.hold is not None and not was_held and (circuit.hold_until or now) - now >= 1.0:
        return "hold"
    return "recovery" if recovered else None


def judge_endpoint(circuit: Circuit, now: float, ticket: Ticket, verdict: Verdict) -> str | None:
    """The same for the endpoint's circuit: what is evidence against the provider is none about
    it.
    """
    verdict = verdict.at(ticket)
    if verdict.fault == ENDPOINT:
        return "trip" if circuit.fault(now, ticket, question=verdict.question) else None
    if verdict.fault is None and verdict.hold is None:
        return "recovery" if circuit.success(ticket, verdict.took) else None
    if verdict.fault == PROVIDER and ticket.early:
        circuit.fault(now, ticket)
    circuit.release(ticket)
    return None
