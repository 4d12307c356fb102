"""The functions of the package, which share one default client that is made at first use."""

from __future__ import annotations

from typing import Any, Callable, Generator, Iterable, Mapping, Optional, Tuple
from urllib.parse import quote

from .batch import Answer
from .client import FailoverClient
from .config import Result
from .errors import UnknownPlatform
from .fork import anew_in_child, new_lock
from .pages import Next
from .registry import ProviderRegistry

__all__ = [
    "batch",
    "call",
    "call_with_failover",
    "check_provider_health",
    "configure",
    "default_client",
    "default_registry",
    "exchange_default",
    "get_instagram_profile",
    "get_linkedin_profile",
    "get_tiktok_user",
    "get_twitter_user",
    "get_youtube_video",
    "pages",
    "question_of",
]


class _Standard(float):
    """The strategy's timeout as the default, told apart from an equal one that the caller passes:
    in place of the default, the client's own option counts.
    """


_STANDARD = _Standard(15.0)  # seconds, one attempt


class _Default:
    """The default client, its lock, and the strategy's registry, whose circuits outlive a
    ``configure``.
    """

    def __init__(self) -> None:
        self.client: FailoverClient | None = None
        self.registry: ProviderRegistry | None = None
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()

    def replace(self, options: dict[str, Any] | None) -> FailoverClient:
        """Put a client with these options in place of the current client. None: return the
        current client, or make the first.
        """
        with self._lock:
            replaced = self.client
            if options is None and replaced is not None:
                return replaced
            options = dict(options or {})
            if options.get("registry") is None:
                self.registry = self.registry or ProviderRegistry()
                options["registry"] = self.registry
            self.client = client = FailoverClient(**options)
        if replaced is not None:
            replaced.close()
        return client

    def exchange(self, state: Default) -> Default:
        """Put another client and registry in place, or none; return those that were there."""
        with self._lock:
            before = (self.client, self.registry)
            self.client, self.registry = state
            return before


# the client, and the strategy's registry
Default = Tuple[Optional[FailoverClient], Optional[ProviderRegistry]]

_default = _Default()


def default_client() -> FailoverClient:
    """The client that the functions of the module share, made at first use."""
    return _default.client or _default.replace(None)


def default_registry() -> ProviderRegistry:
    """The registry of the default client."""
    return default_client().registry


def configure(**options: Any) -> FailoverClient:
    """Replace the default client by one with these options (those of FailoverClient).

    Without ``registry`` the strategy's providers go on with the circuits they have. The client that
    is replaced is closed; calls under way finish.
    """
    return _default.replace(options)


def exchange_default(state: Default) -> Default:
    """Put another default client in place, for ``testing.using``; what was there, still open."""
    return _default.exchange(state)


def call(
    platform: str,
    endpoint: str,
    params: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    deadline: float | None = None,
    provider: str | None = None,
    fresh_for: float | None = None,
) -> Result:
    """``FailoverClient.call`` on the default client."""
    return default_client().call(
        platform,
        endpoint,
        params,
        timeout=timeout,
        deadline=deadline,
        provider=provider,
        fresh_for=fresh_for,
    )


def pages(
    platform: str,
    endpoint: str,
    params: Mapping[str, Any] | None = None,
    *,
    next: Next | None = None,
    limit: int | None = None,
    provider: str | None = None,
    timeout: float | None = None,
    deadline: float | None = None,
) -> Generator[Result, None, None]:
    """``FailoverClient.pages`` on the default client."""
    return default_client().pages(
        platform,
        endpoint,
        params,
        next=next,
        limit=limit,
        provider=provider,
        timeout=timeout,
        deadline=deadline,
    )


def batch(
    platform: str,
    endpoint: str,
    questions: Iterable[Mapping[str, Any]],
    *,
    threads: int = 8,
    patience: float = 60.0,
    timeout: float | None = None,
    deadline: float | None = None,
) -> Generator[Answer, None, None]:
    """``FailoverClient.batch`` on the default client."""
    return default_client().batch(
        platform,
        endpoint,
        questions,
        threads=threads,
        patience=patience,
        timeout=timeout,
        deadline=deadline,
    )


