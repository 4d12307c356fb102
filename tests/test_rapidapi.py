"""RapidAPI's own words through the whole client: quotas, holds, errors inside a 200, and what reaches a provider."""

import dataclasses
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
SOFT = {"yt-api": "forbidden", "instagram-stats": "server error"}  # they send a code of their own
PROFILE_PATHS = {"instagram-stats": ("/community", {"url": "https://www.instagram.com/ada/"}),
                 "linkedin-fresh": ("/api/v1/user/profile", {"username": "ada"})}


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_of_the_catalogue_serves_its_profile(rapidapi, name):
    platform, client = alone(rapidapi, name)
    with client:
        assert client.call(platform, *(PROFILE_PATHS.get(name) or CALLS[platform])).provider == name


@pytest.mark.parametrize("name", NAMES)
def test_every_providers_own_error_inside_a_200_is_seen(rapidapi, name):
    platform, client = alone(rapidapi, name)
    rapidapi.fail(name, "soft-error")
    with client, pytest.raises(AllProvidersFailed) as caught:
        client.call(platform, *(PROFILE_PATHS.get(name) or CALLS[platform]))
    attempt, = caught.value.attempts
    assert (attempt.status, attempt.action) == (200, SOFT.get(name, "bad gateway"))
    assert len(client.cache) == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_providers_word_for_dead_content_is_not_found_and_no_fault(rapidapi, name):
    """Three visitors who type a name that does not exist close a platform to nobody."""
    platform, client = alone(rapidapi, name)
    question = PROFILE_PATHS.get(name) or CALLS[platform]
    with client:
        assert not client.call(platform, *question).stale
        rapidapi.fail(name, "dead", times=4)
        for _ in range(4):
            with pytest.raises(NotFound) as caught:
                client.call(platform, *question)
            attempt, = caught.value.attempts
            assert (attempt.status, attempt.action) == (200, "not found")
        state = client.registry.snapshot()[platform][name]
        assert (state["error_count"], state["circuit"], state["hold_until"]) == (0, "closed", None)
        rapidapi.fail(name, 503, times=1)
        with pytest.raises(AllProvidersFailed):
            client.call(platform, *question)  # the copy is gone too
        assert client.call(platform, *question).provider == name


CHECKS = {config.name: config.check for members in PROVIDERS.values() for config in members}
ENDPOINTS = [
    *[(name, endpoint) for name in TIKTOK for endpoint in ("/user/info", "/user/posts", "/")],
    *[("instagram-looter2", endpoint) for endpoint in ("/profile", "/user-feeds", "/post")],
    *[("instagram-stats", endpoint) for endpoint in ("/profile", "/community", "/posts/one", "/posts")],
    *[("yt-api", endpoint) for endpoint in ("/video/info", "/channel/about", "/channel/videos")],
    *[("the-old-bird", endpoint) for endpoint in ("/screenname.php", "/timeline.php", "/tweet.php")],
    *[(name, "/person_deep") for name in ("linkedin-realtime", "linkedin-fresh")], ("linkedin-fresh", "/api/v1/user/profile"),
    *[("threads-api4", endpoint) for endpoint in ("/api/user/info", "/api/user/posts", "/api/post/detail")],
]


@pytest.mark.parametrize("name, endpoint", ENDPOINTS)
@pytest.mark.parametrize("body, meant", [
    ({}, 502), ([], 502), ([{}], 502), ({"message": ""}, 502), ({"message": "Forbidden"}, 502), ({"error": "Something has gone wrong"}, 502),
    ({"message": "You have exceeded the limit"}, 429), ({"msg": "Too many visitors"}, 429), ({"error": "This account is private"}, 404),
    ({"data": None, "message": "not found"}, 404), ({"ok": None}, None),
])
def test_what_is_no_profile_is_none_whoever_says_so(name, endpoint, body, meant):
    if meant is None:
        meant = 200 if name == "instagram-looter2" else 502  # its fields= may leave anything
    assert CHECKS[name](endpoint, body) == meant


