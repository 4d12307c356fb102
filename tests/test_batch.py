"""Many questions, over real sockets: an Answer for each as it is done."""

import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import NO_RETRY
from conftest import Upstream as RawUpstream
from conftest import forget_default_client, http
from local_host import LocalHost

import rapidfailover
from rapidfailover import (
    AllProvidersFailed,
    AuthenticationFailed,
    BadRequest,
    InvalidEndpoint,
    MissingAPIKey,
    NoProvidersAvailable,
    NotFound,
    ProviderRegistry,
    Route,
    UnknownPlatform,
)

ROOT = Path(__file__).parent.parent


class Upstream(LocalHost):
    """Answers with the name that was asked, unless ``statuses`` says otherwise for it; counts who is under way."""

    def __init__(self):
        super().__init__(self._answer)
        self.statuses = {}
        self.seconds = 0.0
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def _answer(self, path, params):
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            time.sleep(self.seconds)
            status = self.statuses.get(params["name"], 200)
            return status, {"name": params["name"]} if status == 200 else {"message": "no"}
        finally:
            with self._lock:
                self.under_way -= 1

    def names(self):
        return [params["name"] for params in self.asked]


@pytest.fixture
def upstream():
    with Upstream() as host:
        yield host


@pytest.fixture
def client(upstream, make_client):
    return make_client(ProviderRegistry({"own": [upstream.provider()]}), matrix=NO_RETRY, max_wait=0.0, refresh=False)


def named(names):
    return [{"name": str(name)} for name in names]


def batch_threads():
    return [thread for thread in threading.enumerate() if thread.name.endswith("-batch")]


def eventually(claim, seconds=10.0):
    until = time.monotonic() + seconds
    while not claim() and time.monotonic() < until:
        time.sleep(0.01)
    return claim()


def test_an_answer_for_each_with_what_was_asked(client, upstream):
    answers = list(client.batch("own", "/x", named(range(50))))
    assert all(answer.error is None and answer.result.data == answer.params for answer in answers)
    assert sorted(upstream.names(), key=int) == [str(n) for n in range(50)] == sorted((a.params["name"] for a in answers), key=int)


def test_threads_are_how_many_are_asked_at_a_time(client, upstream):
    upstream.seconds = 0.05
    assert len(list(client.batch("own", "/x", named(range(12)), threads=3))) == 12
    assert upstream.most == 3


def test_an_answer_comes_as_it_is_done(client):
    others, asked = threading.Event(), []

    def answer(path, params):
        if params["name"] == "slow":
            assert others.wait(20)
        return 200, params

    with LocalHost(answer) as host:
        client.registry.add("other", host.provider("other"))
        for answer in client.batch("other", "/x", named(["slow", 1, 2, 3]), threads=2):
            asked.append(answer.params["name"])
            if len(asked) == 2:
                others.set()
    assert asked[:2] == ["1", "2"] and sorted(asked[2:]) == ["3", "slow"]


def test_no_more_is_taken_than_is_needed(client):
    taken = []

    def endless():
        for n in itertools.count():
            taken.append(n)
            yield {"name": str(n)}

    answers = client.batch("own", "/x", endless(), threads=4)
    assert taken == []
    for number in range(1, 30):
        next(answers)
        assert len(taken) <= number + 4
    answers.close()


def test_questions_are_taken_in_the_callers_thread(client):
    """A cursor of a database may be used in no other."""
    def questions():
        for n in range(20):
            assert threading.current_thread() is threading.main_thread()
            yield {"name": str(n)}

    assert len(list(client.batch("own", "/x", questions()))) == 20


def test_duplicates_are_asked_and_answered_once(client, upstream):
    questions = [{"name": "a"}, {"name": "b"}, {"name": "a", "of": None}, {"name": "b"}] * 20
    assert len(list(client.batch("own", "/x", questions, threads=2))) == 2 == len(upstream.asked)


def test_a_dict_that_is_used_again_and_again_is_as_good(client):
    def questions():
        question = {}
        for n in range(20):
            question["name"] = str(n)
            yield question

    assert {answer.result.data["name"] for answer in client.batch("own", "/x", questions())} == set(map(str, range(20)))


