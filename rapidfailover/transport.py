"""One attempt at one provider: its Session, urllib3's Retry, the limits, the secrets.

What goes wrong on the network is a value (``Reply``), not an exception: a provider that cannot be
reached reads as 503 and one that is too slow as 504, as the strategy's matrix has it.
"""

from __future__ import annotations

import json
import logging
import sys
from functools import lru_cache
from typing import Any, Callable, Mapping, NamedTuple
from urllib.parse import quote

import requests
from requests.structures import CaseInsensitiveDict

from .circuit import ANYBODY
from .config import ProviderConfig, Question, Route, encode_query, nests, plain
from .connection import Answer, Budget, under_way
from .credentials import AuthFailed, Key, Secrets, forget_locals, put_on, speaks_rapidapi, without
from .deadline import alarm, monotonic
from .endpoints import check_endpoint
from .errors import InvalidEndpoint
from .failures import FAILURES, diagnose
from .fork import alarm_in, anew_in_child, new_lock
from .gateway import interpret
from .matrix import Rule, read_as
from .names import Names
from .payload import as_utf8, charset, gather
from .pool import check_patched_in_time
from .quota import Quota
from .session import Session, new_session
from .tls import Contexts
from .verdicts import ENDPOINT, NOBODY

__all__ = ["Outgoing", "Reply", "Transport", "outgoing"]


_PIECE = 2**16  # bytes read at a time
_ERROR_BODY = 2**16  # bytes of an error's body that are worth reading: its message stands there


class Reply(NamedTuple):
    """What came of one attempt."""

    status: int  # the one it should have had: what the matrix is asked with
    wire: int | None  # as it came over the wire; None when nothing was answered
    detail: str
    retries: int
    data: Any = None  # decoded JSON of a success
    body: bytes = b""  # that it was decoded from
    hold: float | None = None  # seconds to stay away, where the answer said so
    quota: Quota = Quota()  # as the answer told it
    against: str = ENDPOINT  # whom it is evidence against, where it is a fault
    # seconds in which there were too many requests, where a 429 named it
    window: float | None = None
    given: float = ANYBODY  # seconds without an answer, for a timeout
    apart: float = 0.0  # seconds that the provider's auth took, which do not count


class Outgoing(NamedTuple):
    """A question as one provider is asked it."""

    endpoint: str  # of the platform, for the provider's check
    method: str
    path: str
    query: str  # encoded, without the '?'
    body: bytes | None
    is_own: bool  # the caller's own endpoint and params: a 400 is the caller's to mend
    adapt: Callable[[Any], Any] | None


def outgoing(question: Question, route: Route | None) -> Outgoing:
    """In the provider's dialect.

    Whatever the route's functions raise passes: it cannot serve this question.
    """
    if (route is None or route.json is None and route.params is None) and any(
        map(nests, question.params.values())
    ):
        raise TypeError("params that nest need a JSON body")
    if route is None:
        return Outgoing(
            question.endpoint, "GET", question.endpoint, question.query, None, True, None
        )
    params = dict(question.params)
    json_body = None if route.json is None else route.json(dict(params))
    if route.params is not None:
        query = encode_query(route.params(dict(params)))
    else:
        query = question.query if json_body is None else ""
    path = (
        plain(route.path)
        if isinstance(route.path, str)
        else _path(route.path(dict(params)), params)
    )
    is_own = path == question.endpoint and (
        json_body == params and not query or query == question.query
    )
    body = None if json_body is None else json.dumps(json_body, allow_nan=False).encode()
    return Outgoing(question.endpoint, route.method, path, query, body, is_own, route.adapt)


def _path(made: Any, params: Mapping[str, Any]) -> str:
    """The path that a route's function made: held to the rules of endpoints. InvalidEndpoint,
    TypeError.

    A param from outside could lead to another path ("ada/messages"), so it must stay within one
    part of the path.
    """
    if isinstance(made, (list, tuple)):
        if not all(isinstance(part, (str, int)) and part != "" for part in made):
            raise TypeError("the parts of a path are texts and whole numbers")
        made = "".join(f"/{quote(str(part), safe='')}" for part in made)
    else:
        for value in params.values():
            for one in value if isinstance(value, (list, tuple)) else (value,):
                if (
                    isinstance(one, str)
                    and one.strip("/")
                    and ("/" in one or "%" in one)
                    and one in str(made)
                ):
                    raise InvalidEndpoint(
                        "a param brings a '/' or '%' of its own into the path: return its parts"
                    )
    check_endpoint(made)
    return plain(made)


