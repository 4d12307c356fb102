"""What happened, told to the log and to a listener of the user's. Neither can harm a call, nor be flooded by calls."""

import logging
import queue
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from .fork import Latch, anew_in_child

__all__ = ["Events", "Listener"]

Listener = Callable[[str, Dict[str, Any]], object]

_log = logging.getLogger(__package__)

_PATIENCE = 0.05  # seconds that a call waits for a listener
_LONGEST_QUEUE = 1000
_SELDOM = 10.0  # seconds between two log lines of a kind about one provider


class Events:
    """One daemon thread, started by the first event, calls the listener: what happens comes in order.

    A call waits a moment for it, so that a listener that is quick has heard all by the time the call returns. One that
    blocks is not waited for again until it has come back, and loses what is beyond 1,000 events.
    """

    def __init__(self, listener: Optional[Listener] = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._clock = clock
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._waiting: Any = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._is_prompt = True
        self._said: Dict[Any, List[float]] = {}  # what, of whom -> when it was said last, how often not since then

    def tell(self, event: str, **fields: Any) -> None:
        if self._listener is None or self._waiting.qsize() >= _LONGEST_QUEUE:
            return
        heard = Latch()
        self._waiting.put((event, fields, heard))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, args=(self._waiting, self._listener), daemon=True,
                                            name="rapidfailover-events")
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                return
        if self._is_prompt and threading.current_thread() is not self._thread:
            self._is_prompt = heard.wait(_PATIENCE)

    def say(self, event: str, text: str, *args: Any, platform: str, endpoint: str, provider: str) -> None:
        """A warning, unless one of its kind was said a moment ago."""
        if not _log.isEnabledFor(logging.WARNING):
            return
        now = self._clock()
        which = event, platform, provider
        said = self._said.get(which)
        if said is not None and now - said[0] < _SELDOM:
            said[1] += 1
            return
        more = f" ({said[1]:.0f} more like this since the last)" if said is not None and said[1] else ""
        self._said[which] = [now, 0]
        _log.warning(text + more, *args,
                     extra={"event": event, "platform": platform, "endpoint": endpoint, "provider": provider})

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
