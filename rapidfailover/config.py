"""The small frozen values that travel between the modules, and what may be in them."""

from __future__ import annotations

import json
import math
import re
from copy import deepcopy
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from ipaddress import ip_address
from operator import itemgetter
from typing import Any, Callable, Mapping, NamedTuple, Sequence
from urllib.parse import quote_plus, urlsplit
from zlib import crc32

__all__ = [
    "Attempt",
    "Paging",
    "ProviderConfig",
    "Question",
    "RefreshRequest",
    "Result",
    "Route",
    "check_seconds",
    "encode_query",
    "nests",
    "plain",
    "texts_in",
]


class Paging(NamedTuple):
    """How a list goes on: ``next(params, data)`` is the params of the next page, or None at the
    end.
    """

    # (the params of a page, its data) -> the params of the next page; None at the end
    next: Callable[[dict[str, Any], Any], Mapping[str, Any] | None]


class Route(NamedTuple):
    """How one provider serves an endpoint of the platform in a dialect of its own.

    ``path`` may be a function of the params. It returns the parts of the path (``("v1", "users",
    params["name"])``), which are percent-encoded, or the path as it is. A path that could lead
    elsewhere is not asked for: one that no endpoint may be, or one into which a param brings a
    ``/`` or ``%`` of its own; the provider is skipped then.
    """

    path: str | Callable[[dict[str, Any]], str | Sequence[str | int]]
    method: str = "GET"
    # the query; None: the caller's params
    params: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    # the body; then there is no query but params
    json: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    adapt: Callable[[Any], Any] | None = None  # its payload in the shape of the platform's primary
    # how its list goes on, in the params and the shape of the platform's primary
    pages: Paging | None = None


@dataclass(frozen=True)
class ProviderConfig:
    """One host that serves a platform.

    ``host`` is what ``X-RapidAPI-Host`` says. ``base_url`` defaults to ``https://{host}``;
    ``http://`` is taken for loopback addresses only, because the key would travel in clear. The
    lowest ``priority`` is asked first. Frozen: what happens to a provider is in
    ``ProviderRegistry.snapshot()``.

    ``routes`` maps the platform's endpoints to Routes; None: the provider speaks the platform's
    dialect. An endpoint that is not in it goes unchanged to the platform's first-priority provider,
    and the others are skipped for it. (A mapping with ``__missing__`` may serve every endpoint.)

    ``check(endpoint, data)`` tells of JSON that came with a 200 which status it should have had:
    200 when it is fine, 404 for dead content, 502 for what makes no sense.

    ``auth`` is as requests takes it: a callable that is given the PreparedRequest and returns it
    (``HTTPBasicAuth``, an ``AuthBase`` of yours). None: the client's RapidAPI key where ``host`` is
    ``*.rapidapi.com``, and nothing anywhere else. Whatever it adds to headers, query or body is a
    secret like the key.

    ``timeout`` is for one attempt at this provider, in seconds (None: the client's); ``rate`` how
    many requests a second it takes at most (None: learned from its 429s); ``overage`` whether it
    may be asked beyond its plan's quota, for money.
    """

    name: str
    host: str
    priority: int
    base_url: str | None = None
    use_case: str = ""
    status: str = "ok"  # "ok" or "limited" (the strategy's ✅ and ⚠️)
    advice: str = ""
    enabled: bool = True
    routes: Mapping[str, Route] | None = field(default=None, hash=False)
    check: Callable[[str, Any], int] | None = None
    # Not in the repr, which may show what the auth puts on; nor in the hash, because requests' own
    # auths cannot be hashed.
    auth: Callable[[Any], Any] | None = field(default=None, repr=False, hash=False)
    timeout: float | None = None
    rate: float | None = None
    overage: bool = False

    def __post_init__(self) -> None:
        for name in ("name", "host"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"a provider's {name} is a non-empty text, not {value!r}")
            object.__setattr__(self, name, plain(value))
        object.__setattr__(self, "host", self.host.lower())
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            raise ValueError(
                f"the priority of {self.name} is a whole number, not {self.priority!r}"
            )
        url = f"https://{self.host}" if self.base_url is None else self.base_url
        if not _is_base_url(f"https://{self.host}") or urlsplit(f"https://{self.host}").path:
            raise ValueError(f"the host of {self.name} is a bare host name, not {self.host!r}")
        if not _is_base_url(url):
            raise ValueError(
                f"the base_url of {self.name} is https://host[:port][/path], or http:// "
                f"with a loopback address, not {url!r}"
            )
        for endpoint, route in (self.routes or {}).items():
            _check_route(f"{self.name} for {endpoint!r}", route)
        _check_function(f"the check of {self.name}", self.check)
        _check_auth(self.name, self.auth)
        for name in ("timeout", "rate"):
            if getattr(self, name) is not None:
                check_seconds(
                    f"the {name} of {self.name}",
                    getattr(self, name),
                    unit="seconds" if name == "timeout" else "requests a second",
                )
        object.__setattr__(self, "base_url", plain(url).rstrip("/"))


