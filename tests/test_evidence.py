"""What a fault counts against, for whom a circuit is open, and who tries it before its time."""

import errno
import socket
import threading
import time
from dataclasses import replace

import pytest
from conftest import KEY, NO_RETRY, Clock, Upstream, http, in_threads
from workers import until

from rapidfailover import (
    AllProvidersFailed,
    FailoverClient,
    FailoverError,
    NoProvidersAvailable,
    ProviderConfig,
    ProviderRegistry,
)

NAMES = ("first", "second", "third")


class Host:
    """A provider that answers each path as ``answers`` says now: a status, or seconds that it takes for a 200."""

    def __init__(self):
        self.answers, self.asked = {}, []
        self.upstream = Upstream(self.answer)

    def close(self):
        if self.upstream is not None:
            self.upstream.__exit__()
            self.upstream = None

    def answer(self, connection):
        target = self.upstream.received[-1].split(b" ")[1].decode()
        path, _, query = target.partition("?")
        self.asked.append(target)
        how = self.answers.get(query, self.answers.get(path, 200))
        if isinstance(how, float):
            time.sleep(how)
            how = 200
        connection.sendall(http(b'{"path": "%s"}' % target.encode(), f"{how} Somehow"))


@pytest.fixture
def hosts():
    made = {}

    def make(name="first"):
        return made.setdefault(name, Host())

    yield make
    for host in made.values():
        host.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(hosts, clock):
    made = []

    def make(*names, registry=None, **options):
        providers = [hosts(name).upstream.provider(name, number) for number, name in enumerate(names or ("first",))]
        made.append(FailoverClient(ProviderRegistry({"p": providers}, clock=clock, **(registry or {})),
                                   **{"api_key": KEY, "refresh": False, "matrix": NO_RETRY, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ask(client, path="/u", q="1", **options):
    """The provider that answered, or the error's class."""
    try:
        return client.call("p", path, {"q": q}, **options).provider
    except FailoverError as error:
        return type(error)


def state(client, name="first"):
    return client.registry.snapshot()["p"][name]


# --- what it is evidence against ---

def test_a_broken_endpoint_takes_no_other_along(client, hosts):
    each = client("first", "second")
    hosts().answers["/posts"] = 500
    for number in range(3):
        assert ask(each, "/posts", str(number)) == "second"
    assert ask(each, "/profile") == "first"
    asked = len(hosts().asked)
    assert ask(each, "/posts", "9") == "second" and len(hosts().asked) == asked
    told = state(each)
    assert told["circuit"] == "closed" and told["endpoints"]["/posts"]["circuit"] == "open"
    assert set(told["endpoints"]) == {"/posts"}
    assert [one.name for one in each.registry.get_available_providers("p", "/posts")] == ["second"]
    assert [one.name for one in each.registry.get_available_providers("p", "/profile")] == ["first", "second"]
    assert [one.name for one in each.registry.get_available_providers("p")] == ["first", "second"]


def test_a_provider_is_out_where_none_of_its_endpoints_in_use_can_be_asked(client, hosts):
    each = client("first", "second")
    hosts().answers["/u"] = 500
    for number in range(3):
        ask(each, q=str(number))
    told = state(each)
    assert (told["circuit"], told["error_count"], told["disabled_until"]) == ("open", 3, 900.0)
    assert [one.name for one in each.registry.get_available_providers("p")] == ["second"]


def test_no_connection_is_evidence_against_the_provider_whatever_was_asked(client, hosts):
    each = client("first", "second")
    hosts().close()
    for path in ("/a", "/b", "/c"):
        assert ask(each, path) == "second"
    assert state(each)["circuit"] == "open" and state(each)["endpoints"] == {}
    assert [one.name for one in each.registry.get_available_providers("p", "/d")] == ["second"]


@pytest.mark.parametrize("trouble", [
    OSError(errno.ENETUNREACH, "Network is unreachable"), OSError(errno.EMFILE, "Too many open files"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), TypeError("somebody's patch")], ids=repr)
def test_our_own_trouble_is_evidence_against_nobody_and_says_so(client, monkeypatch, trouble):
    def patched(*args, **kwargs):
        raise trouble

    each = client()
    monkeypatch.setattr(socket, "getaddrinfo", patched)
    for _ in range(4):
        with pytest.raises(AllProvidersFailed, match="our side"):
            each.call("p", "/u")
    assert state(each)["error_count"] == 0 and state(each)["circuit"] == "closed"


def test_a_proxy_that_refuses_is_our_own_trouble(client, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
    registry = ProviderRegistry({"p": [ProviderConfig("first", "first.example", 1)]})
    with FailoverClient(registry, api_key=KEY, refresh=False, matrix=NO_RETRY) as each:
        with pytest.raises(AllProvidersFailed, match="our side: "):
            each.call("p", "/u")
        assert state(each)["error_count"] == 0


@pytest.mark.parametrize("proxy", ["nonsense://x", "http://host:notaport", "http://", "://", "socks9://127.0.0.1:1"])
def test_a_proxy_that_is_none_is_our_own_trouble(monkeypatch, proxy):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy)
    registry = ProviderRegistry({"p": [ProviderConfig("first", "first.example", 1)]})
    with FailoverClient(registry, api_key=KEY, refresh=False, matrix=NO_RETRY) as each:
        with pytest.raises(AllProvidersFailed, match="our side: "):
            each.call("p", "/u")
        assert state(each)["error_count"] == 0


def test_a_ca_bundle_that_is_not_there_is_our_own_trouble(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")
    registry = ProviderRegistry({"p": [ProviderConfig("first", "first.example", 1)]})
    with FailoverClient(registry, api_key=KEY, refresh=False, matrix=NO_RETRY) as each:
        with pytest.raises(AllProvidersFailed, match="our side: "):
            each.call("p", "/u")
        assert state(each)["error_count"] == 0


def test_of_endpoints_that_are_well_64_are_remembered(client, hosts):
    each = client()
    hosts().answers["/broken"] = 500
    assert ask(each, "/broken") is AllProvidersFailed
    for number in range(100):
        ask(each, f"/e{number}")
    member, = each.registry._platforms["p"].values()  # how much is kept is told nowhere
    assert len(member.endpoints) == 64 and set(state(each)["endpoints"]) == {"/broken"}


def test_marks_and_resets_are_for_the_whole_provider(client, hosts):
    each = client()
    hosts().answers["/u"] = 500
    for act in (each.registry.mark_success, each.registry.reset):
        for number in range(3):
            ask(each, q=str(number))
        assert state(each)["circuit"] == "open"
        act("p", "first")
        assert (state(each)["circuit"], state(each)["error_count"]) == ("closed", 0)


# --- timeouts ---

@pytest.mark.slow
@pytest.mark.parametrize("hurry", [{"timeout": 0.1}, {"deadline": 0.1}])
def test_impatient_calls_take_no_provider_from_patient_ones(client, hosts, hurry):
    each = client()
    hosts().answers["/u"] = 0.3
    for number in range(3):
        assert ask(each, q=str(number), **hurry) is AllProvidersFailed
    asked = len(hosts().asked)
    assert ask(each, q="8", **hurry) is AllProvidersFailed  # the one trial of a call that has nobody else
    assert ask(each, q="8", **hurry) is NoProvidersAvailable and len(hosts().asked) == asked + 1  # for them it is open
    assert ask(each, q="9") == "first"  # and for nobody else
    assert state(each)["circuit"] == "open"  # the answer took longer than the impatient ones give
    hosts().answers["/u"] = 200
    assert ask(each, q="10") == "first" and state(each)["circuit"] == "closed"


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, 60.0], ids=["the client's timeout", "a timeout of its own"])
def test_one_that_hangs_is_left_alone_too_where_the_deadline_leaves_it_less_than_its_timeout(hosts, own):
    hosts().answers["/u"] = 5.0
    first, second = (hosts(name).upstream.provider(name, number) for number, name in enumerate(NAMES[:2]))
    with FailoverClient(ProviderRegistry({"p": [replace(first, timeout=own), second]}),
                        api_key=KEY, refresh=False, matrix=NO_RETRY, deadline=1.0) as each:
        assert [ask(each, q=str(number)) for number in range(6)] == ["second"] * 6
        assert len(hosts().asked) == 3
        hosts("second").answers["/u"] = 5.0
        outcomes = []
        until(lambda: outcomes.append(ask(each, q=f"1{len(outcomes)}")) or outcomes[-1] is NoProvidersAvailable)
        assert set(outcomes[:-1]) == {AllProvidersFailed} and len(outcomes) <= 15
        with pytest.raises(NoProvidersAvailable) as caught:
            each.call("p", "/u", {"q": "last"})
        assert caught.value.retry_after > 0  # both are out for calls of so little time


# --- nobody else ---

def test_three_views_of_one_bad_name_close_the_platform_to_nobody(client, hosts):
    each = client(*NAMES)
    for name in NAMES:
        hosts(name).answers["q=bad"] = 500
    for _ in range(3):
        assert ask(each, q="bad") is AllProvidersFailed
    assert ask(each, q="good") == "first" and state(each)["circuit"] == "closed"


def test_in_an_outage_a_request_goes_out_every_few_seconds_whoever_calls(client, hosts, clock):
    each = client()
    hosts().answers["/u"] = 503
    for number in range(3):
        ask(each, q=str(number))
    asked = len(hosts().asked)
    for second in range(60):
        for number in range(20):
            ask(each, q=f"{second} {number}")
        clock.tick(1)
    assert 4 <= len(hosts().asked) - asked <= 7  # at once, then after 4, 8, 16, 32 seconds
    assert state(each)["error_count"] == 3  # and the cooldown is as it was


@pytest.mark.slow
def test_of_many_at_once_one_tries(client, hosts):
    each = client(coalesce=False)
    for number in range(3):
        each.registry.mark_error("p", "first")
    hosts().answers["/u"] = 0.5
    outcomes = []
    in_threads(8, lambda number: outcomes.append(ask(each, q=str(number))))
    assert sorted(map(str, outcomes)) == sorted(map(str, ["first"] + [NoProvidersAvailable] * 7)) and len(hosts().asked) == 1


def test_a_copy_comes_before_a_trial(client, hosts):
    each = client()
    assert ask(each) == "first"
    for _ in range(3):
        each.registry.mark_error("p", "first")
    assert each.call("p", "/u", {"q": "1"}).stale and len(hosts().asked) == 1


@pytest.mark.parametrize("why", ["held", "429s opened it", "no early trials"])
def test_nobody_tries_where_it_would_only_harm(client, hosts, why):
    each = client(registry={"early_trials": why != "no early trials"}, max_wait=0.0)
    if why == "held":
        each.registry.hold("p", "first", 60)
    elif why == "429s opened it":
        hosts().answers["/u"] = 429
        for number in range(3):
            ask(each, q=str(number))
    else:
        for _ in range(3):
            each.registry.mark_error("p", "first")
    asked = len(hosts().asked)
    assert ask(each, q="9") is NoProvidersAvailable and len(hosts().asked) == asked


# --- in the background ---

@pytest.mark.slow
def test_a_primary_that_is_back_is_in_use_again_while_another_answers(client, hosts, clock):
    each = client("first", "second", refresh=True)
    hosts().answers["/u"] = 503
    for number in range(3):
        assert ask(each, q=str(number)) == "second"
    assert state(each)["circuit"] == "open"
    hosts().answers.clear()
    clock.tick(2.0)
    assert ask(each, q="living") == "second"  # no user's request is the test
    until(lambda: state(each)["circuit"] == "closed")
    assert ask(each, q="next") == "first"


@pytest.mark.slow
def test_what_the_worker_meets_at_a_closed_circuit_counts_nowhere(client, hosts):
    each = client(*NAMES, refresh=True)
    for name in NAMES:
        hosts(name).answers["q=bad"] = 500
    assert ask(each, q="bad") is AllProvidersFailed
    until(lambda: len(hosts("third").asked) >= 3, 20.0)  # the call's, and two of the worker's
    assert [state(each, name)["error_count"] for name in NAMES] == [1, 1, 1]


@pytest.mark.slow
def test_a_slow_refresh_holds_up_no_other_platform():
    from rapidfailover import RefreshRequest
    from rapidfailover.refresh import RefreshQueue
    release, asked = threading.Event(), []

    def answer(request):
        asked.append(request.platform)
        if request.platform == "slow":
            release.wait(20)

    queue = RefreshQueue(answer)
    for number in range(64):
        queue.put(f"slow {number}", RefreshRequest("slow", "/u", {}))
    queue.put("other", RefreshRequest("other", "/u", {}))
    until(lambda: "other" in asked)
    assert asked.count("slow") <= 2
    release.set()
    queue.close()
