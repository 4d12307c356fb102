"""The key: where it comes from, how it is renewed, and that it stays where it belongs."""

import logging
import pickle
import threading
import time
import traceback

import pytest
from conftest import KEY, Upstream, http, in_threads

from rapidfailover import (
    AuthenticationFailed,
    FailoverClient,
    FailoverError,
    InvalidAPIKey,
    MissingAPIKey,
    ProviderRegistry,
)
from rapidfailover.credentials import Key
from rapidfailover.deadline import Deadline
from rapidfailover.keys import Keys

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
NEW = KEY.replace("0", "f")


def sent(rapidapi):
    return [request.headers["x-rapidapi-key"] for request in rapidapi.requests]


# --- where it comes from ---

def test_from_the_environment_when_a_call_needs_it(rapidapi, make_client, monkeypatch):
    client = make_client(api_key=None)
    monkeypatch.setenv("RAPIDAPI_KEY", f" {KEY}\n")
    client.call(*USER)
    monkeypatch.setenv("RAPIDAPI_KEY", NEW)
    client.call(*USER)
    assert sent(rapidapi) == [KEY, NEW]


def test_from_a_callable_that_is_asked_at_each_call(rapidapi, make_client):
    keys = iter([KEY, NEW])
    client = make_client(api_key=lambda: next(keys))
    client.call(*USER)
    client.call(*USER)
    assert sent(rapidapi) == [KEY, NEW]


@pytest.mark.parametrize("api_key", [None, "", "  \n", lambda: None, lambda: "", lambda: 1 / 0])
def test_no_key_is_a_clear_error(rapidapi, make_client, monkeypatch, api_key):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    with pytest.raises(MissingAPIKey):
        make_client(api_key=api_key).call(*USER)
    assert rapidapi.requests == []


@pytest.mark.parametrize("api_key", [
    f"{KEY}\nX-Evil: 1", f"{KEY} {KEY}", f"{KEY}\0", f"{KEY}é", f"{KEY}\u2028{KEY}", "k" * 1_000_000, KEY.encode(), 123,
    lambda: KEY.encode(),
], ids=["line break", "blank", "NUL", "Latin-1", "beyond", "huge", "bytes", "number", "callable"])
def test_a_key_that_is_no_headers_value_is_a_clear_error_without_it(rapidapi, make_client, api_key):
    with pytest.raises(InvalidAPIKey) as caught:
        make_client(api_key=api_key).call(*USER)
    told = traceback.StackSummary.extract(traceback.walk_tb(caught.tb.tb_next), capture_locals=True)  # without our own frame
    told = str(caught.value) + "".join(told.format())
    assert KEY not in told and "k" * 100 not in told
    assert rapidapi.requests == []


def test_what_a_key_callable_raises_is_not_told():
    def vault():
        raise RuntimeError(f"cannot use {KEY}")

    with pytest.raises(MissingAPIKey) as caught:
        FailoverClient(api_key=vault).call(*USER)
    assert KEY not in "".join(traceback.format_exception(type(caught.value), caught.value, caught.tb))
    assert "RuntimeError" in str(caught.value)


# --- refresh_key ---

def test_a_401_without_refresh_key_stops(rapidapi, make_client):
    rapidapi.fail("tiktok-scraper7", 401)
    with pytest.raises(AuthenticationFailed, match="Invalid API key"):
        make_client().call(*USER)
    assert len(rapidapi.requests) == 1


def test_a_401_refreshes_the_key_once_and_asks_once_more(rapidapi, make_client):
    asked = []
    client = make_client(refresh_key=lambda old: asked.append(old) or NEW)
    rapidapi.fail("tiktok-scraper7", 401, times=1)
    result = client.call(*USER)
    assert (result.provider, result.attempts[0].retries) == ("tiktok-scraper7", 1)
    client.call(*USER)
    assert asked == [KEY] and sent(rapidapi) == [KEY, NEW, NEW]


