"""The circuit of one provider: closed, open, half-open. Reads no clock, never sleeps, holds no lock.

Half-open is not stored: it is an open circuit whose cooldown is over. Whoever is admitted gets a ticket
that bears the circuit's generation, and a verdict whose ticket is of an earlier generation is dropped:
it speaks of a time before the circuit last changed.
"""

from typing import NamedTuple, Optional

__all__ = ["Circuit", "Ticket"]

FIRST_EARLY = 2.0  # seconds until the refresh worker may try an open circuit, doubled by each failure
LAST_EARLY = 300.0  # to at most this


class Ticket(NamedTuple):
    """The right to send one request."""

    generation: int
    trial: bool = False  # the one request of a circuit that is not closed
    early: bool = False  # sent before the cooldown was over: its failure changes nothing
    limits: int = 0  # how many rate limits there had been when it was given out


class Circuit:
    """Faults in a row open it; a success closes it; a hold keeps it shut whatever its state. All times in seconds."""

    def __init__(self, error_threshold: int = 3, cooldown: float = 300.0, max_cooldown: float = 3600.0) -> None:
        self.error_threshold = error_threshold
        self.cooldown = cooldown
        self.max_cooldown = max_cooldown
        self.generation = 0
        self.last_error: Optional[float] = None
        self._clear()

    def _clear(self) -> None:
        self.error_count = 0
        self.open_until: Optional[float] = None  # None: closed
        self.hold_until: Optional[float] = None
        self.trial_until: Optional[float] = None  # the lease of the trial under way
        self.rate_limited = False  # the fault that opened it was a 429: no early trials
        self.limits = 0  # 429s in a row that said for how long
        self.early_pause = FIRST_EARLY
        self.early_at = 0.0

    def is_sound(self) -> bool:
        """Whether it is closed and nothing counts against the provider: a success would change nothing."""
        return self.open_until is None and not self.error_count and not self.limits

    def state(self, now: float) -> str:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def wait(self, now: float, early: bool = False) -> float:
        """Seconds until a request may go: 0.0 is now. ``early`` asks for the refresh worker."""
        until = now
        if self.open_until is not None:
            out = self.open_until
            if early and not self.rate_limited and self.early_at < out:
                out = self.early_at
            if out > until:
                until = out
        if self.hold_until is not None and self.hold_until > until:
            until = self.hold_until
        if self.trial_until is not None and self.trial_until > until:
            until = self.trial_until
        return until - now

    def why_out(self, now: float) -> str:
        """Why no request may go, in words; nothing when one may."""
        wait = self.wait(now)
        if wait <= 0:
            return ""
        held = self.hold_until is not None and self.hold_until > now
        why = "held" if held else "cooling down" if self.state(now) == "open" else "on trial"
        return f"{why} for {wait:.0f} s"

    def admit(self, now: float, lease: float, early: bool = False) -> Optional[Ticket]:
        """A ticket, or None. A trial that has not reported after ``lease`` seconds frees itself."""
        if self.wait(now, early) > 0:
            return None
        if self.open_until is None:
            return Ticket(self.generation, limits=self.limits)
        self.generation += 1  # so that the verdict of a trial whose lease ran out is late
        self.trial_until = now + lease
        return Ticket(self.generation, trial=True, early=now < self.open_until, limits=self.limits)

    def release(self, ticket: Ticket) -> None:
        """Give back a trial that has nothing to report."""
        if ticket.trial and ticket.generation == self.generation:
            self.trial_until = None

    def fault(self, now: float, ticket: Optional[Ticket] = None, *, rate_limited: bool = False) -> bool:
        """Count a fault; True when it opened the circuit (again). Without a ticket it always counts."""
        if ticket is not None and ticket.generation != self.generation:
            return False
        self.last_error = now
        if ticket is not None and ticket.early:
            self.trial_until = None
            self.early_pause = min(2 * self.early_pause, LAST_EARLY)
            self.early_at = now + self.early_pause
            return False
        self.error_count += 1
        if self.error_count < self.error_threshold:
            return False
        self.generation += 1
        self.open_until = now + min(self.cooldown * self.error_count, self.max_cooldown)
        self.trial_until = None
        self.rate_limited = rate_limited
        self.early_at = now + self.early_pause
        return True

    def success(self, ticket: Optional[Ticket] = None) -> bool:
        """The provider is alive: clear the count; True when that closed the circuit. A hold stays."""
        if ticket is not None and ticket.generation != self.generation:
            return False
        was_open = self.open_until is not None
        if was_open:
            self.generation += 1
        hold_until = self.hold_until
        self._clear()
        self.hold_until = hold_until
        return was_open

    def hold(self, now: float, seconds: float) -> None:
        """Stay away for as long as the provider asked; only ever lengthened, at most ``max_cooldown``."""
        self.hold_until = max(now + min(seconds, self.max_cooldown), self.hold_until or now)

    def limit(self, now: float, seconds: float, ticket: Ticket) -> bool:
        """Hold for a 429 that said for how long; True when that opened the circuit.

        It is a fault as well where the hold would not keep anybody away: when it is under a second, and when
        it is shorter than a cooldown and the request went out after the hold of an earlier 429, with nothing
        good in between. A provider that answers nothing but 429 is soon left alone, and blocks no account.
        """
        self.hold(now, seconds)
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