def test_one_bad_name_harms_no_other(client, upstream):
    upstream.statuses.update(dead=404, odd=400, private=403)
    answers = {answer.params["name"]: answer for answer in client.batch("own", "/x", named(["a", "dead", "odd", "private", "b"]))}
    assert isinstance(answers["dead"].error, NotFound) and isinstance(answers["odd"].error, BadRequest)
    assert type(answers["private"].error) is AllProvidersFailed and answers["dead"].result is None
    assert answers["a"].result.data == {"name": "a"} and answers["b"].result.data == {"name": "b"}
    assert len(upstream.asked) == 5  # what was said of an item is not asked again


def test_what_cannot_be_asked_at_all_is_an_answer_too(client, upstream):
    questions = [None, {"name": {}}, {"name": "\ud800"}, "ada", 7, {"name": "b"}]
    answers = list(client.batch("own", "/y", questions[1:]))
    assert [answer.params for answer in answers if answer.error] == questions[1:-1]
    assert all(isinstance(answer.error, BadRequest) for answer in answers if answer.error)
    assert upstream.names() == ["b"]


@pytest.mark.slow
def test_a_hold_is_waited_for_and_every_name_is_asked_once(client, upstream):
    client.registry.hold("own", "own", 0.4)
    answers = list(client.batch("own", "/x", named(range(100)), patience=5))
    assert all(answer.result for answer in answers) and len(answers) == 100 == len(upstream.asked)


def test_a_hold_beyond_the_patience_is_an_error_of_each(client, upstream):
    client.registry.hold("own", "own", 60)
    answers = list(client.batch("own", "/x", named(range(20)), patience=5))
    assert len(answers) == 20 and upstream.asked == []
    assert all(isinstance(answer.error, NoProvidersAvailable) and 50 < answer.error.retry_after <= 60 for answer in answers)


@pytest.mark.slow
def test_the_plans_pace_is_kept_and_every_name_answered(upstream, make_client):
    client = make_client(ProviderRegistry({"own": [upstream.provider(rate=50)]}), max_wait=0.05, refresh=False)
    began = time.monotonic()
    answers = list(client.batch("own", "/x", named(range(40))))
    assert all(answer.result for answer in answers) and time.monotonic() - began >= 39 / 50
    assert len(upstream.asked) == 40


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 8])
def test_every_living_name_is_answered_through_an_outage_of_everybody(rapidapi, make_client, threads):
    """The first calls of an outage cannot know when to come again; the circuits open at the third."""
    client = make_client(matrix=NO_RETRY, max_wait=0.0, refresh=False, max_stale=0)
    names = [f"name{n}" for n in range(120)]

    def questions():
        for n, name in enumerate(names):
            if n == 50:
                for provider in rapidapi.providers["tiktok"]:
                    rapidapi.fail(provider.name, 503)
                threading.Timer(1.5, rapidapi.recover).start()
            yield {"unique_id": name}

    answers = list(client.batch("tiktok", "/user/info", questions(), threads=threads, patience=10))
    assert sorted(answer.result.data["data"]["user"]["uniqueId"] for answer in answers) == sorted(names)


def test_an_outage_that_does_not_end_is_given_up(client, upstream):
    upstream.statuses = {str(n): 503 for n in range(10)}
    began = time.monotonic()
    answers = list(client.batch("own", "/x", named(range(10)), patience=0.2))
    assert all(isinstance(answer.error, AllProvidersFailed) for answer in answers) and len(answers) == 10
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_name_that_is_down_alone_is_tried_twice_more_and_keeps_nobody_waiting(client, upstream):
    upstream.statuses["ill"] = 500
    answers = list(client.batch("own", "/x", named(["ill", *range(30)]), threads=1))
    assert isinstance(answers[-1].error, AllProvidersFailed) and answers[-1].params == {"name": "ill"}
    assert all(answer.result for answer in answers[:-1]) and upstream.names().count("ill") == 3


