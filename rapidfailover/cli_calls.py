"""The commands that ask: get, call, pages and health; and the client of all commands."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Mapping

from .api import question_of
from .cache import FileCache
from .cli_output import FAILED, FRESH, STALE, Status, as_json, put, span, table, tell
from .client import FailoverClient
from .config import Result
from .errors import FailoverError
from .registry import ProviderRegistry

__all__ = ["call", "client_of", "get", "health", "pages", "params_of", "quota_text", "tell_how"]

_PATIENCE = 2.0  # seconds to read what other runs have learnt, and to save it at the end
_AFTER = 1.0  # second: a user who waits longer is told which provider is asked


@contextmanager
def client_of(
    arguments: argparse.Namespace,
    registry: ProviderRegistry | None,
    on_event: Callable[[str, dict[str, Any]], object] | None = None,
) -> Iterator[FailoverClient]:
    """The client of a command. It refreshes nothing: the process would be gone before that."""
    options: dict[str, Any] = {} if arguments.cache is None else _kept_in(arguments.cache)
    for name in ("timeout", "deadline"):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    with FailoverClient(registry, refresh=False, on_event=on_event, **options) as client:
        client.registry.sharing.be_patient(_PATIENCE)
        yield client


def _kept_in(directory: str) -> dict[str, Any]:
    """The options to keep copies and what was learnt. No call fails because of the directory."""
    kept: dict[str, Any] = {"cache": FileCache(directory)}
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        from .sqlite import SQLiteStore  # here: not every Python has sqlite3

        kept["store"] = SQLiteStore(os.path.join(directory, "learnt.sqlite"))
    except OSError as problem:
        tell(f"--cache {directory}: {problem.strerror}: nothing is kept there")
    except ImportError:
        tell(f"--cache {directory}: this Python has no sqlite3: only copies are kept there")
    return kept


def get(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    endpoint, params = question_of(arguments.platform, arguments.name)
    return _answer(arguments, registry, endpoint, params)


def call(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    return _answer(arguments, registry, arguments.endpoint, params_of(arguments.params))


def params_of(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """A name that is repeated is a list."""
    params: dict[str, Any] = {}
    for name, value in pairs:
        if name in params:
            known = params[name]
            params[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            params[name] = value
    return params


def _answer(
    arguments: argparse.Namespace,
    registry: ProviderRegistry | None,
    endpoint: str,
    params: Mapping[str, Any],
) -> int:
    asking = _Asking(arguments.platform, endpoint)
    with client_of(arguments, registry, asking.heard) as client, asking.shown(client):
        if arguments.cache is not None:
            client.registry.open_at_first_fault()
        result = client.call(
            arguments.platform,
            endpoint,
            params,
            timeout=arguments.timeout,
            deadline=arguments.deadline,
        )
    if result.stale or not arguments.quiet:
        tell_how(result)
    put(as_json(result.data, indent=None if arguments.json else 2))
    return STALE if result.stale else FRESH


def pages(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    """Each page is out before the next is asked for."""
    asking, count, is_stale = _Asking(arguments.platform, arguments.endpoint), 0, False
    params = params_of(arguments.params)
    with client_of(arguments, registry, asking.heard) as client, asking.shown(client):
        try:
            for result in client.pages(
                arguments.platform,
                arguments.endpoint,
                params,
                limit=arguments.limit,
                timeout=arguments.timeout,
                deadline=arguments.deadline,
            ):
                count += 1
                is_stale = is_stale or result.stale
                if result.stale or not arguments.quiet:
                    tell_how(result, f"page {count}: ")
                put(as_json(result.data), flush=True)
                asking.renew()
        except FailoverError as error:
            if not count:
                raise
            tell(f"after {count} page{'s' * (count > 1)}: {type(error).__name__}: {error}")
            return FAILED
    return STALE if is_stale else FRESH


def tell_how(result: Result, which: str = "") -> None:
    """Who was asked for it, and what came of that."""
    for attempt in result.attempts:
        tell(
            f"{which}asked {attempt.provider}: {attempt.status or 'no answer'}, {attempt.action}"
            f"{f' ({attempt.detail})' if attempt.detail else ''}, {attempt.elapsed:.1f} s"
        )
    tell(
        f"{which}STALE: a copy {result.age:.0f} s old, from {result.provider}"
        if result.stale
        else f"{which}fresh from {result.provider}, after {result.elapsed:.1f} s"
    )


class _Asking:
    """Shows who is asked: the first provider that may be asked; after each switch, the next."""

    def __init__(self, platform: str, endpoint: str) -> None:
        self._question = platform, endpoint
        self._switched: list[str] = []
        self.renew()

    def renew(self) -> None:
        self._began = time.monotonic()
        self._switched = []

    def heard(self, event: str, fields: dict[str, Any]) -> None:
        if event == "switch":
            self._switched.append(fields["provider"])

    def shown(self, client: FailoverClient) -> Status:
        return Status(lambda: self._text(client), after=_AFTER)

    def _text(self, client: FailoverClient) -> str:
        try:
            providers = client.registry.get_available_providers(*self._question)
        except FailoverError:  # the call says so, too
            providers = []
        names = [provider.name for provider in providers if provider.name not in self._switched]
        seconds = time.monotonic() - self._began
        return f"asking {names[0] if names else self._question[0]} … {seconds:.0f} s"


def health(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    with client_of(arguments, registry) as client, Status(
        lambda: "asking everybody …", after=_AFTER
    ):
        found = client.check_provider_health(arguments.platforms or None)
        known = client.registry.snapshot()
    rows = [
        _health_row(platform, name, checked, known[platform][name])
        for platform, members in found.items()
        for name, checked in members.items()
    ]
    table(
        (
            "platform",
            "provider",
            "status",
            "latency",
            "pace",
            "requests",
            "quota left",
            "resets in",
            "detail",
        ),
        rows,
    )
    return FRESH if all(row[2] == "healthy" for row in rows) else FAILED


def _health_row(
    platform: str, name: str, checked: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[str, ...]:
    latency = f"{checked['latency_ms']:.0f} ms" if "latency_ms" in checked else ""
    quota = state["quota"] or {}
    reset = quota.get("reset")
    return (
        platform,
        name,
        checked["status"],
        latency,
        _pace_text(state["pace"]),
        f"{state['requests']:,}",
        quota_text(quota),
        "not told" if reset is None else span(reset),
        checked.get("error", ""),
    )


def _pace_text(pace: list[float] | None) -> str:
    if pace is None:
        return "not known"
    requests, seconds = pace
    return f"{requests:g} in {seconds:g} s"


def quota_text(quota: Mapping[str, Any] | None) -> str:
    """What is left of a plan."""
    if not quota or quota["remaining"] is None:
        return "not told"
    limit = "" if quota["limit"] is None else f" of {quota['limit']:,}"
    return f"{quota['remaining']:,}{limit}"
