"""What many processes share through Redis or Valkey: circuits, the last good copies, and who asks again.

A process decides from its own memory. One thread, which alone talks to Redis, renews that memory twice a second; a
call that changes a circuit has the thread make the change in Redis first, and waits a moment for it. Where Redis is
*late*, nobody waits and the thread makes the changes in its own time; where it does not answer, the process is *alone*
and makes them in its own memory, and the thread shares that as soon as Redis is back.

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
import random
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar, Union
from weakref import WeakSet

try:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ResponseError
    from redis.retry import Retry
except ImportError:
    raise ImportError("the store needs redis-py: pip install 'rapidfailover[redis]', or redis") from None

from .cache import record_of
from .circuit import FIRST_EARLY, LAST_EARLY, Circuit, Ticket
from .fork import Latch, anew_in_child
from .registry import ProviderRegistry

__all__ = ["RedisStore"]

_log = logging.getLogger(__package__)

_PATIENCE = 0.06  # seconds that a call waits for Redis
_SLOW = 0.02  # seconds; where something took longer, calls do not wait ...
_PAUSES = 0.5, 4.0  # ... for so many seconds, doubled each time
_LONGEST_QUEUE = 100  # changes that wait for a slow Redis; what is more is made here, and shared as one
_TICK = 0.5  # seconds between two looks at Redis
_IDLE = 10.0  # seconds without a call, after which nobody looks
_SELDOM = 10.0  # seconds between two log lines
_NEWS = 10.0  # seconds between two tellings of a quota of which something is left
_BATCH = 2 ** 18  # bytes of copies that are sent at a time ...
_LARGEST = 16 * 2 ** 20  # ... of one copy, and of all those that wait
_OVERHEAD = 500  # bytes that a copy takes beside its body, about
_KEPT = 7 * 86400  # seconds for which circuits are kept that nobody changes
_LONGEST_TRIAL = 300.0  # seconds
_VERSION = 1

# The hash of the circuits: what is known of each, its version (when the last was changed) and its epoch, which tells
# one that was lost and made anew.
_LOOK = """
local now, key = redis.call('TIME'), KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind == 'hash' and redis.call('HSTRLEN', key, 'epoch') + redis.call('HSTRLEN', key, 'version') > 99 then
    kind = 'none of ours'
end
if kind ~= 'hash' then
    redis.call('DEL', key)
    redis.call('HSET', key, 'epoch', now[1] .. '.' .. now[2])
end
if ARGV[3] == 'join' then redis.call('HSET', key, 'joined', now[1]) end
local head = redis.call('HMGET', key, 'epoch', 'version')
local told = {now[1], now[2], head[1] or '', head[2] or ''}
if told[3] == ARGV[1] and told[4] == ARGV[2] then return told end
for i = 4, #ARGV do
    told[i + 1] = redis.call('HSTRLEN', key, ARGV[i]) < 1000 and redis.call('HGET', key, ARGV[i]) or ''
end
return told
"""
_CHANGE = """
local now, key = redis.call('TIME'), KEYS[1]
local held = redis.call('HSTRLEN', key, ARGV[1]) < 1000 and redis.call('HGET', key, ARGV[1]) or ''
if held ~= ARGV[2] and held ~= ARGV[3] then return held end
redis.call('HSETNX', key, 'epoch', now[1] .. '.' .. now[2])
redis.call('HSET', key, ARGV[1], ARGV[3], 'version', string.format('%%d.%%06d', now[1], now[2]))
redis.call('EXPIRE', key, %d)
return false
""" % _KEPT
_KEEP = r"""
local now = redis.call('TIME')[1] + 1
for i, key in ipairs(KEYS) do
    local head = redis.pcall('GETRANGE', key, 0, 999)
    local newer = type(head) == 'string' and tonumber(string.match(head, '^%[[^\n]*, ([%d.]+)%]\n') or 0) or 0
    if newer > now or newer <= tonumber(ARGV[3 * i - 2]) then
        redis.call('SET', key, ARGV[3 * i], 'EX', ARGV[3 * i - 1])
    end
