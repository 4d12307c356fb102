"""What to ask again, because nobody answered when it was wanted: a bounded queue and its threads.

Knows nothing of HTTP: it is given the function that asks, and learns from what that raises.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Callable

from .config import RefreshRequest
from .deadline import monotonic
from .errors import FailoverError, NoProvidersAvailable, NotFound, RequestRefused
from .fork import anew_in_child, new_lock, pass_on

__all__ = ["HandOver", "RefreshQueue"]

_log = logging.getLogger(__package__)

_LONGEST_QUEUE = 256
_OF_A_PLATFORM = 64
_THREADS = 4
_AT_ONCE = 2  # of a platform
_TRIES = 10  # with the pauses between them, about 17 minutes
_FIRST_PAUSE = 1.0  # seconds, doubled by each failure
_LAST_PAUSE = 300.0
_HANDED = 60.0  # seconds
_MOMENT = 0.2  # seconds


_LEASE = 60.0  # seconds for which one process of a fleet is left alone with a refresh
# seconds by which a lease outlasts the pause; the longest time until another process looks again
_GRACE = 5.0


def _ours(key: str, seconds: float) -> float:
    """The lease where there is no fleet."""
    return 0.0


def _unanswered(key: str, seconds: float) -> bool:
    return False


class _Entry:
    __slots__ = ("busy", "due", "failures", "provider", "request", "since")

    def __init__(self, request: RefreshRequest, now: float, provider: str | None = None) -> None:
        self.request = request
        self.provider = provider  # the only one to ask, because calls pass it over; None: any
        self.since = now
        self.due = now + _FIRST_PAUSE
        self.failures = 0
        self.busy = False


class RefreshQueue:
    """One entry a key, and one for each provider that is passed over. Platforms take turns.

    Daemon threads start when there is something to do and end when there is not: four at most, two
    for a platform, so that one slow refresh holds up no other.

    ``ask(request)`` asks whoever may be asked; ``ask(request, provider)`` that one alone, if it is
    out. Of a fleet one process asks: ``lease(key, seconds)`` is 0.0 for who may for so long, else
    how long to wait, and ``answered(key, seconds)`` whether anybody has had the answer since so
    many seconds ago.
    """

    def __init__(
        self,
        ask: Callable[..., object],
        clock: Callable[[], float] = time.monotonic,
        *,
        lease: Callable[[str, float], float] = _ours,
        answered: Callable[[str, float], bool] = _unanswered,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._lease = lease
        self._answered = answered
        self._closed = False
        anew_in_child(self._renew)

    def _renew(self) -> None:
        """Begin empty: what was queued at a fork, the parent asks for."""
        self._entries: dict[str, _Entry] = {}
        self._turns: dict[str, int] = {}  # by platform: the number of its last turn
        self._lock = new_lock()
        self._changed = threading.Condition(self._lock)
        self._threads: set[threading.Thread] = set()
        self._is_watched = False  # whether one of them waits for what is due next

    def __len__(self) -> int:
        return len([entry for entry in list(self._entries.values()) if entry.provider is None])

    def __contains__(self, key: str) -> bool:
        return key in self._entries and any(thread.is_alive() for thread in list(self._threads))

    def put(self, key: str, request: RefreshRequest) -> bool:
        """Queue a refresh, unless it is queued already; whether it was. Never fails: a full queue
        costs a log line.
        """
        with self._lock:
            if self._closed:
                return False
            if key in self._entries:
                self._ensure_thread()
                return False
            of_platform = [
                one for one in self._entries.values() if one.request.platform == request.platform
            ]
            full = len(self._entries) >= _LONGEST_QUEUE or len(of_platform) >= _OF_A_PLATFORM
            if not full:
                self._entries[key] = _Entry(request, self._clock())
                self._changed.notify()
                self._ensure_thread()
        if full:
            _log.warning(
                "%s: %d refreshes are queued already, that of %s is dropped",
                request.platform,
                len(of_platform),
                request.endpoint,
            )
        return not full

    def want(self, provider: str, request: RefreshRequest) -> None:
        """This was answered by another, because that provider is out: try it with the latest such
        question.
        """
        key = f"{request.platform}\0{provider}"
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.request = request
            elif not self._closed:
                entry = self._entries[key] = _Entry(request, self._clock(), provider)
                self._changed.notify()
            self._ensure_thread()

    def discard(self, key: str) -> None:
        """Forget a refresh: somebody has the answer."""
        if key in self._entries:
            with self._lock:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Forget everything and end the threads, which are waited for a moment.

        A refresh under way ends by itself.
        """
        with self._lock:
            self._closed = True
            self._entries.clear()
            self._changed.notify_all()
            threads = self._threads - {threading.current_thread()}
        # if the interpreter ended while a thread works, the process would abort
        ends = monotonic() + _MOMENT
        for thread in threads:
            thread.join(max(ends - monotonic(), 0.0))

    def step(self) -> bool:
        """Ask again for what is due, the platform first that has waited longest for its turn;
        whether there was any.
        """
        with self._lock:
            item = _next(self._entries, self._turns, self._clock())
            if item is None:
                return False
            key, entry = item
            entry.busy = True
            self._turns[entry.request.platform] = max(self._turns.values(), default=0) + 1
            if self._idle() and not self._is_watched:
                self._ensure_thread(more=True)
        pause: float | None = None
        try:
            pause = self._look_after(key, entry)
        finally:
            with self._lock:
                entry.busy = False
                if pause is not None:
                    entry.due = self._clock() + pause
                elif self._entries.get(key) is entry:
                    del self._entries[key]
        return True

    def _look_after(self, key: str, entry: _Entry) -> float | None:
        """Ask, unless another process is at it; the pause until the next time, or None where there
        is none.
        """
        if entry.provider is not None:
            return _tried(self._ask, entry)
        leased = self._lease(key, _LEASE)
        if leased > 0:
            return min(max(leased, _FIRST_PAUSE), _GRACE)
        pause = (
            None if self._answered(key, self._clock() - entry.since) else _tried(self._ask, entry)
        )
        self._lease(key, 0.0 if pause is None else pause + _GRACE)
        return pause

    def _ensure_thread(self, more: bool = False) -> None:
        """See that there is a thread, or one ``more``, if the limit allows it."""
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        if len(self._threads) >= (_THREADS if more else 1) or not self._entries:
            return
        thread = threading.Thread(target=self._work, name="rapidfailover-refresh", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            self._threads.discard(thread)
            if not self._threads:
                self._entries.clear()

    def _idle(self) -> list[float]:
        """When the entries are due that no thread works on."""
        return [entry.due for entry in self._entries.values() if not entry.busy]

    def _work(self) -> None:
        while True:
            if self.step():
                continue
            with self._lock:
                # one is enough to wait for what comes next
                if self._is_watched or not self._idle():
                    self._threads.discard(threading.current_thread())
                    return
                self._is_watched = True
                try:
                    self._changed.wait(max(min(self._idle()) - self._clock(), _MOMENT))
                finally:
                    self._is_watched = False


def _next(
    entries: dict[str, _Entry], turns: dict[str, int], now: float
) -> tuple[str, _Entry] | None:
    busy = [entry.request.platform for entry in entries.values() if entry.busy]
    due = [
        item
        for item in entries.items()
        if item[1].due <= now
        and not item[1].busy
        and busy.count(item[1].request.platform) < _AT_ONCE
    ]
    return min(
        due, key=lambda item: (turns.get(item[1].request.platform, 0), item[1].due), default=None
    )


def _tried(ask: Callable[..., object], entry: _Entry) -> float | None:
    """The pause in seconds before this is to be asked again, or None when it is done or
    hopeless.
    """
    request = entry.request
    try:
        ask(request) if entry.provider is None else ask(request, entry.provider)
        return None
    except NoProvidersAvailable as nobody:  # not counted: nobody was asked
        return min(max(nobody.retry_after or _LAST_PAUSE, _FIRST_PAUSE), _LAST_PAUSE)
    except (RequestRefused, NotFound, LookupError) as final:
        _log.warning(
            "%s: the refresh of %s is given up: %s", request.platform, request.endpoint, final
        )
        return None
    # at the top of a thread: one bad entry must not end it for the others
    except Exception as failure:
        if entry.provider is not None and isinstance(failure, FailoverError):
            return None  # the next call that passes it over queues the next try
        if not isinstance(failure, FailoverError):
            _log.exception("%s: the refresh of %s met a bug", request.platform, request.endpoint)
        entry.failures += 1
        if entry.failures >= _TRIES:
            _log.warning(
                "%s: the refresh of %s is given up after %d tries: %s",
                request.platform,
                request.endpoint,
                _TRIES,
                failure,
            )
            return None
        return float(min(_FIRST_PAUSE * 2**entry.failures, _LAST_PAUSE))


class HandOver:
    """In place of the queue where ``refresh`` is a callable of the user's, who asks in a process of
    their own.

    Hands a key over once, and again when its answer has not come within a minute.
    """

    def __init__(
        self,
        hand_to: Callable[[RefreshRequest], object],
        clock: Callable[[], float] = time.monotonic,
        *,
        lease: Callable[[str, float], float] = _ours,
    ) -> None:
        self._hand_to = hand_to
        self._clock = clock
        self._lease = lease
        self._closed = False
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._handed: dict[str, float] = {}
        self._lock = new_lock()

    def __len__(self) -> int:
        now = self._clock()
        return sum(now - handed < _HANDED for handed in list(self._handed.values()))

    def __contains__(self, key: str) -> bool:
        return self._clock() - self._handed.get(key, -math.inf) < _HANDED

    def put(self, key: str, request: RefreshRequest) -> bool:
        now = self._clock()
        with self._lock:
            if self._closed or now - self._handed.get(key, now - _HANDED) < _HANDED:
                return False
            self._handed[key] = now
            if len(self._handed) > _LONGEST_QUEUE:
                del self._handed[next(iter(self._handed))]
        if self._lease(key, _HANDED) > 0:  # another process of the fleet has handed it over
            return False
        try:
            self._hand_to(request)
        except Exception as problem:  # the user's own code: a broker that is away fails no call
            pass_on(problem)
            _log.warning(
                "%s: the refresh of %s could not be handed over: %s",
                request.platform,
                request.endpoint,
                type(problem).__name__,
            )
        return True

    def want(self, provider: str, request: RefreshRequest) -> None:
        """As ``put``; who asks decides whom."""
        self.put(f"{request.platform}\0{provider}", request)

    def discard(self, key: str) -> None:
        if key in self._handed:
            with self._lock:
                self._handed.pop(key, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._handed.clear()
