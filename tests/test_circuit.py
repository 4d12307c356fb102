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


def test_the_refresh_worker_makes_trials_however_much_time_it_gives():
    circuit = Circuit()
    for _ in range(3):
        circuit.fault(0.0, given=1.0)
    assert circuit.admit(0.0, 15.0, Asker(15.0)).patient
    worker = Asker(15.0, early=True, background=True)
    assert circuit.admit(1.0, 15.0, worker) is None
    ticket = circuit.admit(2.0, 15.0, worker)
    assert ticket.early and not ticket.patient
    assert not circuit.success(ticket, 1.5, 3.5)  # it is still too slow for those that it is open for
    assert circuit.open_until is not None and circuit.early_at == 7.5 and circuit.admit(7.0, 15.0, worker) is None
    assert circuit.success(circuit.admit(7.5, 15.0, worker), 0.5, 8.0) and circuit.open_until is None


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


# --- a call for which there is nobody else ---

def test_its_first_early_trial_comes_at_once_but_for_the_question_that_opened_it():
    circuit = tripped(at=100.0, question=7)
    assert circuit.blocked_for(100.0, Asker(early=True, question=7)) == 2.0
    assert circuit.blocked_for(100.0, Asker(early=True, question=8)) == 0.0
    first = circuit.admit(100.0, 25.0, Asker(early=True, question=8))
    assert first.trial and first.early
    circuit.fault(101.0, first, question=8)
    assert circuit.blocked_for(101.0, Asker(early=True, question=9)) == 4.0  # like the worker from then on


def test_what_opens_it_anew_is_another_time():
    circuit = tripped(at=0.0, question=7)
    circuit.fault(1.0, circuit.admit(1.0, 25.0, Asker(early=True, question=8)), question=8)
    circuit.success(circuit.admit(900.0, 25.0))
    for _ in range(3):
        circuit.fault(901.0)
    assert circuit.opened_by == 0 and circuit.blocked_for(901.0, Asker(early=True, question=7)) == 0.0


# --- a timeout says only that it is slower than the time that it got ---

HASTY, PATIENT = Asker(seconds=1.0), Asker(seconds=15.0)


def test_timeouts_open_it_for_calls_that_give_no_more():
    circuit = tripped(given=1.0)
    assert circuit.blocked_for(0.0, HASTY) == 900.0 and circuit.blocked_for(0.0, Asker(seconds=1.1)) == 0.0
    assert circuit.state(0.0) == "open"
    ticket = circuit.admit(0.0, 25.0, PATIENT)
    assert ticket.patient and not ticket.trial


def test_the_longest_of_the_row_counts_and_another_fault_makes_it_everybodys():
    circuit = Circuit()
    for given in (5.0, 1.0, 2.0):
        circuit.fault(0.0, given=given)
    assert circuit.blocked_for(0.0, Asker(seconds=5.0)) > 0 == circuit.blocked_for(0.0, Asker(seconds=5.1))
    mixed = Circuit()
    mixed.fault(0.0, given=1.0)
    mixed.fault(0.0)
    mixed.fault(0.0, given=1.0)
    assert mixed.blocked_for(0.0, PATIENT) == 900.0


def test_faults_of_the_patient_count_by_themselves_until_it_is_open_for_them_too():
    circuit = tripped(given=1.0)
    ended = [circuit.fault(10.0, circuit.admit(10.0, 25.0, PATIENT), given=given) for given in (15.0, 12.0, 10.0)]
    assert ended == [False, False, True]
    assert circuit.error_count == 3 and circuit.open_until == 910.0
    assert circuit.blocked_for(10.0, PATIENT) == 900.0 and circuit.blocked_for(10.0, Asker(seconds=16.0)) == 0.0
    more = [circuit.fault(20.0, circuit.admit(20.0, 25.0, Asker(seconds=20.0)), given=20.0) for _ in range(2)]
    assert more == [False, False] and circuit.open_until == 910.0  # they count anew