def _check_route(whose: str, route: Any) -> None:
    if not isinstance(route, Route):
        raise ValueError(f"the route of {whose} is a Route, not {route!r}")
    if not isinstance(route.method, str) or not re.fullmatch("[A-Z]+", route.method):
        raise ValueError(f"the method of {whose} is GET or POST, not {route.method!r}")
    for name in ("params", "json", "adapt"):
        _check_function(f"the {name} of {whose}", getattr(route, name))
    if route.pages is not None and not (
        isinstance(route.pages, Paging) and callable(route.pages.next)
    ):
        raise ValueError(f"the pages of {whose} are a Paging, not {route.pages!r}")


def _check_function(what: str, given: Any) -> None:
    if given is not None and not callable(given):
        raise TypeError(f"{what} is a function, not {type(given).__name__}")


def _check_auth(name: str, auth: Any) -> None:
    """TypeError, without the value: it may hold a secret."""
    what = ""
    if isinstance(auth, type):
        what = f"the class {auth.__name__}: write {auth.__name__}(...)"
    elif isinstance(auth, (tuple, list)):
        what = "a pair: write requests.auth.HTTPBasicAuth(user, password)"
    elif auth is not None and not callable(auth):
        what = (
            f"{type(auth).__name__}: write RapidAPIKey(key), HTTPBasicAuth(user, password) or a"
            " function"
        )
    elif iscoroutinefunction(auth) or iscoroutinefunction(getattr(auth, "__call__", None)):
        what = "asynchronous: write a plain function"
    elif hasattr(auth, "handle_401"):
        what = (
            f"{type(auth).__name__}, which asks twice: write an auth that knows what to put on"
            " beforehand"
        )
    if what:
        raise TypeError(
            f"the auth of {name} is a callable that is given the PreparedRequest and returns it, "
            f"not {what}"
        )


class RefreshRequest(NamedTuple):
    """What was asked, as plain picklable data, so that it can be asked again later."""

    platform: str
    endpoint: str
    params: Mapping[str, Any]


class Question(NamedTuple):
    """A request on its way: what was asked, and the two forms of its params that the work needs."""

    platform: str
    endpoint: str
    params: Mapping[str, Any]
    query: str  # encoded and sorted, without the '?'
    key: str  # of its entry in the cache

    def number(self) -> int:
        """A short hash, by which circuits tell questions apart."""
        return crc32(self.key.encode())


class Attempt(NamedTuple):
    """One visit to one provider, with its retries."""

    provider: str
    status: int | None  # as it came over the wire; None when nothing was answered
    action: str  # the matrix's word for the row that decided
    detail: str  # why, in the provider's words or ours
    retries: int  # further requests to the same provider within this visit
    elapsed: float  # seconds, its waits included


class Result(NamedTuple):
    """What came back, from whom and how."""

    data: Any  # decoded JSON: an object or an array, yours to change
    platform: str
    endpoint: str
    provider: str
    stale: bool  # True: nobody answered, this is the last good copy
    age: float  # seconds since the provider answered; 0.0 when it just did
    attempts: tuple[Attempt, ...]  # in the order they were made; empty when nobody was asked
    elapsed: float  # seconds
    quota: Mapping[str, Any] | None = None  # {"limit", "remaining", "reset"}, as far as it was told


def plain(text: str) -> str:
    """A text that is nothing else: an f-string would format a member of an Enum by its name."""
    return str.__str__(text)


def texts_in(data: Any) -> list[str]:
    """Where the gateway's and the catalogue's hosts put their words, when an answer is an
    error (rapidapi.md).
    """
    if not isinstance(data, dict):
        return []
    meta, errors = data.get("meta"), data.get("errors")
    places = [data.get(name) for name in WORDS]
    places.append(meta.get("message") if isinstance(meta, dict) else None)
    for error in errors if isinstance(errors, list) else ():
        places.append(error.get("description") if isinstance(error, dict) else None)
    return [text for text in places if isinstance(text, str)]


