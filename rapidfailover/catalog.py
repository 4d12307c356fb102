"""The strategy's providers as data: who serves a platform, in which order and dialect, and what is
advised.

Hosts, priorities, use cases, status and advice are the strategy's own tables and recommendations.
No provider was asked live: that they answer as their names promise is unconfirmed.

A platform's dialect is its primary's. Routes say how a provider that speaks another dialect is
asked, and turn its payload into the primary's shape as far as its own fields go. No field is added,
and no id or cursor is filled in, because they belong to the provider that gave them. So endpoints
that take an id or a cursor have no routes at the other providers. What an endpoint takes and gives
is in guide.py, what makes an answer good in checks.py.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Dict, Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

from .checks import (
    LINKEDIN_NAMES,
    check_linkedin,
    check_looter,
    check_statistics,
    check_threads,
    check_tiktok,
    check_twitter,
    check_youtube,
    get,
    person_of,
)
from .config import Paging, ProviderConfig, Route
from .guide import GUIDE, OTHER_PAGES, POST, Endpoint

__all__ = ["PAGES", "PROBES", "PROVIDERS", "paging", "serving"]


class _OwnDialect(Dict[str, Route]):
    """The platform's dialect for every endpoint, with the pages that the guide knows; ``given``
    routes replace these.
    """

    def __init__(self, platform: str, given: Mapping[str, Route] | None = None) -> None:
        super().__init__(
            {
                path: Route(
                    path,
                    entry.method,
                    json=_as_it_is if entry.method == "POST" else None,
                    pages=entry.pages,
                )
                for path, entry in GUIDE.get(platform, {}).items()
                if not entry.only
            }
        )
        self._other_pages = OTHER_PAGES.get(platform)
        self.update(given or {})

    def __missing__(self, endpoint: str) -> Route:
        return Route(endpoint, pages=self._other_pages)


def _as_it_is(params: dict[str, Any]) -> dict[str, Any]:
    return params


def serving(entry: Endpoint, providers: Iterable[ProviderConfig]) -> list[ProviderConfig]:
    """Who of a platform's providers, by priority, serves a catalogued endpoint."""
    return [
        provider
        for number, provider in enumerate(providers)
        if (
            provider.name == entry.only
            if entry.only
            else number == 0 or provider.routes is None or entry.path in provider.routes
        )
    ]


def paging(platform: str, endpoint: str) -> Paging | None:
    """How an endpoint of the catalogue goes on, or None where it is no list or not known."""
    entry = GUIDE.get(platform, {}).get(endpoint)
    return entry.pages if entry is not None else OTHER_PAGES.get(platform)


# An adapt function that finds no account raises, so that the 200 is read as a bad payload: such an
# answer would hide the last good copy.


def _adapt_tiktok_user(data: Any) -> Any:
    """``user`` and ``stats`` may come in the mobile app's snake_case (C): unique_id for uniqueId
    and so on.

    A user in camelCase has fields in snake_case of its own (``ins_id``), which stay (C).
    """
    parts = {
        part: (
            fields
            if not isinstance(fields, dict) or fields.get("uniqueId")
            else {
                **{
                    _camel_case(name): _picture(value)
                    for name, value in fields.items()
                    if "_" in name
                },
                **{name: value for name, value in fields.items() if "_" not in name},
            }
        )
        for part, fields in data["data"].items()
    }
    _require(get(parts.get("user"), "uniqueId"))
    return {**data, "data": parts}


def _picture(value: Any) -> Any:
    """The mobile app's pictures are lists of links (C)."""
    links = get(value, "url_list")
    return links[0] if isinstance(links, list) and links else value


def _adapt_statistics_profile(data: Any) -> Any:
    """looter2's flat profile from statistics' ``data`` (both B, A): its ``cid`` is an id of its
    own, and stays out.
    """
    account = data["data"]
    _require(get(account, "screenName") or get(account, "name"))
    adapted: dict[str, Any] = {"status": True}
    for name, field in (
        ("username", "screenName"),
        ("full_name", "name"),
        ("is_verified", "verified"),
    ):
        if field in account:
            adapted[name] = account[field]
    if "usersCount" in account:
        adapted["edge_followed_by"] = {"count": account["usersCount"]}
    for name, field in (("biography", "description"), ("profile_pic_url_hd", "image")):  # A
        if account.get(field) is not None:
            adapted[name] = account[field]
    return adapted


