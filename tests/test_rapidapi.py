"""RapidAPI's own words through the whole client: quotas, holds, errors inside a 200, and what reaches a provider."""

import json

import pytest
from conftest import KEY, NO_RETRY, Clock, Upstream, http, in_threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rapidfailover import (
    AllProvidersFailed,
    BadRequest,
    FailoverClient,
    FailoverError,
    NotFound,
    ProviderConfig,
    ProviderRegistry,
    Result,
)
from rapidfailover.catalog import PROVIDERS

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")
CALLS = {
    "tiktok": USER[1:], "instagram": ("/profile", {"username": "ada"}), "youtube": ("/video/info", {"id": "v"}),
    "twitter": ("/screenname.php", {"screenname": "ada"}), "linkedin": ("/person_deep", {"link": "https://x/in/ada"}),
    "threads": ("/api/user/info", {"username": "ada"}),
}


def alone(rapidapi, name, **options):
    """A client on a registry with that provider alone, enabled, under its platform."""
    platform, config = next((platform, config) for platform, members in rapidapi.providers.items() for config in members
                            if config.name == name)
    registry = ProviderRegistry({platform: [config]}, **options)
    registry.enable(platform, name)
    return platform, FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, max_wait=0.0, refresh=False)


# --- errors inside a 200 ---

NAMES = [config.name for members in PROVIDERS.values() for config in members]
# What the provider's word for content that is gone is known to mean; cells marked ? in rapidapi.md fall to 502.
DEAD = {**dict.fromkeys(TIKTOK, "not found"), "the-old-bird": "not found", "instagram-stats": "not found", "yt-api": "not found"}
SOFT = {"yt-api": "forbidden", "instagram-stats": "server error"}  # they send a code of their own
PROFILE_PATHS = {"instagram-stats": ("/community", {"url": "https://www.instagram.com/ada/"}),
                 "linkedin-fresh": ("/api/v1/user/profile", {"username": "ada"})}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", [None, "soft-error", "dead"])
def test_every_provider_of_the_catalogue_has_its_envelope_checked(rapidapi, name, fault):
    platform, client = alone(rapidapi, name)
    question = PROFILE_PATHS.get(name) or CALLS[platform]
    with client:
        if fault is None:
            assert client.call(platform, *question).provider == name
            return
        rapidapi.fail(name, fault)
        with pytest.raises(AllProvidersFailed) as caught:
            client.call(platform, *question)
        attempt, = caught.value.attempts
        expected = (DEAD if fault == "dead" else SOFT).get(name, "bad gateway")
        assert (attempt.status, attempt.action) == (200, expected)
        assert len(client.cache) == 0


@pytest.mark.parametrize("name, endpoint, body", [
    ("tiktok-scraper7", "/user/info", []), ("tiktok-scraper7", "/user/info", {"data": {}}), ("tiktok-scraper7", "/user/info", {"code": 0}),
    ("instagram-looter2", "/profile", {"username": "ada"}), ("instagram-looter2", "/user-feeds", {"status": True}),
    ("instagram-stats", "/community", {"data": {}}), ("instagram-stats", "/community", {"meta": {"code": 200}}),
    ("instagram-stats", "/community", {"meta": "x"}), ("yt-api", "/video/info", {"error": "x", "code": "odd"}),
    ("yt-api", "/video/info", {"status": "fail"}), ("linkedin-fresh", "/api/v1/user/profile", {"data": {}}),
    ("threads-api4", "/api/user/info", {}),
])
def test_an_envelope_that_is_neither_success_nor_known_error_is_a_bad_payload(name, endpoint, body):
    check = next(config.check for members in PROVIDERS.values() for config in members if config.name == name)
    assert check(endpoint, body) == 502


@pytest.mark.parametrize("name, endpoint, body", [
    ("instagram-looter2", "/search", {"users": []}), ("instagram-looter2", "/search", []), ("yt-api", "/search", {"data": []}),
    ("the-old-bird", "/search.php", {"timeline": []}), ("the-old-bird", "/list.php", []),
])
def test_endpoints_whose_envelope_is_not_known_pass(name, endpoint, body):
    check = next(config.check for members in PROVIDERS.values() for config in members if config.name == name)
    assert check(endpoint, body) == 200


