"""The strategy's providers as data: who serves a platform, in which order, and what is advised about them.

Hosts, priorities, use cases, status and advice are the strategy's own tables and recommendations. No
provider was asked live: that they answer as their names promise is unconfirmed.

A check tells what JSON that came with a 200 should have come with: 200 when its envelope is that of a success,
404 for dead content, the envelope's own code where it has one, 502 for anything else. How sure each
envelope is stands beside it: B seen in three or more places, C in one or two.
"""

from types import MappingProxyType
from typing import Any, Mapping, Tuple

from .config import ProviderConfig

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


def _get(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _code(code: Any) -> int:
    """An error's code where it is one that the matrix knows, else 502."""
    return int(code) if str(code) in ("401", "403", "404", "429", "500", "502", "503", "504") else 502


PROVIDERS: Mapping[str, Tuple[ProviderConfig, ...]] = MappingProxyType({
    "tiktok": (
        ProviderConfig("tiktok-scraper7", "tiktok-scraper7.p.rapidapi.com", 1,
                       use_case="User profiles, posts, metrics",
                       advice="keep (primary): best coverage, stable", check=_check_tiktok),
        ProviderConfig("tiktok-feature", "tiktok-video-feature-summary.p.rapidapi.com", 2,
                       use_case="Backup for user data",
                       advice="keep (secondary): backup", check=_check_tiktok),
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
                       advice="keep (primary): analytics", check=_check_statistics),
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
                              "replace/upgrade: need higher tier for reliable access", check=_check_linkedin),
        ProviderConfig("linkedin-fresh", "fresh-linkedin-scraper-api.p.rapidapi.com", 2,
                       use_case="Backup", status="limited",
                       advice="replace/upgrade: need higher tier for reliable access", check=_check_linkedin),
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
