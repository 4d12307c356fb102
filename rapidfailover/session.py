"""A requests Session that keeps nothing, follows nothing and retries what the matrix says.

What is overridden, the class that it leans on (since when), why, and the test that turns red
without it:

``_NoCookies.extract_cookies``, CookieJar (Python 2.4): none is kept, and no lock taken
    test_hooks.py::test_no_cookie_is_kept_whoever_answers_and_wherever_calls_enter
``Session.merge_environment_settings``, requests.Session (requests 2.4): a plain request goes
    through no proxy
    test_hooks.py::test_a_plain_request_goes_through_no_proxy_wherever_calls_enter
``Session.get_redirect_target``, requests.Session (requests 2.14): no redirect is looked at or read
    out
    test_transport.py::test_a_redirect_is_not_followed[302-/thing-send]
``_Adapter.init_poolmanager``, HTTPAdapter (requests 1.0): pools with our connections
    test_transport.py::test_an_answer_that_announces_another_is_not_the_answer[103 Early Hints]
``_Adapter.proxy_manager_for``, HTTPAdapter (requests 2.4): the same behind a proxy
    test_transport.py::test_tls_within_tls_is_in_time[hello_dripped]
``_Adapter.get_connection_with_tls_context``, HTTPAdapter (since requests 2.32): one is looked up
    once: 4 % of a call
    test_hooks.py::test_a_pool_is_looked_up_once
``_Adapter.request_url``, HTTPAdapter (requests 1.0): no proxy is looked for again: 3 % of a call
    test_hooks.py::test_no_proxy_is_looked_for_at_each_call
``_Adapter.build_response``, HTTPAdapter (requests 1.0, until requests 2.32): a "charset" that names
    none
    test_bare_session.py::test_a_charset_without_a_name_is_none[text/html; charset]
``_Adapter.send``, HTTPAdapter (requests 1.0): puts the key, or what the auth adds, on a copy, at
    the last moment
    test_transport.py::test_a_session_request_that_a_tool_has_wrapped_is_where_calls_enter
``_Retry.sleep``, urllib3's Retry (urllib3 1.9): a pause before the first retry
    test_transport.py::test_one_retry_after_a_short_pause[status]
``_Retry.increment``, urllib3's Retry (urllib3 1.9): one pause, no retry for a timeout nor beyond
    the time
    test_transport.py::test_one_retry_and_no_more
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any, Mapping

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.exceptions import ClosedPoolError, MaxRetryError
from urllib3.util.retry import Retry

from .connection import is_own, under_way
from .deadline import monotonic
from .failures import is_timeout
from .fork import alarm_in
from .matrix import Rule, read_as
from .pool import adopt

__all__ = ["Session", "new_session"]

# connections kept per provider at most; more threads open more of them, which are not kept
_CONNECTIONS = 256
_PAUSE = (0.1, 0.3)  # seconds before urllib3's retry


def new_session(matrix: Mapping[int, Rule]) -> Session:
    """One pool of connections, the matrix's retries, no memory."""
    session = Session()
    session.cookies = _NoCookies()
    session.headers.clear()
    session.auth = _as_it_is
    adapter = _Adapter(pool_connections=4, pool_maxsize=_CONNECTIONS, max_retries=_retry(matrix))
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


