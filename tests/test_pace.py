"""How often a provider is asked, who waits for a turn, and what a plan that is used up means."""

import collections
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from conftest import KEY, NO_RETRY, Clock, Upstream, http, in_threads
from workers import until

from rapidfailover import (
    AllProvidersFailed,
    FailoverClient,
    FailoverError,
    LRUTTLCache,
    NoProvidersAvailable,
    ProviderConfig,
    ProviderRegistry,
)
from rapidfailover.pace import Pace, learned, of_count
from rapidfailover.quota import Quota
from rapidfailover.verdicts import Verdict


class Limited:
    """Takes one request in so many seconds; what comes sooner is told 429, in the gateway's words or another's."""

    def __init__(self, seconds=0.4, words="You have exceeded the rate limit per second for your plan, BASIC, by the API provider", **headers):
        self.seconds, self.words, self.headers = seconds, words, headers
        self.last, self.refused, self.answered, self.is_down = 0.0, 0, 0, False
        self.lock = threading.Lock()
        self.upstream = Upstream(self.answer)

    def answer(self, connection):
        if self.is_down:
            return connection.sendall(http(b"{}", "503 Service Unavailable"))
        with self.lock:
            now = time.monotonic()
            too_soon, self.last = now - self.last < self.seconds, now if now - self.last >= self.seconds else self.last
            self.refused += too_soon
            self.answered += not too_soon
        if too_soon:
            connection.sendall(http(b'{"message": "%s"}' % self.words.encode(), "429 Too Many Requests", **self.headers))
        else:
            connection.sendall(http())

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.upstream.__exit__()


def client_of(*providers, **options):
    return FailoverClient(ProviderRegistry({"p": list(providers)}), **{"api_key": KEY, "refresh": False, "matrix": {}, **options})


def names(client, count, threads=1):
    """How the calls for so many names ended."""
    def ask(number):
        try:
            return client.call("p", "/u", {"q": number}).provider
        except FailoverError as error:
            return type(error).__name__
    with ThreadPoolExecutor(threads) as pool:
        return collections.Counter(pool.map(ask, range(count)))


# --- the bucket ---

def test_turns_come_one_after_the_other_a_little_apart():
    pace = Pace(2, 1.0)
    turns = [pace.reserve(10.0) for _ in range(4)]
    assert turns[0] == 10.0 and all(later - sooner == pytest.approx(0.525) for sooner, later in zip(turns, turns[1:]))
    assert pace.turn_in(10.0) == pytest.approx(4 * 0.525)


def test_a_turn_that_is_not_used_is_given_back_unless_somebody_has_one_behind_it():
    pace = Pace(1, 1.0)
    first, second = pace.reserve(0.0), pace.reserve(0.0)
    pace.give_back(first)
    assert pace.turn_in(0.0) > second
    pace.give_back(second)
    assert pace.turn_in(0.0) == pytest.approx(second)


def test_who_is_late_with_a_turn_is_not_followed_too_closely():
    pace = Pace(1, 1.0)
    first, second = pace.reserve(0.0), pace.reserve(0.0)
    assert pace.take(0.7, first) == 0.0
    assert pace.take(second, second) == pytest.approx(0.7)
    assert pace.take(1.75, second) == 0.0


@pytest.mark.parametrize("answered, window, requests", [([], 1.0, 1), ([99.5, 99.9], 1.0, 2), ([10.0, 50.0, 99.0], 60.0, 2)])
def test_a_pace_is_learned_from_what_was_answered_in_the_window(answered, window, requests):
    pace = learned(window, deque(answered), 100.0)
    assert (pace.requests, pace.seconds) == (requests, window)
    assert not pace.is_forgotten(3699.0) and pace.is_forgotten(3701.0)


def test_what_others_took_is_taken_and_what_they_have_free_is_not_ours_yet():
    pace = Pace(1, 2.0)
    assert pace.follow(10.0, True) == 10.0 and pace.free_at == pytest.approx(12.1)
    assert pace.follow(11.0, False) == 11.0 and pace.free_at == pytest.approx(12.1)  # only ever later
    assert pace.follow(20.0, False) == 20.0 == pace.free_at


