"""Who serves a platform, in which order, with the circuit of each, behind one lock.

The lock is held for a few lines of dictionary work, never over a request, a sleep or a log line.
"""

import logging
import threading
import time
from functools import lru_cache
from typing import Any, Callable, Dict, Generator, Iterable, List, Mapping, NamedTuple, Optional, Tuple, TypeVar

from .catalog import PROBES, PROVIDERS
from .circuit import Circuit, Ticket
from .config import ProviderConfig, Route, check_seconds
from .errors import InvalidEndpoint, UnknownPlatform, UnknownProvider
from .fork import anew_in_child

__all__ = ["ProviderRegistry", "Visit"]

_log = logging.getLogger(__package__)

Told = TypeVar("Told")

_UNTOLD_RESET = 3600.0  # seconds for which a quota without a reset is believed


class _Entry:
    """A provider and what has happened to it."""

    __slots__ = ("answered_at", "circuit", "enabled", "platform", "provider", "quota", "quota_at")

    def __init__(self, platform: str, provider: ProviderConfig, circuit: Circuit) -> None:
        self.platform = platform
        self.provider = provider
        self.circuit = circuit
        self.enabled = provider.enabled
        self.answered_at: Optional[float] = None
        self.quota: Optional[Dict[str, float]] = None  # as it was told ...
        self.quota_at = 0.0  # ... then

    def extra(self, event: str) -> Dict[str, str]:
        """Fields of a log line."""
        return {"event": event, "platform": self.platform, "provider": self.provider.name}

    def quota_now(self, now: float) -> Optional[Dict[str, Optional[float]]]:
        """{"limit", "remaining", "reset"}: what is left, with the seconds until it resets; None once it has."""
        if self.quota is None:
            return None
        reset = self.quota.get("reset")
        left = (_UNTOLD_RESET if reset is None else reset) - (now - self.quota_at)
        if left <= 0:
            return None
        return {"limit": self.quota.get("limit"), "remaining": self.quota.get("remaining"),
                "reset": None if reset is None else round(left, 3)}

    def is_used_up(self, now: float) -> bool:
        return self.quota is not None and (self.quota_now(now) or {}).get("remaining") == 0

    def is_scarce(self, now: float) -> bool:
        """Whether less than a tenth of the quota is left."""
        quota = self.quota_now(now) or {}
        limit, remaining = quota.get("limit"), quota.get("remaining")
        return remaining is not None and remaining < (limit or 0) / 10


class Visit(NamedTuple):
    """Leave to ask one provider once. Without a ticket: it does not serve the endpoint."""

    provider: ProviderConfig
    route: Optional[Route]  # None: in the platform's own dialect
    still_to_ask: int  # providers, this one included
    ticket: Optional[Ticket]
    entry: _Entry


class Checkup(NamedTuple):
    """A provider whose health is wanted: leave to ask it, or why it is not asked."""

    platform: str
    provider: ProviderConfig
    visit: Optional[Visit]
    why_not: str


