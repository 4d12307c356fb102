"""One attempt at one provider: its Session, urllib3's Retry, the limits, the key.

What goes wrong on the network is a value (``Reply``), not an exception: a provider that cannot be reached
reads as 503 and one that is too slow as 504, as the strategy's matrix has it.
"""

import json
import logging
import os
import random
import re
import socket
import sys
import threading
import time
import zlib
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from urllib3 import ProxyManager
from urllib3.exceptions import ClosedPoolError, HTTPError, MaxRetryError, NewConnectionError
from urllib3.exceptions import TimeoutError as PoolTimeout
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from .config import ProviderConfig, Question, Route, encode_query, plain
from .errors import InvalidAPIKey, MissingAPIKey
from .fork import Latch, anew_in_child
from .gateway import as_utf8, clean, interpret
from .matrix import Rule, row
from .wire import Budget, Names, adopt, alarm, check_patched_in_time, under_way

__all__ = ["Deadline", "Key", "KeySource", "Keys", "Outgoing", "Reply", "Transport", "outgoing"]

KeySource = Union[None, str, Callable[[], Optional[str]]]

_PIECE = 2 ** 16  # bytes read at a time
_ERROR_BODY = 2 ** 16  # bytes of an error's body that are worth reading: its message stands there
_CONNECTIONS = 64  # kept per provider; more threads than that open further ones, which are not kept
_PAUSE = (0.1, 0.3)  # seconds before urllib3's retry
_FOR_EVER = 1e9  # seconds; what sockets and locks still take as a timeout
_LONGEST_KEY = 1024  # characters; RapidAPI's have 50
_SHORTEST_ECHO = 16  # characters; a shorter key would be found where it is none


class Reply(NamedTuple):
    """What came of one attempt."""

    status: int  # the one it should have had: what the matrix is asked with
    wire: Optional[int]  # as it came over the wire; None when nothing was answered
    detail: str
    retries: int
    data: Any = None  # decoded JSON of a success
    body: bytes = b""  # that it was decoded from
    hold: Optional[float] = None  # seconds to stay away, where the answer said so
    quota: Optional[Dict[str, float]] = None  # as the answer told it: see gateway.Meaning


class Outgoing(NamedTuple):
    """A question as one provider is asked it."""

    endpoint: str  # of the platform, for the provider's check
    method: str
    path: str
    query: str  # encoded, without the '?'
    body: Optional[bytes]
    is_own: bool  # the caller's own endpoint and params: a 400 is the caller's to mend
    adapt: Optional[Callable[[Any], Any]]


def outgoing(question: Question, route: Optional[Route]) -> Outgoing:
    """In the provider's dialect. Whatever the route's functions raise passes: it cannot serve this question."""
    if route is None:
        return Outgoing(question.endpoint, "GET", question.endpoint, question.query, None, True, None)
    params = dict(question.params)
    json_body = None if route.json is None else route.json(dict(params))
    if route.params is not None:
        query = encode_query(route.params(dict(params)))
    else:
        query = question.query if json_body is None else ""
    path = plain(route.path)
    is_own = path == question.endpoint and (json_body == params and not query or query == question.query)
    body = None if json_body is None else json.dumps(json_body).encode()
    return Outgoing(question.endpoint, route.method, path, query, body, is_own, route.adapt)


class Key(str):
    """A key that does not show itself, in case an error report prints the locals or the headers."""

    def __repr__(self) -> str:
        return "'***'"


