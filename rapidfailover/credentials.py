"""Keys and auths: where they come from, what replaces a key that was refused, and how they are kept
out of texts.
"""

from __future__ import annotations

import base64
import json
import re
from types import TracebackType
from typing import Any, Callable, Iterator, NamedTuple, Optional, Union
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

from .config import ProviderConfig
from .errors import InvalidAPIKey, MissingAPIKey
from .fork import pass_on

__all__ = [
    "AuthFailed",
    "Key",
    "KeySource",
    "RapidAPIKey",
    "Secrets",
    "checked_key",
    "forget_locals",
    "needs_client_key",
    "put_on",
    "speaks_rapidapi",
    "without",
]


KeySource = Union[None, str, Callable[[], Optional[str]]]

_LONGEST_KEY = 1024  # characters; RapidAPI's have 50
_SHORTEST_ECHO = 16  # characters; a shorter key could be found in texts that do not hold it


class Key(str):
    """A key that does not show itself, in case an error report prints the locals or the headers."""

    def __repr__(self) -> str:
        return "'***'"


class Secrets(NamedTuple):
    """What was put on a request, and must be in no text."""

    texts: tuple[Key, ...] = ()  # of 16 characters and more, the longest first
    in_urls: tuple[Key, ...] = ()  # patterns of what stands in the URL, however short

    def and_more(self, others: Secrets) -> Secrets:
        texts = {*self.texts, *others.texts}
        return Secrets(
            tuple(sorted(texts, key=len, reverse=True)), tuple({*self.in_urls, *others.in_urls})
        )


def without(secrets: str | Secrets, text: Any) -> Any:
    """``text`` (str or bytes) with every echo of the secrets replaced."""
    if isinstance(secrets, str):
        return _without(secrets, text)
    for secret in secrets.texts:
        text = _without(secret, text)
    if isinstance(text, str):
        for pattern in secrets.in_urls:
            text = re.sub(pattern, "***", text)
    return text


def _without(key: str, text: Any) -> Any:
    if len(key) < _SHORTEST_ECHO:
        return text
    if isinstance(text, str):
        text = text.replace(key, "***")
        # clean() has put a blank for each unprintable character, also within an echo
        return text if key not in text.replace(" ", "") else "***"
    text = text.replace(key.encode("utf-8", "replace"), b"***")
    # JSON may spell any character in another way. It has no reason to for letters and digits, so
    # this is rare.
    if (
        b"\\" in text
        and (not key.isascii() or not key.isalnum() or _SPELT_OUT(text))
        and _may_spell(key, text)
    ):
        text = re.sub(b"".join(map(_spellings, key)), b"***", text)
    return text


# a letter or a digit in JSON's \u form
_SPELT_OUT = re.compile(rb"\\u00(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])").search


def _may_spell(key: str, text: bytes) -> bool:
    """Whether the text is worth a closer look. Undoes every escape at once, however many
    backslashes stand before it.
    """
    if "\\" in key or not key.isascii():
        return True
    while b"\\\\" in text:
        text = text.replace(b"\\\\", b"\\")
    plain = text.replace(b"\\U", b"").decode("raw_unicode_escape", "replace")
    return key[_CUT_SHORT:] in plain.replace("\\", "")


_CUT_SHORT = 5  # characters of the key that a seeming escape right before it may take


def _spellings(char: str) -> bytes:
    """A pattern for one character of a key in a JSON text."""
    escaped = rb"\\" + re.escape(char).encode() + b"|" if char in '"\\/' else b""
    units = char.encode("utf-16-be", "replace").hex().encode()
    spelt_out = b"".join(rb"\\u" + units[start : start + 4] for start in range(0, len(units), 4))
    return b"(?:%b%b|(?i:%b))" % (escaped, re.escape(char).encode("utf-8", "replace"), spelt_out)


