"""Who serves a platform, in which order, and by which route.

Knows nothing of what has happened to the providers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, Mapping

from .catalog import PROBES
from .config import ProviderConfig, Route
from .endpoints import check_endpoint
from .errors import InvalidEndpoint, UnknownPlatform, UnknownProvider
from .events import log
from .fork import anew_in_child, new_lock, pass_on
from .members import Member, Serving, Slot
from .sharing import Lock

__all__ = ["Directory"]


class Directory:
    """The platforms and their providers, behind one lock. ``rules`` are those of their circuits."""

    def __init__(
        self, providers: Mapping[str, Iterable[ProviderConfig]], rules: tuple[int, float, float]
    ) -> None:
        if not isinstance(providers, Mapping):
            raise TypeError(
                "providers are a mapping of platforms to lists of ProviderConfig, not "
                f"{type(providers).__name__}"
            )
        self._rules = rules
        anew_in_child(self._renew)
        self._platforms: dict[str, dict[str, Member]] = {}  # providers by priority
        self._probes: dict[str, tuple[str, Mapping[str, Any]]] = dict(PROBES)
        for platform, members in providers.items():
            for provider in members:
                self.add(platform, provider)

    def _renew(self) -> None:
        # re-entrant: a signal handler may call snapshot() while its thread holds the lock
        self._lock: Lock = new_lock()

    @property
    def lock(self) -> Lock:
        """It guards every circuit. For who shares them."""
        return self._lock

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(self._platforms)

    def add(
        self,
        platform: str,
        provider: ProviderConfig,
        *,
        probe: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Add a provider, and the platform with its first one. A name is taken once a platform:
        ValueError.

        ``probe`` is the (endpoint, params) that the health check asks of the platform's providers.
        """
        if not isinstance(platform, str) or not platform.strip():
            raise ValueError(f"a platform is a non-empty text, not {platform!r}")
        if not isinstance(provider, ProviderConfig):
            raise TypeError(f"a provider is a ProviderConfig, not {type(provider).__name__}")
        for endpoint, route in (provider.routes or {}).items():
            check_endpoint(endpoint)
            if not callable(route.path):
                check_endpoint(route.path)
        if probe is not None:
            check_endpoint(probe[0])
        with self._lock:
            entries = self._platforms.get(platform, {})
            if provider.name in entries:
                raise ValueError(f"{platform} has a provider named {provider.name} already")
            joined = [*entries.values(), Member(platform, provider, self._rules)]
            joined.sort(key=lambda entry: entry.provider.priority)
            # A new dictionary: who walks over the old one is not disturbed.
            self._platforms[platform] = {entry.provider.name: entry for entry in joined}
            if probe is not None:
                self._probes[platform] = (probe[0], dict(probe[1]))

    def knows(self, provider_name: str) -> bool:
        """Whether a provider bears that name, on any platform."""
        return any(provider_name in members for members in list(self._platforms.values()))

    def check(self, platform: str, endpoint: str) -> None:
        """UnknownPlatform, InvalidEndpoint, or nothing."""
        self._members(platform)
        check_endpoint(endpoint)

    def serving(self, platform: str, endpoint: str, only: str | None = None) -> Serving:
        """Who serves the endpoint, and how: in its own dialect, or by a route. UnknownPlatform,
        InvalidEndpoint.

        What nobody maps goes to the platform's first provider. Settled once a call, and never under
        the lock: a mapping of routes may be the user's code. One that raises, or that leads off the
        host, does not serve the endpoint. ``only``: that provider alone, or UnknownProvider.
        """
        members = list(self._members(platform).values())
        routes: dict[Member, Route | None] = {}
        for number, member in enumerate(members):
            mapping = member.provider.routes
            try:
                route = None if mapping is None else mapping[endpoint]
                if isinstance(route, Route):
                    if not callable(route.path):  # a function's path is checked later
                        check_endpoint(route.path)
                    routes[member] = route
                elif mapping is None or number == 0:
                    routes[member] = None
            except KeyError:
                if number == 0:
                    routes[member] = None
            except Exception as problem:
                pass_on(problem)
                log(
                    "route",
                    platform=platform,
                    provider=member.provider.name,
                    endpoint=endpoint,
                    problem=type(problem).__name__,
                )
        if not routes:
            raise InvalidEndpoint(f"no provider of {platform} serves {endpoint}")
        serving = Serving(platform, endpoint, routes, members)
        return serving if only is None else self._narrowed(serving, only)

    def _narrowed(self, serving: Serving, provider_name: str) -> Serving:
        self._member(serving.platform, provider_name)
        narrowed = serving.only(provider_name)
        if not narrowed.routes:
            raise InvalidEndpoint(f"{provider_name} does not serve {serving.endpoint}")
        return narrowed

    def takes_json(self, platform: str, endpoint: str) -> bool:
        """Whether some provider is sent the params in a JSON body, where they may nest."""
        return any(
            route is not None and route.json is not None
            for route in self.serving(platform, endpoint).routes.values()
        )

    def probe(self, platform: str) -> tuple[str, Mapping[str, Any]]:
        """The (endpoint, params) that the health check asks."""
        return self._probes[platform]

    def slot_of_others(self, platform: str, provider_name: str, endpoint: str) -> Slot | None:
        """Where a circuit lives of which others told; None where it is of nobody known here, or
        there is no room.
        """
        member = self._platforms.get(platform, {}).get(provider_name)
        try:
            check_endpoint(endpoint)
        except InvalidEndpoint:
            return None
        with self._lock:
            return None if member is None else member.slot_of_others(endpoint)

    def slots(self) -> list[Slot]:
        """All circuits: the providers' own, and those of the endpoints in use."""
        with self._lock:
            return [
                slot
                for members in self._platforms.values()
                for member in members.values()
                for slot in member.slots()
            ]

    def open_at_first_fault(self) -> None:
        """From now on one fault that is evidence against a provider opens its circuit: for a
        process that asks once, where three would be three runs that each wait.
        """
        for slot in self.slots():
            with self._lock:
                if not slot.endpoint:
                    slot.circuit = replace(slot.circuit, error_threshold=1)

    def _members(self, platform: str) -> dict[str, Member]:
        try:
            return self._platforms[platform]
        except (KeyError, TypeError):
            known = ", ".join(self._platforms) or "none"
            raise UnknownPlatform(f"no platform {platform!r}; known: {known}") from None

    def _member(self, platform: str, provider_name: str) -> Member:
        members = self._members(platform)
        try:
            return members[provider_name]
        except (KeyError, TypeError):
            known = ", ".join(members)
            raise UnknownProvider(
                f"{platform} has no provider {provider_name!r}; known: {known}"
            ) from None
