"""The decision tree of the strategy: one call, several providers, the last good copy."""

from __future__ import annotations

import math
from contextlib import closing
from functools import partial
from typing import Callable, Mapping, Sequence

from .asking import fields_of, in_words, translated
from .config import Attempt, Question, Result, request_of, result_of
from .credentials import Key
from .deadline import Deadline
from .errors import AllProvidersFailed, NoProvidersAvailable, NotFound, refusal
from .events import Events
from .keys import Keys
from .matrix import Rule
from .members import Serving, Visit
from .options import Times
from .records import Copy, Records
from .refresh import HandOver, RefreshQueue
from .registry import ProviderRegistry
from .visiting import Visiting

__all__ = ["Decision", "failure", "not_found"]


class _Once:
    """Looks for the copy when that is first wanted."""

    def __init__(self, find: Callable[[], Copy | None]) -> None:
        self._find: Callable[[], Copy | None] | None = find
        self._found: Copy | None = None

    def __call__(self) -> Copy | None:
        if self._find is not None:
            self._found, self._find = self._find(), None
        return self._found


class Decision:
    """Decides who is asked, what an answer leads to, and how a call ends."""

    registry: ProviderRegistry
    _times: Times
    _matrix: Mapping[int, Rule]
    _keys: Keys
    _records: Records
    _visiting: Visiting
    _events: Events
    _refreshes: None | HandOver | RefreshQueue

    # fmt: off  (by hand, so that the tree fits a screen)
    def _decide(self, question: Question, timeout: float | None, deadline: Deadline,
                refreshing: bool = False, only: str | None = None) -> tuple[Result, bytes]:
        """The strategy's decision tree: read it from top to bottom with the drawing in hand.

        The result, and the bytes that its data was decoded from. ``refreshing``: nobody waits, so
        it may try open circuits early, serves no copy, queues nothing. ``only``: that one alone.
        """
        # Request comes in
        serving = self.registry.serving(question.platform, question.endpoint, only)
        attempts: list[Attempt] = []
        opinions: list[int] = []  # the rows that the providers' answers read as
        api_key: Key | None = None
        visiting, max_stale = self._visiting, self._times.max_stale
        last_good = _Once(partial(self._copy, question, serving, max_stale, True))
        patience = visiting.patience(timeout, deadline, refreshing)
        visits = visiting.visits(question, serving, timeout, deadline, patience,
                                 None if refreshing else last_good)
        with closing(visits):
            for visit in visits:
                if deadline.left() <= 0:
                    break
                sent = translated(question, visit)
                if isinstance(sent, Attempt):  # does not serve this: skipped at no cost, and told
                    attempts.append(sent)
                    opinions += [403] * (visit.leave is not None)
                    continue
                # Try Primary Provider; next time round: Try Secondary Provider
                api_key = api_key or visiting.key_for(visit, deadline)
                ask = visiting.asking(question, visit, sent, timeout, deadline)
                reply = ask(api_key)
                if visiting.reads_as(reply, 429) and visiting.waited(question, ask, reply,
                                                                     patience):
                    reply = ask(api_key)  # Wait + Retry
                if api_key and visiting.reads_as(reply, 401):  # Refresh Key, and once more
                    api_key, problem = self._keys.renew(api_key, deadline)
                    reply = ask.anew(api_key) if api_key else reply._replace(
                        detail=f"{reply.detail} {problem}".strip())
                status, rule, attempt = visiting.verdict(question, ask, reply, refreshing)
                attempts.append(attempt)
                if rule == self._matrix[200]:  # Success 200? Yes: Return Data
                    self._keep(question, serving, visit, reply.body)
                    return visiting.answered(question, visit, deadline, reply, attempts), reply.body
                if not rule.switch:
                    raise refusal(status, visit.provider.name, reply.status, reply.detail)
                opinions.append(status)
                self._switched(question, visit, attempt)  # Log Error, Try Next

        if 404 in opinions and set(opinions) <= {403, 404} and len(opinions) >= serving.how_many():
            self._gone(question, serving, only)  # it may have been deleted
            raise not_found(question, "at any provider", attempts)
        # Return Cached + Queue Refresh
        if not refreshing and only is None and serving.how_many():
            self._queue_refresh(question)
        copy = None if refreshing else last_good()
        if copy is None:
            asker = visiting.late_asker(question, timeout, deadline, refreshing)
            raise failure(question, serving, attempts, self.registry.retry_after(serving, asker))
        self._served_stale(question, copy.provider, copy.age)
        return result_of(question, deadline.elapsed(), copy.data, copy.provider, attempts,
                         stale=True, age=copy.age), copy.body
    # fmt: on

    def _copy(
        self, question: Question, serving: Serving, max_age: float, newest: bool = False
    ) -> Copy | None:
        """The last good copy, if its provider is still known and its check still takes it."""
        return self._records.find(question.key, max_age, newest=newest, vouch=serving.vouches_for)

    def _gone(self, question: Question, serving: Serving, only: str | None) -> None:
        """Nobody has it. Of one alone that has not only its own copy goes, however old."""
        if only is None or self._copy(question, serving, math.inf, True) is not None:
            self._records.forget(question.key, missing=only is None)

    def _keep(self, question: Question, serving: Serving, visit: Visit, body: bytes) -> None:
        """Keep the answer.

        Providers that were passed over because they are out are tried again in the background.
        """
        name = visit.provider.name
        self._records.keep(question.key, name, body)
        if self._refreshes is not None:
            self._refreshes.discard(question.key)
            for passed_over in serving.passed_over(name):
                self._refreshes.want(passed_over, request_of(question))

    def _answered(self, key: str, seconds: float) -> bool:
        """Whether any process has got this answer within the last ``seconds``."""
        return (
            self._records.find(
                key, seconds, vouch=lambda provider, data: self.registry.knows(provider)
            )
            is not None
        )

    def _queue_refresh(self, question: Question) -> None:
        if self._refreshes is not None and question.key not in self._refreshes:
            if self._refreshes.put(question.key, request_of(question)):
                self._events.report(
                    "refresh",
                    platform=question.platform,
                    endpoint=question.endpoint,
                    outcome="queued",
                )

    def _served_stale(self, question: Question, provider: str, age: float) -> None:
        self._events.report(
            "stale",
            platform=question.platform,
            endpoint=question.endpoint,
            provider=provider,
            age=age,
        )

    def _switched(self, question: Question, visit: Visit, attempt: Attempt) -> None:
        is_last = visit.still_to_ask <= 1
        self._events.report(
            "switch",
            platform=question.platform,
            endpoint=question.endpoint,
            words=in_words(attempt),
            **fields_of(attempt),
            next="no provider is left to ask" if is_last else "asking the next provider",
        )


def not_found(question: Question, where: str, attempts: Sequence[Attempt] = ()) -> NotFound:
    return NotFound(
        f"{question.platform} {question.endpoint}: not found {where}",
        platform=question.platform,
        attempts=tuple(attempts),
    )


def failure(
    question: Question, serving: Serving, attempts: list[Attempt], retry_after: float | None
) -> AllProvidersFailed:
    platform, endpoint = question.platform, question.endpoint
    soon = "" if retry_after is None else f"; the first can be asked again in {retry_after:.0f} s"
    asked = any(attempt.action != "skipped" for attempt in attempts)
    if asked or retry_after is None and serving.how_many():
        story = "; ".join(map(in_words, attempts)) or "the time was over before anybody was asked"
        return AllProvidersFailed(
            f"{platform} {endpoint}: no data from any provider: {story}{soon}",
            platform=platform,
            attempts=tuple(attempts),
            retry_after=retry_after,
        )
    return NoProvidersAvailable(
        f"{platform} {endpoint}: every provider is held, cooling down or disabled{soon}",
        platform=platform,
        retry_after=retry_after,
    )
