"""A local RapidAPI to test against: the catalogue's hosts on loopback, over real HTTP.

    with FakeRapidAPI() as rapidapi:
        client = FailoverClient(rapidapi.registry, api_key="not-a-real-key")
        rapidapi.fail("tiktok-scraper7", 503)
        result = client.call("tiktok", "/user/info", {"unique_id": "ada"})
        assert result.provider == "tiktok-feature"

Each provider listens on a port of its own and answers its profile, posts and single items in the
shape that its real host is known for, about whatever handle was asked; anything else, a wrong
method too, is the gateway's 404. The people, numbers and ids are made up.

Your own providers are served too, and your own answers:

    sunny = ProviderConfig("sunny", "sunny.p.rapidapi.com", 1)
    with FakeRapidAPI({"weather": [sunny]}) as rapidapi:
        rapidapi.answer("sunny", "/current", {"city": "Oslo", "celsius": 7})

Where you gave no answer, a provider of your own answers with what it was asked.
``using(client)`` makes a client the default one for a while; ``local_registry(url)`` points at a
``rapidfailover fake --port N`` that runs.

In pytest there are fixtures: ``fake_rapidapi``, a FakeRapidAPI, and ``failover_client``, a
FailoverClient on it. Where the package is installed they are there by themselves, else by
``pytest_plugins = ["rapidfailover.testing"]`` (or wherever your copy is) in a ``conftest.py``.

How sure the shapes are: the fields of TikTok, looter2, statistics, yt-api, twitter-api45 and
fresh-linkedin were seen in three or more independent places, those of linkedin-data-scraper and
threads-api4 in one or two. The contract of tiktok-tikwm is not established: that it speaks its
platform's dialect is assumed. So are the 400 for a missing parameter and, of fresh-linkedin's
profile, every field but the urn.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .api import exchange_default
from .catalog import PROVIDERS
from .client import FailoverClient
from .config import ProviderConfig, check_seconds
from .errors import UnknownProvider
from .registry import ProviderRegistry
from .testing_payloads import ENDPOINTS, ENVELOPES, METHODS, Params, endpoints_of

__all__ = ["FakeRapidAPI", "Received", "local_registry", "using"]

Providers = Mapping[str, Iterable[ProviderConfig]]
Fault = Union[int, str]


@contextmanager
def using(client: FailoverClient) -> Iterator[FailoverClient]:
    """Make ``client`` the default one, of ``call`` and its like; afterwards the former one is back
    as it was.

    The default client is the whole process's: threads see the change too.
    """
    if not isinstance(client, FailoverClient):
        raise TypeError(f"using takes a FailoverClient, not {client!r:.60}")
    before = exchange_default((client, client.registry))
    try:
        yield client
    finally:
        left, _ = exchange_default(before)
        if left is not None and left is not client:  # made by a configure() in between
            left.close()


def local_registry(url: str, providers: Providers | None = None) -> ProviderRegistry:
    """The catalogue's providers, or ``providers``, at a running ``rapidfailover fake --port N``.

    ``url`` is what that prints: ``http://127.0.0.1:N``.
    """
    return ProviderRegistry(
        {
            platform: [
                _moved(provider, f"{url.rstrip('/')}/{quote(provider.name, safe='')}")
                for provider in members
            ]
            for platform, members in (PROVIDERS if providers is None else providers).items()
        }
    )


def _moved(provider: ProviderConfig, url: str) -> ProviderConfig:
    """The provider at another server: the path of its base_url stays."""
    return replace(provider, base_url=url + urlsplit(provider.base_url or "").path)


class Received(NamedTuple):
    """One request that arrived, also when it was then failed."""

    provider: str
    method: str
    path: str
    params: dict[str, str]  # the last one where a name was repeated
    headers: dict[str, str]  # names in lower case
    body: bytes


class FakeRapidAPI:
    """The catalogue's hosts on loopback; listens from its making to ``close``. Thread-safe.

    ``providers`` is ``{platform: [ProviderConfig, …]}``, as a registry takes it; None: the
    catalogue's. ``answers`` is a folder that ``rapidfailover verify --record`` wrote, or
    ``{provider: {endpoint: payload}}``. ``port``: one port for all of them as well, each at
    ``/<its name>`` there (see ``local_registry``); 0: any that is free.
    """

    def __init__(
        self,
        providers: Providers | None = None,
        answers: None | str | os.PathLike[str] | Mapping[str, Mapping[str, Any]] = None,
        *,
        port: int | None = None,
    ) -> None:
        served = _as_lists(PROVIDERS if providers is None else providers)
        self.requests: list[Received] = []
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        for members in served.values():
            for provider in members:
                known = self._hosts.setdefault(provider.name, _Host(self, provider))
                if known.provider.host != provider.host:
                    raise ValueError(
                        f"two providers named {provider.name} have different hosts: give each a"
                        " name"
                    )
        recorded = (
            answers
            if isinstance(answers, Mapping)
            else {} if answers is None else _recorded(Path(answers))
        )
        for name, payloads in recorded.items():
            for endpoint, payload in payloads.items():
                self.answer(name, endpoint, payload)
        self._gate = None if port is None else _Gate(self._hosts, port)
        self._selector = selectors.DefaultSelector()
        self._ports: list[_Port] = [*([self._gate] if self._gate else []), *self._hosts.values()]
        for listening in self._ports:  # the gate first: its port may be taken
            self._selector.register(listening.listen(), selectors.EVENT_READ, listening)
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        self.providers: dict[str, list[ProviderConfig]] = {
            platform: [_moved(provider, self._hosts[provider.name].url) for provider in members]
            for platform, members in served.items()
        }
        self.registry = ProviderRegistry(self.providers)
        self._thread = threading.Thread(target=self._accept, name="fake-rapidapi", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Of the one port for all."""
        if self._gate is None:
            raise ValueError(
                "each provider has a port of its own; one for all: FakeRapidAPI(port=0)"
            )
        return self._gate.url

    def answer(self, provider: str, endpoint: str, payload: Any) -> None:
        """Answer requests for ``endpoint`` with this from now on, as far as no fault is on.

        ``endpoint`` is the path as the provider is asked it, or the platform's own endpoint where a
        Route leads from there to a fixed path. ``payload`` is what is sent: JSON as Python has it,
        in the *provider's* shape, or bytes as they are; or ``(status, payload)``; or a callable
        that is given what was asked (the query and the fields of a JSON body, a dict) and returns
        one of those. A KeyError in it is a 400, any other error a 500.
        """
        host = self._host(provider)
        if not isinstance(endpoint, str) or not endpoint.startswith("/"):
            raise ValueError(f"an endpoint is a path that begins with '/', not {endpoint!r}")
        if not callable(payload):
            _encoded(_with_status(payload)[1])  # what cannot be sent is told now
        with host.lock:
            host.answers[endpoint] = payload

    def fail(
        self, provider: str, fault: Fault, *, times: int | None = None, endpoint: str | None = None
    ) -> None:
        """Answer with a status, or a named fault, for the next ``times`` requests or until
        ``recover``.

        ``endpoint``: only requests for that one (as ``answer`` takes it); it goes before a fault of
        the whole provider. A retry is a request too. Of the provider and the network: html (a page
        with 200), empty (200 without a body), cut (a body that breaks off), hang (no answer at
        all), disconnect (the connection is closed instead of an answer), soft-error and dead (the
        provider's own error, and its word for content that is gone, with 200; of the catalogue's
        providers). Of RapidAPI's gateway: invalid-key, disabled-endpoint, blocked, not-subscribed,
        no-endpoint, delisted, quota, quota-daily, per-second, per-minute, per-hour, burst,
        unreachable, too-slow, timeout-in-200, gateway-fault.
        """
        host = self._host(provider)
        names = [*_FAULTS, *({} if host.is_own else ENVELOPES[host.provider.name]), *_GATEWAY]
        if fault not in names and not (isinstance(fault, int) and 200 <= fault <= 999):
            raise ValueError(f"no fault {fault!r}; a status, or one of: {', '.join(names)}")
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ValueError(f"times is a positive whole number or None, not {times!r}")
        with host.lock:
            host.faults[endpoint] = (fault, times)

    def quota(
        self, provider: str, remaining: int, *, limit: int = 10_000, reset: float = 2_592_000.0
    ) -> None:
        """Set what is left of the plan's quota, and the seconds until it resets; each answer counts
        it down.

        At 0 the provider goes on answering, as on a soft-limit plan, for money.
        """
        host = self._host(provider)
        with host.lock:
            host.quota, host.limit, host.resets_at = remaining, limit, time.monotonic() + reset
            host.quota_before = 0

    def delay(self, provider: str, seconds: float) -> None:
        """Answer that much later."""
        check_seconds("seconds", seconds, zero=True)
        self._host(provider).delay = seconds

    def refuse(self, provider: str) -> None:
        """Take no connections, and drop those that are open."""
        host = self._host(provider)
        with self._lock:
            if host.listener is not None:
                self._selector.unregister(host.listener)
                host.refuse()

    def recover(self, provider: str | None = None) -> None:
        """End faults, delays and refusals of one provider, or of all. A quota that a fault used up
        is there again.
        """
        for host in self._hosts.values() if provider is None else [self._host(provider)]:
            with host.lock:
                host.faults, host.delay = {}, 0.0
                host.quota, host.quota_before = host.quota or host.quota_before, 0
                host.recovered.set()
            with self._lock:
                if host.listener is None:
                    self._selector.register(host.listen(), selectors.EVENT_READ, host)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if not self._thread.is_alive():
            return  # closed already
        self._wake.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._wake.close()
        for listening in self._ports:
            listening.close()

    def __enter__(self) -> FakeRapidAPI:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _host(self, provider: str) -> _Host:
        try:
            return self._hosts[provider]
        except KeyError:
            raise UnknownProvider(
                f"no provider {provider!r}; known: {', '.join(self._hosts)}"
            ) from None

    def _accept(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                try:
                    connection, address = key.fileobj.accept()  # type: ignore[union-attr]
                except OSError:  # refused in between
                    continue
                threading.Thread(
                    target=key.data.serve,
                    args=(connection, address),
                    daemon=True,
                    name=f"fake-{key.data.name}",
                ).start()


class _Port:
    """A port on loopback, and the connections to it that are open."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.recovered = threading.Event()
        self.listener: socket.socket | None = None
        self._placeholder: socket.socket | None = None  # keeps the port while it refuses
        self._port = port
        self._connections: set[socket.socket] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def listen(self) -> socket.socket:
        if self._placeholder is not None:
            self._placeholder.close()
        self.listener = self._bound()
        self.listener.listen(128)
        return self.listener

    def refuse(self) -> None:
        if self.listener is not None:
            self.listener.close()
        self.listener, self._placeholder = None, self._bound()
        self._drop()

    def close(self) -> None:
        self.recovered.set()
        if self._placeholder is not None:
            self._placeholder.close()
        self._drop()

    def serve(self, connection: socket.socket, address: Any) -> None:
        with self.lock:
            self._connections.add(connection)
        try:
            # It takes requests until either side closes.
            _Handler(connection, address, self)  # type: ignore[arg-type]
        except OSError:
            pass  # the other side went away, or we dropped it
        finally:
            with self.lock:
                self._connections.discard(connection)
            connection.close()

    def addressed(self, target: str) -> Tuple[Optional[_Host], str]:
        """Who is asked, and the target as that provider sees it."""
        raise NotImplementedError

    def _bound(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", self._port))
        except OSError:
            bound.close()
            raise
        self._port = bound.getsockname()[1]
        return bound

    def _drop(self) -> None:
        with self.lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # gone already


class _Gate(_Port):
    """The one port for all: the first part of a path names the provider."""

    def __init__(self, hosts: Mapping[str, _Host], port: int) -> None:
        super().__init__("gate", port)
        self._hosts = hosts

    def addressed(self, target: str) -> Tuple[Optional[_Host], str]:
        name, _, rest = target.lstrip("/").partition("/")
        return self._hosts.get(unquote(name)), f"/{rest}"

    def close(self) -> None:
        for host in self._hosts.values():  # hanging requests hang in the gate's own connections
            host.recovered.set()
        super().close()


class _Host(_Port):
    """One provider: its port, what it answers, and what it is told to do wrong."""

    def __init__(self, rapidapi: FakeRapidAPI, provider: ProviderConfig) -> None:
        super().__init__(provider.name)
        self.rapidapi = rapidapi
        self.provider = provider
        platforms = {
            (one.name, one.host): name for name, members in PROVIDERS.items() for one in members
        }
        platform = platforms.get((provider.name, provider.host))
        # the caller's own, or new in the catalogue: what it answers is not known
        self.is_own = platform is None or provider.name not in ENDPOINTS
        self.is_behind_gateway = provider.auth is None and provider.host.endswith(".rapidapi.com")
        self.endpoints = {} if platform is None else endpoints_of(provider, platform)
        self.answers: dict[str, Any] = {}
        # by endpoint; None: for every endpoint
        self.faults: dict[str | None, tuple[Fault, int | None]] = {}
        self.delay = 0.0
        self.quota, self.limit, self.resets_at = 10_000, 10_000, time.monotonic() + 2_592_000.0
        self.quota_before = 0  # a fault used it up

    def addressed(self, target: str) -> Tuple[Optional[_Host], str]:
        return self, target

    def within(self, path: str) -> str:
        """The path below the base_url's own."""
        base = urlsplit(self.provider.base_url or "").path
        return path[len(base) :] or "/" if base and f"{path}/".startswith(f"{base}/") else path

    def names(self, path: str) -> list[str]:
        """The path, and the platform's endpoints that lead there."""
        routes = self.provider.routes or {}
        return [
            path,
            *[
                endpoint
                for endpoint, route in routes.items()
                if route.path == path and endpoint != path
            ],
        ]

    def answer_to(self, path: str) -> list[Any] | None:
        """What it was told to answer there, in a list of one."""
        with self.lock:
            for name in self.names(path):
                if name in self.answers:
                    return [self.answers[name]]
        return None

    def take_fault(self, path: str) -> Fault | None:
        """The fault that the request in hand meets, one of its times used up."""
        with self.lock:
            for name in [*self.names(path), None]:
                fault, times = self.faults.get(name, ("", 0))
                if times == 0:
                    continue
                self.faults[name] = (fault, times if times is None else times - 1)
                self.recovered.clear()
                return fault
            return None

    def quota_headers(self, used: int) -> dict[str, str]:
        """What RapidAPI tells of the plan with every answer, and the platform's ceiling that
        says nothing of it.
        """
        with self.lock:
            self.quota = max(0, self.quota - used)
            return {
                "X-RateLimit-Requests-Limit": str(self.limit),
                "X-RateLimit-Requests-Remaining": str(self.quota),
                "X-RateLimit-Requests-Reset": str(max(0, int(self.resets_at - time.monotonic()))),
                "X-RateLimit-rapid-free-plans-hard-limit-Limit": "500000",
                "X-RateLimit-rapid-free-plans-hard-limit-Remaining": "499999",
                "X-RateLimit-rapid-free-plans-hard-limit-Reset": "2592000",
            }


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    server: Any  # the _Port
    host: _Host

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host, target = self.server.addressed(self.path)
        if host is None:
            self._send(
                404, {"message": "the path begins with a provider: /tiktok-scraper7/user/info"}
            )
            return
        self.host = host
        path, params = _split(target)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host.rapidapi.requests.append(
            Received(host.provider.name, self.command, path, params, headers, body)
        )
        path = host.within(path)
        fault = host.take_fault(path)
        if host.delay:
            host.recovered.clear()
            host.recovered.wait(host.delay)
        if fault is None:
            status, payload = _answer(host, self.command, path, _asked_with(params, body), headers)
            self._send(status, payload, host.quota_headers(used=1) if status == 200 else {})
        elif isinstance(fault, int):
            extra = {"Location": "https://elsewhere.invalid/"} if 300 <= fault < 400 else {}
            self._send(fault, {"message": _message(fault)}, extra)
        elif fault in _GATEWAY:
            self.gateway(fault, path)
        elif fault in ("soft-error", "dead"):
            self._send(200, ENVELOPES[host.provider.name][fault], host.quota_headers(used=1))
        else:
            _FAULTS[fault](self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _send(self, status: int, payload: Any, headers: Mapping[str, str] = {}) -> None:
        content = _encoded(payload)
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def gateway(self, fault: str, path: str) -> None:
        host, (status, text) = self.host, _GATEWAY[fault]
        if fault.startswith("quota"):
            with host.lock:
                host.quota_before = host.quota or host.quota_before
                host.quota = 0
        payload = text if isinstance(text, dict) else {"message": text.format(path=path)}
        self._send(
            status,
            payload,
            {
                "X-RapidAPI-Proxy-Response": "true",
                **(host.quota_headers(used=0) if status == 429 else {}),
            },
        )

    def html(self) -> None:
        self._send(
            200, b"<html><body>Down for maintenance</body></html>", {"Content-Type": "text/html"}
        )

    def empty(self) -> None:
        self._send(200, b"")

    def cut(self) -> None:
        self._send(200, b'{"data": {"user": {"id', {"Content-Length": "400"})
        self.close_connection = True

    def hang(self) -> None:
        self.host.recovered.wait()
        self.close_connection = True

    def disconnect(self) -> None:
        self.close_connection = True


_FAULTS: dict[Any, Callable[[_Handler], None]] = {
    "html": _Handler.html,
    "empty": _Handler.empty,
    "cut": _Handler.cut,
    "hang": _Handler.hang,
    "disconnect": _Handler.disconnect,
}

_TOO_SLOW = {
    "messages": (
        "The request to the API has timed out. Please try again later, or contact the API provider"
    ),
    "info": "Your Client (working) ---> Gateway (working) ---> API (took too long to respond)",
}

# What the gateway says, with which status: seen in three or more places, but for the timeout with a
# 200 (one or two).
_GATEWAY: Mapping[Any, tuple[int, Any]] = {
    "invalid-key": (
        401,
        "Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info.",
    ),
    "disabled-endpoint": (401, "This endpoint is disabled for your subscription"),
    "blocked": (401, "Blocked User. Please contact your API provider."),
    "not-subscribed": (403, "You are not subscribed to this API."),
    "no-endpoint": (404, "Endpoint '{path}' does not exist"),
    "delisted": (404, "API doesn't exists"),
    "quota": (
        429,
        (
            "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC. "
            "Upgrade your plan at https://example.invalid/pricing"
        ),
    ),
    "quota-daily": (
        429,
        "You have exceeded the DAILY quota for Credits on your current plan, BASIC.",
    ),
    "per-second": (
        429,
        "You have exceeded the rate limit per second for your plan, BASIC, by the API provider",
    ),
    "per-minute": (
        429,
        "You have exceeded the rate limit per minute for your plan, BASIC, by the API provider",
    ),
    "per-hour": (
        429,
        "You have exceeded the rate limit per hour for your plan, BASIC, by the API provider",
    ),
    "burst": (429, "Too many requests"),
    "unreachable": (
        502,
        {
            "messages": "The API is unreachable, please contact the API provider",
            "info": "Your Client (working) ---> Gateway (working) ---> API (not working)",
        },
    ),
    "too-slow": (504, _TOO_SLOW),
    "timeout-in-200": (200, _TOO_SLOW),
    "gateway-fault": (500, "Oops, an error in the gateway has occurred."),
}


def _message(status: int) -> str:
    """A provider's own words for a status: nothing that the gateway would say, but for the key."""
    if status in (401, 429):
        return str(_GATEWAY["invalid-key"][1]) if status == 401 else "Slow down, please"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def _split(target: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(target)
    return parts.path, {
        name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
    }


def _asked_with(params: Params, body: bytes) -> Params:
    """The query, and the fields of a JSON body."""
    try:
        fields = json.loads(body) if body else {}
    except ValueError:
        return params
    return {**params, **fields} if isinstance(fields, dict) else params


def _answer(
    host: _Host, method: str, path: str, params: Params, headers: Mapping[str, str]
) -> tuple[int, Any]:
    """What the gateway and the provider behind it say when nothing is wrong with them."""
    if host.is_behind_gateway and not headers.get("x-rapidapi-key"):
        return 401, {"message": _GATEWAY["invalid-key"][1]}
    if host.is_behind_gateway and headers.get("x-rapidapi-host") != host.provider.host:
        return 404, {"message": _GATEWAY["delisted"][1]}
    given = host.answer_to(path)
    if given is not None:
        return _played(given[0], params)
    if host.is_own and path not in host.endpoints:
        return 200, {
            "provider": host.provider.name,
            "method": method,
            "path": path,
            "params": params,
        }
    wanted = method if host.is_own else METHODS.get((host.provider.name, path), "GET")
    if path not in host.endpoints or method != wanted:
        return 404, {"message": _GATEWAY["no-endpoint"][1].format(path=path)}
    return _played(host.endpoints[path], params)


def _played(payload: Any, params: Params) -> tuple[int, Any]:
    """An answer as ``FakeRapidAPI.answer`` takes it: (status, payload)."""
    try:
        status, payload = _with_status(payload(dict(params)) if callable(payload) else payload)
        return status, _encoded(payload)
    except KeyError as missing:
        return 400, {"message": f"{missing.args[0] if missing.args else 'a parameter'} is required"}
    except Exception as problem:  # the test's own function
        return 500, {"message": f"the answer raised {type(problem).__name__}: {problem}"}


def _with_status(payload: Any) -> tuple[int, Any]:
    """(status, payload) as it is, a payload alone with 200."""
    if not isinstance(payload, tuple):
        return 200, payload
    if (
        len(payload) != 2
        or isinstance(payload[0], bool)
        or not isinstance(payload[0], int)
        or not 200 <= payload[0] <= 999
    ):
        raise ValueError(f"an answer is a payload or (status, payload), not {payload!r:.60}")
    return payload[0], payload[1]


def _encoded(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def _as_lists(providers: Providers) -> dict[str, list[ProviderConfig]]:
    if not isinstance(providers, Mapping):
        raise TypeError(
            "providers is {platform: [ProviderConfig, …]}, as a registry takes it, not "
            f"{type(providers).__name__}"
        )
    return {platform: list(members) for platform, members in providers.items()}


def _recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """The answers that ``rapidfailover verify --record`` wrote into a folder, by provider and path.

    Where nothing was recorded for the params that are asked, the first record of the path answers.
    """
    records: dict[str, dict[str, list[Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            params = {name: str(value) for name, value in record["sent"].items()}
            answer = (record["status"], record["data"])
            records.setdefault(record["provider"], {}).setdefault(record["path"], []).append(
                (params, answer)
            )
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise ValueError(
                f"{file} is no answer that `verify --record` wrote: {problem!r}"
            ) from None
    if not records:
        raise ValueError(
            f"{folder} holds no answers: `rapidfailover verify --record {folder}` writes them"
        )
    return {
        provider: {path: _replay(answers) for path, answers in paths.items()}
        for provider, paths in records.items()
    }


def _replay(answers: list[Any]) -> Callable[[Params], Any]:
    def replay(params: Params) -> Any:
        asked = {name: str(value) for name, value in params.items()}
        return next((answer for sent, answer in answers if sent == asked), answers[0][1])

    return replay


if "pytest" in sys.modules:  # not imported otherwise: the command line's demo takes this module too
    from .pytest_plugin import failover_client, fake_rapidapi  # noqa: F401