def _adapt_statistics_post(data: Any) -> Any:
    """looter2's post (B) from statistics' ``data`` {likes, comments, views} (C)."""
    post = data["data"]
    adapted: dict[str, Any] = {"status": True}
    for name, field in (
        ("edge_media_preview_like", "likes"),
        ("edge_media_to_parent_comment", "comments"),
    ):
        if post.get(field) is not None:
            adapted[name] = {"count": post[field]}
    if post.get("views") is not None:
        adapted["video_play_count"] = post["views"]
    if len(adapted) == 1:
        raise ValueError("the payload tells nothing of the post")
    return adapted


def _adapt_fresh_profile(data: Any) -> Any:
    """linkedin-data-scraper's ``data`` (C) from fresh-linkedin's (B, but the names of its fields
    are unconfirmed).

    ``urn`` is an id of its own, and stays out. Where ``full_name`` is all there is of a name (C),
    its first word is the first name.
    """
    person = person_of(data)
    adapted = {}
    for name, fields in LINKEDIN_NAMES.items():
        found = [person[field] for field in fields if field in person]
        if found and name != "fullName":
            adapted[name] = found[0]
    if not adapted.get("firstName") and isinstance(get(person, "full_name"), str):
        first, _, last = person["full_name"].strip().partition(" ")
        adapted.update({"firstName": first, **({"lastName": last.strip()} if last else {})})
    if "headline" in person:
        adapted["headline"] = person["headline"]
    _require(adapted.get("firstName") or adapted.get("publicIdentifier"))
    return {"success": True, "data": adapted}


def _adapt_fresh_company(data: Any) -> Any:
    """linkedin-data-scraper's company from fresh-linkedin's (C); the field names of
    linkedin-data-scraper are not established (?).
    """
    company = person_of(data)
    _require(get(company, "name"))
    names = (
        ("companyName", "name"),
        ("followerCount", "follower_count"),
        ("employeeCount", "staff_count"),
        ("websiteUrl", "website"),
        ("description", "description"),
    )
    return {
        "success": True,
        "data": {name: company[field] for name, field in names if field in company},
    }


