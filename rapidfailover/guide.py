"""The catalogued endpoints as data: what each takes, what comes, how its pages go on, how sure that
is.

The catalogue's routes, the command line and ``verify`` all read it here. Grades are those of
rapidapi.md: A documented or captured, B seen in three or more places, C in one or two, ? not
established. A field of a list's items has ``[]`` behind the list's name. Who serves an endpoint is
in the providers' routes (catalog.py); ``by`` tells what is different at a provider: its grade, and
which of the fields come.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Mapping, NamedTuple

from .config import Paging

__all__ = ["GUIDE", "OTHER_PAGES", "POST", "By", "Endpoint", "Field", "Taken", "look"]


class Field(NamedTuple):
    path: str  # "data.user.uniqueId", "data.videos[].title"
    kind: str  # text, number, bool, list, object, or several: "text or number"
    grade: str


class Taken(NamedTuple):
    """A param that an earlier answer of the same provider gives, for ``verify``.

    A number in the path is an index.
    """

    endpoint: str
    path: str
    form: str = "{}"


class By(NamedTuple):
    grade: str
    fields: tuple[str, ...] | None = None  # the paths that come; None: all


class Endpoint(NamedTuple):
    platform: str
    path: str
    grade: str  # how sure it is that there is such an endpoint
    params: tuple[str, ...]  # the names; one that may be left out ends in "?"
    fields: tuple[Field, ...]
    example: Mapping[str, Any]  # what `verify` asks
    pages: Paging | None = None
    page_param: str = ""  # which param the pages change
    by: Mapping[str, By] = MappingProxyType({})
    method: str = "GET"
    only: str = ""  # the provider that alone serves it, though it is not the platform's first


# --- the kinds of paging ---


def _cursor(param: str, cursor: str, more: str) -> Paging:
    """The cursor of a page is the next page's ``param``; ``more`` is false on the last one."""

    def follow(params: Mapping[str, Any], data: Any) -> Mapping[str, Any] | None:
        # looter2 wraps some answers like this (C)
        body = (
            data.get("body") if isinstance(data, dict) and set(data) == {"status", "body"} else data
        )
        found, going_on = look(body, cursor), look(body, more) if more else True
        if found in (None, "", False) or going_on in (False, 0, "false"):
            return None
        return {**params, param: found}

    return Paging(follow)


def _page_info(param: str) -> Paging:
    """``page_info.end_cursor``, wherever ``page_info`` is (its place is seen in one or two
    answers).
    """

    def follow(params: Mapping[str, Any], data: Any) -> Mapping[str, Any] | None:
        info = _find(data, "page_info", 5)
        if not look(info, "end_cursor") or look(info, "has_next_page") is False:
            return None
        return {**params, param: look(info, "end_cursor")}

    return Paging(follow)


def _counted(param: str, *lists: str) -> Paging:
    """``param`` counts up; behind the last page the lists are empty, or ``has_more`` is false."""

    def follow(params: Mapping[str, Any], data: Any) -> Mapping[str, Any] | None:
        found = [look(data, name) for name in lists]
        if look(data, "has_more") is False or not any(
            isinstance(items, list) and items for items in found
        ):
            return None
        return {**params, param: int(params.get(param) or 1) + 1}

    return Paging(follow)


def look(data: Any, path: str) -> Any:
    """What is at a dotted path, or None."""
    for name in path.split("."):
        if isinstance(data, list) and name.isdigit():
            data = data[int(name)] if int(name) < len(data) else None
        else:
            data = data.get(name) if isinstance(data, dict) else None
    return data


def _find(data: Any, name: str, deep: int) -> Any:
    if not isinstance(data, dict) or not deep:
        return None
    if name in data:
        return data[name]
    return next(
        (found for found in (_find(value, name, deep - 1) for value in data.values()) if found),
        None,
    )


_BY_CURSOR = _cursor("cursor", "data.cursor", "data.hasMore")  # A
_BY_TIME = _cursor("time", "data.time", "data.hasMore")  # A
_BY_TOKEN = _cursor("token", "continuation", "")  # B: all of yt-api's lists
_BY_NEXT_CURSOR = _cursor("cursor", "next_cursor", "")  # B: all of twitter-api45's