def test_a_turn_comes_an_interval_after_the_last_that_was_used_whoever_gave_it():
    pace = Pace(1, 2.0)
    assert pace.interval() == pytest.approx(2.1) and pace.take(5.0, 5.0) == 0.0
    pace.free_at = 0.0  # as a store that lost it would say
    assert pace.turn_in(6.0) == pytest.approx(1.1) and pace.turn_in(60.0) == 0.0
    assert pace.reserve(6.0) == pytest.approx(7.1)


def test_one_that_is_learned_anew_keeps_the_turns_that_were_given():
    before = Pace(1, 1.0)
    before.take(3.0, 3.0)
    turn = before.reserve(3.0)
    after = of_count(7, 60.0, 100.0, before)
    assert (after.requests, after.counted, after.until) == (7, 7, 3700.0) and after.free_at > turn and after.taken_at == 3.0
    assert of_count(0, 60.0, 100.0).requests == 1


# --- a plan with a rate ---

@pytest.mark.slow
def test_a_429_is_told_once_so_that_many_threads_learn_the_plans_pace_and_not_one_request_a_second():
    lock, answered = threading.Lock(), []

    def five_a_second(connection):
        time.sleep(0.05)
        with lock:
            now = time.monotonic()
            answered[:] = [at for at in answered if now - at < 1.0]
            too_many = len(answered) >= 5
            answered.extend([now] * (not too_many))
        words = b'{"message": "You have exceeded the rate limit per second for your plan, PRO, by the API provider"}'
        connection.sendall(http(words, "429 Too Many Requests") if too_many else http())

    upstream = Upstream(five_a_second)
    try:
        client = client_of(upstream.provider("first"))
        assert all(answer.result for answer in client.batch("p", "/u", ({"q": number} for number in range(15))))
        requests, seconds = client.registry.snapshot()["p"]["first"]["pace"]
        assert seconds == 1.0 and requests >= 4
    finally:
        upstream.__exit__()


@pytest.mark.slow
def test_names_in_a_row_meet_one_429_and_none_where_the_rate_is_set():
    for rate, refused in ((None, 1), (1.0, 0)):
        with Limited(1.0) as host, client_of(host.upstream.provider(rate=rate)) as client:
            assert names(client, 4) == {"raw": 4}
            assert host.refused <= refused
            assert client.registry.snapshot()["p"]["raw"]["pace"] == [1, 1.0]


@pytest.mark.slow
def test_threads_meet_one_429_too():
    """The first request to a provider goes alone for a moment: it tells whether the others may follow."""
    for seconds in (0.3, 1.0):
        with Limited(seconds) as host, client_of(host.upstream.provider(), max_wait=20.0) as client:
            assert names(client, 8, threads=8) == {"raw": 8}
            assert host.refused <= 1


def test_a_first_request_that_hangs_keeps_the_others_for_a_moment_only():
    number = iter(range(100))

    def answer(connection):
        if not next(number):
            time.sleep(1.0)
        connection.sendall(http())

    with Upstream(answer) as upstream, client_of(upstream.provider(), timeout=2.0) as client:
        began = time.monotonic()
        with ThreadPoolExecutor(3) as pool:
            took = sorted(pool.map(lambda q: (client.call("p", "/u", {"q": q}), time.monotonic() - began)[1], range(3)))
        assert took[0] < 0.8 and took[1] < 0.8 <= took[2]


@pytest.mark.slow
def test_threads_wait_for_their_turns():
    with Limited(0.3) as host, client_of(host.upstream.provider(rate=1 / 0.4), max_wait=10.0) as client:
        assert names(client, 12, threads=8) == {"raw": 12}
        assert host.refused == 0 and client.registry.snapshot()["p"]["raw"]["circuit"] == "closed"


