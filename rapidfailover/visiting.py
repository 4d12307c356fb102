"""How providers are asked one after the other for a call, and what the registry is told of each."""

from __future__ import annotations

from contextlib import closing
from typing import Callable, Generator, Mapping, Sequence

from .asking import Asking, fields_of, in_words
from .circuit import Asker
from .config import Attempt, Question, Result, result_of
from .credentials import Key, needs_client_key
from .deadline import Deadline, Patience
from .events import Events
from .keys import Keys
from .matrix import Rule, read_as
from .members import Serving, Visit
from .options import Times
from .records import Copy
from .registry import ProviderRegistry
from .transport import Outgoing, Reply, Transport
from .verdicts import PROVIDER, Verdict

__all__ = ["Visiting"]

# seconds before the retry of a 429 that does not say for how long (the strategy's sleep)
_UNTOLD_WAIT = 1.0


class Visiting:
    """For the decision tree and for the health check."""

    def __init__(
        self,
        registry: ProviderRegistry,
        transport: Transport,
        keys: Keys,
        matrix: Mapping[int, Rule],
        events: Events,
        times: Times,
    ) -> None:
        self._registry = registry
        self._transport = transport
        self._keys = keys
        self._matrix = matrix
        self._events = events
        self._times = times

    def asker(self, timeout: float | None, left: float) -> Asker:
        return Asker(min(timeout or self._times.timeout, left), is_told=timeout is not None)

    def late_asker(
        self, question: Question, timeout: float | None, deadline: Deadline, refreshing: bool
    ) -> Asker:
        """Who would come again, once this call has failed."""
        number = 0 if refreshing else question.number()
        return self.asker(timeout, deadline.seconds)._replace(
            early=True, question=number, most=deadline.seconds
        )

    def visits(
        self,
        question: Question,
        serving: Serving,
        timeout: float | None,
        deadline: Deadline,
        patience: Patience,
        last_good: Callable[[], Copy | None] | None,
    ) -> Generator[Visit, None, None]:
        """Who may be asked, in order; where that is nobody and there is no copy, those that may be
        tried early.

        Without a ``last_good``: for the refresh worker, which may try them early in any case.
        """
        asker, is_anybody = self.asker(timeout, deadline.left()), False
        if last_good is None:
            asker = asker._replace(early=True, background=True)
        with closing(self._registry.visits(serving, deadline.left, asker, patience)) as visits:
            for visit in visits:
                is_anybody = is_anybody or visit.leave is not None
                yield visit
        if is_anybody or last_good is None or last_good() is not None:
            return
        asker = self.asker(timeout, deadline.left())._replace(
            early=True, question=question.number()
        )
        with closing(self._registry.visits(serving, deadline.left, asker)) as visits:
            yield from (visit for visit in visits if visit.leave is not None)

    def patience(self, timeout: float | None, deadline: Deadline, refreshing: bool) -> Patience:
        """How long the call waits at each provider; for the refresh worker, not at all."""
        longest = 0.0 if refreshing else self._times.max_wait
        return Patience(longest, timeout or self._times.timeout, deadline)

    def key_for(self, visit: Visit, deadline: Deadline) -> Key | None:
        """RapidAPI's key, where that is what the provider is sent."""
        return self._keys.current(deadline) if needs_client_key(visit.provider) else None

    def asking(
        self,
        question: Question,
        visit: Visit,
        sent: Outgoing,
        timeout: float | None,
        deadline: Deadline,
    ) -> Asking:
        """Its time: as the call says, else the provider, else the client."""
        seconds = timeout or visit.provider.timeout or self._times.timeout
        return Asking(self._transport, visit, question.platform, sent, seconds, deadline)

    def is_success(self, rule: Rule) -> bool:
        return rule == self._matrix[200]

    def reads_as(self, reply: Reply, status: int) -> bool:
        return read_as(reply.status, self._matrix) == status

    def waited(self, question: Question, ask: Asking, reply: Reply, patience: Patience) -> bool:
        """Wait for as long as a 429 asks for, and for the turn after that, where it is worth it.

        False: not at all.
        """
        longest, leave, deadline = self._times.max_wait, ask.visit.leave, ask.deadline
        wait = min(_UNTOLD_WAIT, longest) if reply.hold is None else reply.hold
        if not self._matrix[429].retry or reply.quota.left == 0:
            return False
        if wait > longest or wait >= deadline.left():
            return False
        if not ask.has_time() or leave is None or leave.is_trial():  # a trial has waited already
            return False
        ask.told, ask.told_at = reply, deadline.elapsed()
        return self._registry.ask_again(
            ask.visit,
            question.endpoint,
            wait,
            deadline.left,
            Asker(ask.seconds_left(), is_told=True),
            patience,
            reply.window,
        )

    def verdict(
        self, question: Question, ask: Asking, reply: Reply, refreshing: bool = False
    ) -> tuple[int, Rule, Attempt]:
        """How the matrix reads a reply; the registry is told."""
        status = read_as(reply.status, self._matrix)
        rule = self._matrix[status]
        attempt = ask.attempt(reply, rule.action)
        against = None
        if rule.fault:
            against = PROVIDER if status == 429 else reply.against
        told = 0.0
        if reply is ask.told:  # and nothing came of the wait
            reply, told = reply._replace(window=None), ask.deadline.elapsed() - ask.told_at
        # calls with the same deadline come some milliseconds sooner or later
        given = reply.given * 1.05 + 0.01
        verdict = Verdict(
            in_words(attempt),
            against,
            given,
            ask.took,
            question.number(),
            refreshing,
            rate_limited=status == 429,
            hold=reply.hold,
            told=told,
            window=reply.window,
            requests=ask.requests,
            quota=reply.quota,
        )
        happened = self._registry.report(ask.visit, verdict)
        if happened:
            self._events.tell(happened, platform=question.platform, **fields_of(attempt))
        return status, rule, attempt

    def answered(
        self,
        question: Question,
        visit: Visit,
        deadline: Deadline,
        reply: Reply,
        attempts: Sequence[Attempt],
    ) -> Result:
        """The result of a call that somebody has data for."""
        name = visit.provider.name
        return result_of(
            question, deadline.elapsed(), reply.data, name, attempts, quota=reply.quota.as_told()
        )
