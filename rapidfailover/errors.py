"""Everything that is raised on purpose.

FailoverError (a requests.RequestException)
├── UnknownPlatform, UnknownProvider   no such name in the registry
├── InvalidEndpoint                    no path on a provider's host, or no provider serves it
├── MissingAPIKey, InvalidAPIKey       no key, or one that cannot be sent
├── RequestRefused                     the answer says that asking others will not help
│   ├── BadRequest                     400
│   └── AuthenticationFailed           401
└── AllProvidersFailed                 no data from anybody, and no copy
    ├── NotFound                       everybody was asked and said 404
    └── NoProvidersAvailable           nobody could be asked
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple

from requests import RequestException

if TYPE_CHECKING:
    from .config import Attempt

__all__ = [
    "AllProvidersFailed",
    "AuthenticationFailed",
    "BadRequest",
    "FailoverError",
    "InvalidAPIKey",
    "InvalidEndpoint",
    "MissingAPIKey",
    "NoProvidersAvailable",
    "NotFound",
    "RequestRefused",
    "UnknownPlatform",
    "UnknownProvider",
]


class FailoverError(RequestException):
    """The base of them all. Never carries ``request`` or ``response``: those hold the key.

    Takes one positional argument: an ``OSError`` with two prints them as an errno, and its pickle
    brings back attributes only when the constructor can do without them.
    """

    retryable = False  # whether the same call may have data later

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class UnknownPlatform(FailoverError, LookupError):
    """The registry has no platform of that name."""


class UnknownProvider(FailoverError, LookupError):
    """The platform has no provider of that name."""


class InvalidEndpoint(FailoverError, ValueError):
    """The endpoint is no path on a provider's own host. Nothing was sent."""


class MissingAPIKey(FailoverError):
    """There is no key: pass ``api_key`` or set ``RAPIDAPI_KEY``. Nothing was sent."""


class InvalidAPIKey(FailoverError):
    """The key cannot be a header's value: look for blanks or line breaks in it. Nothing was
    sent.
    """


class RequestRefused(FailoverError):
    """A provider answered in a way that neither a retry nor another provider would mend.

    ``status`` is the one that decided, ``detail`` the provider's own words.
    """

    def __init__(
        self, message: str = "", *, provider: str = "", status: int | None = None, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.detail = detail


class BadRequest(RequestRefused):
    """400: mend the parameters."""


class AuthenticationFailed(RequestRefused):
    """401, also after ``refresh_key`` where there is one: mend the key."""


class AllProvidersFailed(FailoverError):
    """Nobody had data and there is no copy that is young enough.

    ``attempts`` says who was asked and what they said; ``retry_after`` is the time in seconds until
    the first provider is no longer held or cooling down, or None where one can be asked right now.
    """

    retryable = True

    def __init__(
        self,
        message: str = "",
        *,
        platform: str = "",
        attempts: Tuple[Attempt, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.platform = platform
        self.attempts = attempts
        self.retry_after = retry_after


class NotFound(AllProvidersFailed):
    """Every provider that serves the endpoint was asked and said 404: there is no such thing (any
    more).
    """

    retryable = False


class NoProvidersAvailable(AllProvidersFailed):
    """All are held, cooling down or disabled; nobody was asked. Try again after ``retry_after``
    seconds.
    """


def refusal(row: int, provider: str, status: int, detail: str) -> RequestRefused:
    """The error for a row of the matrix that neither retries nor switches."""
    kind = {400: BadRequest, 401: AuthenticationFailed}.get(row, RequestRefused)
    reason = f": {detail}" if detail else ""
    return kind(
        f"{provider} refused the request with {status}{reason}",
        provider=provider,
        status=status,
        detail=detail,
    )
