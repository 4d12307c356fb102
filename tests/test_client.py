"""The decision tree: who is asked, what comes back, how it ends."""

import logging
import pickle
import time

import pytest
from conftest import KEY, NO_RETRY, Clock, Upstream, http, in_threads
from faults import Heartbeat

from rapidfailover import (
    AllProvidersFailed,
    BadRequest,
    FailoverClient,
    LRUTTLCache,
    NoProvidersAvailable,
    NotFound,
    ProviderRegistry,
    RequestRefused,
)

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")


def fail_all(rapidapi, fault, times=None):
    for name in TIKTOK:
        rapidapi.fail(name, fault, times=times)


def asked(rapidapi):
    return [request.provider for request in rapidapi.requests]


# --- fresh ---

def test_the_primary_answers_and_nobody_else_is_asked(rapidapi, client):
    result = client.call(*USER)
    assert result.data["data"]["user"]["uniqueId"] == "ada"
    assert (result.platform, result.endpoint, result.provider) == ("tiktok", "/user/info", "tiktok-scraper7")
    assert not result.stale and result.age == 0.0 and 0 < result.elapsed < 5
    assert [(a.provider, a.status, a.retries) for a in result.attempts] == [("tiktok-scraper7", 200, 0)]
    assert asked(rapidapi) == ["tiktok-scraper7"]


def test_the_gateway_gets_the_host_the_key_and_the_params(rapidapi, client):
    client.call("tiktok", "/user/posts", {"unique_id": "ada & co", "count": 2, "cursor": None})
    request = rapidapi.requests[0]
    assert (request.method, request.path, request.params) == ("GET", "/user/posts",
                                                              {"count": "2", "unique_id": "ada & co"})
    assert request.headers["x-rapidapi-key"] == KEY
    assert request.headers["x-rapidapi-host"] == "tiktok-scraper7.p.rapidapi.com"


@pytest.mark.parametrize("faults, provider", [
    ([503], "tiktok-feature"), ([404, 403], "tiktok-tikwm"), (["html", "empty"], "tiktok-tikwm"),
    (["cut"], "tiktok-feature"), (["disconnect"], "tiktok-feature"), ([302], "tiktok-feature"),
    ([204], "tiktok-feature"),
])
def test_the_next_provider_answers(rapidapi, client, faults, provider):
    for name, fault in zip(TIKTOK, faults):
        rapidapi.fail(name, fault)
    result = client.call(*USER)
    assert result.provider == provider and not result.stale
    assert len(result.attempts) == len(faults) + 1


def test_a_provider_that_refuses_connections_is_unavailable(rapidapi, client):
    rapidapi.refuse("tiktok-scraper7")
    first = client.call(*USER).attempts[0]
    assert (first.status, first.action) == (None, "unavailable") and "refused" in first.detail


def test_a_provider_that_hangs_is_left_in_time_and_not_asked_twice(rapidapi, make_client):
    client = make_client()
    rapidapi.fail("tiktok-scraper7", "hang")
    result = client.call(*USER, timeout=0.3)
    assert result.provider == "tiktok-feature" and 0.3 <= result.elapsed < 1.0
    assert (result.attempts[0].status, result.attempts[0].action, result.attempts[0].retries) == (None, "timeout", 0)
    assert asked(rapidapi).count("tiktok-scraper7") == 1


def test_a_retry_that_succeeds_is_no_switch_and_no_fault(rapidapi, make_client):
    client = make_client()
    rapidapi.fail("tiktok-scraper7", 503, times=1)
    result = client.call(*USER)
    assert (result.provider, result.attempts[0].retries) == ("tiktok-scraper7", 1)
    assert 0.1 <= result.elapsed < 1.0
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["error_count"] == 0


def test_an_open_circuit_costs_nothing(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 500)
    for _ in range(5):
        client.call(*USER)
    assert asked(rapidapi).count("tiktok-scraper7") == 3
    assert [a.provider for a in client.call(*USER).attempts] == ["tiktok-feature"]


