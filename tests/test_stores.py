"""What workers share, whatever the store: held for each of them."""

import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import NO_RETRY, in_threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import PROGRAM, RedisServer
from workers import ADA, FIRST, ROOT, SECOND, THIRD, Counted, processes, state, until

from rapidfailover import AllProvidersFailed, ProviderConfig, ProviderRegistry, RefreshRequest
from rapidfailover.circuit import Asker, Circuit, Ticket
from rapidfailover.entries import dump, name_of
from rapidfailover.link import Job
from rapidfailover.members import Slot
from rapidfailover.pace import Pace
from rapidfailover.quota import Quota
from rapidfailover.sharing import OwnCopies, OwnMemory
from rapidfailover.sqlite import SQLiteStore

pytestmark = pytest.mark.slow


class OnRedis:
    """A running server, emptied now and then."""

    def __init__(self, server):
        self._server = server
        self.argument = ["Redis", server.url]

    def store(self):
        from rapidfailover.redis import RedisStore
        return RedisStore(self._server.url)

    def other(self):
        from rapidfailover.redis import RedisStore
        return RedisStore(self._server.url, "other")

    def empty(self):
        from redis import Redis
        Redis(port=self._server.port).flushall()
        return self


class OnSQLite:
    """A file in a folder, a new one now and then."""

    def __init__(self, folder):
        self._folder, self._number = folder, 0

    @property
    def argument(self):
        return ["SQLite", str(self._folder / f"shared{self._number}.db")]

    def store(self):
        return SQLiteStore(self.argument[1])

    def other(self):
        return SQLiteStore(self._folder / f"other{self._number}.db")

    def empty(self):
        self._number += 1
        return self


