"""What is made anew in a forked child: locks that another thread may have held, threads, shared sockets."""

import os
import threading
from types import FunctionType
from typing import Any, Dict
from weakref import WeakKeyDictionary

__all__ = ["anew_in_child", "check"]

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


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
