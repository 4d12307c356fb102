"""The command batch: questions out of a file, answers into another. It goes on where it stopped."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from typing import Any, Generator, Iterable, Mapping

from .batch import Answer
from .cli_answers import Answers
from .cli_calls import client_of, params_of, quota_text, tell_how
from .cli_output import FAILED, FRESH, STALE, USAGE, Status, Stop, as_json, span, tell
from .cli_questions import Questions, question_number
from .client import FailoverClient
from .errors import NotFound
from .registry import ProviderRegistry

__all__ = ["batch"]

_LONGEST = 400  # characters of an error
_QUIET = 5.0  # seconds without an answer, after which the progress says so


def batch(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    platform, endpoint = arguments.platform, arguments.endpoint
    registry = registry or ProviderRegistry()
    registry.check(platform, endpoint)
    if _is_one_file(arguments.source, arguments.target):
        raise Stop(f"--from and --to are one file: {arguments.target}", USAGE)
    with Questions(
        arguments.source, platform, endpoint, arguments.param, params_of(arguments.params)
    ) as questions:
        wanted = {question_number(params) for params in questions}
        if not wanted:
            raise Stop(f"{arguments.source} asks nothing", USAGE)
        if arguments.rate is not None:
            registry = _paced(registry, platform, arguments.rate)
        with Answers(arguments.target, platform, endpoint) as answers:
            tally = _Tally(len(wanted), len(wanted & answers.answered), questions.blank)
            wanted -= answers.answered
            with client_of(arguments, registry) as client:
                _ask(arguments, client, _each_once(questions, wanted), answers, tally)
    return tally.status()


def _ask(
    arguments: argparse.Namespace,
    client: FailoverClient,
    questions: Generator[dict[str, Any]],
    answers: Answers,
    tally: _Tally,
) -> None:
    """Each answer is in the file as soon as it is there."""
    asked = client.batch(
        arguments.platform,
        arguments.endpoint,
        questions,
        threads=arguments.threads,
        timeout=arguments.timeout,
        deadline=arguments.deadline,
    )
    try:
        with Status(tally.progress, worth_a_line=not arguments.quiet):
            for answer in asked:
                answers.write(answer)
                tally.count(answer)
                if arguments.verbose:
                    _tell_of(answer)
    finally:
        asked.close()
        questions.close()
        if tally.failed or not arguments.quiet:
            tell(tally.summary())
            tell(_spent(client.registry.snapshot()[arguments.platform]))


def _tell_of(answer: Answer) -> None:
    which = f"{as_json(answer.params)}: "
    if answer.result is not None:
        tell_how(answer.result, which)
    else:
        tell(f"{which}{type(answer.error).__name__}: {answer.error}")


def _is_one_file(source: str, target: str) -> bool:
    try:
        asked = os.fstat(sys.stdin.fileno()) if source == "-" else os.stat(source)
        return os.path.samestat(asked, os.stat(target))
    except (OSError, ValueError, AttributeError):  # one of them is not there yet, or stdin closed
        return False


def _each_once(questions: Iterable[dict[str, Any]], wanted: set[int]) -> Generator[dict[str, Any]]:
    """The questions that are wanted, each once, in their order."""
    for params in questions:
        number = question_number(params)
        if number in wanted:
            wanted.remove(number)
            yield params


def _paced(registry: ProviderRegistry, platform: str, rate: float) -> ProviderRegistry:
    """The platform's providers, each asked no more often than that."""
    providers = [
        replace(provider, rate=rate) for provider in registry.get_available_providers(platform)
    ]
    return ProviderRegistry({platform: providers}) if providers else registry


def _spent(providers: Mapping[str, Mapping[str, Any]]) -> str:
    """Requests sent and quota left, of those who were asked."""
    asked = [
        f"{name} {state['requests']:,} (quota left: {quota_text(state['quota'])})"
        for name, state in providers.items()
        if state["requests"]
    ]
    return f"requests: {', '.join(asked) or 'none'}"


class _Tally:
    """Counts how the run goes. Written by one thread, read by another."""

    def __init__(self, total: int, before: int, blank: int) -> None:
        self.total = total
        self.before = before  # answered by an earlier run
        self.fresh = self.stale = self.missing = self.failed = 0
        self._blank = blank
        self._retryable = 0
        self._retry_after: float | None = None
        self._why = ""  # the last failed
        self._began = self._counted_at = time.monotonic()

    def count(self, answer: Answer) -> None:
        self._counted_at = time.monotonic()
        if answer.result is not None:
            self.fresh += not answer.result.stale
            self.stale += answer.result.stale
        elif isinstance(answer.error, NotFound):
            self.missing += 1
        else:
            self.failed += 1
            self._retryable += bool(answer.error and answer.error.retryable)
            self._retry_after = getattr(answer.error, "retry_after", None) or self._retry_after
            self._why = f"{type(answer.error).__name__}: {answer.error}"

    def status(self) -> int:
        return FAILED if self.failed else STALE if self.stale else FRESH

    def progress(self) -> str:
        done = self._done() - self.before
        rate = done / max(time.monotonic() - self._began, 0.001)
        left = self.total - self._done()
        quiet = time.monotonic() - self._counted_at
        if left and quiet >= _QUIET:
            return f"{self._counts()}; waiting for a provider: no answer for {span(quiet)}"
        ahead = f", {span(left / rate)} left" if done and left else ""
        return f"{self._counts()}, {rate:.1f} a second{ahead}"

    def summary(self) -> str:
        text = f"{self._counts()}, in {span(time.monotonic() - self._began)}"
        if self._blank:
            text += f"; {self._blank:,} rows without a value were left out"
        if self._retryable:
            when = "" if self._retry_after is None else f", best in {span(self._retry_after)}"
            text += f"; the same command asks again for {self._retryable:,} of those that failed"
            text += when
        elif self._done() < self.total:  # it was interrupted
            text += "; the same command goes on"
        return f"{text}; the last failure: {self._why[:_LONGEST]}" if self._why else text

    def _done(self) -> int:
        return self.before + self.fresh + self.stale + self.missing + self.failed

    def _counts(self) -> str:
        before = f"{self.before:,} before, " if self.before else ""
        return (
            f"{self._done():,} of {self.total:,}: {before}{self.fresh:,} fresh, "
            f"{self.stale:,} stale, {self.missing:,} missing, {self.failed:,} failed"
        )
