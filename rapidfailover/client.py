"""The client that users hold: its options, calls, lists, batches, health, and its end."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Iterable, Mapping

from . import fork
from .cache import LRUTTLCache
from .config import RefreshRequest, check_seconds, plain
from .credentials import KeySource
from .events import Events, Listener
from .flights import Flights
from .health import HealthCheck, Monitor
from .keys import Keys
from .lists import Lists
from .matrix import MATRIX, Rule
from .options import check_functions, check_objects, checked_size, checked_times, laid_over
from .payload import parse
from .records import Records
from .refresh import HandOver, RefreshQueue
from .registry import ProviderRegistry
from .sharing import OwnMemory, Sharing
from .transport import Transport
from .visiting import Visiting

__all__ = ["FailoverClient"]


class FailoverClient(Lists):
    """Asks one provider after the other until one has data. Thread-safe; all times in seconds.

    ``registry``     who serves what; None: the strategy's providers
    ``api_key``      RapidAPI's: a text, or a callable that is asked at each call; None:
                     ``RAPIDAPI_KEY``. It goes to hosts of RapidAPI alone; where nobody else is
                     asked, none is needed
    ``refresh_key``  ``refresh_key(old_key) -> new_key``, run once for each key that a 401 refused
    ``cache``        any object with ``get(key)`` and ``set(key, value, timeout)``; None: an
                     LRUTTLCache
    ``store``        what processes share: a ``redis.RedisStore``, or a ``sqlite.SQLiteStore``;
                     None: each knows what it has seen
    ``namespace``    of this client's copies: one each, where clients of several customers share a
                     cache or a store
    ``timeout``      one attempt at one provider, its retry included (15: the strategy's)
    ``deadline``     the whole call, waits and all (25 stays under gunicorn's 30)
    ``max_wait``     the longest wait for a provider that says 429
    ``max_body``     bytes of an answer, also when inflated
    ``max_stale``    how old the copy may be that comes back when nobody answers; 0: none
    ``fresh_for``    a copy younger than this comes back without asking anybody; 0: always ask
    ``stale_for``    one younger than this comes back at once as well, as stale, and is asked for in
                     the background
    ``missing_for``  what nobody had is not asked again for so long: NotFound at once
    ``matrix``       rows laid over MATRIX: ``{429: MATRIX[429]._replace(retry=False)}``
    ``refresh``      whether what nobody answered is asked again in the background; a callable is
                     handed a picklable RefreshRequest instead, for ``refresh_now`` in a process of
                     its own
    ``coalesce``     identical calls under way share one upstream request
    ``on_event``     ``on_event(name, fields)`` is told of each switch, trip, hold, recovery, stale
                     and refresh, in a thread of its own: it may raise or block

    What is handed in (``api_key``, ``refresh_key``, ``auth``, ``cache``, ``refresh``, ``on_event``)
    is outside the deadline.
    """

    def __init__(
        self,
        registry: ProviderRegistry | None = None,
        *,
        api_key: KeySource = None,
        refresh_key: Callable[[str], str] | None = None,
        cache: Any = None,
        store: Any = None,
        namespace: str = "",
        timeout: float = 15.0,
        deadline: float = 25.0,
        max_wait: float = 2.0,
        max_body: int = 10 * 2**20,
        max_stale: float = 86400.0,
        fresh_for: float = 0.0,
        stale_for: float = 0.0,
        missing_for: float = 0.0,
        matrix: Mapping[int, Rule] = MATRIX,
        refresh: bool | Callable[[RefreshRequest], object] = True,
        coalesce: bool = True,
        on_event: Listener | None = None,
    ) -> None:
        check_objects(registry, cache, store, namespace)
        check_functions(
            api_key=api_key, refresh_key=refresh_key, on_event=on_event, refresh=refresh
        )
        self.registry = ProviderRegistry() if registry is None else registry
        self.cache = LRUTTLCache() if cache is None else cache
        self._namespace = plain(namespace)
        self._times = checked_times(
            timeout=timeout,
            deadline=deadline,
            max_wait=max_wait,
            max_stale=max_stale,
            fresh_for=fresh_for,
            stale_for=stale_for,
            missing_for=missing_for,
        )
        self._matrix = laid_over(matrix)
        self._transport = Transport(self._matrix, checked_size(max_body))
        self._events = Events(on_event)
        self._keys = Keys(api_key, refresh_key)
        self._sharing: Sharing = (
            OwnMemory(self.registry) if store is None else store.share(self.registry)
        )
        self._records = Records(
            self.cache,
            parse,
            self._times.of_copies(),
            copies=self._sharing,
            report=self._events.report,
        )
        self._visiting = Visiting(
            self.registry, self._transport, self._keys, self._matrix, self._events, self._times
        )
        self._refreshes = None
        if refresh:
            lease = partial(self._sharing.lease, id(self))
            self._refreshes = (
                HandOver(refresh, lease=lease)
                if callable(refresh)
                else RefreshQueue(self._ask_again, answered=self._answered, lease=lease)
            )
        self._coalesce = coalesce
        self._flights = Flights()
        self._health = HealthCheck(
            self.registry,
            self._visiting,
            self._keys,
            self._events,
            self._question,
            self._times.timeout,
        )
        self._interval = 0.0
        self._monitor = Monitor(lambda: self._health.check(sparing=self._interval))

    def check_provider_health(
        self, platforms: Iterable[str] | None = None
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """``{platform: {provider: {"status": "healthy", "latency_ms": 12.3}}}``, or ``"unhealthy"``
        with ``"error"``.

        Asks the platform's probe of every enabled provider, side by side, each within ``timeout``.
        **A probe is a metered call.** Providers that are held or cooling down are not asked, and
        are told as unhealthy. An answer counts as a success or a fault as the matrix says. None:
        every platform with an enabled provider. Raises UnknownPlatform, MissingAPIKey,
        InvalidAPIKey.
        """
        fork.check()
        return self._health.check(platforms)

    def monitor(self, interval: float = 300.0) -> None:
        """Check the health every ``interval`` seconds until ``close``, from one interval on.

        Providers that are held, that answered any call within the interval, or that have less than
        a tenth of their quota left are not asked. At 300 s that is at most 288 metered calls a day
        for each enabled provider. A forked child monitors nothing until it is told to.
        """
        fork.check()
        self._interval = check_seconds("interval", interval)
        self._monitor.start(self._interval)

    @property
    def pending_refreshes(self) -> int:
        """How many refreshes are queued or under way."""
        return 0 if self._refreshes is None else len(self._refreshes)

    def close(self) -> None:
        """End refreshes and monitor, close idle connections.

        Calls under way finish; later ones refresh nothing.
        """
        fork.check()
        self._monitor.stop()
        if self._refreshes is not None:
            self._refreshes.close()
        self._transport.close()
        self._events.close()
        self._sharing.close()

    def __enter__(self) -> FailoverClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