def test_after_the_cooldown_one_trial_brings_the_primary_back(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry, matrix=NO_RETRY)
    rapidapi.fail("tiktok-scraper7", 500, times=3)
    for _ in range(4):
        client.call(*USER)
    clock.tick(900)
    assert client.call(*USER).provider == "tiktok-scraper7"
    assert registry.snapshot()["tiktok"]["tiktok-scraper7"]["circuit"] == "closed"


@pytest.mark.parametrize("status", [404, 403])
def test_any_answer_that_is_no_fault_closes_a_half_open_circuit(rapidapi, make_client, status):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry, matrix=NO_RETRY)
    for _ in range(3):
        registry.mark_error("tiktok", "tiktok-scraper7")
    clock.tick(900)
    rapidapi.fail("tiktok-scraper7", status)
    assert client.call(*USER).provider == "tiktok-feature"
    assert registry.snapshot()["tiktok"]["tiktok-scraper7"]["circuit"] == "closed"


def test_what_comes_back_is_the_callers_own(client):
    first = client.call(*USER)
    first.data["data"].clear()
    assert client.call(*USER).data["data"]["user"]["uniqueId"] == "ada"


# --- 429 ---

def test_a_429_waits_and_asks_once_more(rapidapi, make_client):
    client = make_client(max_wait=0.2)
    rapidapi.fail("tiktok-scraper7", 429, times=1)
    result = client.call(*USER)
    assert (result.provider, result.attempts[0].retries) == ("tiktok-scraper7", 1)
    assert 0.2 <= result.elapsed < 1.0


def test_a_429_is_asked_once_more_only_and_counts_once(rapidapi, make_client):
    client = make_client(max_wait=0.0)
    rapidapi.fail("tiktok-scraper7", 429)
    assert client.call(*USER).attempts[0].retries == 1
    assert asked(rapidapi) == ["tiktok-scraper7"] * 2 + ["tiktok-feature"]
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["error_count"] == 1


def test_a_429_and_then_a_401_are_both_answered(rapidapi, make_client):
    with Upstream(http(b"", "429 Slow"), http(b"", "401 No"), http()) as upstream:
        client = make_client(ProviderRegistry({"raw": [upstream.provider()]}), max_wait=0.0, refresh_key=lambda old: "n" * 20)
        result = client.call("raw", "/thing")
    assert result.data == {"ok": True} and result.attempts[0].retries == 2


def test_a_429_that_leaves_no_time_to_wait_switches_at_once(rapidapi, make_client):
    client = make_client(max_wait=2.0)
    rapidapi.fail("tiktok-scraper7", 429)
    result = client.call(*USER, deadline=0.9)
    assert result.provider == "tiktok-feature" and result.attempts[0].retries == 0 and result.elapsed < 0.8


# --- 400, and rows that stop ---

def test_a_400_stops_at_once_and_serves_no_copy(rapidapi, client):
    client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 400)
    with pytest.raises(BadRequest, match="tiktok-scraper7 refused the request with 400: Bad Request"):
        client.call(*USER)
    assert asked(rapidapi) == ["tiktok-scraper7"] * 2 and client.pending_refreshes == 0


def test_the_providers_own_words_are_told(rapidapi, client):
    with pytest.raises(RequestRefused) as caught:
        client.call("tiktok", "/user/info")
    assert (caught.value.status, caught.value.detail) == (400, "unique_id is required")


# --- nobody has data ---

def test_404_from_everybody_is_not_found_and_serves_no_copy(rapidapi, client):
    client.call(*USER)
    fail_all(rapidapi, 404)
    with pytest.raises(NotFound) as caught:
        client.call(*USER)
    assert [a.status for a in caught.value.attempts] == [404] * 3
    assert client.pending_refreshes == 0