@pytest.fixture(scope="module", params=["Redis", "SQLite"])
def running(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    if request.param == "SQLite":
        yield OnSQLite(folder)
        return
    pytest.importorskip("redis", reason="redis-py is not installed")
    if not PROGRAM:
        pytest.skip("no redis-server is installed")
    with RedisServer(folder) as server:
        yield OnRedis(server)


@pytest.fixture
def server(running):
    """Emptied for each test."""
    return running.empty()


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


def test_a_cold_worker_serves_the_fleets_last_good_copy_and_keeps_it(server, unhurried, worker, rapidapi):
    first, cold = worker(server), worker(server)
    first.call(*ADA)
    first.close()  # what was kept has been sent
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    time.sleep(1.0)
    result = cold.call(*ADA)
    assert result.stale and result.provider == FIRST and 0.9 < result.age < 5 and result.data["data"]["user"]["uniqueId"] == "ada"
    registry = cold.registry
    registry.sharing = OwnMemory(registry)
    cold._records._copies = OwnCopies()  # as if it had no store, while others do
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


def test_a_copy_is_sent_by_a_process_that_just_ends(server, unhurried, worker, rapidapi):
    kind, where = server.argument
    code = (f"import json, sys; from rapidfailover import *; from rapidfailover.{kind.lower()} import {kind}Store as Store\n"
            "provider = ProviderConfig('tiktok-scraper7', 'tiktok-scraper7.p.rapidapi.com', 1, base_url=sys.argv[1])\n"
            "client = FailoverClient(ProviderRegistry({'tiktok': [provider]}), api_key='k' * 20, store=Store(sys.argv[2]))\n"
            "for number in range(20): client.call('tiktok', '/user/info', {'unique_id': f'user{number}'})\n")
    url = rapidapi.providers["tiktok"][0].base_url
    subprocess.run([sys.executable, "-c", code, url, where], check=True, timeout=30, cwd=ROOT)
    cold = worker(server, fresh_for=60.0)
    assert all(cold.call("tiktok", "/user/info", {"unique_id": f"user{number}"}).age for number in range(20))
    assert len(rapidapi.requests) == 20


CHANGES = [
    lambda circuit, now: circuit.fault(now), lambda circuit, now: circuit.fault(now, rate_limited=True),
    lambda circuit, now: circuit.fault(now, given=0.5, question=4_000_000_000), lambda circuit, now: circuit.admit(now, 20.0, Asker(1.0)),
    lambda circuit, now: circuit.fault(now, Ticket(circuit.generation)), lambda circuit, now: circuit.fault(now, Ticket(circuit.generation - 1)),
    lambda circuit, now: circuit.fault(now, Ticket(circuit.generation, early=True)), lambda circuit, now: circuit.success(),
    lambda circuit, now: circuit.hold(now, 0.0), lambda circuit, now: circuit.count_limit(now, 0.5, Ticket(circuit.generation, limits=circuit.limits)),
    lambda circuit, now: circuit.admit(now, 20.0), lambda circuit, now: circuit.release(Ticket(circuit.generation, True)),
    lambda circuit, now: circuit.reset(),
]
TOLD = ("generation", "error_count", "limits", "rate_limited", "early_pause", "patience", "opened_by", "early_tried")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(CHANGES)), max_size=12))
def test_three_workers_circuits_are_one(running, unhurried, changes):
    """Whoever makes the changes, in whatever order: what is known is what one circuit in one process would be."""
    registries = [ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1)]}, cooldown=1e-6) for _ in range(3)]
    store, alone = running.empty().store(), Circuit(cooldown=1e-6)
    fleets = [store.share(registry) for registry in registries]
    entries = [registry.slots()[0] for registry in registries]
    for number, change in changes:
        fleets[number].link.do(Job(lambda job: fleets[number].tick()))  # what a second would have brought
        time.sleep(0.01)  # so that none is later by as little as two clocks may differ
        told = fleets[number].change(entries[number], change)
        assert (told is None) == (change(alone, time.monotonic()) is None)
    for fleet, entry in zip(fleets, entries):
        fleet.link.do(Job(lambda job: fleet.tick()))
        assert [getattr(entry.circuit, name) for name in TOLD] == [getattr(alone, name) for name in TOLD]
        for name in ("last_error", "open_until", "hold_until", "trial_until"):
            assert getattr(entry.circuit, name) == (None if getattr(alone, name) is None else pytest.approx(getattr(alone, name), abs=0.5))
        fleet.close()


def test_of_eight_processes_one_at_a_time_tries_a_half_open_provider(server):
    with Counted() as bad, Counted() as good:
        bad.status = 503
        with processes(8, server.argument, [("bad", bad.url), ("good", good.url)], patience=5.0, refresh=False, coalesce=False,
                       rules={"error_threshold": 3, "cooldown": 0.1, "max_cooldown": 0.7}) as workers:
            for one in workers:
                one.order("ask", 1.0, 0.01, 50, 3)
            assert not any(wrong for one in workers for _, _, wrong in one.told())
            assert {one.ask("state")["bad"]["circuit"] for one in workers} <= {"open", "half-open"}
            for _ in range(3):  # on a loaded machine the store may be too slow for a while, and then each tries by itself
                with bad.lock:
                    bad.takes, bad.most, before = 0.15, 0, bad.asked
                for one in workers:
                    one.order("ask", 3.0, 0.01, 50, 3)
                assert not any(wrong for one in workers for _, _, wrong in one.told())
                if bad.most == 1:
                    break
            assert bad.most == 1 and 2 <= bad.asked - before <= 6


def test_a_trial_whose_process_is_killed_is_free_again_when_its_lease_is_over(server):
    with Counted() as bad:
        bad.status = 503
        rules = {"error_threshold": 1, "cooldown": 0.5, "max_cooldown": 5.0}
        with processes(2, server.argument, [("bad", bad.url)], rules, patience=5.0, refresh=False, coalesce=False, timeout=2.0, deadline=2.0) as (first, second):
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
        with processes(8, server.argument, [("only", only.url)], patience=5.0, max_stale=60.0) as workers:
            only.status = 503
            for one in workers:
                one.order("ask", 0.05, 0.2, 1, 1)
            assert all(wrong for one in workers for _, _, wrong in one.told())
            assert [one.ask("pending") for one in workers] == [1] * 8
            before = only.asked
            until(lambda: only.asked > before, 10.0)  # the early trial, of one of them
            with only.lock:
                only.status, before = 200, only.asked
            until(lambda: not any(one.ask("pending") for one in workers))
            assert only.asked == before + 1