@pytest.mark.slow
@pytest.mark.parametrize("ill", [1, 5])
def test_the_last_names_that_failed_while_others_were_answered_are_waited_for_no_longer_than_the_patience(make_client, upstream, ill):
    """Three of them open the circuit; the next trial would be due in 2 s, which is within the patience, and so on."""
    client = make_client(ProviderRegistry({"own": [upstream.provider()]}), matrix=NO_RETRY, max_wait=0.0, refresh=False)
    upstream.statuses = {f"ill{number}": 500 for number in range(ill)}
    began = time.monotonic()
    answers = list(client.batch("own", "/x", named([*upstream.statuses, *range(30)]), patience=4))
    assert len(answers) == 30 + ill and sum(answer.result is not None for answer in answers) == 30
    assert time.monotonic() - began < 15  # ten times the patience is 40


@pytest.mark.slow
def test_an_outage_at_the_end_that_is_shorter_than_the_patience_loses_no_living_name(make_client):
    lock, answered, down_until = threading.Lock(), [], []

    def answer(path, params):
        time.sleep(0.02 + int(params["name"]) % 7 * 0.03)  # so that some are under way
        with lock:
            if len(answered) == 23 and not down_until:
                down_until.append(time.monotonic() + 3.5)
            if down_until and time.monotonic() < down_until[0]:
                return 503, {"message": "down"}
            answered.append(params["name"])
            return 200, {"name": params["name"]}

    with LocalHost(answer) as host:
        client = make_client(ProviderRegistry({"own": [host.provider()]}), matrix=NO_RETRY, refresh=False)
        assert all(answer.result for answer in client.batch("own", "/x", named(range(30)), patience=4))


class WithLock(str):
    """What pickle, and with it deepcopy, cannot copy."""

    def __init__(self, *args):
        self.lock = threading.Lock()


class TooDeep(dict):
    def __deepcopy__(self, memo):
        raise RecursionError("too deep")


def test_what_cannot_be_copied_is_an_answer_and_harms_no_other(make_client):
    with RawUpstream(lambda connection: connection.sendall(http())) as raw:
        provider = replace(raw.provider("search"), routes={"/x": Route("/x", method="POST", json=dict)})
        client = make_client(ProviderRegistry({"own": [provider]}), refresh=False)
        answers = list(client.batch("own", "/x", [{"name": TooDeep(a=1)}, {"name": WithLock("ada")}, {"name": "bob"}]))
        assert sorted((answer.params["name"] if answer.error is None else type(answer.error).__name__) for answer in answers) == [
            "BadRequest", "ada", "bob"]


def test_params_nest_where_the_call_takes_them(make_client):
    with RawUpstream(lambda connection: connection.sendall(http(b'{"found": 1}'))) as raw:
        provider = replace(raw.provider("search"), routes={"/x": Route("/x", method="POST", json=dict)})
        client = make_client(ProviderRegistry({"own": [provider]}), refresh=False)
        answer, = client.batch("own", "/x", [{"filters": {"title": ["cto"]}}])
        assert answer.result.data == {"found": 1} and answer.params == {"filters": {"title": ["cto"]}}
        assert b"Content-Length: 31" in raw.received[-1]  # {"filters": {"title": ["cto"]}}


def test_without_patience_nothing_is_asked_again(client, upstream):
    upstream.statuses["ill"] = 500
    answer, = client.batch("own", "/x", named(["ill"]), patience=0)
    assert answer.error and upstream.names() == ["ill"]


# --- what no item would survive ---

def test_a_refused_key_ends_it_by_raising(client, upstream):
    upstream.statuses["7"] = 401
    with pytest.raises(AuthenticationFailed):
        list(client.batch("own", "/x", named(range(1000)), threads=2))
    assert len(upstream.asked) < 20 and eventually(lambda: not batch_threads())


def test_a_missing_key_ends_it(make_client, monkeypatch):
    """A host of RapidAPI's own wants one."""
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    with pytest.raises(MissingAPIKey):
        list(make_client(ProviderRegistry(), api_key=None, refresh=False).batch("tiktok", "/user/info", [{"unique_id": "a"}]))