@pytest.mark.parametrize("spoil", [
    lambda fake: fake.fail("tiktok-tikwm", 503),
    lambda fake: fake.registry.hold("tiktok", "tiktok-tikwm", 60),
], ids=["one failed", "one was not asked"])
def test_it_is_not_found_only_if_everybody_was_asked_and_nobody_was_out(rapidapi, client, spoil):
    client.call(*USER)
    fail_all(rapidapi, 404)
    spoil(rapidapi)
    assert client.call(*USER).stale


def test_a_403_is_no_opinion_on_whether_it_is_found(rapidapi, client):
    fail_all(rapidapi, 403)
    rapidapi.fail("tiktok-feature", 404)
    with pytest.raises(NotFound):
        client.call(*USER)


def test_what_was_deleted_does_not_come_back_in_the_next_outage(rapidapi, client):
    client.call(*USER)
    fail_all(rapidapi, 404)
    with pytest.raises(NotFound):
        client.call(*USER)
    fail_all(rapidapi, 503)
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)


def test_a_disabled_provider_is_not_asked_whether_it_is_found(rapidapi, client):
    rapidapi.registry.disable("tiktok", "tiktok-tikwm")
    fail_all(rapidapi, 404)
    with pytest.raises(NotFound):
        client.call(*USER)


def test_the_last_good_copy_comes_back_and_a_refresh_is_queued(rapidapi, client):
    fresh = client.call(*USER)
    fail_all(rapidapi, 503)
    result = client.call(*USER)
    assert result.stale and result.data == fresh.data and result.provider == "tiktok-scraper7"
    assert 0 <= result.age < 5 and len(result.attempts) == 3
    assert client.pending_refreshes == 1


def test_the_copy_is_of_the_same_question(rapidapi, client):
    client.call("tiktok", "/user/info", {"unique_id": "ada"})
    fail_all(rapidapi, 503)
    with pytest.raises(AllProvidersFailed):
        client.call("tiktok", "/user/info", {"unique_id": "bob"})
    assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).stale


def test_a_copy_that_is_too_old_is_not_served(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY, max_stale=0.05)
    client.call(*USER)
    time.sleep(0.1)
    fail_all(rapidapi, 503)
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)


def test_max_stale_zero_keeps_no_copies(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY, max_stale=0)
    client.call(*USER)
    assert len(client.cache) == 0


@pytest.mark.parametrize("fault", ["html", "empty", "cut", 204])
def test_a_bad_payload_never_becomes_the_copy(rapidapi, client, fault):
    good = client.call(*USER).data
    fail_all(rapidapi, fault)
    result = client.call(*USER)
    assert result.stale and result.data == good
    assert result.attempts[0].action == "bad gateway" and result.attempts[0].detail.startswith("bad payload: ")


def test_without_a_copy_the_error_names_every_attempt(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 503)
    rapidapi.refuse("tiktok-feature")
    rapidapi.fail("tiktok-tikwm", "html")
    with pytest.raises(AllProvidersFailed) as caught:
        client.call(*USER)
    error = caught.value
    assert type(error) is AllProvidersFailed and error.platform == "tiktok" and error.retry_after is None
    assert [(a.provider, a.status, a.action) for a in error.attempts] == [
        ("tiktok-scraper7", 503, "unavailable"), ("tiktok-feature", None, "unavailable"),
        ("tiktok-tikwm", 200, "bad gateway")]
    for told in ("tiktok-scraper7: 503 unavailable", "tiktok-feature: unavailable (", "refused",
                 "tiktok-tikwm: 200 bad gateway (bad payload: not JSON"):
        assert told in str(error)
    assert client.pending_refreshes == 1
    assert error.request is None and error.response is None


