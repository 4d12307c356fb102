"""The command line: what may be typed, and how it ends. Parses, decides nothing."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from .catalog import PROVIDERS
from .cli_batch import batch
from .cli_calls import call, get, health, pages
from .cli_catalog import endpoints, matrix, providers, verify_all
from .cli_demo import demo, fake
from .cli_output import FAILED, INTERRUPTED, NOT_FOUND, PIPE_CLOSED, USAGE, Log, Stop, tell
from .config import check_seconds
from .errors import FailoverError, InvalidEndpoint, NotFound, UnknownPlatform, UnknownProvider
from .registry import ProviderRegistry

__all__ = ["main"]

_WRONG = (UnknownPlatform, UnknownProvider, InvalidEndpoint)  # usage
_STATUSES = (
    "Exit status: 0 fresh, 3 stale (the last good copy), 4 not found, 1 failed, "
    "2 wrong usage, 130 interrupted."
)
_BATCH = (
    "The names are in CSV with titles, JSON Lines, or one a line. As soon as one is "
    "answered, a line of JSON is added to the file of --to: platform, endpoint, params, "
    "and provider, stale and data, or error. The same command goes on where it stopped: "
    "who was answered or not found is not asked for again, what failed for want of a "
    "provider is. Exit status: 0, 3 when one was stale, 1 when one failed, 2 wrong usage, "
    "130 interrupted."
)

Command = Callable[[argparse.Namespace, "ProviderRegistry | None"], int]


def main(argv: Sequence[str] | None = None, *, registry: ProviderRegistry | None = None) -> int:
    """Run a command on the strategy's providers, or on a ``registry``; its exit status."""
    arguments = _parsed(argv)
    run: Command = arguments.run
    try:
        with _log(arguments.verbose):
            status = run(arguments, registry)
            if sys.stdout is not None:  # None: the parent process closed it
                sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Stop as stop:
        tell(str(stop))
        return stop.status
    except FailoverError as error:
        tell(f"{type(error).__name__}: {error}")
        if isinstance(error, NotFound):
            return NOT_FOUND
        return USAGE if isinstance(error, _WRONG) else FAILED
    except OSError as error:
        return _without_output(error)


def _without_output(error: OSError) -> int:
    """Nobody reads what is printed: throw away what is still buffered. The exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr) if isinstance(error, BrokenPipeError) else (sys.stdout,):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())
    if isinstance(error, BrokenPipeError):  # the reader of our output ended, as `| head` does
        return PIPE_CLOSED
    tell(f"the output could not be written: {error.strerror}")
    return FAILED


@contextmanager
def _log(is_wanted: bool) -> Iterator[None]:
    """Tell what the library logs: why it switches, whom it leaves alone and for how long."""
    log, handler = logging.getLogger(__package__), Log()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = log.level
    if is_wanted:
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments. Where argparse takes no params behind an option, they are added here."""
    parser = _parser()
    arguments, over = parser.parse_known_args(argv)
    if over and (arguments.over is None or any(text.startswith("-") for text in over)):
        parser.error(f"unrecognized arguments: {' '.join(over)}")
    try:
        found = [_pair(text) if arguments.over == "params" else text for text in over]
    except argparse.ArgumentTypeError as problem:
        parser.error(str(problem))
    if found:
        setattr(arguments, arguments.over, [*getattr(arguments, arguments.over), *found])
    return arguments


def _parser() -> argparse.ArgumentParser:
    started_as_script = sys.argv[0].endswith(__package__)
    parser = argparse.ArgumentParser(
        prog=__package__ if started_as_script else f"python -m {__package__}",
        description="Failover between RapidAPI providers. The key is RAPIDAPI_KEY.",
    )
    version = sys.modules[__package__].__version__
    parser.add_argument("--version", action="version", version=f"{__package__} {version}")
    _add_common(parser, timeout=None, deadline=None, cache=None, verbose=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Command, summary: str, more: str = "", over: str | None = None
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=f"{summary}. {more}")
        made.set_defaults(run=run, over=over)
        _add_common(made)
        return made

    _add_questions(command)
    _add_others(command)
    return parser


def _add_common(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """The options of all commands: before the command, with their defaults, or behind it."""
    for name, metavar, kind, summary in (
        ("timeout", "SECONDS", _seconds, "of one attempt at one provider; default: 15"),
        ("deadline", "SECONDS", _seconds, "of a call; default: 25, or the timeout if longer"),
        ("cache", "DIR", _path, "keep there the last good copies, and what was learnt"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar=metavar,
            type=kind,
            help=summary,
            default=defaults.get(name, argparse.SUPPRESS),
        )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=defaults.get("verbose", argparse.SUPPRESS),
        help="the log on stderr: who was asked, why others were, who is left alone",
    )


def _add_questions(command: Callable[..., argparse.ArgumentParser]) -> None:
    getting = command(
        "get", get, "ask for a profile, or YouTube's video, and print it as JSON", _STATUSES
    )
    getting.add_argument("platform", metavar="PLATFORM")
    getting.add_argument(
        "name",
        metavar="NAME",
        type=_text,
        help="a handle, or a video's id; behind -- where it begins with -",
    )
    calling = command("call", call, "ask for data and print it as JSON", _STATUSES, "params")
    paging = command(
        "pages",
        pages,
        "ask for a list, page by page, and print each as a line of JSON",
        f"A page is printed as soon as it is there. {_STATUSES}",
        "params",
    )
    asking = command(
        "batch", batch, "ask the same question for each name of a file", _BATCH, "params"
    )
    for made in (calling, paging, asking):
        made.add_argument("platform", metavar="PLATFORM")
        made.add_argument(
            "endpoint", metavar="ENDPOINT", help="a path in the platform's own dialect: /user/info"
        )
        made.add_argument(
            "params",
            metavar="k=v",
            nargs="*",
            type=_pair,
            default=[],
            help=(
                "parameters of all questions: count=35"
                if made is asking
                else "parameters: unique_id=tiktok"
            ),
        )
    for made in (getting, calling):
        made.add_argument("--json", action="store_true", help="the data on one line, for programs")
    for made in (getting, calling, paging, asking):
        made.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            help="nothing on stderr while all is fresh, for cron",
        )
    paging.add_argument("--limit", metavar="N", type=_count, help="that many pages at most")
    _add_files(asking)