def _require(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError("the payload names no account")


def _instagram_link(username: Any) -> str:
    return f"https://www.instagram.com/{quote(str(username), safe='')}/"


def _linkedin_slug(link: str, kind: str = "in") -> str:
    """``ada`` of https://www.linkedin.com/in/ada/?trk=x. ValueError where there is none."""
    _, profile, slug = urlsplit(link).path.rstrip("/").rpartition(f"/{kind}/")
    if not profile or not slug or "/" in slug:
        raise ValueError("not the URL of a profile")
    return unquote(slug)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


PROVIDERS: Mapping[str, tuple[ProviderConfig, ...]] = MappingProxyType(
    {
        "tiktok": (
            ProviderConfig(
                "tiktok-scraper7",
                "tiktok-scraper7.p.rapidapi.com",
                1,
                use_case="User profiles, posts, metrics",
                advice="keep (primary): best coverage, stable",
                check=check_tiktok,
                routes=_OwnDialect("tiktok"),
            ),
            ProviderConfig(
                "tiktok-feature",
                "tiktok-video-feature-summary.p.rapidapi.com",
                2,
                use_case="Backup for user data",
                advice="keep (secondary): backup",
                check=check_tiktok,
                routes=_OwnDialect(
                    "tiktok", {"/user/info": Route("/user/info", adapt=_adapt_tiktok_user)}
                ),
            ),
            # In the strategy's table, missing in its code. Its contract is not established: that it
            # speaks the platform's dialect is an assumption.
            ProviderConfig(
                "tiktok-tikwm",
                "tiktok-scraper.p.rapidapi.com",
                3,
                use_case="Last resort",
                status="limited",
                check=check_tiktok,
                routes=_OwnDialect("tiktok"),
            ),
        ),
        "instagram": (
            ProviderConfig(
                "instagram-looter2",
                "instagram-looter2.p.rapidapi.com",
                1,
                use_case="Profile + posts",
                advice="keep (primary): reliable profile data",
                check=check_looter,
                routes=_OwnDialect("instagram"),
            ),
            # "Keep (primary)" in the recommendations, second in the table: second, as it serves
            # analytics only.
            ProviderConfig(
                "instagram-stats",
                "instagram-statistics-api.p.rapidapi.com",
                2,
                use_case="Analytics only",
                advice="keep (primary): analytics",
                check=check_statistics,
                # Its /posts takes its own cid.
                routes={
                    "/profile": Route(
                        "/community",
                        params=lambda p: {"url": _instagram_link(p["username"])},
                        adapt=_adapt_statistics_profile,
                    ),
                    "/post": Route(
                        "/posts/one",
                        params=lambda p: {"postUrl": p["url"]},
                        adapt=_adapt_statistics_post,
                    ),
                },
            ),
        ),
        "youtube": (
            ProviderConfig(
                "yt-api",
                "yt-api.p.rapidapi.com",
                1,
                use_case="All operations",
                advice="keep (primary): comprehensive YouTube data",
                check=check_youtube,
                routes=_OwnDialect("youtube"),
            ),
        ),
        "twitter": (
            ProviderConfig(
                "the-old-bird",
                "twitter-api45.p.rapidapi.com",
                1,
                use_case="Rate limited",
                status="limited",
                advice="replace/upgrade: consider PRO tier",
                check=check_twitter,
                routes=_OwnDialect("twitter"),
            ),
        ),
        "linkedin": (
            # Both "keep" and "replace/upgrade" in the recommendations, so both are said.
            ProviderConfig(
                "linkedin-realtime",
                "linkedin-data-scraper.p.rapidapi.com",
                1,
                use_case="Profile enrichment",
                status="limited",
                advice=(
                    "keep (secondary): rate limited but works; "
                    "replace/upgrade: need higher tier for reliable access"
                ),
                check=check_linkedin,
                routes=_OwnDialect(
                    "linkedin",
                    {
                        **{path: Route(path, "POST", json=_as_it_is) for path in POST},
                        "/profile_recent_comments": Route(
                            "/profile_recent_comments",
                            "POST",
                            json=_as_it_is,
                            pages=paging("linkedin", "/profile_updates"),
                        ),
                    },
                ),
            ),
            ProviderConfig(
                "linkedin-fresh",
                "fresh-linkedin-scraper-api.p.rapidapi.com",
                2,
                use_case="Backup",
                status="limited",
                advice="replace/upgrade: need higher tier for reliable access",
                check=check_linkedin,
                routes={
                    "/person_deep": Route(
                        "/api/v1/user/profile",
                        params=lambda p: {"username": _linkedin_slug(p["link"])},
                        adapt=_adapt_fresh_profile,
                    ),
                    **{
                        path: Route(
                            "/api/v1/company/profile",
                            params=lambda p: {"company": _linkedin_slug(p["link"], "company")},
                            adapt=_adapt_fresh_company,
                        )
                        for path in ("/company", "/company_pro")
                    },
                    "/api/v1/user/posts": Route(
                        "/api/v1/user/posts", pages=paging("linkedin", "/api/v1/user/posts")
                    ),
                },
            ),
        ),
        "threads": (
            # Only in the recommendations. Its host is inferred from the others' pattern.
            ProviderConfig(
                "threads-api4",
                "threads-api4.p.rapidapi.com",
                1,
                status="limited",
                advice="subscribe: need to subscribe",
                enabled=False,
                check=check_threads,
                routes=_OwnDialect("threads"),
            ),
        ),
    }
)

# The providers' pages at RapidAPI, where one subscribes: found in public repositories, by host (B,
# but for linkedin-data-scraper's, for which two owners are named: C).
PAGES: Mapping[str, str] = MappingProxyType(
    {
        f"{name}.p.rapidapi.com": f"https://rapidapi.com/{owner}/api/{name}"
        for name, owner in (
            ("tiktok-scraper7", "tikwm-tikwm-default"),
            ("instagram-looter2", "irrors-apis"),
            ("instagram-statistics-api", "artemlipko"),
            ("yt-api", "ytjar"),
            ("twitter-api45", "alexanderxbx"),
            ("linkedin-data-scraper", "mgujjargamingm"),
            ("fresh-linkedin-scraper-api", "saleleadsdotai-saleleadsdotai-default"),
            ("threads-api4", "Lundehund"),
        )
    }
)

# What the health check asks: the strategy's own for the first three, profiles that are likely to
# stay for the others.
PROBES: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "tiktok": ("/user/info", {"unique_id": "tiktok"}),
        "instagram": ("/profile", {"username": "instagram"}),
        "youtube": ("/video/info", {"id": "dQw4w9WgXcQ"}),
        "twitter": ("/screenname.php", {"screenname": "x"}),
        "linkedin": ("/person_deep", {"link": "https://www.linkedin.com/in/williamhgates"}),
        "threads": ("/api/user/info", {"username": "threads"}),
    }
)
