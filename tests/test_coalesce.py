"""Identical calls under way share one upstream request: metered quota is money."""

import json
import threading
import time

import pytest
from conftest import NO_RETRY, Upstream, http, in_threads
from faults import Heartbeat

from rapidfailover import AllProvidersFailed, BadRequest, FailoverClient, ProviderRegistry
from rapidfailover.deadline import Deadline
from rapidfailover.flights import _Call

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")


def wait_for_requests(rapidapi, count=1):
    until = time.monotonic() + 5
    while len(rapidapi.requests) < count and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.slow
def test_a_hundred_threads_on_one_cold_key_send_one_request_and_get_a_copy_each(rapidapi, client):
    rapidapi.delay("tiktok-scraper7", 3.0)  # until the last of them has begun
    results = []
    in_threads(100, lambda number: results.append(client.call(*USER)))
    assert len(rapidapi.requests) == 1 and len(results) == 100
    assert len({id(result.data) for result in results}) == 100
    assert all(result.data == results[0].data and result.provider == "tiktok-scraper7" for result in results)
    assert client._flights._under_way == {}  # what is left over is told nowhere


def test_different_questions_do_not_wait_for_each_other(rapidapi, client):
    rapidapi.delay("tiktok-scraper7", 0.1)
    in_threads(5, lambda number: client.call("tiktok", "/user/info", {"unique_id": f"user{number}"}))
    assert len(rapidapi.requests) == 5


@pytest.mark.slow
def test_calls_that_allow_different_times_share_an_answer(rapidapi, client):
    rapidapi.delay("tiktok-scraper7", 1.0)
    in_threads(3, lambda number: client.call(*USER, timeout=5.0 + number, deadline=9.0 - number))
    assert len(rapidapi.requests) == 1


@pytest.mark.slow
def test_one_that_gives_up_early_does_not_fail_another_that_can_wait(rapidapi, client):
    for name in TIKTOK:
        rapidapi.delay(name, 0.4)
    hasty = threading.Thread(target=lambda: pytest.raises(AllProvidersFailed, client.call, *USER, timeout=0.1))
    hasty.start()
    time.sleep(0.05)
    assert client.call(*USER).provider == "tiktok-scraper7"
    hasty.join(10)


@pytest.mark.slow
def test_what_is_shared_is_each_ones_own(rapidapi, client):
    rapidapi.delay("tiktok-scraper7", 1.0)
    results = []
    in_threads(2, lambda number: results.append(client.call(*USER)))
    first, second = results
    assert first.quota == second.quota and first.quota is not second.quota and first.data is not second.data


def test_a_leader_that_was_interrupted_before_it_could_say_so_holds_nobody_for_long(rapidapi, client):
    dead = _Call(15.0, Deadline(0.2))
    dead.leader = None
    client._flights.join(client._question(*USER).key, dead)  # as a call makes it
    began = time.monotonic()
    assert client.call(*USER).provider == "tiktok-scraper7"
    assert time.monotonic() - began < 2.0


BIG = json.dumps({"posts": [{"id": str(n), "text": "é" * 40, "tags": [n, n + 1]} for n in range(70_000)]}, ensure_ascii=False).encode()  # 9 MB


@pytest.mark.slow
def test_followers_of_a_big_answer_are_back_in_time_with_it_or_without():
    """Each decodes a copy of its own; 32 times a few tenths of a second is more than there is."""
    def slow(connection):
        time.sleep(0.5)
        connection.sendall(http(BIG))

    late, outcomes = [], []
    with Upstream(slow) as upstream, Heartbeat() as heartbeat, \
            FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key="k" * 20, refresh=False, max_stale=0) as client:
        def call(number):
            began = time.monotonic()
            try:
                outcomes.append(len(client.call("raw", "/thing", timeout=5.0, deadline=5.0).data["posts"]))
            except AllProvidersFailed as error:
                outcomes.append(error.attempts[-1].action)
            late.append(time.monotonic() - began - 5.0 - heartbeat.hiccups(began))

        in_threads(32, call)
        assert len(upstream.received) == 1
    assert outcomes.count(70_000) >= 1 and set(outcomes) <= {70_000, "timeout"}
    assert max(late) < 0.5


