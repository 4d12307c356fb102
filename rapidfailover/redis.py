"""What many processes share through Redis or Valkey: circuits, the last good copies, and who asks again.

A process decides from its own memory. One thread, which alone talks to Redis, renews that memory twice a second; a
call that changes a circuit has the thread make the change in Redis first, and waits a moment for it. Where no answer
comes, the process goes on with its own memory, and the thread sees to it that it joins again.

The rules of a circuit are those of ``circuit`` and stand nowhere else: a change is made on a copy of what Redis holds,
and set by a script if that is still what Redis holds, else made anew on what it holds now. Times in Redis are the
server's. Nothing is unpickled; bytes that are none of ours are no opinion.
"""

import atexit
import inspect
import json
import logging
import math
import queue
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union
from weakref import WeakSet

try:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ResponseError
    from redis.retry import Retry
except ImportError:
    raise ImportError("the store needs redis-py: pip install 'rapidfailover[redis]', or redis") from None

from .cache import record_of
from .circuit import FIRST_EARLY, LAST_EARLY, Circuit
from .fork import Latch, anew_in_child
from .registry import ProviderRegistry

__all__ = ["RedisStore"]

_log = logging.getLogger(__package__)

_PATIENCE = 0.075  # seconds that a call waits for Redis, in all
_TICK = 0.5  # seconds between two looks at Redis
_IDLE = 10.0  # seconds without a call, after which nobody looks
_SELDOM = 10.0  # seconds between two log lines
_NEWS = 10.0  # seconds between two tellings of a quota of which something is left
_LARGEST = 16 * 2 ** 20  # bytes of a copy, and of all those that wait to be sent
_KEPT = 7 * 86400  # seconds for which circuits are kept that nobody changes
_VERSION = 1

# The hash of the circuits: (epoch, version, what is known of each). The epoch tells a hash that was lost and made anew,
# the version whether anything has changed.
_LOOK = """
local now, key = redis.call('TIME'), KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
if kind ~= 'hash' then redis.call('HSET', key, 'epoch', now[1] .. '.' .. now[2]) end
if ARGV[3] == 'join' then redis.call('HSET', key, 'joined', now[1]) end
redis.call('EXPIRE', key, %d)
local head = redis.call('HMGET', key, 'epoch', 'version')
local told = {now[1], now[2], head[1] or '', head[2] or ''}
if told[3] == ARGV[1] and told[4] == ARGV[2] then return told end
for i = 4, #ARGV do
    told[i + 1] = redis.call('HSTRLEN', key, ARGV[i]) < 1000 and redis.call('HGET', key, ARGV[i]) or ''
end
return told
""" % _KEPT
_CHANGE = """
local now, key = redis.call('TIME'), KEYS[1]
local held = redis.call('HSTRLEN', key, ARGV[1]) < 1000 and redis.call('HGET', key, ARGV[1]) or ''
if held ~= ARGV[2] and held ~= ARGV[3] then return held end
redis.call('HSETNX', key, 'epoch', now[1] .. '.' .. now[2])
redis.call('HSET', key, ARGV[1], ARGV[3], 'version', now[1] .. '.' .. now[2])
redis.call('EXPIRE', key, %d)
return false
""" % _KEPT
_KEEP = """
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2 * i - 1], 'EX', ARGV[2 * i]) end
"""
_LEASE = """
local owner, left = redis.pcall('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if type(owner) == 'string' and owner ~= ARGV[1] and left > 0 and left < 3600000 then return left end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 0
"""

# What is known of a provider is one flat list of numbers, its times the server's or null: the version, then ...
_COUNTS = ("generation", "error_count", "limits", "rate_limited", "early_pause")
_TIMES = ("early_at", "last_error", "open_until", "hold_until", "trial_until")  # ... then when the quota was told
_QUOTA = ("limit", "remaining", "reset")
_LENGTH = 1 + len(_COUNTS) + len(_TIMES) + 1 + len(_QUOTA)

Told = TypeVar("Told")