def test_a_patient_answer_closes_it_for_all_if_it_was_as_fast_as_the_hasty_want():
    slow, fast = tripped(given=1.0), tripped(given=1.0)
    slow.fault(0.0, slow.admit(0.0, 25.0, PATIENT), given=15.0)
    assert slow.success(slow.admit(0.0, 25.0, PATIENT), took=1.5) is False
    assert slow.blocked_for(0.0, HASTY) == 900.0
    assert [slow.fault(1.0, slow.admit(1.0, 25.0, PATIENT), given=15.0) for _ in range(2)] == [False, False]  # their row was broken
    assert slow.fault(1.0, slow.admit(1.0, 25.0, PATIENT), given=15.0) is True
    assert fast.success(fast.admit(0.0, 25.0, PATIENT), took=1.0) is True
    assert fast.blocked_for(0.0, HASTY) == 0.0 == fast.patience


def test_a_slow_answer_at_a_closed_circuit_is_a_success_like_any_other():
    circuit = Circuit()
    circuit.fault(0.0)
    circuit.success(circuit.admit(0.0, 25.0, PATIENT), took=14.0)
    assert circuit.is_healthy()


# --- holds, and who goes first when one ends ---

def test_when_a_hold_ends_one_goes_first_and_the_others_when_it_was_well():
    circuit = Circuit()
    circuit.hold(0.0, 10)
    assert circuit.is_limited(5.0) and circuit.is_limited(9.9)
    first = circuit.admit(10.0, 25.0)
    assert first.trial and not first.early and circuit.is_limited(11.0) and circuit.admit(11.0, 25.0) is None
    assert circuit.success(first) is False  # it was not open
    assert circuit.hold_until is None and not circuit.is_limited(11.0) and not circuit.admit(11.0, 25.0).trial


def test_a_hold_that_was_lengthened_meanwhile_stays():
    circuit = Circuit()
    circuit.hold(0.0, 10)
    first = circuit.admit(10.0, 25.0)
    circuit.hold(11.0, 60)
    circuit.success(first)
    assert circuit.hold_until == 71.0


def test_a_circuit_that_is_open_is_not_only_limited_but_for_those_it_is_closed_for():
    circuit = tripped(given=1.0)
    assert not circuit.is_limited(0.0, HASTY) and not circuit.is_limited(0.0, PATIENT)
    circuit.hold(0.0, 10)
    assert not circuit.is_limited(0.0, HASTY) and circuit.is_limited(0.0, PATIENT)
    assert not Circuit().is_limited(0.0)


# --- 429s that say for how long ---

def test_the_first_429_is_a_hold_and_the_second_in_a_row_a_fault_as_well():
    circuit = Circuit()
    assert circuit.count_limit(0.0, 30.0, circuit.admit(0.0, 25.0)) is False
    assert (circuit.error_count, circuit.hold_until) == (0, 30.0)
    for at, faults in ((30.0, 1), (60.0, 2)):
        assert circuit.count_limit(at, 30.0, circuit.admit(at, 25.0)) is False
        assert circuit.error_count == faults
    assert circuit.count_limit(90.0, 30.0, circuit.admit(90.0, 25.0)) is True
    assert circuit.rate_limited and circuit.blocked_for(90.0, Asker(early=True)) == 900.0


def test_429s_to_requests_that_left_before_the_first_was_back_are_one():
    circuit = Circuit()
    under_way = [circuit.admit(0.0, 25.0) for _ in range(8)]
    for ticket in under_way:
        circuit.count_limit(1.0, 30.0, ticket)
    assert circuit.error_count == 0 and circuit.limits == 8


def test_a_429_that_holds_nobody_is_a_fault_and_one_as_long_as_a_cooldown_is_none():
    brief, long = Circuit(), Circuit()
    brief.count_limit(0.0, 0.9, brief.admit(0.0, 25.0))
    assert brief.error_count == 1
    for at in (0.0, 300.0, 600.0):
        long.count_limit(at, 300.0, long.admit(at, 25.0))
    assert long.error_count == 0
    brief.success(brief.admit(1.0, 25.0))
    assert brief.limits == 0
