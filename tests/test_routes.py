"""Routes whose path is made from the params, bodies that nest, and the params of a next page."""

import pytest
from conftest import KEY, NO_RETRY

from rapidfailover import (
    AllProvidersFailed,
    FailoverClient,
    InvalidEndpoint,
    Paging,
    ProviderConfig,
    ProviderRegistry,
    Route,
)
from rapidfailover.config import Question, encode_query
from rapidfailover.testing import FakeRapidAPI
from rapidfailover.transport import outgoing

TEXT = Route(lambda p: f"/v1/users/{p['name']}/about")
PARTS = Route(lambda p: ("v1", "users", p["name"], "about"))
LINK = Route(lambda p: f"/in/{p['name'].rstrip('/').rpartition('/')[2]}")


@pytest.fixture
def ask():
    """Asks for a name by a route; what arrived, or why nothing did."""
    clients = []

    def ask(route, name):
        config = ProviderConfig("mine", "mine.p.rapidapi.com", 1, routes={"/user": route._replace(params=lambda p: {})})
        fake = FakeRapidAPI({"people": [config]})
        clients.append(fake)
        with FailoverClient(fake.registry, api_key=KEY, matrix=NO_RETRY, refresh=False) as client:
            try:
                client.call("people", "/user", {"name": name})
            except AllProvidersFailed as failed:
                assert fake.requests == []
                return failed.attempts[0].action
        return fake.requests[0].path

    yield ask
    for fake in clients:
        fake.close()


@pytest.mark.parametrize("route, name, path", [
    (TEXT, "ada", "/v1/users/ada/about"), (TEXT, 7, "/v1/users/7/about"), (TEXT, "ada b", "/v1/users/ada%20b/about"),
    (TEXT, "gr\u00f6\u00dfe", "/v1/users/gr%C3%B6%C3%9Fe/about"),
    (PARTS, "ada", "/v1/users/ada/about"), (PARTS, 7, "/v1/users/7/about"), (PARTS, "a/b?c#d%e\\{f}", "/v1/users/a%2Fb%3Fc%23d%25e%5C%7Bf%7D/about"),
    (PARTS, "gr\u00f6\u00dfe", "/v1/users/gr%C3%B6%C3%9Fe/about"),
    (LINK, "https://x.invalid/in/ada/", "/in/ada"),
])
def test_a_path_is_made_from_the_params(ask, route, name, path):
    assert ask(route, name) == path


@pytest.mark.parametrize("route, name", [
    (TEXT, "ada/messages"), (TEXT, "ada/"), (TEXT, "../admin"), (TEXT, ".."), (TEXT, "a%2fb"), (TEXT, "a?b=1"), (TEXT, "a#b"), (TEXT, "a\\b"),
    (TEXT, "{a}"), (TEXT, "a\nb"), (TEXT, ["a/b"]), (PARTS, ".."), (PARTS, "."), (PARTS, ""), (PARTS, None), (PARTS, [1]),
    (Route(lambda p: "//evil.example"), "ada"), (Route(lambda p: "@evil.example"), "ada"), (Route(lambda p: "https://evil.example"), "ada"),
    (Route(lambda p: None), "ada"), (Route(lambda p: p["other"]), "ada"), (Route(lambda p: 1 / 0), "ada"), (Route(lambda p: ()), "ada"),
], ids=lambda value: ascii(value)[:20])
def test_a_name_that_would_lead_elsewhere_is_not_asked_for(ask, route, name):
    assert ask(route, name) == "skipped"


def test_the_next_provider_answers_where_one_cannot_say_it_in_a_path():
    configs = [ProviderConfig("one", "one.p.rapidapi.com", 1, routes={"/user": TEXT}), ProviderConfig("two", "two.p.rapidapi.com", 2, routes={"/user": PARTS})]
    with FakeRapidAPI({"people": configs}) as fake, FailoverClient(fake.registry, api_key=KEY, refresh=False) as client:
        result = client.call("people", "/user", {"name": "a/b"})
    assert (result.provider, result.data["path"]) == ("two", "/v1/users/a%2Fb/about")
    assert [(attempt.action, attempt.detail) for attempt in result.attempts][:1] == [("skipped", "cannot say this in its dialect: InvalidEndpoint")]


def test_a_path_is_made_outside_every_lock():
    """The function may ask the registry of its own client."""
    def path(params):
        assert registry.snapshot()["people"]["mine"]["circuit"] == "closed"
        return ("users", params["name"])

    with FakeRapidAPI({"people": [ProviderConfig("mine", "mine.p.rapidapi.com", 1, routes={"/user": Route(path)})]}) as fake:
        registry = fake.registry
        with FailoverClient(registry, api_key=KEY, refresh=False) as client:
            assert client.call("people", "/user", {"name": "ada"}).data["path"] == "/users/ada"


