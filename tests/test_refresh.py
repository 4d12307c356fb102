"""What nobody answered is asked again: in the background, bounded, and without a user's request at risk."""

import logging
import pickle
import threading
import time

import pytest
from conftest import NO_RETRY, Clock, in_threads

from rapidfailover import (
    AllProvidersFailed,
    BadRequest,
    FailoverClient,
    FailoverError,
    NoProvidersAvailable,
    NotFound,
    ProviderRegistry,
    RefreshRequest,
    UnknownPlatform,
)
from rapidfailover.refresh import HandOver, RefreshQueue

USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")
REQUEST = RefreshRequest(*USER)


class Scripted(RefreshQueue):
    """A queue whose thread never runs: tests take its steps, and its errors come from a list."""

    def __init__(self, *outcomes, **fleet):
        self.clock, self.asked, self.outcomes = Clock(), [], list(outcomes)
        super().__init__(self.answer, self.clock, **fleet)

    def answer(self, request):
        self.asked.append(self.clock.now - 1000.0)
        outcome = self.outcomes[min(len(self.asked), len(self.outcomes)) - 1]
        if outcome is not None:
            raise outcome

    def _ensure_thread(self, more=False):
        pass

    def run(self, seconds):
        for _ in range(int(seconds * 2)):
            self.clock.tick(0.5)
            self.step()


def test_it_is_asked_after_a_second_and_forgotten_when_answered():
    queue = Scripted(None)
    queue.put("k", REQUEST)
    assert len(queue) == 1
    queue.run(60)
    assert queue.asked == [1.0] and len(queue) == 0


def test_failures_are_tried_again_with_growing_pauses_and_given_up_after_ten(caplog):
    queue = Scripted(AllProvidersFailed("down"))
    queue.put("k", REQUEST)
    queue.run(3600)
    assert queue.asked == [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0, 255.0, 511.0, 811.0] and len(queue) == 0
    assert "given up after 10 tries" in caplog.text


def test_a_try_that_could_ask_nobody_does_not_count():
    queue = Scripted(NoProvidersAvailable("out", retry_after=40.0))
    queue.put("k", REQUEST)
    queue.run(1000)
    assert queue.asked[:3] == [1.0, 41.0, 81.0] and len(queue.asked) > 10 and len(queue) == 1


def test_what_another_process_is_at_is_left_to_it_for_as_long_as_it_has_the_lease():
    queue = Scripted(None, lease=lambda key, seconds: max(13.0 - (queue.clock.now - 1000.0), 0.0))
    queue.put("k", REQUEST)
    queue.run(60)
    assert queue.asked == [13.0] and len(queue) == 0


def test_what_another_process_was_answered_since_it_was_queued_is_not_asked_again():
    seen = []
    queue = Scripted(None, answered=lambda key, seconds: seen.append((key, seconds)) or True)
    queue.put("k", REQUEST)
    queue.run(60)
    assert queue.asked == [] and len(queue) == 0 and seen == [("k", 1.0)]


def test_a_lease_lasts_beyond_the_pause_and_is_given_back_with_the_answer():
    leased = []
    queue = Scripted(AllProvidersFailed("down"), None, lease=lambda key, seconds: leased.append(seconds) or 0.0)
    queue.put("k", REQUEST)
    queue.run(60)
    assert queue.asked == [1.0, 3.0] and leased == [60.0, 7.0, 60.0, 0.0]


def test_what_another_process_has_handed_over_is_not_handed_over_again():
    handed, left = [], [60.0, 0.0]
    one = HandOver(handed.append, Clock(), lease=lambda key, seconds: left.pop(0))
    assert not one.put("a", REQUEST) and one.put("b", REQUEST) and handed == [REQUEST] and len(one) == 2


@pytest.mark.parametrize("retry_after, pause", [(None, 300), (10 ** 6, 300), (0.001, 1)])
def test_the_pause_for_somebody_to_ask_is_bounded(retry_after, pause):
    queue = Scripted(NoProvidersAvailable("out", retry_after=retry_after), None)
    queue.put("k", REQUEST)
    queue.run(400)
    assert queue.asked == [1.0, 1.0 + pause]


@pytest.mark.parametrize("final", [BadRequest("no"), NotFound("gone"), UnknownPlatform("which")])
def test_what_no_further_try_would_mend_is_given_up_at_once(final):
    queue = Scripted(final)
    queue.put("k", REQUEST)
    queue.run(60)
    assert len(queue.asked) == 1 and len(queue) == 0


def test_a_missing_key_is_a_failure_like_others():
    queue = Scripted(FailoverError("no key"), None)
    queue.put("k", REQUEST)
    queue.run(60)
    assert len(queue.asked) == 2


def test_a_bug_in_one_entry_ends_not_the_others(caplog):
    queue = Scripted(ZeroDivisionError())
    queue.put("k", REQUEST)
    queue.run(3600)
    assert len(queue.asked) == 10 and "met a bug" in caplog.text


