"""What an answer means: the pure function, row by row."""

import json
import math

import pytest

from rapidfailover.gateway import interpret
from rapidfailover.matrix import read_as
from rapidfailover.payload import as_utf8, parse
from rapidfailover.quota import Quota

QUOTA = "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC. Upgrade your plan at https://x"
DATE = "Fri, 20 Dec 2024 12:00:00 GMT"
STAMP = 1734696000  # the same moment


def meaning(status=200, body=b'{"ok": true}', headers=None, **options):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return interpret(status, headers or {}, body, **options)


def said(status, message, **headers):
    found = meaning(status, {"message": message}, {name.replace("_", "-"): value for name, value in headers.items()})
    return found.status, found.hold


# --- the gateway's own words ---

@pytest.mark.parametrize("status, message, meant, hold", [
    (401, "Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info.", 401, None),
    (401, "This endpoint is disabled for your subscription", 403, 3600),
    (401, "Blocked User. Please contact your API provider.", 403, 3600),
    (403, "You are not subscribed to this API.", 403, 3600),
    (429, QUOTA, 429, math.inf),
    (429, QUOTA.replace("MONTHLY", "DAILY").replace("Requests", "Credits"), 429, math.inf),
    (429, "You have exceeded the rate limit per second for your plan, BASIC, by the API provider", 429, 1),
    (429, "You have exceeded the rate limit per minute for your plan, BASIC, by the API provider", 429, 60),
    (429, "You have exceeded the rate limit per hour for your plan, BASIC, by the API provider", 429, 3600),
    (429, "Too many requests", 429, 1),
    (404, "Endpoint '/x' does not exist", 403, None),
    (404, "API doesn't exists", 403, 3600),
    (500, "Oops, an error in the gateway has occurred.", 500, None),
])
def test_a_row_of_the_error_table(status, message, meant, hold):
    assert said(status, message) == (meant, hold)
    assert said(status, message.upper()) == (meant, hold)
    assert said(status, message.replace(" ", "\n\t ")) == (meant, hold)
    assert said(status, f"{message.rstrip('.')}. Ask somebody else.") == (meant, hold)


@pytest.mark.parametrize("status, message", [
    (403, "You are not subscribed to this creator, content is members only"), (403, "You are not subscribed to this API user's feed"),
    (403, "Sorry. You are not subscribed to this API."), (401, "The requested profile is a blocked user"), (401, "Blocked user"),
    (401, "Blocked user. Ada has blocked you."), (401, "Content: this endpoint is disabled for your subscription"),
    (401, "This endpoint is disabled for your subscription of the creator"),
    (404, "Endpoint user 'endpoint' does not exist"), (404, "Endpoint '/a' of user 'b' does not exist"), (404, "API doesn't exists in our index"),
    (404, "The API doesn't exists"), (429, "You have exceeded the daily quota of lookups for this profile"),
    (429, "You have exceeded the daily quota for lookups of this profile"), (429, "You have exceeded the rate limit per hour for this profile"),
    (429, "You have exceeded the rate limit per hour for your plans"), (429, "Too many requests for this profile, 1 request/hour"),
    (429, "This profile gets too many requests"), (429, "The limit of this profile: 1 request/hour"), (429, "Limit: 2 requests/hour of one profile"),
])
def test_a_phrase_in_a_providers_own_sentence_is_about_one_item_and_holds_for_nobody(status, message):
    assert said(status, message) == (status, None)
    assert meaning(200, {"message": message}).data == {"message": message}
    assert meaning(status, {"message": message}).window is None


def test_the_host_to_subscribe_to_is_named():
    found = meaning(403, {"message": "You are not subscribed to this API."}, host="yt-api.p.rapidapi.com")
    assert found.detail == "You are not subscribed to this API. (yt-api.p.rapidapi.com)"
    assert meaning(403, {"message": "Forbidden"}, host="yt-api.p.rapidapi.com").detail == "Forbidden"


