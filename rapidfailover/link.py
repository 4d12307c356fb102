"""The one thread that talks to a server which may be slow, and for how long others wait for it.

Knows neither circuits nor copies, and no server: it is given a ``Peer``. Where the server is
*slow*, nobody waits, and the thread does its jobs in its own time. Where the server does not
answer, it is *away*: of each job, its ``instead`` is done, and the thread looks twice a second
whether the server is back.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from typing import Any, Callable, Protocol

from .events import log
from .fork import Latch, anew_in_child, new_lock
from .sharing import Lock

__all__ = ["Job", "Link", "Peer"]

_log = logging.getLogger(__package__)

_PATIENCE = 0.06  # seconds that a call waits for the server
_SLOW = 0.02  # seconds; where a look took longer, calls do not wait ...
_PAUSES = 0.5, 4.0  # ... for so many seconds, doubled each time
_SILENCE = 1.0  # seconds without a word, after which the server is away
_LONGEST_QUEUE = 100  # jobs that wait for a slow server
_TICK = 0.5  # seconds between two looks at the server
_IDLE = 10.0  # seconds without a call, after which nobody looks
_SELDOM = 10.0  # seconds between two log lines


class Peer(Protocol):
    """What the thread does at the server. Only the thread calls it; all of it may raise."""

    def tick(self) -> None:
        """Look what the others know, and tell them the rest."""

    def is_pressed(self) -> bool:
        """Whether so much waits to be told that the next tick comes at once."""

    def hang_up(self) -> None:
        """Let the connection go: nobody has called for a while."""

    def explain(self, problem: Exception) -> str:
        """What went wrong, in words that may stand in a log."""


class Job:
    """Something for the thread to do, and what came of it."""

    def __init__(
        self,
        work: Callable[[Job], Any],
        instead: Callable[[], Any] | None = None,
        kind: object = None,
        is_question: bool = False,
    ) -> None:
        self.work = work
        self.instead = instead  # done where the server does not answer
        self.kind = kind  # None: of no kind
        self.is_question = is_question  # of no use once nobody waits for the answer
        self.outcome: Any = None
        self.is_done = False
        self.is_wanted = True  # until the caller has given up
        self.over = Latch()

    def finish(self, outcome: Any) -> None:
        self.outcome, self.is_done = outcome, True


class _Manner:
    """Notes how the server answers (soon, slowly or not at all), and logs it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # seconds that a caller waits, set by be_patient(); None: _PATIENCE
        self._patience: float | None = None

    def _know_nothing(self) -> None:
        # why the server does not answer; "": it does; None: not known yet
        self.away: str | None = None
        self._away_since = self._clock()
        self._late_until = self._said_slow_at = self._said_away_at = -math.inf
        self._pause = _PAUSES[0]  # seconds of the next pause, in which calls do not wait
        self._began = math.inf  # when the thread began its current job

    def be_patient(self, seconds: float) -> None:
        """Let each call wait for so long, slow server or not: what the server knows counts for
        more than the time of a call.
        """
        self._patience = seconds

    def _longest_wait(self) -> float:
        return _PATIENCE if self._patience is None else self._patience

    def is_late(self, patient: bool = False) -> bool:
        """Whether the server is slow, or was a moment ago; if ``patient``, only whether it is."""
        now = self._clock()
        is_slow = now < self._late_until and self._patience is None
        return now - self._began > self._longest_wait() or is_slow and not patient

    def be_late(self) -> None:
        """Let nobody wait for a while; for longer, if the server was slow in the last minute."""
        now = self._clock()
        self._pause = (
            min(2 * self._pause, _PAUSES[1]) if now - self._late_until < 60.0 else _PAUSES[0]
        )
        self._late_until = now + self._pause
        if self._pause > _PAUSES[0]:  # not the first time
            self._said_slow_at = self._warn("is slow: no call waits for it", self._said_slow_at)

    def _settle(self, why: str) -> None:
        """Note that a look succeeded (``why`` is empty), or why it did not."""
        if why and not self.away:
            self._away_since = self._clock()
            text = f"does not answer ({why}): this process goes on with its own memory"
            self._said_away_at = self._warn(text, self._said_away_at)
        elif self.away and not why and self._said_away_at >= self._away_since:
            away = self._clock() - self._away_since
            _log.info("the store answers again, after %.1f s", away, extra={"event": "store"})
        self.away = why

    def _warn(self, text: str, said_at: float) -> float:
        """Log the text, unless it was logged a moment ago; when it was logged last."""
        now = self._clock()
        if now - said_at <= _SELDOM:
            return said_at
        log("store", words=text)
        return now


