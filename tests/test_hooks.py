"""What connections, pools and sessions lean on in http.client, urllib3 and requests, and what comes of it where it is not there."""

import importlib
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import pytest
import requests
import responses
import urllib3
import vcr
from conftest import KEY, NO_RETRY, Upstream, http
from faults import Heartbeat, read_head
from vcr.serializers import yamlserializer

import rapidfailover
from rapidfailover import (
    AllProvidersFailed,
    FailoverClient,
    FailoverError,
    ProviderConfig,
    ProviderRegistry,
    connection,
    pool,
)

pytestmark = pytest.mark.slow

PACKAGE, TESTS = Path(rapidfailover.__file__).parent, Path(__file__).parent


@pytest.fixture(autouse=True)
def nothing_was_said_before():
    pool._say_coarser.cache_clear()  # said once in a process


def coarser(caplog):
    return [record.getMessage() for record in caplog.records if "deadlines are coarser" in record.getMessage()]


@pytest.mark.filterwarnings("ignore:.*unclosed.*", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("owner, name", pool._LEANT_ON, ids=[f"{owner.__name__}.{name}" for owner, name in pool._LEANT_ON])  # the list that is tested
def test_what_is_not_there_costs_precision_and_no_bare_error(owner, name, monkeypatch, caplog):
    """urllib3 itself may need it: that is then an attempt that failed."""
    monkeypatch.delattr(next(one for one in getattr(owner, "__mro__", [owner]) if name in vars(one)), name)
    with Upstream(http()) as upstream, \
            FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False) as client:
        for _ in range(2):
            try:
                assert client.call("raw", "/thing").data
            except FailoverError as error:
                assert ("AttributeError" in str(error) or "NameError" in str(error)) and name in str(error)
    warning, = coarser(caplog)
    assert f"{owner.__name__}.{name}" in warning and KEY not in caplog.text


def test_connections_that_are_none_of_http_clients_are_left_alone(monkeypatch, caplog):
    """urllib3-future's, say: they speak other protocols too."""
    monkeypatch.setattr(pool, "HTTPConnection", type("HTTPConnection", (), {"__module__": "urllib3_future.connection"}))
    with Upstream(http()) as upstream, \
            FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False) as client:
        assert client.call("raw", "/thing").data
    warning, = coarser(caplog)
    assert "urllib3_future.connection" in warning


# --- the tables in the docstrings: each hook, what it leans on and since when, and the test that guards it ---

class Hook(NamedTuple):
    module: str
    name: str  # of the class and what it overrides
    until: Optional[Tuple[int, ...]]  # the version of requests from which on nothing needs it
    guard: str


def hooks_of(module):
    """``Class.name``, leans on (since when): why ⏎ the guard's node id."""
    _, _, table = importlib.import_module(f"rapidfailover.{module}").__doc__.partition("without it:")
    for entry in re.split(r"^(?=``)", table.strip(), flags=re.MULTILINE):
        if not entry:
            continue
        told, guard = re.fullmatch(r"(.*) (test_\w+\.py::.*)", " ".join(entry.split())).groups()
        name, since, until = re.match(
            r"``(\w+\.\w+)``, .*?\((?:since requests ([\d.]+))?.*?(?:until requests ([\d.]+))?\):", told).groups()
        if not since or NEW_REQUESTS:
            yield Hook(module, name, until and tuple(map(int, until.split("."))), guard)


NEW_REQUESTS = hasattr(requests.adapters.HTTPAdapter, "get_connection_with_tls_context")
HOOKED = ["connection", "pool", "session"]
HOOKS = [hook for module in HOOKED for hook in hooks_of(module)]
NEEDED = [hook for hook in HOOKS if hook.until is None or tuple(map(int, requests.__version__.split(".")[:2])) < hook.until]
FOREIGN = {"http", "urllib3", "requests", "io", "_io"}  # http.cookiejar is http's
OF_EACH_CLASS = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__abstractmethods__", "_abc_impl",
                 "__firstlineno__", "__static_attributes__"}