# --- the gateway's errors in a 200 ---

@pytest.mark.parametrize("message, meant, hold", [
    ("Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info.", 401, None), ("You are not subscribed to this API.", 403, 3600),
    ("Blocked User. Please contact your API provider.", 403, 3600), ("Endpoint '/x' does not exist", 403, None), ("API doesn't exists", 403, 3600),
    (QUOTA, 429, 1000), ("You have exceeded the rate limit per minute for your plan, BASIC, by the API provider", 429, 60),
    ("Too many requests", 429, 1), ("Oops, an error in the gateway has occurred.", 500, None),
])
def test_an_error_of_the_gateways_counts_in_a_200_too(message, meant, hold):
    headers = {"x-ratelimit-requests-reset": "1000", "x-ratelimit-requests-remaining": "7"}
    found = meaning(200, {"message": message}, headers, check=lambda endpoint, data: 200)
    assert (found.status, found.hold, found.data) == (meant, hold, None)
    assert meaning(200, {"message": message, "id": 1}, headers).data == {"message": message, "id": 1}
    assert meaning(200, [message], headers).data == [message]


@pytest.mark.parametrize("body", [{"messages": "hi", "info": "there"}, {"messages": "The API is unreachable, says Ada", "info": "x", "id": 1},
                                  {"messages": "A timed out player", "info": "took too long"}])
@pytest.mark.parametrize("status", [200, 404, 503])
def test_messages_and_info_of_a_providers_own_are_no_outage(status, body):
    assert meaning(status, body).status == status


# --- a provider's own 401 and a web server's own 404 ---

@pytest.mark.parametrize("body, headers, meant", [
    ({"error": "unauthorized"}, {}, 403), ({"detail": "Not authenticated"}, {}, 403), ({"message": "no"}, {"WWW-Authenticate": "Bearer"}, 403),
    (b"", {"www-authenticate": "Basic realm=x"}, 403), ({"message": "no"}, {}, 401), ({}, {}, 401), ([1], {}, 401), (b"", {}, 401),
    (b"<html>", {}, 401), ({"message": "Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info."}, {"WWW-Authenticate": "Key"}, 401),
])
def test_a_providers_own_401_is_not_about_our_key(body, headers, meant):
    found = meaning(401, body, headers)
    assert (found.status, found.hold) == (meant, None)


@pytest.mark.parametrize("body, meant", [
    (b"", 403), (b" \n", 403), (b"<!DOCTYPE html><pre>Cannot GET /video/info</pre>", 403), (b"404 page not found", 403), ({"detail": "Not Found"}, 403),
    (b'"Not Found"', 403), (b"null", 403), (b"404", 403), (b"[" * 5000, 403), ({"detail": "Not found"}, 404), ({"detail": "Not Found", "id": 1}, 404),
    ({}, 404), ([], 404), ({"detail": "User not found"}, 404), ({"message": "not found"}, 404),
])
def test_a_web_servers_own_404_is_a_route_that_is_gone(body, meant):
    found = meaning(404, body)
    assert (found.status, found.hold) == (meant, None)
    assert meant == 404 or "route is gone" in found.detail


def test_a_204_has_nothing_and_is_no_bad_payload():
    assert meaning(204, b"")[:3] == (204, "no content", None) and read_as(204) == 404


# --- windows of rate limits ---

