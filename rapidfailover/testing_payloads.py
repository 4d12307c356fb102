"""The answers of the local RapidAPI: the catalogue's endpoints in the shapes of rapidapi.md.

The people, the numbers and the ids are made up, and the same for the same name.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping
from zlib import crc32

from .config import ProviderConfig
from .guide import GUIDE, POST, Endpoint

__all__ = ["ENDPOINTS", "ENVELOPES", "METHODS", "Params", "endpoints_of"]

Params = Mapping[str, Any]


def _number(text: str, below: int = 1_000_000) -> int:
    """Made up, and the same for the same text."""
    return crc32(text.encode()) % below


def _tiktok_user(params: Params) -> Any:
    name = params["unique_id"]
    return {
        "code": 0,
        "msg": "success",
        "processed_time": 0.1,
        "data": {
            "user": {
                "id": str(_number(name)),
                "uniqueId": name,
                "nickname": name.title(),
                "signature": "",
                "avatarLarger": f"https://example.invalid/{name}.jpg",
                "verified": False,
                "secUid": f"MS4wLjABAAAA{_number(name):x}",
            },
            "stats": {
                "followerCount": _number(name),
                "followingCount": _number(name, 1000),
                "heartCount": _number(name) * 10,
                "videoCount": _number(name, 500),
            },
        },
    }


_CURSORS = "0", "1734652800000", "1734566400000"  # of TikTok's three pages of posts


def _tiktok_posts(params: Params) -> Any:
    name, cursor = params.get("unique_id") or params["user_id"], str(params.get("cursor") or "0")
    page = _CURSORS.index(cursor) if cursor in _CURSORS else len(_CURSORS) - 1
    count = min(int(params.get("count", 10)), 35)
    videos = [
        {
            "video_id": f"v{_number(name)}{n}",
            "aweme_id": f"v{_number(name)}{n}",
            "title": f"Video {n}",
            "play": "https://example.invalid/v.mp4",
            "play_count": 1000 + n,
            "digg_count": 100 + n,
            "comment_count": 10 + n,
            "share_count": n,
            "create_time": 1734652800 + n,
            "duration": 15,
            "author": {"unique_id": name},
        }
        for n in range(page * count, (page + 1) * count)
    ]
    is_last = page == len(_CURSORS) - 1
    return {
        "code": 0,
        "msg": "success",
        "data": {
            "videos": videos,
            "cursor": cursor if is_last else _CURSORS[page + 1],
            "hasMore": not is_last,
        },
    }


def _tiktok_video(params: Params) -> Any:
    return {
        "code": 0,
        "msg": "success",
        "data": {
            "id": str(_number(params["url"])),
            "title": "A video",
            "play": "https://example.invalid/v.mp4",
        },
    }


def _looter_profile(params: Params) -> Any:
    name = params["username"]
    return {
        "status": True,
        "id": str(_number(name)),
        "username": name,
        "full_name": name.title(),
        "biography": "",
        "is_private": False,
        "is_verified": False,
        "profile_pic_url_hd": f"https://example.invalid/{name}.jpg",
        "edge_followed_by": {"count": _number(name)},
        "edge_follow": {"count": _number(name, 1000)},
        "edge_owner_to_timeline_media": {
            "count": 1,
            "edges": [{"node": {"shortcode": "Cexample"}}],
        },
    }


def _looter_feed(params: Params) -> Any:
    return {
        "items": [{"id": f"{params['id']}_{n}"} for n in range(int(params.get("count", 12)))],
        "more_available": False,
    }


def _looter_post(params: Params) -> Any:
    return {
        "status": True,
        "id": str(_number(params["url"])),
        "shortcode": "Cexample",
        "edge_media_preview_like": {"count": 100},
        "edge_media_to_parent_comment": {"count": 10},
    }


def _statistics_profile(params: Params) -> Any:
    name = params["url"].rstrip("/").rpartition("/")[2]
    return {
        "meta": {"code": 200, "message": "OK"},
        "data": {
            "cid": f"INST:{_number(name)}",
            "socialType": "INST",
            "name": name.title(),
            "screenName": name,
            "usersCount": _number(name),
            "avgER": 0.02,
            "avgInteractions": 120,
            "avgLikes": 100,
            "avgViews": 900,
            "qualityScore": 0.8,
            "verified": False,
            "lastPosts": [],
            "description": "",
            "image": f"https://example.invalid/{name}.jpg",
        },
    }


def _statistics_posts(params: Params) -> Any:
    return {
        "meta": {"code": 200, "message": "OK"},
        "data": {"posts": [{"postID": f"{params['cid']}:1"}]},
    }


def _statistics_post(params: Params) -> Any:
    return {
        "meta": {"code": 200, "message": "OK"},
        "data": {"postUrl": params["postUrl"], "likes": 100, "comments": 10, "views": 1000},
    }


def _youtube_video(params: Params) -> Any:
    return {
        "id": params["id"],
        "title": f"Video {params['id']}",
        "viewCount": str(_number(params["id"])),
        "likeCount": 100,
        "channelId": "UCexample",
        "channelTitle": "Example",
        "publishedAt": "2024-12-20",
    }


def _youtube_channel(params: Params) -> Any:
    return {
        "title": params["id"],
        "avatar": [],
        "subscriberCount": _number(params["id"]),
        "subscriberCountText": "some subscribers",
        "videosCount": 12,
    }


def _youtube_videos(params: Params) -> Any:
    videos = [{"videoId": f"v{_number(params['id'])}", "title": "A video"}]
    two_pages = {} if params.get("token") else {"continuation": "4qmF"}
    return {"data": videos, **two_pages}


def _twitter_user(params: Params) -> Any:
    name = params["screenname"]
    return {
        "status": "active",
        "profile": name,
        "rest_id": str(_number(name)),
        "name": name.title(),
        "desc": "",
        "avatar": f"https://example.invalid/{name}.jpg",
        "sub_count": _number(name),
        "friends": _number(name, 1000),
        "statuses_count": _number(name, 5000),
        "protected": None,
    }


def _twitter_timeline(params: Params) -> Any:
    return {
        "status": "ok",
        "timeline": [{"tweet_id": str(_number(params["screenname"])), "text": "A post"}],
        "next_cursor": "" if params.get("cursor") else "c2",  # two pages
    }


def _twitter_tweet(params: Params) -> Any:
    return {"status": "active", "id": params["id"], "text": "A post"}


def _linkedin_person(params: Params) -> Any:
    name = params["link"].rstrip("/").rpartition("/")[2]
    return {
        "success": True,
        "status": 200,
        "data": {"firstName": name.title(), "publicIdentifier": name, "experiences": []},
    }


def _linkedin_updates(params: Params) -> Any:
    return {"success": True, "response": [{"postText": f"A post of {params['profile_url']}"}]}


def _fresh_profile(params: Params) -> Any:
    name = params["username"]
    return {
        "success": True,
        "message": "success",
        "cost": 1,
        "data": {
            "urn": f"ACoAA{_number(name):x}",
            "public_identifier": name,
            "first_name": name.title(),
        },
    }


def _fresh_posts(params: Params) -> Any:
    return {
        "success": True,
        "message": "success",
        "cost": 1,
        "has_more": False,
        "data": [{"urn": params.get("urn") or params["username"], "text": "A post"}],
    }


def _threads_user(params: Params) -> Any:
    return {
        "data": {
            "user": {"username": params["username"], "follower_count": _number(params["username"])}
        }
    }


def _threads_posts(params: Params) -> Any:
    return {"data": {"user_id": params["user_id"], "posts": []}}


def _threads_post(params: Params) -> Any:
    return {"data": {"post_id": params["post_id"]}}


# Errors inside a 200, by provider: its own error, and its word for content that is gone. Those of
# instagram-stats, linkedin-fresh (which is known for a 400 or 403 here) and the errors of looter2
# and linkedin are assumed.
_TIKTOK_ERRORS = {
    "soft-error": {"code": 500, "msg": "Internal error"},
    "dead": {"code": -1, "msg": "unique_id is invalid", "processed_time": 0.1},
}
_LINKEDIN_ERROR = {"success": False, "message": "Something went wrong"}
ENVELOPES: Mapping[str, Mapping[str, Any]] = {
    "tiktok-scraper7": _TIKTOK_ERRORS,
    "tiktok-feature": _TIKTOK_ERRORS,
    "tiktok-tikwm": _TIKTOK_ERRORS,
    "instagram-looter2": {
        "soft-error": {"status": False, "errorMessage": "Something went wrong"},
        "dead": {"status": False, "errorMessage": "The user not exist or the owner is private"},
    },
    "instagram-stats": {
        "soft-error": {"meta": {"code": 500, "message": "Internal error"}},
        "dead": {"meta": {"code": 404, "message": "Not found"}},
    },
    "yt-api": {
        "soft-error": {"error": "Forbidden", "code": 403},
        "dead": {"error": "Not found", "code": 404},
    },
    "the-old-bird": {"soft-error": {"status": "error"}, "dead": {"status": "notfound"}},
    "linkedin-realtime": {
        "soft-error": _LINKEDIN_ERROR,
        "dead": {"success": False, "message": "Person not found"},
    },
    "linkedin-fresh": {
        "soft-error": _LINKEDIN_ERROR,
        "dead": {"success": False, "message": "Profile not found or invalid username"},
    },
    "threads-api4": {
        "soft-error": {"errors": [{"description": "Something went wrong"}]},
        "dead": {"data": {"user": None}, "extensions": {"is_final": True}},
    },
}


def _fresh_company(params: Params) -> Any:
    name = params["company"]
    return {
        "success": True,
        "message": "success",
        "cost": 1,
        "data": {
            "name": name.title(),
            "follower_count": _number(name),
            "staff_count": 100,
            "website": "https://example.invalid",
            "description": "",
        },
    }


def _of_the_guide(entry: Endpoint) -> Callable[[Params], Any]:
    """An answer with the fields that the guide tells of, for what has no payload of its own
    here.
    """

    def answer(params: Params) -> Any:
        for name in entry.params:
            if not name.endswith("?"):
                params[name]
        payload: dict[str, Any] = {}
        for field in entry.fields:
            at: Any = payload
            *names, last = field.path.split(".")
            for name in names:
                if name.endswith("[]"):
                    items = at.setdefault(name[:-2], [])
                    items.extend([] if items else [{}])
                    at = items[0]
                else:
                    at = at.setdefault(name, {})
            at.setdefault(
                last,
                {"text": "text", "number": 7, "bool": False, "list": [], "object": {}}[
                    field.kind.partition(" ")[0]
                ],
            )
        if entry.platform == "tiktok":
            payload["code"] = 0
        elif entry.platform == "linkedin":
            payload["success"] = True
        return payload

    return answer


METHODS = {("linkedin-realtime", path): "POST" for path in POST}  # all others: GET

_TIKTOK = {"/user/info": _tiktok_user, "/user/posts": _tiktok_posts, "/": _tiktok_video}

_OWN: Mapping[str, Mapping[str, Callable[[Params], Any]]] = {
    "tiktok-scraper7": _TIKTOK,
    "tiktok-feature": _TIKTOK,
    "tiktok-tikwm": _TIKTOK,
    "instagram-looter2": {
        "/profile": _looter_profile,
        "/user-feeds": _looter_feed,
        "/post": _looter_post,
    },
    "instagram-stats": {
        "/community": _statistics_profile,
        "/posts": _statistics_posts,
        "/posts/one": _statistics_post,
    },
    "yt-api": {
        "/video/info": _youtube_video,
        "/channel/about": _youtube_channel,
        "/channel/videos": _youtube_videos,
    },
    "the-old-bird": {
        "/screenname.php": _twitter_user,
        "/timeline.php": _twitter_timeline,
        "/tweet.php": _twitter_tweet,
    },
    "linkedin-realtime": {"/person_deep": _linkedin_person, "/profile_updates": _linkedin_updates},
    "linkedin-fresh": {
        "/api/v1/user/profile": _fresh_profile,
        "/api/v1/user/posts": _fresh_posts,
        "/api/v1/company/profile": _fresh_company,
    },
    "threads-api4": {
        "/api/user/info": _threads_user,
        "/api/user/posts": _threads_posts,
        "/api/post/detail": _threads_post,
    },
}

_SPEAK = {
    "tiktok-scraper7": "tiktok",
    "tiktok-feature": "tiktok",
    "tiktok-tikwm": "tiktok",
    "instagram-looter2": "instagram",
    "yt-api": "youtube",
    "the-old-bird": "twitter",
    # the dialect of their platform
    "linkedin-realtime": "linkedin",
    "threads-api4": "threads",
}


def _in_dialect_of(platform: str) -> dict[str, Callable[[Params], Any]]:
    return {
        path: _of_the_guide(entry)
        for path, entry in GUIDE.get(platform, {}).items()
        if not entry.only
    }


ENDPOINTS: Mapping[str, Mapping[str, Callable[[Params], Any]]] = {
    name: {**(_in_dialect_of(_SPEAK[name]) if name in _SPEAK else {}), **payloads}
    for name, payloads in _OWN.items()
}


def endpoints_of(provider: ProviderConfig, platform: str) -> Mapping[str, Callable[[Params], Any]]:
    """What a provider of the catalogue answers, by path: one without payloads here what the guide
    tells of its platform, where it speaks the platform's dialect.
    """
    if provider.name in ENDPOINTS:
        return ENDPOINTS[provider.name]
    routes = provider.routes
    return {
        path: payload
        for path, payload in _in_dialect_of(platform).items()
        if routes is None
        or path in routes
        and (routes[path].path, routes[path].adapt) == (path, None)
    }
