"""What happened, told to the log and to a listener of the user's. Neither can harm a call, nor be
flooded by calls.

Each kind of event stands in ``KINDS``.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any, Callable, Dict, NamedTuple

from .fork import Latch, anew_in_child

__all__ = ["KINDS", "Events", "Kind", "Listener", "log"]

Listener = Callable[[str, Dict[str, Any]], object]

_log = logging.getLogger(__package__)

_PATIENCE = 0.05  # seconds that a call waits for its listener, in all
_LONGEST_QUEUE = 1000
_SELDOM = 10.0  # seconds between two log lines of a kind about one provider


class Kind(NamedTuple):
    """What can happen: how the log says it, and what a listener is told of it."""

    level: int
    text: str  # the log line, with its fields; empty: it is not logged
    to_listener: tuple[str, ...] = ()  # the fields for a listener, who gets none of the others


_ATTEMPT = "provider", "status", "action", "detail", "elapsed"

KINDS = {
    "switch": Kind(
        logging.WARNING,
        "%(platform)s %(endpoint)s: %(words)s; %(next)s",
        ("platform", "endpoint", *_ATTEMPT),
    ),
    "stale": Kind(
        logging.WARNING,
        "%(platform)s %(endpoint)s: nobody has an answer; serving the copy that "
        "%(provider)s gave %(age).0f s ago",
        ("platform", "endpoint", "provider", "age"),
    ),
    "refresh": Kind(logging.INFO, "", ("platform", "endpoint", "outcome")),
    "trip": Kind(
        logging.WARNING,
        "%(platform)s: %(name)s is out for %(seconds).0f s after %(faults)d faults in a "
        "row, the last: %(words)s",
        ("platform", *_ATTEMPT),
    ),
    "hold": Kind(
        logging.WARNING,
        "%(platform)s: %(name)s is held for %(seconds).0f s: %(words)s",
        ("platform", *_ATTEMPT),
    ),
    "recovery": Kind(
        logging.INFO,
        "%(platform)s: %(name)s answers again and is back in use",
        ("platform", *_ATTEMPT),
    ),
    "route": Kind(
        logging.WARNING,
        "%(platform)s: the routes of %(provider)s raised %(problem)s at %(endpoint)s",
    ),
    "store": Kind(logging.WARNING, "the store %(words)s"),
    "cache": Kind(logging.WARNING, "the cache %(words)s"),
}

_OF_A_LINE = "platform", "endpoint", "provider"  # fields that a log record bears


def log(kind: str, more: str = "", **fields: Any) -> None:
    """The line of it.

    The record bears ``event``, and ``platform``, ``endpoint`` and ``provider`` where it has them.
    """
    level, text, _ = KINDS[kind]
    extra = {name: fields[name] for name in _OF_A_LINE if fields.get(name)}
    _log.log(level, text + more, fields, extra={"event": kind, **extra})


class Events:
    """One daemon thread, started by the first event, calls the listener: what happens comes in
    order.

    At its end a call waits a moment, once for all that it told, so that a listener that is quick
    has heard it by then. One that blocks is not waited for again until it has come back, and loses
    what is beyond 1,000 events.
    """

    def __init__(
        self, listener: Listener | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._last = threading.local()  # .heard: the Latch of this thread's last event
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._waiting: Any = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_prompt = True
        # (kind, platform, provider) -> [when it was logged last, how often not logged since]
        self._last_lines: dict[Any, list[float]] = {}

    def report(self, kind: str, **fields: Any) -> None:
        """It happened: for the log, which has one of a kind about a provider in ten seconds, and
        for the listener.
        """
        if KINDS[kind].text:
            self._say(kind, fields)
        self.tell(kind, **fields)

    def tell(self, kind: str, **fields: Any) -> None:
        """For the listener alone: the log has it from elsewhere."""
        wanted = KINDS[kind].to_listener
        if self._listener is None or not wanted or self._waiting.qsize() >= _LONGEST_QUEUE:
            return
        heard = Latch()
        self._waiting.put((kind, {name: fields[name] for name in wanted if name in fields}, heard))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._work,
                args=(self._waiting, self._listener),
                daemon=True,
                name="rapidfailover-events",
            )
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                return
        self._last.heard = heard

    def settle(self, seconds: float) -> None:
        """Wait a moment, and no longer than that, until the listener has heard what this
        thread told it.
        """
        heard: Latch | None = getattr(self._last, "heard", None)
        if heard is not None and threading.current_thread() is not self._thread:
            self._last.heard = None
            if self._is_prompt:
                self._is_prompt = heard.wait(min(_PATIENCE, seconds))

    def _say(self, kind: str, fields: dict[str, Any]) -> None:
        if not _log.isEnabledFor(KINDS[kind].level):
            return
        now = self._clock()
        which = kind, fields.get("platform"), fields.get("provider") or fields.get("words")
        last = self._last_lines.get(which)
        if last is not None and now - last[0] < _SELDOM:
            last[1] += 1
            return
        more = (
            f" ({last[1]:.0f} more like this since the last)"
            if last is not None and last[1]
            else ""
        )
        self._last_lines[which] = [now, 0]
        log(kind, more, **fields)

    def close(self) -> None:
        """End the thread, once it has told what is waiting."""
        if self._thread is not None:
            self._waiting.put(None)

    def _work(self, waiting: Any, listener: Listener) -> None:
        while True:
            item = waiting.get()
            if item is None:
                return
            event, fields, heard = item
            try:
                listener(event, fields)
            except Exception as problem:  # the user's own code
                _log.warning("on_event raised %s at %r", type(problem).__name__, event)
            heard.open()
            self._is_prompt = True
