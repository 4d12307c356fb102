"""The catalogue's data about its endpoints: their pages, who serves them, and that nothing of it contradicts itself."""

import json
from pathlib import Path

import pytest
from catalogue import CATALOGUE
from conftest import NO_RETRY

from rapidfailover import FailoverClient
from rapidfailover.catalog import PROVIDERS, paging, serving
from rapidfailover.guide import GUIDE, POST, look

ALL = [told for endpoints in GUIDE.values() for told in endpoints.values()]


@pytest.mark.parametrize("platform, endpoint, params, data, following", [
    ("tiktok", "/user/posts", {"unique_id": "a"}, {"data": {"cursor": "17", "hasMore": True}}, {"unique_id": "a", "cursor": "17"}),
    ("tiktok", "/user/posts", {"unique_id": "a", "cursor": "3"}, {"data": {"cursor": "17", "hasMore": 1}}, {"unique_id": "a", "cursor": "17"}),
    ("tiktok", "/user/posts", {}, {"data": {"cursor": "17", "hasMore": False}}, None), ("tiktok", "/comment/list", {}, {"data": {"cursor": 20, "hasMore": 0}}, None),
    ("tiktok", "/feed/search", {}, {"data": {"cursor": 20, "hasMore": True}}, {"cursor": 20}),
    ("tiktok", "/user/followers", {"user_id": "1"}, {"data": {"time": 99, "hasMore": True}}, {"user_id": "1", "time": 99}),
    ("tiktok", "/user/following", {"user_id": "1"}, {"data": {"time": 99, "hasMore": False}}, None),
    ("instagram", "/user-feeds", {"id": "1"}, {"items": [], "next_max_id": "Q", "more_available": True}, {"id": "1", "max_id": "Q"}),
    ("instagram", "/user-feeds", {"id": "1"}, {"items": [], "more_available": False}, None),
    ("instagram", "/user-feeds", {}, {"status": 200, "body": {"next_max_id": "Q", "more_available": True}}, {"max_id": "Q"}),
    ("instagram", "/reels", {}, {"items": [], "paging_info": {"max_id": "Q", "more_available": True}}, {"max_id": "Q"}),
    ("instagram", "/reels", {}, {"items": [], "paging_info": {"max_id": "Q", "more_available": False}}, None),
    ("instagram", "/user-tags", {}, {"page_info": {"end_cursor": "E", "has_next_page": True}}, {"end_cursor": "E"}),
    ("instagram", "/tag-feeds", {}, {"data": {"hashtag": {"page_info": {"end_cursor": "E"}}}}, {"end_cursor": "E"}),
    ("instagram", "/user-feeds2", {}, {"page_info": {"end_cursor": "E", "has_next_page": False}}, None),
    ("youtube", "/channel/videos", {"id": "U"}, {"continuation": "4q", "data": []}, {"id": "U", "token": "4q"}), ("youtube", "/channel/videos", {}, {"data": []}, None),
    ("youtube", "/playlist", {"id": "P"}, {"continuation": "4q"}, {"id": "P", "token": "4q"}),
    ("twitter", "/timeline.php", {"screenname": "a"}, {"next_cursor": "c"}, {"screenname": "a", "cursor": "c"}), ("twitter", "/followers.php", {}, {"next_cursor": ""}, None),
    ("linkedin", "/profile_updates", {"profile_url": "u"}, {"response": [1]}, {"profile_url": "u", "page": 2}),
    ("linkedin", "/profile_updates", {"page": "4"}, {"response": [1]}, {"page": 5}), ("linkedin", "/company_updates", {"page": 4}, {"response": []}, None),
    ("linkedin", "/api/v1/user/posts", {}, {"data": [1], "has_more": True}, {"page": 2}), ("linkedin", "/api/v1/user/posts", {}, {"data": [1], "has_more": False}, None),
    ("threads", "/api/user/followers", {}, {"data": {"user": {"page_info": {"end_cursor": "E"}}}}, {"end_cursor": "E"}),
    ("threads", "/api/user/posts", {}, {"data": {"mediaData": {"page_info": {"has_next_page": False}}}}, None),
])
def test_how_a_list_goes_on(platform, endpoint, params, data, following):
    asked = dict(params)
    assert paging(platform, endpoint).next(params, data) == following
    assert params == asked


@pytest.mark.parametrize("told", [told for told in ALL if told.pages], ids=lambda told: told.path)
@pytest.mark.parametrize("data", [{}, [], {"data": []}, {"data": None}, {"data": "x"}, None])
def test_what_is_no_page_is_the_last_one(told, data):
    assert told.pages.next({}, data) is None
    assert f"{told.page_param}?" in told.params


@pytest.mark.parametrize("platform, endpoint", [("tiktok", "/user/info"), ("instagram", "/else"), ("nowhere", "/x")])
def test_what_is_no_list_has_no_pages(platform, endpoint):
    assert paging(platform, endpoint) is None


def test_the_providers_routes_have_the_guides_pages():
    for told in ALL:
        first, *_ = serving(told, PROVIDERS[told.platform])
        assert first.routes[told.path].pages is told.pages
    assert PROVIDERS["youtube"][0].routes["/playlist"].pages is paging("youtube", "/playlist")


