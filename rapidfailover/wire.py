"""How the deadline is kept: connections for urllib3 that look at the clock before every read and every write.

requests hands its ``timeout`` to urllib3, urllib3 to the socket, and a socket begins to count anew with every piece
that it receives: an upstream that sends a byte a second is never too slow. So an attempt carries a ``Budget`` of
seconds and bytes in a context variable, and each time before a socket is touched, its timeout is set to what is
left of that.

Where a socket is touched, if you know ``http.client``: an ``HTTPConnection`` connects (``_new_conn`` is urllib3's name
for that part of ``connect``), asks a proxy for a tunnel (``_tunnel``), has the socket wrapped in TLS, and sends
(``send``). For each request it makes one response (``response_class``), which reads everything, the status and the
headers, the body, the sizes of chunks and the trailers, from ``sock.makefile("rb")``. ``_Connection`` arms the
former, and ``_Response`` the latter, with a file of its own.

How urllib3 comes by these classes: requests' adapter owns a ``PoolManager``, which makes a pool for each host from its
``pool_classes_by_scheme``; a pool makes its connections from its ``ConnectionCls`` and keeps those whose answer was
read to the end. ``adopt`` hands a manager our pools. They use our connections only while urllib3's own class
stands on urllib3's own pool: where a recording tool (vcrpy does) has replaced it, the tool's are used.

Little of this is urllib3's public interface. What is leant on has not moved between 1.26.0 and 2.8, and the tests of
the deadline, which play every phase over sockets on both, would tell.
"""

import email.parser
import http.client
import io
import os
import queue
import re
import socket
import ssl
import sys
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import FunctionType
from typing import Any, Dict, Iterator, List, Optional, Tuple
from weakref import WeakSet

from urllib3 import connectionpool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import connection as urllib3_addresses
from urllib3.util import ssl_ as urllib3_tls

from .errors import FailoverError
from .fork import Latch, anew_in_child

__all__ = ["Budget", "Names", "adopt", "alarm", "check_patched_in_time", "under_way"]

_AT_ONCE = 16384  # bytes; a TLS socket counts its timeout anew for each record, which is as long
_HEAD = 2 ** 17  # bytes of an answer's head; and of its framing, the sizes of chunks and the trailers
_LOOKUPS = 32  # names looked up at the same time


class Budget:
    """What an attempt may use, and what its connection has seen. One per attempt, used by one thread."""

    __slots__ = ("ends", "limit", "names", "reused", "received", "fresh")

    def __init__(self, ends: float, limit: int, names: "Names") -> None:
        self.ends = ends  # by time.monotonic()
        self.limit = limit  # bytes of a body on the wire
        self.names = names
        self.reused = False  # the request under way went out on a connection that had served before
        self.received = False  # and something came back
        self.fresh = False  # take no connection that has served before

    def arm(self, sock: Any, share: int = 1) -> None:
        """Have the socket's next operation end in time. socket.timeout when it is too late already."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise socket.timeout("the time is over")
        sock.settimeout(left / share)


# The budget of the attempt under way: neither requests nor urllib3 would hand it down to a connection.
under_way: "ContextVar[Any]" = ContextVar("rapidfailover_attempt", default=None)


def _arm(sock: Any) -> None:
    budget: Optional[Budget] = under_way.get()
    if budget is not None:
        budget.arm(sock)


def _let_go(sock: Any) -> None:
    """Close a socket's descriptor and say nothing, as close() might; whoever else holds the socket finds it closed."""
    handle = sock.detach()
    if handle >= 0:
        os.close(handle)


