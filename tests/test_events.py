"""What a listener is told, and that neither it nor the log can harm a call."""

import logging
import re
import threading
import time
from pathlib import Path

import pytest
from conftest import NO_RETRY, Clock

import rapidfailover
from rapidfailover import AllProvidersFailed, FailoverClient, ProviderRegistry, RefreshRequest
from rapidfailover.events import KINDS, Events

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")


@pytest.fixture
def told():
    return []


@pytest.fixture
def listen(make_client, told):
    def make(registry=None, on_event=lambda name, fields: told.append((name, fields)), **options):
        return make_client(registry, on_event=on_event, matrix=NO_RETRY, max_wait=0.0, **options)
    return make


def names(told):
    return [name for name, _ in told]


def test_a_healthy_call_is_no_event_and_starts_no_thread(listen, told):
    listen().call(*USER)
    assert told == [] and not [thread for thread in threading.enumerate() if thread.name == "rapidfailover-events"]


def test_each_kind_is_told_by_the_time_the_call_returns(rapidapi, listen, told):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = listen(registry)
    client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 503)
    client.call(*USER)
    name, fields = told.pop()
    assert name == "switch" and fields.pop("elapsed") > 0 and fields == {
        "platform": "tiktok", "endpoint": "/user/info", "provider": "tiktok-scraper7", "status": 503,
        "action": "unavailable", "detail": "Service Unavailable"}
    for _ in range(2):
        client.call(*USER)
    assert names(told) == ["switch", "trip", "switch"] and told[1][1]["provider"] == "tiktok-scraper7"
    rapidapi.fail("tiktok-feature", "per-minute")
    rapidapi.fail("tiktok-tikwm", 500)
    del told[:]
    client.call(*USER)
    assert names(told) == ["hold", "switch", "switch", "refresh", "stale"]
    assert told[-2][1] == {"platform": "tiktok", "endpoint": "/user/info", "outcome": "queued"}
    assert told[-1][1]["provider"] and told[-1][1]["age"] >= 0
    rapidapi.recover()
    clock.tick(900)
    del told[:]
    client.call(*USER)
    assert names(told) == ["recovery"]


def test_a_refresh_that_was_asked_is_told(rapidapi, listen, told):
    client = listen(refresh=False)
    client.refresh_now(RefreshRequest(*USER))
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        client.refresh_now(RefreshRequest(*USER))
    assert [fields["outcome"] for name, fields in told if name == "refresh"] == ["done", "failed"]


def test_a_listener_that_raises_harms_no_call(rapidapi, listen, caplog):
    client = listen(on_event=lambda name, fields: 1 / 0)
    rapidapi.fail("tiktok-scraper7", 503)
    assert client.call(*USER).provider == "tiktok-feature"
    assert "on_event raised ZeroDivisionError at 'switch'" in caplog.text


def test_a_listener_that_blocks_costs_one_call_a_moment_and_later_hears_it_all(rapidapi, listen, told):
    go_on = threading.Event()
    client = listen(on_event=lambda name, fields: (go_on.wait(20), told.append(name)))
    rapidapi.fail("tiktok-scraper7", 404)
    client.call(*USER)
    began = time.monotonic()
    for _ in range(20):
        client.call(*USER)
    assert time.monotonic() - began < 1.0 and told == []
    go_on.set()
    until = time.monotonic() + 5
    while len(told) < 21 and time.monotonic() < until:
        time.sleep(0.01)
    assert told == ["switch"] * 21
    client.call(*USER)
    client.call(*USER)
    assert len(told) >= 22  # it is waited for again


def test_a_listener_may_call_again(rapidapi, listen, told):
    def on_event(name, fields):
        told.append(name)
        if len(told) == 1:
            client.call("tiktok", "/user/info", {"unique_id": "bob"})

    client = listen(on_event=on_event)
    rapidapi.fail("tiktok-scraper7", 404)
    client.call(*USER)
    until = time.monotonic() + 5
    while len(told) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert told == ["switch", "switch"]


