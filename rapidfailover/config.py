"""The small frozen values that travel between the modules, and what may be in them."""

import math
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from operator import itemgetter
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote_plus, urlsplit

__all__ = [
    "Attempt", "ProviderConfig", "Question", "RefreshRequest", "Result", "Route", "check_seconds", "encode_query",
    "plain",
]


class Route(NamedTuple):
    """How one provider serves an endpoint of the platform in a dialect of its own."""

    path: str
    method: str = "GET"
    params: Optional[Callable[[Dict[str, Any]], Mapping[str, Any]]] = None  # the query; None: the caller's params
    json: Optional[Callable[[Dict[str, Any]], Mapping[str, Any]]] = None  # the body; then there is no query but params
    adapt: Optional[Callable[[Any], Any]] = None  # its payload in the shape of the platform's primary


@dataclass(frozen=True)
class ProviderConfig:
    """One host that serves a platform.

    ``host`` is what ``X-RapidAPI-Host`` says. ``base_url`` defaults to ``https://{host}``; ``http://`` is
    taken for loopback addresses only, because the key would travel in clear. The lowest ``priority`` is
    asked first. Frozen: what happens to a provider is in ``ProviderRegistry.snapshot()``.

    ``routes`` maps the platform's endpoints to Routes; None: the provider speaks the platform's dialect. An
    endpoint that is not in it goes unchanged to the platform's first-priority provider, and the others are
    skipped for it. (A mapping with ``__missing__`` may serve every endpoint.)

    ``check(endpoint, data)`` tells of JSON that came with a 200 which status it should have had: 200 when it
    is fine, 404 for dead content, 502 for what makes no sense.
    """

    name: str
    host: str
    priority: int
    base_url: Optional[str] = None
    use_case: str = ""
    status: str = "ok"  # "ok" or "limited" (the strategy's ✅ and ⚠️)
    advice: str = ""
    enabled: bool = True
    routes: Optional[Mapping[str, Route]] = field(default=None, hash=False)
    check: Optional[Callable[[str, Any], int]] = None

    def __post_init__(self) -> None:
        for name in ("name", "host"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"a provider's {name} is a non-empty text, not {value!r}")
            object.__setattr__(self, name, plain(value))
        if not isinstance(self.priority, int) or isinstance(self.priority, bool):
            raise ValueError(f"the priority of {self.name} is a whole number, not {self.priority!r}")
        url = f"https://{self.host}" if self.base_url is None else self.base_url
        if not _is_base_url(f"https://{self.host}") or urlsplit(f"https://{self.host}").path:
            raise ValueError(f"the host of {self.name} is a bare host name, not {self.host!r}")
        if not _is_base_url(url):
            raise ValueError(f"the base_url of {self.name} is https://host[:port][/path], or http:// "
                             f"with a loopback address, not {url!r}")
        for endpoint, route in (self.routes or {}).items():
            if not isinstance(route, Route):
                raise ValueError(f"the route of {self.name} for {endpoint!r} is a Route, not {route!r}")
            if not isinstance(route.method, str) or not re.match("[A-Z]+$", route.method):
                raise ValueError(f"the method of {self.name} for {endpoint!r} is GET or POST, not {route.method!r}")
        object.__setattr__(self, "base_url", plain(url).rstrip("/"))


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


class Attempt(NamedTuple):
    """One visit to one provider, with its retries."""

    provider: str
    status: Optional[int]  # as it came over the wire; None when nothing was answered
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
    attempts: Tuple[Attempt, ...]  # in the order they were made; empty when nobody was asked
    elapsed: float  # seconds
    quota: Optional[Mapping[str, Any]] = None  # {"limit", "remaining", "reset"} as far as the provider told


def plain(text: str) -> str:
    """A text that is nothing else: an f-string would format a member of an Enum by its name."""
    return str.__str__(text)


def check_seconds(name: str, value: Any, *, zero: bool = False) -> float:
    """``value`` as a finite positive number of seconds, or a ValueError that names the option."""
    try:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value) \
                and (value > 0 or value == 0 and zero):
            return float(value)
    except OverflowError:  # an integer beyond all floats
        pass
    kind = "non-negative" if zero else "positive"
    raise ValueError(f"{name} is a {kind} finite number of seconds, not {str(value)[:40]!r}")


def encode_query(params: Optional[Mapping[str, Any]]) -> str:
    """The query string as ``requests`` would send it, sorted by name.

    None is left out, a list repeats its name. Sorted, because the same question in another order is the
    same cache entry; encoded, because ``{"a": 1}`` and ``{"a": "1"}`` are one question and ``1`` and
    ``True`` are not, although they are equal.
    """
    if params is not None and type(params) is not dict and not isinstance(params, Mapping):  # an ABC takes its time
        raise TypeError(f"params is a mapping of names to values, not {type(params).__name__}")
    pairs = []
    for name, value in (params or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"the names of params are texts, not {name!r}")
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if one is None:
                continue
            if not isinstance(one, (str, int, float)):
                raise TypeError(f"params[{name!r}] is a text, a number, None or a list of those, "
                                f"not {type(one).__name__}")
            pairs.append((name, f"{_quoted(plain(name))}={_quoted(plain(one) if isinstance(one, str) else str(one))}"))
    pairs.sort(key=itemgetter(0))
    return "&".join([pair for _, pair in pairs])


def _quoted(text: str) -> str:
    return text if text.isascii() and (text.isalnum() or text.isidentifier()) else quote_plus(text)


def _is_base_url(url: Any) -> bool:
    """Whether a key may be sent there: https anywhere, http on this machine, nothing hidden in it."""
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
        if not all(_LABEL.match(label) for label in (host or "").split(".")) or len(host or "") > 253:
            return False
    return parts.scheme == "https" or parts.scheme == "http" and is_loopback


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$")  # of a host name (RFC 1123), in lower case