# --- params that nest ---

NESTED = {"filters": {"title": ["Engineer", "Poet"], "in": {"country": "UK"}}, "n": 2}


def question(params, endpoint="/search"):
    return Question("people", endpoint, params, encode_query(params, lambda: True), "key")


def test_params_that_nest_are_sent_in_a_json_body():
    sent = outgoing(question(NESTED), Route("/search", "POST", json=lambda p: p))
    assert (sent.query, sent.is_own) == ("", True)
    assert sent.body == b'{"filters": {"title": ["Engineer", "Poet"], "in": {"country": "UK"}}, "n": 2}'
    assert outgoing(question(NESTED), Route("/find", params=lambda p: {"n": p["n"]})).query == "n=2"


@pytest.mark.parametrize("route", [None, Route("/find"), Route("/find", params=lambda p: p)])
def test_params_that_nest_are_nothing_for_a_query(route):
    with pytest.raises(TypeError):
        outgoing(question(NESTED), route)
    with pytest.raises(TypeError):
        encode_query(NESTED)


def test_each_nested_question_is_one_of_its_own_and_its_order_is_nothing():
    same = {"n": 2, "filters": {"in": {"country": "UK"}, "title": ["Engineer", "Poet"]}}
    others = [{**NESTED, "n": 3}, {**NESTED, "filters": {}}, {"filters": '{"in": {"country": "UK"}, "title": ["Engineer", "Poet"]}', "n": 2}]
    keys = [encode_query(params, lambda: True) for params in (NESTED, same, *others)]
    assert keys[0] == keys[1] and len(set(keys)) == 4
    assert encode_query({"a": [1, None, "b"]}, lambda: True) == "a=1&a=b"


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": b"x"}, {"a": float("nan")}, [[object()]]])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(TypeError, match="'filters'"):
        encode_query({"filters": value}, lambda: True)


def test_a_number_that_is_none_is_in_no_json_body():
    route = Route("/search", "POST", json=lambda params: params)
    with pytest.raises(ValueError):
        outgoing(question({"n": float("nan")}), route)


def test_whether_an_endpoint_takes_a_json_body_is_known_by_its_routes():
    configs = [ProviderConfig("one", "one.example", 1), ProviderConfig("two", "two.example", 2, routes={"/find": Route("/f", "POST", json=dict)})]
    registry = ProviderRegistry({"people": configs})
    assert (registry.takes_json("people", "/find"), registry.takes_json("people", "/other")) == (True, False)


def test_a_nested_question_is_asked_answered_and_kept_as_it_was():
    route = Route("/search", "POST", json=lambda p: p)
    configs = [ProviderConfig("mine", "mine.p.rapidapi.com", 1, routes={"/search": route})]
    with FakeRapidAPI({"people": configs}) as fake, FailoverClient(fake.registry, api_key=KEY, matrix=NO_RETRY, refresh=False) as client:
        fake.answer("mine", "/search", lambda asked: {"was": asked})
        params = {"filters": {"title": ["Poet"]}}
        client.call("people", "/search", params)
        params["filters"]["title"].append("Engineer")
        client.call("people", "/search", params)
        fake.fail("mine", 503)
        assert client.call("people", "/search", {"filters": {"title": ["Poet"]}}).stale
        with pytest.raises(TypeError, match="'filters'"):
            client.call("people", "/other", params)
    assert len(fake.requests) == 3


def test_what_a_refresh_asks_for_is_what_was_asked_for():
    asked = []
    configs = [ProviderConfig("mine", "mine.p.rapidapi.com", 1, routes={"/search": Route("/search", "POST", json=dict)})]
    with FakeRapidAPI({"people": configs}) as fake, FailoverClient(fake.registry, api_key=KEY, matrix=NO_RETRY, refresh=asked.append) as client:
        params = {"filters": {"title": ["Poet"]}}
        client.call("people", "/search", params)
        fake.fail("mine", 503)
        client.call("people", "/search", params)
        params["filters"]["title"].append("Engineer")
    assert asked[0].params == {"filters": {"title": ["Poet"]}}


# --- what a Route may be ---

@pytest.mark.parametrize("route, error", [
    (Route("/x", pages=lambda params, data: None), ValueError), (Route("/x", pages=Paging("cursor")), ValueError), (Route(7), InvalidEndpoint),
    (Route(("v1", "x")), InvalidEndpoint),
])
def test_a_route_that_cannot_serve_is_refused_when_it_is_made_known(route, error):
    with pytest.raises(error):
        ProviderRegistry({"people": [ProviderConfig("mine", "mine.example", 1, routes={"/user": route})]})
