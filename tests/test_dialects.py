"""Each provider in its own dialect: what goes over the wire, and one shape whoever answers."""

import json

import pytest
import responses
from conftest import KEY, NO_RETRY, Upstream, http

from rapidfailover import (
    AllProvidersFailed,
    BadRequest,
    FailoverClient,
    InvalidEndpoint,
    NotFound,
    ProviderConfig,
    ProviderRegistry,
    Route,
)
from rapidfailover.catalog import PROVIDERS

LINK = "https://www.linkedin.com/in/ada-example"

# rapidapi.md, "The hosts": what is asked of the platform, who, and what goes over the wire to each provider
PROFILES = {
    "tiktok": ("/user/info", {"unique_id": "ada"}, [
        ("tiktok-scraper7", "GET", "/user/info", {"unique_id": "ada"}, None),
        ("tiktok-feature", "GET", "/user/info", {"unique_id": "ada"}, None),
    ]),
    "instagram": ("/profile", {"username": "ada"}, [
        ("instagram-looter2", "GET", "/profile", {"username": "ada"}, None),
        ("instagram-stats", "GET", "/community", {"url": "https://www.instagram.com/ada/"}, None),
    ]),
    "linkedin": ("/person_deep", {"link": LINK}, [
        ("linkedin-realtime", "POST", "/person_deep", {}, {"link": LINK}),
        ("linkedin-fresh", "GET", "/api/v1/user/profile", {"username": "ada-example"}, None),
    ]),
}
REQUIRED = {
    "tiktok": ["data.user.uniqueId", "data.user.nickname", "data.stats.followerCount", "data.stats.videoCount"],
    "instagram": ["username", "full_name", "is_verified", "edge_followed_by.count"],
    "linkedin": ["data.firstName", "data.publicIdentifier"],
}
SWITCHING = [302, 403, 404, 410, 429, 500, 502, 503, 504, 408, 999, "html", "empty", "cut", "hang", "disconnect", "soft-error",
             "disabled-endpoint", "blocked", "not-subscribed", "no-endpoint", "delisted", "quota", "per-second", "per-hour", "burst",
             "unreachable", "too-slow", "timeout-in-200", "gateway-fault", "refused"]


def field(data, path):
    for name in path.split("."):
        data = data[name]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("fault", SWITCHING)
@pytest.mark.parametrize("platform", PROFILES)
def test_the_profile_comes_fresh_from_the_next_provider(rapidapi, client, platform, fault):
    endpoint, params, (primary, secondary) = PROFILES[platform]
    expected = client.call(platform, endpoint, params).data
    rapidapi.refuse(primary[0]) if fault == "refused" else rapidapi.fail(primary[0], fault)
    del rapidapi.requests[:]
    result = client.call(platform, endpoint, params, timeout=1.0)
    assert result.provider == secondary[0] and not result.stale
    for path in REQUIRED[platform]:
        assert field(result.data, path) == field(expected, path), path
    wire = [(r.provider, r.method, r.path, r.params, json.loads(r.body) if r.body else None) for r in rapidapi.requests]
    assert wire[-1] == secondary and set(map(str, wire[:-1])) <= {str(primary)}


def test_what_is_cached_is_the_one_shape(rapidapi, client):
    rapidapi.fail("instagram-looter2", 503)
    fresh = client.call("instagram", "/profile", {"username": "ada"})
    rapidapi.fail("instagram-stats", 503)
    copy = client.call("instagram", "/profile", {"username": "ada"})
    assert copy.stale and copy.provider == "instagram-stats" and copy.data == fresh.data


def test_no_id_of_one_provider_crosses_to_another(rapidapi, client):
    for primary in ("instagram-looter2", "linkedin-realtime"):
        rapidapi.fail(primary, 503)
    assert set(client.call("instagram", "/profile", {"username": "ada"}).data) == {
        "status", "username", "full_name", "is_verified", "edge_followed_by", "biography", "profile_pic_url_hd"}
    assert set(client.call("linkedin", "/person_deep", {"link": LINK}).data["data"]) == {"firstName", "publicIdentifier"}


