"""Who is asked, in which order, and what the registry tells of it."""

import json
import logging

import pytest
from catalogue import NAMES
from conftest import in_threads

from rapidfailover import ProviderConfig, ProviderRegistry, Route, UnknownPlatform, UnknownProvider
from rapidfailover.circuit import Asker
from rapidfailover.verdicts import ENDPOINT, Verdict


@pytest.fixture
def registry(clock):
    return ProviderRegistry({"demo": [ProviderConfig("second", "two.example", 2),
                                      ProviderConfig("first", "one.example", 1),
                                      ProviderConfig("third", "three.example", 3)]}, clock=clock)


def names(registry, platform="demo"):
    return [provider.name for provider in registry.get_available_providers(platform)]


def visited(registry, **asker):
    return [visit.provider.name for visit in registry.visits(registry.serving("demo", "/e"), lambda: 25.0, Asker(**asker))]


def trip(registry, name="first"):
    for _ in range(3):
        registry.mark_error("demo", name)


def test_providers_come_by_priority(registry):
    assert names(registry) == visited(registry) == ["first", "second", "third"]


def test_one_that_is_cooling_down_is_left_out_and_listed_again_when_half_open(registry, clock):
    trip(registry)
    assert names(registry) == ["second", "third"]
    clock.tick(900)
    assert names(registry) == ["first", "second", "third"]


def test_one_is_out_that_is_disabled_held_or_cooling_down_for_that_endpoint(registry, clock):
    assert not registry.is_out("demo", "first", "/e")
    registry.disable("demo", "first")
    assert registry.is_out("demo", "first", "/e") and not registry.is_out("demo", "second", "/e")
    registry.hold("demo", "second", 10)
    assert registry.is_out("demo", "second", "/e")
    clock.tick(10)
    assert not registry.is_out("demo", "second", "/e")
    for _ in range(3):
        visit = next(registry.visits(registry.serving("demo", "/broken"), lambda: 25.0))
        registry.report(visit, Verdict(fault=ENDPOINT))
    assert registry.is_out("demo", "second", "/broken") and not registry.is_out("demo", "second", "/e")
    with pytest.raises(UnknownProvider):
        registry.is_out("demo", "fourth", "/e")


def test_asking_who_is_available_takes_no_trial(registry, clock):
    trip(registry)
    clock.tick(900)
    for _ in range(3):
        assert "first" in names(registry)
    visit = next(registry.visits(registry.serving("demo", "/e"), lambda: 25.0))
    assert visit.provider.name == "first" and visit.leave.is_trial()
    assert "first" in names(registry)


def test_only_one_visitor_gets_the_trial(registry, clock):
    trip(registry)
    clock.tick(900)
    first = registry.visits(registry.serving("demo", "/e"), lambda: 25.0)
    assert next(first).provider.name == "first"
    assert visited(registry) == ["second", "third"]


def test_a_half_open_circuit_lets_one_of_64_threads_through(registry, clock):
    trip(registry)
    clock.tick(900)
    visits, kept = [registry.visits(registry.serving("demo", "/e"), lambda: 25.0) for _ in range(64)], []
    in_threads(64, lambda number: kept.append(next(visits[number]).provider.name))
    assert kept.count("first") == 1 and kept.count("second") == 63


def test_a_visit_that_is_left_without_a_report_gives_its_trial_back(registry, clock):
    trip(registry)
    clock.tick(900)
    visits = registry.visits(registry.serving("demo", "/e"), lambda: 25.0)
    next(visits)
    visits.close()
    assert visited(registry)[0] == "first"


def test_a_provider_is_judged_when_its_turn_comes(registry):
    visits = registry.visits(registry.serving("demo", "/e"), lambda: 25.0)
    assert next(visits).still_to_ask == 3
    registry.hold("demo", "second", 60)
    visit = next(visits)
    assert (visit.provider.name, visit.still_to_ask) == ("third", 1)


