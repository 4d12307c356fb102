"""Who answers, and how fast: by a probe of each provider, asked for or now and then."""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Iterable, Mapping, Sequence, TypeVar

from .asking import in_words, translated
from .config import Attempt, Question
from .credentials import Key, needs_client_key
from .deadline import Deadline
from .errors import FailoverError
from .events import Events
from .fork import anew_in_child, new_lock
from .keys import Keys
from .members import Checkup
from .registry import ProviderRegistry
from .visiting import Visiting

__all__ = ["HealthCheck", "Monitor", "side_by_side"]

_log = logging.getLogger(__package__)

_YEAR = 31_536_000.0  # seconds; a thread cannot wait for much longer

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def side_by_side(ask: Callable[[Item], Outcome], items: Sequence[Item]) -> list[Outcome]:
    """``[ask(item) for item in items]``, all at once. Daemon threads: they hold up no exit."""
    outcomes: list[Outcome | None] = [None] * len(items)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            outcomes[number] = ask(items[number])
        except BaseException as failure:  # handed to the caller's thread
            failures.append(failure)

    threads = [
        threading.Thread(target=run, args=(number,), daemon=True, name="rapidfailover-health")
        for number in range(len(items))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return outcomes  # type: ignore[return-value]


class HealthCheck:
    """Asks the platforms' probes, and tells the registry of the answers."""

    def __init__(
        self,
        registry: ProviderRegistry,
        visiting: Visiting,
        keys: Keys,
        events: Events,
        question: Callable[[str, str, Mapping[str, Any]], Question],
        timeout: float,
    ) -> None:
        self._registry = registry
        self._visiting = visiting
        self._keys = keys
        self._events = events
        self._question = question
        self._timeout = timeout

    def check(
        self, platforms: Iterable[str] | None = None, sparing: float | None = None
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """``{platform: {provider: health}}``, as FailoverClient.check_provider_health has it."""
        if isinstance(platforms, str):
            platforms = [platforms]
        asked = list(dict.fromkeys(self._registry.platforms if platforms is None else platforms))
        available = [
            provider
            for platform in asked  # UnknownPlatform, before any trial is taken
            for provider in self._registry.get_available_providers(platform)
        ]
        needs_key = any(map(needs_client_key, available))
        api_key = self._keys.current(Deadline(self._timeout)) if needs_key else None
        checkups = [
            checkup
            for platform in asked
            for checkup in self._registry.checkups(platform, self._timeout, sparing=sparing)
        ]
        results: dict[str, dict[str, dict[str, Any]]] = {
            checkup.platform: {} for checkup in checkups
        }
        try:
            found = side_by_side(lambda each: self._check_up(each, api_key), checkups)
            for checkup, health in zip(checkups, found):
                results[checkup.platform][checkup.provider.name] = health
        finally:
            for checkup in checkups:
                self._registry.give_back(checkup.visit)
            self._events.settle(self._timeout)
        return results

    def _check_up(self, checkup: Checkup, api_key: Key | None) -> dict[str, Any]:
        """The health of one provider."""
        if checkup.visit is None:
            return {"status": "unhealthy", "error": f"not asked: {checkup.why_not}"}
        question = self._question(checkup.platform, *self._registry.probe(checkup.platform))
        sent = translated(question, checkup.visit)
        if isinstance(sent, Attempt):
            return {"status": "unhealthy", "error": in_words(sent)}
        deadline = Deadline(self._timeout)
        ask = self._visiting.asking(question, checkup.visit, sent, self._timeout, deadline)
        api_key = api_key or self._visiting.key_for(checkup.visit, deadline)  # newly available
        _, rule, attempt = self._visiting.verdict(question, ask, ask(api_key))
        if self._visiting.is_success(rule):
            return {"status": "healthy", "latency_ms": round(1000 * attempt.elapsed, 2)}
        return {"status": "unhealthy", "error": in_words(attempt)}


class Monitor:
    """Calls ``check`` every ``interval`` seconds, for the first time after one.

    Not taken over by a forked child.
    """

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()
        self._stop = threading.Event()

    def start(self, interval: float) -> None:
        """Begin, or go on at another interval."""
        with self._lock:
            self._stop.set()
            self._stop = threading.Event()
            threading.Thread(
                target=self._watch,
                args=(min(interval, _YEAR), self._stop),
                daemon=True,
                name="rapidfailover-monitor",
            ).start()

    def stop(self) -> None:
        self._stop.set()

    def _watch(self, interval: float, stop: threading.Event) -> None:
        while not stop.wait(interval):
            try:
                self._check()
            except FailoverError as error:  # for example, no key
                _log.warning("the health check failed: %s", error)
            except Exception:  # at the top of a thread, which must go on
                _log.exception("the health check met a bug")
