"""What has happened to the providers: reports, marks, holds, switches, and how they are now."""

from __future__ import annotations

import time
from typing import Any, Callable, Iterable, Mapping

from .catalog import PROVIDERS
from .checkups import Checkups, a_second
from .config import ProviderConfig, check_seconds
from .endpoints import check_endpoint
from .events import log
from .members import Member, Slot, Visit
from .snapshots import describe
from .verdicts import Verdict, judge_endpoint, judge_provider

__all__ = ["ProviderRegistry"]


class ProviderRegistry(Checkups):
    """Thread-safe. ``providers`` is ``{platform: [ProviderConfig, …]}``; None means the
    catalogue's.

    ``error_threshold`` faults in a row take a provider out for ``cooldown`` seconds times the
    number of faults, at most ``max_cooldown`` (300 s, 5 minutes a fault: the strategy's
    ``mark_error``). What is evidence against one endpoint alone takes out that endpoint.
    ``early_trials``: whether one that somebody wants is tried before its cooldown is over; without
    them it is the strategy to the letter.
    """

    def __init__(
        self,
        providers: Mapping[str, Iterable[ProviderConfig]] | None = None,
        *,
        error_threshold: int = 3,
        cooldown: float = 300.0,
        max_cooldown: float = 3600.0,
        early_trials: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (
            not isinstance(error_threshold, int)
            or isinstance(error_threshold, bool)
            or error_threshold < 1
        ):
            raise ValueError(f"error_threshold is a whole number from 1, not {error_threshold!r}")
        rules = (
            error_threshold,
            check_seconds("cooldown", cooldown),
            check_seconds("max_cooldown", max_cooldown),
        )
        super().__init__(PROVIDERS if providers is None else providers, rules, early_trials, clock)

    def get_available_providers(
        self, platform: str, endpoint: str | None = None
    ) -> list[ProviderConfig]:
        """By priority, without those disabled, held or cooling down; half-open ones are listed.

        For the endpoint; without one, for at least one of the endpoints in use. Takes no trial.
        UnknownPlatform, InvalidEndpoint.
        """
        members: Iterable[Member] = self._members(platform).values()
        if endpoint is not None:
            check_endpoint(endpoint)
            members = self.serving(platform, endpoint).routes
        self.sharing.look(a_second)
        with self._lock:
            now = self._clock()
            return [
                member.provider
                for member in members
                if member.enabled and not member.is_out(now, endpoint)
            ]

    def is_out(self, platform: str, provider_name: str, endpoint: str) -> bool:
        """Whether that one is disabled, held or cooling down for the endpoint.

        UnknownPlatform, UnknownProvider.
        """
        member = self._member(platform, provider_name)
        with self._lock:
            return not member.enabled or member.is_out(self._clock(), endpoint)

    def report(self, visit: Visit, verdict: Verdict = Verdict()) -> str | None:
        """The verdict on a visit. An answer that is neither a fault nor a hold shows the provider
        alive.

        What that changed: "trip", "hold", "recovery" or nothing.
        """
        leave = visit.leave
        assert leave is not None
        member, slot = leave.member, leave.slot
        with self._lock:
            now = self._clock()
            member.requests += verdict.requests
            if verdict.window is not None:
                member.learn(verdict.window, now)
                self.sharing.note(member)
            if verdict.quota.is_known():
                member.quota = member.quota.then(verdict.quota, now, verdict.took)
                self.sharing.note(member)
            if not verdict.fault and verdict.hold is None:
                member.answered_at = now
                member.answered.append(now)
                member.latency = verdict.took
                if member.circuit.is_healthy() and slot.circuit.is_healthy():  # the healthy call
                    return None
        own, its = leave.tickets
        changes = [
            (
                slot,
                self._change(slot, lambda circuit, now: judge_endpoint(circuit, now, its, verdict)),
            ),
            (
                member,
                self._change(
                    member, lambda circuit, now: judge_provider(circuit, now, own, verdict)
                ),
            ),
        ]
        for kind in ("trip", "hold", "recovery"):
            for which, change in changes:
                if change == kind:
                    self._log(kind, which, verdict.words)
                    return kind
        return None

    def mark_error(self, platform: str, provider_name: str) -> None:
        """Count a fault; from the ``error_threshold``-th in a row on the provider is out for a
        while.
        """
        member = self._member(platform, provider_name)
        if self._change(member, lambda circuit, now: circuit.fault(now)):
            self._log("trip", member, "marked from outside")

    def mark_success(self, platform: str, provider_name: str) -> None:
        """Clear the counts and close the circuits, its own and those of its endpoints.

        A hold stays.
        """
        member = self._member(platform, provider_name)
        closed = [
            self._change(slot, lambda circuit, now: circuit.success()) for slot in member.slots()
        ]
        if any(closed):
            self._log("recovery", member)

    def hold(self, platform: str, provider_name: str, seconds: float) -> None:
        """Leave the provider alone for that long, as it asked.

        Only ever lengthened, at most ``max_cooldown``.
        """
        check_seconds("hold", seconds, zero=True)
        self._change(
            self._member(platform, provider_name), lambda circuit, now: circuit.hold(now, seconds)
        )

    def enable(self, platform: str, provider_name: str) -> None:
        """Let the provider be asked."""
        self._member(platform, provider_name).enabled = True

    def disable(self, platform: str, provider_name: str) -> None:
        """Do not ask the provider until it is enabled again."""
        self._member(platform, provider_name).enabled = False

    def reset(self, platform: str | None = None, provider_name: str | None = None) -> None:
        """Forget faults, cooldown, hold, quota and learned pace of one provider, of a
        platform's or of all.
        """
        if provider_name is not None and platform is None:
            raise ValueError("reset of one provider needs its platform too")
        for name in self.platforms if platform is None else (platform,):
            chosen = (
                self._members(name).values()
                if provider_name is None
                else [self._member(name, provider_name)]
            )
            for member in chosen:
                with self._lock:
                    member.forget(self._clock())
                for slot in member.slots():
                    self._change(slot, lambda circuit, now: circuit.reset())

    def snapshot(self) -> dict[str, dict[str, dict[str, Any]]]:
        """``{platform: {provider: {…}}}`` in plain JSON types.

        ``circuit`` is closed, open or half-open. ``disabled_until`` (the cooldown's end),
        ``hold_until`` and ``last_error`` (so zero or negative) are seconds from now, None where
        there is nothing to tell. Where a store is used, ``store`` is "shared", or says since when
        and why these are the process's own.
        """
        self.sharing.look(a_second)
        more = self.sharing.describe()
        with self._lock:
            now = self._clock()
            return {
                platform: {
                    name: {**describe(member, now), **more} for name, member in members.items()
                }
                for platform, members in self._platforms.items()
            }

    def _log(self, kind: str, slot: Slot, words: str = "") -> None:
        with self._lock:
            circuit, now = slot.circuit, self._clock()
            until = circuit.hold_until if kind == "hold" else now + circuit.blocked_for(now)
        log(
            kind,
            platform=slot.platform,
            provider=slot.provider.name,
            endpoint=slot.endpoint,
            name=slot.name(),
            seconds=(until or now) - now,
            faults=circuit.error_count,
            words=words,
        )