_DIRECT = {"proxies": {}, "verify": True, "cert": None}
_VARIABLES = (
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "REQUEST_METHOD",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The session's auth: without one, requests would read the .netrc."""
    return request


class _NoCookies(RequestsCookieJar):
    def extract_cookies(self, *args: Any) -> None:
        """Keep no cookie, and take no lock of the jar: an interrupt meanwhile would leave it locked
        for ever.
        """


class Session(requests.Session):
    _variables: Any = None
    _settings: dict[str, Any] = {}

    def ask(self, request: requests.PreparedRequest, seconds: float) -> requests.Response:
        """Send it: by ``Session.request`` where a tool has wrapped that (X-Ray and its like do), by
        ``Session.send`` where it has wrapped that, else as that does: by the adapter.

        What a session adds, its cookies, redirects and hooks, is turned off; to look for it is 4 %
        of a call.
        """
        if not is_own(requests.Session.request, requests.sessions):
            return self.request(
                request.method or "",
                request.url or "",
                data=request.body,
                headers=request.headers,
                timeout=seconds,
                stream=True,
                allow_redirects=False,
            )
        settings = {"stream": True, "timeout": seconds, **self._from_environment(request.url)}
        try:
            if is_own(requests.Session.send, requests.sessions) and is_own(
                requests.Session.get_adapter, requests.sessions
            ):
                return self.get_adapter(str(request.url)).send(request, **settings)
            return self.send(request, allow_redirects=False, **settings)
        finally:
            # a patch has turned verification off for a while: keep no such connection
            if settings["verify"] is False:
                self.close()

    def _from_environment(self, url: Any) -> dict[str, Any]:
        """Proxies and CA bundle.

        Looked up only when a variable has changed: at every call it would be a fifth of the cost.
        """
        if not url.startswith("https:"):
            return _DIRECT
        variables = tuple(map(os.environ.get, _VARIABLES))
        is_plain = is_own(requests.Session.merge_environment_settings, requests.sessions)
        if not is_plain or variables != self._variables or sys.platform in ("darwin", "win32"):
            settings = self.merge_environment_settings(url, {}, None, None, None)
            chosen = {name: settings[name] for name in ("proxies", "verify", "cert")}
            if not is_plain:
                return chosen
            self._settings, self._variables = chosen, variables
        return self._settings

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """As requests does, for https: a proxy would see the key of a plain loopback request."""
        if not url.startswith("https:"):
            return {**_DIRECT, "stream": stream}
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is followed, looked at or read out: it would carry the key to a stranger."""
        return None


class _Adapter(HTTPAdapter):
    """Talks to one host, over our connections, with the key or what its auth adds."""

    def get_connection_with_tls_context(
        self, request: Any, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        which = verify, *(proxies or {}).items()
        pool = self._pools.get(which)
        if pool is None or pool.pool is None:  # closed meanwhile
            pool = self._pools[which] = super().get_connection_with_tls_context(
                request, verify, proxies, cert
            )
        return pool

    def request_url(self, request: Any, proxies: Any) -> str:
        return str(request.path_url)  # the whole URL is for plain proxies, which are not used

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        self._pools: dict[Any, Any] = {}  # by proxy and CA bundle
        super().init_poolmanager(*args, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        adopt(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        theirs: Any = super().proxy_manager_for
        manager = theirs(*args, **kwargs)
        adopt(manager)
        return manager

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        try:
            return super().build_response(req, resp)
        except AttributeError:  # of requests 2.25 to 2.31, at a "charset" that names none
            del resp.headers["Content-Type"]
            return super().build_response(req, resp)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Put secrets on a copy, so that neither the request nor the response's ``request``
        ever holds one.
        """
        keyed = under_way.get().put_on(request)
        try:
            response = super().send(keyed, *args, **kwargs)
        except requests.ConnectionError as error:
            if not isinstance(error.args and error.args[0], ClosedPoolError):
                raise
            response = super().send(keyed, *args, **kwargs)  # close() took the pool away in between
        response.request = request
        return response


class _Retry(Retry):
    """urllib3's retry with a pause before the first one and none for timeouts, within the
    attempt's time.
    """

    def sleep(self, response: Any = None) -> None:
        time.sleep(under_way.get().pause)

    def increment(
        self,
        method: Any = None,
        url: Any = None,
        response: Any = None,
        error: Any = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> _Retry:
        progress = under_way.get()
        if error is not None and (alarm_in(error) is not None or is_timeout(error)):
            raise error  # a second wait helps nobody
        if error is not None and progress.reused and not progress.received and not progress.fresh:
            # The server had closed the connection that it kept for us: no fault, no retry, no
            # pause.
            progress.fresh, progress.pause, progress.retries = True, 0.0, progress.retries + 1
            return self
        if progress.ends - monotonic() <= _PAUSE[1]:
            raise MaxRetryError(_pool, url, error)  # urllib3 hands out the response it has
        following: Any = super().increment(method, url, response, error, _pool, _stacktrace)
        if response is not None:
            # urllib3 would read out the discarded body, however long it is or takes
            response.close()
        progress.retries, progress.pause = progress.retries + 1, random.uniform(*_PAUSE)
        # urllib3 1.26 and 2 differ in what they declare
        return following  # type: ignore[no-any-return]


def _retry(matrix: Mapping[int, Rule]) -> _Retry:
    """One retry for every status whose row says so, and for failed connections as for 503.

    The client itself retries a 429. urllib3 ignores ``Retry-After``, which may ask for hours.
    """
    retried = [
        status
        for status in range(100, 1000)
        if read_as(status, matrix) != 429 and matrix[read_as(status, matrix)].retry
    ]
    again = int(matrix[503].retry)
    return _Retry(
        total=1,
        connect=again,
        read=again,
        status=1,
        redirect=0,
        other=0,
        status_forcelist=retried,
        allowed_methods=None,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
