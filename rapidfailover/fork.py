"""Deals with what a fork and an interrupt leave behind.

``anew_in_child`` renews locks that another thread may have held at the fork, threads that are not
there in the child, and shared sockets. ``new_lock`` and ``Latch`` are to hold and to wait for where
an interrupt can arrive anywhere. ``alarm_in`` and ``pass_on`` are for what a signal handler of the
user's, or a gevent.Timeout, raised in the middle of our work.
"""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["Latch", "alarm_in", "anew_in_child", "check", "new_lock", "pass_on"]

_log = logging.getLogger(__package__)

_things: WeakKeyDictionary[object, FunctionType] = WeakKeyDictionary()
_pid = os.getpid()
_renewing: dict[int, threading.Lock] = {}  # by process id: an inherited lock may be held


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
    # the other threads of the child wait until all is new
    with _renewing.setdefault(pid, threading.Lock()):
        if _pid != pid:
            _pid = pid  # first: what fails is not tried again by every call
            for thing, renew in list(_things.items()):
                try:
                    renew(thing)
                except Exception:  # one failure must not keep the others from it
                    _log.exception("%s could not be made anew after a fork", type(thing).__name__)


def new_lock() -> Any:
    """An RLock that is free after a ``with`` in which a signal handler raised.

    Python 3.14 may run the handler between taking a lock and the body of the ``with``, and then
    nobody frees it; but not between ``acquire`` and the end of a method that calls it.
    """
    lock = threading.RLock()
    return _Lock() if sys.version_info >= (3, 14) and type(lock) is _thread.RLock else lock


def _enter(lock: Any) -> Any:
    try:
        return lock.acquire()
    except BaseException:
        _free(lock)
        raise


# __exit__ stays RLock's own, in C
_Lock: Any = type("_Lock", (_thread.RLock,), {"__enter__": _enter})


def _free(lock: Any) -> None:
    try:
        lock.release()
    # the lock is free: the interrupt came during the wait for it, or another thread was faster
    except RuntimeError:
        pass


class Latch:
    """Opened once, for all who wait.

    An Event is three objects more, and stays locked where an interrupt meets it.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        self.is_open = True
        _free(self._lock)

    def wait(self, seconds: float) -> bool:
        """Whether it was opened by then."""
        if not self.is_open:
            try:
                self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))
            finally:
                if self.is_open:
                    _free(self._lock)  # for the next one who waits
        return self.is_open


def alarm_in(failure: BaseException, before: BaseException | None = None) -> BaseException | None:
    """What a signal handler or a ``gevent.Timeout`` raised, where that is what the failure came of;
    else None.

    It may be of any class, TimeoutError say, and must not be taken for a failure of the network.
    ``before`` is what the caller was handling already. A signal handler is known by its second
    argument: the frame that it interrupts.
    """
    waiting: list[BaseException] = [failure]
    seen: list[BaseException] = []
    while waiting and len(seen) < 20:
        current = waiting.pop(0)
        if current is before or any(current is other for other in seen):
            continue
        seen.append(current)
        if _is_from_outside(current):
            return current
        wrapped = (
            current.__cause__,
            current.__context__,
            getattr(current, "reason", None),
            *current.args,
        )
        waiting += [inner for inner in wrapped if isinstance(inner, BaseException)]
    return None


def pass_on(problem: BaseException) -> None:
    """Raise what is an alarm, or comes of one: it only happened to ring in code of the user's that
    may fail.
    """
    cause: BaseException | None = problem
    while cause is not None:
        if _is_from_outside(cause):
            raise cause
        cause = cause.__cause__


def _is_from_outside(failure: BaseException) -> bool:
    trace, where = failure.__traceback__, ""
    while trace is not None:
        frame, code = trace.tb_frame, trace.tb_frame.f_code
        where = code.co_filename
        count = code.co_argcount + bool(code.co_flags & _VARARGS)
        given = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        if frame.f_back is not None and any(
            value is frame.f_back or isinstance(value, tuple) and frame.f_back in value
            for value in given
        ):
            return True
        trace = trace.tb_next
    return "gevent" in sys.modules and _is_thrown(failure, where)


_VARARGS = 0x04  # a code's flag for *args (inspect.CO_VARARGS)


def _is_thrown(failure: BaseException, where: str) -> bool:
    """Whether gevent's hub threw it into this greenlet and it is not the end of a socket's
    own timeout.
    """
    is_hub = "gevent" in where and any(
        part in where for part in ("_waiter", "_greenlet_primitives", "_hub_", "hub.py")
    )
    return is_hub and "timed out" not in str(failure) and "the time is over" not in str(failure)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
