"""The calls for all pages of a list, and for many questions at once."""

from __future__ import annotations

from functools import partial
from typing import Any, Generator, Iterable, Mapping

from .batch import Answer, answers
from .calls import Calls
from .config import Result, check_seconds
from .errors import InvalidEndpoint
from .pages import Next, all_pages, check_limit

__all__ = ["Lists"]


class Lists(Calls):
    """Each page and each question is a call."""

    def pages(
        self,
        platform: str,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        *,
        next: Next | None = None,
        limit: int | None = None,
        provider: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[Result, None, None]:
        """A Result for each page of a list, at most ``limit``; each has a deadline of its own.

        The first from whoever has it, the others from that provider alone: a cursor means nothing
        to another. ``next(params, data)`` says how to go on: the params of the next page, or None
        at the end. Without it the Route's Paging of the provider that answered does. A page that
        fails raises as ``call`` does, and so does a cursor that comes twice; what was yielded stays
        yielded, and ``provider`` with the params of the page that failed goes on from there.
        """
        self._question(platform, endpoint, params)
        check_limit(limit)
        serving = self.registry.serving(platform, endpoint, provider)
        if next is None and not any(map(serving.paging, serving.names())):
            raise InvalidEndpoint(
                f"{platform} {endpoint}: it is not known how its pages go on: pass next=, "
                "or give a provider's Route a Paging"
            )
        return all_pages(
            lambda page, only: self.call(
                platform, endpoint, page, timeout=timeout, deadline=deadline, provider=only
            ),
            params or {},
            provider,
            limit,
            next,
            serving.paging,
        )

    def batch(
        self,
        platform: str,
        endpoint: str,
        questions: Iterable[Mapping[str, Any]],
        *,
        threads: int = 8,
        patience: float = 60.0,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[Answer, None, None]:
        """An Answer for each of the ``questions`` (params), as it is done: its Result, or its
        FailoverError.

        At most ``threads`` are asked at a time, and never more are taken than that needs; they are
        taken in the caller's thread. Duplicates are asked, and answered, once: the latest 65,536
        questions at least are remembered. One that failed for want of a provider waits and is asked
        again, for as long as the error's ``retry_after`` is within ``patience``, and until nobody
        has had an answer for ten times that; for ``patience`` itself where the last ones are left,
        and each failed while others were answered. Raises what no item would survive:
        AuthenticationFailed, MissingAPIKey, InvalidAPIKey, UnknownPlatform, InvalidEndpoint; and
        what ``questions`` raises, once all that it gave is answered. Close the iterator to stop
        early.
        """
        self._question(platform, endpoint, None)
        for name, value in (("timeout", timeout), ("deadline", deadline)):
            if value is not None:
                check_seconds(name, value)
        ask = partial(self.call, platform, endpoint, timeout=timeout, deadline=deadline)
        may_nest = partial(self.registry.takes_json, platform, endpoint)
        return answers(ask, questions, threads, patience, may_nest)
