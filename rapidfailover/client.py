"""The decision tree of the strategy: one call, several providers, the last good copy."""

import threading
import time
from contextlib import closing
from copy import copy as copy_of
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import fork
from .cache import LRUTTLCache, Records, key_of
from .config import Attempt, Question, RefreshRequest, Result, check_seconds, encode_query, plain
from .errors import AllProvidersFailed, FailoverError, NoProvidersAvailable, NotFound, RequestRefused, refusal
from .events import Events, Listener
from .gateway import parse
from .health import Monitor, side_by_side
from .matrix import MATRIX, Rule, row
from .refresh import HandOver, RefreshQueue
from .registry import Checkup, ProviderRegistry, Visit
from .transport import Deadline, Key, Keys, KeySource, Outgoing, Reply, Transport, outgoing

__all__ = ["FailoverClient"]

_RESERVE = 5.0  # seconds kept for each provider not yet asked, so that one that hangs starves nobody
_UNTOLD_WAIT = 1.0  # seconds before the retry of a 429 that does not say for how long (the strategy's sleep)


class FailoverClient:
    """Asks one provider after the other until one has data. Thread-safe; all times in seconds.

    ``registry``     who serves what; None: the strategy's providers
    ``api_key``      a text, or a callable that is asked at each call; None: ``RAPIDAPI_KEY``
    ``refresh_key``  ``refresh_key(old_key) -> new_key``, run once for each key that a 401 refused
    ``cache``        any object with ``get(key)`` and ``set(key, value, timeout)``; None: an LRUTTLCache
    ``store``        what workers share through a server: a ``redis.RedisStore``; None: each knows what it has seen
    ``timeout``      one attempt at one provider, its retry included (15: the strategy's)
    ``deadline``     the whole call, waits and all (25 stays under gunicorn's 30)
    ``max_wait``     the longest wait for a provider that says 429
    ``max_body``     bytes of an answer, also when inflated
    ``max_stale``    how old the copy may be that comes back when nobody answers; 0: none
    ``fresh_for``    a copy younger than this comes back without asking anybody; 0: always ask
    ``matrix``       rows laid over MATRIX: ``{429: MATRIX[429]._replace(retry=False)}``
    ``refresh``      whether what nobody answered is asked again in the background; a callable is handed a
                     picklable RefreshRequest instead, for ``refresh_now`` in a process of its own
    ``coalesce``     identical calls under way share one upstream request
    ``on_event``     ``on_event(name, fields)`` is told of each switch, trip, hold, recovery, stale and refresh, in a
                     thread of its own: it may raise or block

    What is handed in (``api_key``, ``refresh_key``, ``cache``, ``refresh``, ``on_event``) is outside the deadline.
    """

    def __init__(self, registry: Optional[ProviderRegistry] = None, *, api_key: KeySource = None,
                 refresh_key: Optional[Callable[[str], str]] = None, cache: Any = None, store: Any = None,
                 timeout: float = 15.0, deadline: float = 25.0, max_wait: float = 2.0,
                 max_body: int = 10 * 2 ** 20, max_stale: float = 86400.0, fresh_for: float = 0.0,
                 matrix: Mapping[int, Rule] = MATRIX,
                 refresh: Union[bool, Callable[[RefreshRequest], object]] = True, coalesce: bool = True,
                 on_event: Optional[Listener] = None) -> None:
        self.registry = ProviderRegistry() if registry is None else registry
        self.cache = LRUTTLCache() if cache is None else cache
        self._timeout = check_seconds("timeout", timeout)
        self._deadline = check_seconds("deadline", deadline)
        self._max_wait = check_seconds("max_wait", max_wait, zero=True)
        self._max_stale = check_seconds("max_stale", max_stale, zero=True)
        self._fresh_for = check_seconds("fresh_for", fresh_for, zero=True)
        if not isinstance(max_body, int) or isinstance(max_body, bool) or max_body < 1:
            raise ValueError(f"max_body is a positive whole number of bytes, not {max_body!r}")
        if not isinstance(matrix, Mapping):
            raise TypeError(f"matrix maps statuses to Rules, it is no {type(matrix).__name__}")
        for status, rule in matrix.items():
            if not isinstance(status, int) or not isinstance(rule, Rule):
                raise TypeError(f"matrix maps statuses to Rules, not {status!r} to {rule!r}")
        self._matrix = {**MATRIX, **matrix}
        if not isinstance(refresh, bool) and not callable(refresh):
            raise TypeError(f"refresh is True, False or a callable, not {refresh!r}")
        if on_event is not None and not callable(on_event):
            raise TypeError(f"on_event is a callable, not {on_event!r}")
        self._events = Events(on_event)
        self._keys = Keys(api_key, refresh_key)
        if store is not None and not hasattr(store, "share"):
            raise TypeError(f"store is a RedisStore, it is no {type(store).__name__}")
        self._fleet = None if store is None else store.share(self.registry)
        self._records = Records(self.cache, parse, max(self._max_stale, self._fresh_for), fleet=self._fleet)
        self._transport = Transport(self._matrix, max_body)
        self._refreshes: Union[None, HandOver, RefreshQueue] = None
        if refresh:
            once = {} if self._fleet is None else {"lease": partial(self._fleet.lease, id(self))}
            self._refreshes = HandOver(refresh, **once) if callable(refresh) \
                else RefreshQueue(self.refresh_now, answered=self._answered, **once)
        self._coalesce = coalesce
        self._flights = _Flights()
        self._monitor = Monitor(lambda: self._check_health(None, sparing=self._interval))
        self._interval = 0.0

    def call(self, platform: str, endpoint: str, params: Optional[Mapping[str, Any]] = None, *,
             timeout: Optional[float] = None, deadline: Optional[float] = None) -> Result:
        """Data from the first provider that has it, else the last good copy, else one error.

        ``endpoint`` is a path in the platform's own dialect, ``params`` its query. A ``timeout`` that is
        longer than the client's deadline raises the deadline of this call to it. Raises RequestRefused
        (BadRequest, AuthenticationFailed), NotFound, NoProvidersAvailable, AllProvidersFailed,
        UnknownPlatform, InvalidEndpoint, MissingAPIKey or InvalidAPIKey, all of them FailoverErrors;
        ValueError or TypeError for arguments that make no sense.
        """
        fork.check()
        one = self._timeout if timeout is None else check_seconds("timeout", timeout)
        whole = max(self._deadline, timeout or 0.0) if deadline is None else check_seconds("deadline", deadline)
        question = self._question(platform, endpoint, params)
        within = Deadline(whole)
        copy = within.outside(self._records.find, question.key, self._fresh_for) if self._fresh_for else None
        if copy is not None:
            return _result(question, within, copy.data, copy.provider, age=copy.age)
        if not self._coalesce:
            return self._decide(question, one, within)[0]
        return self._share(question, one, within)

    def _decide(self, question: Question, timeout: float, deadline: Deadline,
                refreshing: bool = False) -> Tuple[Result, bytes]:
        """The strategy's decision tree: read it from top to bottom with the drawing in hand.

        The result, and the bytes that its data was decoded from. ``refreshing``: nobody waits for this one, so
        it may try open circuits early, and it serves no copy and queues nothing.
        """
        # Request comes in
        platform, endpoint = question.platform, question.endpoint
        serving = self.registry.serving(platform, endpoint)
        attempts: List[Attempt] = []
        not_found = 0
        api_key: Optional[Key] = None
        with closing(self.registry.visits(platform, endpoint, deadline.left, early=refreshing)) as visits:
            for visit in visits:
                if deadline.left() <= 0:
                    break
                sent = _translated(question, visit)
                if isinstance(sent, Attempt):  # does not serve this: skipped at no cost, and told
                    attempts.append(sent)
                    serving -= visit.ticket is not None
                    continue
                # Try Primary Provider; next time round: Try Secondary Provider
                api_key = api_key or self._keys.current(deadline)
                ask = _Asking(self._transport, visit, platform, sent, timeout, deadline)
                reply = ask(api_key)
                if self._reads_as(reply, 429) and self._waited(reply, ask, deadline):  # Wait + Retry
                    reply = ask(api_key)
                if self._reads_as(reply, 401):  # Refresh Key, and once more with the new one
                    api_key, problem = self._keys.renew(api_key, deadline)
                    reply = ask(api_key) if api_key else reply._replace(detail=f"{reply.detail} {problem}".strip())

                status, rule, attempt = self._verdict(visit, ask, reply)
                attempts.append(attempt)
                if rule == self._matrix[200]:  # Success 200? Yes: Return Data
                    self._keep(question, visit.provider.name, reply.body)
                    return _result(question, deadline, reply.data, visit.provider.name, attempts,
                                   quota=reply.quota), reply.body
                if not rule.switch:
                    raise refusal(status, visit.provider.name, reply.status, reply.detail)
                not_found += status == 404  # Log Error, Try Next
                self._switched(question, visit, attempt)

        if 0 < serving == not_found:  # no copy: it may have been deleted
            raise NotFound(f"{platform} {endpoint}: not found at any provider", platform=platform,
                           attempts=tuple(attempts))
        # Return Cached + Queue Refresh
        if serving and not refreshing:
            self._queue_refresh(question)
        copy = None if refreshing else self._records.find(question.key, self._max_stale, newest=True)
        if copy is None:
            raise self._failure(question, attempts, serving, refreshing)
        self._served_stale(question, copy.provider, copy.age)
        return _result(question, deadline, copy.data, copy.provider, attempts, stale=True, age=copy.age), copy.body

    def call_with_failover(self, platform: str, endpoint: str, params: Optional[Mapping[str, Any]] = None,
                           timeout: Optional[float] = None) -> Any:
        """The decoded JSON of ``call``: fresh, or the last good copy."""
        return self.call(platform, endpoint, params, timeout=timeout).data

    def refresh_now(self, request: RefreshRequest) -> Result:
        """Ask again for what nobody answered; the answer goes into the cache. Raises as ``call`` does.

        For the task that ``refresh=`` handed the request to. It never queues itself again.
        """
        fork.check()
        question, outcome = self._question(*request), "failed"
        try:
            result = self._decide(question, self._timeout, Deadline(self._deadline), refreshing=True)[0]
            outcome = "done"
            return result
        finally:
            self._events.tell("refresh", platform=question.platform, endpoint=question.endpoint, outcome=outcome)

    def check_provider_health(self, platforms: Optional[Iterable[str]] = None) -> Dict[str, Dict[str, Dict[str, Any]]]:
        """``{platform: {provider: {"status": "healthy", "latency_ms": 12.3}}}``, or ``"unhealthy"`` with ``"error"``.

        Asks the platform's probe of every enabled provider, side by side, each within ``timeout``. **A probe is
        a metered call.** Providers that are held or cooling down are not asked, and are told as unhealthy. An
        answer counts as a success or a fault as the matrix says. None: every platform with an enabled
        provider. Raises UnknownPlatform, MissingAPIKey, InvalidAPIKey.
        """
        return self._check_health(platforms)

    def monitor(self, interval: float = 300.0) -> None:
        """Check the health every ``interval`` seconds until ``close``, from one interval on.

        Providers that are held, that answered any call within the interval, or that have less than a tenth of
        their quota left are not asked. At 300 s that is at most 288 metered calls a day for each enabled
        provider. A forked child monitors nothing until it is told to.
        """
        fork.check()
        self._interval = check_seconds("interval", interval)
        self._monitor.start(self._interval)

    @property
    def pending_refreshes(self) -> int:
        """How many refreshes are queued or under way."""
        return 0 if self._refreshes is None else len(self._refreshes)

    def close(self) -> None:
        """End refreshes and monitor, close idle connections. Calls under way finish; later ones refresh nothing."""
        fork.check()
        self._monitor.stop()
        if self._refreshes is not None:
            self._refreshes.close()
        self._transport.close()
        self._events.close()
        if self._fleet is not None:
            self._fleet.close()

    def __enter__(self) -> "FailoverClient":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _question(self, platform: str, endpoint: str, params: Optional[Mapping[str, Any]]) -> Question:
        self.registry.check(platform, endpoint)  # before anything else, so that its errors come first
        platform, endpoint = plain(platform), plain(endpoint)
        query = encode_query(params)
        return Question(platform, endpoint, params or {}, query, key_of(platform, endpoint, query))

    def _share(self, question: Question, timeout: float, deadline: Deadline) -> Result:
        """Identical calls under way share one upstream request: its answer, a copy for each, or its error."""
        mine = _Flight(timeout, deadline)
        try:
            while True:
                flight = self._flights.join(question.key, mine)
                if flight is mine:
                    mine.result, mine.body = self._decide(question, timeout, deadline)
                    return mine.result
                flight.landed.wait(min(deadline.left(), flight.deadline.left()))
                if deadline.left() <= 0:
                    return self._decide(question, timeout, deadline)[0]  # the copy, or the error
                result, error = flight.result, flight.error
                if result is not None and (not result.stale or flight.had_time_of(mine)):
                    return result._replace(data=parse(flight.body), elapsed=deadline.elapsed(),
                                           quota=result.quota and dict(result.quota))
                if error is not None and (isinstance(error, (RequestRefused, NotFound)) or flight.had_time_of(mine)):
                    raise copy_of(error)
                # Its leader was interrupted, or had less time than this call has: ask for ourselves.
        except FailoverError as error:
            mine.error = error
            raise
        finally:
            self._flights.land(question.key, mine)

    def _reads_as(self, reply: Reply, status: int) -> bool:
        return row(reply.status, self._matrix) == status

    def _verdict(self, visit: Visit, ask: "_Asking", reply: Reply) -> Tuple[int, Rule, Attempt]:
        """How the matrix reads a reply; the registry is told."""
        status = row(reply.status, self._matrix)
        rule = self._matrix[status]
        attempt = ask.attempt(reply, rule.action)
        happened = self.registry.report(visit, _said(attempt), fault=rule.fault, rate_limited=status == 429,
                                        hold=reply.hold, quota=reply.quota)
        if happened:
            self._events.tell(happened, platform=visit.entry.platform, **_fields(attempt))
        return status, rule, attempt

    def _check_health(self, platforms: Optional[Iterable[str]],
                      sparing: Optional[float] = None) -> Dict[str, Dict[str, Dict[str, Any]]]:
        fork.check()
        if isinstance(platforms, str):
            platforms = [platforms]
        asked = list(dict.fromkeys(self.registry.platforms if platforms is None else platforms))
        for platform in asked:
            self.registry.get_available_providers(platform)  # UnknownPlatform, before any trial is taken
        api_key = self._keys.current(Deadline(self._timeout)) if asked else Key()
        checkups = [checkup for platform in asked
                    for checkup in self.registry.checkups(platform, self._timeout, sparing=sparing)]
        results: Dict[str, Dict[str, Dict[str, Any]]] = {checkup.platform: {} for checkup in checkups}
        try:
            for checkup, health in zip(checkups, side_by_side(lambda each: self._check_up(each, api_key), checkups)):
                results[checkup.platform][checkup.provider.name] = health
        finally:
            for checkup in checkups:
                self.registry.give_back(checkup.visit)
        return results

    def _check_up(self, checkup: Checkup, api_key: Key) -> Dict[str, Any]:
        """The health of one provider."""
        if checkup.visit is None:
            return {"status": "unhealthy", "error": f"not asked: {checkup.why_not}"}
        question = self._question(checkup.platform, *self.registry.probe(checkup.platform))
        sent = _translated(question, checkup.visit)
        if isinstance(sent, Attempt):
            return {"status": "unhealthy", "error": _said(sent)}
        ask = _Asking(self._transport, checkup.visit, checkup.platform, sent, self._timeout, Deadline(self._timeout))
        _, rule, attempt = self._verdict(checkup.visit, ask, ask(api_key))
        if rule == self._matrix[200]:
            return {"status": "healthy", "latency_ms": round(1000 * attempt.elapsed, 2)}
        return {"status": "unhealthy", "error": _said(attempt)}

    def _waited(self, reply: Reply, ask: "_Asking", deadline: Deadline) -> bool:
        """Wait for as long as a 429 asks for, where that is worth it; False: not at all."""
        wait = min(_UNTOLD_WAIT, self._max_wait) if reply.hold is None else reply.hold
        used_up = reply.quota is not None and reply.quota.get("remaining") == 0
        if not self._matrix[429].retry or used_up or wait > self._max_wait or wait >= deadline.left() \
                or not ask.has_time():
            return False
        time.sleep(wait)
        return True

    def _keep(self, question: Question, provider: str, body: bytes) -> None:
        self._records.keep(question.key, provider, body)
        if self._refreshes is not None:
            self._refreshes.discard(question.key)

    def _answered(self, key: str, seconds: float) -> bool:
        """Whether anybody has had this answer since so many seconds ago."""
        return self._records.find(key, seconds) is not None

    def _queue_refresh(self, question: Question) -> None:
        if self._refreshes is not None and question.key not in self._refreshes:
            # Copied: what the caller does with its params later is not what was asked.
            params = {name: list(value) if isinstance(value, (list, tuple)) else value
                      for name, value in question.params.items()}
            if self._refreshes.put(question.key, RefreshRequest(question.platform, question.endpoint, params)):
                self._events.tell("refresh", platform=question.platform, endpoint=question.endpoint, outcome="queued")

    def _served_stale(self, question: Question, provider: str, age: float) -> None:
        self._events.say("stale", "%s %s: nobody has an answer; serving the copy that %s gave %.0f s ago",
                         question.platform, question.endpoint, provider, age,
                         platform=question.platform, endpoint=question.endpoint, provider=provider)
        self._events.tell("stale", platform=question.platform, endpoint=question.endpoint, provider=provider, age=age)

    def _switched(self, question: Question, visit: Visit, attempt: Attempt) -> None:
        self._events.say("switch", "%s %s: %s; %s", question.platform, question.endpoint, _said(attempt),
                         "asking the next provider" if visit.still_to_ask > 1 else "no provider is left to ask",
                         platform=question.platform, endpoint=question.endpoint, provider=attempt.provider)
        self._events.tell("switch", platform=question.platform, endpoint=question.endpoint, **_fields(attempt))

    def _failure(self, question: Question, attempts: List[Attempt], serving: int,
                 refreshing: bool) -> AllProvidersFailed:
        platform, endpoint = question.platform, question.endpoint
        retry_after = self.registry.retry_after(platform, endpoint, early=refreshing)
        soon = "" if retry_after is None else f"; the first can be asked again in {retry_after:.0f} s"
        asked = any(attempt.action != "skipped" for attempt in attempts)
        if asked or retry_after is None and serving:
            said = "; ".join(map(_said, attempts)) or "the time was over before anybody was asked"
            return AllProvidersFailed(f"{platform} {endpoint}: no data from any provider: {said}{soon}",
                                      platform=platform, attempts=tuple(attempts), retry_after=retry_after)
        return NoProvidersAvailable(f"{platform} {endpoint}: every provider is held, cooling down or disabled{soon}",
                                    platform=platform, retry_after=retry_after)