def test_a_listener_that_never_comes_back_is_told_of_a_thousand_at_most():
    stuck = threading.Event()
    events = Events(lambda name, fields: stuck.wait(20))
    for _ in range(1500):
        events.tell("switch")
    assert events._waiting.qsize() <= 1000
    stuck.set()
    events.close()


def test_the_key_is_in_no_event(rapidapi, listen, told):
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        listen(api_key="planted" * 5).call(*USER)
    assert told and "planted" not in repr(told)


def test_what_is_no_listener_is_refused(rapidapi):
    with pytest.raises(TypeError, match="on_event is a callable"):
        FailoverClient(rapidapi.registry, on_event="print")


# --- the table ---

def test_every_event_stands_in_the_table_and_nothing_else_does():
    """Found in the source, by the names of what reports them."""
    source = "".join(path.read_text(encoding="utf-8") for path in Path(rapidfailover.__file__).parent.glob("*.py"))
    reported = set(re.findall(r'\b(?:_?report|tell|log)\(\s*"(\w+)"', source))
    judged = set(re.findall(r'return "(trip|hold|recovery)"|"(trip|hold|recovery)" if', source))
    assert reported | {kind for pair in judged for kind in pair if kind} == set(KINDS)


def test_what_stands_in_no_table_is_an_error():
    with pytest.raises(KeyError):
        Events().report("surprise")


# --- the log ---

def test_lines_carry_fields_and_do_not_flood(rapidapi, client, caplog):
    clock = Clock()
    client._events._clock = clock  # the client takes no clock
    rapidapi.fail("tiktok-scraper7", 404)
    with caplog.at_level(logging.INFO, "rapidfailover"):
        for _ in range(50):
            client.call(*USER)
        record, = caplog.records
        assert (record.event, record.platform, record.endpoint, record.provider) == ("switch", "tiktok", "/user/info", "tiktok-scraper7")
        clock.tick(10.0)
        client.call(*USER)
    assert caplog.records[-1].getMessage().endswith("asking the next provider (49 more like this since the last)")


def test_a_trip_and_a_hold_carry_fields(caplog, rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 503)
    rapidapi.fail("tiktok-feature", "per-minute")
    for _ in range(3):
        client.call(*USER)
    assert {(record.event, record.provider) for record in caplog.records if hasattr(record, "event")} >= {
        ("trip", "tiktok-scraper7"), ("hold", "tiktok-feature"), ("switch", "tiktok-scraper7")}


@pytest.mark.slow
def test_a_listener_that_dawdles_costs_a_call_fifty_milliseconds_in_all_and_none_beyond_its_deadline(rapidapi, make_client):
    heard = []

    def dawdle(name, fields):
        time.sleep(0.5)
        heard.append(name)

    client = make_client(on_event=dawdle, matrix=NO_RETRY, refresh=False)
    for name in TIKTOK:
        rapidapi.fail(name, 403)
    began = time.monotonic()
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)  # three switches: 1.5 s of listening
    assert time.monotonic() - began < 1.2
    while len(heard) < 3 and time.monotonic() - began < 10.0:
        time.sleep(0.05)
    assert heard == ["switch"] * 3
    with pytest.raises(AllProvidersFailed):
        client.call(*USER, deadline=0.001)


def test_a_broken_cache_is_told_once_in_ten_seconds(rapidapi, make_client, caplog):
    class Broken:
        def get(self, key):
            raise ConnectionError("redis://:secret@host is away")

        def set(self, key, value, timeout):
            raise ConnectionError("redis://:secret@host is away")

    client = make_client(cache=Broken(), fresh_for=1.0)
    for number in range(5):
        client.call("tiktok", "/user/info", {"unique_id": str(number)})
    told = [record for record in caplog.records if getattr(record, "event", "") == "cache"]
    assert [record.getMessage() for record in told] == [
        "the cache could not be asked: ConnectionError", "the cache could not keep an answer: ConnectionError"]