def test_of_two_clients_of_one_registry_one_asks_again(server, unhurried, make_client, rapidapi):
    registry, store = ProviderRegistry(rapidapi.providers), server.store()
    clients = [make_client(registry, store=store, matrix=NO_RETRY) for _ in range(2)]
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.fail(provider, 403)
    for one in clients:
        with pytest.raises(AllProvidersFailed):
            one.call(*ADA)
    rapidapi.recover()
    rapidapi.delay(FIRST, 0.2)
    asked = len(rapidapi.requests)
    until(lambda: not any(one.pending_refreshes for one in clients))
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


def test_an_older_copy_does_not_take_the_place_of_a_newer_one(server, unhurried, worker, rapidapi):
    first, second, cold = worker(server), worker(server), worker(server, fresh_for=60.0)
    for one in (first, second):
        one.call(*ADA)
        one.registry.sharing._sent_at = time.monotonic()  # so that the next copies wait for close()
    key = ADA[0], "/user/info", {"unique_id": "grace"}
    first.call(*key)
    rapidapi.refuse(FIRST)
    time.sleep(0.05)
    second.call(*key)
    second.close()
    first.close()
    assert cold.call(*key).provider == SECOND


def test_quotas_that_are_told_meanwhile_take_no_verdict_away(server, unhurried, worker):
    client = worker(server, rules={"error_threshold": 1, "cooldown": 0.001, "max_cooldown": 60.0})
    registry, entry = client.registry, client.registry.slots()[0]
    stop = threading.Event()

    def tell():
        remaining = 0
        while not stop.wait(0.0005):
            remaining = 1 - remaining
            with registry.lock:
                entry.quota = Quota(10, remaining, told_at=time.monotonic())
                registry.sharing.note(entry)

    teller = threading.Thread(target=tell)
    teller.start()
    for _ in range(60):
        registry.mark_error("tiktok", FIRST)
        visit = None
        while visit is None:  # until it is half-open
            visits = registry.visits(registry.serving("tiktok", "/user/info"), lambda: 9.0)
            visit = next((visit for visit in visits if visit.provider.name == FIRST), None)
        assert registry.report(visit) == "recovery"
        visits.close()
    stop.set()
    teller.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_was_killed_is_replaced(server, unhurried, worker):
    client = worker(server)
    fleet = client.registry.sharing
    assert state(client)["store"].startswith("shared")
    fleet.link.post(Job(lambda job: sys.exit()))
    until(lambda: not fleet.link._thread.is_alive())
    client.registry.mark_error("tiktok", FIRST)
    until(lambda: state(worker(server))["error_count"] == 1)


def test_many_threads_on_two_clients_count_every_fault_once(server, unhurried, worker):
    client, other = worker(server, rules={"error_threshold": 1000}), worker(server, rules={"error_threshold": 1000})
    in_threads(8, lambda number: [(client if number % 2 else other).registry.mark_error("tiktok", FIRST) for _ in range(50)])
    until(lambda: state(client)["error_count"] == state(other)["error_count"] == 400)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # fork beside threads is the subject
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
    fleet = client.registry.sharing
    assert fleet.link._thread.is_alive() and fleet.link._thread.daemon
    client.close()
    until(lambda: fleet.link._thread is None)
    monkeypatch.setattr("rapidfailover.link._IDLE", 0.2)
    client.call(*ADA)
    assert fleet.link._thread.is_alive()
    until(lambda: fleet.link._thread is None)
    assert state(client)["store"].startswith("shared")


