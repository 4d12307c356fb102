"""A provider and what has happened to it: the state that the registry guards by its lock, and what
it hands out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Deque, NamedTuple

from .circuit import Asker, Circuit, Ticket
from .config import Paging, ProviderConfig, Route
from .fork import pass_on
from .pace import Pace, learned
from .quota import Quota

__all__ = ["Checkup", "Leave", "Member", "Serving", "Slot", "Visit"]

_ENDPOINTS = 64  # of a provider, whose circuits are kept
_ANSWERS = 1000  # of a provider, whose times are remembered
_MOMENT = 0.05  # seconds between two looks at whether the one that goes first after a hold is back
_UNPROVEN = 3  # requests at once to a provider that has yet to show that it answers
_KNOWN = 8  # answers after which a provider is taken to bear as many at once as there are
# Before that, twice as many may ask after each 0.2 s without an answer, up to eight; after 1.5 s
# soon any number: one that limits would have said so.
_DOUBLED, _SILENT = 0.2, 1.5


class Slot:
    """Where a circuit lives: a provider's own, or that of one of its endpoints."""

    __slots__ = (
        "circuit",
        "endpoint",
        "learned",
        "learned_at",
        "platform",
        "provider",
        "quota",
    )

    def __init__(
        self, platform: str, provider: ProviderConfig, circuit: Circuit, endpoint: str = ""
    ) -> None:
        self.platform = platform
        self.provider = provider
        self.circuit = circuit
        self.endpoint = endpoint  # "": the provider's own
        self.quota = Quota()
        self.learned: Pace | None = None  # the pace, as it was learned or forgotten ...
        self.learned_at = 0.0  # ... then

    def counted(self, window: float, at: float) -> int:
        """How many answers there were in the window before that."""
        return 0

    def name(self) -> str:
        """In words."""
        return f"{self.provider.name} {self.endpoint}".rstrip()


