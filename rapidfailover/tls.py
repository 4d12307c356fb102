"""One SSLContext for all connections of a client that verify by the same CA bundle, and TLS
sessions to resume.

urllib3 makes a context for each connection and loads the CA bundle into it. With certifi's bundle,
that is ten times the work of the handshake, and half a megabyte. ``Contexts.lent_to`` has a
connection use a context that is ready: urllib3's own kind, with the bundle that requests has
chosen, and nothing else.

Left alone, so that urllib3 does what it always does: a connection that does not verify; one with a
setting of its own (a client's certificate, a fingerprint, another name); one to a proxy that speaks
TLS itself; and all of them where somebody has replaced what urllib3 makes contexts of (truststore,
pyOpenSSL, mocket).

A context that is shared is not changed any more: OpenSSL lets no thread change a context while
another thread opens a connection with it. urllib3 sets the same values again for each connection,
so ``_Lent`` stands between.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import Any, Iterator

from urllib3 import connection as connection_module
from urllib3.util import ssl_ as urllib3_tls

from .connection import is_own
from .fork import anew_in_child, new_lock

__all__ = ["Contexts"]

_BUNDLES = 8  # contexts of a client; a program has one CA bundle, or changes it now and then
_SESSIONS = 256  # for each context, one for a host; some 10 KB each
_CHOSEN = ("ca_certs", "ca_cert_dir")  # by requests, from ``verify`` and the environment
_OF_ITS_OWN = (
    "ca_cert_data",
    "ssl_version",
    "ssl_minimum_version",
    "ssl_maximum_version",
    "cert_file",
    "key_file",
    "key_password",
    "assert_hostname",
    "assert_fingerprint",
    "server_hostname",
)


class Contexts:
    """The contexts of one client. Thread-safe; a forked child begins without any."""

    def __init__(self) -> None:
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()
        self._shared: dict[Any, _Shared] = {}

    @contextmanager
    def lent_to(self, connection: Any) -> Iterator[_Lent | None]:
        """While a connection of urllib3's connects, have it use a context that is ready,
        where there can be one.
        """
        shared = self._shared_for(connection)
        if shared is None:
            yield None
            return
        lent = _Lent(shared, (connection.host, connection.port))
        replaced = {"ca_certs": None, "ca_cert_dir": None, "ssl_context": lent}
        before = {name: getattr(connection, name) for name in replaced}
        try:
            vars(connection).update(replaced)
            yield lent
        finally:
            vars(connection).update(before)

    def _shared_for(self, connection: Any) -> _Shared | None:
        if not _can_share(connection):
            return None
        # made by requests 2.32.0 to 2.32.4, which still load the bundle each time
        given = connection.ssl_context
        chosen = tuple(getattr(connection, name) for name in _CHOSEN)
        key = (
            *chosen,
            given and id(given),
            getattr(urllib3_tls, "DEFAULT_CIPHERS", ""),
            os.environ.get("SSLKEYLOGFILE", ""),
        )
        try:
            state = tuple(_state(path) for path in chosen)
            shared = self._shared.get(key)
            if shared is not None and shared.state == state:
                return shared
            with self._lock:
                shared = self._shared.get(key)
                if shared is None or shared.state != state:
                    shared = _Shared(given, chosen, state)
                    if len(self._shared) >= _BUNDLES:
                        self._shared.clear()
                    self._shared[key] = shared
                return shared
        except OSError:  # of a bundle that cannot be read: urllib3 says so in its own way
            return None


def _can_share(connection: Any) -> bool:
    """Whether urllib3 would do no more than make a context in its own way and load a CA
    bundle into it.
    """
    if not any(getattr(connection, name, None) for name in _CHOSEN):
        return False  # plain HTTP; or somebody has taken the choice from requests
    if urllib3_tls.resolve_cert_reqs(connection.cert_reqs) != ssl.CERT_REQUIRED:
        return False
    if any(getattr(connection, name, None) is not None for name in _OF_ITS_OWN):
        return False
    if getattr(getattr(connection, "proxy", None), "scheme", None) == "https":
        return False
    given = connection.ssl_context
    if given is not None and (not _is_known(type(given)) or given.verify_mode != ssl.CERT_REQUIRED):
        return False
    return (
        _is_known(urllib3_tls.SSLContext)
        and not getattr(urllib3_tls, "IS_PYOPENSSL", False)
        and all(is_own(getattr(connection_module, name, None), urllib3_tls) for name in _MADE_BY)
    )


_MADE_BY = ("create_urllib3_context", "ssl_wrap_socket")


def _is_known(cls: Any) -> bool:
    return str(getattr(cls, "__module__", "")).partition(".")[0] in ("ssl", "gevent")


def _state(path: str | None) -> Any:
    """What changes when the CA bundle does. OSError."""
    if not path:
        return None
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


class _Shared:
    """A context with its CA bundle, and the sessions that were made with it."""

    def __init__(self, given: Any, chosen: tuple[str | None, ...], state: Any) -> None:
        self.state = state
        # where urllib3 looks for it, and others replace it
        create = getattr(connection_module, _MADE_BY[0])
        self.context = create(cert_reqs=ssl.CERT_REQUIRED) if given is None else given
        self.context.load_verify_locations(*chosen)
        self.protocols: Any = None
        # by host, port and the name that the certificate was verified for
        self.sessions: dict[Any, Any] = {}
        self.lock = new_lock()


class _Lent:
    """The context as one connection sees it: nothing in it can be changed, and its handshake
    resumes a session.
    """

    def __init__(self, shared: _Shared, peer: tuple[str, Any]) -> None:
        vars(self).update(_shared=shared, _context=shared.context, _peer=peer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self._context, name) != value:
            raise ssl.SSLError(f"{name} of a shared context cannot be changed")

    def set_alpn_protocols(self, protocols: Any) -> None:
        with self._shared.lock:
            if self._shared.protocols != protocols:
                self._context.set_alpn_protocols(protocols)
                self._shared.protocols = list(protocols)

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> Any:
        sessions, whose = self._shared.sessions, (*self._peer, kwargs.get("server_hostname"))
        if whose[-1]:  # else the name to be verified is not known yet
            vars(self)["_whose"] = whose
            if whose in sessions:
                kwargs["session"] = sessions[whose]
        try:
            return self._context.wrap_socket(sock, *args, **kwargs)
        except BaseException:
            # a server that cannot resume it gets a whole handshake next time
            sessions.pop(whose, None)
            raise

    def note(self, sock: Any) -> None:
        """Keep the session of a connection that was answered. Only the thread that uses the
        connection may call this.

        A resumed connection's session is not kept: so a certificate is verified again as often as
        the server gives out new sessions.
        """
        whose = vars(self).get("_whose")
        if whose is None or getattr(sock, "session_reused", True):
            return
        session = sock.session
        if session is None or not session.has_ticket and sock.version() == "TLSv1.3":
            return
        if len(self._shared.sessions) >= _SESSIONS:
            self._shared.sessions.clear()
        self._shared.sessions[whose] = session
