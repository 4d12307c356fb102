"""The circuit as timelines: what happens when, and whether a request may go."""

import pytest

from rapidfailover.circuit import Asker, Circuit


def tripped(at=0.0, **fault):
    """A circuit whose three faults were at that time: out for 15 minutes."""
    circuit = Circuit()
    for _ in range(3):
        circuit.fault(at, **fault)
    return circuit


def test_it_opens_at_the_third_fault_in_a_row():
    circuit = Circuit()
    assert [circuit.fault(0.0), circuit.fault(0.0)] == [False, False]
    assert circuit.admit(0.0, 1.0) is not None
    assert circuit.fault(0.0) is True
    assert circuit.admit(0.0, 1.0) is None


def test_a_success_in_between_breaks_the_row():
    circuit = Circuit()
    for _ in range(5):
        circuit.fault(0.0)
        circuit.fault(0.0)
        assert circuit.success() is False  # nothing to recover from
    assert circuit.state(0.0) == "closed" and circuit.error_count == 0


@pytest.mark.parametrize("faults, minutes", [(3, 15), (4, 20), (5, 25), (12, 60), (50, 60)])
def test_the_cooldown_is_five_minutes_a_fault_and_an_hour_at_most(faults, minutes):
    circuit = Circuit()
    for _ in range(faults):
        circuit.fault(0.0)
    assert circuit.blocked_for(0.0) == minutes * 60
    assert circuit.state(minutes * 60 - 0.1) == "open"
    assert circuit.state(minutes * 60) == "half-open"


def test_half_open_lets_one_trial_through():
    circuit = tripped()
    trial = circuit.admit(900.0, 25.0)
    assert trial.trial
    assert circuit.admit(900.0, 25.0) is None
    assert circuit.admit(924.9, 25.0) is None


def test_a_trial_that_succeeds_closes_it():
    circuit = tripped()
    assert circuit.success(circuit.admit(900.0, 25.0)) is True
    assert circuit.state(900.0) == "closed" and circuit.error_count == 0


def test_a_trial_that_fails_opens_it_for_longer():
    circuit = tripped()
    assert circuit.fault(910.0, circuit.admit(900.0, 25.0)) is True
    assert circuit.blocked_for(910.0) == 20 * 60


def test_a_trial_that_never_reports_frees_itself():
    circuit = tripped()
    lost = circuit.admit(900.0, 25.0)
    second = circuit.admit(925.0, 25.0)
    assert second.trial
    assert circuit.fault(926.0, lost) is False  # too late: another is on its way
    assert circuit.success(second) is True


def test_a_trial_given_back_is_free_at_once():
    circuit = tripped()
    circuit.release(circuit.admit(900.0, 25.0))
    assert circuit.admit(900.0, 25.0) is not None


def test_a_late_verdict_on_an_earlier_state_is_ignored():
    circuit = Circuit()
    early = [circuit.admit(0.0, 25.0) for _ in range(64)]
    assert [circuit.fault(1.0, ticket) for ticket in early].count(True) == 1
    assert circuit.error_count == 3 and circuit.blocked_for(1.0) == 900
    assert circuit.success(early[0]) is False  # began before it opened
    assert circuit.state(1.0) == "open"


def test_the_public_marks_always_count():
    circuit = tripped()
    assert circuit.fault(10.0) is True
    assert circuit.error_count == 4 and circuit.blocked_for(10.0) == 20 * 60
    assert circuit.success() is True


def test_a_reset_makes_requests_under_way_late():
    circuit = Circuit()
    ticket = circuit.admit(0.0, 25.0)
    circuit.reset()
    circuit.fault(1.0, ticket)
    assert circuit.error_count == 0 and circuit.last_error is None


@pytest.mark.parametrize("holds, wait", [([30], 30), ([30, 10], 30), ([10, 30], 30), ([10 ** 9], 3600), ([0], 0)])
def test_a_hold_is_only_lengthened_and_an_hour_at_most(holds, wait):
    circuit = Circuit()
    for seconds in holds:
        circuit.hold(0.0, seconds)
    assert circuit.blocked_for(0.0) == wait
    assert circuit.blocked_for(wait) == 0


def test_a_success_does_not_end_a_hold_but_a_reset_does():
    circuit = tripped()
    circuit.hold(0.0, 60)
    circuit.success()
    assert circuit.admit(59.0, 25.0) is None and circuit.state(59.0) == "closed"
    circuit.reset()
    assert circuit.admit(59.0, 25.0) is not None


def test_a_hold_outlasts_the_cooldown_and_the_other_way_round():
    circuit = tripped()
    circuit.hold(0.0, 1000)
    assert circuit.blocked_for(0.0) == 1000
    circuit = tripped()
    circuit.hold(0.0, 10)
    assert circuit.blocked_for(0.0) == 900


# --- early trials: the refresh worker's ---

def test_early_trials_come_after_two_seconds_and_then_double_to_a_minute():
    circuit, now, pauses = tripped(), 0.0, []
    while len(pauses) < 10:
        pause = circuit.blocked_for(now, Asker(early=True))
        pauses.append(pause)
        now += pause
        circuit.open_until = 10 ** 6  # the cooldown is not the subject
        circuit.fault(now, circuit.admit(now, 25.0, Asker(early=True)))
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_an_early_trial_that_fails_leaves_the_cooldown_as_it_was():
    circuit = tripped()
    circuit.fault(5.0, circuit.admit(5.0, 25.0, Asker(early=True)))
    assert circuit.error_count == 3 and circuit.open_until == 900.0


def test_an_early_trial_that_succeeds_closes_it():
    circuit = tripped()
    assert circuit.success(circuit.admit(5.0, 25.0, Asker(early=True))) is True
    assert circuit.admit(5.0, 25.0) is not None


def test_there_is_one_trial_at_a_time_early_or_not():
    circuit = tripped()
    circuit.admit(890.0, 25.0, Asker(early=True))
    assert circuit.admit(891.0, 25.0, Asker(early=True)) is None
    assert circuit.admit(905.0, 25.0) is None  # half-open by now, but one is under way


def test_nobody_is_early_at_a_provider_that_429s_opened_or_that_is_held():
    assert tripped(rate_limited=True).blocked_for(10.0, Asker(early=True)) == 890
    held = tripped()
    held.hold(0.0, 60)
    assert held.blocked_for(10.0, Asker(early=True)) == 50


def test_a_trial_of_the_worker_after_the_cooldown_is_like_any_other():
    circuit = tripped()
    circuit.fault(900.0, circuit.admit(900.0, 25.0, Asker(early=True)))
    assert circuit.blocked_for(900.0) == 20 * 60
