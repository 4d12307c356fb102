"""The strategy's providers as data: who serves a platform, in which order and dialect, and what is advised.

Hosts, priorities, use cases, status and advice are the strategy's own tables and recommendations. No
provider was asked live: that they answer as their names promise is unconfirmed.

A platform's dialect is its primary's. Routes say how a provider that speaks another one is asked, and turn its payload
into the primary's shape as far as its own fields go: none is added, and no id or cursor is filled, for
those belong to the provider that gave them. So endpoints that take an id or a cursor have no routes.

A check tells what JSON that came with a 200 should have come with: 200 when its envelope is that of a success,
404 for dead content, the envelope's own code where it has one, 502 for anything else. How sure each
envelope is stands beside it: B seen in three or more places, C in one or two.
"""

from types import MappingProxyType
from typing import Any, Dict, Mapping, Tuple
from urllib.parse import quote, unquote, urlsplit

from .config import ProviderConfig, Route

__all__ = ["PROBES", "PROVIDERS"]


def _check_tiktok(endpoint: str, data: Any) -> int:
    """``code == 0`` and ``data`` (B); ``code == -1`` is dead content, not an outage (C)."""
    code = _get(data, "code")
    return 200 if code == 0 and "data" in data else 404 if code == -1 else 502


def _check_looter(endpoint: str, data: Any) -> int:
    """``status`` is true, ``items`` are there for feeds (A). What ``status: false`` means is not established."""
    if endpoint == "/user-feeds":
        return 200 if _get(data, "items") is not None else 502
    if endpoint in ("/profile", "/post"):
        return 200 if _get(data, "status") is True else 502
    return 502 if _get(data, "status") is False else 200


def _check_statistics(endpoint: str, data: Any) -> int:
    """``meta.code == 200`` and ``data`` (B); else ``meta.code`` is the error's (C)."""
    code = _get(_get(data, "meta"), "code")
    return 200 if code == 200 and "data" in data else _code(code)


def _check_youtube(endpoint: str, data: Any) -> int:
    """No ``error`` and no ``status: fail`` (C); ``code`` is the error's (C)."""
    failed = _get(data, "error") or _get(data, "status") == "fail"
    return _code(_get(data, "code")) if failed else 200


def _check_twitter(endpoint: str, data: Any) -> int:
    """``status`` is neither ``notfound`` nor ``error`` (C)."""
    return {"notfound": 404, "error": 502}.get(str(_get(data, "status")), 200)


def _check_linkedin(endpoint: str, data: Any) -> int:
    """``success`` is true (C)."""
    return 200 if _get(data, "success") is True else 502


def _check_threads(endpoint: str, data: Any) -> int:
    """``data`` and no ``errors`` (C)."""
    return 200 if _get(data, "data") is not None and not _get(data, "errors") else 502


class _OwnDialect(Dict[str, Route]):
    """The platform's dialect for every endpoint but those that are mapped."""

    def __missing__(self, endpoint: str) -> Route:
        return Route(endpoint)


# An adapt function that finds no account raises, and the 200 is a bad payload: it would hide the last good copy.

def _adapt_tiktok_user(data: Any) -> Any:
    """``user`` and ``stats`` may come in snake_case (C): unique_id for uniqueId and so on."""
    renamed = {part: {**{_camel_case(name): value for name, value in fields.items()}, **fields}
               if isinstance(fields, dict) else fields for part, fields in data["data"].items()}
    for fields in renamed.values():
        for name in [name for name in fields if "_" in name] if isinstance(fields, dict) else ():
            del fields[name]
    _require(_get(renamed.get("user"), "uniqueId"))
    return {**data, "data": renamed}


def _adapt_statistics_profile(data: Any) -> Any:
    """looter2's flat profile from statistics' ``data`` (both B, A): its ``cid`` is an id of its own, and stays out."""
    account = data["data"]
    _require(_get(account, "screenName") or _get(account, "name"))
    adapted: Dict[str, Any] = {"status": True}
    for name, field in (("username", "screenName"), ("full_name", "name"), ("is_verified", "verified")):
        if field in account:
            adapted[name] = account[field]
    if "usersCount" in account:
        adapted["edge_followed_by"] = {"count": account["usersCount"]}
    return adapted


def _adapt_fresh_profile(data: Any) -> Any:
    """linkedin-data-scraper's ``data`` (C) from fresh-linkedin's (B, but the names of its fields are unconfirmed).

    ``urn`` is an id of its own, and stays out.
    """
    person = data["data"]
    if isinstance(person, list) and len(person) == 1:
        person = person[0]
    adapted = {}
    for name, fields in (("firstName", ("first_name", "firstName")), ("lastName", ("last_name", "lastName")),
                         ("headline", ("headline",)),
                         ("publicIdentifier", ("public_identifier", "publicIdentifier", "username"))):
        found = [person[field] for field in fields if field in person]
        if found:
            adapted[name] = found[0]
    _require(adapted.get("firstName") or adapted.get("publicIdentifier"))
    return {"success": True, "data": adapted}