def test_dead_content_everywhere_is_not_found_and_nobodys_fault(rapidapi, client):
    for name in TIKTOK:
        rapidapi.fail(name, "dead")
    for _ in range(5):
        with pytest.raises(NotFound):
            client.call(*USER)
    assert all(state["error_count"] == 0 for state in rapidapi.registry.snapshot()["tiktok"].values())


def test_a_check_of_ones_own_and_a_400_from_it_is_not_the_callers(make_client):
    with Upstream(http(b'{"found": false}')) as upstream:
        base_url = upstream.provider().base_url
        for status, error in ((404, NotFound), (400, AllProvidersFailed)):
            config = ProviderConfig("a", "a.example", 1, base_url, check=lambda endpoint, data, status=status: status)
            with pytest.raises(error) as caught:
                make_client(ProviderRegistry({"raw": [config]})).call("raw", "/thing")
            assert not isinstance(caught.value, BadRequest)


# --- quota ---

def test_the_quota_is_told_with_the_result_and_in_the_snapshot(rapidapi, client):
    rapidapi.quota("tiktok-scraper7", 7, limit=500, reset=1000)
    assert client.call(*USER).quota == {"limit": 500, "remaining": 6, "reset": pytest.approx(1000, abs=2)}
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["quota"]["remaining"] == 6
    assert json.loads(json.dumps(rapidapi.registry.snapshot()))
    with Upstream(http()) as upstream:
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY) as other:
            assert other.call("raw", "/thing").quota is None


def test_a_provider_with_none_left_is_asked_last_until_its_reset(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry, matrix=NO_RETRY)
    rapidapi.quota("tiktok-scraper7", 1, reset=1000)
    assert client.call(*USER).provider == "tiktok-scraper7"  # its last one
    assert client.call(*USER).provider == "tiktok-feature"
    for name in TIKTOK[1:]:
        rapidapi.fail(name, 503)
    assert client.call(*USER).provider == "tiktok-scraper7"  # asked last, and answering for money
    assert [provider.name for provider in registry.get_available_providers("tiktok")] == list(TIKTOK)
    rapidapi.recover()
    rapidapi.quota("tiktok-scraper7", 500)
    clock.tick(1001)
    assert client.call(*USER).provider == "tiktok-scraper7"


def test_a_quota_without_a_reset_is_believed_for_an_hour(make_client):
    clock = Clock()
    with Upstream(http(X_RateLimit_Requests_Remaining="0")) as one, Upstream(http()) as two:
        registry = ProviderRegistry({"raw": [one.provider("one", 1), two.provider("two", 2)]}, clock=clock)
        client = make_client(registry)
        assert [client.call("raw", "/thing").provider for _ in range(2)] == ["one", "two"]
        assert registry.snapshot()["raw"]["one"]["quota"] == {"limit": None, "remaining": 0, "reset": None}
        clock.tick(3600)
        assert client.call("raw", "/thing").provider == "one"


@pytest.mark.parametrize("reset, hold", [(600, 600), (2_592_000, 3600)])
def test_a_429_that_is_the_quota_holds_until_the_reset_an_hour_at_a_time(rapidapi, client, reset, hold):
    rapidapi.quota("tiktok-scraper7", 0, reset=reset)
    rapidapi.fail("tiktok-scraper7", "quota")
    result = client.call(*USER)
    assert result.attempts[0].retries == 0 and result.elapsed < 0.5
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["hold_until"] == pytest.approx(hold, abs=2)