class Member(Slot):
    """A provider and what has happened to it."""

    __slots__ = (
        "answered",
        "answered_at",
        "enabled",
        "endpoints",
        "latency",
        "rate",
        "requests",
        "rules",
        "under_way",
    )

    def __init__(
        self, platform: str, provider: ProviderConfig, rules: tuple[int, float, float]
    ) -> None:
        super().__init__(platform, provider, Circuit(*rules))
        self.rules = rules  # of its circuits
        self.rate = None if provider.rate is None else Pace(provider.rate, 1.0)
        self.answered: Deque[float] = deque(maxlen=_ANSWERS)  # when
        # visits: when each began, and when its call is over at the latest
        self.under_way: dict[object, tuple[float, float]] = {}
        self.requests = 0  # sent since the start
        self.latency: float | None = None  # seconds, of the last success
        self.enabled = provider.enabled
        self.answered_at: float | None = None
        self.endpoints: OrderedDict[str, Slot] = OrderedDict()  # those in use, the latest last

    def pace(self, now: float) -> Pace | None:
        """How often it may be asked: as it was set, else as it was learned."""
        if self.learned is not None and self.learned.is_forgotten(now):
            self.learned = None
        return self.rate or self.learned

    def learn(self, window: float, now: float) -> None:
        """A 429 named its window, in seconds."""
        self.learned_at = now
        if self.learned is None or self.learned.seconds <= window:
            before, self.learned = self.learned, learned(window, self.answered, now)
            if before is not None:  # turns that were given stay given
                self.learned.free_at, self.learned.taken_at = before.free_at, before.taken_at

    def counted(self, window: float, at: float) -> int:
        return len([moment for moment in self.answered if 0 <= at - moment < window])

    def forget(self, now: float) -> None:
        """The quota and the learned pace."""
        self.quota, self.learned, self.learned_at = Quota(told_at=now), None, now

    def is_crowded(self, now: float) -> bool:
        """Whether so many are asking it as may at once.

        As many as its plan has left: what is under way counts as used. Few while it has yet to
        show that it answers, and as many as it has answered while it is new: the first request
        tells whether a second is one too many. One that limits says so at once, so where nothing
        comes back it is slow, and soon everybody may ask.
        """
        remaining = None if self.provider.overage else self.quota.remaining(now)
        is_proven = self.answered_at is not None and self.circuit.is_only_slow()
        is_new = len(self.answered) < _KNOWN and self.rate is None and self.learned is None
        if is_proven and not is_new and remaining is None:  # the healthy call
            return False
        asking = [began for began, over_at in self.under_way.values() if over_at > now]
        if remaining is not None and len(asking) >= remaining:
            return True
        if not asking or is_proven and not is_new:
            return False
        few = len(self.answered) if is_new else _UNPROVEN
        return len(asking) >= max(few if is_proven else min(few, _UNPROVEN), _may_ask(now, asking))

    def slot(self, endpoint: str) -> Slot:
        """The endpoint's.

        Of more than 64, the one goes that was not used for longest and has nothing to tell.
        """
        slot = self.endpoints.get(endpoint)
        if slot is None:
            slot = self.endpoints[endpoint] = Slot(
                self.platform, self.provider, Circuit(*self.rules), endpoint
            )
            if len(self.endpoints) > _ENDPOINTS:
                others = list(self.endpoints)[:-1]
                sound = [name for name in others if self.endpoints[name].circuit.is_healthy()]
                del self.endpoints[(sound or others)[0]]
        else:
            self.endpoints.move_to_end(endpoint)
        return slot

    def slot_of_others(self, endpoint: str) -> Slot | None:
        """The endpoint's, of which others told; None where it would take the room of those in use
        here.
        """
        return (
            self.slot(endpoint)
            if endpoint in self.endpoints or len(self.endpoints) < _ENDPOINTS
            else None
        )

    def slots(self, endpoint: str | None = None) -> list[Slot]:
        """Its own, and those of one endpoint or of all in use."""
        return [
            self,
            *(
                slot
                for name, slot in self.endpoints.items()
                if endpoint is None or name == endpoint
            ),
        ]

    def state(self, now: float) -> str:
        """Open where no endpoint in use can be asked: its own circuit is, or all of theirs are."""
        own, of_endpoints = self.circuit.state(now), {
            slot.circuit.state(now) for slot in self.endpoints.values()
        }
        if own == "closed" and of_endpoints and "closed" not in of_endpoints:
            return "half-open" if "half-open" in of_endpoints else "open"
        return own

    def is_out(self, now: float, endpoint: str | None = None) -> bool:
        """Whether it is held or cooling down, for that endpoint or for all that are in use."""
        held = (
            self.circuit.hold_until is not None
            and self.circuit.hold_until > now
            or self.is_spent(now)
        )
        slot = None if endpoint is None else self.endpoints.get(endpoint)
        state = (
            self.state(now) if endpoint is None else "" if slot is None else slot.circuit.state(now)
        )
        return held or "open" in (state, self.circuit.state(now))

    def why_out(self, endpoint: str, now: float) -> str:
        """Why it cannot be asked for that, in words; nothing when it can."""
        slot = self.endpoints.get(endpoint)
        if self.is_spent(now):
            return f"its plan is used up for {self.quota.renewed_in(now):.0f} s"
        return _why_out(self.circuit, now) or ("" if slot is None else _why_out(slot.circuit, now))

    def as_asked(self, asker: Asker) -> Asker:
        """With the time that this provider has by its own configuration, and the deadline leaves
        it.
        """
        own = None if asker.is_told else self.provider.timeout
        seconds = min(own or asker.seconds, asker.most)
        return asker if seconds == asker.seconds else asker._replace(seconds=seconds)

    def blocked_for(self, endpoint: str, now: float, asker: Asker) -> float:
        """Seconds until it may be asked for that; 0.0 is now."""
        slot, asker = self.endpoints.get(endpoint), self.as_asked(asker)
        waits = [self.circuit.blocked_for(now, asker), self._renewed_in(now)]
        return max(waits if slot is None else [*waits, slot.circuit.blocked_for(now, asker)])

    def comes_in(self, endpoint: str, now: float, asker: Asker) -> float:
        """Seconds until it can be expected to take a request: by circuits, hold, plan and pace."""
        slot, asker, pace = self.endpoints.get(endpoint), self.as_asked(asker), self.pace(now)
        waits = [self.circuit.comes_in(now, asker), self._renewed_in(now)]
        if slot is not None:
            waits.append(slot.circuit.comes_in(now, asker))
        if pace is not None:
            waits.append(pace.turn_in(now))
        return max(waits)

    def _renewed_in(self, now: float) -> float:
        """Seconds until its plan is no longer used up."""
        return self.quota.renewed_in(now) if self.is_spent(now) else 0.0

    def pause(self, now: float) -> float:
        """Seconds to wait where it is only held: for the end of that, or a moment for the one that
        goes first then.
        """
        held = (self.circuit.hold_until or now) - now
        return held if held > 0 else _MOMENT

    def is_limited(self, endpoint: str, now: float, asker: Asker) -> bool:
        """Whether it is only held, or another goes first after its hold."""
        slot, asker = self.endpoints.get(endpoint), self.as_asked(asker)
        return (
            not self.is_spent(now)
            and self.circuit.is_limited(now, asker)
            and (slot is None or slot.circuit.blocked_for(now, asker) <= 0)
        )

    def is_spent(self, now: float) -> bool:
        """Whether its plan is used up, and more is not wanted for money."""
        return not self.provider.overage and self.quota.is_used_up(now)