@pytest.mark.parametrize("name, endpoint, body", [
    ("tiktok-scraper7", "/user/info", {"data": {}}), ("tiktok-scraper7", "/user/info", {"code": 0}), ("tiktok-scraper7", "/user/info", {"code": 0, "data": {}}),
    ("tiktok-scraper7", "/user/info", {"code": 0, "data": {"user": {"nickname": ""}}}), ("tiktok-scraper7", "/user/posts", {"code": 0, "data": []}),
    ("tiktok-scraper7", "/", {"code": 0, "data": []}), ("tiktok-scraper7", "/user/info", {"code": False, "data": {"user": {"id": "1"}}}),
    ("tiktok-scraper7", "/x", {"code": 404, "msg": ""}), ("tiktok-scraper7", "/x", {"code": -1, "msg": None}),
    ("instagram-looter2", "/profile", {"status": True}), ("instagram-looter2", "/user-feeds", {"status": "ok"}),
    ("instagram-looter2", "/profile", {"status": "fail", "message": ""}), ("instagram-looter2", "/profile", {"message": "Internal error", "code": 5}), ("instagram-looter2", "/search", {"status": False, "users": []}),
    ("instagram-looter2", "/profile", {"status": 200, "body": {"status": False}}), ("instagram-looter2", "/profile", {"status": 200, "body": {}}),
    ("instagram-stats", "/community", {"meta": {"code": 200}}), ("instagram-stats", "/community", {"meta": {"code": 200}, "data": {}}),
    ("instagram-stats", "/community", {"meta": "x"}), ("instagram-stats", "/community", {"meta": {"code": 400, "message": "bad"}}),
    ("yt-api", "/video/info", {"error": "x", "code": "odd"}), ("yt-api", "/video/info", {"status": "FAIL", "id": "v"}),
    ("the-old-bird", "/screenname.php", {"status": "active"}), ("the-old-bird", "/screenname.php", {"status": "error", "rest_id": "1"}),
    ("linkedin-fresh", "/api/v1/user/profile", {"data": {}}), ("linkedin-fresh", "/person_deep", {"success": True, "message": "success", "data": {"urn": "u"}}),
    ("linkedin-realtime", "/person_deep", {"success": True, "data": []}), ("linkedin-realtime", "/person_deep", {"success": "true", "data": {"firstName": "A"}}),
    ("threads-api4", "/api/user/info", {"data": {}}), ("threads-api4", "/api/user/info", {"data": {"user": {}}}),
    ("threads-api4", "/api/user/info", {"data": {"user": None}, "errors": [{"description": "Internal"}]}), ("threads-api4", "/api/user/info", {"errors": ["x"]}),
])
def test_an_envelope_that_is_neither_success_nor_known_error_is_a_bad_payload(name, endpoint, body):
    assert CHECKS[name](endpoint, body) == 502


@pytest.mark.parametrize("name, endpoint, body", [
    ("instagram-looter2", "/search", {"users": []}), ("instagram-looter2", "/search", []), ("yt-api", "/search", {"data": []}),
    ("the-old-bird", "/search.php", {"timeline": []}), ("the-old-bird", "/list.php", []), ("tiktok-scraper7", "/music/info", {"code": 0, "data": []}),
])
def test_endpoints_whose_envelope_is_not_known_pass(name, endpoint, body):
    assert CHECKS[name](endpoint, body) == 200


@pytest.mark.parametrize("endpoint, body", [
    ("/profile", {"username": "ada"}), ("/profile", {"biography": ""}), ("/user-feeds", {"more_available": False}), ("/post", {"id": "1"}),
    ("/profile", {"status": "ok", "id": "1"}), ("/profile", {"status": 200, "body": {"username": "ada"}}), ("/profile", {"message": "", "id": "1"}),
    ("/post", {"status": True, "message": "success", "id": "1"}),
])
def test_the_fields_that_a_caller_of_looter2_asks_for_are_enough(endpoint, body):
    assert CHECKS["instagram-looter2"](endpoint, body) == 200


@pytest.mark.parametrize("status, meant", [("notfound", 404), ("suspended", 404), ("active", 200), (None, 200)])
def test_an_account_of_the_old_bird_is_active_or_there_is_none(status, meant):
    assert CHECKS["the-old-bird"]("/screenname.php", {"status": status, "profile": "ada"}) == meant
    assert CHECKS["the-old-bird"]("/tweet.php", {"status": status, "id": "1"}) == (404 if status == "notfound" else 200)


# --- the words of an error inside a 200 ---

@pytest.mark.parametrize("words, meant", [
    # gone, private, not existing, invalid id
    ("unique_id is invalid", 404), ("userinfo is failed", 404), ("Url parsing is failed! Please check url.", 404), ("User not found", 404),
    ("USER_NOT_FOUND", 404), ("The media not exist or the owner is private", 404), ("This user doesn't exist.", 404), ("The user doesn’t exist", 404),
    ("the video does not\nexist", 404), ("This account is private", 404), ("Video unavailable", 404), ("Sorry, this page isn't available.", 404),
    ("The post was deleted", 404), ("Account suspended", 404), ("Invalid username", 404), ("invalid user_id", 404), ("Could not find profile", 404),
    ("API error: User not found", 404), ("Profile not found or invalid username", 404), ("This post no longer exists", 404), ("It is gone.", 404),
    # limits
    ("Free Api Limit: 1 request/second.", 429), ("Daily quota reached", 429), ("Too many attempts", 429), ("rate-limited", 429), ("RATE_LIMIT_EXCEEDED", 429),
    ("User not found: rate limit exceeded", 429),
    # anything else, and what sounds like the first and is trouble of the provider's own
    ("", 502), (" ", 502), ("Internal error", 502), ("Failed to fetch content", 502), ("Something has gone wrong", 502), ("Service unavailable", 502),
    ("Invalid API key", 502), ("invalid session_id", 502), ("Session not found", 502), ("device_id is invalid", 502), ("Endpoint not found", 502),
    ('relation "users" does not exist', 502), ("table doesn't exist", 502), ("Your account has been suspended", 502), ("No such file", 502),
    ("Profile temporarily unavailable: server not found", 502), ("Invalid user agent", 502), ("unlimited", 502), ("video available", 502),
    ("This endpoint was removed", 502), ("proxy does not exist", 502), ("invalid response", 502), ("Cannot find module 'x'", 502),
    ("The requested URL was not found on this server.", 502),
])
@pytest.mark.parametrize("name, envelope", [
    ("tiktok-scraper7", lambda words: {"code": -1, "msg": words}), ("instagram-looter2", lambda words: {"status": False, "errorMessage": words}),
    ("instagram-looter2", lambda words: {"status": False, "message": words}), ("instagram-stats", lambda words: {"meta": {"code": 400, "message": words}}),
    ("yt-api", lambda words: {"error": words or "x", "status": "fail"}), ("linkedin-fresh", lambda words: {"success": False, "messages": words}),
    ("threads-api4", lambda words: {"errors": [{"code": 1}, {"description": words}]}), ("the-old-bird", lambda words: {"status": "error", "message": words}),
])
def test_an_error_inside_a_200_is_read_by_its_words(name, envelope, words, meant):
    assert CHECKS[name]("/x", envelope(words)) == meant