@pytest.mark.parametrize("unit, window", [("second", 1), ("minute", 60), ("hour", 3600)])
def test_a_429_that_names_its_window_tells_it(unit, window):
    message = f"You have exceeded the rate limit per {unit} for your plan, BASIC, by the API provider"
    for status in (429, 200):
        assert meaning(status, {"message": message})[3::2] == (window, window)
    found = meaning(429, {"message": message}, {"Retry-After": "7"})
    assert (found.hold, found.window) == (7, window)
    for text in (f"Free Api Limit: 1 request/{unit}.", f"Rate limit 30 requests per {unit}"):
        assert meaning(429, {"message": text})[3::2] == (window, window)
        assert meaning(200, {"code": -1, "msg": text}, check=lambda endpoint, data: 429)[3::2] == (window, window)
        assert meaning(200, {"code": -1, "msg": text}, check=lambda endpoint, data: 404)[3::2] == (None, None)
    for headers, hold in (({}, window), ({f"X-RateLimit-{unit}-Reset": "0"}, 0), ({f"X-RateLimit-{unit}-Reset": "99999"}, window)):
        found = meaning(429, {"message": "no"}, {f"X-RateLimit-{unit.title()}-Remaining": "0", **headers})
        assert (found.hold, found.window, found.quota) == (hold, window, Quota())
    assert meaning(429, {"message": "no"}, {f"X-RateLimit-{unit.title()}-Remaining": "1"})[3:] == (None, Quota(), None)


@pytest.mark.parametrize("message", ["Too many requests", QUOTA, "Slow down"])
def test_other_429s_name_no_window(message):
    assert meaning(429, {"message": message}).window is None


def test_a_limit_inside_a_200_is_not_the_plans_quota_which_let_it_pass():
    found = meaning(200, {"code": -1, "msg": "Free Api Limit: 1 request/second."}, plan("0"), check=lambda endpoint, data: 429)
    assert (found.status, found.hold, found.quota.left) == (429, 1, 0)
    assert meaning(200, {"msg": "Limit"}, {"Retry-After": "9"}, check=lambda endpoint, data: 429).hold == 9


@pytest.mark.parametrize("status", [200, 500, 502, 504, 429, 404])
@pytest.mark.parametrize("messages, info, meant", [
    ("The API is unreachable, please contact the API provider", "Your Client (working) ---> API (not working)", 502),
    ("The request to the API has timed out. Please try again later", "---> API (took too long to respond)", 504),
    ("Something new", "---> API (took too\n long to respond)", 504),
])
def test_an_outage_is_one_at_any_status(status, messages, info, meant):
    assert meaning(status, {"messages": messages, "info": info}).status == meant


@pytest.mark.parametrize("status, message", [
    (401, "Unauthorized"), (403, "Forbidden"), (404, "User not found"), (404, "The endpoint of the story does not exist"),
    (429, "Slow down"), (503, QUOTA), (400, QUOTA), (401, "not subscribed"), (429, None), (429, ["Too many requests"]),
])
def test_what_is_not_recognised_passes_through(status, message):
    assert said(status, message) == (status, None)


@pytest.mark.parametrize("body", [
    {"message": QUOTA, "biography": "hello"}, {"data": {"user": {"biography": QUOTA}}}, [QUOTA], {"biography": "Too many requests"},
    {"messages": ["one", "two"], "info": {"unread": 2}}, {"messages": "hi", "info": "there", "id": 7},
])
def test_a_providers_own_words_never_count_as_the_gateways(body):
    found = meaning(200, body)
    assert (found.status, found.data, found.hold) == (200, body, None)


@pytest.mark.parametrize("body", [b"", b"<html>Too many requests</html>", b"Too many requests", b'"Too many requests"', b"[" * 5000,
                                  b'{"error": {"message": "Too many requests"}}', b"\xff\xfe"])
def test_a_429_in_other_words_says_nothing_of_how_long(body):
    assert meaning(429, body)[:1] + meaning(429, body)[3:] == (429, None, Quota(), None)


def test_the_words_are_told():
    assert meaning(403, {"message": "You are not\nsubscribed to this API."}).detail == "You are not subscribed to this API."
    assert meaning(503, b"<h1>Down</h1>").detail == "<h1>Down</h1>"
    assert meaning(503, {"code": 7}).detail == ""


# --- Retry-After, in either form ---