def test_disabled_and_held_ones_are_left_out(registry, clock):
    registry.disable("demo", "first")
    registry.hold("demo", "second", seconds=60)
    assert names(registry) == visited(registry) == ["third"]
    registry.enable("demo", "first")
    clock.tick(60)
    assert names(registry) == ["first", "second", "third"]


def test_reset_of_one_of_a_platform_and_of_all(registry):
    for name in ("first", "second"):
        trip(registry, name)
    registry.reset("demo", "first")
    assert names(registry) == ["first", "third"]
    registry.reset("demo")
    assert names(registry) == ["first", "second", "third"]
    trip(registry)
    registry.reset()
    assert names(registry) == ["first", "second", "third"]
    with pytest.raises(ValueError, match="platform"):
        registry.reset(provider_name="first")


def test_counts_are_exact_with_64_threads(registry, clock):
    registry = ProviderRegistry({"demo": [ProviderConfig("first", "one.example", 1)]}, error_threshold=10 ** 6)

    def work(number):
        for _ in range(100):
            registry.mark_error("demo", "first")

    in_threads(64, work)
    assert registry.snapshot()["demo"]["first"]["error_count"] == 6400


@pytest.mark.parametrize("waits, early, retry_after", [
    ({"first": 30, "second": 10, "third": 20}, False, 10),
    ({"first": 30, "second": 10}, False, None),  # the third can be asked now
])
def test_how_long_until_somebody_can_be_asked(registry, waits, early, retry_after):
    for name, seconds in waits.items():
        registry.hold("demo", name, seconds)
    assert registry.retry_after(registry.serving("demo", "/e"), Asker(early=early)) == retry_after


def test_nobody_to_wait_for_when_all_are_disabled(registry):
    for name in names(registry):
        registry.disable("demo", name)
    assert registry.retry_after(registry.serving("demo", "/e")) is None


def test_the_snapshot_is_plain_json_with_times_from_now(registry, clock):
    trip(registry)
    registry.hold("demo", "second", 60)
    registry.disable("demo", "third")
    clock.tick(10)
    snapshot = registry.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert snapshot["demo"]["first"] == {
        "priority": 1, "status": "ok", "enabled": True, "circuit": "open", "error_count": 3, "last_error": -10.0,
        "disabled_until": 890.0, "hold_until": None, "quota": None, "advice": "", "host": "one.example", "endpoints": {},
        "pace": None, "requests": 0, "latency_ms": None}
    assert snapshot["demo"]["second"]["hold_until"] == 50.0
    assert snapshot["demo"]["third"]["enabled"] is False
    clock.tick(890)
    assert registry.snapshot()["demo"]["first"]["circuit"] == "half-open"
    assert registry.snapshot()["demo"]["first"]["disabled_until"] is None


def test_a_line_bears_what_happened_to_whom_and_a_hold_says_how_long(registry, caplog):
    def report(verdict):
        registry.report(next(registry.visits(registry.serving("demo", "/e"), lambda: 25.0)), verdict)
        return caplog.records[-1] if caplog.records else None

    for _ in range(3):
        tripped = report(Verdict("first: 500 server error", ENDPOINT))
    assert (tripped.event, tripped.platform, tripped.provider, tripped.endpoint) == ("trip", "demo", "first", "/e")
    held = report(Verdict("second: 429 rate limited", hold=30.0))
    assert (held.event, held.provider, hasattr(held, "endpoint")) == ("hold", "second", False) and "30 s" in held.getMessage()


def test_a_trip_and_a_recovery_are_one_line_each(registry, caplog):
    with caplog.at_level(logging.INFO, "rapidfailover"):
        trip(registry)
        registry.mark_success("demo", "first")
        registry.mark_success("demo", "first")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "demo: first is out for 900 s after 3 faults in a row, the last: marked from outside"),
        ("INFO", "demo: first answers again and is back in use")]


# --- the catalogue ---