def test_what_a_provider_does_not_have_is_not_added():
    assert adapted("instagram-stats", "/profile", {"meta": {"code": 200}, "data": {"name": "Ada", "cid": "INST:7"}}) == {
        "status": True, "full_name": "Ada"}
    assert adapted("instagram-stats", "/post", {"meta": {"code": 200}, "data": {"likes": 3, "comments": None}}) == {
        "status": True, "edge_media_preview_like": {"count": 3}}
    assert adapted("linkedin-fresh", "/person_deep", {"success": True, "data": {"urn": "x", "username": "ada"}}) == {
        "success": True, "data": {"publicIdentifier": "ada"}}
    assert adapted("linkedin-fresh", "/company", {"success": True, "data": {"id": "1", "name": "Acme", "website": "u"}}) == {
        "success": True, "data": {"companyName": "Acme", "websiteUrl": "u"}}


@pytest.mark.parametrize("name, payload", [
    ("instagram-stats", {"data": []}), ("instagram-stats", {"data": {}}), ("instagram-stats", {"data": "x"}),
    ("instagram-stats", {"data": {"screenName": None}}), ("instagram-stats", {"data": {"error": "no such account"}}),
    ("linkedin-fresh", {"data": []}), ("linkedin-fresh", {"data": {}}), ("linkedin-fresh", {"data": {"urn": "x"}}),
    ("tiktok-feature", {"data": {}}), ("tiktok-feature", {"data": {"user": None}}), ("tiktok-feature", {"data": {"user": {"unique_id": ""}}}),
])
def test_a_200_without_an_account_is_a_bad_payload_and_hides_no_good_copy(name, payload):
    config, = (config for members in PROVIDERS.values() for config in members if config.name == name)
    for adapt in {route.adapt for route in config.routes.values() if route.adapt}:
        with pytest.raises((ValueError, TypeError, AttributeError)):
            adapt(payload)


def adapted(name, endpoint, payload):
    config, = (config for members in PROVIDERS.values() for config in members if config.name == name)
    return config.routes[endpoint].adapt(payload)


def test_a_camel_case_user_of_tiktok_feature_keeps_its_own_fields():
    user = {"uniqueId": "ada", "ins_id": "", "twitter_id": "7", "unique_id": ""}
    assert adapted("tiktok-feature", "/user/info", {"data": {"user": user}}) == {"data": {"user": user}}


def test_the_mobile_pictures_of_tiktok_feature_are_links():
    user = {"unique_id": "ada", "avatar_larger": {"url_list": ["https://x.invalid/1", "https://x.invalid/2"]}, "avatar_thumb": {"url_list": []}}
    assert adapted("tiktok-feature", "/user/info", {"data": {"user": user}})["data"]["user"] == {
        "uniqueId": "ada", "avatarLarger": "https://x.invalid/1", "avatarThumb": {"url_list": []}}


@pytest.mark.parametrize("person, names", [
    ({"full_name": "Ada Example"}, {"firstName": "Ada", "lastName": "Example"}), ({"full_name": "Ada"}, {"firstName": "Ada"}),
    ({"full_name": "Ada van Example", "username": "ada"}, {"firstName": "Ada", "lastName": "van Example", "publicIdentifier": "ada"}),
    ({"full_name": "Other Name", "first_name": "Ada"}, {"firstName": "Ada"}), ([{"first_name": "Ada"}], {"firstName": "Ada"}),
    ({"data": {"first_name": "Ada"}}, {"firstName": "Ada"}),
])
def test_a_person_of_linkedin_fresh_may_come_with_a_full_name_alone_or_nested(person, names):
    assert adapted("linkedin-fresh", "/person_deep", {"success": True, "data": person})["data"] == names


def test_a_number_is_said_in_every_dialect(rapidapi, client):
    rapidapi.fail("instagram-looter2", 503)
    assert client.call("instagram", "/profile", {"username": 123}).provider == "instagram-stats"