def _require(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError("the payload names no account")


def _instagram_link(username: Any) -> str:
    return f"https://www.instagram.com/{quote(str(username), safe='')}/"


def _linkedin_slug(link: str) -> str:
    """``ada`` of https://www.linkedin.com/in/ada/?trk=x. ValueError where there is none."""
    _, profile, slug = urlsplit(link).path.rstrip("/").rpartition("/in/")
    if not profile or not slug or "/" in slug:
        raise ValueError("not the URL of a profile")
    return unquote(slug)


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


def _get(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _code(code: Any) -> int:
    """An error's code where others may do better, else 502: a 401 of theirs is not about our key."""
    return int(code) if str(code) in ("403", "404", "429", "500", "502", "503", "504") else 502


PROVIDERS: Mapping[str, Tuple[ProviderConfig, ...]] = MappingProxyType({
    "tiktok": (
        ProviderConfig("tiktok-scraper7", "tiktok-scraper7.p.rapidapi.com", 1,
                       use_case="User profiles, posts, metrics",
                       advice="keep (primary): best coverage, stable", check=_check_tiktok),
        ProviderConfig("tiktok-feature", "tiktok-video-feature-summary.p.rapidapi.com", 2,
                       use_case="Backup for user data",
                       advice="keep (secondary): backup", check=_check_tiktok,
                       routes=_OwnDialect({"/user/info": Route("/user/info", adapt=_adapt_tiktok_user)})),
        # In the strategy's table, missing in its code. Its contract is not established: that it speaks the
        # platform's dialect is an assumption.
        ProviderConfig("tiktok-tikwm", "tiktok-scraper.p.rapidapi.com", 3,
                       use_case="Last resort", status="limited", check=_check_tiktok),
    ),
    "instagram": (
        ProviderConfig("instagram-looter2", "instagram-looter2.p.rapidapi.com", 1,
                       use_case="Profile + posts",
                       advice="keep (primary): reliable profile data", check=_check_looter),
        # "Keep (primary)" in the recommendations, second in the table: second, as it serves analytics only.
        ProviderConfig("instagram-stats", "instagram-statistics-api.p.rapidapi.com", 2,
                       use_case="Analytics only",
                       advice="keep (primary): analytics", check=_check_statistics,
                       # Its /posts takes its own cid; the payload of its /posts/one is not established.
                       routes={"/profile": Route(
                           "/community", params=lambda p: {"url": _instagram_link(p["username"])},
                           adapt=_adapt_statistics_profile)}),
    ),
    "youtube": (
        ProviderConfig("yt-api", "yt-api.p.rapidapi.com", 1,
                       use_case="All operations",
                       advice="keep (primary): comprehensive YouTube data", check=_check_youtube),
    ),
    "twitter": (
        ProviderConfig("the-old-bird", "twitter-api45.p.rapidapi.com", 1,
                       use_case="Rate limited", status="limited",
                       advice="replace/upgrade: consider PRO tier", check=_check_twitter),
    ),
    "linkedin": (
        # Both "keep" and "replace/upgrade" in the recommendations, so both are said.
        ProviderConfig("linkedin-realtime", "linkedin-data-scraper.p.rapidapi.com", 1,
                       use_case="Profile enrichment", status="limited",
                       advice="keep (secondary): rate limited but works; "
                              "replace/upgrade: need higher tier for reliable access", check=_check_linkedin,
                       routes={"/person_deep": Route("/person_deep", "POST", json=lambda p: p)}),
        ProviderConfig("linkedin-fresh", "fresh-linkedin-scraper-api.p.rapidapi.com", 2,
                       use_case="Backup", status="limited",
                       advice="replace/upgrade: need higher tier for reliable access", check=_check_linkedin,
                       # Its /user/posts takes a urn of its own.
                       routes={"/person_deep": Route(
                           "/api/v1/user/profile", params=lambda p: {"username": _linkedin_slug(p["link"])},
                           adapt=_adapt_fresh_profile)}),
    ),
    "threads": (
        # Only in the recommendations. Its host is inferred from the others' pattern.
        ProviderConfig("threads-api4", "threads-api4.p.rapidapi.com", 1, status="limited",
                       advice="subscribe: need to subscribe", enabled=False, check=_check_threads),
    ),
})

# What the health check asks: the strategy's own for the first three, profiles that are likely to stay for the others.
PROBES: Mapping[str, Tuple[str, Mapping[str, Any]]] = MappingProxyType({
    "tiktok": ("/user/info", {"unique_id": "tiktok"}),
    "instagram": ("/profile", {"username": "instagram"}),
    "youtube": ("/video/info", {"id": "dQw4w9WgXcQ"}),
    "twitter": ("/screenname.php", {"screenname": "x"}),
    "linkedin": ("/person_deep", {"link": "https://www.linkedin.com/in/williamhgates"}),
    "threads": ("/api/user/info", {"username": "threads"}),
})