def test_a_second_401_stops(rapidapi, make_client):
    client = make_client(refresh_key=lambda old: NEW)
    rapidapi.fail("tiktok-scraper7", 401)
    with pytest.raises(AuthenticationFailed):
        client.call(*USER)
    assert sent(rapidapi) == [KEY, NEW]


@pytest.mark.parametrize("refresh_key, why", [
    (lambda old: 1 / 0, "ZeroDivisionError"), (lambda old: old, "same key"), (lambda old: None, "refresh_key()"),
    (lambda old: "a b", "refresh_key()"),
])
def test_a_refresh_that_brings_no_new_key_stops_and_says_why(rapidapi, make_client, refresh_key, why):
    rapidapi.fail("tiktok-scraper7", 401)
    with pytest.raises(AuthenticationFailed) as caught:
        make_client(refresh_key=refresh_key).call(*USER)
    assert why in caught.value.detail and len(rapidapi.requests) == 1


def test_refresh_key_runs_once_however_many_threads_saw_the_401(rapidapi, make_client):
    runs, everybody_asked = [], threading.Barrier(16, timeout=10)

    def refresh_key(old):
        runs.append(old)
        time.sleep(0.2)
        return NEW

    client = make_client(refresh_key=refresh_key, coalesce=False)
    for _ in range(8):  # so that all may ask at once
        client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 401, times=16)

    def work(number):
        everybody_asked.wait()
        assert client.call(*USER).provider == "tiktok-scraper7"

    in_threads(16, work)
    assert runs == [KEY]
    assert sent(rapidapi).count(NEW) == 16


def test_a_straggler_whose_401_was_for_the_old_key_uses_the_new_one(rapidapi, make_client):
    """Its request left before the renewal and its 401 comes back after it."""
    runs = []
    client = make_client(refresh_key=lambda old: runs.append(old) or NEW, coalesce=False)
    rapidapi.fail("tiktok-scraper7", 401, times=2)
    rapidapi.delay("tiktok-scraper7", 0.3)
    slow = threading.Thread(target=lambda: results.append(client.call(*USER)))
    results = []
    slow.start()
    time.sleep(0.1)
    rapidapi._host("tiktok-scraper7").delay = 0.0  # at once, while a request waits
    client.call(*USER)
    assert runs == [KEY] and not results
    slow.join(10)
    assert results[0].provider == "tiktok-scraper7" and runs == [KEY]


@pytest.mark.slow
def test_a_waiting_thread_keeps_its_own_deadline(rapidapi, make_client):
    release = threading.Event()

    def refresh_key(old):
        release.wait(10)
        return NEW

    client = make_client(refresh_key=refresh_key, coalesce=False)
    rapidapi.fail("tiktok-scraper7", 401, times=2)
    leader = threading.Thread(target=client.call, args=USER)
    leader.start()
    time.sleep(0.1)
    began = time.monotonic()
    with pytest.raises(AuthenticationFailed, match="still running"):
        client.call(*USER, deadline=0.3)
    assert time.monotonic() - began < 2.0
    release.set()
    leader.join(10)


@pytest.mark.slow
def test_the_time_of_refresh_key_does_not_count_for_the_one_who_runs_it(rapidapi, make_client):
    client = make_client(refresh_key=lambda old: time.sleep(1.5) or NEW)
    rapidapi.fail("tiktok-scraper7", 401, times=1)
    assert client.call(*USER, deadline=1.2).provider == "tiktok-scraper7"


def test_an_interrupted_refresh_key_can_be_run_again(rapidapi, make_client):
    keys = iter([KeyboardInterrupt, NEW])

    def refresh_key(old):
        key = next(keys)
        if key is KeyboardInterrupt:
            raise key
        return key

    client = make_client(refresh_key=refresh_key)
    rapidapi.fail("tiktok-scraper7", 401, times=2)
    with pytest.raises(KeyboardInterrupt):
        client.call(*USER)
    assert client.call(*USER).provider == "tiktok-scraper7"