class RedisStore:
    """Where workers on any machines share what they learn: ``FailoverClient(store=RedisStore("redis://…"))``.

    ``server``     a URL (``redis://``, ``rediss://`` for TLS, ``unix://``; with user, password and redis-py's options),
                   or a redis-py client of your own, best one with a ``socket_timeout``
    ``namespace``  what every key begins with; workers with the same one are one fleet

    Redis 5 or newer, or Valkey. ValueError for a URL that is none.
    """

    def __init__(self, server: Union[str, "Redis"], namespace: str = "rapidfailover") -> None:
        if not isinstance(namespace, str) or not namespace or not namespace.isprintable() or " " in namespace:
            raise ValueError(f"a namespace is a text without blanks, not {namespace!r}")
        self.is_url = isinstance(server, str)
        self.connect: Callable[[], Any] = lambda: server
        if isinstance(server, str):
            self.connect = lambda: Redis.from_url(server, socket_timeout=1.0, socket_connect_timeout=1.0,
                                                  retry=Retry(NoBackoff(), 1))
            try:
                self.connect()
            except Exception:
                raise ValueError("a store's URL is redis://[[user]:password@]host[:port][/database], "
                                 "rediss://… or unix://…") from None
        elif not hasattr(server, "execute_command") or inspect.iscoroutinefunction(server.execute_command):
            raise TypeError(f"a store takes a URL or a synchronous redis-py client, not {type(server).__name__}")
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"RedisStore(…, namespace={self.namespace!r})"

    def share(self, registry: ProviderRegistry) -> "Fleet":
        """Make the registry's circuits those of the fleet. It leaves the one it was in."""
        fleet: Optional[Fleet] = registry.fleet
        if fleet is None or fleet.store is not self:
            fleet = registry.fleet = Fleet(self, registry)
        return fleet


class _Job:
    """Something for the thread to do, and what it told."""

    def __init__(self, work: Callable[["_Job"], Any]) -> None:
        self.work = work
        self.told: Any = None
        self.is_done = False
        self.is_wanted = True
        self.over = Latch()


