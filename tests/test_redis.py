"""A fleet on a real redis-server: what workers share, and that nothing of it can fail or delay a call."""

import itertools
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import pytest
import trustme
from conftest import NO_RETRY, in_threads
from faults import Heartbeat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import PROGRAM, RedisServer, SlowLink

from rapidfailover import (
    AllProvidersFailed,
    FailoverClient,
    ProviderConfig,
    ProviderRegistry,
    RefreshRequest,
)
from rapidfailover.circuit import Circuit, Ticket

redis = pytest.importorskip("redis", reason="redis-py is not installed")
if not PROGRAM:
    pytest.skip("no redis-server is installed", allow_module_level=True)

from rapidfailover.redis import Fleet, RedisStore, _Job  # noqa: E402

ROOT = Path(__file__).parent.parent
ADA = ("tiktok", "/user/info", {"unique_id": "ada"})
FIRST, SECOND, THIRD = "tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running):
    """Emptied for each test."""
    redis.Redis(port=running.port).flushall()
    return running


@pytest.fixture
def own_server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def worker(rapidapi, make_client):
    """Workers of a fleet: each a client with a registry and a connection of its own."""
    def make(server, *, rules=None, **options):
        options = {"matrix": NO_RETRY, "max_wait": 0.0, "refresh": False, **options}
        store = server if isinstance(server, RedisStore) else RedisStore(getattr(server, "url", server))
        return make_client(ProviderRegistry(rapidapi.providers, **(rules or {})), store=store, **options)
    return make


@pytest.fixture
def unhurried():
    """Everything counts as quick: the machine's own hiccups are not the subject."""
    with mock.patch("rapidfailover.redis._PATIENCE", 5.0), mock.patch("rapidfailover.redis._SLOW", 5.0):
        yield


