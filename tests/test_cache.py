"""The last good copies: in memory, and in Django's and cachelib's caches as they are."""

import logging
from enum import Enum

import pytest
from conftest import NO_RETRY, Clock, in_threads

from rapidfailover import FailoverClient, FileCache, LRUTTLCache
from rapidfailover.config import encode_query
from rapidfailover.payload import parse
from rapidfailover.records import Records, key_of


class Colour(str, Enum):
    RED = "red"


USER = ("tiktok", "/user/info", {"unique_id": "ada"})


# --- LRU, TTL ---

def test_what_was_set_comes_back_until_it_expires(clock):
    cache = LRUTTLCache(ttl=10, clock=clock)
    cache.set("a", b"1")
    cache.set("b", b"2", timeout=20)
    clock.tick(9.9)
    assert (cache.get("a"), cache.get("b")) == (b"1", b"2")
    clock.tick(0.1)
    assert (cache.get("a"), cache.get("a", "nothing"), cache.get("b")) == (None, "nothing", b"2")


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_to_live_is_not_kept_and_removes_what_was(clock, timeout):
    cache = LRUTTLCache(clock=clock)
    cache.set("a", b"1")
    cache.set("a", b"2", timeout=timeout)
    assert cache.get("a") is None and len(cache) == 0


def test_the_least_recently_used_goes_first(clock):
    cache = LRUTTLCache(max_entries=2, clock=clock)
    cache.set("a", b"1")
    cache.set("b", b"2")
    cache.get("a")
    cache.set("c", b"3")
    assert [cache.get(key) for key in "abc"] == [b"1", None, b"3"] and len(cache) == 2


def test_bytes_are_a_limit_too(clock):
    cache = LRUTTLCache(max_bytes=3000, clock=clock)
    for key in "abc":
        cache.set(key, b"x" * 1000)
    assert [len(cache.get(key) or b"") for key in "abc"] == [0, 1000, 1000]
    cache.set("d", b"x" * 3000)  # too large by itself: evicts nobody
    assert cache.get("d") is None and len(cache) == 2
    cache.set("b", b"")
    cache.set("e", b"x" * 1300)
    assert [cache.get(key) is not None for key in "bce"] == [True, True, True]


def test_what_is_handed_out_is_never_what_is_kept(clock):
    cache = LRUTTLCache(clock=clock)
    given = {"list": [1]}
    cache.set("a", given)
    given["list"].append(2)
    cache.get("a")["list"].append(3)
    assert cache.get("a") == {"list": [1]}


def test_threads_lose_nothing_and_break_nothing():
    cache = LRUTTLCache(max_entries=50)

    def work(number):
        for n in range(2000):
            cache.set(f"{n % 100}", b"%d" % (n % 100))
            assert cache.get(f"{n % 97}") in (None, b"%d" % (n % 97))

    in_threads(8, work)
    assert len(cache) == 50


@pytest.mark.parametrize("options", [{"max_entries": 0}, {"ttl": 0}, {"max_bytes": -1}])
def test_a_cache_that_could_keep_nothing_is_refused(options):
    with pytest.raises(ValueError):
        LRUTTLCache(**options)


# --- keys ---

def key(params, platform="p", endpoint="/e"):
    return key_of(platform, endpoint, encode_query(params))


