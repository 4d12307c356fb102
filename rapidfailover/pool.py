"""How urllib3 gets our connections.

requests' adapter owns a ``PoolManager``, which makes a pool for each host from its
``pool_classes_by_scheme``; a pool makes its connections from its ``ConnectionCls`` and keeps those
whose answer was read to the end. ``adopt`` hands a manager our pools, for SOCKS too. They use our
connections only while urllib3's own class stands on urllib3's own pool: where a recording tool
(vcrpy does) has replaced it, the tool's are used.

What is overridden, the class that it leans on (since when), why, and the test that turns red
without it:

``_Pool.QueueCls``, ConnectionPool (urllib3 1.2): no lock that a fork or an interrupt leaves locked
    test_hooks.py::test_an_interrupt_while_a_connection_is_taken_leaves_no_pool_locked
``_Pool.ConnectionCls``, HTTPConnectionPool (urllib3 1.8): makes our connections, or a tool's
    test_transport.py::test_an_answer_that_announces_another_is_not_the_answer[103 Early Hints]
``_Pool.urlopen``, HTTPConnectionPool (urllib3 0.3): a tool is given texts of no class of its own
    test_hooks.py::test_a_tool_that_writes_down_what_it_is_given_can
``_Pool._get_conn``, HTTPConnectionPool (urllib3 0.3): a resend takes no kept connection, nor a
    tool's
    test_hooks.py::test_a_request_that_is_sent_again_takes_no_other_kept_connection
"""

from __future__ import annotations

import http.client
import logging
import math
import queue
import ssl
import time
from functools import lru_cache
from typing import Any

import urllib3
from urllib3 import connectionpool
from urllib3.connection import HTTPConnection
from urllib3.util import connection as urllib3_addresses
from urllib3.util import ssl_ as urllib3_tls

from .connection import Connection, under_way
from .deadline import is_green
from .errors import FailoverError
from .fork import new_lock

__all__ = ["adopt", "check_patched_in_time"]

_log = logging.getLogger(__package__)