def _add_files(asking: argparse.ArgumentParser) -> None:
    asking.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        required=True,
        type=_path,
        help="the names; - is stdin",
    )
    asking.add_argument(
        "--to",
        dest="target",
        metavar="FILE",
        required=True,
        type=_path,
        help="where the answers go",
    )
    asking.add_argument(
        "--param",
        metavar="NAME[=COLUMN]",
        action="append",
        type=_column,
        default=[],
        help="a parameter, and the column (or field) that it is taken from; may be repeated",
    )
    asking.add_argument(
        "--threads",
        metavar="N",
        type=_count,
        default=8,
        help="how many are asked for at a time; default: 8",
    )
    asking.add_argument(
        "--rate", metavar="R", type=_rate, help="requests a second to each provider, at most"
    )


def _add_others(command: Callable[..., argparse.ArgumentParser]) -> None:
    checking = command(
        "health",
        health,
        "ask every provider's probe and print who answers, how fast",
        f"A probe is a metered call: one for each enabled provider ({_probed()} of the strategy's) "
        f"each time. Run every 5 minutes that is 288 calls a day for each, {288 * _probed():,} in "
        "all. Providers that are held or cooling down are not asked. Exit status: 0 when all are "
        "healthy, else 1.",
        "platforms",
    )
    listing = command(
        "providers",
        providers,
        "print the providers, in the order in which they are asked, and what is advised",
        "Whether a key is subscribed shows when a provider is asked: see verify and health.",
    )
    showing = command(
        "endpoints",
        endpoints,
        "print the catalogued endpoints: params, what comes, who serves them",
        "A documented or captured, B seen in three or more places, C in one or two, ? not "
        "established.",
    )
    verifying = command(
        "verify",
        verify_all,
        "ask each enabled provider once for each catalogued endpoint, and compare",
        "Each is a metered call: it says how many and asks before. Exit status: 0 when all is as "
        "the catalogue says, else 1.",
        "platforms",
    )
    faking = command(
        "fake",
        fake,
        "serve the local RapidAPI until it is interrupted, for an app in development",
        "In the app: FailoverClient(rapidfailover.testing.local_registry(URL), api_key=\"any\").",
    )
    command("matrix", matrix, "print the error handling matrix")
    command(
        "demo",
        demo,
        "watch the failover work against a local RapidAPI",
        "Exit status: 1 when a step did not happen as printed.",
    )
    for made in (checking, verifying):
        made.add_argument(
            "platforms", metavar="PLATFORM", nargs="*", default=[], help="all when left out"
        )
    listing.add_argument(
        "--json", action="store_true", help="with the host, the page and the state, for programs"
    )
    showing.add_argument("platform", metavar="PLATFORM", nargs="?", help="all when left out")
    verifying.add_argument("--yes", action="store_true", help="do not ask before")
    verifying.add_argument(
        "--record", metavar="DIR", type=Path, help="keep the answers, which FakeRapidAPI plays"
    )
    faking.add_argument(
        "--port",
        type=int,
        default=8080,
        metavar="N",
        help="on 127.0.0.1; default: 8080; 0: a free one",
    )
    faking.add_argument("--answers", metavar="DIR", help="play what `verify --record DIR` kept")


def _probed() -> int:
    return sum(provider.enabled for members in PROVIDERS.values() for provider in members)


def _text(text: str) -> str:
    if not text.strip() or any("\ud800" <= char <= "\udfff" for char in text):
        raise argparse.ArgumentTypeError(f"{text!r} is empty, or not in UTF-8")
    return text


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a path is not empty")
    return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or any("\ud800" <= char <= "\udfff" for char in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form name=value, in UTF-8")
    return name, value


def _column(text: str) -> tuple[str, str | None]:
    """NAME or NAME=COLUMN."""
    name, equals, column = _text(text).partition("=")
    if not name or equals and not column:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME or NAME=COLUMN")
    return name, column or None


def _seconds(text: str) -> float:
    return _positive(text, "seconds")


def _rate(text: str) -> float:
    return _positive(text, "requests a second")


def _positive(text: str, unit: str) -> float:
    try:
        return check_seconds("this", float(text), unit=unit)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of {unit}") from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)
