"""Host names and their addresses, within a deadline."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from typing import Any

from urllib3.util import connection as urllib3_addresses

from .coalesce import Flight, SingleFlight
from .deadline import monotonic

__all__ = ["Names"]

_LOOKUPS = 32  # names looked up at the same time


class Names:
    """Looks host names up in daemon threads, because ``getaddrinfo`` knows no timeout. Thread-safe.

    One thread for each name under way, however many ask for it; it ends with the look-up.
    """

    def __init__(self) -> None:
        self._lookups: SingleFlight[_Lookup] = SingleFlight()

    def addresses(self, host: str, port: int, ends: float) -> list[Any]:
        """As ``socket.getaddrinfo`` has them. socket.timeout, socket.gaierror, UnicodeError."""
        asked = (host, port, urllib3_addresses.allowed_gai_family(), socket.SOCK_STREAM)
        if _is_number(host):
            return socket.getaddrinfo(*asked)
        lookup = self._lookup(asked)
        while lookup is None and monotonic() < ends:
            time.sleep(0.01)  # too many others are under way
            lookup = self._lookup(asked)
        if lookup is None or not lookup.landed.wait(ends - monotonic()):
            raise socket.timeout("the name was not found in time")
        if lookup.problem is not None:
            raise lookup.problem
        return lookup.found

    def _lookup(self, asked: tuple[Any, ...]) -> _Lookup | None:
        """The look-up that is under way, or a new one; None where too many others are."""
        own = _Lookup()
        lookup = self._lookups.join(asked, own, most=_LOOKUPS)
        if lookup is own:
            thread = threading.Thread(
                target=self._look_up, args=(asked, own), daemon=True, name="rapidfailover-names"
            )
            try:
                thread.start()
            except RuntimeError:  # the system gives no more, or the interpreter is shutting down
                self._look_up(asked, own)
        return lookup

    def _look_up(self, asked: tuple[Any, ...], lookup: _Lookup) -> None:
        try:
            lookup.found = socket.getaddrinfo(*asked)
        except Exception as problem:  # gaierror, and UnicodeError for what is no name at all
            lookup.problem = problem
        finally:
            self._lookups.land(asked, lookup)


class _Lookup(Flight):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.problem: Exception | None = None


def _is_number(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
        return True
    except ValueError:
        return False