class Transport:
    """Keeps one pooled Session per provider, shared by threads. Thread-safe."""

    def __init__(self, matrix: Mapping[int, Rule], max_body: int) -> None:
        self._matrix = matrix
        self._max_body = max_body
        self._names = Names()
        self._contexts = Contexts()
        for name in _URLLIB3_LOGGERS:
            logging.getLogger(name).addFilter(_masked)  # a filter that is there is not added again
        anew_in_child(self._renew)

    def _renew(self) -> None:
        # a child shares no connection with its parent
        self._sessions: dict[tuple[str, str], Session] = {}
        self._lock = new_lock()

    def ask(
        self,
        platform: str,
        provider: ProviderConfig,
        sent: Outgoing,
        key: Key | None,
        seconds: float,
    ) -> Reply:
        """Send a request, retried once where the matrix says so, all within ``seconds``.

        With the client's ``key``; without one, with what the provider's own auth puts on.
        """
        check_patched_in_time()
        session = self._session(platform, provider)
        ends = monotonic() + seconds
        limit = max(self._max_body, _ERROR_BODY)
        progress = _Progress(
            ends, limit, self._names.addresses, self._contexts, provider, key, seconds
        )
        before = sys.exc_info()[1]
        token = under_way.set(progress)
        response = alarm_raised = None
        try:
            request = _prepared(provider, sent)
            with alarm(seconds):
                response = session.ask(request, seconds)
                return self._reply(response, progress, sent, provider)._replace(
                    apart=progress.apart
                )
        except AuthFailed as failure:
            return Reply(
                503,
                None,
                f"our side: {failure}",
                progress.retries,
                against=NOBODY,
                apart=progress.apart,
            )
        except FAILURES as failure:
            alarm_raised = alarm_in(failure, before)
            if alarm_raised is None:
                status, detail, against = diagnose(failure, progress.secrets)
                return Reply(
                    status,
                    None,
                    detail,
                    progress.retries,
                    against=against,
                    given=seconds if status == 504 else ANYBODY,
                    apart=progress.apart,
                )
            forget_locals(failure.__traceback__)
        except BaseException as interrupt:
            forget_locals(interrupt.__traceback__)
            raise
        finally:
            if response is not None:
                response.close()  # an unread connection is closed; others are in the pool by now
            if progress.answer is not None:
                progress.answer.close()
            under_way.reset(token)
        raise alarm_raised

    def close(self) -> None:
        """Close idle connections. Calls under way finish; a later one opens new connections."""
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def _reply(
        self,
        response: requests.Response,
        progress: _Progress,
        sent: Outgoing,
        provider: ProviderConfig,
    ) -> Reply:
        wire = response.status_code
        good = 200 <= wire < 300
        limit = self._max_body if good else min(self._max_body, _ERROR_BODY)
        status, problem, body, against = wire, "", b"", ENDPOINT
        try:
            body = without(progress.secrets, _body(response, limit, progress.ends))
        except FAILURES as failure:
            if alarm_in(failure) is not None:
                raise
            if good:  # an error stays what it is, whatever becomes of its body
                status, problem, against = diagnose(failure, progress.secrets)
                if status != 504:
                    status, problem, against = 502, f"bad payload: {problem}", ENDPOINT
        if problem:
            return Reply(
                status,
                wire,
                problem,
                progress.retries,
                against=against,
                given=progress.seconds if status == 504 else ANYBODY,
            )
        meaning = interpret(
            wire, response.headers, body, sent.endpoint, provider.check, sent.adapt, provider.host
        )
        status, detail = meaning.status, meaning.detail
        if not sent.is_own and read_as(status, self._matrix) == 400:
            # not what the caller asked for
            status, detail = 403, f"our route was refused: {detail}".rstrip(": ")
        if progress.key is None and read_as(status, self._matrix) == 401:
            status = 403  # it is not about the client's key, which it was not sent
        if sent.adapt and meaning.data is not None:
            body = json.dumps(meaning.data).encode()
        return Reply(
            status,
            wire,
            without(progress.secrets, detail),
            progress.retries,
            meaning.data,
            body,
            meaning.hold,
            meaning.quota,
            window=meaning.window,
        )

    def _session(self, platform: str, provider: ProviderConfig) -> Session:
        """One pool per provider, so that surplus bytes from one provider never answer a request to
        another.
        """
        try:
            return self._sessions[platform, provider.name]
        except KeyError:
            with self._lock:
                return self._sessions.setdefault(
                    (platform, provider.name), new_session(self._matrix)
                )


