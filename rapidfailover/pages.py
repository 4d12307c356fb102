"""All pages of a list: the first from whoever has it, the others from that provider alone.

Knows no client: ``ask`` and ``paging_of`` are its ``call`` and its registry's routes.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generator, Mapping, Optional

from .config import Paging, Result, encode_query
from .errors import AllProvidersFailed, InvalidEndpoint
from .fork import pass_on

__all__ = ["Next", "all_pages", "check_limit"]

Next = Callable[[Dict[str, Any], Any], Optional[Mapping[str, Any]]]


def _any() -> bool:
    """Values may nest: where no provider takes nested values, the call raises."""
    return True


def check_limit(limit: int | None) -> None:
    """A positive whole number, None, or a ValueError."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ValueError(f"limit is a positive whole number of pages, not {limit!r}")


def all_pages(
    ask: Callable[[Mapping[str, Any], str | None], Result],
    params: Mapping[str, Any],
    provider: str | None,
    limit: int | None,
    next_params: Next | None,
    paging_of: Callable[[str], Paging | None],
) -> Generator[Result, None, None]:
    """A Result for each page. A page that fails raises; what was yielded before it stays yielded.

    ``ask(params, provider)`` asks for one page. ``next_params`` goes before the provider's own
    Paging.
    """
    seen: set[int] = set()
    number = 0
    while True:
        page = dict(params)
        seen.add(hash(encode_query(page, _any)))
        result = ask(page, provider)
        provider, number = result.provider, number + 1
        following = None
        # before the page is handed out, as its data may be changed then
        if limit is None or number < limit:
            following = _following(result, page, number, next_params, paging_of)
        yield result
        if isinstance(following, Exception):
            raise following
        if following is None:
            return
        if hash(encode_query(following, _any)) in seen:
            raise AllProvidersFailed(
                f"{result.platform} {result.endpoint}: {provider} gave a cursor for the second "
                f"time, after {number} pages",
                platform=result.platform,
                attempts=result.attempts,
            )
        params = following


def _following(
    result: Result,
    page: dict[str, Any],
    number: int,
    next_params: Next | None,
    paging_of: Callable[[str], Paging | None],
) -> Any:
    """The params of the next page, None at the end, or the error that is raised once this
    page was handed out.
    """
    question = f"{result.platform} {result.endpoint}"
    paging = None
    try:
        if next_params is None:
            paging = paging_of(result.provider)
            if paging is None:
                return InvalidEndpoint(
                    f"{question}: it is not known how the pages of {result.provider} go on: "
                    "pass next=, or give its Route a Paging"
                )
        follow: Any = next_params or paging.next  # type: ignore[union-attr]
        following = follow(dict(page), result.data)
        if following is not None:
            encode_query(following, _any)
        return following
    # the user's code, or a Paging that meets an answer of another shape
    except Exception as problem:
        pass_on(problem)
        if paging is None:
            return problem
        return AllProvidersFailed(
            f"{question}: page {number} of {result.provider} does not say how to go on: "
            f"{type(problem).__name__}",
            platform=result.platform,
            attempts=result.attempts,
        )
