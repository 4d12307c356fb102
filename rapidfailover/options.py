"""The options of a client, checked when the client is made, so that a wrong option is reported at
that place.
"""

from __future__ import annotations

import inspect
from typing import Any, Mapping, NamedTuple

from .cache import check_cache
from .config import check_seconds
from .matrix import MATRIX, Rule

__all__ = [
    "Times",
    "check_functions",
    "check_objects",
    "checked_size",
    "checked_times",
    "laid_over",
]


class Times(NamedTuple):
    """A client's, in seconds; what each is for stands at FailoverClient."""

    timeout: float
    deadline: float
    max_wait: float
    max_stale: float
    fresh_for: float
    stale_for: float
    missing_for: float

    def of_copies(self) -> float:
        """For how long a copy is of use."""
        return max(self.max_stale, self.fresh_for, self.stale_for, self.missing_for)


def checked_times(**times: Any) -> Times:
    """ValueError, TypeError. Those but ``timeout`` and ``deadline`` may be zero."""
    return Times(
        **{
            name: check_seconds(name, value, zero=name not in ("timeout", "deadline"))
            for name, value in times.items()
        }
    )


def checked_size(max_body: Any) -> int:
    """Bytes of an answer. ValueError."""
    if not isinstance(max_body, int) or isinstance(max_body, bool) or max_body < 1:
        raise ValueError(f"max_body is a positive whole number of bytes, not {max_body!r}")
    return max_body


def laid_over(rows: Any) -> dict[int, Rule]:
    """The matrix with these rows in place of its own. TypeError."""
    if not isinstance(rows, Mapping):
        raise TypeError(f"matrix maps statuses to Rules, it is no {type(rows).__name__}")
    for status, rule in rows.items():
        if not isinstance(status, int) or not isinstance(rule, Rule):
            raise TypeError(f"matrix maps statuses to Rules, not {status!r} to {rule!r}")
    return {**MATRIX, **rows}


def check_objects(registry: Any, cache: Any, store: Any, namespace: Any) -> None:
    """TypeError for what cannot serve: says what to write, and no value."""
    if registry is not None and (isinstance(registry, type) or not hasattr(registry, "visits")):
        raise TypeError(
            "registry is a ProviderRegistry: write ProviderRegistry({platform:"
            f" [ProviderConfig(...)]}}), not {_kind(registry)}"
        )
    if cache is not None:
        check_cache(cache)
    if store is not None and (isinstance(store, type) or not hasattr(store, "share")):
        raise TypeError(
            "store is a RedisStore or a SQLiteStore: write RedisStore(server) or"
            f" SQLiteStore(path), not {_kind(store)}"
        )
    if not isinstance(namespace, str):
        raise TypeError(f"namespace is a text, it is no {type(namespace).__name__}")


def check_functions(refresh: Any, **functions: Any) -> None:
    if not isinstance(refresh, bool) and not callable(refresh):
        raise TypeError(f"refresh is True, False or a callable, not {refresh!r}")
    for name, function in {**functions, "refresh": refresh}.items():
        if name in ("on_event", "refresh_key") and function is not None and not callable(function):
            raise TypeError(f"{name} is a callable, it is no {type(function).__name__}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} is asynchronous: write a plain function")


def _kind(thing: Any) -> str:
    """In words, what was given in place of the right object."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