@pytest.mark.parametrize("one, other", [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1}, {"a": "1"}), ({}, None), ({"a": None}, {}),
    ({"a": [1, 2]}, {"a": ("1", "2")}), ({"a": Colour.RED}, {"a": "red"}), ({"a": [None, 1]}, {"a": 1}),
])
def test_the_same_on_the_wire_is_the_same_entry(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize("one, other", [
    ({"a": 1}, {"a": 1.0}), ({"a": 1}, {"a": True}), ({"a": "1&b=2"}, {"a": "1", "b": "2"}), ({"a": ""}, {}),
    ({"a": [1, 2]}, {"a": [2, 1]}), ({"a": "x"}, {"A": "x"}),
])
def test_different_on_the_wire_is_another_entry(one, other):
    assert key(one) != key(other)


def test_platform_and_endpoint_are_part_of_it_and_do_not_run_together():
    assert len({key({}, "p", "/e"), key({}, "p2", "/e"), key({}, "p", "/e2"), key({}, "p/", "/e"), key({}, "p", "//e")}) == 5


def test_a_key_fits_memcached():
    made = key({"q": "größe " * 1000}, "tik tok", "/a b")
    assert made.startswith("rapidfailover:1:") and len(made) < 200 and made.isascii() and " " not in made


# --- records ---

def records(cache, clock, lifetime=60.0):
    return Records(cache, parse, lifetime, clock)


def test_a_copy_knows_its_provider_and_its_age(clock):
    kept = records(LRUTTLCache(), clock)
    kept.keep("k", "one", b'{"a":\n1}')
    clock.tick(30)
    assert kept.find("k", 60) == ({"a": 1}, b'{"a":\n1}', "one", 30.0)
    assert kept.find("k", 29) is None


@pytest.mark.parametrize("make, checked", [
    (lambda path: LRUTTLCache(), True), (FileCache, False), (lambda path: type("Theirs", (LRUTTLCache,), {})(), False),
], ids=["own memory", "files", "a class of the user's"])
def test_only_what_this_process_has_kept_by_itself_is_not_checked_again(tmp_path, clock, make, checked):
    asked = []
    kept = Records(make(tmp_path), lambda body, checked: asked.append(checked) or parse(body, checked), 60.0, clock)
    kept.keep("k", "one", b"[1]")
    assert kept.find("k", 60).data == [1] and asked == [checked]


def test_a_copy_from_the_future_is_not_young_for_ever(clock):
    """A wall clock was set back, or that of another machine is ahead: its age is as far off as the clocks are."""
    kept = records(LRUTTLCache(), clock)
    kept.keep("k", "one", b"[]")
    clock.tick(-86400)
    assert kept.find("k", 60) is None
    assert kept.find("k", 90000).age == 86400


def test_no_age_is_young_enough_for_zero(clock):
    kept = records(LRUTTLCache(), clock)
    kept.keep("k", "one", b"[]")
    assert kept.find("k", 0) is None


@pytest.mark.parametrize("foreign", [
    None, b"", b"\n", b"[]", "text", 7, {"a": 1}, b"[1, 2, 3]\n{}", b'[1, "p", "t"]\n{}', b'{"v": 1}\n{}',
    b'[1, "p", 1000.0]\n{"torn', b'[99, "p", 1000.0]\n{}', b'[1, "p", NaN]\n{}', b'[1, "p", 1' + b"0" * 400 + b"]\n{}",
    b"[" * 100_000, b'[1, "p", 1000.0]\n' + b"[" * 100_000, b"\xff\xfe\n{}", b"\x80\x04K\x01.",
])
def test_somebody_elses_entry_or_a_torn_one_is_a_miss(clock, foreign):
    cache = LRUTTLCache()
    cache.set("k", foreign)
    assert records(cache, clock).find("k", 60) is None


class Broken:
    def get(self, key):
        raise ConnectionError("secret")

    def set(self, key, value, timeout):
        raise ConnectionError("secret")


def test_a_cache_that_raises_costs_a_log_line_never_the_call(rapidapi, make_client, caplog):
    client = make_client(cache=Broken(), fresh_for=1.0)
    with caplog.at_level(logging.WARNING, "rapidfailover"):
        assert client.call(*USER).provider == "tiktok-scraper7"
    assert [r.getMessage() for r in caplog.records] == ["the cache could not be asked: ConnectionError",
                                                        "the cache could not keep an answer: ConnectionError"]


# --- other people's caches, as they are ---

def django_cache():
    from django.core.cache.backends.locmem import LocMemCache
    return LocMemCache("rapidfailover", {})


def django_file_cache(tmp_path):
    from django.core.cache.backends.filebased import FileBasedCache
    return FileBasedCache(str(tmp_path / "django"), {})


def cachelib_simple():
    import cachelib
    return cachelib.SimpleCache()


def cachelib_file(tmp_path):
    import cachelib
    return cachelib.FileSystemCache(str(tmp_path / "cachelib"))


@pytest.mark.parametrize("make", [django_cache, django_file_cache, cachelib_simple, cachelib_file])
def test_a_cache_of_another_library_serves_as_it_is(rapidapi, make, tmp_path, make_client):
    cache = make(tmp_path) if "tmp_path" in make.__code__.co_varnames else make()
    fresh = make_client(cache=cache).call(*USER)
    for name in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        rapidapi.fail(name, 503)
    with FailoverClient(rapidapi.registry, api_key="k" * 20, cache=cache, matrix=NO_RETRY) as other:
        copy = other.call(*USER)
    assert copy.stale and copy.data == fresh.data and copy.provider == "tiktok-scraper7" and 0 <= copy.age < 10


def test_the_copy_outlives_the_default_timeout_of_the_cache(rapidapi, make_client):
    """Django's is five minutes; ours is what max_stale says."""
    seen = []

    class Noting(LRUTTLCache):
        def set(self, key, value, timeout=None):
            seen.append(timeout)

    make_client(cache=Noting(), max_stale=100.5).call(*USER)
    make_client(cache=Noting(), max_stale=0, fresh_for=7).call(*USER)
    assert seen == [101, 7] and all(isinstance(timeout, int) for timeout in seen)


def test_the_clock_of_memory_is_monotonic_by_default():
    assert LRUTTLCache()._clock.__name__ == "monotonic"
    assert isinstance(Clock()(), float)


def test_a_cache_takes_what_fits_exactly_and_a_lifetime_of_a_second(clock):
    cache = LRUTTLCache(clock=clock)
    cache.set("k", b"v", 1)
    assert cache.get("k") == b"v"
    cost = cache._bytes
    exact = LRUTTLCache(max_bytes=cost, clock=clock)
    exact.set("k", b"v")
    assert exact.get("k") == b"v" and exact._bytes == cost
    two = LRUTTLCache(max_bytes=2 * cost, clock=clock)
    two.set("a", b"v")
    two.set("b", b"v")
    assert len(two) == 2 and two._bytes == 2 * cost
    two.set("c", b"v")
    assert len(two) == 2 and two._bytes == 2 * cost and two.get("a") is None
    two.set("d", b"v", 0)
    assert len(two) == 2
    two.set("b", b"v", 0)
    assert two.get("b") is None and two._bytes == cost


def test_what_expired_is_dropped_when_it_is_met(clock):
    cache = LRUTTLCache(ttl=1.0, clock=clock)
    cache.set("k", b"v")
    clock.tick(1.0)
    assert cache.get("k") is None and len(cache) == 0 and cache._bytes == 0


def test_records_of_no_lifetime_are_not_kept(caplog):
    Records(None, parse, 0.0).keep("k", "first", b"[]")
    assert not caplog.records  # the cache was not asked


def test_a_record_is_as_old_as_it_may_be_and_its_head_is_short():
    now = [1000.0]
    kept = {}

    class Cache:
        get = staticmethod(kept.get)

        @staticmethod
        def set(key, value, timeout):
            kept[key] = value

    records = Records(Cache, parse, 1.0, clock=lambda: now[0])
    records.keep("k", "first", b"[]")
    now[0] += 1.0
    assert records.find("k", 1.0).age == 1.0
    now[0] += 0.1
    assert records.find("k", 1.0) is None
    kept["k"] = b'[1, "first", 1000.0' + b" " * 990 + b"]\n[]"
    assert records.find("k", 10.0) is None
    kept["k"] = b'[1, "first", 1000.0] x\n[]'
    assert records.find("k", 10.0) is None