class Deadline:
    """When a call has to be over. All times in seconds."""

    def __init__(self, seconds: float) -> None:
        self.whole = min(seconds, _FOR_EVER)
        self._began = time.monotonic()
        self._ends = self._began + self.whole

    def left(self) -> float:
        return self._ends - time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def outside(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a function of the user's returns; the time that it takes does not count."""
        began = time.monotonic()
        try:
            return function(*args)
        finally:
            self._ends += time.monotonic() - began


class Transport:
    """Keeps one pooled Session per provider, shared by threads. Thread-safe."""

    def __init__(self, matrix: Mapping[int, Rule], max_body: int) -> None:
        self._matrix = matrix
        self._max_body = max_body
        self._names = Names()
        for name in _URLLIB3_LOGGERS:
            logging.getLogger(name).addFilter(_masked)  # a filter that is there is not added again
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._sessions: Dict[Tuple[str, str], _Session] = {}  # a child shares no connection with its parent
        self._lock = threading.Lock()

    def ask(self, platform: str, provider: ProviderConfig, sent: Outgoing, key: Key, seconds: float) -> Reply:
        """Send a request, retried once where the matrix says so, all within ``seconds``."""
        check_patched_in_time()
        session = self._session(platform, provider)
        ends = time.monotonic() + seconds
        progress = _Progress(ends, max(self._max_body, _ERROR_BODY), self._names, key)
        token = under_way.set(progress)
        response = None
        try:
            request = _prepared(provider, sent)
            settings = {**session.from_environment(request.url), "timeout": _Until(ends)}
            with alarm(seconds):
                response = session.send(request, stream=True, allow_redirects=False, **settings)
                return self._reply(response, progress, sent, provider)
        except _FAILURES as failure:
            status, detail = _diagnose(failure, key)
            return Reply(status, None, detail, progress.retries)
        finally:
            if response is not None:
                response.close()  # whole: back in its pool by now; else the connection goes too
            under_way.reset(token)

    def close(self) -> None:
        """Close idle connections. Calls under way finish; a later one opens new connections."""
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def _reply(self, response: requests.Response, progress: "_Progress", sent: Outgoing,
               provider: ProviderConfig) -> Reply:
        wire = response.status_code
        good = 200 <= wire < 300
        limit = self._max_body if good else min(self._max_body, _ERROR_BODY)
        status, problem, body = wire, "", b""
        try:
            body = _without(progress.key, as_utf8(_read(response, limit, progress.ends)))
        except _FAILURES as failure:
            if good:  # an error stays what it is, whatever becomes of its body
                status, problem = _diagnose(failure, progress.key)
                if status != 504:
                    status, problem = 502, f"bad payload: {problem}"
        if problem:
            return Reply(status, wire, problem, progress.retries)
        meaning = interpret(wire, response.headers, body, sent.endpoint, provider.check, sent.adapt)
        status = meaning.status
        if not sent.is_own and row(status, self._matrix) == 400:
            status = 502  # our route is wrong, not what the caller asked for
        if sent.adapt and meaning.data is not None:
            body = json.dumps(meaning.data).encode()
        return Reply(status, wire, _without(progress.key, meaning.detail), progress.retries, meaning.data, body,
                     meaning.hold, meaning.quota)

    def _session(self, platform: str, provider: ProviderConfig) -> "_Session":
        """One pool per provider, so that what one sends too much never answers another's request."""
        try:
            return self._sessions[platform, provider.name]
        except KeyError:
            with self._lock:
                return self._sessions.setdefault((platform, provider.name), self._new_session())

    def _new_session(self) -> "_Session":
        session = _Session()
        session.cookies = _NoCookies()
        adapter = _Adapter(pool_connections=4, pool_maxsize=_CONNECTIONS, max_retries=_retry(self._matrix))
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def _prepared(provider: ProviderConfig, sent: Outgoing) -> requests.PreparedRequest:
    """The request without its key.

    Put together by hand: a session would add cookies, the .netrc and headers of its own, and preparing one is
    15 % of a bare session's call.
    """
    request = requests.PreparedRequest()
    request.method = sent.method
    url = _url(provider.base_url, sent.path)
    request.url = f"{url}?{sent.query}" if sent.query else url  # encoded already
    request.headers = CaseInsensitiveDict({
        "Accept": "application/json",
        "Accept-Encoding": "gzip, deflate",  # what _read can inflate under a limit
        "User-Agent": "rapidfailover",
        "X-RapidAPI-Host": provider.host,
    })
    if sent.body is not None:
        request.body = sent.body
        request.headers.update({"Content-Type": "application/json", "Content-Length": str(len(sent.body))})
    request.hooks = {"response": []}
    return request


@lru_cache(maxsize=1024)
def _url(base_url: str, path: str) -> str:
    """As requests spells it: blanks and other letters in percent."""
    return str(requests.Request("GET", base_url + path).prepare().url)


class _Progress(Budget):
    """What the adapter and the Retry must know of the attempt under way."""

    __slots__ = ("key", "retries", "pause")

    def __init__(self, ends: float, limit: int, names: Names, key: Key) -> None:
        super().__init__(ends, limit, names)
        self.key = key
        self.retries = 0
        self.pause = 0.0  # seconds before urllib3 sends the request again


def _masked(record: logging.LogRecord) -> bool:
    """What urllib3 logs while our request is under way, without the key: an upstream may have echoed it."""
    progress = under_way.get()
    if progress is not None:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text} ({record.exc_info[1]})"  # its traceback has locals, some of which hold the key
        record.msg, record.args, record.exc_info = _without(progress.key, text), (), None
    return True


_URLLIB3_LOGGERS = ("urllib3.connection", "urllib3.connectionpool", "urllib3.response", "urllib3.util.retry")