def adopt(manager: Any) -> None:
    """Have a PoolManager of urllib3, or one for a proxy, make pools with our connections.

    Where what they lean on is not there (urllib3-future, a Python to come), it keeps its own, and a
    warning says so.
    """
    missing = [f"{owner.__name__}.{name}" for owner, name in _LEANT_ON if not hasattr(owner, name)]
    # vcrpy replaces that one's name
    if not any(base.__module__ == "http.client" for base in HTTPConnection.__mro__):
        missing = [f"connection of http.client's, it is {HTTPConnection.__module__}'s own"]
    if missing:
        return _say_coarser(
            urllib3.__name__, getattr(urllib3, "__version__", "?"), ", ".join(missing)
        )
    if hasattr(manager.pools, "lock"):
        manager.pools.lock = new_lock()  # every call takes it
    manager.pool_classes_by_scheme = {
        scheme: _combined(_Pool, pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


_LEANT_ON = (
    (http.client.HTTPResponse, "begin"),
    (http.client.HTTPConnection, "_tunnel"),
    (http.client.HTTPConnection, "response_class"),
    (HTTPConnection, "_new_conn"),
    (connectionpool.HTTPConnectionPool, "ConnectionCls"),
    (connectionpool.HTTPConnectionPool, "QueueCls"),
    (connectionpool.HTTPConnectionPool, "_get_conn"),
    (connectionpool.HTTPConnectionPool, "_new_conn"),
    (urllib3_addresses, "create_connection"),
    (urllib3_addresses, "allowed_gai_family"),
)


@lru_cache(maxsize=None)
def _say_coarser(*what: str) -> None:
    _log.warning("deadlines are coarser than they could be: %s %s has no %s", *what)


def check_patched_in_time() -> None:
    """FailoverError where gevent patched the world after urllib3 had been imported: TLS recurses
    without end.
    """
    if ssl.SSLContext is not getattr(urllib3_tls, "SSLContext", ssl.SSLContext) and is_green():
        raise FailoverError(
            "gevent patched this process after requests was imported, which breaks TLS and locks:"
            " call gevent.monkey.patch_all() before anything else is imported; under gunicorn's"
            " gevent worker, load the app without --preload"
        )


class _Stack:
    """A ``queue.LifoQueue`` for a pool that never blocks, without a lock.

    LifoQueue's lock may be held at a fork, and an interrupt within Condition.__enter__ leaves it
    locked for ever.

    Keeps as many connections as the busiest moment of the last minute needed. A pool fills it with
    None, takes an item for each request, and puts back the connection: so missing items are in use.
    It closes connections only when one comes back, so an idle pool keeps what it has.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._items: list[Any] = []
        self.qsize = self._items.__len__
        self._busiest = 0  # in use at once, in the minute that is under way
        self._minute_ends = math.inf

    def __del__(self) -> None:
        """Close what is left: urllib3 1.26 leaves open what a dropped pool still holds, and what
        came back while the pool was closed.
        """
        for connection in self._items:
            if connection is not None:
                connection.close()

    def empty(self) -> bool:
        return not self._items

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if len(self._items) >= self.maxsize:
            raise queue.Full
        self._items.append(item)
        if self.clock() > self._minute_ends:
            self._let_go()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            item = self._items.pop()
        except IndexError:
            raise queue.Empty from None
        in_use = self.maxsize - len(self._items)
        if in_use > self._busiest:
            self._busiest = in_use
            if self._minute_ends == math.inf:
                self._minute_ends = self.clock() + _MINUTE
        return item

    def _let_go(self) -> None:
        """A minute is over: close what nobody has needed in it, the longest idle first.

        Each is taken off the list before it is closed, so that no other thread can have it too.
        """
        now, ended = self.clock(), self._minute_ends
        self._minute_ends = now + _MINUTE
        in_use = self.maxsize - len(self._items) + 1  # and the one that has just come back
        # if that minute is long past, its busiest moment counts no more
        needed = max(self._busiest, in_use) if now - ended < _MINUTE else in_use
        self._busiest = in_use
        surplus = min(self.maxsize - needed, len(self._items))
        if not any(self._items[:surplus]):
            return
        closed: list[Any] = []
        while len(closed) < surplus and self._items:
            closed.append(self._items.pop(0))
        self._items[:0] = [None] * len(closed)
        for connection in closed:
            if connection is not None:
                connection.close()


_MINUTE = 60.0


class _Pool(connectionpool.HTTPConnectionPool):
    QueueCls = _Stack  # type: ignore[assignment]

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        current: Any = super().ConnectionCls
        return _combined(Connection, current) if current.__module__ in _THEIRS else current

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:
        """Give a tool plain texts: newer versions of vcrpy cannot write down a subclass of str, as
        a Key is.
        """
        if kwargs.get("headers") and not issubclass(self.ConnectionCls, Connection):
            kwargs["headers"] = {name: str(value) for name, value in kwargs["headers"].items()}
        return super().urlopen(*args, **kwargs)

    def _get_conn(self, *args: Any, **kwargs: Any) -> Any:
        connection: Any = super()._get_conn(*args, **kwargs)
        budget = under_way.get()
        stale = (
            budget is not None and budget.fresh and getattr(connection, "sock", None) is not None
        )
        # a recording tool was turned on or off in between
        if stale or not isinstance(connection, self.ConnectionCls):
            connection.close()
            connection = self._new_conn()
        return connection


# whose pools and connections are known here
_THEIRS = ("urllib3.connection", "urllib3.contrib.socks")


@lru_cache(maxsize=None)
def _combined(own: Any, base: Any) -> Any:
    if issubclass(base, own) or not issubclass(base, own.__mro__[1]):
        return base
    return type(own.__name__, (own, base), {})
