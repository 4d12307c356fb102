"""How the deadline is kept: connections for urllib3 that look at the clock before every read and
every write.

requests hands its ``timeout`` to urllib3, urllib3 to the socket, and a socket begins to count anew
with every piece that it receives: an upstream that sends a byte a second is never too slow. So an
attempt carries a ``Budget`` of seconds and bytes in a context variable, and each time before a
socket is touched, its timeout is set to what is left of that.

Where a socket is touched, if you know ``http.client``: an ``HTTPConnection`` connects
(``_new_conn`` is urllib3's name for that part of ``connect``), asks a proxy for a tunnel
(``_tunnel``), has the socket wrapped in TLS, and sends (``send``). For each request it makes one
response (``response_class``), which reads everything, the status and the headers, the body, the
sizes of chunks and the trailers, from ``sock.makefile("rb")``. ``Connection`` arms the former, and
``Answer`` the latter, with a file of its own.

What is overridden, the class that it leans on (since when), why, and the test that turns red
without it:

``_Raw.readable``, io.RawIOBase (Python 2.6): a BufferedReader asks
    test_transport.py::test_utf8_is_utf8_whatever_the_charset_says
``_Raw.readinto``, io.RawIOBase (Python 2.6): the clock and the bytes are looked at before each read
    test_transport.py::test_utf8_is_utf8_whatever_the_charset_says
``_Raw.close``, io.RawIOBase (Python 2.6): the file within holds the socket open
    test_hooks.py::test_an_answer_that_is_over_holds_no_socket
``_File.readline``, io.BufferedReader (Python 2.6): framing is told from the body
    test_transport.py::test_a_body_in_tiny_chunks_may_be_as_long_as_any
``_File.close``, io.BufferedReader (Python 2.6): what follows the answer unasked ends the connection
    test_transport.py::test_what_is_left_over_of_tls_within_tls_is_nobodys
``Answer.__init__``, HTTPResponse's ``sock.makefile`` (Python 2.0): where http.client takes what it
    reads
    test_hooks.py::test_a_head_a_byte_at_a_time_is_left_when_the_time_is_over
``Answer.begin``, HTTPResponse (Python 2.0): a 1xx is followed by the answer; http.client knows of
    100 alone
    test_transport.py::test_an_answer_that_announces_another_is_not_the_answer[103 Early Hints]
``Connection.response_class``, http.client.HTTPConnection (Python 2.0): makes an Answer
    test_transport.py::test_an_answer_that_announces_another_is_not_the_answer[103 Early Hints]
``Connection.debuglevel``, http.client.HTTPConnection (Python 2.0): turned on for all, it would
    print every header
    test_secrets.py::test_no_failure_tells_it[503]
``Connection.connect``, http.client.HTTPConnection (Python 2.0): opened anew, it has not served
    before
    test_hooks.py::test_a_connection_that_is_opened_anew_is_a_new_one
``Connection.close``, http.client.HTTPConnection (Python 2.0): the TLS session is kept, for the next
    to resume
    test_tls.py::test_a_connection_that_was_closed_is_followed_by_one_that_resumes_its_session
``Connection.putrequest``, http.client.HTTPConnection (Python 2.0): whether it has served before
    test_hooks.py::test_a_kept_connection_that_was_closed_meanwhile_is_nobodys_fault
``Connection.send``, http.client.HTTPConnection (Python 2.0): each piece is armed, as long as a TLS
    record
    test_hooks.py::test_a_request_that_nobody_takes_is_left_when_the_time_is_over
``Connection._tunnel``, http.client.HTTPConnection (Python 2.6): each receive of TLS within TLS is
    armed
    test_transport.py::test_tls_within_tls_is_in_time[hello_dripped]
``Connection._new_conn``, urllib3's HTTPConnection (urllib3 1.8): names and addresses within the
    time
    test_transport.py::test_addresses_are_tried_side_by_side
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from contextvars import ContextVar
from functools import partial
from types import FunctionType
from typing import Any, Callable, List, Optional, Tuple

from urllib3 import connection as connection_module
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import connection as urllib3_addresses
from urllib3.util.ssltransport import SSLTransport

from .deadline import is_green, monotonic
from .sockets import first_connected, let_go, open_sockets

__all__ = ["Answer", "Budget", "Connection", "is_own", "under_way"]


_AT_ONCE = 16384  # bytes; a TLS socket counts its timeout anew for each record, which is as long
_BUFFER = 8192  # bytes; io's own default is 128 KiB from Python 3.14 on
_AHEAD = 2**17  # bytes that may be read before anybody knows whether they are framing or body
# bytes of heads, sizes of chunks and trailers; http.client reads heads of up to 6.4 MB
_FRAMING = 2**23


class Budget:
    """What an attempt may use, and what its connection has seen.

    One per attempt, used by one thread.
    """

    __slots__ = ("ends", "limit", "addresses", "contexts", "reused", "received", "fresh", "answer")

    def __init__(
        self,
        ends: float,
        limit: int,
        addresses: Callable[[str, int, float], List[Any]],
        contexts: Any = None,
    ) -> None:
        self.ends = ends  # by monotonic()
        self.limit = limit  # bytes of a body on the wire
        self.addresses = addresses  # Names.addresses: (host, port, ends) -> addresses
        self.contexts = contexts  # of TLS: a tls.Contexts, or None
        self.reused = False  # the request under way went out on a connection that had served before
        self.received = False  # and something came back
        self.fresh = False  # take no connection that has served before
        # the last Answer that began: urllib3 leaves it open where it cannot read it
        self.answer: Optional[Answer] = None

    def left(self) -> float:
        """Seconds. socket.timeout when the time is over."""
        left = self.ends - monotonic()
        if left <= 0:
            raise socket.timeout("the time is over")
        return left

    def arm(self, sock: Any) -> None:
        """Have the socket's next operation end in time."""
        sock.settimeout(self.left())