def overrides(module):
    """What a class of ours defines and a class of theirs, from which it inherits, defines too."""
    for cls in vars(importlib.import_module(f"rapidfailover.{module}")).values():
        if isinstance(cls, type) and cls.__module__ == f"rapidfailover.{module}" and not issubclass(cls, Exception):
            theirs = {name for base in cls.__mro__[1:] if base.__module__.split(".")[0] in FOREIGN for name in vars(base)}
            yield from (f"{cls.__name__}.{name}" for name in theirs & set(vars(cls)) - OF_EACH_CLASS)


@pytest.mark.parametrize("module", sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__main__", "testing", "pytest_plugin")))
def test_every_override_stands_in_its_modules_table_and_nothing_else_does(module):
    assert sorted(overrides(module)) == sorted(hook.name for hook in hooks_of(module))


@pytest.mark.parametrize("hook", NEEDED, ids=[hook.name for hook in NEEDED])
def test_without_a_hook_its_guard_turns_red(hook):
    """That the guards are green with it, the suite itself says."""
    environment = {**os.environ, "WITHOUT": f"{hook.module}.{hook.name}", "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(TESTS)])}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "without_hook", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:unraisableexception", str(TESTS / hook.guard)],
                          cwd=TESTS.parent, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and re.search(r"^1 failed\b(?!.*error)", done.stdout, re.MULTILINE), done.stdout[-3000:] + done.stderr


# --- guards of hooks that no other test needs ---

@contextmanager
def asking(upstream, **options):
    """``ask(n)`` calls that upstream and no other."""
    options = {"matrix": NO_RETRY, "refresh": False, "max_stale": 0, "timeout": 5.0, **options}
    with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, **options) as client:
        def ask(number=0):
            try:
                return client.call("raw", "/thing", {"q": number})
            except AllProvidersFailed as error:
                attempt, = error.attempts
                return attempt
        yield ask


def test_a_head_a_byte_at_a_time_is_left_when_the_time_is_over():
    def dripping(connection):
        read_head(connection)
        for _ in range(60):
            connection.sendall(b"x")
            time.sleep(0.02)

    with Upstream(accepted=dripping) as upstream, asking(upstream, timeout=0.3) as ask, Heartbeat() as heartbeat:
        began = time.monotonic()
        assert ask().detail == "no answer in time"
        assert time.monotonic() - began < 0.8 + heartbeat.hiccups(began)


def test_a_request_that_nobody_takes_is_left_when_the_time_is_over():
    """Whatever time the socket was given when it was opened."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = connection.Connection(*listener.getsockname(), timeout=1.5)
        link.connect()
        token = connection.under_way.set(connection.Budget(time.monotonic() + 0.2, 100, None))
        began = time.monotonic()
        try:
            with pytest.raises(socket.timeout), Heartbeat() as heartbeat:
                link.send(b"x" * 30_000_000)
            assert time.monotonic() - began < 0.8 + heartbeat.hiccups(began)
        finally:
            connection.under_way.reset(token)
            link.close()


def keeping(answers):
    """A server that answers each connection so many times and closes it when one more request is there."""
    def serve(connection):
        for _ in range(answers):
            if not read_head(connection):
                return
            connection.sendall(http(Connection="keep-alive"))
        read_head(connection)
    return Upstream(accepted=serve)


def test_a_kept_connection_that_was_closed_meanwhile_is_nobodys_fault():
    with keeping(1) as upstream, asking(upstream) as ask:
        assert [ask(number).data for number in range(3)] == [{"ok": True}] * 3


def test_a_request_that_is_sent_again_takes_no_other_kept_connection():
    """The server may have closed that one too; another thread may have put it there in between."""
    with keeping(9) as upstream, pool._Pool("127.0.0.1", upstream.port) as kept:  # our pool, without a client
        assert kept.urlopen("GET", "/").status == 200
        budget = connection.Budget(time.monotonic() + 5, 100, None)
        token = connection.under_way.set(budget)
        budget.fresh = True
        try:
            assert kept._get_conn().sock is None  # urllib3's own name
        finally:
            connection.under_way.reset(token)


def test_a_connection_that_is_opened_anew_is_a_new_one():
    """One that closes without an answer has not been kept: its provider failed."""
    with Upstream(http(), b"", http()) as upstream, asking(upstream) as ask:
        assert ask(0).data
        attempt = ask(1)
        assert (attempt.action, attempt.retries) == ("unavailable", 0)


def test_an_answer_that_is_over_holds_no_socket():
    """Not even where somebody holds the answer: a traceback, say."""
    here, there = socket.socketpair()
    with there:
        file = connection._File(connection._Raw(here), 8192)  # the file alone, without an answer
        here.close()
        assert here.fileno() >= 0  # the answer is still to be read
        file.close()
        assert here.fileno() == -1 and file.closed


def test_an_interrupt_while_a_connection_is_taken_leaves_no_pool_locked():
    """Within Condition.__enter__, which ``queue`` calls, it would: every later call would wait for ever."""
    left_locked = []

    def interrupt(frame, event, argument):
        if event == "return":
            left_locked.append(frame.f_locals["self"])
            raise KeyboardInterrupt
        return interrupt

    def trace(frame, event, argument):
        if frame.f_code.co_name == "__enter__" and frame.f_back.f_code.co_filename == queue.__file__:
            return interrupt

    def interrupted():
        sys.settrace(trace)  # this thread's
        try:
            ask(1)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)

    with keeping(9) as upstream, asking(upstream) as ask:
        ask()
        calls = [threading.Thread(target=target, daemon=True) for target in (interrupted, ask)]
        for call in calls:
            call.start()
            call.join(1)
        hang = [call.is_alive() for call in calls]
        for condition in left_locked:
            condition.release()
        assert hang == [False, False]


class Plain:
    """Writes cassettes as the newer vcrpy's YAML does: it knows no text of a class of its own, as a key is."""

    @staticmethod
    def serialize(cassette):
        texts = [text for one in cassette["interactions"] for values in one["request"]["headers"].values() for text in values]
        assert texts and {type(text) for text in texts} == {str}
        return yamlserializer.serialize(cassette)

    deserialize = staticmethod(yamlserializer.deserialize)