@pytest.mark.slow
def test_who_has_no_turn_in_time_goes_to_the_next_and_it_is_no_fault():
    with Limited(0.3) as host, Upstream(http()) as other:
        with client_of(host.upstream.provider("first", 1, rate=1 / 0.4), other.provider("second", 2), max_wait=0.9) as client:
            ended = names(client, 12, threads=12)
            assert ended["first"] >= 2 and ended["second"] >= 8 and sum(ended.values()) == 12
            assert client.registry.snapshot()["p"]["first"]["error_count"] == 0


def test_where_there_is_no_other_the_error_says_when_its_turn_is():
    with Limited(5.0) as host, client_of(host.upstream.provider(rate=0.2), max_wait=0.1) as client:
        client.call("p", "/u")
        with pytest.raises(NoProvidersAvailable) as caught:
            client.call("p", "/u", {"q": 2})
        assert 4.0 < caught.value.retry_after <= 5.3


def test_the_worker_takes_no_turn_from_those_who_wait():
    registry = ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, rate=1.0)]}, clock=Clock())
    serving = registry.serving("p", "/u")
    from rapidfailover.circuit import Asker
    assert next(registry.visits(serving, lambda: 9.0, Asker(background=True)), None)
    assert next(registry.visits(serving, lambda: 9.0, Asker(background=True)), None) is None


@pytest.mark.slow
def test_new_names_are_answered_before_sixty_stale_ones_when_a_provider_comes_back():
    cache = LRUTTLCache()
    with Upstream(http()) as before, client_of(before.provider(), cache=cache) as client:
        assert names(client, 60) == {"raw": 60}
    with Limited(0.3) as host, client_of(host.upstream.provider(rate=1 / 0.4), cache=cache, refresh=True) as client:
        host.is_down = True
        assert all(client.call("p", "/u", {"q": number}).stale for number in range(60))
        host.is_down = False
        until(lambda: client.registry.snapshot()["p"]["raw"]["circuit"] == "closed")
        assert not any(client.call("p", "/u", {"q": number}).stale for number in range(100, 105))
        assert host.refused == 0 and host.answered < 30, "the sixty can wait"


# --- holds ---

@pytest.mark.slow
def test_a_hold_is_told_before_anybody_waits_for_it():
    with Limited(1.0, "Slow down", Retry_After="1") as host, client_of(host.upstream.provider(), max_wait=5.0) as client:
        client.call("p", "/u")
        ended = []

        def visitor(number):
            time.sleep(0.05 * number)
            ended.append(names(client, 1))

        in_threads(8, visitor)
        assert host.refused <= 2, "the second request, and at most the one that was under way with it"


@pytest.mark.slow
def test_where_nobody_else_serves_the_end_of_a_hold_is_waited_for():
    with Upstream(http()) as upstream, client_of(upstream.provider(), max_wait=2.0) as client:
        client.registry.hold("p", "raw", 0.5)
        began = time.monotonic()
        assert client.call("p", "/u").provider == "raw" and time.monotonic() - began >= 0.5
        client.registry.hold("p", "raw", 30)
        with pytest.raises(NoProvidersAvailable):
            client.call("p", "/u", {"q": 2})


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, {"Retry_After": "1"}, {"Retry_After": "0"}, {"Retry_After": "100"}], ids=str)
def test_a_provider_that_answers_nothing_but_429_is_asked_eight_times_at_most(headers):
    with Upstream(http(b'{"message": "Slow down"}', "429 Too Many Requests", **headers)) as upstream:
        with client_of(upstream.provider()) as client:
            ended = names(client, 300, threads=32)
            assert sum(ended.values()) == 300 and "raw" not in ended
            assert len(upstream.received) <= 8


# --- the plan's quota ---

