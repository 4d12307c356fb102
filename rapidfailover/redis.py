"""What many processes share through Redis or Valkey: circuits, the last good copies, and who asks
again.

Only how that is put into Redis; what is shared and when, ``fleet`` and ``mirror`` know. Each
question is one script, so one round trip. Times are the server's.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import time
from typing import Any, Callable, Sequence

try:
    # A copy in somebody's tree is held to mypy where redis-py may not be installed.
    from redis import Redis  # type: ignore[import,unused-ignore]
    from redis.backoff import NoBackoff  # type: ignore[import,unused-ignore]
    from redis.exceptions import (  # type: ignore[import,unused-ignore]
        NoScriptError,
        ResponseError,
    )
    from redis.retry import Retry  # type: ignore[import,unused-ignore]
except ImportError:
    raise ImportError(
        "the store needs redis-py: pip install 'rapidfailover[redis]', or redis"
    ) from None

from .entries import LONGEST
from .fleet import Fleet
from .mirror import Seen
from .outbox import LARGEST, Record
from .payload import clean
from .sharing import Circuits

__all__ = ["RedisStore"]

_KEPT = 7 * 86400  # seconds for which circuits are kept that nobody changes
_TIMED = 30.0  # seconds for which the server's time is known well enough
_MOST = 4000  # fields of the hash; who finds more as it joins begins it anew, from what all know
_LOG = 128  # changes that are remembered: who missed more is told all

# What a command gives, or nil where something else has the key's name. What the user may not do is
# told.
_TEXT = """
local function text(...)
    local value = redis.pcall(...)
    if type(value) == 'table' and value.err and not string.find(value.err, 'WRONGTYPE') then
        error(value.err)
    end
    return type(value) == 'string' and value or nil
end
"""
# The hash of the circuits holds what is known of each by its name, and   head        "epoch count
# stamp": when the hash was begun, how many changes there were, and the latest one's stamp   0 to
# 127    "count stamp name" of the latest changes, each in the place of the one 128 before it A look
# sends the head as it saw it last. It goes on from there if the change by that count still bears
# that stamp: it does not where the data was lost, or is that of an earlier time.
_HEAD = _TEXT + """
local key, now = KEYS[1], redis.call('TIME')
local function get(field)
    return text('HGET', key, field) or ''
end
local function begin()
    local head = now[1] .. string.format('%%06d', now[2]) .. ' 0 0'
    redis.call('DEL', key)
    redis.call('HSET', key, 'head', head)
    redis.call('EXPIRE', key, %d)
    return head