_DIRECT = {"proxies": {}, "verify": True, "cert": None}
_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD",
              "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class _NoCookies(RequestsCookieJar):
    def extract_cookies(self, *args: Any) -> None:
        """None is kept, and no lock of the jar's taken: an interrupt in there would leave it locked for ever."""


class _Session(requests.Session):
    _variables: Any = None
    _settings: Dict[str, Any] = {}

    def from_environment(self, url: Any) -> Dict[str, Any]:
        """Proxies and CA bundle, for https: a proxy would see the key of a plain loopback request.

        Looked up when a variable has changed; on every call that is a fifth of a bare session's.
        """
        if not url.startswith("https:"):
            return _DIRECT
        variables = tuple(map(os.environ.get, _VARIABLES))
        if variables != self._variables or sys.platform in ("darwin", "win32"):  # which have settings elsewhere too
            settings = self.merge_environment_settings(url, {}, None, None, None)
            self._settings = {name: settings[name] for name in ("proxies", "verify", "cert")}
            self._variables = variables
        return self._settings

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is followed, looked at or read out: it would carry the key to a stranger."""
        return None


class _Adapter(HTTPAdapter):
    """Talks to one host. What never changes between its calls is looked up once."""

    def __init__(self, **options: Any) -> None:
        self._pools: Dict[Any, Any] = {}  # by proxy and CA bundle; looking one up is 5 % of a bare session's call
        super().__init__(**options)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        return self._pool((verify, *proxies.items()), super().get_connection_with_tls_context,
                          request, verify, proxies, cert)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:  # requests before 2.32
        return self._pool(tuple(proxies.items()), super().get_connection, url, proxies)

    def _pool(self, which: Any, look_up: Callable[..., Any], *args: Any) -> Any:
        pool = self._pools.get(which)
        if pool is None or pool.pool is None:  # closed meanwhile
            pool = self._pools[which] = look_up(*args)
        return pool

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """As requests does, without looking for cookies and a charset, which is 3 % of a bare session's call."""
        response = requests.Response()
        response.status_code, response.reason = resp.status, resp.reason
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw, response.url, response.encoding = resp, req.url, "utf-8"
        response.request, response.connection = req, self
        return response

    def request_url(self, request: Any, proxies: Any) -> str:
        return str(request.path_url)  # whole only for a plain proxy, through which nothing goes

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        adopt(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        if isinstance(manager, ProxyManager):  # one for SOCKS has pools of its own
            adopt(manager)
        return manager

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Put the key on a copy, so that neither the request nor the response's ``request`` ever holds it."""
        progress = under_way.get()
        keyed = request.copy()
        keyed.headers["X-RapidAPI-Key"] = progress.key
        try:
            response = super().send(keyed, *args, **kwargs)
        except requests.ConnectionError as error:
            if not isinstance(error.args and error.args[0], ClosedPoolError):
                raise
            response = super().send(keyed, *args, **kwargs)  # close() took the pool away in between
        response.request = request
        return response


class _Retry(Retry):
    """urllib3's retry with a pause before the first one and none for timeouts, within the attempt's time."""

    def sleep(self, response: Any = None) -> None:
        time.sleep(under_way.get().pause)

    def increment(self, method: Any = None, url: Any = None, response: Any = None, error: Any = None,
                  _pool: Any = None, _stacktrace: Any = None) -> "_Retry":
        progress = under_way.get()
        if error is not None and _is_timeout(_reasons(error)):
            raise error  # a second wait helps nobody
        if error is not None and progress.reused and not progress.received and not progress.fresh:
            # The server had closed the connection that it kept for us: no fault, no retry, no pause.
            progress.fresh, progress.pause = True, 0.0
            return self
        if progress.ends - time.monotonic() <= _PAUSE[1]:
            raise MaxRetryError(_pool, url, error)  # urllib3 hands out the response it has
        following: Any = super().increment(method, url, response, error, _pool, _stacktrace)
        if response is not None:
            response.close()  # urllib3 would read out the discarded body, however long it is or takes
        progress.retries, progress.pause = progress.retries + 1, random.uniform(*_PAUSE)
        return following  # type: ignore[no-any-return]  # urllib3 1.26 and 2 differ in what they declare


def _retry(matrix: Mapping[int, Rule]) -> _Retry:
    """One retry for every status whose row says so, and for failed connections as for 503.

    The 429 and its wait are the client's; ``Retry-After`` is not slept on, it may ask for hours.
    """
    retried = [status for status in range(100, 1000)
               if row(status, matrix) != 429 and matrix[row(status, matrix)].retry]
    again = int(matrix[503].retry)
    return _Retry(total=1, connect=again, read=again, status=1, redirect=0, status_forcelist=retried,
                  allowed_methods=None, respect_retry_after_header=False, raise_on_status=False)


class _Until(Timeout):
    """The time that is left of the attempt, whenever urllib3 asks."""

    def __init__(self, ends: float) -> None:
        self._ends = ends

    def clone(self) -> Timeout:
        return self

    def start_connect(self) -> float:
        return 0.0

    @property
    def connect_timeout(self) -> float:
        return max(0.001, self._ends - time.monotonic())

    read_timeout = connect_timeout


# What requests, urllib3, http.client, ssl and zlib raise when the other side or the network is at fault.
# ValueError covers headers that urllib3 cannot make sense of, and our own findings about a body.
# Chunk sizes and lengths beyond all measure end in the last two.
_FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError, zlib.error,
             OverflowError, MemoryError)


