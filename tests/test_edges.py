"""Edges that mutation testing (`make mutate`) found nobody looking at: one assertion each, by module."""

import json
import logging
import math
import random

import pytest
from conftest import Clock

from rapidfailover import ProviderConfig, ProviderRegistry, Route
from rapidfailover.circuit import Asker, Circuit
from rapidfailover.gateway import interpret
from rapidfailover.payload import as_utf8, clean, parse
from rapidfailover.quota import Quota
from rapidfailover.verdicts import PROVIDER, Verdict

NAMES = ("first", "second", "third")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry(clock):
    return ProviderRegistry({"p": [ProviderConfig(name, f"{name}.example", number) for number, name in enumerate(NAMES)]}, clock=clock)


def visit(registry, name="first", **asker):
    for one in registry.visits(registry.serving("p", "/x"), lambda: 10.0, Asker(**asker)):
        if one.provider.name == name:
            return one


# --- circuit ---

def test_a_429_that_opened_the_circuit_is_known_by_it():
    circuit = Circuit(error_threshold=1)
    assert circuit.count_limit(0.0, 0.5, circuit.admit(0.0, 1.0)) is True
    assert circuit.rate_limited is True and circuit.blocked_for(2.5, Asker(early=True)) > 100
    assert Circuit().count_limit(0.0, 5.0, Circuit().admit(0.0, 1.0)) is False


def test_a_late_429_holds_and_is_no_fault():
    circuit = Circuit(error_threshold=1)
    late = circuit.admit(0.0, 1.0)
    circuit.reset()
    assert circuit.count_limit(0.0, 0.5, late) is False and circuit.error_count == 0 and circuit.hold_until == 0.5


def test_429s_in_a_row_are_counted_in_trials_too():
    circuit = Circuit(error_threshold=1)
    for number in range(3):
        circuit.count_limit(0.0, 2.0, circuit.admit(number * 10.0, 1.0))
        circuit.hold_until = None
        assert circuit.limits == number + 1
        if circuit.open_until is not None:
            circuit.open_until = 0.0
            assert circuit.admit(number * 10.0, 0.0).limits == number + 1
            circuit.trial_until = None


@pytest.mark.parametrize("change", [lambda c: c.reset(), lambda c: c.success(), lambda c: [c.fault(0.0) for _ in range(3)]])
def test_each_change_is_a_new_generation(change):
    circuit = Circuit()
    seen = set()
    for _ in range(4):
        circuit.open_until = 0.0
        before = circuit.generation
        change(circuit)
        assert circuit.generation > before and circuit.generation not in seen
        seen.add(circuit.generation)


def test_a_fault_below_the_threshold_opened_nothing():
    assert [Circuit().fault(0.0), Circuit(error_threshold=1).fault(0.0)] == [False, True]
    circuit = Circuit()
    assert circuit.fault(0.0, circuit.admit(0.0, 1.0)._replace(generation=-1)) is False


def test_a_ticket_that_is_no_trial_gives_back_no_trial():
    circuit = Circuit(error_threshold=1)
    plain = circuit.admit(0.0, 1.0)
    circuit.fault(0.0)
    circuit.open_until = 0.0
    trial = circuit.admit(1.0, 10.0)
    circuit.release(plain._replace(generation=trial.generation))
    circuit.release(trial._replace(generation=plain.generation))
    assert circuit.blocked_for(1.0) == 10.0


# --- registry ---

def test_nobody_is_early_unless_told_so(registry, clock):
    for _ in range(3):
        for name in NAMES:
            registry.mark_error("p", name)
    clock.tick(2.0)
    assert next(registry.visits(registry.serving("p", "/x"), lambda: 1.0), None) is None
    assert registry.retry_after(registry.serving("p", "/x")) == 898.0 and registry.retry_after(registry.serving("p", "/x"), Asker(early=True)) is None


def test_who_is_disabled_or_does_not_serve_it_has_no_say_in_when_to_come_back(clock):
    registry = ProviderRegistry({"p": [ProviderConfig("first", "a.example", 1), ProviderConfig("off", "b.example", 2),
                                       ProviderConfig("other", "c.example", 3, routes={"/y": Route("/y")})]}, clock=clock)
    registry.hold("p", "first", 60)
    registry.disable("p", "off")
    assert registry.retry_after(registry.serving("p", "/x")) == 60.0 and registry.retry_after(registry.serving("p", "/y")) is None
    registry.disable("p", "first")
    assert registry.retry_after(registry.serving("p", "/x")) is None