def test_the_monitor_leaves_a_provider_with_little_left_alone(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry({"youtube": rapidapi.providers["youtube"]}, clock=clock)
    client = make_client(registry)
    rapidapi.quota("yt-api", 50, limit=500)
    client.call("youtube", *CALLS["youtube"])
    client._interval = 300.0
    clock.tick(301)
    client._monitor._check()
    assert len(rapidapi.requests) == 1
    rapidapi.quota("yt-api", 51, limit=500)
    client.call("youtube", *CALLS["youtube"])
    clock.tick(301)
    client._monitor._check()
    assert len(rapidapi.requests) == 3
    assert client.check_provider_health(["youtube"])["youtube"]["yt-api"]["status"] == "healthy"  # asked for by name


# --- holds ---

def test_a_hold_is_one_line_and_a_success_elsewhere_does_not_end_it(rapidapi, client, caplog):
    rapidapi.fail("tiktok-scraper7", "not-subscribed", times=1)
    for _ in range(3):
        assert client.call(*USER).provider == "tiktok-feature"
    lines = [r.getMessage() for r in caplog.records if "held" in r.getMessage()]
    assert lines == ["tiktok: tiktok-scraper7 is held for 3600 s: tiktok-scraper7: 403 forbidden (You are not subscribed to this API.)"]


def test_a_short_hold_is_waited_for_and_asked_once_more(rapidapi, make_client):
    client = make_client(max_wait=2.0)
    rapidapi.fail("tiktok-scraper7", "burst", times=1)
    result = client.call(*USER)
    assert (result.provider, result.attempts[0].retries) == ("tiktok-scraper7", 1) and 1.0 <= result.elapsed < 2.0


@pytest.mark.parametrize("fault", ["per-minute", "per-hour", "quota"])
def test_a_long_hold_switches_at_once(rapidapi, make_client, fault):
    client = make_client(max_wait=2.0)
    rapidapi.fail("tiktok-scraper7", fault)
    result = client.call(*USER)
    assert result.provider == "tiktok-feature" and result.elapsed < 0.5


@pytest.mark.parametrize("retry_after, hold, faults", [("30", 30, 0), ("0", 0, 1), ("nonsense", 0, 1), ("99999999", 3600, 0)])
def test_a_429_with_a_retry_after(make_client, retry_after, hold, faults):
    with Upstream(http(b"{}", "429 Slow", Retry_After=retry_after)) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider()]}, clock=Clock())
        with pytest.raises(AllProvidersFailed):
            make_client(registry, max_wait=0.0).call("raw", "/thing")
    state = registry.snapshot()["raw"]["raw"]
    assert ((state["hold_until"] or 0), state["error_count"]) == (hold, faults)


def test_a_503_with_a_readable_retry_after_is_a_fault_and_a_hold(make_client):
    with Upstream(http(b"{}", "503 Busy", Retry_After="120")) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider()]}, clock=Clock())
        with pytest.raises(AllProvidersFailed) as caught:
            make_client(registry, matrix=NO_RETRY).call("raw", "/thing")
    state = registry.snapshot()["raw"]["raw"]
    assert (state["hold_until"], state["error_count"], caught.value.retry_after) == (120, 1, 120)


def test_a_hold_is_at_most_the_registrys_max_cooldown(rapidapi, make_client):
    registry = ProviderRegistry(rapidapi.providers, max_cooldown=100, clock=Clock())
    rapidapi.fail("tiktok-scraper7", "delisted")
    make_client(registry).call(*USER)
    assert registry.snapshot()["tiktok"]["tiktok-scraper7"]["hold_until"] == 100


def test_many_threads_in_one_burst_are_one_hold_and_no_fault(rapidapi, make_client):
    """Failing over in a burst trips one-request-a-second plans: that is nobody's outage."""
    client = make_client(max_wait=0.0, coalesce=False)
    rapidapi.fail("tiktok-scraper7", "per-second")
    rapidapi.delay("tiktok-scraper7", 0.2)
    in_threads(20, lambda number: client.call(*USER))
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["error_count"] == 0


# --- nobody's account gets blocked ---

@pytest.mark.parametrize("fault, at_most", [(429, 6), ("burst", 4), ("per-second", 4), ("per-minute", 4), ("per-hour", 1), ("quota", 1)])
def test_a_thousand_calls_within_one_cooldown_reach_a_429_at_most_eight_times(rapidapi, make_client, fault, at_most):
    """Four attempts at most, and each asks once more where the hold is worth a wait (max_wait): eight requests."""
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry, max_wait=0.0)
    rapidapi.fail("tiktok-scraper7", fault)
    for _ in range(1000):
        assert client.call(*USER).provider == "tiktok-feature"
        clock.tick(0.9)
    reached = [request.provider for request in rapidapi.requests].count("tiktok-scraper7")
    assert 1 <= reached <= at_most


