"""Answers of the catalogue's hosts, each through the client over a socket, and what has to come of it.

``payloads/`` holds them by host: captured, or put together from what public clients read; people and ids are invented.
Its ``INDEX.json`` tells the status each came with, and how sure it is: A documented or captured, B seen in three or more
places, C in one or two, ? not established (B*: at the vendor's own site, not at the RapidAPI host).
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import KEY, NO_RETRY, Upstream, http

from rapidfailover import AllProvidersFailed, FailoverClient, NotFound, ProviderRegistry
from rapidfailover.catalog import PROVIDERS

PAYLOADS = Path(__file__).parent / "payloads"
INDEX = json.loads((PAYLOADS / "INDEX.json").read_text(encoding="utf-8"))
PROFILE = ("/person_deep", {"link": "https://www.linkedin.com/in/ada-example"})
USER = ("/user/info", {"unique_id": "ada.example"})
SAME = object()  # the payload as it came

MOBILE_USER = {
    "id": "7000000000000000001", "uniqueId": "ada.example", "nickname": "Ada", "secUid": "MS4wLjABAAAAxxxx", "signature": "hello",
    "avatarLarger": "https://x.invalid/l.webp", "followerCount": 3456, "followingCount": 12, "awemeCount": 42, "totalFavorited": 78900,
    "customVerify": "", "generalPermission": {"follow_toast_type": 0}}

# payload: what is asked of the platform, and the data that comes back, or the row it reads as
TIKTOK = {
    "user_info.ok": (*USER, SAME), "user_info.private": (*USER, SAME), "user_info.notfound": (*USER, "not found"),
    "user_info.limit_second": (*USER, "rate limited"), "user_info.nomsg": (*USER, "bad gateway"),
    "user_posts.ok": ("/user/posts", {"unique_id": "ada.example"}, SAME), "user_posts.empty": ("/user/posts", {"unique_id": "ada.example"}, SAME),
    "item.ok": ("/", {"url": "u"}, SAME), "comment_list.ok": ("/comment/list", {"url": "u"}, SAME),
}
TABLE = {
    "tiktok-scraper7": {**TIKTOK, "item.dead": ("/", {"url": "u"}, "not found")},
    "tiktok-video-feature-summary": {**TIKTOK, "user_info.mobile": (*USER, lambda data: {**data, "data": {**data["data"], "user": MOBILE_USER}})},
    "instagram-looter2": {
        "profile.ok": ("/profile", {"username": "ada.example"}, SAME), "profile.private": ("/profile", {"username": "ada.example"}, SAME),
        "profile2.ok": ("/profile2", {"username": "ada.example"}, SAME), "user_feeds.ok": ("/user-feeds", {"id": "1"}, SAME),
        "user_feeds.empty": ("/user-feeds", {"id": "1"}, SAME), "post.ok": ("/post", {"url": "u"}, SAME),
        "post.dead": ("/post", {"url": "u"}, "not found"), "post_dl.failed": ("/post-dl", {"url": "u"}, "bad gateway"),
    },
    "instagram-statistics-api": {
        "community.ok": ("/profile", {"username": "ada.example"}, lambda data: {
            "status": True, "username": "ada.example", "full_name": "Ada", "is_verified": False, "edge_followed_by": {"count": 661382},
            "biography": "hello", "profile_pic_url_hd": "https://x.invalid/i.jpg"}),
        "community.notfound": ("/profile", {"username": "nobody"}, "not found"), "posts_one.ok": ("/posts/one", {"postUrl": "u"}, SAME),
    },
    "yt-api": {
        "video_info.ok": ("/video/info", {"id": "v"}, SAME), "error403": ("/video/info", {"id": "v"}, "forbidden"),
        "channel_videos.ok": ("/channel/videos", {"id": "UCexample"}, SAME),
    },
    "twitter-api45": {
        "screenname.ok": ("/screenname.php", {"screenname": "ada"}, SAME), "screenname.protected": ("/screenname.php", {"screenname": "ada"}, SAME),
        "screenname.notfound": ("/screenname.php", {"screenname": "ada"}, "not found"),
        "screenname.error": ("/screenname.php", {"screenname": "ada"}, "bad gateway"),
        "timeline.ok": ("/timeline.php", {"screenname": "ada"}, SAME), "timeline.empty": ("/timeline.php", {"screenname": "ada"}, SAME),
        "tweet.ok": ("/tweet.php", {"id": "3"}, SAME),
    },
    "linkedin-data-scraper": {
        "person_deep.ok": (*PROFILE, SAME), "person_deep.list": (*PROFILE, SAME), "person_deep.false": (*PROFILE, "not found"),
        "person_deep.404": (*PROFILE, "not found"), "person_deep.403": (*PROFILE, "forbidden"),
        "company_updates.ok": ("/company_updates", {"company_url": "u"}, SAME),
    },
    "fresh-linkedin-scraper-api": {
        "user_profile.ok": (*PROFILE, lambda data: {"success": True, "data": {
            "firstName": "Ada", "lastName": "Example", "publicIdentifier": "ada-example", "headline": "Engineer"}}),
        "user_profile.full_name_only": (*PROFILE, lambda data: {"success": True, "data": {
            "firstName": "Ada", "lastName": "Example", "headline": "Engineer"}}),
        "user_profile.400": (*PROFILE, "forbidden"),  # our route was refused: no opinion
        "user_posts.ok": ("/api/v1/user/posts", {"urn": "u"}, SAME),
    },
    "threads-api4": {
        "user_info.ok": ("/api/user/info", {"username": "ada.example"}, SAME), "user_info.notfound": ("/api/user/info", {"username": "nobody"}, "not found"),
        "user_posts.ok": ("/api/user/posts", {"user_id": "1"}, SAME),
    },
}
CASES = [(host, name, *case) for host, cases in TABLE.items() for name, case in cases.items()]
FAULTS = {"not found": 0, "forbidden": 0, "rate limited": 0, "bad gateway": 1}  # of the endpoint


def test_every_payload_is_in_the_table_and_graded():
    files = {path.relative_to(PAYLOADS).with_suffix("").as_posix() for path in PAYLOADS.glob("*/*.json")}
    assert files == set(INDEX) == {f"{host}/{name}" for host, name, *_ in CASES}
    assert {told["grade"] for told in INDEX.values()} <= {"A", "A/C", "B", "B*", "C", "?"}


@pytest.mark.parametrize("host, name, endpoint, params, outcome", CASES, ids=[f"{host}-{name}" for host, name, *_ in CASES])
def test_a_payload_comes_to_what_it_is(host, name, endpoint, params, outcome):
    body = (PAYLOADS / host / f"{name}.json").read_bytes()
    platform, config = next((platform, config) for platform, members in PROVIDERS.items() for config in members
                            if config.host == f"{host}.p.rapidapi.com")
    with Upstream(http(body, f"{INDEX[f'{host}/{name}']['status']} Status")) as upstream:
        registry = ProviderRegistry({platform: [replace(config, base_url=upstream.provider().base_url, enabled=True)]})
        with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, max_wait=0.0, refresh=False) as client:
            if not isinstance(outcome, str):
                payload = json.loads(body)
                assert client.call(platform, endpoint, params).data == (payload if outcome is SAME else outcome(payload))
                return
            with pytest.raises(AllProvidersFailed) as caught:
                client.call(platform, endpoint, params)
            assert isinstance(caught.value, NotFound) is (outcome == "not found")
            attempt, = caught.value.attempts
            assert (attempt.action, attempt.status) == (outcome, INDEX[f"{host}/{name}"]["status"])
            state = registry.snapshot()[platform][config.name]
            counts = [state["error_count"], *[told["error_count"] for told in state["endpoints"].values()]]
            assert max(counts) == FAULTS[outcome], state
            assert bool(state["hold_until"]) is (outcome == "rate limited")