class RapidAPIKey:
    """A provider's ``auth`` that puts on RapidAPI's two headers.

    ``key`` is a text, or a callable that is asked at each request; None: the client's key, which is
    what a provider without an ``auth`` is sent where its host is ``*.rapidapi.com``.
    """

    def __init__(self, key: KeySource = None) -> None:
        if key is not None and not isinstance(key, str) and not callable(key):
            raise TypeError(
                f"the key of a RapidAPIKey is a text, a callable or None, not {type(key).__name__}"
            )
        self._key = Key(key) if isinstance(key, str) else key

    @property
    def is_the_clients(self) -> bool:
        return self._key is None

    def __repr__(self) -> str:
        return "RapidAPIKey()" if self._key is None else "RapidAPIKey('***')"

    def __call__(self, request: Any) -> Any:
        """Put the headers on a PreparedRequest.

        For a key of its own; the client puts on its own itself.
        """
        if self._key is None:
            raise MissingAPIKey(
                "RapidAPIKey() is a provider's auth as it is: within another one it needs a key"
            )
        key = self._key() if callable(self._key) else self._key
        request.headers["X-RapidAPI-Key"] = checked_key("RapidAPIKey", key)
        request.headers.setdefault("X-RapidAPI-Host", urlsplit(request.url).hostname)
        return request


def speaks_rapidapi(provider: ProviderConfig) -> bool:
    """Whether it is told its host in RapidAPI's header."""
    if provider.auth is None:
        return provider.host == "rapidapi.com" or provider.host.endswith(".rapidapi.com")
    return isinstance(provider.auth, RapidAPIKey)


def needs_client_key(provider: ProviderConfig) -> bool:
    """Whether it is sent the client's RapidAPI key: nobody else's host ever is."""
    auth = provider.auth
    return speaks_rapidapi(provider) and (not isinstance(auth, RapidAPIKey) or auth.is_the_clients)


class AuthFailed(Exception):
    """A provider's ``auth`` could not put on what it should. Says nothing of what that was."""


def put_on(request: Any, provider: ProviderConfig, key: Key | None) -> tuple[Any, Secrets]:
    """The copy of a PreparedRequest that is sent: with the client's key, or with what the ``auth``
    puts on.

    With all that it has and the request has not: those are the secrets. AuthFailed; an alarm
    passes.
    """
    sent = request.copy()
    sent.hooks = {"response": []}  # copy() shares the request's own lists
    if key is not None:
        sent.headers["X-RapidAPI-Key"] = key
        return sent, Secrets((key,))
    if provider.auth is None:
        return sent, Secrets()
    sent = _asked(provider, sent)
    secrets = _added(request, sent)
    for name, value in list(sent.headers.items()):
        if request.headers.get(name) != value:
            sent.headers[name] = Key(_text(value))  # shows itself in no report that prints locals
    return sent, secrets


def _asked(provider: ProviderConfig, request: Any) -> Any:
    before, trouble = request.body, ""
    try:
        sent = provider.auth(request)  # type: ignore[misc]
        if not all(
            hasattr(sent, name) for name in ("url", "headers", "body", "prepare_content_length")
        ):
            trouble = f"returned {type(sent).__name__} and not the request"
        elif not isinstance(sent.body, (bytes, str, type(None))):
            trouble = f"put on a body that is {type(sent.body).__name__} and not bytes"
        elif not isinstance(sent.url, str) or not all(map(_is_header, sent.headers.items())):
            trouble = "put on what no header or URL can hold"
        elif sent.body != before:
            sent.prepare_content_length(sent.body)
    except Exception as problem:  # the user's own code
        pass_on(problem)
        trouble = f"raised {type(problem).__name__}"  # its text may hold a secret
        if isinstance(provider.auth, RapidAPIKey) and isinstance(
            problem, (MissingAPIKey, InvalidAPIKey)
        ):
            trouble = f"raised {problem}"
    if trouble:
        raise AuthFailed(f"its auth {trouble}")
    return sent


