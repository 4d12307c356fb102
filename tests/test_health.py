"""Who answers, and how fast; and what it costs to know."""

import threading
import time

import pytest
from conftest import KEY, NO_RETRY, Clock

import rapidfailover
from rapidfailover import MissingAPIKey, ProviderConfig, ProviderRegistry, UnknownPlatform
from rapidfailover.health import Monitor

ALL = {
    "tiktok": ["tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"], "instagram": ["instagram-looter2", "instagram-stats"],
    "youtube": ["yt-api"], "twitter": ["the-old-bird"], "linkedin": ["linkedin-realtime", "linkedin-fresh"],
}


def asked(rapidapi):
    return sorted(request.provider for request in rapidapi.requests)


def test_every_enabled_provider_of_every_platform_in_the_strategys_shape(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 503)
    health = client.check_provider_health()
    assert {platform: list(members) for platform, members in health.items()} == ALL
    assert health["tiktok"]["tiktok-scraper7"] == {
        "status": "unhealthy", "error": "tiktok-scraper7: 503 unavailable (Service Unavailable)"}
    assert set(health["youtube"]["yt-api"]) == {"status", "latency_ms"}
    assert health["youtube"]["yt-api"]["status"] == "healthy" and 0 < health["youtube"]["yt-api"]["latency_ms"] < 5000
    assert asked(rapidapi) == sorted(name for members in ALL.values() for name in members)


def test_the_strategys_own_probes(rapidapi, client):
    client.check_provider_health(["tiktok", "instagram", "youtube"])
    sent = {request.provider: (request.path, request.params) for request in rapidapi.requests}
    assert sent["tiktok-feature"] == ("/user/info", {"unique_id": "tiktok"})
    assert sent["instagram-looter2"] == ("/profile", {"username": "instagram"})
    assert sent["yt-api"] == ("/video/info", {"id": "dQw4w9WgXcQ"})


def test_only_the_platforms_that_were_named(rapidapi, client):
    assert list(client.check_provider_health(["youtube"])) == list(client.check_provider_health("youtube")) == ["youtube"]
    with pytest.raises(UnknownPlatform):
        client.check_provider_health(["myspace"])
    assert asked(rapidapi) == ["yt-api"] * 2


def test_a_good_answer_counts_as_a_success_and_a_bad_one_as_a_fault(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 500)
    rapidapi.fail("tiktok-feature", 403)  # no fault, as the matrix has it
    rapidapi.registry.mark_error("tiktok", "tiktok-tikwm")
    client.check_provider_health(["tiktok"])
    counts = {name: state["error_count"] for name, state in rapidapi.registry.snapshot()["tiktok"].items()}
    assert counts == {"tiktok-scraper7": 1, "tiktok-feature": 0, "tiktok-tikwm": 0}


def test_those_held_or_cooling_down_are_not_asked_and_a_half_open_one_gets_its_trial(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry)
    for _ in range(3):
        registry.mark_error("tiktok", "tiktok-scraper7")
    registry.hold("tiktok", "tiktok-feature", 60)
    registry.disable("tiktok", "tiktok-tikwm")
    assert client.check_provider_health(["tiktok"]) == {"tiktok": {
        "tiktok-scraper7": {"status": "unhealthy", "error": "not asked: cooling down for 900 s"},
        "tiktok-feature": {"status": "unhealthy", "error": "not asked: held for 60 s"}}}
    assert rapidapi.requests == []
    clock.tick(900)
    assert client.check_provider_health(["tiktok"])["tiktok"]["tiktok-scraper7"]["status"] == "healthy"
    assert registry.snapshot()["tiktok"]["tiktok-scraper7"]["circuit"] == "closed"


@pytest.mark.slow
def test_providers_are_asked_side_by_side_each_within_its_timeout(rapidapi, make_client):
    client = make_client(timeout=0.4)
    for members in ALL.values():
        for name in members:
            rapidapi.delay(name, 0.2)
    rapidapi.fail("yt-api", "hang")
    began = time.monotonic()
    health = client.check_provider_health()
    assert time.monotonic() - began < 1.0
    assert health["youtube"]["yt-api"] == {"status": "unhealthy", "error": "yt-api: timeout (no answer in time)"}
    assert health["tiktok"]["tiktok-scraper7"]["status"] == "healthy"


def test_a_platform_of_ones_own_brings_its_probe(rapidapi, make_client):
    registry = ProviderRegistry({})
    with pytest.raises(ValueError):
        registry.add("video", ProviderConfig("yt-api", "yt-api.p.rapidapi.com", 1), probe=("video", {}))
    config = rapidapi.providers["youtube"][0]
    registry.add("video", config)
    client = make_client(registry)
    assert client.check_provider_health()["video"]["yt-api"]["error"] == "not asked: no probe is known for the platform"
    registry.add("video", ProviderConfig("spare", "spare.example", 2, enabled=False), probe=("/video/info", {"id": "v"}))
    assert client.check_provider_health()["video"]["yt-api"]["status"] == "healthy"
    assert "spare" not in client.check_provider_health()["video"]