def call_with_failover(
    platform: str,
    endpoint: str,
    params: Mapping[str, Any] | None = None,
    timeout: float = _STANDARD,
) -> Any:
    """Decoded JSON from the first provider that has it, else the last good copy.

    ``timeout`` bounds one attempt, in seconds; left out, it is the default client's. Raises
    FailoverErrors.
    """
    given = None if timeout is _STANDARD else timeout
    return default_client().call_with_failover(platform, endpoint, params, given)


def check_provider_health(
    platforms: Iterable[str] | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """``FailoverClient.check_provider_health`` on the default client. A probe is a metered call."""
    return default_client().check_provider_health(platforms)


def get_tiktok_user(username: str, timeout: float = _STANDARD) -> Any:
    """A TikTok profile, whoever answers: ``/user/info`` of tiktok-scraper7's dialect.

    ``data.user``: uniqueId, nickname (texts), verified (a bool), id, secUid (texts), signature,
    avatarLarger; ``data.stats``: followerCount, followingCount, heartCount, videoCount (ints). Seen
    in three or more places for scraper7; tiktok-feature may send snake_case, which is renamed;
    tiktok-tikwm is unconfirmed.
    """
    return call_with_failover("tiktok", *question_of("tiktok", username), timeout)


def get_instagram_profile(username: str, timeout: float = _STANDARD) -> Any:
    """An Instagram profile, whoever answers: ``/profile`` of instagram-looter2's dialect, flat.

    From both: username, full_name (texts), is_verified (a bool), edge_followed_by.count (an int:
    followers). From looter2 alone: id, biography, is_private, profile_pic_url_hd,
    edge_follow.count, edge_owner_to_timeline_media. looter2's fields come from a captured answer,
    those of instagram-stats were seen in three or more places.
    """
    return call_with_failover("instagram", *question_of("instagram", username), timeout)


def get_youtube_video(video_id: str, timeout: float = _STANDARD) -> Any:
    """A YouTube video: ``/video/info`` of yt-api, flat.

    id, title, viewCount (digits in a text), likeCount, channelId, channelTitle, publishedAt. Seen
    in three or more places.
    """
    return call_with_failover("youtube", *question_of("youtube", video_id), timeout)


def get_twitter_user(screenname: str, timeout: float = _STANDARD) -> Any:
    """A Twitter/X profile: ``/screenname.php`` of the-old-bird (twitter-api45), flat.

    status ("active"), profile (the handle), rest_id, name, desc, avatar (texts), sub_count
    (followers), friends, statuses_count (ints), protected. Seen in three or more places.
    """
    return call_with_failover("twitter", *question_of("twitter", screenname), timeout)


def get_linkedin_profile(username: str, timeout: float = _STANDARD) -> Any:
    """A LinkedIn profile, whoever answers: ``/person_deep`` of linkedin-realtime's dialect.

    ``username`` is the last part of the profile's URL. ``data`` (linkedin-realtime may also send a
    list of one): firstName, publicIdentifier (texts). From linkedin-realtime more: experiences and
    others. Its fields were seen in one or two places; the names of linkedin-fresh's are
    unconfirmed.
    """
    return call_with_failover("linkedin", *question_of("linkedin", username), timeout)


def question_of(platform: str, name: str) -> tuple[str, dict[str, Any]]:
    """The (endpoint, params) that ask for a profile, or for YouTube's video, by its name.

    UnknownPlatform, TypeError, ValueError.
    """
    try:
        endpoint, params = _QUESTIONS[platform]
    except KeyError:
        raise UnknownPlatform(
            f"of {platform!r} nothing is known by name; known: {', '.join(_QUESTIONS)}"
        ) from None
    if not isinstance(name, str):
        raise TypeError(f"a name is a text, not {type(name).__name__}")
    if not name.strip():
        raise ValueError("the name is empty")
    return endpoint, params(name)


_QUESTIONS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "tiktok": ("/user/info", lambda name: {"unique_id": name}),
    "instagram": ("/profile", lambda name: {"username": name}),
    "youtube": ("/video/info", lambda name: {"id": name}),
    "twitter": ("/screenname.php", lambda name: {"screenname": name}),
    "linkedin": (
        "/person_deep",
        lambda name: {"link": f"https://www.linkedin.com/in/{quote(name, safe='')}"},
    ),
}