def _is_header(item: tuple[Any, Any]) -> bool:
    return bool(_NAME(_text(item[0])) and _VALUE(_text(item[1])))


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_VALUE = re.compile(r"[\t -~\x80-\xff]*").fullmatch


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _added(before: Any, after: Any) -> Secrets:
    """The texts that ``after`` holds and ``before`` does not: in headers, path, query and body,
    whole and in parts.
    """
    texts = _texts_of(after, with_body=after.body != before.body) - _texts_of(
        before, with_body=after.body != before.body
    )
    spelt = {
        spelling
        for text in texts
        for spelling in (text, quote(text, ""), quote_plus(text), unquote(text))
    }
    found = sorted((text for text in spelt if len(text) >= _SHORTEST_ECHO), key=len, reverse=True)
    pieces = set(_pieces(after.url)) - set(_pieces(before.url))
    return Secrets(tuple(map(Key, found)), tuple(map(Key, pieces)))


def _texts_of(request: Any, with_body: bool) -> set[str]:
    texts: list[str] = []
    for name, value in request.headers.items():
        # these headers describe the body, and hold no secret
        if _text(name).lower() not in ("content-length", "content-type", "transfer-encoding"):
            texts += [_text(value), *_in_basic(_text(value))]
    parts = urlsplit(request.url)
    texts += [parts.netloc, *parts.path.split("/")]
    for piece in parts.query.split("&"):
        texts += [
            piece,
            unquote_plus(piece),
            *map(unquote_plus, piece.split("=", 1)),
            *piece.split("=", 1),
        ]
    if with_body and request.body:
        body = (
            request.body.decode("utf-8", "replace")
            if isinstance(request.body, bytes)
            else request.body
        )
        texts += [body, *_in_body(body)]
    return {word for text in texts for word in (text, *_WORDS(text), *text.split())}


_WORDS = re.compile(r"[^\s\"'<>&=,;{}\[\]?]+").findall


def _in_basic(value: str) -> Iterator[str]:
    """Name and password of HTTP's Basic (RFC 7617)."""
    scheme, _, credentials = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials).decode("utf-8", "replace")
        except ValueError:
            return
        yield from (decoded, *decoded.split(":", 1))


def _in_body(body: str) -> Iterator[str]:
    """The values in a JSON or a form."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        yield from (value for _, value in parse_qsl(body))
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            yield str(value)


def _pieces(url: str) -> Iterator[str]:
    """Patterns of the path's segments and of the query's fields, in whatever spelling urllib3
    sends them.
    """
    parts = urlsplit(url)
    for segment in filter(None, parts.path.split("/")):
        yield f"(?<=/)(?:{re.escape(segment)}|{re.escape(quote(unquote(segment)))})(?=[/?\\s]|$)"
    for piece in filter(None, parts.query.split("&")):
        name, is_field, value = piece.partition("=")
        # The value is in the pattern, so that the same name with another value is another piece.
        spelt = re.escape(is_field + value)
        yield rf"(?<=[?&]){re.escape(name)}(?:{spelt}|=[^&\s\"']*|(?=[&\s\"']|$))"


def forget_locals(trace: TracebackType | None) -> None:
    """Clear what is over of HTTP's frames and ours: their locals hold the request's head and
    body.
    """
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.split(".")[0] in ("requests", "urllib3", "http") or module.startswith(
            f"{__package__}."
        ):
            try:
                trace.tb_frame.clear()
            except RuntimeError:
                pass  # the frame is still running
        trace = trace.tb_next


def checked_key(name: str, key: Any) -> Key:
    problem: Exception | None = None
    if key is None or isinstance(key, str) and not key.strip():
        problem = MissingAPIKey(f"{name} holds no RapidAPI key: pass api_key= or set RAPIDAPI_KEY")
    elif not isinstance(key, str):
        problem = InvalidAPIKey(f"{name} is a text, not {type(key).__name__}")
    elif not _KEY(key.strip()):
        problem = InvalidAPIKey(
            f"{name} holds something that no key has (a blank, a line break, a character beyond"
            f" ASCII, or more than {_LONGEST_KEY} characters); was more than the key pasted?"
        )
    if problem is not None:
        del key  # error reports print locals
        raise problem
    return Key(key.strip())


_KEY = re.compile(r"[!-~]{1,%d}" % _LONGEST_KEY).fullmatch