@pytest.mark.parametrize("value, hold", [
    ("0", 0), ("7", 7), (" 120 ", 120), ("3600", 3600), ("999999999", 31 * 86400),
    ("Fri, 20 Dec 2024 12:02:00 GMT", 120), ("Fri, 20 Dec 2024 11:00:00 GMT", 0), ("Friday, 20-Dec-24 12:00:30 GMT", 30),
    ("Sat, 20 Dec 2025 12:00:00 GMT", None), (str(STAMP + 60), 60), (str((STAMP + 60) * 1000), 60), ("99999999999999999999", None),
    ("99999999999", 31 * 86400), ("4000000000", 31 * 86400),
    ("-5", None), ("1.5", None), ("nan", None), ("inf", None), ("", None), ("7, 9", None), ("1, 3600", None), ("soon", None),
    ("9" * 5000, None), ("x" * 5000, None), ("٣", None), ("Fri, 99 Dec 2024 12:00:00 GMT", None), ("0x10", None), ("1e3", None),
])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_or_unknown_and_never_an_error(status, value, hold):
    assert meaning(status, {"message": "no"}, {"retry-AFTER": value, "Date": DATE}).hold == hold


@pytest.mark.parametrize("date", ["", "nonsense", None])
def test_a_date_without_the_answers_own_date_is_unknown(date):
    headers = {"Retry-After": "Fri, 20 Dec 2024 12:02:00 GMT", **({} if date is None else {"Date": date})}
    assert meaning(429, b"", headers).hold is None


@pytest.mark.parametrize("status", [200, 400, 403, 404, 500, 502, 504])
def test_other_statuses_do_not_hold_for_a_retry_after(status):
    assert meaning(status, {"a": 1}, {"Retry-After": "60"}).hold is None


def test_what_the_provider_says_itself_goes_before_the_gateways_words():
    assert said(429, "Too many requests", Retry_After="30") == (429, 30)
    assert said(429, "You have exceeded the rate limit per hour for your plan", Retry_After="soon") == (429, 3600)


def test_a_providers_own_limiter():
    assert said(429, "no", x_ratelimit_remaining="0", x_ratelimit_reset="42") == (429, 42)
    assert said(429, "no", x_ratelimit_remaining="0", x_ratelimit_reset=str(STAMP + 42), date=DATE) == (429, 42)
    assert said(429, "no", x_ratelimit_remaining="3", x_ratelimit_reset="42") == (429, None)


# --- quota ---

def plan(remaining, reset="1000", limit="500", billed="requests"):
    return {f"X-RateLimit-{billed}-Limit": limit, f"x-ratelimit-{billed}-remaining": remaining,
            f"X-RATELIMIT-{billed.upper()}-RESET": reset}


HARD = {f"x-ratelimit-rapid-free-plans-hard-limit-{kind}": value
        for kind, value in (("limit", "500000"), ("remaining", "499000"), ("reset", "2592000"))}