@pytest.mark.parametrize("platform, path, names", [
    ("tiktok", "/user/posts", ["tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"]), ("instagram", "/post", ["instagram-looter2", "instagram-stats"]),
    ("instagram", "/reels", ["instagram-looter2"]), ("linkedin", "/company", ["linkedin-realtime", "linkedin-fresh"]),
    ("linkedin", "/api/v1/user/posts", ["linkedin-fresh"]),
])
def test_who_serves_an_endpoint(platform, path, names):
    assert [provider.name for provider in serving(GUIDE[platform][path], CATALOGUE[platform])] == names


@pytest.mark.parametrize("told", ALL, ids=lambda told: f"{told.platform} {told.path}")
def test_the_guide_is_one_with_itself(told):
    assert {told.grade, *[field.grade for field in told.fields], *[by.grade for by in told.by.values()]} <= set("ABC?")
    assert {kind for field in told.fields for kind in field.kind.split(" or ")} <= {"text", "number", "bool", "list", "object", "null"}
    assert set(told.example) <= {name.rstrip("?") for name in told.params} >= {name for name in told.params if not name.endswith("?")} & set(told.example)
    assert set(told.by) <= {provider.name for provider in PROVIDERS[told.platform]}


def test_the_guides_fields_are_in_the_captured_answers():
    """As far as there is one of the first provider; a field of grade A or B must be there."""
    folder = Path(__file__).parent / "payloads"
    for platform, path, name in [("tiktok", "/user/info", "tiktok-scraper7/user_info.ok"), ("tiktok", "/user/posts", "tiktok-scraper7/user_posts.ok"),
                                 ("tiktok", "/comment/list", "tiktok-scraper7/comment_list.ok"), ("instagram", "/profile", "instagram-looter2/profile.ok"),
                                 ("instagram", "/user-feeds", "instagram-looter2/user_feeds.ok"), ("instagram", "/post", "instagram-looter2/post.ok"),
                                 ("youtube", "/video/info", "yt-api/video_info.ok"), ("youtube", "/channel/videos", "yt-api/channel_videos.ok"),
                                 ("twitter", "/screenname.php", "twitter-api45/screenname.ok"), ("twitter", "/timeline.php", "twitter-api45/timeline.ok"),
                                 ("twitter", "/tweet.php", "twitter-api45/tweet.ok")]:
        data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        absent = [field.path for field in GUIDE[platform][path].fields if field.grade in "AB" and look(data, field.path.replace("[]", ".0")) is None]
        assert absent == [], name


# --- the routes over a socket ---


@pytest.mark.parametrize("endpoint", POST)
def test_linkedins_post_endpoints_are_asked_with_a_json_body(rapidapi, client, endpoint):
    rapidapi.answer("linkedin-realtime", endpoint, {"success": True, "data": {"firstName": "Ada"}})
    assert client.call("linkedin", endpoint, {"link": "u", "n": 2}).provider == "linkedin-realtime"
    received, = rapidapi.requests
    assert (received.method, received.path, received.params, json.loads(received.body)) == ("POST", endpoint, {}, {"link": "u", "n": 2})


@pytest.mark.parametrize("endpoint", ["/company", "/company_pro"])
def test_a_company_comes_from_the_second_provider_too(rapidapi, client, endpoint):
    rapidapi.fail("linkedin-realtime", 404)
    result = client.call("linkedin", endpoint, {"link": "https://www.linkedin.com/company/acme/?trk=x"})
    assert (result.provider, result.data["success"], result.data["data"]["companyName"]) == ("linkedin-fresh", True, "Acme")
    assert (rapidapi.requests[-1].path, rapidapi.requests[-1].params) == ("/api/v1/company/profile", {"company": "acme"})


def test_a_post_comes_from_the_second_provider_too(rapidapi, client):
    first = client.call("instagram", "/post", {"url": "https://www.instagram.com/p/x/"}).data
    rapidapi.fail("instagram-looter2", 503)
    second = client.call("instagram", "/post", {"url": "https://www.instagram.com/p/x/"})
    assert second.provider == "instagram-stats" and rapidapi.requests[-1].params == {"postUrl": "https://www.instagram.com/p/x/"}
    for name in ("edge_media_preview_like", "edge_media_to_parent_comment"):
        assert second.data[name] == first[name]


@pytest.mark.parametrize("told", [told for told in ALL if told.platform != "threads"], ids=lambda told: told.path)
def test_the_local_rapidapi_answers_every_catalogued_endpoint(rapidapi, told):
    params = {name.rstrip("?"): "https://www.linkedin.com/in/ada" for name in told.params if not name.endswith("?")} or {"unique_id": "ada", "urn": "u"}
    with FailoverClient(rapidapi.registry, api_key="k", matrix=NO_RETRY, refresh=False) as client:
        name = serving(told, PROVIDERS[told.platform])[0].name
        if told.only:
            rapidapi.fail(PROVIDERS[told.platform][0].name, 404)
        assert client.call(told.platform, told.path, params).provider == name
