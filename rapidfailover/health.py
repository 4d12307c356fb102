"""Who answers, and how fast. Is given the function that asks; knows nothing of HTTP."""

import logging
import threading
from typing import Callable, List, Optional, Sequence, TypeVar

from .errors import FailoverError
from .fork import anew_in_child

__all__ = ["Monitor", "side_by_side"]

_log = logging.getLogger(__package__)

_YEAR = 31_536_000.0  # seconds; a thread cannot wait for much longer

Item = TypeVar("Item")
Told = TypeVar("Told")


def side_by_side(ask: Callable[[Item], Told], items: Sequence[Item]) -> List[Told]:
    """``[ask(item) for item in items]``, all at once. Daemon threads: they hold up no exit."""
    told: List[Optional[Told]] = [None] * len(items)
    failures: List[BaseException] = []

    def run(number: int) -> None:
        try:
            told[number] = ask(items[number])
        except BaseException as failure:  # handed to the caller's thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,), daemon=True, name="rapidfailover-health")
               for number in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return told  # type: ignore[return-value]


class Monitor:
    """Calls ``check`` every ``interval`` seconds, for the first time after one. Not taken over by a forked child."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self, interval: float) -> None:
        """Begin, or go on at another interval."""
        with self._lock:
            self._stop.set()
            self._stop = threading.Event()
            threading.Thread(target=self._watch, args=(min(interval, _YEAR), self._stop), daemon=True,
                             name="rapidfailover-monitor").start()

    def stop(self) -> None:
        self._stop.set()

    def _watch(self, interval: float, stop: threading.Event) -> None:
        while not stop.wait(interval):
            try:
                self._check()
            except FailoverError as error:  # no key, say
                _log.warning("the health check failed: %s", error)
            except Exception:  # at the top of a thread: no new one could be started, say
                _log.exception("the health check met a bug")
