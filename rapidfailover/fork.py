"""What is made anew in a forked child: locks that another thread may have held, threads, shared sockets."""

import os
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["anew_in_child", "check"]

_things: "WeakKeyDictionary[object, FunctionType]" = WeakKeyDictionary()
_pid = os.getpid()


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
    _pid = os.getpid()
    for thing, renew in list(_things.items()):
        renew(thing)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_in_child)
