"""What may stand in the place of an endpoint: a path that cannot lead off the provider's host."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .errors import InvalidEndpoint

__all__ = ["check_endpoint"]


def check_endpoint(endpoint: Any) -> None:
    """Refuse whatever could lead off the provider's host once it is joined to its base_url."""
    if type(endpoint) is str:
        _check_path(endpoint)
    else:  # not cached: it may not be hashable
        _check_path.__wrapped__(endpoint)


@lru_cache(maxsize=1024)
def _check_path(endpoint: Any) -> None:
    if not isinstance(endpoint, str) or not endpoint.startswith("/") or endpoint.startswith("//"):
        raise InvalidEndpoint(f"an endpoint is a path that begins with one '/', not {endpoint!r}")
    if any(char in "\\?#{}" or not char.isprintable() for char in endpoint):
        raise InvalidEndpoint(
            "an endpoint has no '\\', '?', '#', '{', '}' or control characters; "
            f"queries go into params: {endpoint!r}"
        )
    if any(part.lower().replace("%2e", ".") in (".", "..") for part in endpoint.split("/")):
        raise InvalidEndpoint(f"an endpoint has no '.' or '..' as a part of its path: {endpoint!r}")
