"""One call, several providers behind RapidAPI, data in time.

    from rapidfailover import call_with_failover
    user = call_with_failover("tiktok", "/user/info", {"unique_id": "tiktok"})
"""

import logging as _logging
from typing import TYPE_CHECKING, Any

from .api import (
    call,
    call_with_failover,
    check_provider_health,
    configure,
    default_client,
    default_registry,
    get_instagram_profile,
    get_linkedin_profile,
    get_tiktok_user,
    get_twitter_user,
    get_youtube_video,
)
from .cache import FileCache, LRUTTLCache
from .client import FailoverClient
from .config import Attempt, ProviderConfig, RefreshRequest, Result, Route
from .errors import (
    AllProvidersFailed,
    AuthenticationFailed,
    BadRequest,
    FailoverError,
    InvalidAPIKey,
    InvalidEndpoint,
    MissingAPIKey,
    NoProvidersAvailable,
    NotFound,
    RequestRefused,
    UnknownPlatform,
    UnknownProvider,
)
from .matrix import MATRIX, Rule
from .registry import ProviderRegistry

__version__ = "0.1.0"

__all__ = [
    "MATRIX", "AllProvidersFailed", "Attempt", "AuthenticationFailed", "BadRequest", "FailoverClient",
    "FailoverError", "FileCache", "InvalidAPIKey", "InvalidEndpoint", "LRUTTLCache", "MissingAPIKey",
    "NoProvidersAvailable", "NotFound", "ProviderConfig", "ProviderRegistry", "RefreshRequest",
    "RequestRefused", "Result", "Route", "Rule", "UnknownPlatform", "UnknownProvider", "call", "call_with_failover",
    "check_provider_health", "configure", "default_client", "get_instagram_profile", "get_linkedin_profile",
    "get_tiktok_user", "get_twitter_user", "get_youtube_video", "registry",
]

_logging.getLogger(__name__).addHandler(_logging.NullHandler())

if TYPE_CHECKING:
    registry: ProviderRegistry
del globals()["registry"]  # the submodule of that name: the name is the default client's registry


def __getattr__(name: str) -> Any:
    if name == "registry":
        return default_registry()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