def test_who_waits_for_the_one_that_goes_first_after_a_hold_is_told_a_moment_and_not_its_deadline():
    clock = Clock()
    registry = ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1)]}, clock=clock)
    registry.hold("p", "a", 5.0)
    serving = registry.serving("p", "/x")
    assert registry.retry_after(serving) == 5.0
    clock.tick(5.0)
    visits = registry.visits(serving, lambda: 25.0)
    assert next(visits).provider.name == "a"
    assert registry.retry_after(serving) == 0.5
    visits.close()
    assert registry.retry_after(serving) is None


def test_a_hold_of_nothing_is_allowed_and_one_that_is_none_is_named(registry):
    registry.hold("p", "first", 0)
    assert visit(registry) is not None
    with pytest.raises(ValueError, match="^hold is"):
        registry.hold("p", "first", -1)


def test_a_reset_of_a_platform_is_one_of_that_platform(clock):
    registry = ProviderRegistry({name: [ProviderConfig("a", "a.example", 1)] for name in "pq"}, clock=clock)
    for platform in "pq":
        registry.mark_error(platform, "a")
    registry.reset("p")
    assert [registry.snapshot()[platform]["a"]["error_count"] for platform in "pq"] == [0, 1]
    with pytest.raises(ValueError, match="^reset of one provider needs its platform too$"):
        registry.reset(provider_name="a")


def test_times_in_a_snapshot_are_in_thousandths(registry, clock):
    registry.mark_error("p", "first")
    registry.hold("p", "first", 10.0)
    registry.report(visit(registry, "second"), Verdict(quota=Quota(100, 10, 5.0)))
    clock.tick(1.23456)
    seen = registry.snapshot()["p"]
    assert (seen["first"]["last_error"], seen["first"]["hold_until"]) == (-1.235, 8.765)
    assert seen["second"]["quota"] == {"limit": 100, "remaining": 10, "reset": 3.765}
    clock.tick(3.5)
    assert seen["second"]["quota"] and registry.snapshot()["p"]["second"]["quota"]["reset"] == 0.265


def test_what_is_said_of_a_hold_a_trip_and_a_recovery(registry, clock, caplog):
    caplog.set_level(logging.INFO, logger="rapidfailover")

    def lines():
        told = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return told

    registry.report(visit(registry), Verdict("said so", hold=1.0))
    assert len(lines()) == 1
    registry.report(visit(registry, "second"), Verdict("said so", hold=0.5))
    assert lines() == []  # too short to tell
    first = visit(registry, "third")
    registry.report(first, Verdict(hold=30.0))
    registry.report(first, Verdict(hold=40.0))
    assert len(lines()) == 1  # held already
    clock.tick(1.0)
    registry.report(visit(registry), Verdict(fault=PROVIDER))
    registry.report(visit(registry), Verdict(fault=PROVIDER))
    assert lines() == []
    registry.report(visit(registry), Verdict("the last straw", PROVIDER))
    assert ["first" in line and "the last straw" in line for line in lines()] == [True]
    clock.tick(900.0)
    registry.report(visit(registry))
    assert ["first" in line for line in lines()] == [True]


def test_a_fault_that_was_a_429_keeps_early_trials_away(clock):
    registry = ProviderRegistry({"p": [ProviderConfig("first", "a.example", 1)]}, error_threshold=1, clock=clock)
    registry.report(visit(registry), Verdict(fault=PROVIDER, rate_limited=True))
    clock.tick(10.0)
    assert next(registry.visits(registry.serving("p", "/x"), lambda: 1.0, Asker(early=True)), None) is None


def test_the_refresh_worker_is_early_and_known_to_be(clock):
    registry = ProviderRegistry({"p": [ProviderConfig("first", "a.example", 1)]}, error_threshold=1, clock=clock)
    registry.mark_error("p", "first")
    clock.tick(2.0)
    early = visit(registry, early=True)
    assert early.leave.tickets[0].early and early.leave.is_trial()
    assert early.leave.member.circuit.fault(clock(), early.leave.tickets[0]) is False  # it changes nothing
    clock.tick(898.0)
    assert visit(registry, early=True).leave.tickets[0].early is False


# --- gateway ---

def test_where_a_success_ends():
    assert interpret(299, {}, b"[]").data == [] and interpret(300, {}, b"[]").data is None


def test_an_outage_in_the_gateways_words_keeps_them_and_the_quota():
    body = b'{"messages": "The request to the API has timed out.", "info": "Your Client (working)"}'
    quota = {"X-RateLimit-Requests-Limit": "10", "X-RateLimit-Requests-Remaining": "4"}
    for status in (200, 500):
        meaning = interpret(status, quota, body)
        assert meaning.status == 504 and "timed out" in meaning.detail and "Your Client" in meaning.detail
        assert meaning.quota == Quota(10, 4) and isinstance(meaning.quota.limit, int)