def test_one_entry_a_key_and_64_of_a_platform_and_256_at_most(caplog):
    queue = Scripted(None)
    for platform in "abcd":
        for number in range(100):
            queue.put(f"{platform}{number % 64}", REQUEST._replace(platform=platform))
    assert len(queue) == 256 and not caplog.records
    for platform, there in (("a", 64), ("e", 0)):
        assert not queue.put("one more", REQUEST._replace(platform=platform))
        assert f"{platform}: {there} refreshes are queued already" in caplog.text
    assert len(queue) == 256


def test_an_answer_to_somebody_else_ends_the_wait():
    queue = Scripted(None)
    queue.put("k", REQUEST)
    queue.discard("k")
    queue.discard("k")
    queue.run(60)
    assert queue.asked == []


def test_a_closed_queue_takes_and_asks_nothing():
    queue = Scripted(None)
    queue.put("k", REQUEST)
    queue.close()
    queue.put("k2", REQUEST)
    queue.run(60)
    assert queue.asked == [] and len(queue) == 0


def test_an_entry_forgotten_while_it_was_asked_stays_forgotten():
    queue = Scripted(AllProvidersFailed("down"))
    queue._ask = lambda request: (queue.discard("k"), queue.answer(request))
    queue.put("k", REQUEST)
    queue.run(60)
    assert len(queue.asked) == 1 and len(queue) == 0


# --- the thread ---

def refresh_threads():
    return [thread for thread in threading.enumerate() if thread.name == "rapidfailover-refresh"]


def gone(seconds=5.0):
    """Whether the worker ends within that time."""
    until = time.monotonic() + seconds
    while refresh_threads() and time.monotonic() < until:
        time.sleep(0.01)
    return not refresh_threads()


@pytest.mark.slow
def test_the_thread_is_a_daemon_starts_at_first_need_and_ends_when_there_is_nothing_to_do(monkeypatch):
    monkeypatch.setattr("rapidfailover.refresh._FIRST_PAUSE", 0.05)
    asked = threading.Event()
    for ending in refresh_threads():  # of a client that an earlier test has closed
        ending.join(5)
    queue = RefreshQueue(lambda request: asked.set())
    assert refresh_threads() == []
    for _ in range(2):
        queue.put("k", REQUEST)
        assert [thread.daemon for thread in refresh_threads()] == [True]
        assert asked.wait(5)
        assert gone()
        asked.clear()


def test_closing_ends_the_thread_at_once():
    queue = RefreshQueue(lambda request: None)
    queue.put("k", REQUEST)
    queue.close()
    assert gone(0.5)