def test_when_all_are_out_nobody_is_asked(rapidapi, client):
    client.call(*USER)
    before = len(rapidapi.requests)
    for name in TIKTOK:
        rapidapi.registry.hold("tiktok", name, 60)
    copy = client.call(*USER)
    assert copy.stale and copy.attempts == ()
    with pytest.raises(NoProvidersAvailable) as caught:
        client.call("tiktok", "/user/info", {"unique_id": "bob"})
    assert 59 < caught.value.retry_after <= 60 and caught.value.attempts == ()
    assert len(rapidapi.requests) == before and client.pending_refreshes == 2


def test_a_platform_without_an_enabled_provider(client):
    with pytest.raises(NoProvidersAvailable) as caught:
        client.call("threads", "/api/user/info", {"username": "ada"})
    assert caught.value.retry_after is None
    assert client.pending_refreshes == 0  # it would wait for ever


def test_no_key_is_needed_where_nobody_is_asked(rapidapi, make_client, monkeypatch):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    for name in TIKTOK:
        rapidapi.registry.hold("tiktok", name, 60)
    with pytest.raises(NoProvidersAvailable):
        make_client(api_key=lambda: pytest.fail("not needed")).call(*USER)


# --- fresh_for ---

def test_a_copy_that_is_young_enough_comes_back_as_fresh_without_asking(rapidapi, make_client):
    client = make_client(fresh_for=60)
    client.call(*USER)
    again = client.call(*USER)
    assert not again.stale and again.provider == "tiktok-scraper7" and again.attempts == () and again.age > 0
    assert len(rapidapi.requests) == 1
    assert make_client(cache=client.cache).call(*USER).attempts  # the default asks


# --- time ---

@pytest.mark.slow
def test_a_hanging_primary_leaves_time_for_the_others(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", "hang")
    result = client.call(*USER, deadline=3.0)
    assert result.provider == "tiktok-feature"
    assert 0.9 < result.attempts[0].elapsed < 1.4  # a third of it: three providers


@pytest.mark.slow
def test_the_deadline_bounds_the_whole_call(rapidapi, client):
    fail_all(rapidapi, "hang")
    began = time.monotonic()
    with pytest.raises(AllProvidersFailed):
        client.call(*USER, deadline=0.6)
    assert 0.5 < time.monotonic() - began < 1.5


@pytest.mark.slow
def test_a_longer_timeout_raises_the_deadline_of_its_call(rapidapi, make_client):
    client = make_client(deadline=0.2)
    rapidapi.delay("tiktok-scraper7", 0.5)
    for name in TIKTOK[1:]:
        rapidapi.registry.disable("tiktok", name)
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)
    assert client.call(*USER, timeout=2.0).provider == "tiktok-scraper7"


def test_the_pause_before_a_retry_stays_within_the_attempt(rapidapi, make_client):
    client = make_client()
    fail_all(rapidapi, 503)
    began = time.monotonic()
    with Heartbeat() as heartbeat, pytest.raises(AllProvidersFailed) as caught:
        client.call(*USER, deadline=0.3)
    assert time.monotonic() - began < 0.3 + heartbeat.hiccups(began) and [a.retries for a in caught.value.attempts] == [0, 0, 0]


@pytest.mark.slow
def test_the_time_of_a_slow_cache_does_not_count(make_client):
    class Slow(LRUTTLCache):
        def get(self, key, default=None):
            time.sleep(1.5)

    assert make_client(cache=Slow(), fresh_for=5.0).call(*USER, deadline=1.2).provider == "tiktok-scraper7"


@pytest.mark.parametrize("seconds", [1e-9, 1e10, 1e300, 10 ** 30])
def test_times_beyond_reason_are_no_crash(rapidapi, client, seconds):
    try:
        assert client.call(*USER, timeout=seconds, deadline=seconds).provider == "tiktok-scraper7"
    except AllProvidersFailed as error:
        assert seconds < 1 and type(error) is AllProvidersFailed and "before anybody was asked" in str(error)


