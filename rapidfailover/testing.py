"""A local RapidAPI to test against: the catalogue's hosts on loopback, over real HTTP.

    with FakeRapidAPI() as rapidapi:
        client = FailoverClient(rapidapi.registry, api_key="not-a-real-key")
        rapidapi.fail("tiktok-scraper7", 503)
        assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-feature"

Each provider listens on a port of its own and answers its profile, posts and single items in the shape that
its real host is known for, about whatever handle was asked; anything else, a wrong method too, is the gateway's 404.
The people, numbers and ids are made up.

It is a pytest plugin too: by itself where the package is installed, by ``pytest_plugins =
["rapidfailover.testing"]`` (or wherever your copy is) in a ``conftest.py`` else. Its fixtures: ``fake_rapidapi``, a
FakeRapidAPI, and ``failover_client``, a FailoverClient on it.

How sure the shapes are: the fields of TikTok, looter2, statistics, yt-api, twitter-api45 and fresh-linkedin were
seen in three or more independent places, those of linkedin-data-scraper and threads-api4 in one or two. The
contract of tiktok-tikwm is not established: that it speaks its platform's dialect is assumed. So are the
400 for a missing parameter and, of fresh-linkedin's profile, every field but the urn.
"""

import json
import selectors
import socket
import sys
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple, Union
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from .catalog import PROVIDERS
from .client import FailoverClient
from .config import ProviderConfig
from .errors import UnknownProvider
from .registry import ProviderRegistry

__all__ = ["FakeRapidAPI", "Received"]

Params = Mapping[str, str]


class Received(NamedTuple):
    """One request that arrived, also when it was then failed."""

    provider: str
    method: str
    path: str
    params: Dict[str, str]  # the last one where a name was repeated
    headers: Dict[str, str]  # names in lower case
    body: bytes


