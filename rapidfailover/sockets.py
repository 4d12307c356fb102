"""Sockets: connects to the first of several addresses that answers, and drops a parent's sockets in
a forked child.
"""

from __future__ import annotations

import os
import selectors
import socket
from typing import Any, Callable, List, Protocol, Tuple
from weakref import WeakSet

from .fork import anew_in_child

__all__ = ["first_connected", "let_go", "open_sockets"]

_HEAD_START = 0.25  # seconds that an address has for itself


class Time(Protocol):
    """What is left for connecting."""

    def left(self) -> float:
        """Seconds. socket.timeout when the time is over."""

    def arm(self, sock: Any) -> None:
        """Have the socket's next operation end in time."""


def let_go(sock: Any) -> None:
    """Close a socket's descriptor and say nothing, as close() might; whoever else holds the socket
    finds it closed.
    """
    while not hasattr(sock, "detach") and hasattr(sock, "socket"):
        sock = sock.socket  # within urllib3's TLS within TLS, and within pyOpenSSL's
    handle = sock.detach() if hasattr(sock, "detach") else -1
    if handle >= 0:
        os.close(handle)


class _Sockets:
    """All that are open, so that a forked child can let go of its parent's."""

    def __init__(self) -> None:
        self._all: WeakSet[Any] = WeakSet()
        self.add = self._all.add
        anew_in_child(self._renew)

    def _renew(self) -> None:
        for sock in list(self._all):
            let_go(sock)
        self._all.clear()


open_sockets = _Sockets()


def first_connected(
    sockets: List[Callable[[], Tuple[socket.socket, Any]]], budget: Time
) -> socket.socket:
    """The first that is connected; each has a quarter second before the next one begins too (RFC
    8305 §5), or less where all of them could not begin in half of the time.

    A ``connect`` of a tool's (PySocks, pytest-socket) is called in the plain way, as urllib3 does:
    one after the other, each within all the time that is left.
    """
    failure: OSError = OSError("the name has no address")
    waiting = sockets[::-1]
    head_start = min(_HEAD_START, budget.left() / (2 * len(sockets) or 1))
    opened: list[socket.socket] = []
    chosen: Any = None
    try:
        with selectors.DefaultSelector() as begun:
            while waiting or begun.get_map():
                budget.left()
                if waiting:
                    try:
                        sock, address = waiting.pop()()
                        opened.append(sock)
                        budget.arm(sock)
                        if len(sockets) > 1 and type(sock).connect is socket.SocketType.connect:
                            sock.setblocking(False)
                        sock.connect(address)
                        chosen = sock
                        return sock
                    except BlockingIOError:
                        begun.register(sock, selectors.EVENT_WRITE)
                    except OSError as problem:
                        failure = problem
                        continue
                ready = begun.select(min(budget.left(), head_start) if waiting else budget.left())
                finished: list[Any] = [key.fileobj for key, _ in ready]
                for sock in finished:
                    begun.unregister(sock)
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not error:
                        chosen = sock
                        budget.arm(sock)
                        return chosen  # type: ignore[no-any-return]
                    failure = OSError(error, os.strerror(error))
        raise failure
    finally:
        for sock in opened:
            if sock is not chosen:
                sock.close()