class _Flight:
    """One call that others wait for."""

    def __init__(self, timeout: float, deadline: Deadline) -> None:
        self.leader = threading.get_ident()
        self.timeout = timeout
        self.deadline = deadline
        self.landed = fork.Latch()
        self.result: Optional[Result] = None
        self.body = b""
        self.error: Optional[FailoverError] = None

    def had_time_of(self, other: "_Flight") -> bool:
        """Whether it could do as much as the other, which came later, can."""
        return self.timeout >= other.timeout and self.deadline.whole >= other.deadline.whole


class _Flights:
    """The calls under way, by their cache keys."""

    def __init__(self) -> None:
        fork.anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._under_way: Dict[str, _Flight] = {}

    def join(self, key: str, mine: _Flight) -> _Flight:
        """The flight to wait for, or ``mine``, which others may wait for from now on.

        Nobody waits for a call of its own thread, nor for one whose time is over: an interrupt can arrive
        anywhere, and may have kept its leader from saying that it landed.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None or flight.leader == mine.leader or flight.landed.is_open or flight.deadline.left() <= 0:
                flight = self._under_way[key] = mine
            return flight

    def land(self, key: str, mine: _Flight) -> None:
        mine.landed.open()
        with self._lock:
            if self._under_way.get(key) is mine:
                del self._under_way[key]


class _Asking:
    """The requests of one attempt: their share of the deadline, which waits do not touch, and their number."""

    def __init__(self, transport: Transport, visit: Visit, platform: str, sent: Outgoing, timeout: float,
                 deadline: Deadline) -> None:
        self._transport = transport
        self._visit = visit
        self._platform = platform
        self._sent = sent
        self._deadline = deadline
        self._began = deadline.elapsed()
        self._requests = 0
        self._took = 0.0  # seconds, the last request
        left, others = deadline.left(), visit.still_to_ask - 1
        self._share = min(timeout, max(left / visit.still_to_ask, left - _RESERVE * others))

    def __call__(self, api_key: Key) -> Reply:
        began = self._deadline.elapsed()
        seconds = min(self._share, self._deadline.left())
        reply = self._transport.ask(self._platform, self._visit.provider, self._sent, api_key, seconds)
        self._took = self._deadline.elapsed() - began
        self._share -= self._took
        self._requests += 1 + reply.retries
        return reply

    def has_time(self) -> bool:
        """Whether an answer that takes as long as the last one would be in time."""
        return self._share > self._took

    def attempt(self, reply: Reply, action: str) -> Attempt:
        """The attempt as it ended."""
        return Attempt(self._visit.provider.name, reply.wire, action, reply.detail, self._requests - 1,
                       self._deadline.elapsed() - self._began)


def _translated(question: Question, visit: Visit) -> Union[Outgoing, Attempt]:
    """The question in the provider's dialect, or the attempt that says why it is skipped."""
    why = f"does not serve {question.endpoint}"
    if visit.ticket is not None:
        try:
            return outgoing(question, visit.route)
        except Exception as problem:  # a route's function, on params that it does not know
            why = f"cannot say this in its dialect: {type(problem).__name__}"
    return Attempt(visit.provider.name, None, "skipped", why, 0, 0.0)


def _result(question: Question, deadline: Deadline, data: Any, provider: str, attempts: Sequence[Attempt] = (), *,
            stale: bool = False, age: float = 0.0, quota: Optional[Mapping[str, float]] = None) -> Result:
    told = None if quota is None else {name: quota.get(name) for name in ("limit", "remaining", "reset")}
    return Result(data, question.platform, question.endpoint, provider, stale, age, tuple(attempts),
                  deadline.elapsed(), told)


def _fields(attempt: Attempt) -> Dict[str, Any]:
    """Of an event."""
    return {name: getattr(attempt, name) for name in ("provider", "status", "action", "detail", "elapsed")}


def _said(attempt: Attempt) -> str:
    """An attempt in words: who, what came over the wire, how the matrix reads it, why."""
    status = "" if attempt.status is None else f"{attempt.status} "
    detail = f" ({attempt.detail})" if attempt.detail else ""
    return f"{attempt.provider}: {status}{attempt.action}{detail}"
