"""A clock that tests turn by hand, a local RapidAPI, and an upstream that sends whatever bytes it is given."""

import os
import socket
import threading

import pytest

from rapidfailover import MATRIX, FailoverClient, ProviderConfig
from rapidfailover.testing import FakeRapidAPI

KEY = "0123456789msh0123456789abcdefp1012345jsn0123456789"  # has the form of one, is none

# For tests in which urllib3's retry and its pause are not the subject.
NO_RETRY = {status: rule._replace(retry=False) for status, rule in MATRIX.items()}


class Clock:
    """Seconds that pass when ``tick`` says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def tick(self, seconds):
        self.now += seconds


class Upstream:
    """Answers every request with the next of ``answers`` (the last one for ever), byte for byte, then closes.

    An answer is bytes, or a function of the connection.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.received = []  # the head of every request
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def provider(self, name="raw", priority=1):
        return ProviderConfig(name, f"{name}.example", priority, base_url=f"http://127.0.0.1:{self.port}")

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            self.received.append(head)
            answer = self.answers[min(len(self.received), len(self.answers)) - 1]
            try:
                answer(connection) if callable(answer) else connection.sendall(answer)
            except OSError:
                pass  # the client had enough

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def http(body=b'{"ok": true}', status="200 OK", length=None, **headers):
    """The bytes of one answer."""
    fields = {"Content-Length": len(body) if length is None else length, "Connection": "close",
              **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def in_threads(count, work):
    """``work(n)`` in that many threads at once; their first error is raised."""
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    running = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    assert not any(thread.is_alive() for thread in running)
    if failures:
        raise failures[0]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rapidapi():
    with FakeRapidAPI() as fake:
        yield fake


@pytest.fixture
def make_client(rapidapi):
    """Clients on the local RapidAPI's registry, closed in the end."""
    clients = []

    def make(registry=None, **options):
        options.setdefault("api_key", KEY)
        clients.append(FailoverClient(registry or rapidapi.registry, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client):
    return make_client(matrix=NO_RETRY, max_wait=0.0)


def pytest_sessionfinish(session, exitstatus):
    """A test that CI skips guards nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("skipped tests are failures in CI", red=True)
        session.exitstatus = 1