class _Raw(io.RawIOBase):
    """What ``sock.makefile("rb", buffering=0)`` is, with the clock and the bytes counted."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._bytes = 0
        self.in_head = True
        self.dry = False  # read no more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        if self.dry:
            return 0
        budget = under_way.get()
        if budget is not None:
            budget.arm(self._sock)
        count: Optional[int] = self._file.readinto(buffer)
        if budget is not None and count:
            budget.received = True
            self._bytes += count
            if self._bytes > (_HEAD if self.in_head else budget.limit + _HEAD):
                raise ValueError("the answer is too long")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def pending(self) -> bool:
        """Whether TLS has deciphered more than was read."""
        # TLS through a TLS proxy (urllib3's SSLTransport) cannot tell: such a connection is not kept.
        return hasattr(self._sock, "sslobj") or bool(getattr(self._sock, "pending", int)())

    def shut(self) -> None:
        try:
            getattr(self._sock, "socket", self._sock).shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster


class _Files:
    """Stands in for the socket where ``http.client`` makes a file of it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._sock))


def _arm_each(sock: Any) -> None:
    """TLS in this TLS (urllib3's SSLTransport) receives and sends many times for each read."""
    for name in ("recv", "sendall"):
        def armed(*args: Any, plain: Any = getattr(sock, name)) -> Any:
            _arm(sock)
            return plain(*args)
        setattr(sock, name, armed)


def _parse_headers(file: Any) -> http.client.HTTPMessage:
    """What ``http.client.parse_headers`` makes of headers, for those that are plain name-and-value lines.

    The email package's parser, which can do mail, is 10 % of a bare session's call. It gets all else.
    """
    lines = http.client._read_headers(file)  # type: ignore[attr-defined]
    message = http.client.HTTPMessage()
    message.set_payload("")
    for line in lines[:-1]:
        plain = _PLAIN_HEADER(line)
        if plain is None or plain[1].lower() == b"content-type" and _MAIL(plain[2] or b""):
            return email.parser.Parser(_class=http.client.HTTPMessage).parsestr(b"".join(lines).decode("iso-8859-1"))
        message._headers.append((plain[1].decode(), (plain[2] or b"").decode()))  # type: ignore[attr-defined]
    return message


_MAIL = re.compile(rb"(?i)multipart|message").match  # of parts, which that parser would look for
_PLAIN_NAME = re.compile("[!-9;-~]+").fullmatch
_PLAIN_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([!-~](?:[ -~]*[!-~])?)?\r\n").fullmatch


class _Response(http.client.HTTPResponse):
    _begin = FunctionType(http.client.HTTPResponse.begin.__code__,
                          {**vars(http.client), "parse_headers": _parse_headers}, "begin")

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        files: Any = _Files(sock)
        super().__init__(files, *args, **kwargs)

    def _read_status(self) -> Tuple[str, int, str]:
        """http.client knows of 100 alone that the answer is still to come; what follows a 103 would answer the next."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, 100 if 101 < status < 200 else status, reason

    def begin(self) -> None:
        self._begin()
        file: Any = self.fp
        if file is not None:
            file.raw.in_head = False
        del self.headers["Set-Cookie"]  # none is kept, and requests would take a second for 6 MB of them
        if self.status == 101:
            self.will_close = True  # it speaks something else from now on

    def _close_conn(self) -> None:
        """The answer is over. What follows it unasked would be taken for the answer to the next request."""
        file: Any = self.fp
        file.raw.dry = True  # so that peek() shows what is buffered and does not wait for more
        if file.peek(1) or file.raw.pending():
            file.raw.shut()  # urllib3 throws away a connection that was closed meanwhile
        super()._close_conn()  # type: ignore[misc]


@lru_cache(maxsize=None)
def _socket_class(base: Any) -> Any:
    """``socket.socket``, or what gevent or a test tool put there, made when it is needed."""

    class Socket(base):  # type: ignore[misc]
        def gettimeout(self) -> Optional[float]:
            """For ssl, which asks for it when the handshake begins: loading certificates takes 20 ms until then."""
            budget: Optional[Budget] = under_way.get()
            if budget is None:
                return super().gettimeout()  # type: ignore[no-any-return]
            return max(0.001, budget.ends - time.monotonic())

    return Socket


class _Sockets:
    """All that are open, so that a forked child can let go of its parent's."""

    def __init__(self) -> None:
        self._all: "WeakSet[Any]" = WeakSet()
        self.add = self._all.add
        anew_in_child(self._renew)

    def _renew(self) -> None:
        for sock in list(self._all):
            _let_go(sock)
        self._all.clear()


