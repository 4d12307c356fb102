"""One call, several providers behind RapidAPI, data in time.

>>> from rapidfailover import call_with_failover
>>> user = call_with_failover("tiktok", "/user/info", {"unique_id": "tiktok"})
"""

from __future__ import annotations

import logging as _logging
import os as _os
import sys as _sys
from _thread import RLock as _RLock
from contextlib import nullcontext as _nullcontext
from importlib import import_module as _import_module
from types import FrameType as _Frame
from types import ModuleType as _Module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "MATRIX",
    "AllProvidersFailed",
    "Answer",
    "Attempt",
    "AuthenticationFailed",
    "BadRequest",
    "FailoverClient",
    "FailoverError",
    "FileCache",
    "InvalidAPIKey",
    "InvalidEndpoint",
    "LRUTTLCache",
    "MissingAPIKey",
    "NoProvidersAvailable",
    "NotFound",
    "Paging",
    "ProviderConfig",
    "ProviderRegistry",
    "RapidAPIKey",
    "RefreshRequest",
    "RequestRefused",
    "Result",
    "Route",
    "Rule",
    "UnknownPlatform",
    "UnknownProvider",
    "batch",
    "call",
    "call_with_failover",
    "check_provider_health",
    "configure",
    "default_client",
    "get_instagram_profile",
    "get_linkedin_profile",
    "get_tiktok_user",
    "get_twitter_user",
    "get_youtube_video",
    "pages",
    "registry",
]

# Where each name is: a module is imported when one of its names is used, so that gevent can still
# patch before that.
_NAMES = {
    "api": [
        "batch",
        "call",
        "call_with_failover",
        "check_provider_health",
        "configure",
        "default_client",
        "get_instagram_profile",
        "get_linkedin_profile",
        "get_tiktok_user",
        "get_twitter_user",
        "get_youtube_video",
        "pages",
    ],
    "batch": ["Answer"],
    "cache": ["FileCache", "LRUTTLCache"],
    "client": ["FailoverClient"],
    "config": ["Attempt", "Paging", "ProviderConfig", "RefreshRequest", "Result", "Route"],
    "credentials": ["RapidAPIKey"],
    "errors": [
        "AllProvidersFailed",
        "AuthenticationFailed",
        "BadRequest",
        "FailoverError",
        "InvalidAPIKey",
        "InvalidEndpoint",
        "MissingAPIKey",
        "NoProvidersAvailable",
        "NotFound",
        "RequestRefused",
        "UnknownPlatform",
        "UnknownProvider",
    ],
    "matrix": ["MATRIX", "Rule"],
    "registry": ["ProviderRegistry"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

if TYPE_CHECKING:  # the same names, for those who check types
    from .api import (
        batch,
        call,
        call_with_failover,
        check_provider_health,
        configure,
        default_client,
        get_instagram_profile,
        get_linkedin_profile,
        get_tiktok_user,
        get_twitter_user,
        get_youtube_video,
        pages,
    )
    from .batch import Answer
    from .cache import FileCache, LRUTTLCache
    from .client import FailoverClient
    from .config import Attempt, Paging, ProviderConfig, RefreshRequest, Result, Route
    from .credentials import RapidAPIKey
    from .errors import (
        AllProvidersFailed,
        AuthenticationFailed,
        BadRequest,
        FailoverError,
        InvalidAPIKey,
        InvalidEndpoint,
        MissingAPIKey,
        NoProvidersAvailable,
        NotFound,
        RequestRefused,
        UnknownPlatform,
        UnknownProvider,
    )
    from .matrix import MATRIX, Rule
    from .registry import ProviderRegistry

    registry: ProviderRegistry

_logging.getLogger(__name__).addHandler(_logging.NullHandler())


def __getattr__(name: str) -> Any:
    """A public name out of its module, or a submodule."""
    package = _sys.modules[__name__]
    if type(package) is _Module:  # importlib's LazyLoader has set it back
        package.__class__ = _Package
    if name == "registry":
        return _default_registry()
    if name in _MODULES:
        return getattr(_one_at_a_time(_MODULES[name]), name)
    if not name.startswith("_"):
        try:
            return _import_module(f".{name}", __name__)  # no lock: the caller may be in an import
        except ModuleNotFoundError as missing:
            if missing.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _default_registry() -> Any:
    return _one_at_a_time("api").default_registry()


def _one_at_a_time(name: str) -> Any:
    with _importing:
        return _import_module(f".{name}", __name__)


def _renew() -> None:
    """Before Python 3.12, threads that import at once can wait for each other for ever (gh-83065):
    so one thread imports at a time. A forked child gets a new lock.
    """
    global _importing
    _importing = _RLock() if _sys.version_info < (3, 12) else _nullcontext()


_importing: Any
_renew()
if hasattr(_os, "register_at_fork"):  # not on Windows, which does not fork
    _os.register_at_fork(after_in_child=_renew)


class _Package(_Module):
    """This module: its ``registry`` is the default client's, though there is a submodule of that
    name.

    ``batch`` and ``pages`` are functions, though there are submodules of those names.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """The import system sets each submodule here. A public name that is the same stays."""
        if name == "registry" or name not in _MODULES or not isinstance(value, _Module):
            super().__setattr__(name, value)

    @property
    def registry(self) -> Any:
        try:
            if _imports_the_submodule(_sys._getframe(1)):
                return _sys.modules[f"{__name__}.registry"]
        except Exception:  # an interpreter without frames or with a bytecode of its own
            pass
        given = vars(self).get("registry", self)
        return _default_registry() if isinstance(given, _Module) else given

    @registry.setter
    def registry(self, given: Any) -> None:
        """Take a registry of the user's, for example in a test; ignore the submodule, which the
        import system sets here.
        """
        if not isinstance(given, _Module):
            vars(self)["registry"] = given
            if given is _default_registry():  # put back: follow the default client again
                del vars(self)["registry"]

    @registry.deleter
    def registry(self) -> None:
        vars(self).pop("registry", None)


def _imports_the_submodule(frame: _Frame) -> bool:
    """Whether the frame is at ``import rapidfailover.registry as name``, which takes the
    attribute, too.
    """
    submodule, imported = f"{__name__}.registry", ""
    if submodule not in frame.f_code.co_names:
        return False
    from dis import get_instructions

    for step in get_instructions(frame.f_code):
        if step.opname == "IMPORT_NAME":
            imported = step.argval
        # before Python 3.11, f_lasti is at the EXTENDED_ARG
        if step.offset >= frame.f_lasti and step.opname != "EXTENDED_ARG":
            return step.opname == "IMPORT_FROM" and imported == submodule
    return False


_sys.modules[__name__].__class__ = _Package