def _may_ask(now: float, asking: list[float]) -> int:
    """How many at once, by how long the first of those who ask has had no answer."""
    silent = now - min(asking)
    if silent < _SILENT:
        return min(int(2 ** (silent / _DOUBLED)), _KNOWN)
    return int(_KNOWN * 2 ** min((silent - _SILENT) / _DOUBLED, 30.0))


def _why_out(circuit: Circuit, now: float) -> str:
    """Why no request may go, in words; nothing when one may."""
    wait = circuit.blocked_for(now)
    if wait <= 0:
        return ""
    held = circuit.hold_until is not None and circuit.hold_until > now
    why = "held" if held else "cooling down" if circuit.state(now) == "open" else "on trial"
    return f"{why} for {wait:.0f} s"


class Serving(NamedTuple):
    """Who serves an endpoint, settled once for a call."""

    platform: str
    endpoint: str
    routes: dict[Member, Route | None]  # None: in the platform's own dialect
    members: list[Member]  # all of the platform's, by priority

    def names(self) -> list[str]:
        return [member.provider.name for member in self.routes]

    def paging(self, name: str) -> Paging | None:
        """How that provider's lists go on, as far as its route says."""
        routes = [route for member, route in self.routes.items() if member.provider.name == name]
        return routes[0].pages if routes and routes[0] is not None else None

    def how_many(self) -> int:
        return len([member for member in self.routes if member.enabled])

    def only(self, name: str) -> Serving:
        """That provider alone."""
        return self._replace(
            routes={
                member: route
                for member, route in self.routes.items()
                if member.provider.name == name
            },
            members=[member for member in self.members if member.provider.name == name],
        )

    def passed_over(self, name: str) -> list[str]:
        """The enabled providers that serve it, come before that one, and are out by their
        circuits.
        """
        ahead = []
        for member in self.members:
            if member.provider.name == name:
                break
            slots = member.slots(self.endpoint)
            if (
                member.enabled
                and member in self.routes
                and any(slot.circuit.open_until for slot in slots)
            ):
                ahead.append(member.provider.name)
        return ahead

    def vouches_for(self, name: str, data: Any) -> bool:
        """Whether that provider is known, and still takes the data for an answer of its own."""
        for member, route in self.routes.items():
            if member.provider.name == name:
                check = member.provider.check
                # it was checked before that
                if check is None or route is not None and route.adapt is not None:
                    return True
                try:
                    return check(self.endpoint, data) == 200
                except Exception as problem:  # a function of the user's
                    pass_on(problem)
                    return False
        return False


class Leave:
    """To send one request: a ticket of the provider's circuit, and one of the endpoint's."""

    __slots__ = ("is_back", "member", "place", "slot", "tickets")

    def __init__(
        self, member: Member, place: object, slot: Slot, tickets: tuple[Ticket, Ticket]
    ) -> None:
        self.member = member
        self.place = place  # among those who are asking it
        self.slot = slot
        self.tickets = tickets
        self.is_back = False  # given back: nothing is under way any more

    def is_trial(self) -> bool:
        return any(ticket.trial for ticket in self.tickets)


class Visit(NamedTuple):
    """Leave to ask one provider once. Without leave: it does not serve the endpoint."""

    provider: ProviderConfig
    route: Route | None  # None: in the platform's own dialect
    still_to_ask: int  # providers, this one included
    leave: Leave | None


class Checkup(NamedTuple):
    """A provider whose health is wanted: leave to ask it, or why it is not asked."""

    platform: str
    provider: ProviderConfig
    visit: Visit | None
    why_not: str
