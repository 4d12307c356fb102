"""Set-ups that cannot serve are refused when the client is made, and several customers on one cache never meet."""

import logging

import pytest
from conftest import KEY, NO_RETRY, Upstream, http, in_threads
from faults import read_head
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from rapidfailover import FailoverClient, FileCache, LRUTTLCache, ProviderRegistry
from rapidfailover.records import key_of
from rapidfailover.sqlite import SQLiteStore


class AsyncCache:
    async def get(self, key):
        pass

    async def set(self, key, value, timeout):
        pass


class ReadOnly:
    def get(self, key):
        pass


async def asynchronous(*args):
    pass


PASSWORD = "hunter2"


@pytest.mark.parametrize("options, hint", [
    (dict(registry={"p": []}), "write ProviderRegistry({"), (dict(registry=ProviderRegistry), "write ProviderRegistry({"),
    (dict(cache={}), "write LRUTTLCache()"), (dict(cache=f"redis://:{PASSWORD}@x"), "write FileCache(directory)"),
    (dict(cache=LRUTTLCache), "write LRUTTLCache(...)"), (dict(cache=ReadOnly()), "without get and set"),
    (dict(cache=AsyncCache()), "asynchronous"), (dict(cache=Redis(password=PASSWORD)), "write store=RedisStore(client)"),
    (dict(cache=Redis(decode_responses=True)), "write store=RedisStore(client)"), (dict(cache=AsyncRedis()), "write store=RedisStore(client)"),
    (dict(store=SQLiteStore), "write RedisStore(server) or SQLiteStore(path)"), (dict(store={}), "write RedisStore(server)"),
    (dict(namespace=None), "namespace is a text"), (dict(namespace=b"a"), "namespace is a text"),
    (dict(api_key=asynchronous), "write a plain function"), (dict(refresh_key=asynchronous), "write a plain function"),
    (dict(refresh=asynchronous), "write a plain function"), (dict(on_event=asynchronous), "write a plain function"),
    (dict(refresh_key="k" * 20), "refresh_key is a callable"), (dict(on_event=[]), "on_event is a callable"),
])
def test_what_cannot_serve_is_refused_with_what_to_write(options, hint):
    with pytest.raises(TypeError) as caught:
        FailoverClient(**options)
    assert hint in str(caught.value) and PASSWORD not in str(caught.value) and "kkkk" not in str(caught.value)


# --- a cache that does not give back what it was given ---

class Cache:
    """Any object with get and set, which counts."""

    def __init__(self, keep=lambda value: value):
        self.keep, self.kept, self.gets = keep, {}, 0

    def get(self, key):
        self.gets += 1
        return self.kept.get(key)

    def set(self, key, value, timeout):
        self.kept[key] = self.keep(value)


@pytest.mark.parametrize("keep", [lambda value: None, lambda value: value.decode(), lambda value: value[:-1], bytearray],
                         ids=["dummy", "decodes", "loses bytes", "other type"])
def test_a_cache_that_gives_back_something_else_is_told_in_one_warning(caplog, keep):
    with Upstream(http()) as upstream, caplog.at_level(logging.WARNING):
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, cache=Cache(keep)) as client:
            for number in range(3):
                assert client.call("raw", "/thing", {"q": number}).data == {"ok": True}
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["the cache does not give back what it was given"]


def test_a_cache_that_keeps_is_looked_at_once(caplog):
    cache = Cache()
    with Upstream(http()) as upstream, caplog.at_level(logging.WARNING):
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, cache=cache) as client:
            for number in range(3):
                client.call("raw", "/thing", {"q": number})
    assert cache.gets == 1 and not caplog.records


def test_another_process_that_was_faster_is_no_loss(caplog):
    other = Cache()
    with Upstream(http()) as upstream, caplog.at_level(logging.WARNING):
        registry = ProviderRegistry({"raw": [upstream.provider()]})
        with FailoverClient(registry, api_key=KEY, cache=other) as client:
            client.call("raw", "/thing")
        theirs, = other.kept.values()
        with FailoverClient(registry, api_key=KEY, cache=Cache(lambda value: theirs)) as client:
            client.call("raw", "/thing")
    assert not caplog.records


# --- several customers ---

def test_a_namespace_is_part_of_the_key():
    keys = {key_of("p", "/x", "q=1", namespace) for namespace in ("", "a", "b", "a\0b", "é")}
    assert len(keys) == 5 and all(len(key) < 200 and " " not in key for key in keys)


def whose(connection):
    """Answers with the first letter of the key that it is sent, as long as it is up."""
    head = read_head(connection)
    if whose.is_down:
        return connection.sendall(http(b"{}", "503 Oops"))
    letter = head.lower().partition(b"x-rapidapi-key: ")[2][:1].decode()
    connection.sendall(http(f'{{"me": "{letter}"}}'.encode()))


@pytest.mark.parametrize("shared", ["memory", "files", "store"])
def test_two_customers_on_one_cache_or_store_never_meet(tmp_path, shared):
    whose.is_down = False
    with Upstream(accepted=whose) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider()]})
        cache = {"memory": LRUTTLCache(), "files": FileCache(tmp_path), "store": None}[shared]
        store = SQLiteStore(str(tmp_path / "shared.db")) if shared == "store" else None
        clients = {name: FailoverClient(registry, api_key=name * 20, namespace=name, cache=cache, store=store, matrix=NO_RETRY, refresh=False)
                   for name in "ab"}

        def ask(number):
            name = "ab"[number % 2]
            assert clients[name].call("raw", "/me").data == {"me": name}

        in_threads(8, ask)
        whose.is_down = True
        for name, client in clients.items():
            result = client.call("raw", "/me")
            assert result.stale and result.data == {"me": name}
            client.close()