def test_keys_that_replace_each_other_make_no_circle(rapidapi, make_client):
    client = make_client(refresh_key=lambda old: KEY if old == NEW else NEW)
    rapidapi.fail("tiktok-scraper7", 401, times=1)
    client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 401, times=1)
    client.call(*USER)
    assert sent(rapidapi) == [KEY, NEW, NEW, KEY]


@pytest.mark.parametrize("refresh_key, why", [
    (lambda old: 1 / 0, "ZeroDivisionError"), (lambda old: old, "same key"), (lambda old: KEY if old == NEW else NEW, "less than a minute ago")])
def test_a_key_is_renewed_once_a_minute_at_most(clock, refresh_key, why):
    """One that cannot be, and one that is refused again after it was replaced and came back."""
    asked = []
    keys = Keys(None, lambda old: asked.append(old) or refresh_key(old), clock)

    def renew():
        key, problem = keys.renew(Key(KEY), Deadline(5.0))
        if key:
            keys.renew(key, Deadline(5.0))  # which brings the old one back
        return problem

    problems = [renew() for _ in range(3)]
    assert asked.count(KEY) == 1 and why in problems[-1] and KEY not in "".join(problems)
    clock.tick(59.0)
    renew()
    assert asked.count(KEY) == 1
    clock.tick(2.0)
    renew()
    assert asked.count(KEY) == 2


def test_calls_whose_key_is_refused_ask_for_another_once_a_minute(rapidapi, make_client):
    asked = []
    client = make_client(refresh_key=lambda old: asked.append(old))
    rapidapi.fail("tiktok-scraper7", 401)
    for _ in range(5):
        with pytest.raises(AuthenticationFailed, match=r"refresh_key\(\)"):
            client.call(*USER)
    assert asked == [KEY]


# --- where it must not be ---

def test_an_echo_of_the_key_is_replaced_before_anything_reads_it(make_client):
    echo = ('{"key": "%s"}' % KEY).encode()
    with Upstream(http(echo), http(echo, "503 Oops")) as upstream:
        registry = ProviderRegistry({"demo": [upstream.provider()]})
        client = make_client(registry, matrix={})
        result = client.call("demo", "/echo")
        assert result.data == {"key": "***"}
        assert KEY not in repr(client.cache.__dict__)
        with pytest.raises(FailoverError) as caught:
            client.call("demo", "/other")
        assert KEY not in str(caught.value) + repr(caught.value.attempts)


@pytest.mark.parametrize("answer", [
    http(('{"message": "%s"}' % KEY).encode("utf-16"), "403 No"),
    http(('{"message": "%s"}' % KEY).replace("m", "\\u006d").encode(), "403 No"),
    http(b"[", Content_Encoding=KEY), http(b"[", length=KEY), f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
], ids=["UTF-16", "escaped", "encoding", "length", "status line"])
def test_an_echo_in_another_dress_or_place_is_not_told_either(make_client, answer):
    with Upstream(answer) as upstream:
        client = make_client(ProviderRegistry({"demo": [upstream.provider()]}))
        with pytest.raises(FailoverError) as caught:
            client.call("demo", "/echo")
    told = str(caught.value) + repr(caught.value.attempts)
    assert KEY[:20] not in told and KEY[:20].lower() not in told


@pytest.mark.slow
def test_the_key_is_in_no_error_log_or_traceback_with_locals(rapidapi, make_client, caplog):
    client = make_client()
    rapidapi.refuse("tiktok-scraper7")
    rapidapi.fail("tiktok-feature", "hang")
    rapidapi.fail("tiktok-tikwm", 401)
    with caplog.at_level(logging.DEBUG):
        with pytest.raises(AuthenticationFailed) as caught:
            client.call(*USER, timeout=0.4)
    told = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "question = " in told  # the locals are there
    assert KEY not in told and KEY not in caplog.text
    assert KEY.encode() not in pickle.dumps(caught.value)
    assert KEY not in repr(rapidapi.registry.snapshot())