end
"""
_LEASE = """
local owner, left = redis.pcall('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if type(owner) == 'string' and owner ~= ARGV[1] and left > 0 and left < 3600000 then return left end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 0
"""

# What is known of a provider is one flat list of numbers, its times the server's or null: the version, a random number
# (no two changes look alike), then ...
_COUNTS = ("generation", "error_count", "limits", "rate_limited", "early_pause")
_TIMES = ("early_at", "last_error", "open_until", "hold_until", "trial_until")  # ... then when the quota was told
_QUOTA = ("limit", "remaining", "reset")
_LENGTH = 2 + len(_COUNTS) + len(_TIMES) + 1 + len(_QUOTA)

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
                                                  retry=Retry(NoBackoff(), 0))
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


class _Copy(NamedTuple):
    provider: str
    body: bytes
    kept_at: float
    lifetime: int

    def size(self) -> int:
        return len(self.body) + _OVERHEAD


class _Job:
    """Something for the thread to do, and what it told; ``here``: what to do instead where Redis does not answer."""

    def __init__(self, there: Callable[["_Job"], Any], here: Optional[Callable[[], Any]] = None) -> None:
        self.there, self.here = there, here
        self.told: Any = None
        self.is_done, self.is_wanted = False, True
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
        self._used_at = self._tried_at = self._looked_at = self._sent_at = self._said_at = self._late_until = -math.inf
        self._alone: Optional[str] = None  # why the store does not answer; "": it does; None: not known yet
        self._alone_since = time.monotonic()
        self._pause = _PAUSES[0]  # the next one, in which calls do not wait
        self._began = math.inf  # when the thread did with what it is at
        self._offset = 0.0  # the server's time less ours
        self._head: Tuple[bytes, bytes] = (b"", b"")  # epoch and version of what was seen last ...
        self._seen: Dict[Any, bytes] = {}  # ... and what it was, by entry
        self._unshared: Dict[Any, bool] = {}  # by entry: whether its circuit was changed here alone, or only its quota
        self._quotas: Dict[Any, Tuple[float, bool]] = {}  # when they were told last, and whether as used up
        self._copies: Dict[str, _Copy] = {}  # to be sent
        self._copied = 0  # their bytes

    # --- what the registry, the records and the refreshes call ---

    def look(self, left: float) -> None:
        """A call begins, with so many seconds left: what is known here is what was known there a second ago."""
        self._used_at = now = time.monotonic()
        if now - self._looked_at > 1.0:
            self._do(_Job(lambda job: self._tick(now)), left)
        else:
            self._start()

    def change(self, entry: Any, change: Callable[[Circuit, float], Told], here: bool = True) -> Optional[Told]:
        """Make the change in the whole fleet, or here where Redis does not answer; what it returned.

        Where that takes too long it is made all the same, and what it would return here counts. A trial is not made
        then: it is None, or made here if it may be.
        """
        with self._registry._lock:
            circuit = _copy(entry.circuit)
            told = change(circuit, self._clock())
            if vars(circuit) == vars(entry.circuit) and not self._unshared.get(entry):  # most change nothing
                return told
            if self._alone or self._jobs.qsize() >= _LONGEST_QUEUE:
                return self._change_here(entry, change)
        job = _Job(lambda job: self._changed(entry, change, job), lambda: self._change_here(entry, change))
        is_trial = isinstance(told, Ticket)
        if not is_trial or not self._is_late():
            self._do(job)
        with self._registry._lock:
            if job.is_done:
                result: Told = job.told
                return result
            if not is_trial:
                return told
            job.is_wanted = False
            return self._change_here(entry, change) if here or self._alone else None

    def _change_here(self, entry: Any, change: Callable[[Circuit, float], Told]) -> Told:
        self._unshared[entry] = True
        self._used_at = time.monotonic()
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
        self._to_send({key: _Copy(provider, body, self._clock(), lifetime)})
        if not self._alone and time.monotonic() - self._sent_at > _TICK:
            self._sent_at = time.monotonic()
            self._jobs.put(_Job(lambda job: self._send()))
            self._start()

    def find(self, key: str, patient: bool) -> Tuple[Optional[bytes], float]:
        """(the fleet's record, the server's time). ``patient``: wait for it though Redis was slow just now."""
        job = _Job(lambda job: self._read(key))
        self._do(job, patient=patient)
        return job.told, self._clock() + self._offset

    def lease(self, owner: int, key: str, seconds: float) -> float:
        """0.0: this owner may refresh the key, for so long; else how long another may. 0 seconds gives it back."""
        job = _Job(lambda job: self._leased(f"{self._token}:{owner}", key, seconds))
        self._do(job, patient=True)
        return float(job.told or 0.0)

    def told(self) -> str:
        """For a snapshot."""
        if self._alone is None:
            return "not asked yet"
        if self._alone:
            return f"own memory for {time.monotonic() - self._alone_since:.0f} s: {self._alone}"
        return "shared, slowly" if self._is_late() else "shared"

    def close(self) -> None:
        """Send what is left, within a moment, and end the thread; the next call starts another."""
        if self._copies:
            self._do(_Job(lambda job: self._send_until(lambda: not self._copies)), patient=True)
        self._used_at = -math.inf
        self._jobs.put(_Job(lambda job: None))

    # --- the thread and what waits for it ---

    def _do(self, job: _Job, left: float = math.inf, patient: bool = False) -> None:
        """Have the thread do it, and wait a moment for that where Redis answers and is quick, or ``patient``."""
        self._used_at = time.monotonic()
        is_waiting = not self._alone and not self._is_late(patient)
        if not self._alone:
            self._jobs.put(job)
        self._start()
        if is_waiting:
            try:
                if not job.over.wait(min(left, _PATIENCE)) and left >= _PATIENCE:
                    self._be_late()
            except BaseException:  # an interrupt: who asked is gone
                job.is_wanted = False
                raise

    def _start(self) -> None:
        """See that there is a thread."""
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._work, daemon=True, name="rapidfailover-redis")
                    try:
                        self._thread.start()
                    except RuntimeError:  # the interpreter is shutting down
                        self._alone = self._alone or "no thread"

    def _work(self) -> None:
        while True:
            job: Optional[_Job] = None
            try:
                wait = self._tried_at + _TICK - time.monotonic() if self._copied < _BATCH or self._alone else 0.0
                job = self._jobs.get(timeout=max(wait, 0.001))
            except queue.Empty:
                pass
            self._began = time.monotonic()
            try:
                if job is None or self._alone is None:
                    self._tick()
                    if time.monotonic() - self._tried_at > _SLOW:
                        self._be_late()
                    self._settle("")
                if job is not None and job.is_wanted and not self._alone:
                    job.told, job.is_done = job.there(job), True
            except Exception as problem:  # whatever redis-py, or a client of the user's, raises, with whatever text
                self._settle(type(problem).__name__)
            self._began = math.inf
            if job is not None:
                self._end(job)
            with self._lock:
                if time.monotonic() - self._used_at > _IDLE and self._jobs.empty():
                    if self._redis is not None and self.store.is_url:
                        self._redis.connection_pool.disconnect()
                    self._redis = self._thread = None
                    return

    def _end(self, job: _Job) -> None:
        with self._registry._lock:
            if job.here is not None and job.is_wanted and not job.is_done:
                job.told, job.is_done = job.here(), True
        job.over.open()

    def _is_late(self, patient: bool = False) -> bool:
        now = time.monotonic()
        return now - self._began > _PATIENCE or now < self._late_until and not patient

    def _be_late(self) -> None:
        """Nobody waits for a while, for the longer the more often Redis was slow of late."""
        now = time.monotonic()
        self._pause = min(2 * self._pause, _PAUSES[1]) if now - self._late_until < 60.0 else _PAUSES[0]
        self._late_until = now + self._pause
        if self._pause > _PAUSES[0]:  # not the first time
            self._say("is slow: no call waits for it")

    def _settle(self, why: str) -> None:
        """Whether a look succeeded, or why not."""
        if why and not self._alone:
            self._alone_since = time.monotonic()
            self._say(f"does not answer ({why}): this process goes on with its own memory")
        elif self._alone and not why and self._said_at >= self._alone_since:
            _log.info("the store answers again, after %.1f s", time.monotonic() - self._alone_since)
        self._alone = why

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said_at > _SELDOM:
            self._said_at = time.monotonic()
            _log.warning("the store %s", text, extra={"event": "store"})

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
        entries = [entry for members in list(self._registry._platforms.values()) for entry in members.values()
                   if self._registry.fleet is self]
        epoch, version = self._head if len(self._seen) == len(entries) else (self._head[0], b"")
        began = self._clock()
        told = self._run(_LOOK, ["circuits"], epoch, version, "join" if self._alone else "", *map(_name, entries))
        took = self._clock() - began
        offset = int(told[0]) + int(told[1]) / 1e6 - began - took / 2
        if took < _SLOW or abs(offset - self._offset) > 1.0:
            self._offset = offset
        head = bytes(told[2]), bytes(told[3])
        if head[0] != self._head[0] or head[1] < self._head[1]:  # lost, or as it was earlier: we tell what we know
            self._seen = dict.fromkeys(entries, b"")
            for entry in entries:
                circuit = entry.circuit
                if circuit.generation or circuit.error_count or circuit.hold_until or circuit.limits:
                    self._unshared[entry] = True
        for entry, seen in zip(entries, told[4:]):
            if not self._unshared.get(entry):
                self._adopt(entry, bytes(seen))
        self._head = head
        for entry in list(self._unshared):
            self._share(entry)
        self._send()
        self._looked_at = time.monotonic()

    def _changed(self, entry: Any, change: Callable[[Circuit, float], Told], job: _Job) -> Told:
        if self._unshared.get(entry):
            self._share(entry)
        told = self._set(entry, change, job)
        if isinstance(told, Ticket) and not job.is_wanted:  # who asked for the trial is gone
            self._set(entry, lambda circuit, now: circuit.release(told))
        return told

    def _share(self, entry: Any) -> None:
        """Tell what was changed here alone."""
        was_changed = self._unshared.pop(entry, False)
        with self._registry._lock:
            mine = _copy(entry.circuit)
        try:
            self._set(entry, lambda circuit, now: _merge(circuit, mine) if was_changed else None)
        except Exception:
            with self._registry._lock:
                self._unshared[entry] = was_changed or self._unshared.get(entry, False)
            raise

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
            if circuit is not None and not self._unshared.get(entry):  # else it was changed here
                vars(entry.circuit).update(vars(circuit))
            if job is not None and job.is_wanted:
                job.told, job.is_done = told, True

    def _dumped(self, entry: Any, circuit: Circuit) -> bytes:
        known, quota = vars(circuit), entry.quota or {}
        times = [known[name] for name in _TIMES] + [entry.quota_at or None]
        if circuit.trial_until is not None:
            times[4] = min(circuit.trial_until, self._clock() + _LONGEST_TRIAL)
        return json.dumps([_VERSION, random.getrandbits(48), *(known[name] for name in _COUNTS),
                           *(None if at is None else round(at + self._offset, 6) for at in times),
                           *(quota.get(name) for name in _QUOTA)], separators=(",", ":")).encode()

    def _loaded(self, entry: Any, seen: bytes) -> Optional[Circuit]:
        """The circuit as Redis has it, or nothing where those bytes are none. A quota that is news is noted."""
        now, circuit = self._clock(), _copy(entry.circuit)
        try:
            _, _, *told = told_whole = json.loads(seen.decode())
        except (ValueError, TypeError, RecursionError):
            return None
        if not isinstance(told_whole, list) or len(told_whole) != _LENGTH or told_whole[0] != _VERSION \
                or not all(one is None or isinstance(one, (int, float)) and abs(one) < 1e15 for one in told) \
                or not all(isinstance(one, int) and 0 <= one < 1e9 for one in told[:4]) or None in told[4:6]:
            return None
        times = [None if at is None else at - self._offset for at in told[5:11]]
        longest = [circuit.max_cooldown] * 4 + [_LONGEST_TRIAL]
        if any(at is not None and at > now + most + 5.0 for at, most in zip(times, longest)):
            return None  # nobody is kept out for longer than the rules allow; or the server's clock was set back
        vars(circuit).update(zip(_COUNTS, told[:5]))
        vars(circuit).update(zip(_TIMES, times))
        circuit.early_pause = min(max(circuit.early_pause, FIRST_EARLY), LAST_EARLY)
        if times[5] is not None and entry.quota_at + 0.001 < min(times[5], now):
            quota = {name: one for name, one in zip(_QUOTA, told[11:]) if one is not None}
            with self._registry._lock:
                entry.quota, entry.quota_at = quota or None, min(times[5], now)
        return circuit

    def _send(self) -> None:
        """Send copies, as many as fit into a moment."""
        batch: Dict[str, _Copy] = {}
        size = 0
        with self._lock:
            for key, copy in self._copies.items():
                if batch and size + copy.size() > _BATCH:
                    break
                batch[key] = copy
                size += copy.size()
            for key in batch:
                del self._copies[key]
            self._copied -= size
        if not batch:
            return
        self._sent_at = time.monotonic()
        values: List[Any] = []
        for copy in batch.values():
            at = copy.kept_at + self._offset
            values += at, copy.lifetime, record_of(copy.provider, copy.body, at)
        try:
            self._run(_KEEP, [f"copy:{key}" for key in batch], *values)
        except Exception:
            if size <= _BATCH:  # another time; but one that alone is too much is given up
                self._to_send({key: copy for key, copy in batch.items() if key not in self._copies})
            raise

    def _send_until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._send()

    def _to_send(self, copies: Dict[str, _Copy]) -> None:
        with self._lock:
            for key, copy in copies.items():
                before = self._copies.pop(key, None)
                self._copied -= before.size() if before else 0
                if self._copied + copy.size() <= _LARGEST:
                    self._copies[key] = copy
                    self._copied += copy.size()

    def _read(self, key: str) -> Optional[bytes]:
        try:
            record: bytes = self._redis.execute_command("GETRANGE", f"{self.store.namespace}:copy:{key}", 0, _LARGEST,
                                                        NEVER_DECODE=True)
        except ResponseError:  # something else by that name
            return None
        return record if len(record) < _LARGEST else None

    def _leased(self, owner: str, key: str, seconds: float) -> float:
        if seconds <= 0:
            self._send_until(lambda: key not in self._copies)  # who has the next lease shall find the answer
        return int(self._run(_LEASE, [f"refresh:{key}"], owner, int(seconds * 1000))) / 1000


def _copy(circuit: Circuit) -> Circuit:
    made = Circuit.__new__(Circuit)
    vars(made).update(vars(circuit))
    return made


def _merge(circuit: Circuit, mine: Circuit) -> None:
    """Make the fleet's what both know: the circuit that changed more often, or met the later fault; the longer hold."""
    holds = [one.hold_until for one in (circuit, mine) if one.hold_until is not None]
    if (mine.generation, mine.last_error or -math.inf) > (circuit.generation, circuit.last_error or -math.inf):
        vars(circuit).update(vars(mine))
    circuit.hold_until = max(holds, default=None)


def _name(entry: Any) -> bytes:
    return f"{entry.platform}\0{entry.provider.name}".encode("utf-8", "surrogatepass")


_fleets: "WeakSet[Fleet]" = WeakSet()


def _send_all() -> None:
    for fleet in list(_fleets):
        fleet.close()


atexit.register(_send_all)