class Fleet:
    """A registry's share in a store. Everything here is safe to call from any thread, and raises nothing."""

    def __init__(self, store: RedisStore, registry: ProviderRegistry) -> None:
        self.store = store
        self._registry = registry
        self._clock = registry._clock
        anew_in_child(self._renew)
        _fleets.add(self)

    def _renew(self) -> None:
        self._redis: Any = None
        self._token = uuid.uuid4().hex
        self._jobs: Any = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: Optional[threading.Thread] = None
        self._call = threading.local()  # .patience: seconds that the call of this thread may still wait
        self._used_at = self._tried_at = self._looked_at = self._sent_at = self._said_at = -math.inf
        self._alone_since = time.monotonic()
        self._alone: Optional[str] = None  # why; "": it is not; None: not known yet
        self._offset = 0.0  # the server's time less ours
        self._head: Tuple[bytes, bytes] = (b"", b"")  # epoch and version of what was seen last ...
        self._seen: Dict[Any, bytes] = {}  # ... and what it was, by entry
        self._unshared: Dict[Any, bool] = {}  # by entry: whether its circuit was changed here alone, or only its quota
        self._quotas: Dict[Any, Tuple[float, bool]] = {}  # when they were told last, and whether as used up
        self._copies: Dict[str, Tuple[str, bytes, float, int]] = {}  # to be sent
        self._copied = 0  # their bytes

    # --- what the registry, the records and the refreshes call ---

    def look(self, left: float) -> None:
        """A call begins, with so many seconds left: what is known here is what was known there a second ago."""
        self._used_at = now = time.monotonic()
        self._call.patience = min(left, _PATIENCE)
        if now - self._looked_at > 1.0:
            self._do(lambda job: self._tick(now))
        elif self._thread is None:
            self._start(None)

    def change(self, entry: Any, change: Callable[[Circuit, float], Told]) -> Told:
        """Make the change in the whole fleet, or here where there is no answer; what it returned."""
        with self._registry._lock:
            circuit = _copy(entry.circuit)
            told = change(circuit, self._clock())
            if vars(circuit) == vars(entry.circuit):  # most verdicts change nothing
                return told
        job = self._do(lambda job: self._change(entry, change, job))
        with self._registry._lock:
            if job.is_done:
                result: Told = job.told
                return result
            self._unshared[entry] = True
            return change(entry.circuit, self._clock())

    def note_quota(self, entry: Any) -> None:
        """What is left of a plan is told now and then, and at once when nothing is."""
        used_up = (entry.quota or {}).get("remaining") == 0
        told_at, told = self._quotas.get(entry, (-math.inf, False))
        if used_up != told or time.monotonic() - told_at > _NEWS:
            self._quotas[entry] = time.monotonic(), used_up
            self._unshared.setdefault(entry, False)

    def keep(self, key: str, provider: str, body: bytes, lifetime: int) -> None:
        """Send a copy soon: it goes with others."""
        with self._lock:
            self._wait_to_send({key: (provider, body, self._clock(), lifetime)})
        if len(self._copies) == 1 and time.monotonic() - self._sent_at > _TICK:
            self._start(_Job(lambda job: self._send()))

    def find(self, key: str) -> Tuple[Optional[bytes], float]:
        """(the fleet's record, the server's time)."""
        return self._do(lambda job: self._read(key)).told, self._clock() + self._offset

    def lease(self, key: str, seconds: float) -> float:
        """0.0: this process may refresh the key, for so long; else how long another may. 0 seconds gives it back."""
        return float(self._do(lambda job: self._leased(key, seconds)).told or 0.0)

    def told(self) -> str:
        """For a snapshot."""
        if self._alone is None:
            return "not asked yet"
        return "shared" if not self._alone else \
            f"own memory for {time.monotonic() - self._alone_since:.0f} s: {self._alone}"

    def close(self) -> None:
        """Send what is left, within a moment, and end the thread; the next call starts another."""
        self._call.patience = _PATIENCE
        if self._copies:
            self._do(lambda job: self._send())
        self._used_at = -math.inf
        self._jobs.put(None)

    # --- the thread and what waits for it ---

    def _do(self, work: Callable[[_Job], Any]) -> _Job:
        """The job: done, or not where a call should not wait for it, or not any longer."""
        self._used_at = began = time.monotonic()
        patience = getattr(self._call, "patience", _PATIENCE)
        job = _Job(work)
        if self._alone or patience <= 0:
            self._start(None)
        elif self._start(job):
            if not job.over.wait(patience):
                job.is_wanted = False
                self._settle("no answer in time")
            self._call.patience = patience - (time.monotonic() - began)
        return job

    def _start(self, job: Optional[_Job]) -> bool:
        """Hand a job over; whether there is a thread for it."""
        if job is not None:
            self._jobs.put(job)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, daemon=True, name="rapidfailover-redis")
                    try:
                        self._thread.start()
                    except RuntimeError:  # the interpreter is shutting down
                        self._thread = None
                        return False
        return True

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=max(self._tried_at + _TICK - time.monotonic(), 0.001))
            except queue.Empty:
                job = None
            began = time.monotonic()
            try:
                if job is None or self._alone != "":
                    self._tick()
                if job is not None and job.is_wanted:
                    job.told = job.work(job)
                    job.is_done = True
                if time.monotonic() - began < _PATIENCE:
                    self._settle("")
            except Exception as problem:  # whatever redis-py, or a client of the user's, raises
                self._settle(type(problem).__name__)  # its text may be anything
            if job is not None:
                job.over.open()
            with self._lock:
                if time.monotonic() - self._used_at > _IDLE and self._jobs.empty():
                    if self._redis is not None and self.store.is_url:
                        self._redis.connection_pool.disconnect()
                    self._redis = self._thread = None
                    return

    def _settle(self, why: str) -> None:
        """The store answers, or why it does not: said when that has changed, but not every moment."""
        now, was_alone = time.monotonic(), bool(self._alone)
        if why and not was_alone:
            self._alone_since = now
            if now - self._said_at > _SELDOM:
                self._said_at = now
                _log.warning("the store does not answer (%s): this process goes on with its own memory", why,
                             extra={"event": "alone"})
        elif was_alone and not why:
            _log.info("the store answers again, after %.1f s", now - self._alone_since, extra={"event": "shared"})
        self._alone = why

    # --- what the thread does; all of it may raise ---

    def _run(self, script: str, keys: List[str], *values: Any) -> Any:
        """A script, in one round trip; bytes, whatever the client makes of other answers."""
        if self._redis is None:
            self._redis = self.store.connect()
        if self._alone != "":
            self._redis.execute_command("PING")  # what is wrong with it has a clearer name here
        arguments = [len(keys), *(f"{self.store.namespace}:{key}" for key in keys), *values]
        return self._redis.execute_command("EVAL", script, *arguments, NEVER_DECODE=True)

    def _tick(self, asked_at: float = math.inf) -> None:
        """Look at what the others know, tell them what they do not; unless that was done since it was asked for."""
        if self._looked_at >= asked_at:
            return
        self._tried_at = time.monotonic()
        entries = [entry for members in self._registry._platforms.values() for entry in members.values()
                   if self._registry.fleet is self]
        epoch, version = self._head if len(self._seen) == len(entries) else (self._head[0], b"")
        began = self._clock()
        told = self._run(_LOOK, ["circuits"], epoch, version, "join" if self._alone else "", *map(_name, entries))
        took = self._clock() - began
        offset = int(told[0]) + int(told[1]) / 1e6 - began - took / 2
        if took < 0.02 or abs(offset - self._offset) > 1.0:
            self._offset = offset
        if told[2] != self._head[0]:  # the first look, or what was there is lost: it has what we know from us
            self._seen = dict.fromkeys(entries, b"")
            for entry in entries:
                circuit = entry.circuit
                if circuit.generation or circuit.error_count or circuit.hold_until or circuit.limits:
                    self._unshared[entry] = True
        for entry, seen in zip(entries, told[4:]):
            if not self._unshared.get(entry):
                self._adopt(entry, bytes(seen))
        self._head = bytes(told[2]), bytes(told[3])
        for entry in list(self._unshared):
            self._change(entry)
        self._send()
        self._looked_at = time.monotonic()

    def _change(self, entry: Any, change: Optional[Callable[[Circuit, float], Any]] = None,
                job: Optional[_Job] = None) -> Any:
        """Share what was changed while alone, if anything was; then make the change, if there is one."""
        if change is None or self._unshared.get(entry):
            was_changed = self._unshared.pop(entry, False)
            with self._registry._lock:
                mine = _copy(entry.circuit)
            try:
                self._set(entry, lambda circuit, now: _merge(circuit, mine) if was_changed else None)
            except Exception:
                with self._registry._lock:
                    self._unshared[entry] = was_changed or self._unshared.get(entry, False)
                raise
        return None if change is None else self._set(entry, change, job)

    def _set(self, entry: Any, change: Callable[[Circuit, float], Told], job: Optional[_Job] = None) -> Told:
        seen = self._seen.get(entry, b"")
        for _ in range(100):
            circuit = self._loaded(entry, seen) or _copy(entry.circuit)
            before = _copy(circuit)
            told = change(circuit, self._clock())
            if job is not None and vars(circuit) == vars(before):
                break
            new = self._dumped(entry, circuit)
            held = self._run(_CHANGE, ["circuits"], _name(entry), seen, new)
            if held is None:
                seen = new
                break
            seen = bytes(held)
        else:
            raise RuntimeError("another change was always faster")
        self._adopt(entry, seen, job, told)
        return told

    def _adopt(self, entry: Any, seen: bytes, job: Optional[_Job] = None, told: Any = None) -> None:
        """Let the fleet's opinion be ours; at that moment a job is done, and nobody does it here."""
        circuit = None if seen == self._seen.get(entry) else self._loaded(entry, seen)
        self._seen[entry] = seen
        with self._registry._lock:
            if circuit is not None and not self._unshared.get(entry):  # else a call that could not wait changed ours
                vars(entry.circuit).update(vars(circuit))
            if job is not None:
                job.told, job.is_done = told, True

    def _dumped(self, entry: Any, circuit: Circuit) -> bytes:
        known, quota = vars(circuit), entry.quota or {}
        times = [known[name] for name in _TIMES] + [entry.quota_at or None]
        return json.dumps([_VERSION, *(known[name] for name in _COUNTS),
                           *(None if at is None else round(at + self._offset, 6) for at in times),
                           *(quota.get(name) for name in _QUOTA)], separators=(",", ":")).encode()

    def _loaded(self, entry: Any, seen: bytes) -> Optional[Circuit]:
        """The circuit as Redis has it, or nothing where those bytes are none. A quota that is news is noted."""
        now, circuit = self._clock(), _copy(entry.circuit)
        try:
            told = json.loads(seen.decode())
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, list) or len(told) != _LENGTH or told[0] != _VERSION \
                or not all(one is None or isinstance(one, (int, float)) and abs(one) < 1e15 for one in told) \
                or not all(isinstance(one, int) and one >= 0 for one in told[1:5]) or None in told[5:7]:
            return None
        times = [None if at is None else at - self._offset for at in told[6:12]]
        vars(circuit).update(zip(_COUNTS, told[1:6]))
        # Nobody is kept out for longer than the rules allow, whatever stands there.
        latest = now + circuit.max_cooldown
        vars(circuit).update((name, at if at is None else min(at, latest)) for name, at in zip(_TIMES, times))
        circuit.early_pause = min(max(circuit.early_pause, FIRST_EARLY), LAST_EARLY)
        if times[5] is not None and entry.quota_at + 0.001 < min(times[5], now):
            quota = {name: one for name, one in zip(_QUOTA, told[12:]) if one is not None}
            with self._registry._lock:
                entry.quota, entry.quota_at = quota or None, min(times[5], now)
        return circuit

    def _send(self) -> None:
        with self._lock:
            copies, self._copies, self._copied = self._copies, {}, 0
        self._sent_at = time.monotonic()
        values: List[Any] = []
        for provider, body, kept_at, lifetime in copies.values():
            values += record_of(provider, body, kept_at + self._offset), lifetime
        try:
            if copies:
                self._run(_KEEP, [f"copy:{key}" for key in copies], *values)
        except Exception:
            with self._lock:  # another time, after what is newer by then
                newer, self._copies, self._copied = self._copies, {}, 0
                self._wait_to_send({**copies, **newer})
            raise

    def _wait_to_send(self, copies: Dict[str, Tuple[str, bytes, float, int]]) -> None:
        for key, copy in copies.items():
            self._copied += len(copy[1]) - len(self._copies.pop(key, ("", b""))[1])
            self._copies[key] = copy
        while self._copied > _LARGEST:
            self._copied -= len(self._copies.pop(next(iter(self._copies)))[1])

    def _read(self, key: str) -> Optional[bytes]:
        try:
            record: bytes = self._redis.execute_command("GETRANGE", f"{self.store.namespace}:copy:{key}", 0, _LARGEST,
                                                        NEVER_DECODE=True)
        except ResponseError:  # something else by that name
            return None
        return record if len(record) < _LARGEST else None

    def _leased(self, key: str, seconds: float) -> float:
        if seconds <= 0:
            self._send()  # who has the next lease shall find the answer
        return int(self._run(_LEASE, [f"refresh:{key}"], self._token, int(seconds * 1000))) / 1000


def _copy(circuit: Circuit) -> Circuit:
    made = Circuit.__new__(Circuit)
    vars(made).update(vars(circuit))
    return made


def _merge(circuit: Circuit, mine: Circuit) -> None:
    """Make the fleet's what both know: the circuit that changed more often, or met the later fault; the longer hold."""
    def rank(one: Circuit) -> Tuple[int, float]:
        return one.generation, -math.inf if one.last_error is None else one.last_error

    holds = [one.hold_until for one in (circuit, mine) if one.hold_until is not None]
    if rank(mine) > rank(circuit):
        vars(circuit).update(vars(mine))
    circuit.hold_until = max(holds, default=None)


def _name(entry: Any) -> bytes:
    return f"{entry.platform}\0{entry.provider.name}".encode("utf-8", "surrogatepass")


_fleets: "WeakSet[Fleet]" = WeakSet()


def _send_all() -> None:
    for fleet in list(_fleets):
        fleet.close()


atexit.register(_send_all)
