"""A circuit: closed, open, half-open. Reads no clock, never sleeps, holds no lock. All times in
seconds.

Half-open is not stored: it is an open circuit whose cooldown is over. Whoever is admitted gets a
ticket that bears the circuit's generation, and a verdict whose ticket is of an earlier generation
is dropped: it speaks of a time before the circuit last changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Asker", "Circuit", "Ticket"]

FIRST_EARLY = 2.0  # seconds until an open circuit may be tried early, doubled by each failure ...
LAST_EARLY = 60.0  # ... to at most this
_SOON = 0.5  # seconds after which a trial is back, about
# seconds; nobody gives more, so a circuit that is open for calls of so many is open for all
ANYBODY = 1e9


class Ticket(NamedTuple):
    """The right to send one request."""

    generation: int
    trial: bool = False  # the one request of a circuit that is not closed
    early: bool = False  # sent before the cooldown was over: its failure changes nothing
    limits: int = 0  # how many rate limits there had been when it was given out
    patient: bool = False  # of a call that gives more time than those that it is open for
    held: float | None = None  # when the hold ended after which it goes first


class Asker(NamedTuple):
    """Who wants to be admitted."""

    seconds: float = 0.0  # that the call gives the provider
    early: bool = False  # it may try an open circuit before its cooldown is over
    # a hash of what is asked by a call for which there is nobody else: its first early trial comes
    # at once, but for the question that opened the circuit. 0: the refresh worker, which waits
    question: int = 0
    is_told: bool = False  # the seconds were given with the call, and go before the provider's own
    background: bool = False  # nobody waits for the answer: it takes no turn from those who do
    most: float = ANYBODY  # seconds that the call's deadline leaves a provider


NOBODY_SPECIAL = Asker()


@dataclass
class Circuit:
    """Faults in a row open it; a success closes it; a hold keeps it shut whatever its state.

    Where timeouts alone opened it, it is open for calls that give no more than the longest got.
    """

    error_threshold: int = 3
    cooldown: float = 300.0
    max_cooldown: float = 3600.0
    generation: int = 0
    last_error: float | None = None
    error_count: int = 0
    open_until: float | None = None  # None: closed
    hold_until: float | None = None
    trial_until: float | None = None  # the lease of the trial under way
    rate_limited: bool = False  # the fault that opened it was a 429: no early trials
    limits: int = 0  # 429s in a row that said for how long
    # the longest that a timeout of the row was given; ANYBODY with another fault in it
    patience: float = 0.0
    patient_count: int = 0  # faults in a row of calls that gave more than that, once it is open ...
    patient_patience: float = 0.0  # ... and the longest that those were given
    opened_by: int = 0  # a hash of the question whose fault opened it
    early_pause: float = FIRST_EARLY
    early_at: float = 0.0
    early_tried: bool = False  # since it opened

    def is_healthy(self) -> bool:
        """Whether it is closed and nothing counts against it: a success would change nothing."""
        is_shut = self.open_until is not None or self.hold_until is not None
        return not (is_shut or self.error_count or self.limits)

    def is_only_slow(self) -> bool:
        """Whether nothing counts against it but that it was slower than the time that it got."""
        return self.hold_until is None and not self.limits and self.patience < ANYBODY

    def state(self, now: float) -> str:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def blocked_for(self, now: float, asker: Asker = NOBODY_SPECIAL) -> float:
        """Seconds until a request may go: 0.0 is now."""
        return self._blocked_for(now, asker, self.trial_until)

    def comes_in(self, now: float, asker: Asker = NOBODY_SPECIAL) -> float:
        """Seconds until a request can be expected to go: a trial is back soon, whatever its
        lease.
        """
        trial = self.trial_until
        return self._blocked_for(now, asker, trial if trial is None else min(trial, now + _SOON))

    def _blocked_for(self, now: float, asker: Asker, trial_until: float | None) -> float:
        until = now
        if self.hold_until is not None and self.hold_until > until:
            until = self.hold_until
        if self.open_until is not None and not self._is_for(asker):
            until = max(until, self._out_until(asker), trial_until or now)
        elif trial_until is not None and self.open_until is None:  # after a hold one goes first
            until = max(until, trial_until)
        return until - now

    def is_limited(self, now: float, asker: Asker = NOBODY_SPECIAL) -> bool:
        """Whether only a hold, or the one that goes first after it, keeps the asker away."""
        is_open = self.open_until is not None and not self._is_for(asker)
        return not is_open and self.blocked_for(now, asker) > 0

    def _is_for(self, asker: Asker) -> bool:
        """Whether it is open for those only who give less. The refresh worker makes trials."""
        return asker.seconds > self.patience and not asker.background

    def _out_until(self, asker: Asker) -> float:
        assert self.open_until is not None
        if not asker.early or self.rate_limited:
            return self.open_until
        if asker.question and not self.early_tried and asker.question != self.opened_by:
            return 0.0
        return min(self.early_at, self.open_until)

    def admit(self, now: float, lease: float, asker: Asker = NOBODY_SPECIAL) -> Ticket | None:
        """A ticket, or None. A trial that has not reported after ``lease`` seconds frees itself."""
        if self.blocked_for(now, asker) > 0:
            return None
        if self.open_until is None and self.hold_until is None:
            return Ticket(self.generation, limits=self.limits)
        if self.open_until is not None and self._is_for(asker):
            return Ticket(self.generation, limits=self.limits, patient=True)
        self.generation += 1  # so that the verdict of a trial whose lease ran out is late
        self.trial_until = now + lease
        early = self.open_until is not None and now < self.open_until
        self.early_tried = self.early_tried or early
        return Ticket(
            self.generation, trial=True, early=early, limits=self.limits, held=self.hold_until
        )

    def release(self, ticket: Ticket) -> None:
        """Give back a trial that has nothing to report."""
        if ticket.trial and ticket.generation == self.generation:
            self.trial_until = None

    def fault(
        self,
        now: float,
        ticket: Ticket | None = None,
        *,
        rate_limited: bool = False,
        given: float = ANYBODY,
        question: int = 0,
    ) -> bool:
        """Count a fault; True when that opened the circuit. Without a ticket it always counts.

        ``given``: the seconds that a timeout waited. ``question``: whose fault it is.
        """
        if ticket is not None and ticket.generation != self.generation:
            return False
        self.last_error = now
        if ticket is not None and ticket.early:
            self._put_off(now)
            return False
        # for such calls it is closed: they count by themselves
        if ticket is not None and ticket.patient:
            self.patient_count += 1
            self.patient_patience = min(max(self.patient_patience, given), ANYBODY)
            if self.patient_count < self.error_threshold:
                return False
            self.error_count, self.patience = self.patient_count, self.patient_patience
        else:
            if ticket is not None and ticket.trial:
                self.trial_until = None
            self.error_count += 1
            self.patience = min(max(self.patience, given), ANYBODY)
            if self.error_count < self.error_threshold:
                return False
        self.generation += 1
        self.open_until = now + min(self.cooldown * self.error_count, self.max_cooldown)
        self.trial_until = None
        self.rate_limited = rate_limited
        self.opened_by = question
        self.patient_count, self.patient_patience = 0, 0.0
        self.early_at, self.early_tried = now + self.early_pause, False
        return True

    def _put_off(self, now: float) -> None:
        """An early trial showed nothing: the next comes later."""
        self.trial_until = None
        self.early_pause = min(2 * self.early_pause, LAST_EARLY)
        self.early_at = now + self.early_pause

    def success(self, ticket: Ticket | None = None, took: float = 0.0, now: float = 0.0) -> bool:
        """An answer that shows life: clear the count; True when that closed the circuit. A hold
        stays, and so does an open circuit for calls that give less time than it ``took``.
        """
        if ticket is not None and ticket.generation != self.generation:
            return False
        if ticket is not None and took > self.patience and (ticket.patient or ticket.early):
            self.patient_count, self.patient_patience = 0, 0.0
            if ticket.early:
                self._put_off(now)
            return False
        was_open = self.open_until is not None
        if was_open:
            self.generation += 1
        hold_until = (
            None if ticket is not None and ticket.held == self.hold_until else self.hold_until
        )
        self._clear()
        self.hold_until = hold_until
        return was_open

    def _clear(self) -> None:
        self.error_count = self.limits = self.patient_count = 0
        self.open_until = self.hold_until = self.trial_until = None
        self.rate_limited = self.early_tried = False
        self.patience = self.patient_patience = self.early_at = 0.0
        self.opened_by, self.early_pause = 0, FIRST_EARLY

    def hold(self, now: float, seconds: float) -> None:
        """Stay away for as long as it asked, at most ``max_cooldown``; only ever lengthened."""
        self.hold_until = max(now + min(seconds, self.max_cooldown), self.hold_until or now)

    def count_limit(self, now: float, seconds: float, ticket: Ticket, told: float = 0.0) -> bool:
        """Hold for a 429 that said for how long, ``told`` seconds ago; True when that opened it.

        It is a fault as well when it is under a second, which keeps nobody away, and when it is
        shorter than a cooldown and the request went out after the hold of an earlier 429, with
        nothing good in between: one that answers nothing but 429 is soon left alone.
        """
        self.hold(now - told, seconds)
        again = 0 < self.limits == ticket.limits and seconds < self.cooldown
        self.limits += 1
        if seconds < 1.0 or again:
            return self.fault(now, ticket, rate_limited=True)
        self.release(ticket)
        return False

    def reset(self) -> None:
        """As new, but for verdicts on requests that are under way: those are late."""
        self.generation += 1
        self.last_error = None
        self._clear()
