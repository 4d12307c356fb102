"""A fleet on a real redis-server: what workers share, and that nothing of it can fail or delay a call."""

import collections
import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import trustme
from conftest import KEY, NO_RETRY, Upstream, http
from faults import Heartbeat
from redis_server import PROGRAM, RedisServer, SlowLink
from workers import ADA, FIRST, ROOT, SECOND, THIRD, Counted, processes, state, until

from rapidfailover import AllProvidersFailed, FailoverClient, ProviderRegistry

redis = pytest.importorskip("redis", reason="redis-py is not installed")
if not PROGRAM:
    pytest.skip("no redis-server is installed", allow_module_level=True)

from rapidfailover.outbox import Record  # noqa: E402
from rapidfailover.redis import _DIGESTS, RedisStore  # noqa: E402

pytestmark = pytest.mark.slow


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
def worker(worker):
    """As elsewhere, from a server or its URL too."""
    def make(server, **options):
        return worker(server if isinstance(server, RedisStore) else RedisStore(getattr(server, "url", server)), **options)
    return make


# --- what is shared ---

def test_a_call_makes_as_many_round_trips_as_the_docs_say(server, unhurried, worker, rapidapi, monkeypatch):
    monkeypatch.setattr("rapidfailover.link._TICK", 3600.0)  # its thread's own looks are not counted here
    monkeypatch.setattr("rapidfailover.fleet._SENDING", 3600.0)  # nor the copies, which go by themselves
    page = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| ([^|]+) \| (\d)(?: each)? \|$", page[page.index("| in a call | round trips |"):].split("\n\n")[0], re.MULTILINE)
    admin, client, counted = redis.Redis(port=server.port), worker(server, rules={"error_threshold": 1, "cooldown": 2.0, "max_cooldown": 2.0}), {}

    for script in _DIGESTS:  # the server knows them from the first worker on
        admin.script_load(script)

    def looked():  # and nobody does again, however slow the machine is
        client.registry.sharing.link._looked_at = time.monotonic() + 60.0

    def trips(call):
        def done():
            return sum(one["calls"] for name, one in admin.info("commandstats").items() if name in ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_getrange"))

        before = done()
        call()
        return done() - before

    counted["the first, and the first after ten seconds without any"] = trips(lambda: client.registry.get_available_providers("tiktok"))
    client.call(*ADA)
    time.sleep(0.2)
    looked()
    counted["a healthy one"] = trips(lambda: [client.call(*ADA) for _ in range(100)])
    monkeypatch.setattr("rapidfailover.link._IDLE", 60.0)
    rapidapi.fail(FIRST, 503)
    counted["a fault or a hold that counts, and the success that clears it"] = trips(lambda: client.call(*ADA))
    assert trips(lambda: client.call(*ADA)) == 0  # all know that it is out
    time.sleep(2.05)
    looked()
    counted["a trial, and its outcome"] = trips(lambda: client.call(*ADA))
    rapidapi.recover()
    client.registry.hold("tiktok", FIRST, 60)
    for provider in (SECOND, THIRD):
        client.registry.hold("tiktok", provider, 60)
    looked()
    counted["nobody answers: the newest copy is looked for"] = trips(lambda: client.call(*ADA))
    client.registry.reset()
    looked()
    counted["`fresh_for`, when the process has no fresh copy of its own"] = trips(
        lambda: client.call("tiktok", "/user/info", {"unique_id": "grace"}, fresh_for=5.0))
    client.registry.add("tiktok", replace(rapidapi.providers["tiktok"][0], name="paced", priority=9, rate=1000))
    client.call(*ADA, provider="paced")
    looked()
    counted["a turn, where the provider has a pace"] = trips(lambda: client.call("tiktok", "/user/info", {"unique_id": "alan"}, provider="paced"))
    assert {name: int(number) for name, number in told} == counted


def test_a_thousand_healthy_calls_make_four_round_trips_a_second(server, worker):
    client = worker(server)
    client.call(*ADA)
    time.sleep(0.6)
    admin = redis.Redis(port=server.port)
    before, began = admin.info("commandstats")["cmdstat_evalsha"]["calls"], time.monotonic()
    for number in range(1000):
        client.call("tiktok", "/user/info", {"unique_id": f"user{number % 50}"})
    trips = admin.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert trips <= 4 + 4.5 * (time.monotonic() - began)  # two looks, two lots of copies


@pytest.mark.parametrize("circuits", [9, 1000])
def test_a_look_that_finds_nothing_new_costs_the_server_next_to_nothing(server, circuits):
    """However many circuits there are: at most 200 bytes both ways, and 15 microseconds of its time."""
    at, admin = RedisStore(server.url)._server(), redis.Redis(port=server.port)
    for number in range(circuits):
        at.change(b"p\0%d" % number, b"", b"x" * 200)
    mark = at.look(b"", True).mark
    costs = []
    for _ in range(5):  # the best of several: machines are shared
        admin.config_resetstat()
        for _ in range(200):
            assert at.look(mark, False) is None
        told = admin.info("all")
        spent = [told[name]["usec"] for name in told if name.startswith("cmdstat_") and name not in ("cmdstat_config|resetstat", "cmdstat_info")]
        costs.append(((told["total_net_input_bytes"] + told["total_net_output_bytes"] - 100) / 200, sum(spent) / 200))
    assert min(size for size, _ in costs) <= 200 and min(spent for _, spent in costs) <= 15.0


def test_a_script_is_sent_once_to_a_server_and_again_when_that_has_lost_it(server, unhurried, worker):
    admin = redis.Redis(port=server.port)
    admin.script_flush()
    client = worker(server)
    client.registry.mark_error("tiktok", FIRST)

    def sent():
        return admin.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"]

    before = sent()
    for _ in range(20):
        client.registry.mark_error("tiktok", FIRST)
    assert sent() == before
    admin.script_flush()
    client.registry.mark_error("tiktok", FIRST)
    assert sent() == before + 1 and state(client)["store"] == "shared"


def test_a_hash_that_has_outgrown_is_begun_anew_from_what_the_workers_know(server, unhurried, worker):
    client, admin = worker(server), redis.Redis(port=server.port)
    client.registry.mark_error("tiktok", FIRST)
    admin.hset("rapidfailover:circuits", mapping={f"theirs\0{number}": "x" * 100 for number in range(5000)})
    assert state(worker(server))["store"] == "shared"
    until(lambda: state(worker(server))["error_count"] == 1)
    assert admin.hlen("rapidfailover:circuits") < 100


def test_changes_that_another_history_of_the_server_brought_are_told(own_server, worker):
    """It is as it was before, and has gone on from there: the number of changes alone does not tell."""
    first, at = worker(own_server), RedisStore(own_server.url)._server()
    admin = redis.Redis(port=own_server.port)
    mark = at.look(b"", True).mark
    at.change(b"p\0a", b"", b"1" * 9)
    admin.save()
    at.change(b"p\0b", b"", b"1" * 9)
    mark = at.look(mark, False).mark
    own_server.kill()
    own_server.start()
    at = RedisStore(own_server.url)._server()
    for name in (b"p\0c", b"p\0d"):
        at.change(name, b"", b"2" * 9)
    seen = at.look(mark, False)
    assert seen.is_lost and set(seen.news) == {b"p\0a", b"p\0c", b"p\0d"}
    until(lambda: state(first)["store"] == "shared")


def test_namespaces_are_fleets_of_their_own(server, worker):
    first, other = worker(server), worker(RedisStore(server.url, namespace="{other}"))
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
        other.registry.mark_error("tiktok", SECOND)
    time.sleep(1.0)
    assert state(other)["circuit"] == state(first, SECOND)["circuit"] == "closed"
    assert {key.split(b":")[0] for key in redis.Redis(port=server.port).keys()} == {b"rapidfailover", b"{other}"}


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
        assert time.monotonic() - began < 1.2  # to wait for it, 60 ms a call, were 1.4
        time.sleep(1.2)
    assert state(client)["circuit"] == "open" and state(client)["store"].startswith("own memory for ")
    assert [record.message for record in caplog.records if "store" in record.message] == [
        "the store does not answer (ConnectionError): this process goes on with its own memory"]


def test_sixteen_clients_while_redis_is_killed_and_restarted_three_times(own_server):
    """None fails, none waits for it, and after each restart all agree again."""
    with Counted() as bad, Counted() as good:
        with Heartbeat() as heartbeat, processes(4, ["Redis", own_server.url], [("bad", bad.url), ("good", good.url)],
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
                        assert not wrong and count > 5 and slowest < without + 0.4 + heartbeat.hiccups(began)  # Redis itself gives up after 1 s
                if number == 0:  # known before the next time, and lost by Redis then: it has it back from the workers
                    bad.status = 503
                    workers[0].ask("ask", 0.01, 0.0, 10, 1)
                for one in workers:
                    until(lambda: one.ask("state")["bad"]["circuit"] == "open" and one.ask("state")["bad"]["store"].startswith("shared"))


def memory():
    """Bytes that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def outages(server, link, seconds):
    """What may befall Redis, by name: each lasts so long, and is over when it returns."""
    admin = redis.Redis(port=server.port)

    def killed():
        server.kill()
        time.sleep(seconds)
        server.start()

    def frozen():
        with server.frozen():
            time.sleep(seconds)

    def slow():
        link.latency = 0.1
        time.sleep(seconds)
        link.latency = 0.0

    def full():
        admin.config_set("maxmemory", "1mb")
        time.sleep(seconds)
        admin.config_set("maxmemory", "0")

    def emptied():
        for _ in range(6):
            admin.flushall()
            time.sleep(seconds / 6)

    def restarted():
        for _ in range(6):
            server.kill()
            server.start()
            time.sleep(seconds / 6)

    return {each.__name__: each for each in (killed, frozen, slow, full, emptied, restarted)}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process holds is told elsewhere here")
def test_sixteen_clients_through_every_outage_of_redis(own_server, caplog):
    """No call fails for it, and none is more than 100 ms later than without. OUTAGE_SECONDS: of each."""
    caplog.set_level(logging.CRITICAL, "rapidfailover")  # whose lines pytest would keep
    seconds, turn = float(os.environ.get("OUTAGE_SECONDS", 1.5)), iter(range(10**9))
    now, took, over = ["calm"], collections.defaultdict(list), threading.Event()

    def flaky(connection):
        del first.received[:-100]  # which is no memory of ours
        connection.sendall(http() if next(turn) % 7 < 4 else http(b"{}", "503 Service Unavailable"))

    def steady(connection):
        del second.received[:-100]
        connection.sendall(http())

    def work(client, number):
        while not over.is_set():
            when, began = now[0], time.monotonic()
            assert not client.call("p", "/u", {"q": number % 50}).stale
            took[when].append(time.monotonic() - began - heartbeat.hiccups(began))
            number += 1
            time.sleep(0.05)

    with Upstream(flaky) as first, Upstream(steady) as second, SlowLink(own_server.port) as link, Heartbeat() as heartbeat:
        def client():
            registry = ProviderRegistry({"p": [first.provider("first", 1), second.provider("second", 2)]}, cooldown=0.5, max_cooldown=1.0)
            return FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, refresh=False, store=RedisStore(link.url))

        with ThreadPoolExecutor(16) as pool, ExitStack() as stack:
            clients = [stack.enter_context(client()) for _ in range(16)]
            working = [pool.submit(work, one, 100 * number) for number, one in enumerate(clients)]
            stack.callback(over.set)
            time.sleep(seconds)
            held = memory()
            for name, outage in outages(own_server, link, seconds).items():
                now[0] = name
                outage()
                until(lambda: all(state(one, "first", "p")["store"].startswith("shared") for one in clients))
            over.set()
            for each in working:
                each.result()
            grown = memory() - held
    slowest = {name: round(max(times), 3) for name, times in took.items()}
    print(f"{sum(map(len, took.values()))} calls, slowest in seconds: {slowest}; memory + {grown / 1e6:.1f} MB")
    assert len(slowest) == 7 and max(slowest.values()) < slowest["calm"] + 0.1, slowest
    assert grown < 20e6


@pytest.mark.parametrize("by", [lambda server: server.url, lambda server: RedisStore(redis.Redis(port=server.port))],
                         ids=["by URL", "by a client without a timeout"])
def test_a_redis_that_is_frozen_delays_no_call_for_long_and_is_joined_again(own_server, worker, rapidapi, caplog, by):
    client, other = worker(by(own_server)), worker(own_server)
    client.call(*ADA)
    other.call(*ADA)
    link, took = client.registry.sharing.link, []
    rapidapi.fail(FIRST, 503)
    with caplog.at_level(logging.WARNING, "rapidfailover"), own_server.frozen(), Heartbeat() as heartbeat:
        start = time.monotonic()
        while len(took) < 150:
            began = time.monotonic()
            assert client.call(*ADA).provider == SECOND
            took.append(time.monotonic() - began)
            time.sleep(0.01)
        hiccups = heartbeat.hiccups(start)  # of 40 ms each one may make a call a slow one
        assert max(took) < 0.1 + hiccups and sum(one > 0.05 for one in took) <= 2 + hiccups / 0.04
        until(lambda: "own memory" in state(client)["store"])
        assert state(client)["circuit"] == "open"
        for _ in range(300):
            client.registry.mark_error("tiktok", SECOND)
        assert link._jobs.qsize() < 5  # nothing piles up
    assert 1 <= sum("store does not answer" in record.message for record in caplog.records) <= 4  # each client: silent, and why
    until(lambda: state(client)["store"].startswith("shared") and state(other)["circuit"] == "open")


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
        hiccups = heartbeat.hiccups(began)
        assert max(took) < 0.1 + hiccups and sum(one > 0.05 for one in took) <= 3 + hiccups / 0.04
        assert state(client)["store"] == "shared, slowly"
        assert 1 <= sum("the store is slow" in record.message for record in caplog.records) <= 2
        assert state(client)["circuit"] == state(other)["circuit"] == "open"
        link.latency = 0.0
        until(lambda: state(client)["store"] == "shared")


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
        client.registry.sharing.link.be_late()
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


def test_many_copies_go_in_pieces_and_one_that_is_too_much_for_the_link_is_given_up(own_server, unhurried, worker):
    client = worker(own_server)
    assert state(client)["store"].startswith("shared")
    own_server.kill()
    until(lambda: "own memory" in state(client)["store"])
    for number in range(40):
        client._records.keep(f"k{number}", "a", b"x" * 100_000)  # many copies without as many calls
    for _ in range(30):
        client._records.keep("same", "a", b"x" * 1_000_000)  # many copies without as many calls
    assert client.registry.sharing._outbox.size < 6_000_000  # the last of each key
    for number in range(40):
        client._records.keep(f"more{number}", "a", b"x" * 1_000_000)  # many copies without as many calls
    assert client.registry.sharing._outbox.size < 17_000_000
    own_server.start()
    until(lambda: not client.registry.sharing._outbox)
    until(lambda: state(client)["store"].startswith("shared"))
    assert len(redis.Redis(port=own_server.port).keys("*copy:k*")) == 40


def test_an_interrupt_while_a_trial_is_asked_for_leaves_it_to_others(server, unhurried, worker):
    rules = {"error_threshold": 1, "cooldown": 0.1, "max_cooldown": 0.1}
    with SlowLink(server.port) as link:
        client, other = worker(link, rules=rules), worker(server, rules=rules)
        client.registry.mark_error("tiktok", FIRST)
        until(lambda: state(client)["circuit"] == state(other)["circuit"] == "half-open")
        link.latency = 0.06
        with mock.patch("rapidfailover.fork.Latch.wait", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            next(client.registry.visits(client.registry.serving("tiktok", "/user/info"), lambda: 30.0))
        time.sleep(0.5)
        assert next(other.registry.visits(other.registry.serving("tiktok", "/user/info"), lambda: 30.0)).provider.name == FIRST


def test_what_was_learnt_alone_is_told_when_redis_is_back_and_the_longer_hold_counts(own_server, worker):
    first, second = worker(own_server), worker(own_server)
    first.registry.hold("tiktok", SECOND, 100)
    until(lambda: state(second, SECOND)["hold_until"])
    own_server.kill()
    until(lambda: all("own memory" in state(one)["store"] for one in (first, second)))
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
    until(lambda: state(client)["store"].startswith("shared"))
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert worker(own_server).call("tiktok", "/user/info", {"unique_id": "grace"}).stale


def test_an_emptied_redis_has_all_back_from_the_workers(server, unhurried, worker):
    first, second = worker(server), worker(server)
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
    until(lambda: state(second)["circuit"] == "open")
    redis.Redis(port=server.port).flushall()
    time.sleep(1.2)
    assert state(first)["circuit"] == state(second)["circuit"] == "open"
    until(lambda: state(worker(server))["circuit"] == "open")


def test_a_full_redis_fails_nothing_and_is_joined_again_when_there_is_room(own_server, worker, caplog):
    client, admin = worker(own_server), redis.Redis(port=own_server.port)
    client.call(*ADA)
    until(lambda: state(client)["store"].startswith("shared"))
    admin.config_set("maxmemory", "100kb")  # less than it takes by itself
    with caplog.at_level(logging.WARNING, "rapidfailover"):
        for number in range(100):
            client.call("tiktok", "/user/info", {"unique_id": f"user{number}"})
        client.registry.mark_error("tiktok", FIRST)
        until(lambda: "own memory" in state(client)["store"])
        time.sleep(1.5)
        assert "OutOfMemoryError" in state(client)["store"] and state(client)["error_count"] == 1
    assert sum("store does not answer" in record.message for record in caplog.records) == 1
    admin.config_set("maxmemory", "0")
    until(lambda: state(client)["store"].startswith("shared"))


# --- bytes that are none of ours ---

SOUND = [3, 7, 0, 2, 0, 0, 0, 0, 0, 2.0, 1e9, 0.0, 0.0, *[None] * 11]  # two faults
HOSTILE = [b"", b"\xff\xfe", b"null", b"7", b"[]", b"{}", b"1e999", b"[" * 900, pickle.dumps({"a": 1}), b"x" * 100_000, *(
    json.dumps([*SOUND[:place], value, *SOUND[place + 1:]]).encode() for place, value in [
        (0, 1), (2, -1), (2, 10 ** 15 - 1), (3, 2.5), (3, float("nan")), (4, 10 ** 400), (5, "x"), (8, "2"), (9, None), (9, [1]), (9, float("inf")),
        (12, None), (13, 9e14), (14, 9e14), (15, 9e14), (16, {}), (17, "x"), (21, 9e14), (22, {})])]


def test_what_is_hostile_here_is_so_by_one_thing_each(server, worker):
    redis.Redis(port=server.port).hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(SOUND), "head": b"1 0 0"})
    assert state(worker(server))["error_count"] == 2


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_bytes_are_no_opinion_and_are_mended(server, unhurried, worker, rapidapi, number):
    admin = redis.Redis(port=server.port)
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": HOSTILE[number], "head": HOSTILE[number] or b"1 0 0"})
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


@pytest.mark.parametrize("place", [14, 15, 16], ids=["open", "held", "on trial"])
def test_nobody_is_kept_out_for_longer_than_the_rules_allow(server, worker, place):
    """By hostile times, or honest ones of a server whose clock was set back."""
    admin = redis.Redis(port=server.port)
    now, told = admin.time()[0], [*SOUND[:3], 5, *SOUND[4:]]
    told[14:16] = [now - 5.0, None]
    told[place] = now + 86400.0
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(told), "head": b"1 0 0"})
    client = worker(server)
    assert client.call(*ADA).provider == FIRST
    told[place] = now + 60.0
    admin.hset("rapidfailover:circuits", mapping={f"tiktok\0{FIRST}": json.dumps(told), "head": b"2 0 0"})
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
    until(lambda: cold.pending_refreshes == 0)
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
    server._command += ["--tls-port", str(server.port), "--port", "0"]  # of the tests' own server
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


def test_a_cluster_that_is_down_when_the_app_starts_is_shared_when_it_is_up(tmp_path, worker, rapidapi):
    from redis.cluster import RedisCluster
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free.getsockname()[1]))
    stores = [RedisStore(lambda: RedisCluster(host="127.0.0.1", port=server.port, socket_timeout=1.0)) for _ in range(2)]
    first, second = map(worker, stores)
    assert first.call(*ADA).provider == FIRST
    until(lambda: state(first)["store"].startswith("own memory"))
    with server:
        admin = redis.Redis(port=server.port)
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: b"cluster_state:ok" in admin.execute_command("CLUSTER", "INFO", NEVER_DECODE=True))
        until(lambda: {state(first)["store"], state(second)["store"]} == {"shared"})
        for name in ("ada", "grace", "alan"):  # of three nodes, in a large one
            first.call("tiktok", "/user/info", {"unique_id": name})
        first.registry.mark_error("tiktok", SECOND)
        until(lambda: second.registry.snapshot()["tiktok"][SECOND]["error_count"] == 1)
        until(lambda: len(admin.keys("rapidfailover:copy:*")) == 3)
        for provider in (FIRST, SECOND, THIRD):
            rapidapi.fail(provider, 503)
        assert all(second.call("tiktok", "/user/info", {"unique_id": name}).stale for name in ("ada", "grace", "alan"))
        for client in (first, second):
            client.close()


class SentinelServer(RedisServer):
    """Watches a primary, and has another take its place as soon as it is gone for half a second."""

    def __init__(self, folder, primary):
        super().__init__(folder)
        config = Path(folder, "sentinel.conf")
        config.write_text(f"""sentinel monitor main 127.0.0.1 {primary.port} 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 2000
""")
        self._command[1:1] = [str(config), "--sentinel"]


def test_behind_sentinel_it_goes_on_at_the_server_that_took_the_others_place(tmp_path, worker, rapidapi, unhurried):
    from redis.sentinel import Sentinel
    folders = [tmp_path / name for name in ("primary", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    with RedisServer(folders[0]) as primary:
        with RedisServer(folders[1], "--replicaof", "127.0.0.1", str(primary.port)) as replica, SentinelServer(folders[2], primary) as sentinel:
            until(lambda: redis.Redis(port=replica.port).info("replication")["master_link_status"] == "up", 20)
            until(lambda: redis.Redis(port=sentinel.port).info("sentinel")["master0"]["slaves"] == 1, 20)  # it looks every ten seconds
            watch = Sentinel([("127.0.0.1", sentinel.port)], socket_timeout=1.0)
            first, second = (worker(RedisStore(watch.master_for("main", socket_timeout=1.0))) for _ in range(2))
            first.registry.mark_error("tiktok", FIRST)
            until(lambda: state(second)["error_count"] == 1)
            first.call(*ADA)  # which also leaves a copy
            primary.kill()
            for provider in (FIRST, SECOND, THIRD):
                rapidapi.fail(provider, 503)
            assert first.call(*ADA).stale  # meanwhile from its own memory
            until(lambda: {state(first)["store"], state(second)["store"]} == {"shared"}, 30)
            first.registry.hold("tiktok", SECOND, 300.0)
            until(lambda: second.registry.snapshot()["tiktok"][SECOND]["hold_until"] is not None)
            assert second.call(*ADA).stale
            first.close()
            second.close()


def test_the_commands_of_the_docs_are_enough_for_a_user_and_each_that_is_missing_is_told(own_server, unhurried):
    allowed, = re.findall(r"^~rapidfailover:\* (\+.*)$", (ROOT / "docs" / "stores.md").read_text(encoding="utf-8"), re.MULTILINE)
    admin, needed = redis.Redis(port=own_server.port), set()
    admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~rapidfailover:*", *allowed.split())

    def everything(at):
        """All that a store does, beginning with a server that knows nothing."""
        admin.flushall()
        admin.script_flush()
        mark = at.look(b"", True).mark
        at.change(b"p\0a", b"", b"1" * 9)
        assert at.look(mark, True).news == {b"p\0a": b"1" * 9} and at.reserve(b"p\0a", 1.0, 5.0) >= 0.0
        at.keep([Record("k", time.time(), 60, b"content")])
        assert at.read("k") == b"content"
        assert at.lease("me", "k", 5.0) == 0.0 < at.lease("you", "k", 5.0) and at.lease("me", "k", 0.0) == 0.0

    def at_it():
        return RedisStore(f"redis://app:secret@127.0.0.1:{own_server.port}")._server()

    everything(at_it())
    for command in allowed.split():
        admin.execute_command("ACL", "SETUSER", "app", command.replace("+", "-"))
        at = at_it()
        try:
            everything(at)
        except redis.RedisError as problem:
            needed.add(command)
            assert re.search("no permission|can't run this command", at.explain(problem)), at.explain(problem)
        admin.execute_command("ACL", "SETUSER", "app", command)
    assert needed == set(allowed.split()), "and none of them is for nothing"


@pytest.mark.parametrize("server, namespace, error", [
    ("http://127.0.0.1", "a", ValueError), ("redis://:top-secret@127.0.0.1:notaport", "a", ValueError), ("", "a", ValueError),
    ("redis://:top-secret@127.0.0.1?socket_timeot=1", "a", ValueError), (None, "a", TypeError), (7, "a", TypeError), (redis.Redis, "a", TypeError), ("redis://127.0.0.1", "", ValueError), ("redis://127.0.0.1", "a b", ValueError),
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