def test_tiktok_feature_may_answer_in_snake_case(make_client):
    body = {"code": 0, "data": {"user": {"unique_id": "ada", "avatar_larger": "u", "sec_uid": "s", "id": "1"},
                                "stats": {"follower_count": 7, "heartCount": 9}, "other": 1}}
    with Upstream(http(b"{}", "503 No")) as one, Upstream(http(json.dumps(body).encode())) as two:
        feature = next(config for config in PROVIDERS["tiktok"] if config.name == "tiktok-feature")
        registry = ProviderRegistry({"tiktok": [one.provider(), ProviderConfig(
            "two", "two.example", 2, two.provider().base_url, routes=feature.routes, check=feature.check)]})
        data = make_client(registry, matrix=NO_RETRY).call_with_failover("tiktok", "/user/info", {"unique_id": "ada"})
    assert data["data"] == {"user": {"uniqueId": "ada", "avatarLarger": "u", "secUid": "s", "id": "1"},
                            "stats": {"followerCount": 7, "heartCount": 9}, "other": 1}


# --- endpoints outside the map ---

@pytest.mark.parametrize("platform, endpoint, params", [
    ("instagram", "/user-feeds", {"id": "7"}), ("instagram", "/reels", {"id": "7"}),
    ("linkedin", "/profile_updates", {"profile_url": LINK}),
])
def test_what_takes_an_id_or_is_not_mapped_is_served_by_the_first_provider_alone(rapidapi, client, platform, endpoint, params):
    first, second = [config.name for config in rapidapi.providers[platform]]
    assert client.call(platform, endpoint, params).provider == first
    rapidapi.fail(first, 503)
    result = client.call(platform, endpoint, params)
    assert result.stale  # the copy: nobody else was asked
    assert [(a.provider, a.action, a.detail) for a in result.attempts] == [
        (first, "unavailable", "Service Unavailable"), (second, "skipped", f"does not serve {endpoint}")]
    assert {request.provider for request in rapidapi.requests} == {first}
    assert result.attempts[1].status is None and result.attempts[1].elapsed == 0.0


def test_on_tiktok_every_provider_serves_every_endpoint(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 503)
    assert client.call("tiktok", "/user/posts", {"unique_id": "ada"}).provider == "tiktok-feature"
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("tiktok", "/music/info", {"url": "u"})
    assert [(a.provider, a.status, a.action) for a in caught.value.attempts[1:]] == [
        ("tiktok-feature", 404, "forbidden"), ("tiktok-tikwm", 404, "forbidden")]


def test_not_found_counts_those_that_serve_the_endpoint(rapidapi, client):
    rapidapi.fail("instagram-looter2", 404)
    with pytest.raises(NotFound):
        client.call("instagram", "/reels", {"id": "u"})
    rapidapi.fail("instagram-stats", "dead")
    with pytest.raises(NotFound):
        client.call("instagram", "/profile", {"username": "nobody"})


def test_the_first_provider_keeps_what_nobody_maps_even_when_it_is_out(rapidapi, client):
    rapidapi.registry.hold("instagram", "instagram-looter2", 60)
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("instagram", "/user-feeds", {"id": "7"})
    assert type(caught.value).__name__ == "NoProvidersAvailable" and 59 < caught.value.retry_after <= 60
    assert rapidapi.requests == []


# --- 400 ---

def test_a_400_from_a_mapped_route_is_ours_not_the_callers(rapidapi, client):
    rapidapi.fail("instagram-looter2", 503)
    rapidapi.fail("instagram-stats", 400)
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("instagram", "/profile", {"username": "ada"})
    assert [(a.status, a.action) for a in caught.value.attempts] == [(503, "unavailable"), (400, "forbidden")]
    assert caught.value.attempts[1].detail == "our route was refused: Bad Request"
    state = rapidapi.registry.snapshot()["instagram"]["instagram-stats"]
    assert (state["error_count"], state["endpoints"]) == (0, {})


def test_a_400_from_a_mapped_route_is_no_opinion_on_what_another_has_not_found(rapidapi, client):
    rapidapi.fail("linkedin-realtime", "dead")
    rapidapi.fail("linkedin-fresh", 400)  # its word for a name that does not exist
    with pytest.raises(NotFound):
        client.call("linkedin", "/person_deep", {"link": LINK})


def test_a_400_to_the_callers_own_words_is_the_callers_in_a_body_too(rapidapi, client):
    rapidapi.fail("linkedin-realtime", 400)
    with pytest.raises(BadRequest):
        client.call("linkedin", "/person_deep", {"link": LINK})