def test_the_strategys_providers_are_all_there():
    registry = ProviderRegistry()
    assert {platform: [name for name in names(registry, platform) if name in NAMES[platform]] for platform in NAMES} == {
        "tiktok": ["tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"],
        "instagram": ["instagram-looter2", "instagram-stats"],
        "youtube": ["yt-api"], "twitter": ["the-old-bird"], "linkedin": ["linkedin-realtime", "linkedin-fresh"],
        "threads": []}
    told = {name: (state["status"], state["enabled"], state["advice"].partition(":")[0])
            for platform, members in registry.snapshot().items() for name, state in members.items() if name in NAMES.get(platform, ())}
    assert told == {
        "tiktok-scraper7": ("ok", True, "keep (primary)"), "tiktok-feature": ("ok", True, "keep (secondary)"),
        "tiktok-tikwm": ("limited", True, ""), "instagram-looter2": ("ok", True, "keep (primary)"),
        "instagram-stats": ("ok", True, "keep (primary)"), "yt-api": ("ok", True, "keep (primary)"),
        "the-old-bird": ("limited", True, "replace/upgrade"), "linkedin-realtime": ("limited", True, "keep (secondary)"),
        "linkedin-fresh": ("limited", True, "replace/upgrade"), "threads-api4": ("limited", False, "subscribe")}


def test_hosts_are_those_of_the_strategy():
    hosts = {p.name: p.host.replace(".p.rapidapi.com", "") for platform in ("tiktok", "instagram", "twitter", "linkedin")
             for p in ProviderRegistry().get_available_providers(platform) if p.name in NAMES[platform]}
    assert hosts == {
        "tiktok-scraper7": "tiktok-scraper7", "tiktok-feature": "tiktok-video-feature-summary",
        "tiktok-tikwm": "tiktok-scraper", "instagram-looter2": "instagram-looter2",
        "instagram-stats": "instagram-statistics-api", "the-old-bird": "twitter-api45",
        "linkedin-realtime": "linkedin-data-scraper", "linkedin-fresh": "fresh-linkedin-scraper-api"}
    assert ProviderRegistry().get_available_providers("youtube")[0].base_url == "https://yt-api.p.rapidapi.com"


def test_platforms_and_providers_of_ones_own():
    registry = ProviderRegistry({})
    assert registry.platforms == ()
    registry.add("weather", ProviderConfig("b", "b.example", 2))
    registry.add("weather", ProviderConfig("a", "a.example", 1))
    assert registry.platforms == ("weather",) and names(registry, "weather") == ["a", "b"]
    with pytest.raises(ValueError, match="already"):
        registry.add("weather", ProviderConfig("a", "other.example", 3))


# --- bad input ---

@pytest.mark.parametrize("platform", ["myspace", "", None, 7, ["tiktok"], "TikTok"])
def test_an_unknown_platform_is_an_error_that_names_the_known_ones(platform):
    with pytest.raises(UnknownPlatform, match="known: tiktok, instagram"):
        ProviderRegistry().get_available_providers(platform)


def test_an_unknown_provider_is_an_error_that_names_the_known_ones(registry):
    for act in (registry.mark_error, registry.mark_success, registry.enable, registry.disable, registry.reset):
        with pytest.raises(UnknownProvider, match="known: first, second, third"):
            act("demo", "fourth")


@pytest.mark.parametrize("endpoint", ["/", "/user/info", "/screenname.php", "/a b", "/@ada", "/größe", "/a..b", "/a/"])
def test_a_path_is_an_endpoint(registry, endpoint):
    assert registry.serving("demo", endpoint).how_many() == 3