def test_a_tool_that_writes_down_what_it_is_given_can(tmp_path):
    recorder = vcr.VCR(serializer="plain")
    recorder.register_serializer("plain", Plain)
    with Upstream(http()) as upstream, asking(upstream) as ask:
        with recorder.use_cassette(str(tmp_path / "cassette.yaml")):
            assert ask().data == {"ok": True}
        with recorder.use_cassette(str(tmp_path / "cassette.yaml")):
            assert ask().data == {"ok": True}
    assert len(upstream.received) == 1


def wrapped(monkeypatch):
    """X-Ray and its like wrap ``Session.request``, where requests adds what a session has."""
    plain = requests.Session.request
    monkeypatch.setattr(requests.Session, "request", lambda *args, **kwargs: plain(*args, **kwargs))


@responses.activate
def test_no_cookie_is_kept_whoever_answers_and_wherever_calls_enter(monkeypatch):
    wrapped(monkeypatch)
    responses.get("https://sunny.example/thing", json={"ok": True}, headers={"Set-Cookie": "id=1; Path=/"})
    registry = ProviderRegistry({"raw": [ProviderConfig("sunny", "sunny.example", 1)]})
    with FailoverClient(registry, api_key=KEY, refresh=False) as client:
        for number in range(2):
            client.call("raw", "/thing", {"q": number})
    assert [call.request.headers.get("Cookie") for call in responses.calls] == [None, None]


def test_a_plain_request_goes_through_no_proxy_wherever_calls_enter(monkeypatch):
    wrapped(monkeypatch)
    with Upstream(http(b"<html>")) as proxy, Upstream(http()) as upstream, asking(upstream) as ask:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert ask().data == {"ok": True}
        assert proxy.received == []


def asked(monkeypatch, owner, name):
    """How often that was called, by three calls of a client."""
    calls, plain = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(1) or plain(*args, **kwargs))
    with Upstream(http()) as upstream, \
            FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False) as client:
        for number in range(3):
            client.call("raw", "/thing", {"q": number})
    return len(calls)


def test_a_pool_is_looked_up_once(monkeypatch):
    owner = urllib3.PoolManager
    name = "connection_from_host" if NEW_REQUESTS else "connection_from_url"
    assert asked(monkeypatch, owner, name) == (1 if NEW_REQUESTS else 3)


def test_no_proxy_is_looked_for_at_each_call(monkeypatch):
    assert asked(monkeypatch, requests.adapters, "select_proxy") == (1 if NEW_REQUESTS else 3)