class Link(_Manner):
    """Everything here but ``step`` is safe to call from any thread, and raises nothing.

    ``lock`` gives the lock under which it is settled whether a job was done there or here.
    """

    def __init__(
        self, peer: Peer, lock: Callable[[], Lock], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._peer = peer
        self._settling = lock
        super().__init__(clock)
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._jobs: Any = queue.SimpleQueue()
        self._latest: dict[object, Job] = {}  # of each kind
        self._current: Job | None = None
        self._lock = new_lock()
        self._thread: threading.Thread | None = None
        self._used_at = self._tried_at = self._looked_at = -math.inf
        self._know_nothing()

    def look(self, left: Callable[[], float]) -> None:
        """See that the last look is no older than a second."""
        self._used_at = now = self._clock()
        if now - self._looked_at > 1.0:
            self.do(Job(lambda job: self._tick(now)), left())
        else:
            self._start()

    def do(self, job: Job, left: float = math.inf, patient: bool = False) -> None:
        """Have the thread do it. Wait a moment for that where the server is quick, or the caller
        ``patient``.

        What nobody waits for is only done if it is a change.
        """
        self._used_at = self._clock()
        is_away = self.is_away()
        is_waiting = not is_away and not self.is_late(patient) and not self.is_full()
        if is_waiting or job.instead is not None and not is_away:
            self._put(job)
        self._start()
        if is_waiting:
            longest = self._longest_wait()
            try:
                is_over = job.over.wait(min(left, longest))
            except BaseException:  # an interrupt: who asked is gone
                job.is_wanted = False
                raise
            if not is_over and job.is_question:
                job.is_wanted = False
            if not is_over and left >= longest:
                self.be_late()

    def post(self, job: Job) -> None:
        """Have the thread do it some time, unless something of its kind waits already."""
        if not self.is_away() and not self.is_pending(job.kind):
            self._put(job)
            self._start()

    def is_pending(self, kind: object) -> bool:
        """Whether something of that kind is still to be done."""
        job = self._latest.get(kind)
        return job is not None and not job.over.is_open

    def _put(self, job: Job) -> None:
        if job.kind is not None:
            self._latest[job.kind] = job
        self._jobs.put(job)

    def touch(self) -> None:
        """There is something to tell: go on looking."""
        self._used_at = self._clock()

    def is_full(self) -> bool:
        """Whether more jobs wait than a slow server can be expected to do."""
        return bool(self._jobs.qsize() >= _LONGEST_QUEUE)

    def is_away(self) -> bool:
        """Whether the server does not answer.

        Once it has been silent for long, what waits for it is done here.
        """
        if not self.away and self._clock() - self._began > _SILENCE:
            self._settle(f"no answer for {_SILENCE:.0f} s")
            waiting = [self._current]
            try:
                while True:
                    waiting.append(self._jobs.get_nowait())
            except queue.Empty:
                pass
            for job in waiting:
                self._do_here(job)
        return bool(self.away)

    def describe(self) -> str:
        self.is_away()
        if self.away is None:
            return "not asked yet"
        if self.away:
            return f"own memory for {self._clock() - self._away_since:.0f} s: {self.away}"
        return "shared, slowly" if self.is_late() else "shared"

    def close(self) -> None:
        """End the thread, which is waited for a moment; the next call starts another."""
        self._used_at = -math.inf
        self._jobs.put(Job(lambda job: None))
        thread = self._thread
        if (
            thread is not None
            and thread is not threading.current_thread()
            and not self.is_late(patient=True)
        ):
            thread.join(self._longest_wait())

    def _start(self) -> None:
        """See that there is a thread."""
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(
                        target=self._work, daemon=True, name="rapidfailover-store"
                    )
                    try:
                        self._thread.start()
                    except RuntimeError:  # the interpreter is shutting down
                        self.away = self.away or "no thread"

    # --- the thread ---

    def _work(self) -> None:
        while True:
            self.step()
            with self._lock:
                if self._clock() - self._used_at > _IDLE and self._jobs.empty():
                    try:
                        self._peer.hang_up()
                    except Exception as problem:  # of a connection that is of no use any more
                        _log.debug("the store's connection: %s", type(problem).__name__)
                    self._thread = None
                    return

    def step(self) -> None:
        """Do the next job, or look where there is none."""
        job: Job | None = None
        try:
            is_pressed = self._peer.is_pressed() and not self.away
            wait = 0.0 if is_pressed else self._tried_at + _TICK - self._clock()
            job = self._jobs.get(timeout=max(wait, 0.001))
        except queue.Empty:
            self._latest.clear()
        self._current, self._began = job, self._clock()
        try:
            if job is None or self.away is None:
                self._tick()
                if self._clock() - self._tried_at > _SLOW:
                    self.be_late()
                self._settle("")
            if job is not None and job.is_wanted and not self.away:
                outcome = job.work(job)
                if not job.is_done:
                    job.finish(outcome)
        # whatever a server's library, or a client of the user's, raises
        except Exception as problem:
            self._settle(self._peer.explain(problem))
        self._current, self._began = None, math.inf
        self._do_here(job)

    def _do_here(self, job: Job | None) -> None:
        """Do a job's ``instead``, if the job was not done at the server and somebody wants it.

        Whoever waits for the job is released.
        """
        if job is not None:
            with self._settling():
                if job.instead is not None and job.is_wanted and not job.is_done:
                    job.finish(job.instead())
                job.over.open()

    def _tick(self, asked_at: float = math.inf) -> None:
        """Look at the server, unless a look was made after ``asked_at``."""
        if self._looked_at < asked_at:
            self._tried_at = self._clock()
            self._peer.tick()
            self._looked_at = self._clock()
