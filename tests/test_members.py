"""A provider and what has happened to it, without a registry: who may be asked for what, when, and why not."""

import pytest

from rapidfailover import ProviderConfig, Route
from rapidfailover.circuit import Asker
from rapidfailover.members import Member, Serving
from rapidfailover.quota import Quota

RULES = (3, 300.0, 3600.0)


def member(name="a", **options):
    return Member("p", ProviderConfig(name, "a.example", 1, **options), RULES)


def trip(slot, at=0.0, **fault):
    for _ in range(3):
        slot.circuit.fault(at, **fault)


# --- its circuit and those of its endpoints ---

def test_it_is_open_where_all_endpoints_in_use_are_and_half_open_where_one_may_be_tried():
    one = member()
    assert one.state(0.0) == "closed"
    trip(one.slot("/a"))
    assert one.state(0.0) == "open" and one.state(900.0) == "half-open"
    trip(one.slot("/b"), 500.0)
    assert one.state(900.0) == "half-open"
    one.slot("/c")
    assert one.state(0.0) == "closed"
    trip(one)
    assert one.state(0.0) == "open"


def test_it_is_out_for_an_endpoint_by_its_own_circuit_or_by_that_one():
    one = member()
    trip(one.slot("/a"))
    one.slot("/b")
    assert one.is_out(0.0, "/a") and not one.is_out(0.0, "/b") and not one.is_out(0.0, "/c") and not one.is_out(0.0)
    trip(one, 900.0)
    assert one.is_out(900.0, "/a") and one.is_out(900.0, "/b") and one.is_out(900.0, "/c") and one.is_out(900.0)


def test_why_it_is_out_in_words():
    one = member()
    one.quota = Quota(500, 0, 60.0, told_at=10.0)
    assert one.why_out("/a", 30.0) == "its plan is used up for 40 s"
    trip(one.slot("/a"), 100.0)
    assert one.why_out("/a", 100.5) == "cooling down for 900 s" and one.why_out("/b", 100.5) == ""
    one.slot("/a").circuit.admit(1000.0, 25.0)
    assert one.why_out("/a", 1000.5) == "on trial for 24 s"
    one.circuit.hold(1000.0, 7.0)
    assert one.why_out("/a", 1000.0) == "held for 7 s" == one.why_out("/b", 1000.0)
    assert one.why_out("/b", 1006.5) == "held for 0 s" and one.why_out("/b", 1007.5) == ""


def test_the_time_that_a_call_gives_is_the_providers_own_unless_it_was_told():
    one = member(timeout=3.0)
    trip(one, given=5.0)
    assert one.blocked_for("/a", 0.0, Asker(seconds=15.0)) == 900.0  # 3 s, which is less
    assert one.blocked_for("/a", 0.0, Asker(seconds=15.0, is_told=True)) == 0.0


# --- when it can be asked ---

def test_what_keeps_it_away_longest_counts():
    one = member()
    one.circuit.hold(0.0, 10.0)
    trip(one.slot("/a"))
    assert one.blocked_for("/a", 0.0, Asker()) == 900.0 and one.blocked_for("/b", 0.0, Asker()) == 10.0
    one.quota = Quota(500, 0, 2000.0)
    assert one.blocked_for("/b", 0.0, Asker()) == 2000.0 == one.comes_in("/b", 0.0, Asker())


def test_it_can_be_expected_when_a_trial_is_back_and_a_turn_is_free():
    one = member(rate=0.5)
    trip(one.slot("/a"))
    one.slot("/a").circuit.admit(900.0, 25.0)
    assert one.comes_in("/a", 900.0, Asker()) == 0.5 and one.blocked_for("/a", 900.0, Asker()) == 25.0
    one.rate.reserve(900.0)
    assert one.comes_in("/b", 900.0, Asker()) == pytest.approx(2.1)


def test_it_is_only_limited_where_nothing_but_a_hold_keeps_it_away():
    one = member()
    trip(one.slot("/a"))
    assert not one.is_limited("/b", 0.0, Asker())
    one.circuit.hold(0.0, 10.0)
    assert one.is_limited("/b", 0.0, Asker()) and not one.is_limited("/a", 0.0, Asker())
    assert one.is_limited("/a", 0.0, Asker(early=True, question=1))  # which it may try at once
    assert one.pause(4.0) == 6.0 and 0 < one.pause(10.0) < 0.1
    one.quota = Quota(500, 0, 60.0)
    assert not one.is_limited("/b", 0.0, Asker())


@pytest.mark.parametrize("overage", [False, True])
def test_a_plan_that_is_used_up_keeps_it_away_unless_more_is_wanted_for_money(overage):
    one = member(overage=overage)
    one.quota = Quota(500, 0, 60.0)
    assert one.is_spent(0.0) != overage and not one.is_spent(60.0)
    assert one.blocked_for("/a", 0.0, Asker()) == (0.0 if overage else 60.0)


# --- how many may ask at once ---

def asked_by(one, calls, since=0.0, until=1e9):
    one.under_way.update({object(): (since, until) for _ in range(calls)})


def test_a_new_one_is_asked_by_one_call_first_then_by_up_to_eight_and_by_all_once_it_was_silent_for_long():
    one = member()
    assert not one.is_crowded(0.0)
    asked_by(one, 1)
    assert one.is_crowded(0.19) and not one.is_crowded(0.2)
    asked_by(one, 2, since=0.2)
    assert one.is_crowded(0.39) and not one.is_crowded(0.41)
    asked_by(one, 4, since=0.4)
    assert one.is_crowded(0.55) and not one.is_crowded(0.61)
    asked_by(one, 1, since=0.6)
    assert one.is_crowded(1.49) and not one.is_crowded(1.55)
    asked_by(one, 1000, since=1.6)
    assert one.is_crowded(2.8) and not one.is_crowded(3.0) and not one.is_crowded(1e8)


