"""The strategy's providers as data: who serves a platform, in which order, and what is advised about them.

Hosts, priorities, use cases, status and advice are the strategy's own tables and recommendations. No
provider was asked live: that they answer as their names promise is unconfirmed.
"""

from types import MappingProxyType
from typing import Any, Mapping, Tuple

from .config import ProviderConfig

__all__ = ["PROBES", "PROVIDERS"]

PROVIDERS: Mapping[str, Tuple[ProviderConfig, ...]] = MappingProxyType({
    "tiktok": (
        ProviderConfig("tiktok-scraper7", "tiktok-scraper7.p.rapidapi.com", 1,
                       use_case="User profiles, posts, metrics",
                       advice="keep (primary): best coverage, stable"),
        ProviderConfig("tiktok-feature", "tiktok-video-feature-summary.p.rapidapi.com", 2,
                       use_case="Backup for user data",
                       advice="keep (secondary): backup"),
        # In the strategy's table, missing in its code; its contract is not established (rapidapi.md: ?).
        ProviderConfig("tiktok-tikwm", "tiktok-scraper.p.rapidapi.com", 3,
                       use_case="Last resort", status="limited"),
    ),
    "instagram": (
        ProviderConfig("instagram-looter2", "instagram-looter2.p.rapidapi.com", 1,
                       use_case="Profile + posts",
                       advice="keep (primary): reliable profile data"),
        # "Keep (primary)" in the recommendations, second in the table: second, as it serves analytics only.
        ProviderConfig("instagram-stats", "instagram-statistics-api.p.rapidapi.com", 2,
                       use_case="Analytics only",
                       advice="keep (primary): analytics"),
    ),
    "youtube": (
        ProviderConfig("yt-api", "yt-api.p.rapidapi.com", 1,
                       use_case="All operations",
                       advice="keep (primary): comprehensive YouTube data"),
    ),
    "twitter": (
        ProviderConfig("the-old-bird", "twitter-api45.p.rapidapi.com", 1,
                       use_case="Rate limited", status="limited",
                       advice="replace/upgrade: consider PRO tier"),
    ),
    "linkedin": (
        # Both "keep" and "replace/upgrade" in the recommendations, so both are said.
        ProviderConfig("linkedin-realtime", "linkedin-data-scraper.p.rapidapi.com", 1,
                       use_case="Profile enrichment", status="limited",
                       advice="keep (secondary): rate limited but works; "
                              "replace/upgrade: need higher tier for reliable access"),
        ProviderConfig("linkedin-fresh", "fresh-linkedin-scraper-api.p.rapidapi.com", 2,
                       use_case="Backup", status="limited",
                       advice="replace/upgrade: need higher tier for reliable access"),
    ),
    "threads": (
        # Only in the recommendations. Its host is inferred from the others' pattern.
        ProviderConfig("threads-api4", "threads-api4.p.rapidapi.com", 1, status="limited",
                       advice="subscribe: need to subscribe", enabled=False),
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
