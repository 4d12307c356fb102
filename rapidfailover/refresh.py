"""What to ask again, because nobody answered when it was wanted: a bounded queue and its one thread.

Knows nothing of HTTP: it is given the function that asks, and learns from what that raises.
"""

import logging
import math
import threading
import time
from typing import Callable, Dict, Optional

from .config import RefreshRequest
from .errors import FailoverError, NoProvidersAvailable, NotFound, RequestRefused
from .fork import anew_in_child

__all__ = ["HandOver", "RefreshQueue"]

_log = logging.getLogger(__package__)

_LONGEST_QUEUE = 256
_TRIES = 10  # with the pauses between them, about 17 minutes
_FIRST_PAUSE = 1.0  # seconds, doubled by each failure
_LAST_PAUSE = 300.0
_HANDED = 60.0  # seconds


_LEASE = 60.0  # seconds for which one process of a fleet is left alone with a refresh
_GRACE = 5.0  # seconds after its pause before another takes it over, and between two looks whether to


def _ours(key: str, seconds: float) -> float:
    """The lease where there is no fleet."""
    return 0.0


def _unanswered(key: str, seconds: float) -> bool:
    return False


class _Entry:
    __slots__ = ("due", "failures", "request", "since")

    def __init__(self, request: RefreshRequest, now: float) -> None:
        self.request = request
        self.since = now
        self.due = now + _FIRST_PAUSE
        self.failures = 0


class RefreshQueue:
    """One entry a key. The daemon thread starts when there is something to do and ends when there is not.

    Of a fleet one asks: ``lease(key, seconds)`` is 0.0 for who may for so long, else how long to wait, and
    ``answered(key, seconds)`` whether anybody has had the answer since so many seconds ago.
    """

    def __init__(self, ask: Callable[[RefreshRequest], object], clock: Callable[[], float] = time.monotonic, *,
                 lease: Callable[[str, float], float] = _ours,
                 answered: Callable[[str, float], bool] = _unanswered) -> None:
        self._ask = ask
        self._clock = clock
        self._lease = lease
        self._answered = answered
        self._closed = False
        anew_in_child(self._renew)

    def _renew(self) -> None:
        """Empty: what a forked child finds queued, its parent asks."""
        self._entries: Dict[str, _Entry] = {}
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries and self._thread is not None and self._thread.is_alive()

    def put(self, key: str, request: RefreshRequest) -> bool:
        """Queue a refresh, unless it is queued already; whether it was. Never fails: a full queue costs a log line."""
        with self._changed:
            if self._closed:
                return False
            if key in self._entries:
                self._ensure_thread()
                return False
            full = len(self._entries) >= _LONGEST_QUEUE
            if not full:
                self._entries[key] = _Entry(request, self._clock())
                self._changed.notify()
                self._ensure_thread()
        if full:
            _log.warning("%s: %d refreshes are queued already, that of %s is dropped",
                         request.platform, _LONGEST_QUEUE, request.endpoint)
        return not full

    def discard(self, key: str) -> None:
        """Forget a refresh: somebody has the answer."""
        if key in self._entries:
            with self._changed:
                self._entries.pop(key, None)

    def close(self) -> None:
        """Forget everything and end the thread. A refresh under way ends by itself."""
        with self._changed:
            self._closed = True
            self._entries.clear()
            self._changed.notify()

    def step(self) -> None:
        """Ask again for what has been due longest, if anything is due."""
        with self._changed:
            due = [item for item in self._entries.items() if item[1].due <= self._clock()]
            if not due:
                return
            key, entry = min(due, key=lambda item: item[1].due)
        leased = self._lease(key, _LEASE)
        if leased > 0:  # another process is at it
            pause: Optional[float] = min(max(leased, _FIRST_PAUSE), _GRACE)
        else:
            pause = None if self._answered(key, self._clock() - entry.since) else self._try(entry)
            self._lease(key, 0.0 if pause is None else pause + _GRACE)
        with self._changed:
            if pause is not None:
                entry.due = self._clock() + pause
            elif self._entries.get(key) is entry:
                del self._entries[key]

    def _try(self, entry: _Entry) -> Optional[float]:
        """The pause in seconds before this is to be asked again, or None when it is done or hopeless."""
        request = entry.request
        try:
            self._ask(request)
            return None
        except NoProvidersAvailable as nobody:  # not counted: nobody was asked
            return min(max(nobody.retry_after or _LAST_PAUSE, _FIRST_PAUSE), _LAST_PAUSE)
        except (RequestRefused, NotFound, LookupError) as final:
            _log.warning("%s: the refresh of %s is given up: %s", request.platform, request.endpoint, final)
            return None
        except Exception as failure:  # at the top of a thread: one bad entry must not end it for the others
            if not isinstance(failure, FailoverError):
                _log.exception("%s: the refresh of %s met a bug", request.platform, request.endpoint)
            entry.failures += 1
            if entry.failures >= _TRIES:
                _log.warning("%s: the refresh of %s is given up after %d tries: %s",
                             request.platform, request.endpoint, _TRIES, failure)
                return None
            return float(min(_FIRST_PAUSE * 2 ** entry.failures, _LAST_PAUSE))

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._work, name="rapidfailover-refresh", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is shutting down
            self._thread = None
            self._entries.clear()

    def _work(self) -> None:
        while True:
            self.step()
            with self._changed:
                if not self._entries:
                    self._thread = None
                    return
                pause = min(entry.due for entry in self._entries.values()) - self._clock()
                if pause > 0:
                    self._changed.wait(pause)


class HandOver:
    """In place of the queue where ``refresh`` is a callable of the user's, who asks in a process of their own.

    Hands a key over once, and again when its answer has not come within a minute.
    """

    def __init__(self, hand_to: Callable[[RefreshRequest], object], clock: Callable[[], float] = time.monotonic, *,
                 lease: Callable[[str, float], float] = _ours) -> None:
        self._hand_to = hand_to
        self._clock = clock
        self._lease = lease
        self._closed = False
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._handed: Dict[str, float] = {}
        self._lock = threading.Lock()

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
            _log.warning("%s: the refresh of %s could not be handed over: %s",
                         request.platform, request.endpoint, type(problem).__name__)
        return True

    def discard(self, key: str) -> None:
        if key in self._handed:
            with self._lock:
                self._handed.pop(key, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._handed.clear()
