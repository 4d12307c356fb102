"""What a signal handler of the user's raises passes through at once, whatever its class."""

import signal
import time

import pytest
from conftest import KEY, NO_RETRY, Upstream, http

from rapidfailover import FailoverClient, ProviderRegistry, Route


class Mine(Exception):
    pass


def slow(connection):
    time.sleep(3)


@pytest.fixture
def alarm():
    """Rings with that exception after so many seconds."""
    previous = signal.getsignal(signal.SIGALRM)

    def ring(kind, seconds, handler=None):
        def raise_it(*args):
            raise kind("mine")

        signal.signal(signal.SIGALRM, handler or raise_it)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield ring
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Mine, TimeoutError, OSError, ConnectionError, ValueError])
def test_an_alarm_passes_through_at_once_and_is_nobodys_fault(alarm, kind):
    with Upstream(slow) as first, Upstream(slow) as second:
        registry = ProviderRegistry({"raw": [first.provider("a", 1), second.provider("b", 2)]})
        with FailoverClient(registry, api_key=KEY, refresh=False, timeout=2.0) as client:
            alarm(kind, 0.2)
            began = time.monotonic()
            with pytest.raises(kind, match="mine"):
                client.call("raw", "/thing")
            assert time.monotonic() - began < 1.0
        assert {state["error_count"] for state in registry.snapshot()["raw"].values()} == {0}
        assert second.received == []


def test_a_handler_that_takes_its_arguments_by_name_is_known_too(alarm):
    def handler(signum, frame):
        raise OSError("mine")

    with Upstream(slow) as upstream:
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False, timeout=2.0) as client:
            alarm(OSError, 0.2, handler)
            with pytest.raises(OSError, match="mine"):
                client.call("raw", "/thing")


def test_an_alarm_that_the_caller_is_handling_already_is_not_raised_again(alarm):
    with Upstream(b"") as upstream:
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False, timeout=2.0) as client:
            try:
                alarm(TimeoutError, 0.05)
                time.sleep(1)
            except TimeoutError:
                with pytest.raises(Exception, match="unavailable"):
                    client.call("raw", "/thing")


class RingingMapping(dict):
    def __missing__(self, endpoint):
        time.sleep(3)


class RingingCache:
    def get(self, key):
        time.sleep(3)

    def set(self, key, value, timeout):
        time.sleep(3)


def rings_in(place):
    def slowly(*args):
        time.sleep(3)

    provider = {"check": {"check": slowly}, "adapt": {"routes": {"/thing": Route("/x", adapt=slowly)}},
                "a route's params": {"routes": {"/thing": Route("/x", params=slowly)}},
                "routes": {"routes": RingingMapping()}}.get(place, {})
    client = {"api_key": {"api_key": slowly}, "cache": {"cache": RingingCache()}, "refresh": {"refresh": slowly}}.get(place, {})
    return provider, client


@pytest.mark.slow
@pytest.mark.parametrize("place", ["check", "adapt", "a route's params", "routes", "api_key", "cache", "refresh"])
def test_an_alarm_that_rings_in_code_of_the_users_passes_too(alarm, place):
    """Although whatever else that code raises is told and costs no call."""
    provider, options = rings_in(place)
    with Upstream(b"" if place == "refresh" else http(), http()) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider(**provider)]})
        with FailoverClient(registry, **{"api_key": KEY, "refresh": False, "matrix": NO_RETRY, **options}) as client:
            alarm(ValueError, 0.3)
            began = time.monotonic()
            with pytest.raises(ValueError, match="mine"):
                client.call("raw", "/thing")
            assert time.monotonic() - began < 1.5
        state, = registry.snapshot()["raw"].values()
        assert state["error_count"] == (place == "refresh")
