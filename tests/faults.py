"""What an upstream can do to a connection, byte by byte, and the upstreams that do it.

``FAULTS`` is the table of docs/faults.md. Everything plays on loopback; names end in ``.example`` and are
looked up by ``looked_up``.
"""

import datetime
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from contextlib import ExitStack
from typing import Any, Callable, NamedTuple, Optional

import trustme

from rapidfailover import ProviderConfig

DRIP = 0.02  # seconds between two bytes
GOOD = b'{"ok": true}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def http(body=GOOD, status="200 OK", length=None, **headers):
    """The bytes of one answer."""
    fields = {"Content-Length": len(body) if length is None else length, "Connection": "close",
              **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


# --- what is done to a connection: functions of it that return when they are done ---

def reset(connection):
    """An RST instead of a FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(connection):
    connection.recv(1)  # until the client goes away, or sends what nobody expects


def drip(head, drop=b"x"):
    """``head``, then ``drop`` byte by byte without end."""
    def dripping(connection):
        connection.sendall(head)
        while True:
            for byte in drop:
                connection.sendall(bytes([byte]))
                time.sleep(DRIP)
    return dripping


def pour(head, piece):
    """``head``, then ``piece`` as fast as it is taken, without end."""
    def pouring(connection):
        connection.sendall(head)
        while True:
            connection.sendall(piece)
    return pouring


def bomb():
    return gzip.compress(gzip.compress(b" " * 30_000_000))


# --- who does it ---

def read_head(connection):
    """The next request up to its empty line; nothing when the client has gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return b""
        head += piece
    return head


class Upstream:
    """Answers every request with the next of ``answers`` (the last one for ever), byte for byte, then closes.

    An answer is bytes, or a function of the connection. ``accepted``, a function too, is called in place of all
    this as soon as somebody connects.
    """

    def __init__(self, *answers, tls=None, accepted=None, backlog=128, receive_buffer=None):
        self.answers = list(answers)
        self.received = []  # the head of every request
        self._tls = tls
        self._accepted = accepted
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(backlog)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def provider(self, name="raw", priority=1, **options):
        return ProviderConfig(name, f"{name}.p.rapidapi.com", priority, base_url=f"http://127.0.0.1:{self.port}", **options)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection):
        try:
            if self._accepted:
                self._accepted(connection)
            else:
                if self._tls:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self._answer(connection)
        except OSError:
            pass  # the client had enough
        finally:
            connection.close()

    def _answer(self, connection):
        head = read_head(connection)
        if not head:
            return
        self.received.append(head)
        answer = self.answers[min(len(self.received), len(self.answers)) - 1]
        answer(connection) if callable(answer) else connection.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def tunnel(connection):
    """A proxy that does as the name says it is asked for: see FAULTS, "Proxy"."""
    name, _, port = read_head(connection).split()[1].decode().rpartition(":")
    if name.startswith("proxy-silent"):
        return silence(connection)
    if name.startswith("proxy-drips"):
        return drip(b"HTTP/1.1 200 OK\r\nX: ")(connection)
    if name.startswith("proxy-refuses"):
        return connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
    with socket.create_connection(("127.0.0.1", int(port))) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=copy, args=(target, connection), daemon=True)
        back.start()
        copy(connection, target)
        back.join()


def copy(source, target):
    try:
        while True:
            piece = source.recv(65536)
            if not piece:
                break
            target.sendall(piece)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class World:
    """Certificates, a proxy, names and closed ports for the faults that need them. Closed in the end."""

    def __init__(self, directory):
        self._open = ExitStack()
        self.authority = trustme.CA()
        self.bundle = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.bundle)
        self.proxy = self._open.enter_context(Upstream(accepted=tunnel))
        self.refused = self.port_of_nobody()
        self.full = self.full_backlog()
        self._real_getaddrinfo = socket.getaddrinfo

    def context(self, issued_for, authority=None, **certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.authority).issue_cert(issued_for, **certificate).configure_cert(context)
        context.num_tickets = 0  # they would be sent to clients that have gone
        return context

    def upstream(self, *answers, **settings):
        return self._open.enter_context(Upstream(*answers, **settings))

    def port_of_nobody(self):
        """Where nobody listens, nor will as long as this world is open."""
        taken = self._open.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]

    def full_backlog(self):
        """A port that takes no further connection and does not say so: to a client, a black hole."""
        listener = self._open.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = self._open.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        return listener.getsockname()[1]

    def getaddrinfo(self, host, port, *args, **kwargs):
        if not isinstance(host, str) or not host.endswith(".example") or socket.AI_NUMERICHOST in args:
            return self._real_getaddrinfo(host, port, *args, **kwargs)
        if host.startswith("unknown"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host.startswith("stalls"):
            time.sleep(3)
        ports = [self.full, self.refused, self.full, port] if host.startswith("several") else [port]
        if host.startswith("dead"):
            ports = [self.full] * 4
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in ports]

    def close(self):
        self._open.close()