def _reasons(failure: BaseException) -> List[BaseException]:
    """The failure and what it wraps, from the outermost to the innermost.

    Follows no ``__context__``: that may lead to an error of the caller's own.
    """
    reasons = [failure]
    while len(reasons) < 10:
        last = reasons[-1]
        wrapped = (getattr(last, "reason", None), *last.args, last.__cause__)
        inner = [one for one in wrapped if isinstance(one, BaseException)]
        if not inner:
            break
        reasons.append(inner[0])
    return reasons


def _is_timeout(reasons: List[BaseException]) -> bool:
    # In urllib3 1.26 a refused connection is a ConnectTimeoutError by inheritance.
    return any(isinstance(one, (requests.Timeout, PoolTimeout, socket.timeout, TimeoutError))
               and not isinstance(one, NewConnectionError) for one in reasons)


def _diagnose(failure: BaseException, key: str) -> Tuple[int, str]:
    """504 or 503, and the innermost reason in a few words that hold neither a URL nor the key."""
    reasons = _reasons(failure)
    if _is_timeout(reasons):
        return 504, "no answer in time"
    last = reasons[-1]
    words = last.strerror if isinstance(last, OSError) and last.strerror else str(last).rpartition(">: ")[2]
    words = re.sub(r"//[^/\s]*@", "//***@", words)  # the password of a proxy
    return 503, clean(_without(key, words if type(last) is ValueError else f"{type(last).__name__}: {words}"))


def _read(response: requests.Response, limit: int, ends: float) -> bytes:
    """The whole body, inflated, or a ValueError. Neither side of the inflating ever exceeds ``limit`` by much.

    urllib3's own inflating is not used: until 2.6 it makes 300 MB of a few hundred bytes before anyone can
    look, and it takes a gzip stream that breaks off for a whole one.
    """
    headers = response.headers
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ValueError("unknown content encoding")  # not quoted: it may be an echo of the key
    announced = headers.get("Content-Length", "").strip()
    inflater: Any = None
    body, received = bytearray(), 0
    while not received or announced != str(received):  # asking for more than all is 3 % of a bare session's call
        piece = response.raw.read(_PIECE, decode_content=False)
        if not piece:
            break
        received += len(piece)
        if encoding not in ("", "identity"):
            inflater = inflater or _inflater(encoding, piece)
            piece = inflater.decompress(piece, limit + 1 - len(body))
        body += piece
        if len(body) > limit or received > limit:
            raise ValueError(f"longer than {limit} bytes")
        if time.monotonic() > ends:
            raise TimeoutError
    if inflater is not None and (not inflater.eof or inflater.unused_data):
        raise ValueError("the compressed body is cut short, or something follows it")
    lengths = {length.strip() for length in headers.get("Content-Length", str(received)).split(",")}
    if lengths != {str(received)} and "chunked" not in headers.get("Transfer-Encoding", "").lower():
        raise ValueError(f"{received} bytes, which is not what was announced")
    return bytes(body)


def _inflater(encoding: str, first: bytes) -> Any:
    if encoding != "deflate":
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    # "deflate" is zlib's format (RFC 9110 §8.4.1.2), but some servers send the bare stream.
    is_zlib = first[0] & 0x0F == 8 and (len(first) < 2 or (first[0] * 256 + first[1]) % 31 == 0)
    return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