def test_a_soft_limit_is_not_overdrawn():
    left = [3]

    def answer(connection):
        left[0] -= 1
        connection.sendall(http(X_RateLimit_Requests_Remaining=str(max(left[0], 0)), X_RateLimit_Requests_Reset="1000"))

    for overage, sent in ((False, 3), (True, 10)):
        left[0] = 3
        with Upstream(answer) as upstream, client_of(upstream.provider(overage=overage)) as client:
            assert names(client, 10)["raw"] == sent == len(upstream.received)
            assert client.registry.snapshot()["p"]["raw"]["requests"] == sent


class Metered:
    """A plan with so many requests left, told in headers; each answer takes a moment, and the later ones come sooner."""

    def __init__(self, left, count):
        self.left, self.sent, self.lock = left, 0, threading.Lock()
        self.waits = [0.02 * (number % 4) for number in range(count, 0, -1)]
        self.upstream = Upstream(self.answer)

    def answer(self, connection):
        with self.lock:
            self.left, self.sent, wait = self.left - 1, self.sent + 1, self.waits[self.sent]
            headers = {"X_RateLimit_Requests_Remaining": str(max(self.left, 0)), "X_RateLimit_Requests_Reset": "1000"}
        time.sleep(wait)
        connection.sendall(http(**headers))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.upstream.__exit__()


@pytest.mark.parametrize("overage", [False, True])
def test_what_is_under_way_counts_as_used(overage):
    """And all that is left is used, however the answers overtake each other."""
    with Metered(20, 60) as host, client_of(host.upstream.provider(overage=overage)) as client:
        ended = names(client, 40, threads=8)
        assert ended["raw"] == (40 if overage else 20) == host.sent
        assert overage or ended["NoProvidersAvailable"] == 20


def test_as_many_names_as_are_left_are_all_answered():
    for _ in range(5):
        with Metered(24, 60) as host, client_of(host.upstream.provider()) as client:
            assert names(client, 24, threads=8) == {"raw": 24}


def test_answers_that_overtake_each_other_leave_the_smallest_quota():
    """One that was sent before another was answered knows nothing newer; a later one does: a plan may be raised."""
    clock = Clock()
    registry = ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1)]}, clock=clock)

    def answered(left, took, reset=1000.0):
        serving = registry.serving("p", "/u")
        with closing(registry.visits(serving, lambda: 10.0)) as visits:
            registry.report(next(visits), Verdict(took=took, quota=Quota(500, left, reset)))
        return registry.snapshot()["p"]["a"]["quota"]["remaining"]

    assert answered(7, 0.5) == 7
    clock.tick(0.1)
    assert answered(9, 0.3) == 7
    assert answered(5, 0.3) == 5
    clock.tick(1.0)
    assert answered(400, 0.3) == 400
    assert answered(1, 0.3, 5.0) == 1
    assert answered(499, 0.3, 86400.0) == 499  # of the next day: it was renewed in between
    assert answered(None, 0.3, 86400.0) is None and answered(3, 0.3, 86400.0) == 3  # not every answer tells it


# --- a timeout of its own ---

@pytest.mark.slow
def test_a_provider_has_a_timeout_of_its_own():
    def slow(connection):
        time.sleep(0.5)
        connection.sendall(http())

    with Upstream(slow) as upstream:
        with client_of(upstream.provider(timeout=0.1), matrix=NO_RETRY) as client:
            for number in range(3):
                with pytest.raises(AllProvidersFailed, match="no answer in time"):
                    client.call("p", "/u", {"q": number})
            assert client.registry.snapshot()["p"]["raw"]["circuit"] == "open"
            assert client.call("p", "/u", {"q": 9}, timeout=2.0).provider == "raw"  # the call's goes before it
        with client_of(upstream.provider(timeout=2.0), timeout=0.1) as client:
            assert client.call("p", "/u").provider == "raw"
            assert 450 < client.registry.snapshot()["p"]["raw"]["latency_ms"] < 2000


@pytest.mark.parametrize("options", [{"timeout": 0}, {"rate": -1}, {"rate": "fast"}])
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ProviderConfig("a", "a.example", 1, **options)
