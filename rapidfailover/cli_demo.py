"""The commands that need no RapidAPI: the demo of the failover, and the local RapidAPI for an app
in development.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

from .cli_output import FAILED, FRESH, lines, tell
from .client import FailoverClient
from .config import Result
from .errors import FailoverError
from .registry import ProviderRegistry
from .testing import FakeRapidAPI

__all__ = ["demo", "fake"]


def fake(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    try:
        rapidapi = FakeRapidAPI(answers=arguments.answers, port=arguments.port)
    except (OSError, OverflowError, ValueError) as problem:
        tell(f"the local RapidAPI cannot be served: {problem}")
        return FAILED
    with rapidapi:
        lines(
            f"{rapidapi.url} serves {sum(map(len, rapidapi.providers.values()))} providers; Ctrl-C"
            " ends it.",
            f"In the app: FailoverClient({__package__}.testing.local_registry({rapidapi.url!r}),"
            " api_key='any')",
        )
        if sys.stdout is not None:  # None: the parent process closed it
            sys.stdout.flush()
        threading.Event().wait()
    return FRESH


def demo(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    """The main job in five steps, over real HTTP on this machine."""
    with FakeRapidAPI() as rapidapi, FailoverClient(
        rapidapi.registry, api_key="not-a-real-key"
    ) as client:
        shown = _Shown(rapidapi, client)

        shown.step("1. The primary answers.")
        shown.call(provider="tiktok-scraper7", asked=1)

        shown.step("2. The primary fails: the secondary answers.")
        rapidapi.fail("tiktok-scraper7", 503)
        shown.call(provider="tiktok-feature", asked=2)

        shown.step("3. After three faults in a row its circuit opens: calls stop paying for it.")
        shown.call(provider="tiktok-feature", asked=2)
        shown.call(provider="tiktok-feature", asked=2)
        shown.call(provider="tiktok-feature", asked=1)

        shown.step("4. All fail: the last good copy comes back, and a refresh is queued.")
        rapidapi.fail("tiktok-feature", 500)
        rapidapi.refuse("tiktok-tikwm")
        shown.call(provider="tiktok-feature", asked=2, stale=True)
        shown.check("one refresh is queued", client.pending_refreshes == 1)

        shown.step("5. A provider recovers: the refresh lands, and the next answer is fresh.")
        rapidapi.recover("tiktok-feature")
        began = time.monotonic()
        while client.pending_refreshes and time.monotonic() - began < 10:
            time.sleep(0.05)
        shown.check(
            f"the refresh landed after {time.monotonic() - began:.1f} s",
            client.pending_refreshes == 0,
        )
        shown.call(provider="tiktok-feature", asked=1)
    wrong = "; ".join(shown.failures)
    print(f"\nNOT as it should be: {wrong}" if wrong else "\nEverything happened as printed.")
    return FAILED if shown.failures else FRESH


class _Shown:
    """Makes the calls of the demo and holds what comes back against what was announced."""

    def __init__(self, rapidapi: FakeRapidAPI, client: FailoverClient) -> None:
        self.failures: list[str] = []
        self._rapidapi = rapidapi
        self._client = client
        self._step = ""

    def step(self, title: str) -> None:
        self._step = title
        print(f"\n{title}")

    def check(self, claim: str, holds: bool) -> None:
        print(f"   {claim}" if holds else f"   NOT TRUE: {claim}")
        if not holds:
            self.failures.append(self._step)

    def call(self, provider: str, asked: int, stale: bool = False) -> None:
        before = len(self._rapidapi.requests)
        try:
            result = self._client.call("tiktok", "/user/info", {"unique_id": "ada.example"})
        except FailoverError as error:
            self.check(f"{provider} answers; instead: {error}", False)
            return
        for attempt in result.attempts:
            again = f", asked {attempt.retries + 1} times" if attempt.retries else ""
            print(
                f"   {attempt.provider}: {attempt.status or 'no connection'},"
                f" {attempt.action}{again} ({1000 * attempt.elapsed:.0f} ms)"
            )
        sent = len(self._rapidapi.requests) - before
        self.check(
            _outcome(result, sent),
            (result.provider, len(result.attempts), result.stale) == (provider, asked, stale)
            and result.data["data"]["user"]["uniqueId"] == "ada.example",
        )


def _outcome(result: Result, sent: int) -> str:
    user = result.data["data"]["user"]["uniqueId"]
    kind = f"a copy {result.age:.1f} s old, from" if result.stale else "fresh from"
    return (
        f"-> {user}, {kind} {result.provider}, after {1000 * result.elapsed:.0f} ms; requests that"
        f" arrived: {sent}"
    )