class Keys:
    """Where the key comes from, and what became of those that were refused. Thread-safe."""

    def __init__(self, source: KeySource, refresh_key: Optional[Callable[[str], str]]) -> None:
        self._source = source
        self._refresh_key = refresh_key
        self._renewed: Dict[Key, Key] = {}  # old key -> the one that replaced it
        self._last: Dict[str, Key] = {}  # what was told, and the key that it is
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._renewals: Dict[Key, _Renewal] = {}  # under way

    def current(self, deadline: Deadline) -> Key:
        """From a text, a callable or ``RAPIDAPI_KEY``, read anew. MissingAPIKey, InvalidAPIKey."""
        if self._source is None:
            key = _checked("RAPIDAPI_KEY", os.environ.get("RAPIDAPI_KEY"), self._last)
        elif callable(self._source):
            key = _checked("api_key()", _told(deadline, self._source), self._last)
        else:
            key = _checked("api_key", self._source, self._last)
        newer: Optional[Key] = key
        while newer is not None:
            key, newer = newer, self._renewed.get(newer)
        return key

    def renew(self, old: Key, deadline: Deadline) -> Tuple[Optional[Key], str]:
        """The key that replaces a refused one, or None and why there is none.

        ``refresh_key`` runs once however many threads ask; the others wait for it, each within its own
        deadline. Its answer is remembered, so a straggler gets it at once.
        """
        if self._refresh_key is None:
            return None, ""
        mine = _Renewal()
        try:  # from before anybody can wait for it: an interrupt can arrive anywhere
            with self._lock:
                if old in self._renewed:
                    return self._renewed[old], ""
                renewal = self._renewals.setdefault(old, mine)
            if renewal is mine:
                self._run(old, mine, deadline)
            elif not renewal.over.wait(deadline.left()):
                return None, "refresh_key is still running"
            return renewal.key, renewal.problem
        finally:
            mine.over.open()
            with self._lock:
                if self._renewals.get(old) is mine:
                    del self._renewals[old]

    def _run(self, old: Key, renewal: "_Renewal", deadline: Deadline) -> None:
        try:
            new = _checked("refresh_key()", _told(deadline, self._refresh_key, str(old)))
        except (MissingAPIKey, InvalidAPIKey) as problem:
            renewal.problem = str(problem)
            return
        if new == old:
            renewal.problem = "refresh_key returned the same key"
            return
        with self._lock:
            self._renewed.pop(new, None)  # in use again: no circles
            self._renewed[old] = new
        renewal.key, renewal.problem = new, ""


class _Renewal:
    def __init__(self) -> None:
        self.over = Latch()
        self.key: Optional[Key] = None
        self.problem = "refresh_key was interrupted"


def _told(deadline: Deadline, source: Any, *args: str) -> Any:
    """What a callable of the user's returns. Whatever it raises means that there is no key."""
    try:
        return deadline.outside(source, *args)
    except Exception as problem:
        trouble = type(problem).__name__  # its text may hold a key
    raise MissingAPIKey(f"the callable for the key raised {trouble}")


def _checked(name: str, key: Any, last: Optional[Dict[str, Key]] = None) -> Key:
    checked = last.get(key) if last and isinstance(key, str) else None
    if checked is not None:
        return checked  # looking at each of its characters again is 1 % of a bare session's call
    problem: Optional[Exception] = None
    if key is None or isinstance(key, str) and not key.strip():
        problem = MissingAPIKey(f"{name} holds no RapidAPI key: pass api_key= or set RAPIDAPI_KEY")
    elif not isinstance(key, str):
        problem = InvalidAPIKey(f"{name} is a text, not {type(key).__name__}")
    elif len(key.strip()) > _LONGEST_KEY or any(not "!" <= char <= "~" for char in key.strip()):
        problem = InvalidAPIKey(
            f"{name} holds something that no key has (a blank, a line break, a character beyond ASCII, or more "
            f"than {_LONGEST_KEY} characters); was more than the key pasted?")
    if problem is not None:
        del key  # error reports print locals
        raise problem
    checked = Key(key.strip())
    if last is not None:
        last.clear()
        last[key] = checked
    return checked


def _without(key: str, text: Any) -> Any:
    """``text`` (str or bytes) with every echo of the key replaced."""
    if len(key) < _SHORTEST_ECHO:
        return text
    if isinstance(text, str):
        text = text.replace(key, "***")
        return text if key not in text.replace(" ", "") else "***"  # clean() makes blanks of what is in between
    text = text.replace(key.encode(), b"***")
    # JSON may spell any character in another way. It has no reason to for letters and digits, so this is rare.
    if b"\\" in text and (_SPELT_OUT.search(text) or not key.isalnum()):
        text = re.sub(b"".join(map(_spellings, key)), b"***", text)
    return text


_SPELT_OUT = re.compile(rb"\\u00[2-7]")


def _spellings(char: str) -> bytes:
    """A pattern for one character of a key in a JSON text."""
    escaped = rb"\\" + re.escape(char).encode() + b"|" if char in '"\\/' else b""
    return b"(?:%b%b|\\\\u(?i:%04x))" % (escaped, re.escape(char).encode(), ord(char))