WORDS = ("message", "messages", "msg", "error", "errorMessage")


def check_seconds(name: str, value: Any, *, zero: bool = False, unit: str = "seconds") -> float:
    """``value`` as a finite positive number of seconds, or a ValueError that names the option."""
    try:
        if (
            not isinstance(value, bool)
            and isinstance(value, (int, float))
            and math.isfinite(value)
            and (value > 0 or value == 0 and zero)
        ):
            return float(value)
    except OverflowError:  # an integer beyond all floats
        pass
    kind = "non-negative" if zero else "positive"
    raise ValueError(f"{name} is a {kind} finite number of {unit}, not {str(value)[:40]!r}")


def nests(value: Any) -> bool:
    """Whether it is an object, or a list with something that is no text and no number."""
    if isinstance(value, (list, tuple)):
        return any(isinstance(one, (list, tuple, dict)) for one in value)
    return isinstance(value, dict)


def request_of(question: Question) -> RefreshRequest:
    """Copied: what the caller does with its params later is not what was asked."""
    params = {
        name: deepcopy(value) if isinstance(value, (list, tuple, dict)) else value
        for name, value in question.params.items()
    }
    return RefreshRequest(question.platform, question.endpoint, params)


def result_of(
    question: Question,
    elapsed: float,
    data: Any,
    provider: str,
    attempts: Sequence[Attempt] = (),
    *,
    stale: bool = False,
    age: float = 0.0,
    quota: Mapping[str, Any] | None = None,
) -> Result:
    """As it is handed out. ``elapsed``: seconds since the call began."""
    return Result(
        data,
        question.platform,
        question.endpoint,
        provider,
        stale,
        age,
        tuple(attempts),
        elapsed,
        quota,
    )


def encode_query(params: Mapping[str, Any] | None, may_nest: Callable[[], bool] = bool) -> str:
    """The query string as ``requests`` would send it, sorted by name.

    None is left out, a list repeats its name. Sorted, because the same question in another order is
    the same cache entry; encoded, because ``{"a": 1}`` and ``{"a": "1"}`` are one question and
    ``1`` and ``True`` are not, although they are equal.

    ``may_nest`` is asked where a value nests. Then it stands there as plain JSON, which no query
    can hold: enough to tell questions apart, not to be sent.
    """
    # a dict first: isinstance() with Mapping, which is an ABC, is slow
    if params is not None and type(params) is not dict and not isinstance(params, Mapping):
        raise TypeError(f"params is a mapping of names to values, not {type(params).__name__}")
    pairs = []
    for name, value in (params or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"the names of params are texts, not {name!r}")
        if nests(value) and may_nest():
            pairs.append((name, f"{_quoted(plain(name))}={_as_json(name, value)}"))
            continue
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is None:
                continue
            if not isinstance(one, (str, int, float)):
                raise TypeError(
                    f"params[{name!r}] is a text, a number, None or a list of those, "
                    f"not {type(one).__name__}"
                )
            text = plain(one) if isinstance(one, str) else str(one)
            pairs.append((name, f"{_quoted(plain(name))}={_quoted(text)}"))
    pairs.sort(key=itemgetter(0))
    return "&".join([pair for _, pair in pairs])


def _as_json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise TypeError(
            f"params[{name!r}] is no JSON: {type(problem).__name__}: {problem}"
        ) from None


def _quoted(text: str) -> str:
    return text if text.isascii() and (text.isalnum() or text.isidentifier()) else quote_plus(text)


def _is_base_url(url: Any) -> bool:
    """Whether a key may be sent there: https anywhere, http on this machine, nothing hidden in
    it.
    """
    if not isinstance(url, str) or not url.isprintable() or any(c in url for c in " \\?#@"):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    try:
        is_loopback = ip_address(host or "").is_loopback
    except ValueError:
        is_loopback = host == "localhost"
        if (
            not all(_LABEL.match(label) for label in (host or "").split("."))
            or len(host or "") > 253
        ):
            return False
    return parts.scheme == "https" or parts.scheme == "http" and is_loopback


# of a host name (RFC 1123), in lower case
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$")