# The budget of the attempt under way: neither requests nor urllib3 would hand it down to a
# connection.
under_way: ContextVar[Any] = ContextVar("rapidfailover_attempt", default=None)


def _arm(sock: Any) -> None:
    budget: Budget | None = under_way.get()
    if budget is not None:
        budget.arm(sock)


class _Raw(io.RawIOBase):
    """What ``sock.makefile("rb", 0)`` is, with the clock and the bytes counted."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", 0)  # mocket takes no keyword here
        self._bytes = 0
        self.lines = 0  # the bytes in heads, sizes of chunks and trailers
        self.dry = False  # read no more

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.dry:
            return 0
        budget = under_way.get()
        if budget is not None:
            budget.arm(self._sock)
        count: int | None = self._file.readinto(buffer)
        if budget is not None and count:
            budget.received = True
            self._bytes += count
            if self._bytes > budget.limit + self.lines + _AHEAD:
                raise ValueError("the answer is too long")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def pending(self) -> bool:
        """Whether TLS has deciphered more than was read."""
        # TLS through a TLS proxy (urllib3's SSLTransport) cannot tell: such a connection is not
        # kept.
        return isinstance(self._sock, SSLTransport) or bool(getattr(self._sock, "pending", int)())

    def shut(self) -> None:
        try:
            getattr(self._sock, "socket", self._sock).shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster


class _File(io.BufferedReader):
    """The answer's bytes.

    ``http.client`` reads the framing by lines, and closes the file when the answer is over.
    """

    def readline(self, *args: Any, **kwargs: Any) -> bytes:
        line = super().readline(*args, **kwargs)
        raw: Any = self.raw
        raw.lines += len(line) + 2  # 2: the CRLF that ends a chunk, where the line is its size
        if raw.lines > _FRAMING:
            raise ValueError("the answer's head is too long")
        return line

    def close(self) -> None:
        """What follows the answer unasked would be taken for the answer to the next request."""
        if not self.closed:
            raw: Any = self.raw
            raw.dry = True  # so that peek() shows what is buffered and does not wait for more
            if self.peek(1) or raw.pending():
                raw.shut()  # urllib3 throws away a connection that was closed meanwhile
        super().close()


class _Files:
    """Stands in for the socket where ``http.client`` makes a file of it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def makefile(self, mode: str, *args: Any, **kwargs: Any) -> io.BufferedReader:
        return _File(_Raw(self._sock), _BUFFER)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def _arm_each(sock: Any) -> None:
    """Arm each receive and send: TLS within TLS (urllib3's SSLTransport) does many in a read."""
    for name in ("recv", "sendall"):

        def armed(*args: Any, plain: Any = getattr(sock, name)) -> Any:
            _arm(sock)
            return plain(*args)

        setattr(sock, name, armed)