class ProviderRegistry:
    """Thread-safe. ``providers`` is ``{platform: [ProviderConfig, …]}``; None means the strategy's.

    ``error_threshold`` faults in a row take a provider out for ``cooldown`` seconds times the number of
    faults, at most ``max_cooldown`` (300 s, 5 minutes a fault: the strategy's ``mark_error``).
    """

    def __init__(self, providers: Optional[Mapping[str, Iterable[ProviderConfig]]] = None, *,
                 error_threshold: int = 3, cooldown: float = 300.0, max_cooldown: float = 3600.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        if not isinstance(error_threshold, int) or isinstance(error_threshold, bool) or error_threshold < 1:
            raise ValueError(f"error_threshold is a whole number from 1, not {error_threshold!r}")
        self._rules = (error_threshold, check_seconds("cooldown", cooldown),
                       check_seconds("max_cooldown", max_cooldown))
        self._clock = clock
        self.fleet: Any = None  # what a store gives: the circuits are then those of many processes
        anew_in_child(self._renew)
        self._platforms: Dict[str, Dict[str, _Entry]] = {}  # providers by priority
        self._probes: Dict[str, Tuple[str, Mapping[str, Any]]] = dict(PROBES)
        for platform, members in (PROVIDERS if providers is None else providers).items():
            for provider in members:
                self.add(platform, provider)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    @property
    def platforms(self) -> Tuple[str, ...]:
        return tuple(self._platforms)

    def add(self, platform: str, provider: ProviderConfig, *,
            probe: Optional[Tuple[str, Mapping[str, Any]]] = None) -> None:
        """Add a provider, and the platform with its first one. A name is taken once a platform: ValueError.

        ``probe`` is the (endpoint, params) that the health check asks of the platform's providers.
        """
        if not isinstance(platform, str) or not platform.strip():
            raise ValueError(f"a platform is a non-empty text, not {platform!r}")
        if not isinstance(provider, ProviderConfig):
            raise TypeError(f"a provider is a ProviderConfig, not {type(provider).__name__}")
        for endpoint, route in (provider.routes or {}).items():
            _check_endpoint(endpoint)
            _check_endpoint(route.path)
        if probe is not None:
            _check_endpoint(probe[0])
        with self._lock:
            entries = self._platforms.get(platform, {})
            if provider.name in entries:
                raise ValueError(f"{platform} has a provider named {provider.name} already")
            joined = [*entries.values(), _Entry(platform, provider, Circuit(*self._rules))]
            joined.sort(key=lambda entry: entry.provider.priority)
            # A new dictionary: who walks over the old one is not disturbed.
            self._platforms[platform] = {entry.provider.name: entry for entry in joined}
            if probe is not None:
                self._probes[platform] = (probe[0], dict(probe[1]))

    def get_available_providers(self, platform: str) -> List[ProviderConfig]:
        """By priority, without those disabled, held or cooling down; half-open ones are listed.

        Takes no trial. UnknownPlatform when there is no such platform.
        """
        entries = self._entries(platform)
        self._ask_fleet()
        with self._lock:
            now = self._clock()
            return [entry.provider for entry in entries.values() if entry.enabled
                    and (entry.circuit.hold_until or now) <= now and entry.circuit.state(now) != "open"]

    def check(self, platform: str, endpoint: str) -> None:
        """UnknownPlatform, InvalidEndpoint, or nothing."""
        self._entries(platform)
        _check_endpoint(endpoint)

    def serving(self, platform: str, endpoint: str) -> int:
        """How many enabled providers serve the endpoint. UnknownPlatform."""
        return len([entry for entry in self._entries(platform).values()
                    if entry.enabled and self._serves(entry, endpoint)])

    def visits(self, platform: str, endpoint: str, lease: Callable[[], float], *,
               early: bool = False) -> "Generator[Visit, None, None]":
        """One provider after the other, each admitted by its circuit at the moment its turn comes.

        One that does not serve the endpoint comes without a ticket, to be told and not to be asked.

        ``lease`` tells how long in seconds the call has left, which is how long it may keep a trial. ``early``
        is for the refresh worker: it may try an open circuit before its cooldown is over. A visit that is
        left without a report gives its trial back.
        """
        waiting = list(self._entries(platform).values())
        put_off: List[_Entry] = []
        self._ask_fleet(lease())
        while True:
            left = lease()
            with self._lock:
                now = self._clock()
                ready = [entry for entry in waiting if entry.enabled and entry.circuit.wait(now, early) <= 0]
                if not ready:
                    return
                # By priority; those whose quota is used up last: some still answer, for money.
                ready.sort(key=lambda entry: entry.is_used_up(now))
                serving = [entry for entry in ready if self._serves(entry, endpoint)]
                entry = ready[0]
            waiting.remove(entry)
            ticket = self._admit(entry, left, early, here=entry in put_off) if entry in serving else None
            if ticket is None and entry in serving:  # another has just taken its trial, or nobody can say: others first
                if entry not in put_off:
                    put_off.append(entry)
                    waiting.append(entry)
                continue
            try:
                yield Visit(entry.provider, _route(entry, endpoint), len(serving), ticket, entry)
            finally:
                self._release(entry, ticket)

    def probe(self, platform: str) -> Tuple[str, Mapping[str, Any]]:
        """The (endpoint, params) that the health check asks."""
        return self._probes[platform]

    def checkups(self, platform: str, lease: float, *, sparing: Optional[float] = None) -> List[Checkup]:
        """The enabled providers, with leave to ask those that are neither held nor cooling down.

        Leave is reported like that of a visit. ``sparing`` is for the monitor: it asks none that answered within
        so many seconds, and none with less than a tenth of its quota left.
        """
        checkups = []
        self._ask_fleet()
        for entry in self._entries(platform).values():
            if not entry.enabled:
                continue
            endpoint = self._probes[platform][0] if platform in self._probes else None
            with self._lock:
                now = self._clock()
                why_not = "no probe is known for the platform" if endpoint is None \
                    else f"it does not serve {endpoint}" if not self._serves(entry, endpoint) \
                    else entry.circuit.why_out(now)
                if not why_not and sparing is not None:
                    if entry.answered_at is not None and now - entry.answered_at < sparing:
                        why_not = f"answered {now - entry.answered_at:.0f} s ago"
                    elif entry.is_scarce(now):
                        why_not = "less than a tenth of its quota is left"
            ticket = None if why_not else self._admit(entry, lease)
            visit = None if ticket is None or endpoint is None else Visit(
                entry.provider, _route(entry, endpoint), 1, ticket, entry)
            checkups.append(Checkup(platform, entry.provider, visit, why_not or "on trial"))
        return checkups

    def give_back(self, visit: Optional[Visit]) -> None:
        """Leave that was not used, or was already reported: its trial is free for others."""
        if visit is not None:
            self._release(visit.entry, visit.ticket)

    def report(self, visit: Visit, said: str = "", *, fault: bool = False, rate_limited: bool = False,
               hold: Optional[float] = None, quota: Optional[Dict[str, float]] = None) -> Optional[str]:
        """The verdict on a visit. An answer that is neither a fault nor a hold shows the provider alive.

        What that changed: "trip", "hold", "recovery" or nothing.
        """
        entry, ticket = visit.entry, visit.ticket
        assert ticket is not None
        with self._lock:
            now = self._clock()
            if quota is not None:
                entry.quota, entry.quota_at = quota, now
                if self.fleet is not None:
                    self.fleet.note_quota(entry)
            if not fault and hold is None:
                entry.answered_at = now
                if entry.circuit.is_sound():  # the healthy call
                    return None
        happened = self._change(entry, lambda circuit, now: _judged(circuit, now, ticket, fault, rate_limited, hold))
        if happened == "trip":
            self._log_trip(entry, said)
        elif happened == "hold":
            _log.warning("%s: %s is held for %.0f s: %s", entry.platform, entry.provider.name, self._wait(entry), said,
                         extra=entry.extra("hold"))
        elif happened == "recovery":
            self._log_recovery(entry)
        return happened

    def retry_after(self, platform: str, endpoint: str, *, early: bool = False) -> Optional[float]:
        """Seconds until the first that serves it can be asked; None when one can be now, or none is enabled."""
        entries = self._entries(platform)
        with self._lock:
            now = self._clock()
            waits = [entry.circuit.wait(now, early) for entry in entries.values()
                     if entry.enabled and self._serves(entry, endpoint)]
        return min(waits, default=0.0) or None

    def mark_error(self, platform: str, provider_name: str) -> None:
        """Count a fault; from the ``error_threshold``-th in a row on the provider is out for a while."""
        entry = self._entry(platform, provider_name)
        if self._change(entry, lambda circuit, now: circuit.fault(now)):
            self._log_trip(entry, "marked from outside")

    def mark_success(self, platform: str, provider_name: str) -> None:
        """Clear the count and close the circuit. A hold stays."""
        entry = self._entry(platform, provider_name)
        if self._change(entry, lambda circuit, now: circuit.success()):
            self._log_recovery(entry)

    def hold(self, platform: str, provider_name: str, seconds: float) -> None:
        """Leave the provider alone for that long, as it asked. Only ever lengthened, at most ``max_cooldown``."""
        check_seconds("hold", seconds, zero=True)
        self._change(self._entry(platform, provider_name), lambda circuit, now: circuit.hold(now, seconds))

    def enable(self, platform: str, provider_name: str) -> None:
        """Let the provider be asked."""
        self._entry(platform, provider_name).enabled = True

    def disable(self, platform: str, provider_name: str) -> None:
        """Do not ask the provider until it is enabled again."""
        self._entry(platform, provider_name).enabled = False

    def reset(self, platform: Optional[str] = None, provider_name: Optional[str] = None) -> None:
        """Forget faults, cooldown, hold and quota of one provider, of a platform's or of all."""
        if provider_name is not None and platform is None:
            raise ValueError("reset of one provider needs its platform too")
        for name in self.platforms if platform is None else (platform,):
            chosen = self._entries(name).values() if provider_name is None else [self._entry(name, provider_name)]
            for entry in chosen:
                with self._lock:
                    entry.quota, entry.quota_at = None, self._clock()
                self._change(entry, lambda circuit, now: circuit.reset())

    def snapshot(self) -> Dict[str, Dict[str, Dict[str, Any]]]:
        """``{platform: {provider: {…}}}`` in plain JSON types.

        ``circuit`` is closed, open or half-open. ``disabled_until`` (the cooldown's end), ``hold_until`` and
        ``last_error`` (so zero or negative) are seconds from now, None where there is nothing to tell. Where a
        store is used, ``store`` is "shared", or says since when and why these are the process's own.
        """
        self._ask_fleet()
        more = {} if self.fleet is None else {"store": self.fleet.told()}
        with self._lock:
            now = self._clock()
            return {platform: {name: {**_describe(entry, now), **more} for name, entry in entries.items()}
                    for platform, entries in self._platforms.items()}

    def _ask_fleet(self, left: float = 1.0) -> None:
        """See, within the seconds that are left, that what is known is what the others know."""
        if self.fleet is not None:
            self.fleet.look(left)

    def _change(self, entry: _Entry, change: Callable[[Circuit, float], Told], here: bool = True) -> Told:
        """Change a circuit, in the whole fleet where there is one; what the change returned.

        The change may be made several times, on copies: it touches nothing but the circuit that it is given. Not
        ``here``: None where the fleet is slow to say.
        """
        if self.fleet is not None:
            told: Told = self.fleet.change(entry, change, here)
            return told
        with self._lock:
            return change(entry.circuit, self._clock())

    def _admit(self, entry: _Entry, lease: float, early: bool = False, here: bool = False) -> Optional[Ticket]:
        """Leave to send one request; a trial is one in the whole fleet."""
        if entry.circuit.open_until is None:
            with self._lock:
                if entry.circuit.open_until is None:
                    return entry.circuit.admit(self._clock(), lease, early)
        return self._change(entry, lambda circuit, now: circuit.admit(now, lease, early), here)

    def _release(self, entry: _Entry, ticket: Optional[Ticket]) -> None:
        if ticket is not None and ticket.trial:
            self._change(entry, lambda circuit, now: circuit.release(ticket))

    def _wait(self, entry: _Entry) -> float:
        with self._lock:
            return entry.circuit.wait(self._clock())

    def _entries(self, platform: str) -> Dict[str, _Entry]:
        try:
            return self._platforms[platform]
        except (KeyError, TypeError):
            known = ", ".join(self._platforms) or "none"
            raise UnknownPlatform(f"no platform {platform!r}; known: {known}") from None

    def _serves(self, entry: _Entry, endpoint: str) -> bool:
        """In its own dialect, by a route, or because what nobody maps goes to the platform's first provider."""
        return entry.provider.routes is None or _route(entry, endpoint) is not None \
            or entry is next(iter(self._platforms[entry.platform].values()))

    def _entry(self, platform: str, provider_name: str) -> _Entry:
        entries = self._entries(platform)
        try:
            return entries[provider_name]
        except (KeyError, TypeError):
            known = ", ".join(entries)
            raise UnknownProvider(f"{platform} has no provider {provider_name!r}; known: {known}") from None

    def _log_trip(self, entry: _Entry, said: str) -> None:
        _log.warning("%s: %s is out for %.0f s after %d faults in a row, the last: %s", entry.platform,
                     entry.provider.name, self._wait(entry), entry.circuit.error_count, said, extra=entry.extra("trip"))

    def _log_recovery(self, entry: _Entry) -> None:
        _log.info("%s: %s answers again and is back in use", entry.platform, entry.provider.name,
                  extra=entry.extra("recovery"))


def _judged(circuit: Circuit, now: float, ticket: Ticket, fault: bool, rate_limited: bool,
            hold: Optional[float]) -> Optional[str]:
    """What a verdict changes: "trip", "hold", "recovery" or nothing."""
    was_held = circuit.hold_until is not None and circuit.hold_until > now
    tripped = recovered = False
    if rate_limited and hold is not None:
        tripped = circuit.limit(now, hold, ticket)
    else:
        if hold is not None:
            circuit.hold(now, hold)
            circuit.release(ticket)
        if fault:
            tripped = circuit.fault(now, ticket, rate_limited=rate_limited)
        elif hold is None:
            recovered = circuit.success(ticket)
    if tripped:
        return "trip"
    if hold is not None and not was_held and circuit.wait(now) >= 1.0:
        return "hold"
    return "recovery" if recovered else None


def _route(entry: _Entry, endpoint: str) -> Optional[Route]:
    try:
        return None if entry.provider.routes is None else entry.provider.routes[endpoint]
    except KeyError:
        return None


def _describe(entry: _Entry, now: float) -> Dict[str, Any]:
    provider, circuit = entry.provider, entry.circuit

    def ahead(time_: Optional[float]) -> Optional[float]:
        return round(time_ - now, 3) if time_ is not None and time_ > now else None

    return {
        "priority": provider.priority, "status": provider.status, "enabled": entry.enabled,
        "circuit": circuit.state(now), "error_count": circuit.error_count,
        "last_error": None if circuit.last_error is None else round(circuit.last_error - now, 3),
        "disabled_until": ahead(circuit.open_until), "hold_until": ahead(circuit.hold_until),
        "quota": entry.quota_now(now), "advice": provider.advice,
    }


def _check_endpoint(endpoint: Any) -> None:
    """Refuse whatever could lead off the provider's host once it is joined to its base_url."""
    if type(endpoint) is str:
        _check_path(endpoint)
    else:  # nothing that could be remembered
        _check_path.__wrapped__(endpoint)


@lru_cache(maxsize=1024)
def _check_path(endpoint: Any) -> None:
    if not isinstance(endpoint, str) or not endpoint.startswith("/") or endpoint.startswith("//"):
        raise InvalidEndpoint(f"an endpoint is a path that begins with one '/', not {endpoint!r}")
    if any(char in "\\?#" or not char.isprintable() for char in endpoint):
        raise InvalidEndpoint(f"an endpoint has no '\\', '?', '#' or control characters; "
                              f"queries go into params: {endpoint!r}")
    if any(part.lower().replace("%2e", ".") in (".", "..") for part in endpoint.split("/")):
        raise InvalidEndpoint(f"an endpoint has no '.' or '..' as a part of its path: {endpoint!r}")