end
local function parsed(head)
    local epoch, count, stamp = string.match(#head < 50 and head or '', '^(%%d+) (%%d+) (%%d+)$')
    return epoch, tonumber(count), stamp
end
""" % _KEPT
_LOOK = _HEAD + """
local head = get('head')
local epoch, count = parsed(head)
if not epoch or (ARGV[1] == '' or ARGV[2] ~= '') and redis.call('HLEN', key) > %d then
    head = begin()
    epoch, count = parsed(head)
end
if ARGV[2] ~= '' then redis.call('HSET', key, 'joined', now[1]) end
local known, seen, stamp = parsed(ARGV[1])
local is_lost = known ~= epoch or seen > count or seen > count - %d and seen > 0
    and string.find(get(tostring(seen %% %d)), seen .. ' ' .. stamp .. ' ', 1, true) ~= 1
local reply = {now[1], now[2], head, is_lost and 'lost' or ''}
local function tell(name, circuit)
    if #name < 2000 and #circuit < %d then
        reply[#reply + 1] = name
        reply[#reply + 1] = circuit
    end
end
if is_lost or seen <= count - %d then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do
        if string.find(all[i], '%%z') then tell(all[i], all[i + 1]) end
    end
else
    local names = {}
    for number = seen + 1, count do
        local name = string.match(get(tostring(number %% %d)), '^%%d+ %%d+ (.*)$')
        if name and not names[name] then
            names[name] = true
            tell(name, get(name))
        end
    end
end
return reply
""" % (_MOST, _LOG, _LOG, LONGEST, _LOG, _LOG)
_CHANGE = _HEAD + """
local name, seen, new = ARGV[1], ARGV[2], ARGV[3]
local held = get(name)
if #held >= %d then held = '' end
if held ~= seen and held ~= new then return held end
local epoch, count = parsed(get('head'))
if not epoch then epoch, count = parsed(begin()) end
count = string.format('%%.0f', count + 1)
redis.call('HSET', key, name, new, 'head', epoch .. ' ' .. count .. ' ' .. now[2],
           tostring(count %% %d), count .. ' ' .. now[2] .. ' ' .. name)
redis.call('EXPIRE', key, %d)
return false
""" % (LONGEST, _LOG, _KEPT)
_RESERVE = _TEXT + """
local now, free = redis.call('TIME'), tonumber(text('GET', KEYS[1]) or 0) or 0
now = now[1] * 1000000 + now[2]
if not (free > now and free < now + 3600000000) then free = now end
if free - now <= tonumber(ARGV[2]) then
    local later = free + ARGV[1]
    redis.call('SET', KEYS[1], string.format('%.0f', later), 'PX', math.ceil((later - now) / 1000))
end
return string.format('%.0f', free)
"""
_KEEP = _TEXT + r"""
local now = redis.call('TIME')[1] + 1
for i, key in ipairs(KEYS) do
    local head = text('GETRANGE', key, 0, 999) or ''
    local newer = tonumber(string.match(head, '^%[[^\n]*, ([%d.]+)%]\n') or 0) or 0
    if newer > now or newer <= tonumber(ARGV[3 * i - 2]) then
        redis.call('SET', key, ARGV[3 * i], 'EX', ARGV[3 * i - 1])
    end
end
"""
_LEASE = _TEXT + """
local owner, left = text('GET', KEYS[1]), redis.call('PTTL', KEYS[1])
if owner and owner ~= ARGV[1] and left > 0 and left < 3600000 then return left end
if ARGV[2] == '0' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 0
"""
_DIGESTS = {
    script: hashlib.sha1(script.encode()).hexdigest()
    for script in (_LOOK, _CHANGE, _RESERVE, _KEEP, _LEASE)
}


class RedisStore:
    """Where workers on any machines share what they learn:
    ``FailoverClient(store=RedisStore("redis://…"))``.

    ``server``     a URL (``redis://``, ``rediss://`` for TLS, ``unix://``; with user, password and
                   redis-py's options), a redis-py client of your own, best one with a
                   ``socket_timeout``, or a function that makes one when it is needed: a
                   ``RedisCluster`` connects as it is made
    ``namespace``  what every key begins with; workers with the same one are one fleet

    Redis 5 or newer, or Valkey; alone, behind Sentinel (``Sentinel(…).master_for``) or a cluster.
    ValueError for a URL that is none, or with options that redis-py does not have.
    """

    def __init__(
        self, server: str | Redis | Callable[[], Redis], namespace: str = "rapidfailover"
    ) -> None:
        if (
            not isinstance(namespace, str)
            or not namespace
            or not namespace.isprintable()
            or " " in namespace
        ):
            raise ValueError(f"a namespace is a text without blanks, not {namespace!r}")
        theirs: Any = server
        is_client = hasattr(theirs, "execute_command") and not isinstance(theirs, type)
        self._is_own = not is_client  # made here, and nobody else's
        self._connect: Callable[[], Any] = lambda: server
        if isinstance(server, str):
            self._connect = lambda: Redis.from_url(
                server, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
            )
            try:
                pool = self._connect().connection_pool
                pool.connection_class(**pool.connection_kwargs)  # which does not connect yet
            except Exception:
                raise ValueError(
                    "a store's URL is redis://[[user]:password@]host[:port][/database], "
                    "rediss://… or unix://…, with options that redis-py has"
                ) from None
        elif callable(theirs) and not is_client and not isinstance(theirs, type):
            self._connect = theirs
        elif not is_client or inspect.iscoroutinefunction(theirs.execute_command):
            raise TypeError(
                "a store takes a URL, a synchronous redis-py client or a function that makes one, "
                f"not {type(server).__name__}"
            )
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"RedisStore(…, namespace={self.namespace!r})"

    def share(self, circuits: Circuits) -> Fleet:
        """Make the registry's circuits those of the fleet. It leaves the one it was in."""
        fleet = circuits.sharing
        if not isinstance(fleet, Fleet) or fleet.store is not self:
            fleet = circuits.sharing = Fleet(self, self._server, circuits)
        return fleet

    def _server(self) -> _RedisServer:
        return _RedisServer(self._connect, self.namespace, self._is_own)


class _RedisServer:
    """A ``mirror.Server``."""

    def __init__(self, connect: Callable[[], Any], namespace: str, is_own: bool) -> None:
        self._connect = connect
        self._namespace = namespace
        self._is_own = is_own  # and not a client of the user's, who may use it for more
        self._redis: Any = None
        self._answers = False
        self._timed_at = -math.inf  # when the server's time was asked last

    def look(self, mark: bytes, joining: bool) -> Seen | None:
        if not joining and time.monotonic() - self._timed_at < _TIMED and self._head() == mark:
            return None
        began = time.monotonic()
        self._greet()
        asked = time.monotonic()
        reply = self._run(_LOOK, [b"circuits"], mark, "join" if joining else "")
        self._timed_at = time.monotonic()
        # it is held against the middle of the look
        now = int(reply[0]) + int(reply[1]) / 1e6 - (asked - began) / 2
        entries = list(map(bytes, reply[4:]))
        return Seen(
            now, bytes(reply[2]), bytes(reply[3]) == b"lost", dict(zip(entries[::2], entries[1::2]))
        )

    def _head(self) -> bytes | None:
        """For a look that finds nothing new, as nearly every one does: it costs a tenth of what a
        script does.
        """
        try:
            return self._client().execute_command(  # type: ignore[no-any-return]
                "HGET", f"{self._namespace}:circuits", "head", NEVER_DECODE=True
            )
        except ResponseError as problem:
            _refused(problem)
            return None

    def change(self, name: bytes, seen: bytes, new: bytes) -> bytes | None:
        held = self._run(_CHANGE, [b"circuits"], name, seen, new)
        return None if held is None else bytes(held)

    def reserve(self, name: bytes, interval: float, longest: float) -> float:
        free = self._run(
            _RESERVE, [b"turn:" + name], round(interval * 1e6), round(max(longest, 0.0) * 1e6)
        )
        return int(free) / 1e6

    def keep(self, records: Sequence[Record]) -> None:
        is_cluster = hasattr(self._client(), "get_node_from_key")  # no script on keys of two nodes
        lots: list[Sequence[Record]] = [[record] for record in records] if is_cluster else [records]
        for lot in lots:
            values: list[Any] = []
            for record in lot:
                values += record.kept_at, record.lifetime, record.content
            self._run(_KEEP, [f"copy:{record.key}".encode() for record in lot], *values)

    def read(self, key: str) -> bytes | None:
        try:
            content: bytes = self._client().execute_command(
                "GETRANGE", f"{self._namespace}:copy:{key}", 0, LARGEST, NEVER_DECODE=True
            )
        except ResponseError as problem:
            _refused(problem)
            return None
        return content if len(content) < LARGEST else None

    def lease(self, owner: str, key: str, seconds: float) -> float:
        return (
            int(self._run(_LEASE, [f"refresh:{key}".encode()], owner, int(seconds * 1000))) / 1000
        )

    def hang_up(self) -> None:
        if self._redis is not None and self._is_own:
            pool = getattr(self._redis, "connection_pool", None)  # a cluster has several
            (self._redis.close if pool is None else pool.disconnect)()
        self._redis = None

    def explain(self, problem: Exception) -> str:
        """The kind of it, and what Redis itself said of what it refused.

        Without the arguments: they may hold a password, and so may texts of redis-py's own.
        """
        kind = type(problem).__name__
        if not isinstance(problem, ResponseError):
            return kind
        return clean(f"{kind}: {str(problem).partition(', with args')[0]}")

    def _greet(self) -> None:
        """See that there is a connection: what is wrong with it has a clearer name here."""
        if not self._answers:
            self._client().execute_command("PING")
            self._answers = True

    def _run(self, script: str, keys: list[bytes], *values: Any) -> Any:
        """A script, in one round trip; bytes, whatever the client makes of other answers."""
        client, prefix = self._client(), f"{self._namespace}:".encode()
        arguments = [len(keys), *(prefix + key for key in keys), *values]
        self._greet()
        self._answers = False
        try:
            reply = client.execute_command(
                "EVALSHA", _DIGESTS[script], *arguments, NEVER_DECODE=True
            )
        except NoScriptError:  # the server is new, or was restarted
            reply = client.execute_command("EVAL", script, *arguments, NEVER_DECODE=True)
        self._answers = True
        return reply

    def _client(self) -> Any:
        if self._redis is None:
            self._redis = self._connect()
        return self._redis


def _refused(problem: ResponseError) -> None:
    """Raise it, unless there is only something else by that name."""
    if not str(problem).startswith("WRONGTYPE"):
        raise problem
