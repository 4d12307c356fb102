"""What it means that an attempt failed: too slow or not there, in which words, and whose trouble it
is.
"""

from __future__ import annotations

import errno
import re
import socket
import zlib
from http.client import HTTPException

import requests
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ProxySchemeUnknown,
)
from urllib3.exceptions import TimeoutError as PoolTimeout

from .credentials import Secrets, without
from .payload import clean
from .verdicts import NOBODY, PROVIDER

__all__ = ["FAILURES", "diagnose", "is_timeout"]

# What requests, urllib3, http.client, ssl and zlib raise when the other side or the network is at
# fault. ValueError covers headers that urllib3 cannot make sense of, and our own findings about a
# body. Huge chunk sizes and lengths end in OverflowError or MemoryError. The last three come from a
# tool's patch, or from two versions that do not fit together.
FAILURES = (
    requests.RequestException,
    HTTPError,
    HTTPException,
    OSError,
    ValueError,
    zlib.error,
    OverflowError,
    MemoryError,
    AttributeError,
    NameError,
    TypeError,
)


def diagnose(failure: BaseException, secrets: str | Secrets) -> tuple[int, str, str]:
    """504 or 503, the innermost reason in a few words that hold neither a URL nor a secret,
    and whose it is.
    """
    reasons = _reasons(failure)
    if _any_timeout(reasons):
        return 504, "no answer in time", PROVIDER
    detail = _in_words(reasons, secrets)
    return (503, f"our side: {detail}", NOBODY) if _is_ours(reasons) else (503, detail, PROVIDER)


def is_timeout(failure: BaseException) -> bool:
    return _any_timeout(_reasons(failure))


def _reasons(failure: BaseException) -> list[BaseException]:
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


def _any_timeout(reasons: list[BaseException]) -> bool:
    # In urllib3 1.26 a refused connection is a ConnectTimeoutError by inheritance.
    return any(
        isinstance(one, (requests.Timeout, PoolTimeout, socket.timeout, TimeoutError))
        and not isinstance(one, NewConnectionError)
        for one in reasons
    )


def _is_ours(reasons: list[BaseException]) -> bool:
    """Whether the cause is this machine, its network, its proxy or a patch. Then the failure says
    nothing about a provider.
    """
    last = reasons[-1]
    return (
        isinstance(last, (AttributeError, NameError, TypeError, MemoryError))
        or isinstance(last, UnicodeError)
        and not isinstance(last, UnicodeDecodeError)  # the name of a proxy that is none
        or isinstance(last, socket.gaierror)
        and last.errno == socket.EAI_AGAIN
        or isinstance(last, OSError)
        and last.errno in _OUR_TROUBLES
        or isinstance(last, OSError)
        and "CA certificate bundle" in str(last)
        or any(isinstance(one, _NO_URL) for one in reasons)
        or any(isinstance(one, (requests.exceptions.ProxyError, ProxyError)) for one in reasons)
        and not _BEHIND_PROXY(str(last))
    )


# No network, no address of ours, no descriptors; a CA bundle that is not there or cannot be read.
_OUR_TROUBLES = (
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
)


# A URL that is none, or for which something is not installed: a proxy's, or what an auth made of
# it. A provider's is checked when it is made known, and no redirect is followed.
_NO_URL = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    LocationValueError,
    ProxySchemeUnknown,
)


_BEHIND_PROXY = re.compile(r"failed: 50[0234]").search  # the proxy is there, the provider is not


def _in_words(reasons: list[BaseException], secrets: str | Secrets) -> str:
    last = reasons[-1]
    words = (
        last.strerror
        if isinstance(last, OSError) and last.strerror
        else str(last).rpartition(">: ")[2]
    )
    words = re.sub(r"//[^/\s]*@", "//***@", words)  # the password of a proxy
    return clean(
        without(secrets, words if type(last) is ValueError else f"{type(last).__name__}: {words}")
    )