@pytest.mark.parametrize("field", ["message", "messages", "msg", "error"])
def test_where_the_words_stand(field):
    assert interpret(500, {}, b'{"%s": "so it is"}' % field.encode()).detail == "so it is"


def test_words_of_a_page_are_its_beginning():
    page = b"<html>" + b"x" * 1000
    assert interpret(500, {}, page).detail == "<html>" + "x" * 193 + "…"
    assert interpret(200, {}, page).detail == f"bad payload: not JSON: '<html>{'x' * 33}…'"


def test_a_quota_that_the_words_name_is_used_up_whatever_the_headers_say():
    meaning = interpret(429, {"X-RateLimit-Requests-Remaining": "7", "X-RateLimit-Requests-Reset": "60"},
                        b'{"message": "You have exceeded the MONTHLY quota for Requests"}')
    assert meaning.quota == Quota(None, 0, 60.0) and meaning.hold == 60.0


def test_words_are_one_printable_line_of_a_length():
    assert clean("a" * 200, 200) == "a" * 200 and clean("a" * 201, 200) == "a" * 199 + "…"
    assert clean("a\x1b[1m\nb") == "a [1m b" and clean(" " * 4000 + "b", 200) == ""


def test_times_are_held_against_the_answers_own_date():
    date = "Sun, 06 Nov 1994 08:49:37 GMT"

    def hold(value, **fields):
        return interpret(503, {"Retry-After": value, **fields}, b"").hold

    assert hold("Sun, 06 Nov 1994 08:50:37 GMT", Date=date) == 60.0
    assert hold("Sun, 06 Nov 1994 08:50:37 GMT") is None and hold("Sun, 06 Nov 1994 08:50:37 GMT", Date="") is None
    assert hold("784111837", Date=date) == 31 * 86400.0  # seconds, not a moment in 1994
    assert hold("1700000060", Date="Tue, 14 Nov 2023 22:13:20 GMT") == 60.0
    assert hold("1700000060000", Date="Tue, 14 Nov 2023 22:13:20 GMT") == 60.0
    assert hold("Sun, 06 Nov 1994 08:50:37 GMT" + " " * 5, Date=date) == 60.0
    assert hold("Sun, 06 Nov 1994 08:50:37 +0000 (" + "x" * 20 + ")", Date=date) is None


@pytest.mark.parametrize("body, why", [
    (b"", "^empty$"), (b"{", "^not JSON: "), (b'"x"', "^neither an object nor an array: '\"x\"'$"), (b"[1e999]", "^not JSON: '\\[1e999\\]'$"),
    (b'"' + b"[" * 500 + b'"', "^neither an object nor an array: "),
    (b"[" * 201 + b"]" * 201, "^nested too deeply$"), (b'{"a":' * 201 + b"1" + b"}" * 201, "^nested too deeply$"),
])
def test_what_is_there_instead_of_json(body, why):
    with pytest.raises(ValueError, match=why):
        parse(body)


@pytest.mark.parametrize("body", [
    b"[" * 200 + b"]" * 200, b'{"a":' * 200 + b"1" + b"}" * 200, b'["' + b"[" * 500 + b'"]', b'["\\"' + b"[" * 500 + b'"]',
    b"[" + b"[]," * 500 + b"{}]", b'["\\\\", "' + b"{" * 300 + b'"]',
])
def test_what_is_deep_enough_or_no_bracket(body):
    parse(body)


def test_texts_do_not_hide_depth():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(b'["\\\\", ' + b"[" * 300 + b"]" * 300 + b"]")
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(b'["\\"", ' + b"[" * 300 + b"]" * 300 + b"]")


PIECES = ["[", "]", "{", "}", '"', '\\"', "\\\\", '\\n"', '"["', '"]"', ",", '""', "[" * 90, "]" * 90, "[]" * 30, '"a":', "\\u0022", "x" * 4000]


def deepest(body):
    """Bracket by bracket, as a parser meets them, until it would stop for sure."""
    depth, most, inside, escaped = 0, 0, False, False
    for char in body.decode():
        if escaped or (inside and char == "\\"):
            escaped = not escaped
        elif char == '"':
            inside = not inside
        elif not inside and char == "\\":
            break
        elif not inside and char in "[{]}":
            depth += 1 if char in "[{" else -1
            most = max(most, depth)
            if depth < 0:
                break
    return most


