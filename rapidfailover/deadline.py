"""When a call is over. All times in seconds, by ``time.monotonic``."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator

__all__ = ["Deadline", "Patience", "alarm", "fair_share", "is_green", "monotonic"]

_MOMENT = 0.02  # seconds between two looks at whether there is room
_FOR_EVER = 1e9  # seconds; what sockets and locks still take as a timeout
# seconds kept for each provider not yet asked, so that one that hangs starves nobody
_RESERVE = 5.0


def monotonic(clock: Callable[[], float] = time.monotonic) -> float:
    """The real time, whatever was put in the place of ``time.monotonic`` meanwhile: a library that
    freezes time for tests gives each thread another one.
    """
    return clock()


def fair_share(left: float, still_to_ask: int) -> float:
    """Seconds for a provider of what is left of a call, with so many to ask, it included."""
    return max(left / still_to_ask, left - _RESERVE * (still_to_ask - 1))


class Deadline:
    """When a call has to be over. All times in seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = min(seconds, _FOR_EVER)
        self._began = time.monotonic()
        self._ends = self._began + self.seconds

    def left(self) -> float:
        return self._ends - monotonic()

    def elapsed(self) -> float:
        return monotonic() - self._began

    def extend(self, seconds: float) -> None:
        """By what a function of the user's took."""
        self._ends += seconds

    def outside(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function of the user's returns; the time that it takes does not count."""
        began = time.monotonic()
        try:
            return function(*args)
        finally:
            self._ends += time.monotonic() - began


class Patience:
    """How long a call waits at each provider: for its turn and for the end of a hold, and in the
    queue before it.
    """

    def __init__(self, longest: float, timeout: float, deadline: Deadline) -> None:
        self._longest = longest
        self._timeout = timeout
        self._deadline = deadline
        self.renew()

    def renew(self) -> None:
        self._left = self._longest
        self._in_queue = self._timeout

    def wait(self, seconds: float) -> bool:
        if seconds > self._left or seconds >= self._deadline.left():
            return False
        self._left -= seconds
        time.sleep(seconds)
        return True

    def left(self) -> float:
        """How many seconds it would wait at this provider."""
        return min(self._left, self._deadline.left())

    def queue(self) -> bool:
        if self._in_queue <= 0 or self._deadline.left() <= _MOMENT:
            return False
        self._in_queue -= _MOMENT
        time.sleep(_MOMENT)
        return True


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """socket.timeout in time under gevent, whose TLS sockets count anew with each byte of a
    record.
    """
    if not is_green():
        yield
        return
    with sys.modules["gevent"].Timeout(seconds, socket.timeout("the time is over")):
        yield


def is_green() -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
