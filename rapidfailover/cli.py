"""The command line: parses and prints, decides nothing. Data goes to stdout, what happened to stderr."""

import argparse
import json
import os
import re
import sys
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple

from .cache import FileCache
from .catalog import PROVIDERS
from .client import FailoverClient
from .config import Result
from .errors import FailoverError, InvalidEndpoint, UnknownPlatform
from .matrix import MATRIX
from .registry import ProviderRegistry
from .testing import FakeRapidAPI

__all__ = ["main"]

FRESH, FAILED, USAGE, STALE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 3, 130, 141


def main(argv: Optional[Sequence[str]] = None, *, registry: Optional[ProviderRegistry] = None) -> int:
    """Run a command on the strategy's providers, or on a ``registry``; its exit status."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace, Optional[ProviderRegistry]], int] = arguments.run
    try:
        status = run(arguments, registry)
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except FailoverError as error:
        _tell(f"{type(error).__name__}: {error}")
        return USAGE if isinstance(error, (UnknownPlatform, InvalidEndpoint)) else FAILED
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has nowhere to go
        if isinstance(error, BrokenPipeError):  # who read our output had enough, `| head` say
            return PIPE_CLOSED
        _tell(f"the output could not be written: {error.strerror}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    started_as_script = sys.argv[0].endswith(__package__)
    parser = argparse.ArgumentParser(prog=__package__ if started_as_script else f"python -m {__package__}",
                                     description="Failover between RapidAPI providers. The key is RAPIDAPI_KEY.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., int], told: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=told, description=f"{told}. {more}")
        made.set_defaults(run=run)
        return made

    call = command("call", _call, "ask for data and print it as JSON",
                   "Exit status: 0 fresh, 3 stale (the last good copy), 1 failed, 2 wrong usage.")
    call.add_argument("platform", metavar="PLATFORM")
    call.add_argument("endpoint", metavar="ENDPOINT", help="a path in the platform's own dialect: /user/info")
    call.add_argument("params", metavar="k=v", nargs="*", type=_pair, help="parameters: unique_id=tiktok")
    call.add_argument("--cache", metavar="DIR", help="keep the last good copies in this directory")
    call.add_argument("--json", action="store_true", help="the data on one line, for programs")
    call.add_argument("-q", "--quiet", action="store_true", help="nothing on stderr of a fresh answer, for cron")
    health = command("health", _health, "ask every provider's probe and print who answers, how fast",
                     f"A probe is a metered call: one for each enabled provider ({_probed()} of the strategy's) each "
                     f"time. Run every 5 minutes that is 288 calls a day for each, {288 * _probed():,} in all. "
                     "Providers that are held or cooling down are not asked. "
                     "Exit status: 0 when all are healthy, else 1.")
    health.add_argument("platforms", metavar="PLATFORM", nargs="*", help="all when left out")
    command("providers", _providers, "print the providers, in the order in which they are asked, and what is advised")
    command("matrix", _matrix, "print the error handling matrix")
    command("demo", _demo, "watch the failover work against a local RapidAPI",
            "Exit status: 1 when a step did not happen as printed.")
    return parser


def _pair(text: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or any("\ud800" <= char <= "\udfff" for char in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value, in UTF-8")
    return name, value


def _probed() -> int:
    return sum(provider.enabled for members in PROVIDERS.values() for provider in members)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _call(arguments: argparse.Namespace, registry: Optional[ProviderRegistry]) -> int:
    params: Any = {}
    for name, value in arguments.params:  # a name that is repeated is a list
        known = params.get(name)
        params[name] = value if known is None else [*known, value] if isinstance(known, list) else [known, value]
    cache = FileCache(arguments.cache) if arguments.cache else None
    # refresh=False: this process is gone before a refresh could land.
    with FailoverClient(registry, cache=cache, refresh=False) as client:
        result = client.call(arguments.platform, arguments.endpoint, params)
    if result.stale or not arguments.quiet:
        _tell_how(result)
    print(_as_json(result.data, indent=None if arguments.json else 2))
    return STALE if result.stale else FRESH


def _tell_how(result: Result) -> None:
    for attempt in result.attempts:
        _tell(f"asked {attempt.provider}: {attempt.status or 'no answer'}, {attempt.action}"
              f"{f' ({attempt.detail})' if attempt.detail else ''}, {attempt.elapsed:.1f} s")
    _tell(f"STALE: a copy {result.age:.0f} s old, from {result.provider}" if result.stale else
          f"fresh from {result.provider}, after {result.elapsed:.1f} s")


def _as_json(data: Any, indent: Optional[int]) -> str:
    """JSON that the stream can encode and that cannot steer a terminal (C1 control characters)."""
    encoding = _encoding()
    try:
        text = json.dumps(data, indent=indent, ensure_ascii=encoding.lower().replace("-", "") != "utf8")
        text.encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate
        text = json.dumps(data, indent=indent)
    return re.sub("[\x7f-\x9f]", lambda char: f"\\u{ord(char.group()):04x}", text)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "ascii"


def _health(arguments: argparse.Namespace, registry: Optional[ProviderRegistry]) -> int:
    with FailoverClient(registry, refresh=False) as client:
        health = client.check_provider_health(arguments.platforms or None)
        known = client.registry.snapshot()
    rows = [(platform, name, told["status"], _quota(known[platform][name]["quota"]),
             told.get("error") or f"{told['latency_ms']:.0f} ms")
            for platform, members in health.items() for name, told in members.items()]
    _table(("platform", "provider", "status", "quota left", ""), rows)
    return FRESH if all(row[2] == "healthy" for row in rows) else FAILED


def _quota(quota: Any) -> str:
    if not quota or quota["remaining"] is None:
        return "not told"
    limit = "" if quota["limit"] is None else f" of {quota['limit']:,}"
    reset = "" if quota["reset"] is None else f", resets in {_span(quota['reset'])}"
    return f"{quota['remaining']:,}{limit}{reset}"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _providers(arguments: argparse.Namespace, registry: Optional[ProviderRegistry]) -> int:
    registry = registry or ProviderRegistry()
    _table(("platform", "", "provider", "status", "advice"), [
        (platform, str(state["priority"]), name, state["status"] if state["enabled"] else "disabled", state["advice"])
        for platform, members in registry.snapshot().items() for name, state in members.items()])
    return FRESH


def _matrix(arguments: argparse.Namespace, registry: Optional[ProviderRegistry]) -> int:
    _table(("status", "action", "retry", "switch", "fault"), [
        (str(status), rule.action, *("yes" if flag else "no" for flag in rule[1:])) for status, rule in MATRIX.items()])
    return FRESH


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        print(line.encode(_encoding(), "backslashreplace").decode(_encoding()))


def _demo(arguments: argparse.Namespace, registry: Optional[ProviderRegistry]) -> int:
    """The main job in five steps, over real HTTP on this machine."""
    with FakeRapidAPI() as rapidapi, FailoverClient(rapidapi.registry, api_key="not-a-real-key") as client:
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
        shown.check(f"the refresh landed after {time.monotonic() - began:.1f} s", client.pending_refreshes == 0)
        shown.call(provider="tiktok-feature", asked=1)
    wrong = "; ".join(shown.failures)
    print(f"\nNOT as it should be: {wrong}" if wrong else "\nEverything happened as printed.")
    return FAILED if shown.failures else FRESH


class _Shown:
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
            again = f", asked {attempt.retries + 1} times" if attempt.retries else ""
            print(f"   {attempt.provider}: {attempt.status or 'no connection'}, {attempt.action}{again} "
                  f"({1000 * attempt.elapsed:.0f} ms)")
        sent = len(self._rapidapi.requests) - before
        self.check(_outcome(result, sent), (result.provider, len(result.attempts), result.stale)
                   == (provider, asked, stale) and result.data["data"]["user"]["uniqueId"] == "ada.example")


def _outcome(result: Result, sent: int) -> str:
    user = result.data["data"]["user"]["uniqueId"]
    kind = f"a copy {result.age:.1f} s old, from" if result.stale else "fresh from"
    return f"-> {user}, {kind} {result.provider}, after {1000 * result.elapsed:.0f} ms; requests that arrived: {sent}"