def test_the_look_at_brackets_lets_nothing_deep_pass_and_refuses_no_json(rounds=3000):
    """Whatever it is made of: a parser that met more than 200 could crash the process."""
    pieces = random.Random(19)
    for _ in range(rounds):
        body = "".join(pieces.choices(PIECES, k=pieces.randint(1, 60))).encode()
        if deepest(body) > 200:
            with pytest.raises(ValueError, match="nested too deeply"):
                parse(body)

    def nested(depth):
        kind = pieces.randrange(4)
        if not depth:
            return pieces.choice(["", 0.5, '[{"', "]}\\\\", None])
        return {'"}': nested(depth - 1)} if kind == 0 else [*[[]] * kind, nested(depth - 1), "]" * kind]

    for depth in range(180, 201):
        assert parse(json.dumps(nested(depth - 1)).encode())  # with the empty lists within: 200 at most


@pytest.mark.parametrize("depth, passes", [(199, True), (200, False)])
def test_what_lies_beside_it_does_not_make_it_less_deep(depth, passes):
    tree = b"[]"
    for _ in range(8):
        tree = b"[%b,%b]" % (tree, tree)
    body = b"[" + tree + b"," + b"[" * depth + b"]" * depth + b"]"
    if passes:
        assert parse(body)
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            parse(body)


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "1" + "0" * 400 + ".5", "0.1e310", "NaN", "-Infinity"])
@pytest.mark.parametrize("floats", [0, 2000], ids=["few floats", "many"])
def test_a_number_that_is_none_is_refused_among_any_others(number, floats):
    with pytest.raises(ValueError, match="not JSON"):
        parse(b"[" + b"0.25, " * floats + number.encode() + b"]")


@pytest.mark.parametrize("number", ["1e308", "1E-999", '"1e999"', '"a0e0"'])
@pytest.mark.parametrize("floats", [0, 2000], ids=["few floats", "many"])
def test_a_number_that_is_one_is_read_among_any_others(number, floats):
    assert parse(b"[" + b"0.25, " * floats + number.encode() + b"]") == [0.25] * floats + [json.loads(number)]


@pytest.mark.parametrize("end", [b"", "\u00fc".encode(), b"\xc3"], ids=["ASCII", "whole", "cut short"])
@pytest.mark.parametrize("before", range(65532, 65540))
def test_a_character_may_lie_across_pieces_of_a_long_body(before, end):
    body = b"x" * before + "\U0001f389".encode() + end
    assert (as_utf8(body, "latin-1") == body) is (end != b"\xc3")


def test_utf8_is_handed_on_as_it_is_and_what_is_none_is_refused_later():
    body = "[\"ü\"]".encode()
    assert as_utf8(body) is body and as_utf8('["ü"]'.encode("utf-16")) == body
    with pytest.raises(ValueError):
        parse(as_utf8('["ü"]'.encode("utf-16") + b"x"))


@pytest.mark.parametrize("check, status, detail", [
    (lambda endpoint, data: 200, 200, ""), (lambda endpoint, data: 404, 404, "a 200 that means 404: gone"),
    (lambda endpoint, data: 400, 502, "bad payload: gone"), (lambda endpoint, data: 422, 502, "bad payload: gone"),
    (lambda endpoint, data: 299, 502, "bad payload: gone"), (lambda endpoint, data: 300, 300, "a 200 that means 300: gone"),
    (lambda endpoint, data: 599, 599, "a 200 that means 599: gone"), (lambda endpoint, data: 600, 502, "bad payload: gone"),
    (lambda endpoint, data: 502, 502, "bad payload: gone"), (lambda endpoint, data: 503, 503, "a 200 that means 503: gone"),
    (lambda endpoint, data: "404", 502, "bad payload: gone"), (lambda endpoint, data: 1 / 0, 502, "bad payload: its check raised ZeroDivisionError"),
    (lambda endpoint, data: 404 if endpoint == "/x" and data["message"] else 200, 404, "a 200 that means 404: gone"),
])
def test_what_a_check_may_say(check, status, detail):
    meaning = interpret(200, {}, b'{"message": "gone"}', "/x", check)
    assert (meaning.status, meaning.detail, meaning.data is not None) == (status, detail, status == 200)


@pytest.mark.parametrize("adapt, status, detail, data", [
    (lambda data: {"a": data}, 200, "", {"a": []}), (lambda data: (1, 2), 200, "", [1, 2]),
    (lambda data: 1 / 0, 502, "bad payload: its adapt raised ZeroDivisionError", None), (lambda data: [math.nan], 502, "bad payload: its adapt raised ValueError", None),
    (lambda data: "x", 502, "bad payload: its adapt gave neither an object nor an array", None), (lambda data: {1, 2}, 502, "bad payload: its adapt raised TypeError", None),
])
def test_what_an_adapt_function_may_give(adapt, status, detail, data):
    meaning = interpret(200, {"X-RateLimit-Requests-Limit": "10"}, b"[]", adapt=adapt)
    assert (meaning.status, meaning.detail, meaning.data, meaning.quota) == (status, detail, data, Quota(limit=10))