class Answer(http.client.HTTPResponse):
    # until __init__ sets it: close() reads it, and an interrupt can arrive anywhere
    fp: Any = None

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        files: Any = _Files(sock)
        super().__init__(files, *args, **kwargs)

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """http.client knows of 100 alone that the answer is still to come; what follows a 103 would
        answer the next.
        """
        budget = under_way.get()
        if budget is not None:
            budget.answer = self
        super().begin(*args, **kwargs)
        while 101 < self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before it began
            super().begin(*args, **kwargs)
        del self.headers["Set-Cookie"]  # none is kept, and reading 6 MB of them takes a second
        if self.status == 101:
            self.will_close = True  # it speaks something else from now on


class Connection(HTTPConnection):
    response_class = Answer
    debuglevel = 0  # http.client's own, if somebody turned it on, would print every header
    _asked = 0  # requests since it was opened
    _lent: Any = None  # the context of TLS that it was opened with, where that is shared

    def connect(self) -> None:
        self._asked = 0
        budget = under_way.get()
        if budget is None or budget.contexts is None:
            super().connect()
        else:
            with budget.contexts.lent_to(self) as self._lent:
                super().connect()
        open_sockets.add(self.sock)  # the one in TLS, where there is one

    def close(self) -> None:
        self._note_session()
        super().close()

    def _note_session(self) -> None:
        if self._lent is not None and self.sock is not None:
            self._lent.note(self.sock)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            # http.client would connect later, and then a traceback would show the head to be sent
            self.connect()
        budget = under_way.get()
        if budget is not None:
            budget.reused, budget.received = self._asked > 0, False
        # servers send what is needed to resume a session along with the first answer
        if self._asked == 1:
            self._note_session()
        self._asked += 1
        super().putrequest(*args, **kwargs)

    def send(self, data: Any) -> None:
        budget = under_way.get()
        if budget is None or not isinstance(data, (bytes, bytearray)):
            return super().send(data)
        for start in range(0, len(data), _AT_ONCE):
            budget.arm(self.sock)
            super().send(data[start : start + _AT_ONCE])

    def _tunnel(self) -> None:
        sock: Any = self.sock
        try:
            super()._tunnel()
        except BaseException:
            let_go(sock)  # until Python 3.11 the proxy's answer is left open, and holds the socket
            raise
        _arm(self.sock)  # for the handshake, which comes next
        if isinstance(self.sock, ssl.SSLSocket):
            _arm_each(self.sock)

    def _new_conn(self, *args: Any, **kwargs: Any) -> Any:
        budget = under_way.get()
        if budget is None:
            return super()._new_conn(*args, **kwargs)
        self.timeout = budget.left()
        if not is_own(super()._new_conn, connection_module) or not is_own(
            urllib3_addresses.create_connection, urllib3_addresses
        ):
            return super()._new_conn(*args, **kwargs)  # a tool's connection, or one by SOCKS
        try:
            return self._connected(budget)
        except socket.timeout as problem:
            raise ConnectTimeoutError(self, "no connection in time") from problem
        except OSError as problem:
            raise NewConnectionError(self, "no connection") from problem

    def _connected(self, budget: Budget) -> Any:
        """A socket, connected to the first of the name's addresses that answers."""
        host = self._dns_host.strip("[]")
        if not is_own(socket.create_connection, socket) and not is_green():
            sock: Any = socket.create_connection(
                (host, self.port), budget.left(), self.source_address
            )
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            return sock
        addresses = budget.addresses(host, self.port, budget.ends)
        return first_connected([partial(self._socket, address) for address in addresses], budget)

    def _socket(self, found: Any) -> Tuple[socket.socket, Any]:
        """A socket that is to be connected, and the address to connect it to."""
        family, kind, protocol, _, address = found
        sock = socket.socket(family, kind, protocol)  # or what a tool has put in its place
        open_sockets.add(sock)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            if self.source_address:
                sock.bind(self.source_address)
        except BaseException:
            sock.close()
            raise
        return sock, address


def is_own(function: Any, module: Any) -> bool:
    """Whether it is what that module defines, and nothing that somebody has put in its place."""
    function = getattr(function, "__func__", function)
    return type(function) is FunctionType and function.__globals__ is vars(module)
