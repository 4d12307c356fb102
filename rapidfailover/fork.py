"""What a fork and an interrupt leave behind.

``anew_in_child``: locks that another thread may have held at the fork, threads that are not there, shared sockets.
``Latch``: what to wait for where an interrupt can arrive anywhere.
"""

import os
import threading
from types import FunctionType
from typing import Any, Dict
from weakref import WeakKeyDictionary

__all__ = ["Latch", "anew_in_child", "check"]

_things: "WeakKeyDictionary[object, FunctionType]" = WeakKeyDictionary()
_pid = os.getpid()
_renewing: Dict[int, threading.Lock] = {}  # by process: one that was inherited may be locked


def anew_in_child(method: Any) -> None:
    """Call the bound method now, and in every forked child for as long as its object lives."""
    method()
    _things[method.__self__] = method.__func__


def check() -> None:
    """Notice a fork whose hooks did not run (uWSGI may not run them)."""
    if os.getpid() != _pid:
        _in_child()


def _in_child() -> None:
    global _pid
    pid = os.getpid()
    with _renewing.setdefault(pid, threading.Lock()):  # the other threads of the child wait until all is new
        if _pid != pid:
            for thing, renew in list(_things.items()):
                renew(thing)
            _pid = pid


class Latch:
    """Opened once, for all who wait. An Event is three objects more, and stays locked where an interrupt meets it."""

    def __init__(self) -> None:
        self.is_open = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        if not self.is_open:
            self.is_open = True
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Whether it was opened by then."""
        if not self.is_open and self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX)):
            self._lock.release()  # for the next one who waits
        return self.is_open


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