def test_without_a_key_it_says_so(make_client, monkeypatch):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    with pytest.raises(MissingAPIKey):
        make_client(api_key=None).check_provider_health()


@pytest.mark.parametrize("platforms, options", [(["tiktok", "nope"], {}), (["tiktok"], {"api_key": None})])
def test_a_check_that_could_not_begin_keeps_no_trial(rapidapi, make_client, monkeypatch, clock, platforms, options):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    for _ in range(3):
        registry.mark_error("tiktok", "tiktok-scraper7")
    clock.tick(900)
    with pytest.raises((UnknownPlatform, MissingAPIKey)):
        make_client(registry, **options).check_provider_health(platforms)
    assert make_client(registry).call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-scraper7"


def test_a_platform_that_is_named_twice_is_asked_once(rapidapi, client):
    client.check_provider_health(["youtube", "youtube"])
    assert len(rapidapi.requests) == 1


def test_a_bug_of_ours_is_not_swallowed_in_a_thread(client, monkeypatch):
    monkeypatch.setattr(client._transport, "ask", lambda *args: 1 / 0)  # a bug of ours, wherever
    with pytest.raises(ZeroDivisionError):
        client.check_provider_health(["youtube"])


def test_the_modules_function_asks_with_the_default_client(rapidapi):
    rapidfailover.configure(registry=rapidapi.registry, api_key=KEY, matrix=NO_RETRY)
    assert rapidfailover.check_provider_health(["youtube"])["youtube"]["yt-api"]["status"] == "healthy"
    rapidfailover.default_client().close()


# --- the monitor ---

def wait_until(true, seconds=5.0):
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def monitors():
    return [thread for thread in threading.enumerate() if thread.name == "rapidfailover-monitor"]


def test_it_asks_now_and_then_until_the_client_is_closed(rapidapi, client):
    client.monitor(interval=0.1)
    assert rapidapi.requests == [] and [thread.daemon for thread in monitors()] == [True]
    assert wait_until(lambda: asked(rapidapi).count("yt-api") >= 2)
    client.close()
    assert wait_until(lambda: not monitors())


def test_it_brings_back_a_provider_whose_cooldown_is_over(rapidapi, make_client):
    registry = ProviderRegistry({"youtube": rapidapi.providers["youtube"]}, cooldown=0.05)
    client = make_client(registry)
    for _ in range(3):
        registry.mark_error("youtube", "yt-api")
    client.monitor(interval=0.2)
    assert wait_until(lambda: registry.snapshot()["youtube"]["yt-api"]["circuit"] == "closed")


def test_one_that_is_held_or_that_answered_a_call_within_the_interval_is_not_asked(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry)
    registry.hold("tiktok", "tiktok-feature", 3600)
    client.call("tiktok", "/user/info", {"unique_id": "ada"})
    client._interval = 300.0  # no thread of its own: the test is the thread
    del rapidapi.requests[:]
    clock.tick(299)
    client._monitor._check()  # what that thread does at each interval
    assert "tiktok-scraper7" not in asked(rapidapi) and "tiktok-feature" not in asked(rapidapi)
    assert "tiktok-tikwm" in asked(rapidapi)
    del rapidapi.requests[:]
    clock.tick(1)
    client._monitor._check()  # what that thread does at each interval
    assert asked(rapidapi) == ["tiktok-scraper7"]  # the others answered the probe a second ago


def test_started_again_it_goes_on_at_the_new_interval_alone(rapidapi, client):
    client.monitor(interval=3600)
    client.monitor(interval=0.1)
    assert wait_until(lambda: len(monitors()) == 1)
    assert wait_until(lambda: rapidapi.requests)


def test_without_a_key_it_says_so_and_goes_on(rapidapi, make_client, caplog):
    keys = [None]
    client = make_client(api_key=lambda: keys[0])
    client.monitor(interval=0.1)
    assert wait_until(lambda: "the health check failed" in caplog.text)
    keys[0] = KEY
    assert wait_until(lambda: rapidapi.requests)


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "300"])
def test_an_interval_is_a_positive_finite_time(client, interval):
    with pytest.raises(ValueError, match="interval"):
        client.monitor(interval=interval)


def test_it_outlives_what_it_did_not_expect():
    checks = []

    def check():
        checks.append(1)
        raise RuntimeError("can't start new thread")

    monitor = Monitor(check)
    monitor.start(0.01)
    assert wait_until(lambda: len(checks) >= 3)
    monitor.stop()
    monitor.start(1e300)
    assert wait_until(lambda: len(monitors()) == 1) and monitors()[0].is_alive()
    monitor.stop()
    assert wait_until(lambda: not monitors())