def _prepared(provider: ProviderConfig, sent: Outgoing) -> requests.PreparedRequest:
    """The request without its secrets.

    Put together by hand: a session would add cookies, the .netrc and headers of its own, and
    preparing one is 15 % of a bare session's call.
    """
    request = requests.PreparedRequest()
    request.method = sent.method
    url = _url(provider.base_url, sent.path)
    request.url = f"{url}?{sent.query}" if sent.query else url  # encoded already
    request.headers = CaseInsensitiveDict(
        {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",  # what can be inflated under a limit
            "User-Agent": "rapidfailover",
        }
    )
    if speaks_rapidapi(provider):
        request.headers["X-RapidAPI-Host"] = provider.host
    if sent.body is not None:
        request.body = sent.body
        request.headers.update(
            {"Content-Type": "application/json", "Content-Length": str(len(sent.body))}
        )
    request.hooks = {"response": []}
    return request


@lru_cache(maxsize=1024)
def _url(base_url: str, path: str) -> str:
    """The URL as requests writes it: blanks and non-ASCII letters are percent-encoded."""
    return str(requests.Request("GET", base_url + path).prepare().url)


class _Progress(Budget):
    """What the adapter and the Retry must know of the attempt under way."""

    __slots__ = ("apart", "key", "pause", "provider", "retries", "seconds", "secrets")

    def __init__(
        self,
        ends: float,
        limit: int,
        addresses: Any,
        contexts: Contexts,
        provider: ProviderConfig,
        key: Key | None,
        seconds: float,
    ) -> None:
        super().__init__(ends, limit, addresses, contexts)
        self.seconds = seconds  # in all
        self.apart = 0.0  # seconds that the auth took
        self.provider = provider
        self.key = key
        self.secrets = Secrets() if key is None else Secrets((key,))
        self.retries = 0
        self.pause = 0.0  # seconds before urllib3 sends the request again

    def put_on(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The copy that is sent. AuthFailed. The time of an auth of the user's does not count."""
        began = monotonic()
        try:
            sent, secrets = put_on(request, self.provider, self.key)
        finally:
            if self.key is None and self.provider.auth is not None:
                took = monotonic() - began
                self.apart, self.ends = self.apart + took, self.ends + took
        self.secrets = self.secrets.and_more(secrets) if self.key is None else self.secrets
        return sent  # type: ignore[no-any-return]


def _masked(record: logging.LogRecord) -> bool:
    """Mask the secrets in what urllib3 logs while our request is under way: an upstream may have
    echoed one.
    """
    progress = under_way.get()
    if progress is not None:
        text = record.getMessage()
        if record.exc_info:
            # without its traceback, whose locals may hold secrets
            text = f"{text} ({record.exc_info[1]})"
        record.msg, record.args, record.exc_info = without(progress.secrets, text), (), None
    return True


_URLLIB3_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.response",
    "urllib3.util.retry",
)


def _body(response: requests.Response, limit: int, ends: float) -> bytes:
    """The whole body, in UTF-8. ValueError.

    What a tool answers (vcrpy, requests-cache) is read as requests reads it: nobody else can know
    what the tool has decoded already.
    """
    headers, raw = response.headers, response.raw
    answer = getattr(raw, "_original_response", None)
    # closed: a tool has read it to the end
    if isinstance(answer, Answer) and not answer.isclosed():
        length = None if raw.chunked else headers.get("Content-Length", "")
        pieces = raw.stream(_PIECE, decode_content=False)
        body = gather(pieces, limit, ends, headers.get("Content-Encoding", ""), length)
    else:
        body = gather(response.iter_content(_PIECE), limit, ends)
    return as_utf8(body, charset(headers.get("Content-Type", "")))