@pytest.mark.parametrize("headers, quota", [
    ({}, None),
    (plan("499"), {"limit": 500, "remaining": 499, "reset": 1000}),
    ({**HARD, **plan("0")}, {"limit": 500, "remaining": 0, "reset": 1000}),
    (HARD, None),
    ({"x-ratelimit-limit": "5", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, None),
    (plan("7", billed="api-units"), {"limit": 500, "remaining": 7, "reset": 1000}),
    ({**plan("7", billed="api-units"), **plan("100")}, {"limit": 500, "remaining": 100, "reset": 1000}),
    ({**plan("0", billed="characters"), **plan("100")}, {"limit": 500, "remaining": 0, "reset": 1000}),
    ({"X-RateLimit-Requests-Remaining": "5"}, {"remaining": 5}),
    (plan("-3"), {"limit": 500, "remaining": 0, "reset": 1000}),
    (plan("0.5"), {"limit": 500, "remaining": 0.5, "reset": 1000}),
    (plan("12, 12"), {"limit": 500, "remaining": 12, "reset": 1000}),
    (plan("12, 13"), {"limit": 500, "reset": 1000}),
    (plan("many"), {"limit": 500, "reset": 1000}),
    (plan("9" * 400), {"limit": 500, "reset": 1000}),
    (plan("5", reset="999999999"), {"limit": 500, "remaining": 5, "reset": 31 * 86400}),
    (plan("5", reset="-7"), {"limit": 500, "remaining": 5}),
    (plan("5", reset="1.5"), {"limit": 500, "remaining": 5}),
    ({**plan("5", reset=str(STAMP + 60)), "Date": DATE}, {"limit": 500, "remaining": 5, "reset": 60}),
    (plan("5", reset=str(STAMP + 60)), {"limit": 500, "remaining": 5}),
    (plan("nan", reset="nan", limit="nan"), None),
    (plan("0", billed="Second"), None), (plan("0", billed="minute"), None), (plan("0", billed="burst"), None), (plan("0", billed="hour"), None),
    (plan("0", billed="requests-per-minute"), None),
    ({**plan("0", billed="minute"), **plan("9")}, {"limit": 500, "remaining": 9, "reset": 1000}),
    (plan("0", billed="minutes"), {"limit": 500, "remaining": 0, "reset": 1000}),  # of sound, say
])
def test_the_plans_quota_is_read_from_any_answer(headers, quota):
    found = meaning(200, headers=headers).quota
    assert found == meaning(404, headers=headers).quota
    assert {name: number for name, number in (found.as_told() or {}).items() if number is not None} == (quota or {})


@pytest.mark.parametrize("message, headers, hold", [
    (QUOTA, plan("0"), 1000), (QUOTA, {}, math.inf), (QUOTA, plan("0", reset="soon"), math.inf), (QUOTA, plan("3"), 1000),
    ("Too many requests", plan("0"), 1000), ("no", plan("0"), 1000), ("no", plan("1"), None),
    (QUOTA, {**plan("0"), "Retry-After": "5"}, 1000),
])
def test_a_429_that_is_the_quota_holds_until_the_reset(message, headers, hold):
    assert meaning(429, {"message": message}, headers).hold == hold


# --- checks ---

@pytest.mark.parametrize("says, meant", [
    (200, 200), (404, 404), (403, 403), (429, 429), (500, 500), (502, 502), (400, 502), (422, 502), (201, 502), (0, 502), (None, 502),
    (True, 502), ("404", 502), (999, 502),
])
def test_a_check_tells_the_status_a_200_should_have_had(says, meant):
    found = meaning(200, {"message": "why"}, endpoint="/e", check=lambda endpoint, data: says if endpoint == "/e" else 200)
    assert found.status == meant and (found.data is None) is (meant != 200)
    assert meant == 200 or "why" in found.detail


def test_a_check_that_raises_means_a_bad_payload():
    assert meaning(200, [], check=lambda endpoint, data: data["x"]).detail == "bad payload: its check raised TypeError"


def test_only_a_success_is_checked():
    assert meaning(503, {"message": "no"}, check=lambda endpoint, data: 200).status == 503
    assert meaning(200, b"<html>", check=lambda endpoint, data: 200).status == 502


# --- charsets ---

def test_iso_2022_jp_is_ascii_with_escapes_and_is_read_as_declared():
    body = json.dumps({"name": "日本 Ada"}, ensure_ascii=False).encode("iso-2022-jp")
    assert parse(as_utf8(body, "ISO-2022-JP")) == {"name": "日本 Ada"}
    for charset in ("utf-8", "bogus", "hex", "idna"):
        assert as_utf8(body, charset) == body
    mixed = '{"name": "ü \x1b"}'.encode()
    assert as_utf8(mixed, "iso-2022-jp") is mixed  # not ASCII otherwise, and UTF-8
    plain = b'{"name": "ada"}'
    assert as_utf8(plain, "iso-2022-jp") is plain