def test_a_registry_goes_where_its_last_client_went(server, unhurried, worker, make_client, rapidapi):
    registry, other = ProviderRegistry(rapidapi.providers), server.other()
    first = make_client(registry, store=server.store())
    registry.mark_error("tiktok", FIRST)
    make_client(registry, store=other)
    registry.mark_error("tiktok", FIRST)
    until(lambda: state(worker(other))["error_count"] == 2)
    assert state(first)["error_count"] == 2 and state(worker(server))["error_count"] == 1


# --- a look brings what changed since the one before ---

def at_server(fleet, work):
    """What it comes to, done by the thread that talks to the server."""
    job = Job(lambda job: work(fleet._server))
    fleet.link.do(job, patient=True)
    return job.outcome


def open_circuit(endpoint="/user/info", provider=FIRST, platform="tiktok"):
    """(name, circuit) as a worker tells it."""
    slot = Slot(platform, ProviderConfig(provider, "a.example", 1), Circuit(), endpoint)
    for _ in range(3):
        slot.circuit.fault(time.monotonic())
    return name_of(slot), dump(slot, slot.circuit, time.monotonic(), time.time() - time.monotonic(), 0.0, 0)


def test_a_look_brings_only_what_changed_since_the_one_before(server, unhurried, worker):
    fleet = worker(server).registry.sharing
    first = at_server(fleet, lambda at: at.look(b"", True))
    assert first.is_lost and first.news == {}
    for name in (b"p\0a", b"p\0b", b"p\0b\0/x", b"p\0a"):
        at_server(fleet, lambda at, name=name: at.change(name, b"" if name != b"p\0a" else b"1" * 9, b"1" * 9))
    second = at_server(fleet, lambda at: at.look(first.mark, False))
    assert not second.is_lost and set(second.news) == {b"p\0b", b"p\0b\0/x"}
    at_server(fleet, lambda at: at.change(b"p\0a", b"", b"2" * 9))
    third = at_server(fleet, lambda at: at.look(second.mark, True))
    assert not third.is_lost and third.news == {b"p\0a": b"2" * 9}
    assert not (at_server(fleet, lambda at: at.look(third.mark, False)) or third._replace(news={})).news


def test_who_missed_many_changes_is_told_all_and_nothing_is_taken_for_lost(server, unhurried, worker):
    fleet = worker(server).registry.sharing
    mark = at_server(fleet, lambda at: at.look(b"", True)).mark
    for number in range(300):
        at_server(fleet, lambda at: at.change(b"p\0%d" % (number % 20), b"%d" % (number - 20) if number >= 20 else b"", b"%d" % number))
    seen = at_server(fleet, lambda at: at.look(mark, False))
    assert not seen.is_lost and seen.news == {b"p\0%d" % (number % 20): b"%d" % number for number in range(280, 300)}


@pytest.mark.parametrize("mark", [lambda mark: b"1 2 3", lambda mark: mark.split()[0] + b" 99999 123456"])
def test_who_has_seen_what_is_not_there_any_more_is_told_all(server, unhurried, worker, mark):
    fleet = worker(server).registry.sharing
    now = at_server(fleet, lambda at: at.look(b"", True)).mark
    name, circuit = open_circuit()
    at_server(fleet, lambda at: at.change(name, b"", circuit))
    if server.argument[0] == "SQLite":
        mark = {b"1 2 3": b"1 2"}.get(mark(now), now.split()[0] + b" 99999")
    else:
        mark = mark(now)
    seen = at_server(fleet, lambda at: at.look(mark, False))
    assert seen.is_lost and seen.news == {name: circuit}