@pytest.mark.parametrize("fields, message", [
    ({"name": ""}, "name"), ({"name": None}, "name"), ({"host": " "}, "host"), ({"host": "a.example/path"}, "host"),
    ({"host": "evil@a.example"}, "host"), ({"host": ".a.example"}, "host"), ({"host": "*.a.example"}, "host"),
    ({"host": "a..example"}, "host"), ({"host": "größe.example"}, "host"), ({"host": "a" * 64 + ".example"}, "host"),
    ({"host": "a." * 200 + "example"}, "host"), ({"host": "a b"}, "host"), ({"host": "a\nb"}, "host"),
    ({"priority": "1"}, "priority"), ({"priority": True}, "priority"),
    ({"base_url": "http://a.example"}, "base_url"), ({"base_url": "http://10.0.0.1"}, "base_url"),
    ({"base_url": "http://127.0.0.1.evil.example"}, "base_url"), ({"base_url": "ftp://a.example"}, "base_url"),
    ({"base_url": "https://user:secret@a.example"}, "base_url"), ({"base_url": "https://a.example?x"}, "base_url"),
    ({"base_url": "https://a.example#x"}, "base_url"), ({"base_url": "https://"}, "base_url"),
    ({"base_url": "https://a.example:port"}, "base_url"), ({"base_url": "https://[::1"}, "base_url"),
    ({"base_url": b"https://a.example"}, "base_url"), ({"base_url": ""}, "base_url"),
])
def test_a_provider_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ProviderConfig(**{"name": "a", "host": "a.example", "priority": 1, **fields})


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost", "https://a.example/p/"])
def test_http_is_for_loopback_only(base_url):
    assert ProviderConfig("a", "a.example", 1, base_url=base_url).base_url == base_url.rstrip("/")


def test_a_provider_is_frozen():
    with pytest.raises(AttributeError):
        ProviderConfig("a", "a.example", 1).priority = 2


@pytest.mark.parametrize("options", [
    {"error_threshold": 0}, {"error_threshold": 1.5}, {"error_threshold": True}, {"cooldown": 0}, {"cooldown": -1},
    {"max_cooldown": float("inf")}, {"cooldown": float("nan")}, {"cooldown": "300"},
])
def test_a_registry_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ProviderRegistry(**options)


@pytest.mark.parametrize("platform, provider, error", [
    ("", ProviderConfig("a", "a.example", 1), ValueError), (None, ProviderConfig("a", "a.example", 1), ValueError),
    ("demo", "a.example", TypeError),
])
def test_only_providers_of_a_named_platform_are_added(platform, provider, error):
    with pytest.raises(error):
        ProviderRegistry({}).add(platform, provider)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "60", None])
def test_a_hold_is_a_finite_time(registry, seconds):
    with pytest.raises(ValueError, match="hold"):
        registry.hold("demo", "first", seconds)


# --- routes that are worked out when they are asked for ---

class Computed(dict):
    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def __missing__(self, endpoint):
        return self.compute(endpoint)


@pytest.mark.parametrize("path", ["@evil.example/", "//evil.example/", "/x?y", "/x\n", "/{name}"])
def test_a_computed_route_that_leads_off_the_host_serves_nothing(path):
    registry = ProviderRegistry({"raw": [
        ProviderConfig("a", "a.example", 1, routes=Computed(lambda endpoint: Route(path))), ProviderConfig("b", "b.example", 2)]})
    visits = registry.visits(registry.serving("raw", "/x"), lambda: 1.0)
    assert [(visit.provider.name, visit.leave is None) for visit in visits] == [("a", True), ("b", False)]


def test_a_mapping_of_routes_that_raises_or_asks_the_registry_harms_nobody():
    def curious(endpoint):
        registry.get_available_providers("raw")
        in_threads(1, lambda number: registry.snapshot())  # no lock is held meanwhile
        raise ValueError("cannot map this")

    registry = ProviderRegistry({"raw": [
        ProviderConfig("a", "a.example", 1, routes=Computed(curious)), ProviderConfig("b", "b.example", 2)]})
    assert registry.serving("raw", "/x").how_many() == 1 and registry.retry_after(registry.serving("raw", "/x")) is None


@pytest.mark.parametrize("method", ["GET\n", "get", "", "GET POST", None])
def test_a_method_is_looked_at_whole(method):
    with pytest.raises(ValueError, match="method"):
        ProviderConfig("a", "a.example", 1, routes={"/x": Route("/x", method)})


def test_a_signal_handler_may_ask_for_the_snapshot_at_any_time():
    registry = ProviderRegistry()
    with registry._lock:  # by the very thread that the handler interrupts
        assert registry.snapshot()