class Heartbeat:
    """How late this machine is by itself: what a thread that wakes every few milliseconds has seen."""

    def __init__(self):
        self.late = [(time.monotonic(), 0.0)]  # when, by how many seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self):
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(0.005)
            now = time.monotonic()
            if now - began > 0.010:
                self.late.append((now, now - began - 0.005))

    def hiccups(self, since):
        """Seconds by which it was late since then, all in all."""
        return sum(late for when, late in list(self.late) if when >= since)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._over.set()
        self._thread.join()


# --- the table ---

class Fault(NamedTuple):
    phase: str
    name: str
    sees: str  # what the caller finds in the attempt: the row of the matrix, and the beginning of why
    base_url: Callable[[World], str]
    json: Optional[Callable[[Any], Any]] = None  # the body of a POST, else it is a GET
    calls: int = 1  # the last one counts


def plain(*answers, **settings):
    def base_url(world):
        return f"http://127.0.0.1:{world.upstream(*answers, **settings).port}"

    base_url.answer = answers[0] if len(answers) == 1 else None
    return base_url


def secure(*answers, name="direct.example", **issued):
    issued.setdefault("issued_for", name)
    return lambda world: f"https://{name}:{world.upstream(*answers, tls=world.context(**issued)).port}"


def proxied(*answers, name="proxied.example"):
    return secure(*answers, name=name)


def unread(connection):
    time.sleep(2)


def reset_midway(connection):
    connection.recv(100_000)
    reset(connection)


def hello_dripped(connection):
    drip(b"\x16\x03\x03\x20\x00", b"\0")(connection)  # a handshake record of 8 KiB, a byte at a time


def closed_at_the_second(connection):
    """Keeps the connection after the first answer, and closes it when the second request is there."""
    connection.sendall(http(Connection="keep-alive"))
    connection.recv(65536)


LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
IN_TIME = "504 timeout: no answer in time"
NONE = "503 unavailable"
BAD = "502 bad gateway: bad payload"
GET_200 = b"HTTP/1.1 200 OK\r\n"
BIG = {"x": "x" * 6_000_000}

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ANY_ROUTE = [  # played plainly, over TLS, and over TLS through a proxy
    ("Head", "silence instead of an answer", IN_TIME, silence),
    ("Head", "status line, a byte at a time", IN_TIME, drip(b"HTTP/1.1 200 O")),
    ("Head", "headers, a byte at a time", IN_TIME, drip(GET_200 + b"X-Long: ")),
    ("Head", "100 Continue without end", IN_TIME, drip(b"", CONTINUE)),
    ("Body", "body, a byte at a time", IN_TIME, drip(GET_200 + b"Content-Length: 99999\r\n\r\n", b" ")),
    ("Body", "chunk sizes, a byte at a time", IN_TIME, drip(CHUNKED, b"0")),
    ("Body", "trailers, a byte at a time", IN_TIME, drip(CHUNKED + b"c\r\n" + GOOD + b"\r\n0\r\nX: ")),
    ("Body", "a 503 with a body a byte at a time", NONE,
     drip(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 99999\r\n\r\n")),
    ("Body", "a 302 with a body a byte at a time", "403 forbidden",
     drip(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 99999\r\n\r\n")),
]

FAULTS = [
    Fault("Connect", "refused", NONE, lambda world: f"http://127.0.0.1:{world.refused}"),
    Fault("Connect", "reset at accept", NONE, plain(accepted=reset)),
    Fault("Connect", "black hole, backlog full", IN_TIME, lambda world: f"http://127.0.0.1:{world.full}"),
    Fault("Connect", "name unknown", NONE, lambda world: "https://unknown.example"),
    Fault("Connect", "resolver stalls", IN_TIME, lambda world: "https://stalls.example"),
    Fault("Connect", "several addresses, all dead", IN_TIME, lambda world: "https://dead.example"),
    Fault("Connect", "several addresses, some dead", "data", secure(http(), name="several.example")),
    Fault("Connect", "proxy refuses", NONE, proxied(name="proxy-refuses.example")),
    Fault("Connect", "proxy is silent", IN_TIME, proxied(name="proxy-silent.example")),
    Fault("Connect", "proxy's headers, a byte at a time", IN_TIME, proxied(name="proxy-drips.example")),
    Fault("TLS", "silent peer", IN_TIME, lambda world: f"https://direct.example:{world.upstream(accepted=unread).port}"),
    Fault("TLS", "silent peer behind a proxy", IN_TIME,
          lambda world: f"https://proxied.example:{world.upstream(accepted=unread).port}"),
    Fault("TLS", "handshake, a byte at a time", IN_TIME,
          lambda world: f"https://direct.example:{world.upstream(accepted=hello_dripped).port}"),
    Fault("TLS", "certificate for another name", NONE, secure(http(), issued_for="other.test")),
    Fault("TLS", "certificate expired", NONE, secure(http(), not_after=LONG_AGO)),
    Fault("TLS", "certificate of nobody we trust", NONE, secure(http(), authority=trustme.CA())),
    Fault("Send", "peer never reads", IN_TIME, plain(accepted=unread, receive_buffer=4096), lambda params: BIG),
    Fault("Send", "reset while we send", NONE, plain(accepted=reset_midway, receive_buffer=4096), lambda params: BIG),
    Fault("Send", "idle connection closed under us", "data, after a retry", plain(closed_at_the_second, http()), calls=2),
    *(Fault(phase, name, sees, plain(play)) for phase, name, sees, play in _ANY_ROUTE),
    Fault("Head", "101 headers", NONE, plain(GET_200 + b"X: y\r\n" * 101 + b"\r\n" + GOOD)),
    Fault("Head", "100 Continue without end, in a flood", f"{NONE} or {IN_TIME}", plain(pour(b"", CONTINUE * 100))),
    Fault("Head", "headers without end", NONE, plain(pour(GET_200, b"X: y\r\n"))),
    Fault("Head", "a header line of 70 KB", NONE, plain(GET_200 + b"X: " + b"y" * 70_000 + b"\r\n\r\n" + GOOD)),
    Fault("Head", "a header line without a colon", "data", plain(GET_200 + b"garbage\r\nContent-Length: 3\r\n\r\n" + GOOD)),
    Fault("Head", "garbage", NONE, plain(b"SSH-2.0-OpenSSH_9.2\r\n")),
    Fault("Head", "TLS where plain text was due", NONE, plain(b"\x15\x03\x01\x00\x02\x02\x16")),
    Fault("Head", "HTTP/0.9", NONE, plain(GOOD)),
    Fault("Head", "HTTP/3.0", NONE, plain(b"HTTP/3.0 200 OK\r\n\r\n" + GOOD)),
    Fault("Head", "status 000", NONE, plain(http(status="000 What"))),
    Fault("Head", "status 20", NONE, plain(http(status="20 OK"))),
    Fault("Head", "status 999", "502 bad gateway", plain(http(status="999 What"))),
    Fault("Head", "status 101", "502 bad gateway", plain(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")),
    Fault("Body", "endless", BAD, plain(pour(GET_200 + b"\r\n", b" " * 65536))),
    Fault("Body", "endless, in chunks", BAD, plain(pour(CHUNKED, b"8000\r\n" + b" " * 0x8000 + b"\r\n"))),
    Fault("Body", "negative chunk size", BAD, plain(pour(CHUNKED + b"-1\r\n", b" " * 65536))),
    Fault("Body", "cut short", BAD, plain(http(GOOD[:-3], length=len(GOOD)))),
    Fault("Body", "cut short, in chunks", BAD, plain(CHUNKED + b"c\r\n" + GOOD)),
    Fault("Body", "longer than announced", "data", plain(http(GOOD + b"trailing", length=len(GOOD)))),
    Fault("Body", "a petabyte announced", BAD, plain(http(GOOD, length=10 ** 15))),
    Fault("Body", "two lengths", f"{NONE} or {BAD}", plain(http(GOOD, length="12, 13"))),
    Fault("Body", "gzip cut short", BAD, plain(http(gzip.compress(GOOD)[:-6], Content_Encoding="gzip"))),
    Fault("Body", "gzip corrupt", BAD, plain(http(gzip.compress(GOOD)[:-8] + b"\0" * 8, Content_Encoding="gzip"))),
    Fault("Body", "gzip declared, plain sent", BAD, plain(http(GOOD, Content_Encoding="gzip"))),
    Fault("Body", "gzip bomb", BAD, plain(http(gzip.compress(b" " * 30_000_000), Content_Encoding="gzip"))),
    Fault("Body", "gzip bomb in a gzip", BAD, plain(http(bomb(), Content_Encoding="gzip"))),
    Fault("Body", "encoding we did not offer", BAD, plain(http(b"\x0b\x02\x80", Content_Encoding="br"))),
    Fault("Body", "empty", BAD, plain(http(b""))),
    Fault("Body", "204", "404 not found: no content", plain(http(b"", "204 No Content"))),
    Fault("Body", "HTML", BAD, plain(http(b"<html>Sorry</html>", Content_Type="text/html"))),
    Fault("Body", "wrong charset", "data", plain(http('{"ok": "ü"}'.encode(), Content_Type="application/json; charset=hex"))),
    Fault("Body", "NaN", BAD, plain(http(b'{"ok": NaN}'))),
    Fault("Body", "1e999", BAD, plain(http(b'{"ok": 1e999}'))),
    Fault("Body", "100,000 brackets", BAD, plain(http(b"[" * 100_000))),
    Fault("Body", "an integer of 5,000 digits", BAD, plain(http(b'{"ok": ' + b"1" * 5_000 + b"}"))),
    Fault("Body", "null", BAD, plain(http(b"null"))),
    Fault("Body", "a text", BAD, plain(http(json.dumps("text").encode()))),
]

# The same over TLS, and through a proxy. A line of the table has the worst of the three.
ROUTES = [fault._replace(base_url=route(play)) for route in (secure, proxied)
          for _, name, _, play in _ANY_ROUTE for fault in FAULTS if fault.name == name]