def test_a_snapshot_tells_of_an_endpoint_that_only_others_have_asked(server, unhurried, worker, rapidapi):
    asks, looks = worker(server), worker(server)
    asks.call(*ADA)
    assert state(looks)["endpoints"] == {}
    rapidapi.fail(FIRST, 503)
    for _ in range(3):
        asks.call(*ADA)
    until(lambda: state(looks)["endpoints"].get("/user/info", {}).get("circuit") == "open")
    assert state(worker(server))["endpoints"]["/user/info"]["error_count"] == 3
    assert FIRST not in [provider.name for provider in looks.registry.get_available_providers("tiktok", "/user/info")]
    asks.registry.reset("tiktok", FIRST)
    until(lambda: not state(looks)["endpoints"])


def test_what_others_tell_of_makes_room_only_for_what_can_be_ours(server, unhurried, worker):
    """Foreign platforms and providers, what is no endpoint, and more than 64."""
    client = worker(server)
    fleet = client.registry.sharing
    client.registry.snapshot()
    told = [open_circuit(platform="theirs"), open_circuit(provider="theirs"), open_circuit("//evil"), open_circuit("/a?b"), open_circuit("/\ud800"),
            open_circuit("/" + "x" * 1500), *(open_circuit(f"/{number}") for number in range(100))]
    for name, circuit in told:
        at_server(fleet, lambda at, name=name, circuit=circuit: at.change(name, b"", circuit))
    until(lambda: len(state(client)["endpoints"]) == 64)
    assert all(endpoint[1:].isdigit() for endpoint in state(client)["endpoints"])
    assert set(client.registry.snapshot()["tiktok"]) == {FIRST, SECOND, THIRD} and "theirs" not in client.registry.snapshot()
    client.registry.serving("tiktok", "/user/info")
    assert client.call(*ADA).provider == FIRST and "/user/info" in client.registry._platforms["tiktok"][FIRST].endpoints  # what is dropped is told nowhere


def test_what_is_known_of_a_provider_that_joins_later_counts_for_it(server, unhurried, worker):
    knows, late = worker(server), worker(server)
    late.registry.snapshot()
    joins = ProviderConfig("joins", "a.example", 9)
    knows.registry.add("tiktok", joins)
    knows.registry.hold("tiktok", "joins", 60)
    time.sleep(0.7)
    late.registry.add("tiktok", joins)
    until(lambda: state(late, "joins")["hold_until"])


def test_a_quota_that_counts_down_is_told_by_one_for_all_and_now_and_then(server, unhurried, worker, rapidapi):
    rapidapi.quota(FIRST, 1000, limit=1000, reset=5000)
    workers, told = [worker(server) for _ in range(3)], []
    for one in workers:
        one.registry.snapshot()
        at = one.registry.sharing._server
        one.registry.sharing._server.change = lambda *told_now, change=at.change: told.append(told_now) or change(*told_now)
    began = time.monotonic()
    while time.monotonic() - began < 2.0:
        for one in workers:
            one.call(*ADA)
        time.sleep(0.05)
    assert 1 <= len(told) <= 3 + (time.monotonic() - began) / 60.0, "each may be the first"


# --- paces ---

def test_a_pace_that_one_learned_all_know_until_it_is_forgotten(server, unhurried, worker):
    first, second = worker(server), worker(server)
    second.registry.snapshot()
    member = first.registry.slots()[0]
    with first.registry.lock:
        member.learn(60.0, time.monotonic())
        first.registry.sharing.note(member)
    until(lambda: state(first)["pace"] == state(second)["pace"] == [1, 60.0])
    until(lambda: state(worker(server))["pace"] == [1, 60.0])
    second.registry.reset("tiktok", FIRST)
    until(lambda: state(first)["pace"] is None)