@pytest.mark.parametrize("link", ["ada", "https://www.linkedin.com/company/acme", "https://www.linkedin.com/in/", 7])
def test_params_that_a_route_cannot_say_skip_its_provider(rapidapi, client, link):
    rapidapi.fail("linkedin-realtime", 503)
    with pytest.raises(AllProvidersFailed) as caught:
        client.call("linkedin", "/person_deep", {"link": link})
    assert caught.value.attempts[1].action == "skipped" and "dialect" in caught.value.attempts[1].detail
    assert [request.provider for request in rapidapi.requests] == ["linkedin-realtime"]


# --- routes of one's own ---

def serve(upstream, routes, **options):
    config = ProviderConfig("a", "a.example", 1, upstream.provider().base_url, routes=routes)
    with FailoverClient(ProviderRegistry({"raw": [config]}), api_key=KEY, matrix=NO_RETRY, refresh=False, **options) as client:
        return client.call_with_failover("raw", "/thing", {"q": "1", "n": 2})


def test_method_path_query_and_body_are_the_routes():
    with Upstream(http()) as upstream:
        serve(upstream, {"/thing": Route("/v2/find", "PUT", params=lambda p: {"term": p["q"]}, json=lambda p: {"max": p["n"]})})
        serve(upstream, {"/thing": Route("/v2/find", json=lambda p: p)})
        serve(upstream, {"/thing": Route("/v2/find")})
        serve(upstream, {"/other": Route("/v2/find")})
    lines = [head.decode().split("\r\n")[0] for head in upstream.received]
    assert lines == ["PUT /v2/find?term=1 HTTP/1.1", "GET /v2/find HTTP/1.1", "GET /v2/find?n=2&q=1 HTTP/1.1", "GET /thing?n=2&q=1 HTTP/1.1"]
    assert b"content-type: application/json" in upstream.received[0].lower()


@pytest.mark.parametrize("adapt, why", [
    (lambda data: data["missing"], "KeyError"), (lambda data: object(), "TypeError"), (lambda data: float("nan"), "ValueError"),
    (lambda data: "text", "neither an object"), (lambda data: None, "neither an object"),
])
def test_a_payload_that_cannot_be_adapted_is_a_bad_one(adapt, why):
    with Upstream(http()) as upstream:
        with pytest.raises(AllProvidersFailed, match=f"200 bad gateway .bad payload: its adapt .*{why}"):
            serve(upstream, {"/thing": Route("/v2", adapt=adapt)})


@pytest.mark.parametrize("routes, error", [
    ({"/thing": "/v2"}, ValueError), ({"/thing": Route("/x", method=5)}, ValueError), ({"/thing": Route("/x", "GE T")}, ValueError), ({"/thing": Route("//evil.example/")}, InvalidEndpoint), ({"thing": Route("/v2")}, InvalidEndpoint),
])
def test_a_route_that_could_lead_off_the_host_is_refused(routes, error):
    with pytest.raises(error):
        ProviderRegistry({"raw": [ProviderConfig("a", "a.example", 1, routes=routes)]})


def test_a_health_probe_speaks_the_dialect_too(rapidapi, client):
    health = client.check_provider_health(["instagram", "linkedin"])
    assert {told["status"] for members in health.values() for told in members.values()} == {"healthy"}
    config = ProviderConfig("more", "yt-api.p.rapidapi.com", 9, rapidapi.providers["youtube"][0].base_url, routes={})
    rapidapi.registry.add("youtube", config)
    assert client.check_provider_health(["youtube"])["youtube"]["more"]["error"] == "not asked: it does not serve /video/info"


@responses.activate
def test_the_weather_of_the_docs_is_asked_in_three_dialects():
    """The example itself runs with the other blocks of the docs; here is what it sends."""
    from test_docs import BLOCKS, weather
    weather(responses)
    block, = [block for block in BLOCKS["docs/own-providers.md"] if "client.call" in block.text]
    exec(block.text, {})
    sunny, rainy, windy = "https://sunny-weather.p.rapidapi.com/current?city=", "https://api.rainy.example/v2/now?q=", "https://windy.example/forecast?place="
    assert list(dict.fromkeys(call.request.url for call in responses.calls)) == [
        f"{sunny}Oslo", f"{sunny}Rome", f"{rainy}Rome", f"{sunny}Lima", f"{rainy}Lima", f"{windy}Lima"]
