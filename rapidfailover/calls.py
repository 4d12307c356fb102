"""One question: a copy that is young enough, a call that is under way, or the decision tree."""

from __future__ import annotations

from functools import partial
from typing import Any, Mapping

from . import fork
from .config import (
    Attempt,
    Question,
    RefreshRequest,
    Result,
    check_seconds,
    encode_query,
    plain,
    result_of,
)
from .deadline import Deadline
from .decision import Decision, failure, not_found
from .errors import FailoverError
from .flights import Flights
from .records import key_of

__all__ = ["Calls"]


class Calls(Decision):
    """Calls, and what asks again for them in the background."""

    _namespace: str
    _coalesce: bool
    _flights: Flights

    def call(
        self,
        platform: str,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        provider: str | None = None,
        fresh_for: float | None = None,
    ) -> Result:
        """Data from the first provider that has it, else the last good copy, else one error.

        ``endpoint`` is a path in the platform's own dialect, ``params`` its query. A ``timeout``
        that is longer than the client's deadline raises the deadline of this call to it.
        ``provider``: ask that one alone, by its circuit, and serve a copy of its own only.
        ``fresh_for`` goes before the client's. Raises RequestRefused (BadRequest,
        AuthenticationFailed), NotFound, NoProvidersAvailable, AllProvidersFailed, UnknownPlatform,
        UnknownProvider, InvalidEndpoint, MissingAPIKey or InvalidAPIKey, all of them
        FailoverErrors; ValueError or TypeError for arguments that make no sense.
        """
        fork.check()
        one = None if timeout is None else check_seconds("timeout", timeout)
        seconds = (
            max(self._times.deadline, timeout or 0.0)
            if deadline is None
            else check_seconds("deadline", deadline)
        )
        question = self._question(platform, endpoint, params)
        within = Deadline(seconds)
        fresh = (
            self._times.fresh_for
            if fresh_for is None
            else check_seconds("fresh_for", fresh_for, zero=True)
        )
        try:
            at_hand = self._at_hand(question, within, fresh, provider)
            if at_hand is not None:
                return at_hand
            decide = partial(self._decide, question, one, within, only=provider)
            if not self._coalesce:
                return decide()[0]
            key = question.key if provider is None else f"{question.key} {provider}"
            return self._flights.share(
                key,
                one or self._times.timeout,
                within,
                decide,
                partial(self._too_late, question, provider, one, within),
            )
        finally:
            self._events.settle(within.left())

    def _at_hand(
        self, question: Question, deadline: Deadline, fresh_for: float, provider: str | None
    ) -> Result | None:
        """The copy, if it is young enough. NotFound where nobody had an answer a moment ago."""
        missing_for = self._times.missing_for
        if missing_for and deadline.outside(self._records.is_missing, question.key, missing_for):
            raise not_found(question, "at any provider a moment ago")
        max_age = max(fresh_for, self._times.stale_for)
        if not max_age:
            return None
        serving = self.registry.serving(question.platform, question.endpoint, provider)
        copy = deadline.outside(self._copy, question, serving, max_age)
        if copy is None:
            return None
        is_stale = copy.age > fresh_for
        if is_stale:  # served at once, and refreshed in the background
            self._queue_refresh(question)
            self._served_stale(question, copy.provider, copy.age)
        return result_of(
            question, deadline.elapsed(), copy.data, copy.provider, stale=is_stale, age=copy.age
        )

    def _too_late(
        self,
        question: Question,
        only: str | None,
        timeout: float | None,
        deadline: Deadline,
        provider: str,
    ) -> FailoverError:
        """The error of a call that shares an answer, and has no time left to decode it."""
        attempt = Attempt(
            provider,
            None,
            self._matrix[504].action,
            "no time was left to decode the answer",
            0,
            deadline.elapsed(),
        )
        serving = self.registry.serving(question.platform, question.endpoint, only)
        asker = self._visiting.late_asker(question, timeout, deadline, refreshing=True)
        return failure(question, serving, [attempt], self.registry.retry_after(serving, asker))

    def call_with_failover(
        self,
        platform: str,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The decoded JSON of ``call``: fresh, or the last good copy."""
        return self.call(platform, endpoint, params, timeout=timeout).data

    def forget(self, platform: str, endpoint: str, params: Mapping[str, Any] | None = None) -> None:
        """Drop the copy of an answer, or that nobody has one, here and in the store.

        Raises as ``call``.
        """
        fork.check()
        self._records.forget(self._question(platform, endpoint, params).key)

    def refresh_now(self, request: RefreshRequest) -> Result:
        """Ask again for what nobody answered; the answer goes into the cache. Raises as ``call``
        does.

        For the task that ``refresh=`` handed the request to. It never queues itself again.
        """
        fork.check()
        question, outcome, deadline = (
            self._question(*request),
            "failed",
            Deadline(self._times.deadline),
        )
        try:
            result = self._decide(question, None, deadline, refreshing=True)[0]
            outcome = "done"
            return result
        finally:
            self._events.report(
                "refresh", platform=question.platform, endpoint=question.endpoint, outcome=outcome
            )
            self._events.settle(deadline.left())

    def _ask_again(self, request: RefreshRequest, provider: str | None = None) -> None:
        """For the queue's threads: ask whoever may be asked; or the ``provider`` alone, as long as
        it is out.
        """
        if provider is None:
            self.refresh_now(request)
            return
        question = self._question(*request)
        if self.registry.is_out(question.platform, provider, question.endpoint):
            self._decide(
                question, None, Deadline(self._times.deadline), refreshing=True, only=provider
            )

    def _question(self, platform: str, endpoint: str, params: Mapping[str, Any] | None) -> Question:
        # before anything else, so that its errors come first
        self.registry.check(platform, endpoint)
        platform, endpoint = plain(platform), plain(endpoint)
        query = encode_query(params, lambda: self.registry.takes_json(platform, endpoint))
        return Question(
            platform,
            endpoint,
            params or {},
            query,
            key_of(platform, endpoint, query, self._namespace),
        )