# How lists of endpoints that are not catalogued go on, at the platform's first provider. An answer
# without a cursor is the only page.
OTHER_PAGES: Mapping[str, Paging] = MappingProxyType(
    {"youtube": _BY_TOKEN, "twitter": _BY_NEXT_CURSOR}
)

# linkedin-data-scraper's endpoints that take the params as a JSON body (A/C).
POST = tuple(
    f"/{name}"
    for name in (
        "person",
        "person_urn",
        "person_deep",
        "person_skills",
        "company",
        "company_pro",
        "company_jobs",
        "web-domain",
        "email_to_linkedin_profile",
        "profile_recent_comments",
        "search_people_with_filters",
        "search_company_with_filters",
    )
)


def _fields(*lines: str) -> tuple[Field, ...]:
    """``"B text: data.user.id data.user.nickname"``: a grade, a kind, the paths."""
    found: list[Field] = []
    for line in lines:
        head, _, paths = line.partition(": ")
        grade, kind = head.split(" ", 1)
        found += [Field(path, kind, grade) for path in paths.split()]
    return tuple(found)


_TIKTOK_OK = ("B number: code", "B text: msg")
_SUCCESS = ("C bool: success",)
_PROFILE_LINK, _COMPANY_LINK = (
    "https://www.linkedin.com/in/williamhgates",
    "https://www.linkedin.com/company/microsoft",
)
_TIKTOK_VIDEO = Taken(
    "/user/posts", "data.videos.0.video_id", "https://www.tiktok.com/@tiktok/video/{}"
)
_STATISTICS_PROFILE = (
    "username",
    "full_name",
    "is_verified",
    "edge_followed_by.count",
    "biography",
    "profile_pic_url_hd",
)
_STATISTICS_POST = (
    "edge_media_preview_like.count",
    "edge_media_to_parent_comment.count",
    "video_play_count",
)


def _by(**served: By) -> Mapping[str, By]:
    return MappingProxyType({name.replace("_", "-"): by for name, by in served.items()})


def _tiktok(grade: str) -> Mapping[str, By]:
    return _by(tiktok_feature=By(grade), tiktok_tikwm=By("?"))