def until(holds, seconds=2.0):
    """The seconds until it holds."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if holds():
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def state(client, provider=FIRST):
    return client.registry.snapshot()["tiktok"][provider]


# --- what is shared ---

def test_faults_of_different_workers_open_one_circuit_and_all_know(server, unhurried, worker, rapidapi):
    workers = [worker(server) for _ in range(3)]
    for one in workers:
        one.call(*ADA)
    rapidapi.fail(FIRST, 503)
    for one in workers:
        until(lambda: state(one)["error_count"] == workers.index(one))
        assert one.call(*ADA).provider == SECOND
    until(lambda: all(state(one)["circuit"] == "open" and 895 < state(one)["disabled_until"] <= 900 for one in workers))
    asked = len(rapidapi.requests)
    assert worker(server).call(*ADA).attempts[0].provider == SECOND  # one that has never asked anybody
    assert [request.provider for request in rapidapi.requests[asked:]] == [SECOND]


@pytest.mark.parametrize("change, seen", [
    (lambda registry: registry.hold("tiktok", FIRST, 60), lambda told: 58 < (told["hold_until"] or 0) <= 60),
    (lambda registry: registry.mark_error("tiktok", FIRST), lambda told: told["error_count"] == 1 and -2 < told["last_error"] <= 0),
    (lambda registry: [registry.mark_error("tiktok", FIRST) for _ in range(3)], lambda told: told["circuit"] == "open"),
])
def test_what_one_marks_all_know_within_two_seconds_until_one_resets_it(server, unhurried, worker, change, seen):
    first, second = worker(server), worker(server)
    change(first.registry)
    until(lambda: seen(state(second)))
    second.registry.reset("tiktok", FIRST)
    until(lambda: not seen(state(first)) and state(first)["error_count"] == 0)


def test_success_anywhere_clears_the_count(server, unhurried, worker):
    first, second = worker(server), worker(server)
    first.registry.mark_error("tiktok", FIRST)
    until(lambda: state(second)["error_count"] == 1)
    second.call(*ADA)
    until(lambda: state(first)["error_count"] == 0)


def test_a_quota_that_is_used_up_is_known_to_all(server, unhurried, worker, rapidapi):
    first, second = worker(server), worker(server)
    second.call(*ADA)
    rapidapi.quota(FIRST, 0, limit=100, reset=5000)
    first.call(*ADA)
    until(lambda: (state(second)["quota"] or {}).get("remaining") == 0)
    assert state(second)["quota"]["limit"] == 100 and 4990 < state(second)["quota"]["reset"] <= 5000
    assert second.call(*ADA).provider == SECOND  # asked last


def test_a_cold_worker_serves_the_fleets_last_good_copy_and_keeps_it(own_server, unhurried, worker, rapidapi):
    first, cold = worker(own_server), worker(own_server)
    first.call(*ADA)
    first.close()  # what was kept has been sent
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    time.sleep(1.0)
    result = cold.call(*ADA)
    assert result.stale and result.provider == FIRST and 0.9 < result.age < 5 and result.data["data"]["user"]["uniqueId"] == "ada"
    own_server.kill()
    assert cold.call(*ADA).age > result.age  # its own by now


def test_the_newest_copy_of_all_is_served_and_its_age_is_the_servers(server, unhurried, worker, rapidapi):
    first, second = worker(server, fresh_for=5.0), worker(server)
    first._records._clock = lambda: time.time() + 86400  # a machine whose clock is a day ahead
    second.call(*ADA)
    time.sleep(0.8)
    first.call(*ADA)
    second.close()
    assert first.call(*ADA).age < 4.0 and len(rapidapi.requests) == 1  # nor did the first ask anybody: a fresh copy was there
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert second.call(*ADA).age < 4.0 and first.call("tiktok", "/user/info", {"unique_id": "ada"}, timeout=1.0).age < 4.0


def test_a_copy_is_sent_by_a_process_that_just_ends(server, rapidapi):
    code = ("import json, sys; from rapidfailover import *; from rapidfailover.redis import RedisStore\n"
            "provider = ProviderConfig('tiktok-scraper7', 'tiktok-scraper7.p.rapidapi.com', 1, base_url=sys.argv[1])\n"
            "client = FailoverClient(ProviderRegistry({'tiktok': [provider]}), api_key='k' * 20, store=RedisStore(sys.argv[2]))\n"
            "for number in range(20): client.call('tiktok', '/user/info', {'unique_id': f'user{number}'})\n")
    subprocess.run([sys.executable, "-c", code, rapidapi.providers["tiktok"][0].base_url, server.url], check=True, timeout=30, cwd=ROOT)
    assert len(redis.Redis(port=server.port).keys("rapidfailover:copy:*")) == 20


def test_a_call_makes_as_many_round_trips_as_the_readme_says(server, unhurried, worker, rapidapi, monkeypatch):
    monkeypatch.setattr("rapidfailover.redis._TICK", 3600.0)  # its thread's own looks are not counted here
    README = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| ([^|]+) \| (\d)(?: each)? \|$", README[README.index("| in a call | round trips |"):].split("\n\n")[0], re.MULTILINE)
    admin, client, counted = redis.Redis(port=server.port), worker(server, rules={"error_threshold": 1, "cooldown": 0.3, "max_cooldown": 0.3}), {}

    def trips(call):
        def done():
            return sum(one["calls"] for name, one in admin.info("commandstats").items() if name in ("cmdstat_eval", "cmdstat_getrange"))

        before = done()
        call()
        return done() - before

    counted["the first, and the first after ten seconds without any"] = trips(lambda: client.registry.get_available_providers("tiktok"))
    client.call(*ADA)
    client.registry.fleet._sent_at = time.monotonic()  # nor the copies, which go by themselves
    until(lambda: not client.registry.fleet._copies)
    time.sleep(0.1)
    counted["a healthy one"] = trips(lambda: [client.call(*ADA) for _ in range(100)])
    monkeypatch.setattr("rapidfailover.redis._IDLE", 60.0)
    rapidapi.fail(FIRST, 503)
    counted["a fault or a hold that counts, and the success that clears it"] = trips(lambda: client.call(*ADA))
    assert trips(lambda: client.call(*ADA)) == 0  # all know that it is out
    time.sleep(0.35)
    client.registry.fleet._looked_at = time.monotonic()
    counted["a trial, and its outcome"] = trips(lambda: client.call(*ADA))
    rapidapi.recover()
    client.registry.hold("tiktok", FIRST, 60)
    for provider in (SECOND, THIRD):
        client.registry.hold("tiktok", provider, 60)
    client.registry.fleet._looked_at = time.monotonic()
    counted["nobody answers: the newest copy is looked for"] = trips(lambda: client.call(*ADA))
    client._fresh_for = 5.0
    client.registry.reset()
    client.registry.fleet._looked_at = time.monotonic()
    counted["`fresh_for`, when the process has no fresh copy of its own"] = trips(
        lambda: client.call("tiktok", "/user/info", {"unique_id": "grace"}))
    assert {name: int(number) for name, number in told} == counted


def test_a_thousand_healthy_calls_make_four_round_trips_a_second(server, worker):
    client = worker(server)
    client.call(*ADA)
    time.sleep(0.6)
    admin = redis.Redis(port=server.port)
    before, began = admin.info("commandstats")["cmdstat_eval"]["calls"], time.monotonic()
    for number in range(1000):
        client.call("tiktok", "/user/info", {"unique_id": f"user{number % 50}"})
    trips = admin.info("commandstats")["cmdstat_eval"]["calls"] - before
    assert trips <= 4 + 4.5 * (time.monotonic() - began)  # two looks, two lots of copies


def test_namespaces_are_fleets_of_their_own(server, worker):
    first, other = worker(server), worker(RedisStore(server.url, namespace="{other}"))
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
        other.registry.mark_error("tiktok", SECOND)
    time.sleep(1.0)
    assert state(other)["circuit"] == state(first, SECOND)["circuit"] == "closed"
    assert {key.split(b":")[0] for key in redis.Redis(port=server.port).keys()} == {b"rapidfailover", b"{other}"}


CHANGES = [
    lambda circuit, now: circuit.fault(now), lambda circuit, now: circuit.fault(now, rate_limited=True),
    lambda circuit, now: circuit.fault(now, Ticket(circuit.generation)), lambda circuit, now: circuit.fault(now, Ticket(circuit.generation - 1)),
    lambda circuit, now: circuit.fault(now, Ticket(circuit.generation, early=True)), lambda circuit, now: circuit.success(),
    lambda circuit, now: circuit.hold(now, 0.0), lambda circuit, now: circuit.limit(now, 0.5, Ticket(circuit.generation, limits=circuit.limits)),
    lambda circuit, now: circuit.admit(now, 20.0), lambda circuit, now: circuit.release(Ticket(circuit.generation, True)),
    lambda circuit, now: circuit.reset(),
]
EXAMPLES = itertools.count()
TOLD = ("generation", "error_count", "limits", "rate_limited", "early_pause")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(CHANGES)), max_size=12))
def test_three_workers_circuits_are_one(running, unhurried, changes):
    """Whoever makes the changes, in whatever order: what is known is what one circuit in one process would be."""
    registries = [ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1)]}, cooldown=1e-6) for _ in range(3)]
    store, alone = RedisStore(running.url, f"example-{next(EXAMPLES)}"), Circuit(cooldown=1e-6)
    fleets = [store.share(registry) for registry in registries]
    entries = [registry._platforms["p"]["a"] for registry in registries]
    for number, change in changes:
        fleets[number]._do(_Job(lambda job: fleets[number]._tick()))  # what a second would have brought
        told = fleets[number].change(entries[number], change)
        assert (told is None) == (change(alone, time.monotonic()) is None)
    for fleet, entry in zip(fleets, entries):
        fleet._do(_Job(lambda job: fleet._tick()))
        assert [getattr(entry.circuit, name) for name in TOLD] == [getattr(alone, name) for name in TOLD]
        for name in ("last_error", "open_until", "hold_until", "trial_until"):
            assert getattr(entry.circuit, name) == (None if getattr(alone, name) is None else pytest.approx(getattr(alone, name), abs=0.5))
        fleet.close()


# --- one trial, one refresh, in eight processes ---

WORKER = """
import json, sys, threading, time
from importlib import import_module
from rapidfailover import *
from rapidfailover.redis import RedisStore
import_module("rapidfailover.refresh")._GRACE = 1.0  # seconds: nobody is killed here
told = json.loads(sys.argv[1])
providers = [ProviderConfig(name, f"{name}.example", number, base_url=url) for number, (name, url) in enumerate(told["providers"])]
registry = ProviderRegistry({"p": providers}, **told["rules"])
client = FailoverClient(registry, api_key="k" * 20, store=RedisStore(told["url"]), matrix={
    status: rule._replace(retry=False) for status, rule in MATRIX.items()}, **told["options"])

