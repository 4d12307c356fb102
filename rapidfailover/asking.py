"""One attempt at one provider: its requests, their share of the call's deadline, and how it is told
in words.
"""

from __future__ import annotations

from typing import Any

from .config import Attempt, Question
from .credentials import Key, needs_client_key
from .deadline import Deadline, fair_share
from .fork import pass_on
from .members import Visit
from .transport import Outgoing, Reply, Transport, outgoing

__all__ = ["Asking", "fields_of", "in_words", "translated"]


class Asking:
    """The requests of one attempt: their share of the deadline, which waits do not touch, and their
    number.
    """

    def __init__(
        self,
        transport: Transport,
        visit: Visit,
        platform: str,
        sent: Outgoing,
        timeout: float,
        deadline: Deadline,
    ) -> None:
        self._transport = transport
        self.visit = visit
        self._platform = platform
        self._sent = sent
        self.deadline = deadline
        self._began = deadline.elapsed()
        self.requests = 0
        self.took = 0.0  # seconds, the last request
        self.told: Reply | None = None  # a 429 that the registry knows already ...
        self.told_at = 0.0  # ... since this moment of the call
        self._timeout = timeout
        self._share = self._fair_share()

    def _fair_share(self) -> float:
        """Seconds for this provider, of what is left of the deadline."""
        return min(self._timeout, fair_share(self.deadline.left(), self.visit.still_to_ask))

    def anew(self, api_key: Key) -> Reply:
        """Ask with a new key, whatever time was spent with the old one."""
        self._share = self._fair_share()
        return self(api_key)

    def __call__(self, api_key: Key | None) -> Reply:
        """The key goes to hosts of RapidAPI alone."""
        began, provider = self.deadline.elapsed(), self.visit.provider
        seconds = min(self._share, self.deadline.left())
        reply = self._transport.ask(
            self._platform,
            provider,
            self._sent,
            api_key if needs_client_key(provider) else None,
            seconds,
        )
        self.deadline.extend(reply.apart)
        self.took = self.deadline.elapsed() - began - reply.apart
        self._share -= self.took
        self.requests += 1 + reply.retries
        return reply

    def seconds_left(self) -> float:
        """That the next request would get."""
        return min(self._share, self.deadline.left())

    def has_time(self) -> bool:
        """Whether an answer that takes as long as the last one would be in time."""
        return self._share > self.took

    def attempt(self, reply: Reply, action: str) -> Attempt:
        """The attempt as it ended."""
        return Attempt(
            self.visit.provider.name,
            reply.wire,
            action,
            reply.detail,
            self.requests - 1,
            self.deadline.elapsed() - self._began,
        )


def translated(question: Question, visit: Visit) -> Outgoing | Attempt:
    """The question in the provider's dialect, or the attempt that says why it is skipped."""
    why = f"does not serve {question.endpoint}"
    if visit.leave is not None:
        try:
            return outgoing(question, visit.route)
        except Exception as problem:  # a route's function, on params that it does not know
            pass_on(problem)
            why = f"cannot say this in its dialect: {type(problem).__name__}"
    return Attempt(visit.provider.name, None, "skipped", why, 0, 0.0)


def fields_of(attempt: Attempt) -> dict[str, Any]:
    """Of an event."""
    return {
        name: getattr(attempt, name)
        for name in ("provider", "status", "action", "detail", "elapsed")
    }


def in_words(attempt: Attempt) -> str:
    """An attempt in words: who, what came over the wire, how the matrix reads it, why."""
    status = "" if attempt.status is None else f"{attempt.status} "
    detail = f" ({attempt.detail})" if attempt.detail else ""
    return f"{attempt.provider}: {status}{attempt.action}{detail}"