@pytest.mark.slow
@pytest.mark.parametrize("error, arguments, options", [
    (UnknownPlatform, ("myspace", "/x", []), {}), (InvalidEndpoint, ("own", "x", []), {}),
    (TypeError, ("own", "/x", {"name": "a"}), {}), (TypeError, ("own", "/x", "abc"), {}), (TypeError, ("own", "/x", 7), {}),
    (ValueError, ("own", "/x", []), {"threads": 0}), (ValueError, ("own", "/x", []), {"threads": True}),
    (ValueError, ("own", "/x", []), {"patience": -1}), (ValueError, ("own", "/x", []), {"timeout": 0}),
    (ValueError, ("own", "/x", []), {"deadline": float("inf")})])
def test_what_makes_no_sense_is_refused_at_once(client, error, arguments, options):
    with pytest.raises(error):
        client.batch(*arguments, **options)


def test_what_the_questions_raise_comes_after_the_answers_to_those_before(client):
    def questions():
        yield from named(range(5))
        raise RuntimeError("the file is torn")

    had = []
    with pytest.raises(RuntimeError, match="torn"):
        had.extend(client.batch("own", "/x", questions()))
    assert len(had) == 5


# --- its end ---

@pytest.mark.slow
@pytest.mark.parametrize("drop", ["close", "collect"])
def test_the_threads_end_with_the_iterator(client, upstream, drop):
    answers = client.batch("own", "/x", ({"name": str(n)} for n in itertools.count()))
    next(answers)
    assert batch_threads()
    if drop == "close":
        answers.close()
    del answers
    gc.collect()
    assert eventually(lambda: not batch_threads())
    asked = len(upstream.asked)
    time.sleep(0.05)
    assert len(upstream.asked) == asked


def test_the_threads_end_with_the_last_answer(client):
    list(client.batch("own", "/x", named(range(10))))
    assert eventually(lambda: not batch_threads())


@pytest.mark.slow
def test_ctrl_c_ends_the_process_at_once_while_all_threads_wait(upstream):
    upstream.seconds = 30
    code = ("import sys\nfrom rapidfailover import *\n"
            "registry = ProviderRegistry({'own': [ProviderConfig('own', 'own.p.rapidapi.com', 1, base_url=sys.argv[1])]})\n"
            "client = FailoverClient(registry, api_key='not-a-real-key', timeout=60, deadline=60)\n"
            "list(client.batch('own', '/x', [{'name': str(n)} for n in range(100)]))\n")
    with subprocess.Popen([sys.executable, "-c", code, upstream.url], cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        try:
            assert eventually(lambda: len(upstream.asked) == 3, 30)  # as many as may ask one that has yet to show that it answers
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1] and time.monotonic() - began < 10
        finally:
            process.kill()


MEMORY = """
import itertools, sys
from rapidfailover.batch import answers
import resource
def mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2 ** 20 if sys.platform == "darwin" else 2 ** 10)
before = mib()
for n, answer in enumerate(answers(lambda params: None, ({"name": str(n)} for n in range(150_000)), threads=2)):
    pass
print(n, mib() - before)
"""


@pytest.mark.slow
def test_a_long_iterable_costs_no_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    count, grown = done.stdout.split()
    assert int(count) == 149_999 and float(grown) < 25


def test_the_module_has_it_on_the_default_client(client, upstream):
    rapidfailover.configure(registry=client.registry, api_key="not-a-real-key")
    try:
        answer, = rapidfailover.batch("own", "/x", named(["a"]))
        assert isinstance(answer, rapidfailover.Answer) and answer.result.data == {"name": "a"}
    finally:
        forget_default_client()


@pytest.mark.slow
def test_the_functions_stay_what_they_are_though_there_are_modules_of_their_names():
    code = "import rapidfailover.batch, rapidfailover.pages, rapidfailover.client; print(rapidfailover.batch.__module__, rapidfailover.pages.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["rapidfailover.api"] * 2, done.stderr
