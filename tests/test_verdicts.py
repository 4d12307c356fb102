"""What an attempt came to, and what that changes in both circuits: a table."""

import pytest

from rapidfailover.circuit import Asker, Circuit
from rapidfailover.verdicts import ENDPOINT, NOBODY, PROVIDER, Verdict, judge_endpoint, judge_provider


def closed():
    return Circuit(error_threshold=1)


def opened():
    circuit = Circuit(error_threshold=1)
    circuit.fault(0.0, question=1)
    return circuit


GOOD, PAGE_BROKEN, HOST_BROKEN, OURS = Verdict(), Verdict(fault=ENDPOINT), Verdict(fault=PROVIDER), Verdict(fault=NOBODY)
LIMIT = Verdict(fault=PROVIDER, rate_limited=True, hold=30.0)
BRIEF_LIMIT = LIMIT._replace(hold=0.5)
UNTOLD_LIMIT = Verdict(fault=PROVIDER, rate_limited=True)
LATER = Verdict(hold=30.0)  # a quota, a listing without a subscription
BROKEN_AND_LATER = Verdict(fault=PROVIDER, hold=30.0)  # a 503 that says for how long


@pytest.mark.parametrize("verdict, provider, endpoint", [
    (GOOD, None, None),
    (PAGE_BROKEN, None, "trip"),
    (HOST_BROKEN, "trip", None),
    (OURS, None, None),
    (LIMIT, "hold", None),
    (BRIEF_LIMIT, "trip", None),
    (UNTOLD_LIMIT, "trip", None),
    (LATER, "hold", None),
    (LATER._replace(hold=0.5), None, None),
    (BROKEN_AND_LATER, "trip", None),
    (LIMIT._replace(hold=0.5, fault=None), None, None),  # a matrix in which a 429 is no fault
    # nobody had asked: at closed circuits it counts nowhere, whatever the answer was
    (PAGE_BROKEN._replace(background=True), None, None),
    (HOST_BROKEN._replace(background=True), None, None),
    (UNTOLD_LIMIT._replace(background=True), None, None),
    (LIMIT._replace(background=True), "hold", None),
])
def test_at_closed_circuits(verdict, provider, endpoint):
    own, its = closed(), closed()
    assert judge_provider(own, 0.0, own.admit(0.0, 25.0), verdict) == provider
    assert judge_endpoint(its, 0.0, its.admit(0.0, 25.0), verdict) == endpoint
    assert (own.open_until is not None, its.open_until is not None) == (provider == "trip", endpoint == "trip")
    assert own.hold_until == (None if verdict.hold is None else verdict.hold) and its.hold_until is None
    assert own.rate_limited == (provider == "trip" and verdict.rate_limited)


def test_what_nobody_asked_for_neither_counts_nor_clears_at_a_closed_circuit():
    own, its = Circuit(), Circuit()
    for circuit in (own, its):
        circuit.fault(0.0)
    for verdict in (PAGE_BROKEN, HOST_BROKEN, UNTOLD_LIMIT, LIMIT):
        for circuit, judge in ((own, judge_provider), (its, judge_endpoint)):
            judge(circuit, 0.0, circuit.admit(0.0, 25.0), verdict._replace(background=True))
            assert (circuit.error_count, circuit.limits) == (1, 0)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("verdict, own_fails, its_fails", [
    (PAGE_BROKEN, None, True), (HOST_BROKEN, True, None), (OURS, None, None), (UNTOLD_LIMIT, True, None),
])
def test_a_trial_that_fails_is_over_and_an_early_one_has_failed_for_both(verdict, own_fails, its_fails, early, background):
    """``None``: the trial was about something else. It is free again; one before its time is put off all the same, as it showed nothing."""
    now, asker = (10.0, Asker(early=True)) if early else (300.0, Asker())
    for judge, fails in ((judge_provider, own_fails), (judge_endpoint, its_fails)):
        circuit = opened()
        assert judge(circuit, now, circuit.admit(now, 25.0, asker), verdict._replace(background=background)) == (
            "trip" if fails and not early else None)
        assert circuit.trial_until is None and circuit.error_count == (2 if fails and not early else 1)
        if early:
            assert circuit.early_pause == (2.0 if verdict.fault == NOBODY else 4.0)
            assert circuit.early_at == (2.0 if verdict.fault == NOBODY else 14.0)


@pytest.mark.parametrize("now, asker", [(10.0, Asker(early=True)), (300.0, Asker())])
def test_an_answer_closes_both(now, asker):
    for judge in (judge_provider, judge_endpoint):
        circuit = opened()
        assert judge(circuit, now, circuit.admit(now, 25.0, asker), GOOD) == "recovery"
        assert circuit.is_healthy()


@pytest.mark.parametrize("verdict", [LIMIT, LATER, BROKEN_AND_LATER._replace(fault=NOBODY)])
def test_a_trial_that_is_told_to_come_later_is_free_again(verdict):
    for judge in (judge_provider, judge_endpoint):
        circuit = opened()
        circuit.error_threshold = 9  # a second 429 is not the subject
        judge(circuit, 300.0, circuit.admit(300.0, 25.0), verdict)
        assert circuit.trial_until is None and circuit.error_count == 1


@pytest.mark.parametrize("verdict", [LIMIT, LATER])
def test_a_hold_runs_from_when_it_was_told_and_not_from_when_the_attempt_was_over(verdict):
    circuit = closed()
    judge_provider(circuit, 10.0, circuit.admit(10.0, 25.0), verdict._replace(told=8.0))
    assert circuit.hold_until == 32.0


def test_a_hold_is_told_once_and_not_where_it_is_under_a_second():
    circuit = closed()
    tickets = [circuit.admit(0.0, 25.0) for _ in range(2)]
    assert [judge_provider(circuit, 0.0, ticket, LIMIT) for ticket in tickets] == ["hold", None]
    circuit = closed()
    assert judge_provider(circuit, 0.0, circuit.admit(0.0, 25.0), LATER._replace(hold=1.0)) == "hold"


def test_a_timeout_tells_what_it_was_given_and_whose_question_it_was():
    own, its = closed(), closed()
    verdict = HOST_BROKEN._replace(given=1.0, question=5)
    judge_provider(own, 0.0, own.admit(0.0, 25.0), verdict)
    assert (own.patience, own.opened_by) == (1.0, 5)
    judge_endpoint(its, 0.0, its.admit(0.0, 25.0), PAGE_BROKEN._replace(question=6))
    assert its.opened_by == 6


def test_a_slow_answer_to_a_patient_call_leaves_it_open_for_the_hasty():
    for judge in (judge_provider, judge_endpoint):
        circuit = Circuit(error_threshold=1)
        circuit.fault(0.0, given=1.0)
        assert judge(circuit, 0.0, circuit.admit(0.0, 25.0, Asker(seconds=15.0)), GOOD._replace(took=2.0)) is None
        assert circuit.open_until is not None