def test_it_can_be_switched_off(rapidapi, make_client):
    client = make_client(coalesce=False)
    rapidapi.delay("tiktok-scraper7", 0.1)
    in_threads(3, lambda number: client.call(*USER))
    assert len(rapidapi.requests) == 3


@pytest.mark.slow
@pytest.mark.parametrize("fault, error", [(400, BadRequest), (503, AllProvidersFailed)])
def test_a_failure_is_shared_too_and_each_gets_an_error_of_its_own(rapidapi, client, fault, error):
    for name in TIKTOK:
        rapidapi.fail(name, fault)
        rapidapi.delay(name, 0.5)
    errors = []

    def work(number):
        with pytest.raises(error) as caught:
            client.call(*USER)
        errors.append(caught.value)

    in_threads(10, work)
    assert len(rapidapi.requests) == (1 if fault == 400 else 3)
    assert len({id(error) for error in errors}) == 10 and len({str(error) for error in errors}) == 1


@pytest.mark.slow
def test_a_stale_copy_is_shared_too(rapidapi, client):
    client.call(*USER)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
        rapidapi.delay(name, 0.5)
    results = []
    in_threads(10, lambda number: results.append(client.call(*USER)))
    assert all(result.stale for result in results) and len(rapidapi.requests) == 4
    assert len({id(result.data) for result in results}) == 10


@pytest.mark.slow
def test_a_leader_that_is_interrupted_frees_the_others_to_ask_for_themselves(rapidapi, client, monkeypatch):
    ask, interrupted = client._transport.ask, threading.Event()  # the only place that is surely under way
    rapidapi.delay("tiktok-scraper7", 1.0)  # so that the rest find the second leader still under way

    def interrupt_the_first(*args):
        if not interrupted.is_set():
            interrupted.set()
            time.sleep(0.2)  # until the others wait
            raise KeyboardInterrupt
        return ask(*args)

    monkeypatch.setattr(client._transport, "ask", interrupt_the_first)  # in place of a real signal
    outcomes = []

    def work(number):
        try:
            outcomes.append(client.call(*USER).provider)
        except KeyboardInterrupt:
            outcomes.append("interrupted")

    in_threads(8, work)
    assert sorted(outcomes) == ["interrupted"] + ["tiktok-scraper7"] * 7
    assert len(rapidapi.requests) == 1  # one of the others led the rest
    assert client._flights._under_way == {}  # what is left over is told nowhere


@pytest.mark.slow
@pytest.mark.parametrize("copy", [True, False])
def test_who_waits_keeps_its_own_deadline(rapidapi, client, copy):
    """And then gets the copy, or the error."""
    if copy:
        client.call(*USER)
    for name in TIKTOK:
        rapidapi.delay(name, 5.0)
    waited = []

    def work(number):
        time.sleep(0.2 * number)  # the second joins late and is still waiting when the first gives up
        begun = time.monotonic()
        try:
            stale = client.call(*USER, timeout=9.0, deadline=1.5).stale
        except AllProvidersFailed:
            stale = None
        waited.append((time.monotonic() - begun < 2.3, stale))  # anew, after the first gave up, were 2.8

    in_threads(2, work)
    assert waited == [(True, True if copy else None)] * 2


def test_who_has_no_time_left_to_ask_is_told_so(rapidapi, client):
    rapidapi.delay("tiktok-scraper7", 0.5)
    flight = _Call(15.0, Deadline(25.0))
    flight.leader = None  # another thread's, which does not come back
    client._flights.join(client._question(*USER).key, flight)  # as a call makes it

    with pytest.raises(AllProvidersFailed, match="the time was over before anybody was asked"):
        client.call(*USER, deadline=0.1)
    assert rapidapi.requests == []


def test_a_call_made_while_its_own_is_under_way_does_not_wait_for_itself(rapidapi, make_client):
    """A Celery task that runs at once in the caller's process, say."""
    seen = []

    def refresh(request):
        if not seen:
            seen.append(request)
            with pytest.raises(AllProvidersFailed):
                client.call(*request)

    client = make_client(matrix=NO_RETRY, refresh=refresh)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    began = time.monotonic()
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)
    assert seen and time.monotonic() - began < 2