_ENDPOINTS = (
    Endpoint(
        "tiktok",
        "/user/info",
        "B",
        ("unique_id",),
        _fields(
            *_TIKTOK_OK,
            "B text: data.user.id data.user.uniqueId data.user.nickname data.user.signature "
            "data.user.avatarLarger data.user.secUid",
            "B bool: data.user.verified",
            "B number: data.stats.followerCount data.stats.followingCount data.stats.heartCount"
            " data.stats.videoCount",
        ),
        {"unique_id": "tiktok"},
        by=_tiktok("B"),
    ),
    Endpoint(
        "tiktok",
        "/user/posts",
        "B",
        ("unique_id?", "user_id?", "count?", "cursor?"),
        _fields(
            *_TIKTOK_OK,
            "B list: data.videos",
            "B text: data.videos[].video_id data.videos[].title data.videos[].play "
            "data.videos[].author.unique_id",
            "B number: data.videos[].play_count data.videos[].digg_count"
            " data.videos[].comment_count data.videos[].share_count data.videos[].create_time"
            " data.videos[].duration",
            "A text or number: data.cursor",
            "A bool or number: data.hasMore",
        ),
        {"unique_id": "tiktok", "count": 3},
        _BY_CURSOR,
        "cursor",
        by=_tiktok("B"),
    ),
    Endpoint(
        "tiktok",
        "/",
        "B",
        ("url", "hd?"),
        _fields(*_TIKTOK_OK, "B text: data.id data.title data.play"),
        {"url": _TIKTOK_VIDEO},
        by=_tiktok("B"),
    ),
    Endpoint(
        "tiktok",
        "/comment/list",
        "B",
        ("url", "count?", "cursor?"),
        _fields(
            *_TIKTOK_OK,
            "B list: data.comments",
            "B text: data.comments[].id data.comments[].text",
            "A text or number: data.cursor",
            "A bool or number: data.hasMore",
        ),
        {"url": _TIKTOK_VIDEO},
        _BY_CURSOR,
        "cursor",
        by=_tiktok("C"),
    ),
    Endpoint(
        "tiktok",
        "/feed/search",
        "A",
        ("keywords", "count?", "cursor?"),
        _fields(
            *_TIKTOK_OK,
            "C list: data.videos",
            "A text or number: data.cursor",
            "A bool or number: data.hasMore",
        ),
        {"keywords": "cats", "count": 3},
        _BY_CURSOR,
        "cursor",
        by=_tiktok("C"),
    ),
    Endpoint(
        "tiktok",
        "/user/followers",
        "A",
        ("user_id", "count?", "time?"),
        _fields(
            *_TIKTOK_OK,
            "C list: data.followers",
            "A number: data.time",
            "A bool or number: data.hasMore",
        ),
        {"user_id": Taken("/user/info", "data.user.id"), "count": 3},
        _BY_TIME,
        "time",
        by=_tiktok("?"),
    ),
    Endpoint(
        "tiktok",
        "/user/following",
        "A",
        ("user_id", "count?", "time?"),
        _fields(
            *_TIKTOK_OK,
            "C list: data.followings",
            "A number: data.time",
            "A bool or number: data.hasMore",
        ),
        {"user_id": Taken("/user/info", "data.user.id"), "count": 3},
        _BY_TIME,
        "time",
        by=_tiktok("?"),
    ),
    Endpoint(
        "instagram",
        "/profile",
        "B",
        ("username",),
        _fields(
            "A bool or text: status",
            "A text: id username full_name biography profile_pic_url_hd",
            "A bool: is_private is_verified",
            "A number: edge_followed_by.count edge_follow.count edge_owner_to_timeline_media.count",
            "A list: edge_owner_to_timeline_media.edges",
        ),
        {"username": "instagram"},
        by=_by(instagram_stats=By("B", _STATISTICS_PROFILE)),
    ),
    Endpoint(
        "instagram",
        "/user-feeds",
        "B",
        ("id", "count?", "max_id?"),
        _fields("A list: items", "A text: items[].id", "A bool: more_available"),
        {"id": Taken("/profile", "id"), "count": 3},
        _cursor("max_id", "next_max_id", "more_available"),
        "max_id",
    ),
    Endpoint(
        "instagram",
        "/reels",
        "A",
        ("id", "count?", "max_id?"),
        _fields("C list: items", "A bool: paging_info.more_available"),
        {"id": Taken("/profile", "id"), "count": 3},
        _cursor("max_id", "paging_info.max_id", "paging_info.more_available"),
        "max_id",
    ),
    Endpoint(
        "instagram",
        "/user-tags",
        "A",
        ("id", "count?", "end_cursor?"),
        _fields("A object: page_info"),
        {"id": Taken("/profile", "id"), "count": 3},
        _page_info("end_cursor"),
        "end_cursor",
    ),
    Endpoint(
        "instagram",
        "/tag-feeds",
        "A",
        ("query", "end_cursor?"),
        _fields("A object: page_info"),
        {"query": "cats"},
        _page_info("end_cursor"),
        "end_cursor",
    ),
    Endpoint(
        "instagram",
        "/user-feeds2",
        "A",
        ("id", "count?", "end_cursor?"),
        _fields("A object: page_info"),
        {"id": Taken("/profile", "id"), "count": 3},
        _page_info("end_cursor"),
        "end_cursor",
    ),
    Endpoint(
        "instagram",
        "/post",
        "B",
        ("url",),
        _fields(
            "B bool or text: status",
            "B text: id shortcode",
            "B number: edge_media_preview_like.count edge_media_to_parent_comment.count",
        ),
        {
            "url": Taken(
                "/profile",
                "edge_owner_to_timeline_media.edges.0.node.shortcode",
                "https://www.instagram.com/p/{}/",
            )
        },
        by=_by(instagram_stats=By("C", _STATISTICS_POST)),
    ),
    Endpoint(
        "youtube",
        "/video/info",
        "B",
        ("id",),
        _fields(
            "B text: id title viewCount channelId channelTitle publishedAt",
            "B text or number: likeCount",
        ),
        {"id": "dQw4w9WgXcQ"},
    ),
    Endpoint(
        "youtube",
        "/channel/about",
        "B",
        ("id",),
        _fields(
            "B text: title subscriberCountText",
            "B list: avatar",
            "B text or number: subscriberCount videosCount",
        ),
        {"id": "@YouTube"},
    ),
    Endpoint(
        "youtube",
        "/channel/videos",
        "B",
        ("id", "token?"),
        _fields("B list: data", "B text: data[].videoId data[].title continuation"),
        {"id": "UCBR8-60-B28hp2BmDPdntcQ"},
        _BY_TOKEN,
        "token",
    ),
    Endpoint(
        "twitter",
        "/screenname.php",
        "B",
        ("screenname",),
        _fields(
            "B text: status profile rest_id name desc avatar",
            "B number: sub_count friends statuses_count",
            "B bool or null: protected",
        ),
        {"screenname": "x"},
    ),
    Endpoint(
        "twitter",
        "/timeline.php",
        "B",
        ("screenname", "cursor?"),
        _fields(
            "A text: status next_cursor",
            "A list: timeline",
            "A text: timeline[].tweet_id timeline[].text",
        ),
        {"screenname": "x"},
        _BY_NEXT_CURSOR,
        "cursor",
    ),
    Endpoint("twitter", "/tweet.php", "B", ("id",), _fields("A text: id text"), {"id": "20"}),
    Endpoint(
        "linkedin",
        "/person_deep",
        "B",
        ("link",),
        _fields(
            *_SUCCESS,
            "C object or list: data",
            "C text: data.firstName data.publicIdentifier",
            "C list: data.experiences",
        ),
        {"link": _PROFILE_LINK},
        method="POST",
        by=_by(linkedin_fresh=By("B", ("success", "data", "data.firstName"))),
    ),
    Endpoint(
        "linkedin",
        "/company_pro",
        "C",
        ("link",),
        _fields(*_SUCCESS, "C object: data"),
        {"link": _COMPANY_LINK},
        by=_by(linkedin_fresh=By("B")),
        method="POST",
    ),
    Endpoint(
        "linkedin",
        "/company",
        "C",
        ("link",),
        _fields(*_SUCCESS, "C object: data"),
        {"link": _COMPANY_LINK},
        by=_by(linkedin_fresh=By("B")),
        method="POST",
    ),
    Endpoint(
        "linkedin",
        "/profile_updates",
        "C",
        ("profile_url", "page?"),
        _fields(*_SUCCESS, "C list: response"),
        {"profile_url": _PROFILE_LINK},
        _counted("page", "response", "data"),
        "page",
    ),
    Endpoint(
        "linkedin",
        "/company_updates",
        "C",
        ("company_url", "page?"),
        _fields(*_SUCCESS, "C list: response", "C text: response[].postText"),
        {"company_url": _COMPANY_LINK},
        _counted("page", "response", "data"),
        "page",
    ),
    Endpoint(
        "linkedin",
        "/api/v1/user/posts",
        "B",
        ("urn?", "username?", "page?"),
        _fields(*_SUCCESS, "B list: data", "C text: data[].text", "C bool: has_more"),
        {"username": "williamhgates"},
        _counted("page", "data"),
        "page",
        only="linkedin-fresh",
    ),
    Endpoint(
        "threads",
        "/api/user/info",
        "B",
        ("username",),
        _fields("B text: data.user.username", "B number: data.user.follower_count"),
        {"username": "threads"},
    ),
    Endpoint(
        "threads",
        "/api/user/posts",
        "B",
        ("user_id", "end_cursor?"),
        _fields("B object: data"),
        {"user_id": Taken("/api/user/info", "data.user.id")},
        _page_info("end_cursor"),
        "end_cursor",
    ),
    Endpoint(
        "threads",
        "/api/user/followers",
        "?",
        ("user_id", "end_cursor?"),
        _fields("C object: data"),
        {"user_id": Taken("/api/user/info", "data.user.id")},
        _page_info("end_cursor"),
        "end_cursor",
    ),
    Endpoint(
        "threads",
        "/api/post/detail",
        "C",
        ("post_id",),
        _fields("C object: data"),
        {"post_id": Taken("/api/user/posts", "data.mediaData.edges.0.node.thread_items.0.post.pk")},
    ),
)


def _by_platform() -> dict[str, Mapping[str, Endpoint]]:
    platforms: dict[str, dict[str, Endpoint]] = {}
    for endpoint in _ENDPOINTS:
        platforms.setdefault(endpoint.platform, {})[endpoint.path] = endpoint
    return {platform: MappingProxyType(endpoints) for platform, endpoints in platforms.items()}


# {platform: {endpoint: …}}
GUIDE: Mapping[str, Mapping[str, Endpoint]] = MappingProxyType(_by_platform())