def test_an_interpreter_that_is_shutting_down_starts_no_thread(monkeypatch):
    def cannot(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    queue = RefreshQueue(lambda request: None)
    monkeypatch.setattr(threading.Thread, "start", cannot)
    queue.put("k", REQUEST)
    assert len(queue) == 0


# --- with the client ---

@pytest.mark.slow
def test_a_refresh_lands_in_the_cache(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)
    assert client.pending_refreshes == 1 and len(client.cache) == 0
    rapidapi.recover()
    until = time.monotonic() + 10
    while client.pending_refreshes and time.monotonic() < until:
        time.sleep(0.02)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    assert client.call(*USER).stale


def test_refresh_false_queues_nothing(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY, refresh=False)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        client.call(*USER)
    assert client.pending_refreshes == 0 and refresh_threads() == []


def test_a_fresh_answer_takes_the_refresh_off_the_queue(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY)
    client.call(*USER)
    rapidapi.fail("tiktok-scraper7", 503)
    for name in TIKTOK[1:]:
        rapidapi.registry.disable("tiktok", name)
    assert client.call(*USER).stale and client.pending_refreshes == 1
    rapidapi.recover()
    client.call(*USER)
    assert client.pending_refreshes == 0


def test_the_request_keeps_what_was_asked_whatever_the_caller_does_with_its_params(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    params = {"unique_id": ["ada"]}
    with pytest.raises(AllProvidersFailed):
        client.call("tiktok", "/user/info", params)
    params["unique_id"].append("bob")
    params["more"] = 1
    entry, = client._refreshes._entries.values()  # what is queued is told by number only
    assert entry.request == ("tiktok", "/user/info", {"unique_id": ["ada"]})


def out(rapidapi, clock, faults=3):
    """A registry with every TikTok provider's circuit open."""
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    for name in TIKTOK:
        for _ in range(faults):
            registry.mark_error("tiktok", name)
    return registry


def test_the_worker_may_try_an_open_circuit_early_and_brings_it_back(rapidapi, make_client):
    clock = Clock()
    registry = out(rapidapi, clock)
    client = make_client(registry, refresh=False)
    with pytest.raises(NoProvidersAvailable) as caught:
        client.refresh_now(REQUEST)
    assert caught.value.retry_after == pytest.approx(2.0)
    clock.tick(2)
    assert rapidapi.requests == []
    assert client.refresh_now(REQUEST).provider == "tiktok-scraper7"
    assert client.call(*USER).provider == "tiktok-scraper7"


def test_an_early_trial_that_fails_leaves_the_cooldown_as_it_was(rapidapi, make_client):
    clock = Clock()
    registry = out(rapidapi, clock)
    client = make_client(registry, refresh=False, matrix=NO_RETRY)
    clock.tick(2)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        client.refresh_now(REQUEST)
    assert len(rapidapi.requests) == 3
    for state in registry.snapshot()["tiktok"].values():
        if state["enabled"]:
            assert (state["error_count"], state["disabled_until"]) == (3, 898.0)


def test_no_early_trial_where_429s_opened_the_circuit_or_it_is_held(rapidapi, make_client):
    clock = Clock()
    registry = ProviderRegistry(rapidapi.providers, clock=clock)
    client = make_client(registry, refresh=False, max_wait=0.0)
    for name in TIKTOK:
        rapidapi.fail(name, 429)
    for _ in range(3):
        with pytest.raises(AllProvidersFailed):
            client.call(*USER)
    rapidapi.recover()
    before = len(rapidapi.requests)
    clock.tick(60)
    with pytest.raises(NoProvidersAvailable) as caught:
        client.refresh_now(REQUEST)
    assert caught.value.retry_after == pytest.approx(840.0) and len(rapidapi.requests) == before


def test_a_refresh_serves_no_copy_and_queues_nothing(rapidapi, make_client):
    client = make_client(matrix=NO_RETRY, fresh_for=60.0)
    client.call(*USER)
    assert client.refresh_now(REQUEST).attempts  # asked, although a fresh copy is there
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    with pytest.raises(AllProvidersFailed):
        client.refresh_now(REQUEST)
    assert client.pending_refreshes == 0


def test_the_end_of_a_refresh_is_told_once(rapidapi, make_client, caplog):
    queue = Scripted(BadRequest("mend it"))
    queue.put("k", REQUEST)
    with caplog.at_level(logging.INFO, "rapidfailover"):
        queue.run(10)
    assert [r.getMessage() for r in caplog.records] == ["tiktok: the refresh of /user/info is given up: mend it"]


# --- refresh=callable ---

def test_a_callable_is_handed_a_plain_request_and_nothing_is_queued_here(rapidapi, make_client):
    handed = []
    client = make_client(matrix=NO_RETRY, refresh=handed.append)
    client.call(*USER)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    assert client.call(*USER).stale
    assert handed == [REQUEST] and refresh_threads() == []
    assert pickle.loads(pickle.dumps(handed[0])) == REQUEST


def test_a_task_that_refreshes_never_queues_itself_again(rapidapi, make_client):
    handed = []
    client = make_client(matrix=NO_RETRY, refresh=handed.append)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    for _ in range(3):
        with pytest.raises(AllProvidersFailed):
            client.refresh_now(REQUEST)
    assert handed == []


def test_a_callable_that_raises_fails_no_call(rapidapi, make_client, caplog):
    client = make_client(matrix=NO_RETRY, refresh=lambda request: 1 / 0)
    client.call(*USER)
    for name in TIKTOK:
        rapidapi.fail(name, 503)
    assert client.call(*USER).stale
    assert "could not be handed over: ZeroDivisionError" in caplog.text


def test_a_key_is_handed_over_once_and_again_after_a_minute_or_an_answer(clock):
    handed = []
    queue = HandOver(handed.append, clock)
    for seconds in (0, 30, 29.9, 0.1, 10):
        clock.tick(seconds)
        queue.put("k", REQUEST)
    assert len(handed) == 2 and len(queue) == 1
    queue.discard("k")
    queue.put("k", REQUEST)
    assert len(handed) == 3
    clock.tick(60)
    assert len(queue) == 0
    queue.close()


def test_what_was_handed_over_is_bounded_too(clock):
    queue = HandOver(lambda request: None, clock)
    for number in range(300):
        queue.put(f"k{number}", REQUEST)
    assert len(queue) == 256


def test_nothing_is_handed_over_after_close():
    handed = []
    queue = HandOver(handed.append)
    queue.close()
    queue.put("key", RefreshRequest("tiktok", "/user/info", {}))
    queue._renew()  # nor in a forked child
    queue.put("key", RefreshRequest("tiktok", "/user/info", {}))
    assert handed == [] and len(queue) == 0


def test_handing_over_more_than_is_remembered_from_many_threads_harms_nobody():
    queue = HandOver(lambda request: None)
    request = RefreshRequest("tiktok", "/user/info", {})

    def work(number):
        for step in range(3000):
            queue.put(f"{number} {step}", request)
            queue.discard(f"{number} {step - 200}")

    in_threads(4, work)
    assert len(queue) <= 257


def test_a_worker_that_was_ended_from_outside_is_started_again(monkeypatch):
    queue = RefreshQueue(lambda request: None, clock=Clock())
    request = RefreshRequest("tiktok", "/user/info", {})
    dead = threading.Thread(target=lambda: None)
    monkeypatch.setattr(queue, "_ensure_thread", lambda: queue._threads.add(dead))
    queue.put("key", request)
    monkeypatch.undo()
    queue.put("key", request)
    assert dead not in queue._threads and all(thread.is_alive() for thread in queue._threads)
    queue.close()


def test_refresh_is_true_false_or_a_callable(rapidapi):
    with pytest.raises(TypeError, match="refresh is True, False or a callable"):
        FailoverClient(rapidapi.registry, refresh=3)
