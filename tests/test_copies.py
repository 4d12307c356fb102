"""What is served without asking, what is remembered as missing, and one provider asked alone."""

import time

import pytest
from conftest import NO_RETRY
from workers import until

from rapidfailover import (
    AllProvidersFailed,
    FailoverError,
    InvalidEndpoint,
    LRUTTLCache,
    NoProvidersAvailable,
    NotFound,
    RequestRefused,
    UnknownProvider,
)

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")


def fail_all(rapidapi, fault):
    for name in TIKTOK:
        rapidapi.fail(name, fault)


# --- fresh and stale ---

def test_fresh_for_in_the_call_goes_before_the_clients(rapidapi, make_client):
    client = make_client(fresh_for=60.0, refresh=False)
    client.call(*USER)
    assert client.call(*USER).attempts == () and client.call(*USER, fresh_for=0).attempts != ()
    with pytest.raises(ValueError, match="fresh_for"):
        client.call(*USER, fresh_for=-1)
    other = make_client(refresh=False)
    other.call(*USER)
    assert other.call(*USER).attempts != () and other.call(*USER, fresh_for=60.0).attempts == ()


@pytest.mark.slow
def test_a_copy_that_is_no_longer_fresh_comes_back_at_once_and_is_asked_for_in_the_background(rapidapi, make_client):
    client = make_client(stale_for=60.0)
    first = client.call(*USER)
    rapidapi.delay("tiktok-scraper7", 1.0)
    began = time.monotonic()
    result = client.call(*USER)
    assert result.stale and result.data == first.data and result.age > 0 and time.monotonic() - began < 0.5
    assert client.pending_refreshes == 1
    until(lambda: client.pending_refreshes == 0)
    assert len(rapidapi.requests) == 2


def test_one_that_is_older_than_that_is_asked_for(rapidapi, make_client):
    client = make_client(stale_for=0.05, fresh_for=0.01)
    client.call(*USER)
    time.sleep(0.1)
    assert not client.call(*USER).stale and len(rapidapi.requests) == 2


# --- missing ---

def test_what_nobody_had_is_not_asked_again_for_so_long(rapidapi, make_client):
    client = make_client(missing_for=60.0, refresh=False)
    fail_all(rapidapi, 404)
    for _ in range(3):
        with pytest.raises(NotFound):
            client.call(*USER)
    assert len(rapidapi.requests) == 3
    client.forget(*USER)
    rapidapi.recover()
    assert client.call(*USER).provider == "tiktok-scraper7"
    assert client.call("tiktok", "/user/info", {"unique_id": "bob"}).provider == "tiktok-scraper7"


def test_without_it_the_next_call_asks(rapidapi, make_client):
    client = make_client(refresh=False)
    fail_all(rapidapi, 404)
    for _ in range(2):
        with pytest.raises(NotFound):
            client.call(*USER)
    assert len(rapidapi.requests) == 6


@pytest.mark.slow
def test_what_is_forgotten_is_served_no_more_and_is_not_missing_either(rapidapi, make_client):
    cache = LRUTTLCache()
    client, other = make_client(cache=cache, refresh=False, matrix=NO_RETRY), make_client(cache=cache, missing_for=60.0, refresh=False)
    client.call(*USER)
    client.forget(*USER)
    fail_all(rapidapi, 503)
    for each in (client, other):
        with pytest.raises(AllProvidersFailed) as caught:
            each.call(*USER)
        assert not isinstance(caught.value, NotFound)


# --- one provider alone ---

def test_one_provider_alone(rapidapi, make_client):
    client = make_client(refresh=False, matrix=NO_RETRY)
    assert client.call(*USER, provider="tiktok-feature").provider == "tiktok-feature"
    rapidapi.fail("tiktok-feature", 503)
    assert client.call(*USER, provider="tiktok-feature").stale  # its own copy
    rapidapi.fail("tiktok-scraper7", 503)
    with pytest.raises(AllProvidersFailed) as caught:
        client.call(*USER, provider="tiktok-scraper7")  # the copy is another's
    assert [attempt.provider for attempt in caught.value.attempts] == ["tiktok-scraper7"]
    rapidapi.registry.hold("tiktok", "tiktok-tikwm", 60)
    with pytest.raises(NoProvidersAvailable):
        client.call("tiktok", "/user/info", {"unique_id": "bob"}, provider="tiktok-tikwm")
    with pytest.raises(UnknownProvider, match="nobody"):
        client.call(*USER, provider="nobody")
    with pytest.raises(InvalidEndpoint, match="does not serve"):
        client.call("instagram", "/nowhere", provider="instagram-stats")


def test_a_404_of_one_that_was_asked_alone_is_no_word_about_what_the_others_have(rapidapi, make_client):
    client = make_client(refresh=False, matrix=NO_RETRY, missing_for=60.0)
    assert client.call(*USER, provider="tiktok-feature").provider == "tiktok-feature"
    for once in ("tiktok-scraper7", "tiktok-feature"):
        fail_all(rapidapi, 503)
        assert client.call(*USER).provider == "tiktok-feature"  # its copy
        rapidapi.fail(once, 404)
        with pytest.raises(NotFound):
            client.call(*USER, provider=once)
    rapidapi.fail("tiktok-feature", 503)
    with pytest.raises(AllProvidersFailed) as caught:  # it was its own copy, and is not there any more
        client.call(*USER)
    assert not isinstance(caught.value, NotFound)
    rapidapi.recover()
    rapidapi.registry.reset()
    assert client.call(*USER, provider="tiktok-tikwm").provider == "tiktok-tikwm"


@pytest.mark.parametrize("error, retryable", [
    (FailoverError(), False), (NotFound(), False), (AllProvidersFailed(), True), (NoProvidersAvailable(), True), (RequestRefused(), False)])
def test_an_error_says_whether_a_later_call_may_have_data(error, retryable):
    assert error.retryable is retryable


def test_a_404_of_one_that_was_asked_alone_removes_its_own_copy_however_old_a_copy_may_be(rapidapi, make_client):
    client = make_client(refresh=False, max_stale=0, fresh_for=3600.0)
    client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 404)
    with pytest.raises(NotFound):
        client.call(*USER, provider="tiktok-scraper7", fresh_for=0)
    assert client.call(*USER).provider == "tiktok-feature"