_sockets = _Sockets()


class _Connection(HTTPConnection):
    response_class = _Response
    debuglevel = 0  # http.client's own, if somebody turned it on, would print every header
    _asked = 0  # requests since it was opened

    def connect(self) -> None:
        super().connect()
        _sockets.add(self.sock)  # the one in TLS, where there is one

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        budget = under_way.get()
        if budget is not None:
            budget.reused, budget.received = self._asked > 0, False
        self._asked += 1
        super().putrequest(*args, **kwargs)

    def putheader(self, header: Any, *values: Any) -> None:
        """http.client and urllib3 hold each against four patterns: 4 % of a bare session's call for six headers."""
        if len(values) == 1 and type(values[0]) is str and values[0].isascii() and values[0].isprintable() \
                and _PLAIN_NAME(header):
            self._output(f"{header}: {values[0]}".encode())  # type: ignore[attr-defined]
        else:
            super().putheader(header, *values)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # as http.client would: it has to be there before it can be armed
        budget = under_way.get()
        if budget is None or not isinstance(data, (bytes, bytearray)):
            return super().send(data)
        for start in range(0, len(data), _AT_ONCE):
            budget.arm(self.sock)
            super().send(data[start:start + _AT_ONCE])

    def _tunnel(self) -> None:
        sock: Any = self.sock
        try:
            super()._tunnel()
        except BaseException:
            _let_go(sock)  # until Python 3.11 the proxy's answer is left open, and holds it
            raise
        _arm(self.sock)  # for the handshake, which comes next
        if isinstance(self.sock, ssl.SSLSocket):
            _arm_each(self.sock)

    def close(self) -> None:
        self._asked = 0
        super().close()

    def _new_conn(self) -> socket.socket:
        budget = under_way.get()
        if budget is None:
            return super()._new_conn()
        try:
            return self._connected(budget)
        except socket.timeout as problem:
            raise ConnectTimeoutError(self, "no connection in time") from problem
        except OSError as problem:
            raise NewConnectionError(self, "no connection") from problem

    def _connected(self, budget: Budget) -> socket.socket:
        """To the first of the name's addresses that answers. Each gets its share of the time."""
        host = self._dns_host.strip("[]")
        addresses = budget.names.addresses(host, self.port, budget.ends)
        failure: OSError = OSError("the name has no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            sock: socket.socket = _socket_class(socket.socket)(family, kind, protocol)
            _sockets.add(sock)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                if self.source_address:
                    sock.bind(self.source_address)
                budget.arm(sock, share=len(addresses) - number)
                sock.connect(address)
                return sock
            except OSError as problem:
                sock.close()
                failure = problem
            except BaseException:
                sock.close()
                raise
        raise failure


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Stack:
    """What ``queue.LifoQueue`` is to a pool that never blocks, without a lock.

    Its lock may be held at a fork, and an interrupt within Condition.__enter__ leaves it locked for ever.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._items: List[Any] = []
        self.qsize = self._items.__len__

    def __del__(self) -> None:
        """urllib3 1.26 leaves open what a pool still holds when it is dropped, or came back while it was closed."""
        for connection in self._items:
            if connection is not None:
                connection.close()

    def empty(self) -> bool:
        return not self._items

    def put(self, item: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        if len(self._items) >= self.maxsize:
            raise queue.Full
        self._items.append(item)

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        try:
            return self._items.pop()
        except IndexError:
            raise queue.Empty from None


class _Pool(connectionpool.HTTPConnectionPool):
    QueueCls = _Stack  # type: ignore[assignment]

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        standing = connectionpool.HTTPConnectionPool.ConnectionCls
        return _Connection if standing is HTTPConnection else standing

    def _get_conn(self, timeout: Optional[float] = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        budget = under_way.get()
        stale = budget is not None and budget.fresh and getattr(connection, "sock", None) is not None
        if stale or not isinstance(connection, self.ConnectionCls):  # the tool came, or went, in between
            connection.close()
            connection = self._new_conn()
        return connection


class _TLSPool(_Pool, connectionpool.HTTPSConnectionPool):
    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        standing = connectionpool.HTTPSConnectionPool.ConnectionCls
        return _TLSConnection if standing is HTTPSConnection else standing


def _is_green() -> bool:
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))


def check_patched_in_time() -> None:
    """FailoverError where gevent patched the world after urllib3 had been imported: TLS recurses without end."""
    if ssl.SSLContext is not urllib3_tls.SSLContext and _is_green():
        raise FailoverError("gevent patched this process after requests was imported, which breaks TLS and locks: call "
                            "gevent.monkey.patch_all() before anything else is imported; under gunicorn's gevent "
                            "worker, load the app without --preload")


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """socket.timeout in time under gevent, whose TLS sockets count anew with each byte of a record."""
    if not _is_green():
        yield
        return
    with sys.modules["gevent"].Timeout(seconds, socket.timeout("the time is over")):
        yield


def adopt(manager: Any) -> None:
    """Have a PoolManager of urllib3, or one for an HTTP proxy, make pools with our connections."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class Names:
    """Looks host names up in daemon threads, because ``getaddrinfo`` knows no timeout. Thread-safe.

    One thread for each name under way, however many ask for it; it ends with the look-up.
    """

    def __init__(self) -> None:
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._lookups: Dict[Tuple[Any, ...], _Lookup] = {}  # under way

    def addresses(self, host: str, port: int, ends: float) -> List[Any]:
        """As ``socket.getaddrinfo`` has them. socket.timeout, socket.gaierror, UnicodeError."""
        asked = (host, port, urllib3_addresses.allowed_gai_family(), socket.SOCK_STREAM)
        try:
            return socket.getaddrinfo(*asked, 0, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # a name
        lookup = self._lookup(asked)
        while lookup is None and time.monotonic() < ends:
            time.sleep(0.01)  # too many others are under way
            lookup = self._lookup(asked)
        if lookup is None or not lookup.over.wait(ends - time.monotonic()):
            raise socket.timeout("the name was not found in time")
        if lookup.problem is not None:
            raise lookup.problem
        return lookup.found

    def _lookup(self, asked: Tuple[Any, ...]) -> Optional["_Lookup"]:
        """The one that is under way, or a new one, if there may be one more."""
        with self._lock:
            lookup = self._lookups.get(asked)
            if lookup is None and len(self._lookups) < _LOOKUPS:
                lookup = _Lookup()
                try:
                    threading.Thread(target=self._look_up, args=(asked, lookup), daemon=True,
                                     name="rapidfailover-names").start()
                except RuntimeError as problem:  # the system gives no more, or the interpreter is shutting down
                    raise socket.gaierror(socket.EAI_AGAIN, "no thread to look the name up in") from problem
                self._lookups[asked] = lookup  # its thread waits for the lock before it takes this away again
            return lookup

    def _look_up(self, asked: Tuple[Any, ...], lookup: "_Lookup") -> None:
        try:
            lookup.found = socket.getaddrinfo(*asked)
        except Exception as problem:  # gaierror, and UnicodeError for what is no name at all
            lookup.problem = problem
        finally:
            with self._lock:
                self._lookups.pop(asked, None)
            lookup.over.open()


class _Lookup:
    def __init__(self) -> None:
        self.over = Latch()
        self.found: List[Any] = []
        self.problem: Optional[Exception] = None