def ask(seconds, pause, pages):
    end, slowest, wrong, count = time.monotonic() + seconds, 0.0, [], 0
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            client.call("p", "/x", {"q": count % pages})
        except FailoverError as error:
            wrong.append(type(error).__name__)
        count += 1
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(pause)
    return count, slowest, wrong

for line in sys.stdin:
    order, *more = json.loads(line)
    if order == "ask":
        threads, results = [], []
        for _ in range(more.pop()):
            threads.append(threading.Thread(target=lambda: results.append(ask(*more))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        print(json.dumps(results), flush=True)
    elif order == "state":
        print(json.dumps(registry.snapshot()["p"]), flush=True)
    elif order == "pending":
        print(client.pending_refreshes, flush=True)
"""


class Process:
    def __init__(self, url, providers, rules=None, **options):
        told = json.dumps({"url": url, "providers": providers, "rules": rules or {}, "options": options})
        self._process = subprocess.Popen([sys.executable, "-c", WORKER, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, cwd=ROOT)

    def order(self, *order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def told(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, *order):
        self.order(*order)
        return self.told()

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def processes(count, *arguments, **options):
    made = [Process(*arguments, **options) for _ in range(count)]
    try:
        for one in made:
            one.ask("pending")  # it is there
        yield made
    finally:
        for one in made:
            one.end()


class Counted(ThreadingHTTPServer):
    """An upstream that knows how many requests it has at a time; ``status`` and ``takes`` (seconds) are set by tests."""

    daemon_threads = True
    request_queue_size = 128

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            upstream = self.server
            with upstream.lock:
                status = upstream.status
                upstream.under_way += 1
                upstream.most = max(upstream.most, upstream.under_way)
                upstream.asked += 1
            time.sleep(upstream.takes)
            with upstream.lock:
                upstream.under_way -= 1
            self.send_response(status)
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *args):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.lock = threading.Lock()
        self.status, self.takes, self.under_way, self.most, self.asked = 200, 0.0, 0, 0, 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.shutdown()
        self.server_close()


def test_of_eight_processes_one_at_a_time_tries_a_half_open_provider(server):
    with Counted() as bad, Counted() as good:
        bad.status = 503
        with processes(8, server.url, [("bad", bad.url), ("good", good.url)], refresh=False, coalesce=False,
                       rules={"error_threshold": 3, "cooldown": 0.1, "max_cooldown": 0.7}) as workers:
            for one in workers:
                one.order("ask", 1.0, 0.01, 50, 3)
            assert not any(wrong for one in workers for _, _, wrong in one.told())
            assert {one.ask("state")["bad"]["circuit"] for one in workers} <= {"open", "half-open"}
            with bad.lock:
                bad.takes, bad.most, before = 0.15, 0, bad.asked
            for one in workers:
                one.order("ask", 3.0, 0.01, 50, 3)
            assert not any(wrong for one in workers for _, _, wrong in one.told())
            assert bad.most == 1 and 2 <= bad.asked - before <= 6


def test_a_trial_whose_process_is_killed_is_free_again_when_its_lease_is_over(server):
    with Counted() as bad:
        bad.status = 503
        rules = {"error_threshold": 1, "cooldown": 0.5, "max_cooldown": 5.0}
        with processes(2, server.url, [("bad", bad.url)], rules, refresh=False, coalesce=False, timeout=2.0, deadline=2.0) as (first, second):
            first.ask("ask", 0.01, 0.0, 1, 1)
            time.sleep(0.6)
            bad.takes = 10.0
            first.order("ask", 0.01, 0.0, 1, 1)
            until(lambda: bad.asked == 2)
            first.end()
            bad.takes, bad.status = 0.0, 200
            assert second.ask("ask", 0.05, 0.01, 1, 1)[0][2]  # on trial, as far as anybody knows
            assert bad.asked == 2
            assert until(lambda: not second.ask("ask", 0.01, 0.0, 1, 1)[0][2], 4.0) > 0.5


def test_of_eight_processes_one_asks_again_for_what_nobody_answered(server):
    with Counted() as only:
        only.status = 404
        with processes(8, server.url, [("only", only.url)], max_stale=60.0) as workers:
            only.status = 503
            for one in workers:
                one.order("ask", 0.05, 0.2, 1, 1)
            assert all(wrong for one in workers for _, _, wrong in one.told())
            assert [one.ask("pending") for one in workers] == [1] * 8
            before = only.asked
            until(lambda: only.asked > before, 10.0)  # the early trial, of one of them
            with only.lock:
                only.status, before = 200, only.asked
            until(lambda: not any(one.ask("pending") for one in workers), 30.0)
            assert only.asked == before + 1


def test_of_two_clients_of_one_registry_one_asks_again(server, unhurried, make_client, rapidapi):
    registry, store = ProviderRegistry(rapidapi.providers), RedisStore(server.url)
    clients = [make_client(registry, store=store, matrix=NO_RETRY) for _ in range(2)]
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.fail(provider, 403)
    for one in clients:
        with pytest.raises(AllProvidersFailed):
            one.call(*ADA)
    rapidapi.recover()
    rapidapi.delay(FIRST, 0.2)
    asked = len(rapidapi.requests)
    until(lambda: not any(one.pending_refreshes for one in clients), 15.0)
    assert len(rapidapi.requests) == asked + 1


def test_one_process_hands_a_refresh_over(server, unhurried, worker, rapidapi):
    handed = []
    workers = [worker(server, refresh=handed.append) for _ in range(3)]
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    for one in workers:
        with pytest.raises(AllProvidersFailed):
            one.call(*ADA)
    assert handed == [RefreshRequest(*ADA)]


# --- Redis down, slow, full, restarted, emptied ---

def test_no_redis_at_all_costs_nothing_but_a_line(worker, rapidapi, caplog):
    client = worker("redis://127.0.0.1:1")
    with caplog.at_level(logging.INFO, "rapidfailover"):
        began = time.monotonic()
        for _ in range(20):
            client.call(*ADA)
        rapidapi.fail(FIRST, 503)
        for _ in range(4):
            assert client.call(*ADA).provider == SECOND
        assert time.monotonic() - began < 0.5
        time.sleep(1.2)
    assert state(client)["circuit"] == "open" and state(client)["store"].startswith("own memory for ")
    assert [record.message for record in caplog.records if "store" in record.message] == [
        "the store does not answer (ConnectionError): this process goes on with its own memory"]


def test_sixteen_clients_while_redis_is_killed_and_restarted_three_times(own_server):
    """None fails, none waits for it, and after each restart all agree again within five seconds."""
    with Counted() as bad, Counted() as good:
        with Heartbeat() as heartbeat, processes(4, own_server.url, [("bad", bad.url), ("good", good.url)],
                                                 {"error_threshold": 1, "cooldown": 300.0}, refresh=False) as workers:
            for one in workers:
                one.order("ask", 2.0, 0.005, 10, 4)
            without = max(slowest for one in workers for _, slowest, _ in one.told())
            for number in range(3):
                began = time.monotonic()
                for one in workers:
                    one.order("ask", 2.5, 0.005, 10, 4)
                time.sleep(0.5)
                own_server.kill()
                time.sleep(1.0)
                own_server.start()
                for one in workers:
                    for count, slowest, wrong in one.told():
                        assert not wrong and count > 5 and slowest < without + 0.1 + heartbeat.hiccups(began)
                if number == 0:  # known before the next time, and lost by Redis then: it has it back from the workers
                    bad.status = 503
                    workers[0].ask("ask", 0.01, 0.0, 10, 1)
                took = until(lambda: all(one.ask("state")["bad"]["circuit"] == "open" for one in workers), 5.0)
                assert took < 5.0 and all(one.ask("state")["bad"]["store"].startswith("shared") for one in workers)


def test_a_redis_that_is_paused_delays_no_call_for_long_and_is_joined_again(own_server, worker, rapidapi, caplog):
    client, other = worker(own_server), worker(own_server)
    client.call(*ADA)
    other.call(*ADA)
    redis.Redis(port=own_server.port).execute_command("CLIENT", "PAUSE", 5000, "ALL")
    rapidapi.fail(FIRST, 503)
    took = []
    with caplog.at_level(logging.WARNING, "rapidfailover"), Heartbeat() as heartbeat:
        start = time.monotonic()
        while len(took) < 150:
            began = time.monotonic()
            assert client.call(*ADA).provider == SECOND
            took.append(time.monotonic() - began)
            time.sleep(0.01)
        assert max(took) < 0.1 + heartbeat.hiccups(start) and sum(one > 0.05 for one in took) <= 2
        until(lambda: "own memory" in state(client)["store"], 3.0)
    assert 1 <= sum("store does not answer" in record.message for record in caplog.records) <= 2  # a line of each
    assert state(client)["circuit"] == "open" and state(other)["circuit"] == "closed"
    until(lambda: state(client)["store"].startswith("shared") and state(other)["circuit"] == "open", 10.0)


def test_a_slow_redis_is_not_waited_for_and_is_told_so_and_all_the_same_shared(server, worker, rapidapi, caplog):
    with SlowLink(server.port) as link, Heartbeat() as heartbeat:
        client, other = worker(link), worker(server)
        client.call(*ADA)
        other.call(*ADA)
        until(lambda: state(client)["store"] == "shared")
        link.latency = 0.2
        rapidapi.fail(FIRST, 503)
        began, took = time.monotonic(), []
        with caplog.at_level(logging.WARNING, "rapidfailover"):
            while time.monotonic() - began < 3.0:
                called = time.monotonic()
                assert client.call(*ADA).provider == SECOND
                took.append(time.monotonic() - called)
                time.sleep(0.01)
        assert max(took) < 0.1 + heartbeat.hiccups(began) and sum(one > 0.05 for one in took) <= 3
        assert state(client)["store"] == "shared, slowly"
        assert sum("the store is slow" in record.message for record in caplog.records) == 1
        assert state(client)["circuit"] == state(other)["circuit"] == "open"
        link.latency = 0.0
        until(lambda: state(client)["store"] == "shared", 6.0)


def test_a_trial_waits_for_a_slow_answer_unless_nobody_else_has_data(server, worker, rapidapi):
    rules = {"error_threshold": 1, "cooldown": 0.1, "max_cooldown": 0.1}
    with SlowLink(server.port) as link:
        client = worker(link, rules=rules)
        client.call(*ADA)
        rapidapi.fail(FIRST, 503)
        client.call(*ADA)
        rapidapi.recover()
        time.sleep(0.2)
        link.latency = 0.2
        client.registry.fleet._be_late()
        assert [attempt.provider for attempt in client.call(*ADA).attempts] == [SECOND]  # who else has the trial, it cannot know
        rapidapi.fail(SECOND, 404)
        rapidapi.fail(THIRD, 404)
        assert [attempt.provider for attempt in client.call(*ADA).attempts] == [SECOND, THIRD, FIRST]


def test_a_redis_that_is_as_it_was_before_is_told_what_has_happened_since(own_server, worker):
    workers = [worker(own_server) for _ in range(2)]
    workers[0].registry.mark_error("tiktok", FIRST)
    time.sleep(0.1)
    redis.Redis(port=own_server.port).save()
    for _ in range(2):
        workers[0].registry.mark_error("tiktok", FIRST)
    workers[0].registry.hold("tiktok", SECOND, 500)
    until(lambda: state(workers[1])["circuit"] == "open" and state(workers[1], SECOND)["hold_until"])
    own_server.kill()
    own_server.start()
    time.sleep(2.0)
    assert [(state(one)["circuit"], state(one, SECOND)["hold_until"] > 400, state(one)["store"][:6]) for one in workers] == [("open", True, "shared")] * 2


def test_an_older_copy_does_not_take_the_place_of_a_newer_one(server, unhurried, worker):
    first, second = worker(server), worker(server)
    for one in (first, second):
        state(one)
        one.registry.fleet._sent_at = time.monotonic()  # so that copies wait for the next look
    first._records.keep("k", "older", b"[1]")
    time.sleep(0.05)
    second._records.keep("k", "newer", b"[2]")
    second.close()
    first.close()
    assert b'"newer"' in redis.Redis(port=server.port).get("rapidfailover:copy:k")
    redis.Redis(port=server.port).set("rapidfailover:copy:k", b'[1, "hostile", 99999999999.0]\n[]')  # of the future
    first._records.keep("k", "newest", b"[3]")
    first.close()
    assert b'"newest"' in redis.Redis(port=server.port).get("rapidfailover:copy:k")


def test_many_copies_go_in_pieces_and_one_that_is_too_much_for_the_link_is_given_up(own_server, unhurried, worker):
    client = worker(own_server)
    assert state(client)["store"].startswith("shared")
    own_server.kill()
    until(lambda: "own memory" in state(client)["store"])
    for number in range(40):
        client._records.keep(f"k{number}", "a", b"x" * 100_000)
    for _ in range(30):
        client._records.keep("same", "a", b"x" * 1_000_000)
    assert client.registry.fleet._copied < 6_000_000  # the last of each key
    for number in range(40):
        client._records.keep(f"more{number}", "a", b"x" * 1_000_000)
    assert client.registry.fleet._copied < 17_000_000
    own_server.start()
    until(lambda: not client.registry.fleet._copies, 8.0)
    until(lambda: state(client)["store"].startswith("shared"), 3.0)
    assert len(redis.Redis(port=own_server.port).keys("*copy:k*")) == 40


def test_quotas_that_are_told_meanwhile_take_no_verdict_away(server, unhurried, worker):
    client = worker(server, rules={"error_threshold": 1, "cooldown": 0.001, "max_cooldown": 60.0})
    registry, entry = client.registry, client.registry._platforms["tiktok"][FIRST]
    stop = threading.Event()

    def tell():
        remaining = 0
        while not stop.wait(0.0005):
            remaining = 1 - remaining
            with registry._lock:
                entry.quota, entry.quota_at = {"limit": 10, "remaining": remaining}, time.monotonic()
                registry.fleet.note_quota(entry)

    teller = threading.Thread(target=tell)
    teller.start()
    for _ in range(60):
        registry.mark_error("tiktok", FIRST)
        visit = None
        while visit is None:  # until it is half-open
            visits = registry.visits("tiktok", "/user/info", lambda: 9.0)
            visit = next((visit for visit in visits if visit.provider.name == FIRST), None)
        assert registry.report(visit) == "recovery"
        visits.close()
    stop.set()
    teller.join()


def test_an_interrupt_while_a_trial_is_asked_for_leaves_it_to_others(server, unhurried, worker):
    rules = {"error_threshold": 1, "cooldown": 0.1, "max_cooldown": 0.1}
    with SlowLink(server.port) as link:
        client, other = worker(link, rules=rules), worker(server, rules=rules)
        client.registry.mark_error("tiktok", FIRST)
        until(lambda: state(other)["circuit"] == "half-open")
        link.latency = 0.06
        with mock.patch("rapidfailover.fork.Latch.wait", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            next(client.registry.visits("tiktok", "/user/info", lambda: 30.0))
        time.sleep(0.5)
        assert next(other.registry.visits("tiktok", "/user/info", lambda: 30.0)).provider.name == FIRST


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_killed_is_replaced(server, unhurried, worker):
    client = worker(server)
    fleet = client.registry.fleet
    assert state(client)["store"].startswith("shared")
    fleet._jobs.put(_Job(lambda job: sys.exit()))
    until(lambda: not fleet._thread.is_alive())
    client.registry.mark_error("tiktok", FIRST)
    until(lambda: state(worker(server))["error_count"] == 1)


def test_what_was_learnt_alone_is_told_when_redis_is_back_and_the_longer_hold_counts(own_server, worker):
    first, second = worker(own_server), worker(own_server)
    first.registry.hold("tiktok", SECOND, 100)
    until(lambda: state(second, SECOND)["hold_until"])
    own_server.kill()
    until(lambda: all("own memory" in state(one)["store"] for one in (first, second)), 3.0)
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
    second.registry.hold("tiktok", SECOND, 500)
    second.registry.mark_error("tiktok", THIRD)
    own_server.start()
    until(lambda: all(state(one)["circuit"] == "open" and state(one, SECOND)["hold_until"] > 400 and state(one, THIRD)["error_count"] == 1
                      for one in (first, second)), 5.0)


def test_copies_of_an_outage_are_sent_when_it_is_over(own_server, unhurried, worker, rapidapi):
    client = worker(own_server)
    client.call(*ADA)
    own_server.kill()
    until(lambda: "own memory" in state(client)["store"])
    client.call("tiktok", "/user/info", {"unique_id": "grace"})
    time.sleep(0.7)
    own_server.start()
    until(lambda: state(client)["store"].startswith("shared"), 5.0)
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert worker(own_server).call("tiktok", "/user/info", {"unique_id": "grace"}).stale


def test_an_emptied_redis_has_all_back_from_the_workers(server, worker):
    first, second = worker(server), worker(server)
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
    until(lambda: state(second)["circuit"] == "open")
    redis.Redis(port=server.port).flushall()
    time.sleep(1.2)
    assert state(first)["circuit"] == state(second)["circuit"] == "open"
    until(lambda: state(worker(server))["circuit"] == "open")


def test_a_full_redis_fails_nothing_and_is_joined_again_when_there_is_room(tmp_path, worker, rapidapi, caplog):
    with RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        client, admin = worker(server), redis.Redis(port=server.port)
        client.call(*ADA)
        for size in (50_000, 500, 5):
            with pytest.raises(redis.ResponseError):
                for number in range(100_000):
                    admin.set(f"theirs:{size}:{number}", b"x" * size)
        with caplog.at_level(logging.WARNING, "rapidfailover"):
            for number in range(100):
                client.call("tiktok", "/user/info", {"unique_id": f"user{number}"})
            client.registry.mark_error("tiktok", FIRST)
            until(lambda: "own memory" in state(client)["store"], 3.0)
            time.sleep(1.5)
            assert "OutOfMemoryError" in state(client)["store"] and state(client)["error_count"] == 1
        assert sum("store does not answer" in record.message for record in caplog.records) == 1
        admin.flushall()
        until(lambda: state(client)["store"].startswith("shared"), 3.0)


# --- bytes that are none of ours ---

SOUND = [1, 7, 0, 2, 0, 0, 2.0, 0.0, *[None] * 8]  # two faults
HOSTILE = [b"", b"\xff\xfe", b"null", b"7", b"[]", b"{}", b"1e999", b"[" * 900, pickle.dumps({"a": 1}), b"x" * 100_000, *(
    json.dumps([*SOUND[:place], value, *SOUND[place + 1:]]).encode() for place, value in [
        (0, 2), (2, -1), (2, 10 ** 15 - 1), (3, 2.5), (3, float("nan")), (4, 10 ** 400), (5, "x"), (6, "2"), (7, None), (7, [1]), (8, float("inf")),
        (9, 9e14), (10, 9e14), (11, 9e14), (12, True and {}), (13, "x")])]


def test_what_is_hostile_here_is_so_by_one_thing_each(server, worker):
    redis.Redis(port=server.port).hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(SOUND), "version": b"1", "epoch": b"e"})
    assert state(worker(server))["error_count"] == 2


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_bytes_are_no_opinion_and_are_mended(server, unhurried, worker, rapidapi, number):
    admin = redis.Redis(port=server.port)
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": HOSTILE[number], "version": b"1", "epoch": HOSTILE[number] or b"e"})
    client = worker(server)
    assert client.call(*ADA).provider == FIRST
    client.registry.mark_error("tiktok", FIRST)
    other = worker(server)
    until(lambda: state(other)["error_count"] == 1 and state(other)["store"].startswith("shared"))
    client.close()
    copy, = admin.keys("rapidfailover:copy:*")
    admin.set(copy, HOSTILE[number])
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    with pytest.raises(AllProvidersFailed):
        worker(server).call(*ADA)


@pytest.mark.parametrize("place", [9, 10, 11], ids=["open", "held", "on trial"])
def test_nobody_is_kept_out_for_longer_than_the_rules_allow(server, worker, place):
    """By hostile times, or honest ones of a server whose clock was set back."""
    admin = redis.Redis(port=server.port)
    now, told = admin.time()[0], [*SOUND[:3], 5, *SOUND[4:]]
    told[9:11] = [now - 5.0, None]
    told[place] = now + 86400.0
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(told), "version": b"1", "epoch": b"1"})
    client = worker(server)
    assert client.call(*ADA).provider == FIRST
    told[place] = now + 60.0
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(told), "version": b"2"})
    assert worker(server).call(*ADA).provider == SECOND


@pytest.mark.parametrize("made", [lambda admin, key: admin.lpush(key, "x"), lambda admin, key: admin.set(key, "x" * 1000),
                                  lambda admin, key: admin.sadd(key, "x")])
def test_something_else_by_our_names_is_no_opinion(server, unhurried, worker, rapidapi, made):
    admin = redis.Redis(port=server.port)
    client = worker(server)
    client.call(*ADA)
    client.close()
    copy, = admin.keys("rapidfailover:copy:*")
    for key in ("rapidfailover:circuits", copy, copy.replace(b":copy:", b":refresh:")):
        admin.delete(key)
        made(admin, key)
    cold = worker(server, refresh=True)
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.fail(provider, 503, times=1)
    with pytest.raises(AllProvidersFailed):
        cold.call(*ADA)
    until(lambda: cold.pending_refreshes == 0, 6.0)
    assert cold.registry.snapshot()["tiktok"][FIRST]["store"].startswith("shared")


# --- how it is reached, and what it is told ---

def test_tls_a_password_and_a_unix_socket(tmp_path, worker):
    authority, sock = trustme.CA(), tmp_path / "redis.sock"
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with RedisServer(tmp_path, "--requirepass", "s3cret&word", "--unixsocket", str(sock)) as server:
        for url in (f"redis://:s3cret%26word@127.0.0.1:{server.port}", f"unix://:s3cret%26word@{sock}"):
            until(lambda one=worker(url): state(one)["store"] == "shared")
        for url in (server.url, f"redis://:wrong-password@127.0.0.1:{server.port}"):
            one = worker(url)
            until(lambda: "AuthenticationError" in state(one)["store"])
            assert "password" not in state(one)["store"]
    server = RedisServer(tmp_path, "--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"),
                         "--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no")
    server._command += ["--tls-port", str(server.port), "--port", "0"]
    with server:
        until(lambda one=worker(f"rediss://localhost:{server.port}?ssl_ca_certs={tmp_path / 'ca.pem'}"): state(one)["store"] == "shared")
        until(lambda one=worker(f"rediss://localhost:{server.port}"): "ConnectionError" in state(one)["store"])  # nobody we trust


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"socket_timeout": 0.5}], ids=str)
def test_a_redis_py_client_of_ones_own(server, unhurried, worker, rapidapi, options):
    store = RedisStore(redis.Redis(port=server.port, **options))
    first, second = worker(store), worker(store)
    first.call(*ADA)
    first.registry.mark_error("tiktok", SECOND)
    until(lambda: state(second, SECOND)["error_count"] == 1)
    first.close()
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert second.call(*ADA).stale


@pytest.mark.parametrize("server, namespace, error", [
    ("http://127.0.0.1", "a", ValueError), ("redis://:top-secret@127.0.0.1:notaport", "a", ValueError), ("", "a", ValueError),
    (None, "a", TypeError), (7, "a", TypeError), ("redis://127.0.0.1", "", ValueError), ("redis://127.0.0.1", "a b", ValueError),
    ("redis://127.0.0.1", None, ValueError)])
def test_what_is_no_server_or_no_namespace_is_told_without_the_password(server, namespace, error):
    with pytest.raises(error) as caught:
        RedisStore(server, namespace)
    assert "top-secret" not in str(caught.value) and caught.value.__suppress_context__ == (error is ValueError and namespace == "a")
    assert "secret" not in repr(RedisStore("redis://:secret@127.0.0.1"))


def test_an_asynchronous_client_and_a_store_that_is_none_are_refused():
    asynchronous = pytest.importorskip("redis.asyncio").Redis()
    with pytest.raises(TypeError, match="synchronous"):
        RedisStore(asynchronous)
    with pytest.raises(TypeError, match="store is a RedisStore"):
        FailoverClient(store="redis://127.0.0.1")


def test_the_core_knows_nothing_of_it_and_a_missing_redis_py_is_told():
    code = ("import sys; sys.modules['redis'] = None\n"
            "import rapidfailover, rapidfailover.testing, rapidfailover.cli\n"
            "try: import rapidfailover.redis\n"
            "except ImportError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "the store needs redis-py: pip install 'rapidfailover[redis]', or redis\n", done.stderr


# --- threads, forks, ends ---

def test_many_threads_on_two_clients_count_every_fault_once(server, unhurried, worker):
    client, other = worker(server, rules={"error_threshold": 1000}), worker(server, rules={"error_threshold": 1000})
    in_threads(8, lambda number: [(client if number % 2 else other).registry.mark_error("tiktok", FIRST) for _ in range(50)])
    until(lambda: state(client)["error_count"] == state(other)["error_count"] == 400, 5.0)


def test_a_forked_child_has_a_thread_and_a_connection_of_its_own(server, unhurried, worker):
    client = worker(server)
    client.call(*ADA)
    child = os.fork()
    if not child:
        status = 1
        try:
            client.registry.mark_error("tiktok", FIRST)
            status = 0 if state(client)["store"].startswith("shared") and state(client)["error_count"] == 1 else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    until(lambda: state(client)["error_count"] == 1)
    assert state(client)["store"].startswith("shared")


def test_the_thread_ends_with_the_client_and_when_nobody_calls_and_starts_again(server, worker, monkeypatch):
    client = worker(server)
    client.call(*ADA)
    fleet = client.registry.fleet
    assert fleet._thread.is_alive() and fleet._thread.daemon
    client.close()
    until(lambda: fleet._thread is None)
    monkeypatch.setattr("rapidfailover.redis._IDLE", 0.2)
    client.call(*ADA)
    assert fleet._thread.is_alive()
    until(lambda: fleet._thread is None, 3.0)
    assert state(client)["store"].startswith("shared")


def test_a_registry_goes_where_its_last_client_went(server, unhurried, worker, make_client, rapidapi):
    registry = ProviderRegistry(rapidapi.providers)
    first = make_client(registry, store=RedisStore(server.url, "a"))
    registry.mark_error("tiktok", FIRST)
    make_client(registry, store=RedisStore(server.url, "b"))
    registry.mark_error("tiktok", FIRST)
    time.sleep(0.7)
    assert isinstance(registry.fleet, Fleet) and state(first)["error_count"] == 2
    assert state(worker(RedisStore(server.url, "b")))["error_count"] == 2
    assert state(worker(RedisStore(server.url, "a")))["error_count"] == 1