def test_a_thousand_calls_against_a_400_are_a_thousand_answers(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 400)
    for _ in range(1000):
        with pytest.raises(BadRequest):
            client.call(*USER)
    assert len(rapidapi.requests) == 1000


# --- anything at all ---

NUMBERS = st.one_of(st.integers(-10, 10 ** 12).map(str), st.text(max_size=12), st.floats().map(str))
HEADER_NAMES = st.sampled_from([
    "Retry-After", "Date", "x-ratelimit-requests-remaining", "X-RateLimit-Requests-Reset", "x-ratelimit-requests-limit",
    "x-ratelimit-units-remaining", "x-ratelimit-remaining", "x-ratelimit-reset", "X-RapidAPI-Proxy-Response", "Content-Type",
    "Location", "Set-Cookie", "Transfer-Encoding", "Content-Encoding", "Connection", "X-Odd"])
MESSAGES = st.sampled_from([
    "Too many requests", "You have exceeded the MONTHLY quota for Requests", "rate limit per minute", "Blocked User",
    "You are not subscribed to this API.", "API doesn't exists", "Endpoint '/x' does not exist", "Invalid API key", ""])
JSON = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), MESSAGES),
                    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(
                        st.one_of(st.sampled_from(["message", "messages", "info", "code", "data", "status", "good"]),
                                  st.text(max_size=5)), inner, max_size=4)), max_leaves=8)
BODIES = st.one_of(st.binary(max_size=100), JSON.map(lambda data: json.dumps(data).encode("utf-8", "surrogatepass")))


def only_good(endpoint, data):
    return 200 if isinstance(data, dict) and data.get("good") else 502


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(status=st.integers(100, 999), headers=st.lists(st.tuples(HEADER_NAMES, NUMBERS), max_size=5), body=BODIES)
def test_only_a_result_or_a_failover_error_comes_out(status, headers, body):
    """Arbitrary statuses, headers and bodies over a socket; no hold beyond the cap; only what passes its check is kept."""
    lines = [f"{name}: {value}".encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"") for name, value in headers]
    answer = b"\r\n".join([f"HTTP/1.1 {status} X".encode(), b"Content-Length: %d" % len(body), b"Connection: close",
                           *lines, b"", body])
    with Upstream(answer) as upstream:
        config = ProviderConfig("raw", "raw.example", 1, upstream.provider().base_url, check=only_good)
        registry = ProviderRegistry({"raw": [config]})
        with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, max_wait=0.0, timeout=1.0, refresh=False) as client:
            try:
                result = client.call("raw", "/thing")
            except FailoverError:
                assert len(client.cache) == 0
            else:
                assert isinstance(result, Result) and only_good("", result.data) == 200
            state = registry.snapshot()["raw"]["raw"]
            assert 0 <= (state["hold_until"] or 0) <= 3600
            json.dumps(state, allow_nan=False)


def test_a_quota_that_resets_soon_is_not_waited_for(rapidapi, make_client):
    client = make_client(max_wait=5.0)
    rapidapi.quota("tiktok-scraper7", 0, reset=1.9)
    rapidapi.fail("tiktok-scraper7", "quota")
    result = client.call(*USER)
    assert result.provider == "tiktok-feature" and result.attempts[0].retries == 0 and result.elapsed < 1.0


def test_no_retry_of_a_429_that_would_be_too_late(rapidapi, make_client):
    client = make_client()
    rapidapi.fail("tiktok-scraper7", "per-second")
    rapidapi.delay("tiktok-scraper7", 0.3)
    result = client.call(*USER, timeout=0.5)
    assert [attempt.action for attempt in result.attempts] == ["rate limited", "success"]
    assert result.attempts[0].retries == 0
    assert client.registry.snapshot()["tiktok"]["tiktok-scraper7"]["hold_until"] > 0
