"""The command line: parses and prints, decides nothing."""

import argparse
import time
from typing import Callable, List, Optional, Sequence

from .client import FailoverClient
from .config import Result
from .errors import FailoverError
from .testing import FakeRapidAPI

__all__ = ["main"]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}",
                                     description="Failover between RapidAPI providers.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", help="watch the failover work against a local RapidAPI").set_defaults(run=demo)
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def demo(arguments: argparse.Namespace) -> int:
    """The main job in five steps, over real HTTP on this machine. 1 when a step did not happen as printed."""
    with FakeRapidAPI() as rapidapi, FailoverClient(rapidapi.registry, api_key="not-a-real-key") as client:
        shown = _Demo(rapidapi, client)

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
        shown.check(f"the refresh landed after {time.monotonic() - began:.1f} s", client.pending_refreshes == 0)
        shown.call(provider="tiktok-feature", asked=1)
    print("\nEverything happened as printed." if not shown.failures else
          f"\nNOT as it should be: {', '.join(shown.failures)}")
    return 1 if shown.failures else 0


class _Demo:
    """Makes the calls of the demo and holds what comes back against what was announced."""

    def __init__(self, rapidapi: FakeRapidAPI, client: FailoverClient) -> None:
        self.failures: List[str] = []
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
            said = f"{attempt.status or 'no answer'} {attempt.action}"
            again = f", asked {attempt.retries + 1} times" if attempt.retries else ""
            print(f"   asked {attempt.provider}: {said}{again} ({1000 * attempt.elapsed:.0f} ms)")
        sent = len(self._rapidapi.requests) - before
        self.check(_outcome(result, sent), (result.provider, len(result.attempts), result.stale)
                   == (provider, asked, stale) and result.data["data"]["user"]["uniqueId"] == "ada.example")


def _outcome(result: Result, sent: int) -> str:
    user = result.data["data"]["user"]["uniqueId"]
    kind = f"a copy {result.age:.1f} s old, from" if result.stale else "fresh from"
    return f"-> {user}, {kind} {result.provider}, after {1000 * result.elapsed:.0f} ms and {sent} requests"
