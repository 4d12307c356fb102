"""The thread that talks to a server which may be slow: stepped by hand, on a clock that tests turn."""

import threading
from contextlib import nullcontext

import pytest

from rapidfailover.link import Job, Link


class Peer:
    """A server that takes ``takes`` seconds of the clock for each tick, or raises."""

    def __init__(self, clock):
        self._clock, self.takes, self.problem, self.ticks = clock, 0.0, None, 0

    def tick(self):
        self.ticks += 1
        self._clock.tick(self.takes)
        if self.problem:
            raise self.problem

    def is_pressed(self):
        return True  # so that a step without a job does not wait

    def hang_up(self):
        pass

    def explain(self, problem):
        return str(problem)


@pytest.fixture
def peer(clock):
    return Peer(clock)


@pytest.fixture
def link(clock, peer, monkeypatch):
    """Without a thread of its own."""
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    return Link(peer, nullcontext, clock)


def test_the_first_job_comes_after_a_look(link, peer):
    seen = []
    link.post(Job(lambda job: seen.append(peer.ticks)))
    assert link.describe() == "not asked yet"
    link.step()
    assert seen == [1] and link.describe() == "shared"


def test_a_look_is_no_older_than_a_second(link, peer, clock):
    link.step()
    clock.tick(0.9)
    link.look(lambda: 0.0)
    link.post(Job(lambda job: None))
    link.step()
    assert peer.ticks == 1
    clock.tick(0.2)
    link.look(lambda: 0.0)
    link.step()
    assert peer.ticks == 2


def test_after_a_slow_look_nobody_waits_for_a_while_that_doubles(link, peer, clock):
    pauses = []
    peer.takes = 0.03
    for _ in range(5):
        link.step()
        began = clock.now
        while link.is_late():
            clock.tick(0.1)
        pauses.append(round(clock.now - began, 1))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert not link.is_late() and link.describe() == "shared"


def test_the_patient_wait_after_a_slow_look(link, peer):
    peer.takes = 0.03
    link.step()
    assert link.is_late() and not link.is_late(patient=True) and link.describe() == "shared, slowly"


def test_who_is_patient_once_for_all_waits_after_slow_looks_too(link, peer, clock):
    """As a command does: its process is gone before what was learnt could be of use to it."""
    link.be_patient(2.0)
    peer.takes = 0.5
    link.step()
    assert not link.is_late() and not link.is_late(patient=True)
    job = Job(lambda job: "told")
    waiting = threading.Event()
    job.over.wait = lambda seconds: waiting.set() or seconds == 2.0 and link.step() is None
    link.do(job)
    assert waiting.is_set() and job.outcome == "told"


def test_what_a_server_that_is_away_does_not_do_is_done_here_and_told_once(link, peer, clock, caplog):
    peer.problem = RuntimeError("no room")
    job = Job(lambda job: "there", lambda: "here")
    link.post(job)
    for _ in range(3):
        link.step()
        clock.tick(20.0)
    assert job.is_done and job.outcome == "here" and job.over.is_open
    assert [record.message for record in caplog.records] == ["the store does not answer (no room): this process goes on with its own memory"]
    assert link.describe() == "own memory for 60 s: no room"
    peer.problem = None
    link.step()
    assert link.describe() == "shared"


def test_that_the_server_is_slow_keeps_nobody_from_being_told_that_it_is_away(link, peer, clock, caplog):
    peer.takes = 0.03
    link.step()
    link.step()
    peer.problem = RuntimeError("no room")
    link.step()
    assert [record.message.partition(" (")[0] for record in caplog.records] == ["the store is slow: no call waits for it", "the store does not answer"]


def test_a_job_that_nobody_wants_any_more_is_done_nowhere(link):
    done = []
    job = Job(lambda job: done.append("there"), lambda: done.append("here"))
    job.is_wanted = False
    link.post(job)
    link.step()
    assert done == [] and not job.is_done and job.over.is_open


def test_of_a_kind_one_is_pending(link):
    done = []
    for number in range(3):
        link.post(Job(lambda job, number=number: done.append(number), kind="copies"))
        link.post(Job(lambda job, number=number: done.append(number), kind="another" if number == 1 else "copies"))
    assert link.is_pending("copies") and not link.is_pending("a third")
    link.step()
    link.step()
    assert done == [0, 1] and not link.is_pending("copies")
    link.post(Job(lambda job: done.append("again"), kind="copies"))
    link.step()
    assert done == [0, 1, "again"]


def test_a_question_is_dropped_once_nobody_waits_for_the_answer_and_a_change_is_not(link):
    done = []
    link.do(Job(lambda job: done.append("question"), is_question=True), left=0.0)
    link.do(Job(lambda job: done.append("change"), lambda: None), left=0.0)
    link.step()
    link.step()
    assert done == ["change"]


def test_a_server_that_is_silent_for_a_second_is_away_and_what_waits_for_it_is_done_here(link, peer, clock, caplog):
    link.step()
    waiting = Job(lambda job: "there", lambda: "here")
    seen = []

    def work(job):
        link.post(waiting)
        clock.tick(0.9)
        seen.append(link.is_away())
        clock.tick(0.2)
        seen.append(link.is_away())  # of a thread that calls meanwhile
        seen.append((job.outcome, waiting.outcome, waiting.over.is_open, link._jobs.qsize()))
        return "there"

    stuck = Job(work, lambda: "here")
    link.do(stuck, left=0.0)
    link.step()
    assert seen == [False, True, ("here", "here", True, 0)] and stuck.outcome == "here"
    assert link.describe() == "own memory for 0 s: no answer for 1 s"
    assert [record.message for record in caplog.records] == ["the store does not answer (no answer for 1 s): this process goes on with its own memory"]
    link.step()
    assert link.describe() == "shared"