def test_a_new_one_is_asked_by_as_many_at_once_as_it_has_answered_until_it_has_answered_eight():
    one = member()
    one.answered_at = 1.0
    one.answered.extend([1.0] * 3)
    asked_by(one, 2)
    assert not one.is_crowded(0.0)
    asked_by(one, 1)
    assert one.is_crowded(0.39) and not one.is_crowded(0.41)
    asked_by(one, 50)
    one.answered.extend([1.0] * 5)
    assert not one.is_crowded(0.0)


def test_one_that_has_yet_to_show_that_it_answers_is_asked_by_three_first():
    one = member(rate=5.0)  # whose pace says when
    asked_by(one, 2)
    assert not one.is_crowded(0.0)
    asked_by(one, 1)
    assert one.is_crowded(0.39) and not one.is_crowded(0.41)
    one.answered_at = 1.0
    assert not one.is_crowded(0.0)
    one.circuit.fault(1.0)
    assert one.is_crowded(0.0)


def test_one_that_was_only_slower_than_the_time_that_it_got_is_asked_by_all_who_give_it_more():
    one = member(rate=5.0)
    one.answered_at = 1.0
    trip(one, given=2.0)
    asked_by(one, 50)
    assert not one.is_crowded(1.0)
    one.circuit.hold(1.0, 9.0)
    assert one.is_crowded(1.0)


@pytest.mark.parametrize("how", ["set", "learned"])
def test_where_a_pace_is_known_that_alone_says_how_many_may_ask(how):
    one = member(rate=5.0 if how == "set" else None)
    one.answered_at = 1.0
    asked_by(one, 10, since=1.0)
    if how == "learned":
        assert one.is_crowded(1.0)
        one.learn(1.0, 1.0)
    assert not one.is_crowded(1.0)


def test_one_whose_calls_are_over_is_not_crowded_by_them():
    one = member()
    asked_by(one, 9, since=0.0, until=0.1)
    assert one.is_crowded(0.09) and not one.is_crowded(0.1)


@pytest.mark.parametrize("overage", [False, True])
def test_as_many_ask_at_once_as_the_plan_has_left(overage):
    one = member(overage=overage)
    one.answered_at, one.quota = 1.0, Quota(500, 2, 60.0)
    one.answered.extend([1.0] * 9)
    asked_by(one, 1, until=60.0)
    assert not one.is_crowded(1.0)
    asked_by(one, 1, until=60.0)
    assert one.is_crowded(1.0) != overage and not one.is_crowded(60.0)


# --- who serves what ---

def serving(*members, routes=None):
    return Serving("p", "/a", routes or {one: None for one in members}, list(members))


def test_those_before_the_one_that_answered_are_passed_over_who_serve_it_and_are_out():
    first, second, third, last = (member(name) for name in ("first", "second", "third", "last"))
    trip(first)
    trip(second.slot("/a"))
    trip(last)
    elsewhere = member("elsewhere")
    trip(elsewhere.slot("/b"))
    everybody = serving(first, elsewhere, second, third, last)
    assert everybody.passed_over("third") == ["first", "second"] and everybody.passed_over("first") == []
    first.enabled = False
    assert everybody.passed_over("third") == ["second"]
    assert serving(first, second, third, routes={first: None, third: None}).passed_over("third") == []


def test_a_copy_is_vouched_for_by_the_check_of_its_provider():
    seen = []

    def check(endpoint, data):
        seen.append(endpoint)
        return 200 if data == "good" else 404 if data == "dead" else 1 / 0

    plain, strict, adapted = member("plain"), member("strict", check=check), member("adapted", check=check)
    everybody = serving(plain, strict, adapted, routes={plain: None, strict: Route("/x"), adapted: Route("/y", adapt=dict)})
    assert everybody.vouches_for("plain", "anything") and everybody.vouches_for("strict", "good")
    assert not everybody.vouches_for("strict", "dead") and not everybody.vouches_for("strict", "hostile")
    assert everybody.vouches_for("adapted", "dead")  # it was checked before it was adapted
    assert not everybody.vouches_for("unknown", "good") and set(seen) == {"/a"}


# --- the pace that it has learned ---

def test_a_learned_pace_is_the_widest_window_of_late_and_the_set_one_goes_before_it():
    one = member()
    one.learn(60.0, 100.0)
    one.learn(1.0, 200.0)
    assert (one.pace(200.0).seconds, one.learned_at) == (60.0, 200.0)
    one.learned.reserve(200.0)
    free_at = one.learned.free_at
    one.learn(3600.0, 300.0)
    assert one.pace(300.0).seconds == 3600.0 and one.learned.free_at == free_at
    assert one.pace(300.0 + 3601.0) is None and one.learned is None
    paced = member(rate=5.0)
    paced.learn(60.0, 0.0)
    assert paced.pace(0.0).requests == 5.0
    one.quota = Quota(500, 1, 60.0, told_at=1.0)
    one.forget(400.0)
    assert (one.quota, one.learned, one.learned_at) == (Quota(told_at=400.0), None, 400.0)


def test_of_more_than_64_endpoints_the_one_goes_that_was_not_used_for_longest_and_has_nothing_to_tell():
    one = member()
    trip(one.slot("/0"))
    for number in range(1, 64):
        one.slot(f"/{number}")
    one.slot("/1")
    one.slot("/64")
    assert len(one.endpoints) == 64 and "/2" not in one.endpoints and {"/0", "/1", "/64"} <= set(one.endpoints)
    assert one.slot_of_others("/2") is None and one.slot_of_others("/3") is one.endpoints["/3"]
    assert one.slots("/3") == [one, one.endpoints["/3"]] and len(one.slots()) == 65