@pytest.mark.parametrize("code, words, meant", [
    ("403", "Forbidden", 403), (404, "", 404), (429, "", 429), (403, "This video is private", 404), (500, "Video unavailable", 404), (401, "x", 502),
    (400, "x", 502), (200, "x", 502), (None, "x", 502), ([], "x", 502),
])
def test_where_the_words_say_nothing_the_envelopes_own_code_does(code, words, meant):
    assert CHECKS["yt-api"]("/video/info", {"error": words or True, "code": code}) == meant
    assert CHECKS["instagram-stats"]("/profile", {"meta": {"code": code, "message": words}}) == meant


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


@pytest.mark.parametrize("overage", [False, True])
def test_a_provider_with_none_left_is_left_alone_until_its_reset_or_asked_last_for_money(rapidapi, make_client, overage):
    clock = Clock()
    registry = ProviderRegistry({platform: [dataclasses.replace(provider, overage=overage) for provider in providers]
                                 for platform, providers in rapidapi.providers.items()}, clock=clock)
    client = make_client(registry, matrix=NO_RETRY, refresh=False)
    rapidapi.quota("tiktok-scraper7", 1, reset=1000)
    assert client.call(*USER).provider == "tiktok-scraper7"  # its last one
    assert client.call(*USER).provider == "tiktok-feature"
    for name in TIKTOK[1:]:
        rapidapi.fail(name, 503)
    assert client.call(*USER).stale != overage
    assert [one.name for one in registry.get_available_providers("tiktok")] == list(TIKTOK[not overage:])
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
    client._interval = 300.0  # no thread of its own: the test is the thread
    clock.tick(301)
    client._monitor._check()  # what that thread does at each interval
    assert len(rapidapi.requests) == 1
    rapidapi.quota("yt-api", 51, limit=500)
    client.call("youtube", *CALLS["youtube"])
    clock.tick(301)
    client._monitor._check()  # what that thread does at each interval
    assert len(rapidapi.requests) == 3
    assert client.check_provider_health(["youtube"])["youtube"]["yt-api"]["status"] == "healthy"  # asked for by name


# --- holds ---

def test_a_hold_is_one_line_and_a_success_elsewhere_does_not_end_it(rapidapi, client, caplog):
    rapidapi.fail("tiktok-scraper7", "not-subscribed", times=1)
    for _ in range(3):
        assert client.call(*USER).provider == "tiktok-feature"
    lines = [r.getMessage() for r in caplog.records if "held" in r.getMessage()]
    assert lines == ["tiktok: tiktok-scraper7 is held for 3600 s: tiktok-scraper7: 403 forbidden "
                     "(You are not subscribed to this API. (tiktok-scraper7.p.rapidapi.com))"]


@pytest.mark.slow
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

@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(status=st.integers(100, 999), headers=st.lists(st.tuples(HEADER_NAMES, NUMBERS), max_size=5), body=BODIES)
def test_only_a_result_or_a_failover_error_comes_out(status, headers, body):
    """Arbitrary statuses, headers and bodies over a socket; no hold beyond the cap; only what passes its check is kept."""
    lines = [f"{name}: {value}".encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"") for name, value in headers]
    answer = b"\r\n".join([f"HTTP/1.1 {status} X".encode(), b"Content-Length: %d" % len(body), b"Connection: close",
                           *lines, b"", body])
    with Upstream(answer) as upstream:
        config = ProviderConfig("raw", "raw.p.rapidapi.com", 1, upstream.provider().base_url, check=only_good)
        registry = ProviderRegistry({"raw": [config]})
        with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, max_wait=0.0, timeout=1.0, refresh=False) as client:
            try:
                result = client.call("raw", "/thing")
            except NotFound:
                pass  # remembers that there is none
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