class FakeRapidAPI:
    """The catalogue's hosts on loopback; listens from its making to ``close``. Thread-safe."""

    def __init__(self) -> None:
        self.requests: List[Received] = []
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._hosts: Dict[str, _Host] = {}
        self._wake, woken = socket.socketpair()
        self._selector.register(woken, selectors.EVENT_READ)
        for members in PROVIDERS.values():
            for provider in members:
                host = self._hosts[provider.name] = _Host(self, provider)
                self._selector.register(host.listen(), selectors.EVENT_READ, host)
        self.providers: Dict[str, List[ProviderConfig]] = {
            platform: [replace(provider, base_url=self._hosts[provider.name].url) for provider in members]
            for platform, members in PROVIDERS.items()
        }
        self.registry = ProviderRegistry(self.providers)
        self._thread = threading.Thread(target=self._accept, name="fake-rapidapi", daemon=True)
        self._thread.start()

    def fail(self, provider: str, fault: Union[int, str], *, times: Optional[int] = None) -> None:
        """Answer with a status, or a named fault, for the next ``times`` requests or until ``recover``.

        A retry is a request too. Of the provider and the network: html (a page with 200), empty (200 without a
        body), cut (a body that breaks off), hang (no answer at all), disconnect (the connection is closed
        instead of an answer), soft-error and dead (the provider's own error, and its word for content that is
        gone, with 200). Of RapidAPI's gateway: invalid-key, disabled-endpoint, blocked, not-subscribed,
        no-endpoint, delisted, quota, quota-daily, per-second, per-minute, per-hour, burst, unreachable,
        too-slow, timeout-in-200, gateway-fault.
        """
        names = [*_FAULTS, *_ENVELOPES["yt-api"], *_GATEWAY]
        if fault not in names and not (isinstance(fault, int) and 200 <= fault <= 999):
            raise ValueError(f"no fault {fault!r}; a status, or one of: {', '.join(names)}")
        host = self._host(provider)
        with host.lock:
            host.fault = (fault, times)

    def quota(self, provider: str, remaining: int, *, limit: int = 10_000, reset: float = 2_592_000.0) -> None:
        """Set what is left of the plan's quota, and the seconds until it resets; each answer counts it down.

        At 0 the provider goes on answering, as on a soft-limit plan, for money.
        """
        host = self._host(provider)
        with host.lock:
            host.quota, host.limit, host.resets_at = remaining, limit, time.monotonic() + reset

    def delay(self, provider: str, seconds: float) -> None:
        """Answer that much later."""
        self._host(provider).delay = seconds

    def refuse(self, provider: str) -> None:
        """Take no connections, and drop those that are open."""
        host = self._host(provider)
        with self._lock:
            if host.listener is not None:
                self._selector.unregister(host.listener)
                host.refuse()

    def recover(self, provider: Optional[str] = None) -> None:
        """End faults, delays and refusals of one provider, or of all."""
        for host in self._hosts.values() if provider is None else [self._host(provider)]:
            with host.lock:
                host.fault, host.delay = None, 0.0
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
        for host in self._hosts.values():
            host.close()

    def __enter__(self) -> "FakeRapidAPI":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _host(self, provider: str) -> "_Host":
        try:
            return self._hosts[provider]
        except KeyError:
            raise UnknownProvider(f"no provider {provider!r}; known: {', '.join(self._hosts)}") from None

    def _accept(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                try:
                    connection, address = key.fileobj.accept()  # type: ignore[union-attr]
                except OSError:  # refused in between
                    continue
                threading.Thread(target=key.data.serve, args=(connection, address), daemon=True,
                                 name=f"fake-{key.data.provider.name}").start()


class _Host:
    """One provider's port: what it is told to do wrong, and its open connections."""

    def __init__(self, rapidapi: FakeRapidAPI, provider: ProviderConfig) -> None:
        self.rapidapi = rapidapi
        self.provider = provider
        self.endpoints = _ENDPOINTS[provider.name]
        self.fault: Optional[Tuple[Union[int, str], Optional[int]]] = None
        self.delay = 0.0
        self.recovered = threading.Event()
        self.listener: Optional[socket.socket] = None
        self.quota, self.limit, self.resets_at = 10_000, 10_000, time.monotonic() + 2_592_000.0
        self._placeholder: Optional[socket.socket] = None  # keeps the port while it refuses
        self._port = 0
        self._connections: Set[socket.socket] = set()
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

    def take_fault(self) -> Union[None, int, str]:
        """The fault that the request in hand meets, one of its times used up."""
        with self.lock:
            if self.fault is None or self.fault[1] == 0:
                return None
            fault, times = self.fault
            self.fault = (fault, times if times is None else times - 1)
            self.recovered.clear()
            return fault

    def quota_headers(self, used: int) -> Dict[str, str]:
        """What RapidAPI tells of the plan with every answer, and the platform's ceiling that says nothing of it."""
        with self.lock:
            self.quota = max(0, self.quota - used)
            return {
                "X-RateLimit-Requests-Limit": str(self.limit), "X-RateLimit-Requests-Remaining": str(self.quota),
                "X-RateLimit-Requests-Reset": str(max(0, int(self.resets_at - time.monotonic()))),
                "X-RateLimit-rapid-free-plans-hard-limit-Limit": "500000",
                "X-RateLimit-rapid-free-plans-hard-limit-Remaining": "499999",
                "X-RateLimit-rapid-free-plans-hard-limit-Reset": "2592000",
            }

    def serve(self, connection: socket.socket, address: Any) -> None:
        with self.lock:
            self._connections.add(connection)
        try:
            _Handler(connection, address, self)  # type: ignore[arg-type]  # takes requests until either side closes
        except OSError:
            pass  # the other side went away, or we dropped it
        finally:
            with self.lock:
                self._connections.discard(connection)
            connection.close()

    def _bound(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        return bound

    def _drop(self) -> None:
        with self.lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # gone already


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    server: Any  # the _Host

    def do_GET(self) -> None:
        host = self.server
        path, params = _split(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        host.rapidapi.requests.append(Received(host.provider.name, self.command, path, params, headers, body))
        fault = host.take_fault()
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
            self._send(200, _ENVELOPES[host.provider.name][fault], host.quota_headers(used=1))
        else:
            _FAULTS[fault](self)

    do_POST = do_GET

    def _send(self, status: int, payload: Any, headers: Mapping[str, str] = {}) -> None:
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def gateway(self, fault: str, path: str) -> None:
        host, (status, text) = self.server, _GATEWAY[fault]
        if fault.startswith("quota"):
            with host.lock:
                host.quota = 0
        payload = text if isinstance(text, dict) else {"message": text.format(path=path)}
        self._send(status, payload, {"X-RapidAPI-Proxy-Response": "true",
                                     **(host.quota_headers(used=0) if status == 429 else {})})

    def html(self) -> None:
        self._send(200, b"<html><body>Down for maintenance</body></html>", {"Content-Type": "text/html"})

    def empty(self) -> None:
        self._send(200, b"")

    def cut(self) -> None:
        self._send(200, b'{"data": {"user": {"id', {"Content-Length": "400"})
        self.close_connection = True

    def hang(self) -> None:
        self.server.recovered.wait()
        self.close_connection = True

    def disconnect(self) -> None:
        self.close_connection = True


_FAULTS: Dict[Any, Callable[[_Handler], None]] = {
    "html": _Handler.html, "empty": _Handler.empty, "cut": _Handler.cut, "hang": _Handler.hang,
    "disconnect": _Handler.disconnect,
}

_TOO_SLOW = {"messages": "The request to the API has timed out. Please try again later, or contact the API provider",
             "info": "Your Client (working) ---> Gateway (working) ---> API (took too long to respond)"}

# What the gateway says, with which status: seen in three or more places, but for the timeout with a 200 (one or two).
_GATEWAY: Mapping[Any, Tuple[int, Any]] = {
    "invalid-key": (401, "Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info."),
    "disabled-endpoint": (401, "This endpoint is disabled for your subscription"),
    "blocked": (401, "Blocked User. Please contact your API provider."),
    "not-subscribed": (403, "You are not subscribed to this API."),
    "no-endpoint": (404, "Endpoint '{path}' does not exist"),
    "delisted": (404, "API doesn't exists"),
    "quota": (429, "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC. "
                   "Upgrade your plan at https://example.invalid/pricing"),
    "quota-daily": (429, "You have exceeded the DAILY quota for Credits on your current plan, BASIC."),
    "per-second": (429, "You have exceeded the rate limit per second for your plan, BASIC, by the API provider"),
    "per-minute": (429, "You have exceeded the rate limit per minute for your plan, BASIC, by the API provider"),
    "per-hour": (429, "You have exceeded the rate limit per hour for your plan, BASIC, by the API provider"),
    "burst": (429, "Too many requests"),
    "unreachable": (502, {"messages": "The API is unreachable, please contact the API provider",
                          "info": "Your Client (working) ---> Gateway (working) ---> API (not working)"}),
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


def _split(target: str) -> Tuple[str, Dict[str, str]]:
    parts = urlsplit(target)
    return parts.path, {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}


def _asked_with(params: Params, body: bytes) -> Params:
    """The query, or what a POST says in its JSON body."""
    try:
        return json.loads(body) if body else params
    except ValueError:
        return {}


def _answer(host: _Host, method: str, path: str, params: Params, headers: Mapping[str, str]) -> Tuple[int, Any]:
    """What the gateway and the provider behind it say when nothing is wrong with them."""
    if not headers.get("x-rapidapi-key"):
        return 401, {"message": _GATEWAY["invalid-key"][1]}
    if headers.get("x-rapidapi-host") != host.provider.host:
        return 404, {"message": _GATEWAY["delisted"][1]}
    if path not in host.endpoints or method != _METHODS.get((host.provider.name, path), "GET"):
        return 404, {"message": _GATEWAY["no-endpoint"][1].format(path=path)}
    try:
        return 200, host.endpoints[path](params)
    except KeyError as missing:
        return 400, {"message": f"{missing.args[0]} is required"}


# --- the payloads, in the shapes of rapidapi.md ---

def _number(text: str, below: int = 1_000_000) -> int:
    """Made up, and the same for the same text."""
    return crc32(text.encode()) % below


def _tiktok_user(params: Params) -> Any:
    name = params["unique_id"]
    return {"code": 0, "msg": "success", "processed_time": 0.1, "data": {
        "user": {"id": str(_number(name)), "uniqueId": name, "nickname": name.title(), "signature": "",
                 "avatarLarger": f"https://example.invalid/{name}.jpg", "verified": False,
                 "secUid": f"MS4wLjABAAAA{_number(name):x}"},
        "stats": {"followerCount": _number(name), "followingCount": _number(name, 1000),
                  "heartCount": _number(name) * 10, "videoCount": _number(name, 500)},
    }}


def _tiktok_posts(params: Params) -> Any:
    name = params.get("unique_id") or params["user_id"]
    videos = [{"video_id": f"v{_number(name)}{n}", "aweme_id": f"v{_number(name)}{n}", "title": f"Video {n}",
               "play": "https://example.invalid/v.mp4", "play_count": 1000 + n, "digg_count": 100 + n,
               "comment_count": 10 + n, "share_count": n, "create_time": 1734652800 + n, "duration": 15,
               "author": {"unique_id": name}} for n in range(min(int(params.get("count", 10)), 35))]
    return {"code": 0, "msg": "success", "data": {"videos": videos, "cursor": "1734652800000", "hasMore": True}}


def _tiktok_video(params: Params) -> Any:
    return {"code": 0, "msg": "success", "data": {"id": str(_number(params["url"])), "title": "A video",
                                                  "play": "https://example.invalid/v.mp4"}}


def _looter_profile(params: Params) -> Any:
    name = params["username"]
    return {"status": True, "id": str(_number(name)), "username": name, "full_name": name.title(), "biography": "",
            "is_private": False, "is_verified": False, "profile_pic_url_hd": f"https://example.invalid/{name}.jpg",
            "edge_followed_by": {"count": _number(name)}, "edge_follow": {"count": _number(name, 1000)},
            "edge_owner_to_timeline_media": {"count": 0, "edges": []}}


def _looter_feed(params: Params) -> Any:
    return {"items": [{"id": f"{params['id']}_{n}"} for n in range(int(params.get("count", 12)))],
            "more_available": False}


def _looter_post(params: Params) -> Any:
    return {"status": True, "id": str(_number(params["url"])), "shortcode": "Cexample"}


def _statistics_profile(params: Params) -> Any:
    name = params["url"].rstrip("/").rpartition("/")[2]
    return {"meta": {"code": 200, "message": "OK"}, "data": {
        "cid": f"INST:{_number(name)}", "socialType": "INST", "name": name.title(), "screenName": name,
        "usersCount": _number(name), "avgER": 0.02, "avgInteractions": 120, "avgLikes": 100, "avgViews": 900,
        "qualityScore": 0.8, "verified": False, "lastPosts": []}}


def _statistics_posts(params: Params) -> Any:
    return {"meta": {"code": 200, "message": "OK"}, "data": {"posts": [{"postID": f"{params['cid']}:1"}]}}


def _statistics_post(params: Params) -> Any:
    return {"meta": {"code": 200, "message": "OK"}, "data": {"postUrl": params["postUrl"], "likes": 100}}


def _youtube_video(params: Params) -> Any:
    return {"id": params["id"], "title": f"Video {params['id']}", "viewCount": str(_number(params["id"])),
            "likeCount": 100, "channelId": "UCexample", "channelTitle": "Example", "publishedAt": "2024-12-20"}


def _youtube_channel(params: Params) -> Any:
    return {"title": params["id"], "avatar": [], "subscriberCount": _number(params["id"]),
            "subscriberCountText": "some subscribers", "videosCount": 12}


def _youtube_videos(params: Params) -> Any:
    return {"data": [{"videoId": f"v{_number(params['id'])}", "title": "A video"}]}


def _twitter_user(params: Params) -> Any:
    name = params["screenname"]
    return {"status": "active", "profile": name, "rest_id": str(_number(name)), "name": name.title(), "desc": "",
            "avatar": f"https://example.invalid/{name}.jpg", "sub_count": _number(name),
            "friends": _number(name, 1000), "statuses_count": _number(name, 5000), "protected": None}


def _twitter_timeline(params: Params) -> Any:
    return {"status": "ok", "timeline": [{"tweet_id": str(_number(params["screenname"])), "text": "A post"}],
            "next_cursor": "c2"}


def _twitter_tweet(params: Params) -> Any:
    return {"status": "active", "id": params["id"], "text": "A post"}


def _linkedin_person(params: Params) -> Any:
    name = params["link"].rstrip("/").rpartition("/")[2]
    return {"success": True, "status": 200, "data": {"firstName": name.title(), "publicIdentifier": name,
                                                     "experiences": []}}


def _linkedin_updates(params: Params) -> Any:
    return {"success": True, "response": [{"postText": f"A post of {params['profile_url']}"}]}


def _fresh_profile(params: Params) -> Any:
    name = params["username"]
    return {"success": True, "message": "success", "cost": 1,
            "data": {"urn": f"ACoAA{_number(name):x}", "public_identifier": name, "first_name": name.title()}}


def _fresh_posts(params: Params) -> Any:
    return {"success": True, "message": "success", "cost": 1, "data": [{"urn": params["urn"], "text": "A post"}]}


def _threads_user(params: Params) -> Any:
    return {"data": {"user": {"username": params["username"], "follower_count": _number(params["username"])}}}


def _threads_posts(params: Params) -> Any:
    return {"data": {"user_id": params["user_id"], "posts": []}}


def _threads_post(params: Params) -> Any:
    return {"data": {"post_id": params["post_id"]}}


# Errors inside a 200, by provider: its own error, and its word for content that is gone. Those of looter2 and
# linkedin are assumed.
_TIKTOK_ERRORS = {"soft-error": {"code": 500, "msg": "Internal error"},
                  "dead": {"code": -1, "msg": "Url parsing is failed! Please check url."}}
_LINKEDIN_ERRORS = {"soft-error": {"success": False, "message": "Something went wrong"},
                    "dead": {"success": False, "message": "Profile not found"}}
_ENVELOPES: Mapping[str, Mapping[str, Any]] = {
    "tiktok-scraper7": _TIKTOK_ERRORS, "tiktok-feature": _TIKTOK_ERRORS, "tiktok-tikwm": _TIKTOK_ERRORS,
    "instagram-looter2": {"soft-error": {"status": False, "errorMessage": "Something went wrong"},
                          "dead": {"status": False, "errorMessage": "User not found"}},
    "instagram-stats": {"soft-error": {"meta": {"code": 500, "message": "Internal error"}},
                        "dead": {"meta": {"code": 404, "message": "Not found"}}},
    "yt-api": {"soft-error": {"error": "Forbidden", "code": 403}, "dead": {"error": "Not found", "code": 404}},
    "the-old-bird": {"soft-error": {"status": "error"}, "dead": {"status": "notfound"}},
    "linkedin-realtime": _LINKEDIN_ERRORS, "linkedin-fresh": _LINKEDIN_ERRORS,
    "threads-api4": {"soft-error": {"errors": [{"description": "Something went wrong"}]},
                     "dead": {"data": None, "errors": [{"description": "Not found"}]}},
}

_METHODS = {("linkedin-realtime", "/person_deep"): "POST"}  # all others: GET

_TIKTOK = {"/user/info": _tiktok_user, "/user/posts": _tiktok_posts, "/": _tiktok_video}

_ENDPOINTS: Mapping[str, Mapping[str, Callable[[Params], Any]]] = {
    "tiktok-scraper7": _TIKTOK, "tiktok-feature": _TIKTOK, "tiktok-tikwm": _TIKTOK,
    "instagram-looter2": {"/profile": _looter_profile, "/user-feeds": _looter_feed, "/post": _looter_post},
    "instagram-stats": {"/community": _statistics_profile, "/posts": _statistics_posts,
                        "/posts/one": _statistics_post},
    "yt-api": {"/video/info": _youtube_video, "/channel/about": _youtube_channel,
               "/channel/videos": _youtube_videos},
    "the-old-bird": {"/screenname.php": _twitter_user, "/timeline.php": _twitter_timeline,
                     "/tweet.php": _twitter_tweet},
    "linkedin-realtime": {"/person_deep": _linkedin_person, "/profile_updates": _linkedin_updates},
    "linkedin-fresh": {"/api/v1/user/profile": _fresh_profile, "/api/v1/user/posts": _fresh_posts},
    "threads-api4": {"/api/user/info": _threads_user, "/api/user/posts": _threads_posts,
                     "/api/post/detail": _threads_post},
}


def _fake_rapidapi() -> Iterator[FakeRapidAPI]:
    """A local RapidAPI, closed after the test."""
    with FakeRapidAPI() as rapidapi:
        yield rapidapi


def _failover_client(fake_rapidapi: FakeRapidAPI) -> Iterator[FailoverClient]:
    """A FailoverClient on ``fake_rapidapi``, closed after the test."""
    with FailoverClient(fake_rapidapi.registry, api_key="not-a-real-key") as client:
        yield client


if "pytest" in sys.modules:  # not imported otherwise: the command line's demo takes this module too
    _fixture: Any = sys.modules["pytest"].fixture
    fake_rapidapi, failover_client = _fixture(_fake_rapidapi), _fixture(_failover_client)