@pytest.mark.parametrize("answered, requests", [((0, 1, 0), 1), ((3, 2, 0), 5), ((0, 0, 0), 1)])
def test_a_pace_is_learned_from_what_all_workers_were_answered(server, unhurried, worker, answered, requests):
    """Else each would learn its own share of the plan for all."""
    workers = [worker(server) for _ in answered]
    for one, count in zip(workers, answered):
        one.registry.snapshot()
        one.registry.slots()[0].answered.extend(time.monotonic() - 1.0 - 0.1 * number for number in range(count))
    member = workers[0].registry.slots()[0]
    for _ in range(2):  # again, by the next 429
        with workers[0].registry.lock:
            member.learn(60.0, time.monotonic())
            workers[0].registry.sharing.note(member)
        until(lambda: [state(one)["pace"] for one in workers] == [[requests, 60.0]] * 3)
        time.sleep(1.1)
        assert [state(one)["pace"] for one in workers] == [[requests, 60.0]] * 3  # nobody counts twice


def test_turns_are_those_of_all_workers(server, unhurried, worker):
    fleets = [worker(server).registry.sharing for _ in range(4)]
    slots, other, paces = [fleet._circuits.slots()[0] for fleet in fleets], fleets[0]._circuits.slots()[1], [Pace(1, 10.0) for _ in fleets]
    turns = [fleet.reserve(slot, pace, 100.0) for fleet, slot, pace in zip(fleets, slots, paces)]
    assert all(10.4 < later - sooner < 10.6 for sooner, later in zip(turns, turns[1:]))
    again = fleets[0].reserve(slots[0], paces[0], 5.0)  # too far away: not taken
    assert again == pytest.approx(fleets[1].reserve(slots[1], paces[1], 100.0), abs=0.1)
    assert fleets[0].reserve(other, Pace(1, 10.0), 0.0) < turns[0] + 10.0


def test_a_rate_is_that_of_all_processes(server):
    """Five a second, of four processes that would ask a hundred times as often."""
    with Counted() as host:
        with processes(4, server.argument, [("paced", host.url)], patience=5.0, rate=5.0, max_wait=60.0, deadline=90.0, refresh=False) as workers:
            for one in workers:
                one.ask("ask", 0.0, 0.0, 1, 1)
            began, before = time.monotonic(), host.asked
            for number, one in enumerate(workers):
                one.order("ask", 3.0, 0.0, 1000, 2)
            assert not any(wrong for one in workers for _, _, wrong in one.told())
            took = time.monotonic() - began
            assert 8 <= host.asked - before <= 5 * took + 2


# --- two apps on one store ---

def test_what_is_of_a_provider_that_another_app_alone_knows_is_ignored(server, unhurried, worker, make_client, rapidapi):
    """A copy, and a circuit."""
    theirs = rapidapi.providers["tiktok"][0]
    theirs = ProviderConfig("theirs", theirs.host, 1, base_url=theirs.base_url)
    ours, other = worker(server), make_client(ProviderRegistry({"tiktok": [theirs]}), store=server.store(), refresh=False)
    ours.call(*ADA)
    ours.close()
    time.sleep(0.01)
    other.call(*ADA)  # a newer copy of the same question
    other.registry.mark_error("tiktok", "theirs")
    other.close()
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert ours.call(*ADA).provider == FIRST
    with pytest.raises(AllProvidersFailed):
        worker(server).call(*ADA)
    assert set(ours.registry.snapshot()["tiktok"]) == {FIRST, SECOND, THIRD}


def test_what_another_app_had_answered_is_asked_again_all_the_same(server, unhurried, worker, make_client, rapidapi):
    theirs = rapidapi.providers["tiktok"][0]
    theirs = ProviderConfig("theirs", theirs.host, 1, base_url=theirs.base_url)
    other = make_client(ProviderRegistry({"tiktok": [theirs]}), store=server.store(), refresh=False)
    ours = worker(server, refresh=True)
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.fail(provider, 403)
    with pytest.raises(AllProvidersFailed):
        ours.call(*ADA)
    rapidapi.recover()
    other.call(*ADA)
    other.close()
    until(lambda: not ours.pending_refreshes)
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert ours.call(*ADA).provider == FIRST