@pytest.mark.slow
def test_the_time_of_a_slow_key_does_not_count(make_client):
    def slow_key():
        time.sleep(1.5)
        return KEY

    assert make_client(api_key=slow_key).call(*USER, deadline=1.2).provider == "tiktok-scraper7"


@pytest.mark.parametrize("option", ["timeout", "deadline"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", True, 10 ** 400])
def test_times_are_positive_finite_numbers(rapidapi, client, option, value):
    with pytest.raises(ValueError, match=option):
        client.call(*USER, **{option: value})
    with pytest.raises(ValueError, match=option):
        FailoverClient(**{option: value})
    assert rapidapi.requests == []


@pytest.mark.parametrize("options", [
    {"max_wait": -1}, {"max_stale": float("inf")}, {"fresh_for": "1"}, {"max_body": 0}, {"max_body": 1.5},
    {"max_body": True},
])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FailoverClient(**options)


@pytest.mark.parametrize("params, error", [
    ([("a", 1)], TypeError), ("a=1", TypeError), ({1: "a"}, TypeError), ({"a": {"b": 1}}, TypeError),
    ({"a": object()}, TypeError), ({"a": b"x"}, TypeError), ({"a": "\ud800"}, ValueError),
])
def test_params_that_make_no_sense_are_refused_before_anything_is_sent(rapidapi, client, params, error):
    with pytest.raises(error):
        client.call("tiktok", "/user/info", params)
    assert rapidapi.requests == []


# --- the rest of the surface ---

def test_call_with_failover_is_the_data_of_call(rapidapi, client):
    assert client.call_with_failover(*USER)["data"]["user"]["uniqueId"] == "ada"
    rapidapi.delay("tiktok-scraper7", 0.5)
    assert client.call_with_failover(*USER, 0.1)["data"]["user"]["uniqueId"] == "ada"
    assert asked(rapidapi)[-1] == "tiktok-feature"


def test_a_cache_of_ones_own_is_the_clients(make_client):
    cache = LRUTTLCache()
    assert make_client(cache=cache).cache is cache  # although it is empty, and so falsy


def test_results_and_errors_pickle(rapidapi, client):
    result = client.call(*USER)
    assert pickle.loads(pickle.dumps(result)) == result
    fail_all(rapidapi, 503)
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("tiktok", "/user/info", {"unique_id": "bob"})
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.attempts == caught.value.attempts


def test_a_closed_client_still_answers_but_refreshes_nothing(rapidapi, client):
    client.call(*USER)
    client.close()
    assert client.call(*USER).provider == "tiktok-scraper7"
    fail_all(rapidapi, 503)
    assert client.call(*USER).stale and client.pending_refreshes == 0


def test_closing_under_way_fails_no_call(rapidapi, client):
    def work(number):
        for _ in range(20):
            if number == 0:
                client.close()
            else:
                client.call(*USER)

    in_threads(8, work)
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["error_count"] == 0


def test_it_is_a_context_manager(rapidapi):
    with FailoverClient(rapidapi.registry, api_key=KEY) as client:
        assert client.call(*USER)


def test_every_switch_and_stale_answer_is_one_line_with_who_what_and_why(rapidapi, client, caplog):
    client.call(*USER)
    fail_all(rapidapi, 503)
    with caplog.at_level(logging.INFO, "rapidfailover"):
        client.call(*USER)
    lines = [record.getMessage() for record in caplog.records if record.name == "rapidfailover"]
    assert lines[:3] == [
        "tiktok /user/info: tiktok-scraper7: 503 unavailable (Service Unavailable); asking the next provider",
        "tiktok /user/info: tiktok-feature: 503 unavailable (Service Unavailable); asking the next provider",
        "tiktok /user/info: tiktok-tikwm: 503 unavailable (Service Unavailable); no provider is left to ask"]
    assert lines[3] == "tiktok /user/info: nobody has an answer; serving the copy that tiktok-scraper7 gave 0 s ago"
    assert len(lines) == 4
