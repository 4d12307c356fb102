"""What each hostile endpoint, parameter, name, time and definition gets, before anything is sent."""

import enum
import math
import re

import pytest

from rapidfailover import (
    MATRIX,
    FailoverClient,
    FileCache,
    InvalidEndpoint,
    LRUTTLCache,
    ProviderConfig,
    ProviderRegistry,
    Route,
    UnknownPlatform,
    UnknownProvider,
    get_linkedin_profile,
    get_tiktok_user,
)
from rapidfailover.credentials import speaks_rapidapi


class Path(str, enum.Enum):
    USER = "/user/info"


class Deep:
    def __str__(self):
        raise AssertionError("asked for its text")


ENDPOINTS = [  # each is an InvalidEndpoint
    "", "user/info", "v1/x", " /user", "@evil.example/", ".evil.example/", ":80@evil.example/", "//evil.example/",
    "///evil.example", "http://evil.example/", "https:/evil.example", "javascript:alert(1)", "\\\\evil.example", "/\\evil.example",
    "/user\\..\\admin", "/user?x=1", "/user#x", "/user\r\nX-Evil: 1", "/user\n", "/user\x00", "/user\x7f", "/user\x85", "/user\u2028",
    "/user\u200b", "/../admin", "/./admin", "/a/../admin", "/..", "/%2e%2e/admin", "/%2E./admin", "/a/.%2e", "/a/%2E", "/user\ud800",
    None, 1, b"/user/info", ["/user/info"], {"/user/info"}, Deep(),
]
PLATFORMS = ["", "nope", "TIKTOK", " tiktok", "tiktok\n", "../tiktok", "tiktok\x00", None, 1, b"tiktok", ("tiktok",)]
PARAMS = [
    (["unique_id", "ada"], TypeError), ("unique_id=ada", TypeError), (b"a=b", TypeError), (3, TypeError), ([("a", 1)], TypeError),
    ({1: "a"}, TypeError), ({None: "a"}, TypeError), ({b"a": "b"}, TypeError), ({"a": b"b"}, TypeError), ({"a": {"b": 1}}, TypeError),
    ({"a": [["b"]]}, TypeError), ({"a": Deep()}, TypeError), ({"a": {1, 2}}, TypeError), ({"a": object}, TypeError), ({"a": 1j}, TypeError),
    ({"a": "\ud800"}, ValueError), ({"\udfff": "a"}, ValueError), ({"a": ["ok", "\udc80"]}, ValueError),
]
SECONDS = [0, -1, -0.0, math.nan, math.inf, -math.inf, 10 ** 400, "5", b"5", True, None, [5], 1j, Deep]
DEFINITIONS = [
    dict(name=""), dict(name=" "), dict(name=None), dict(name=3), dict(host=""), dict(host="evil.example/x"), dict(host="evil.example#"),
    dict(host="evil.example?"), dict(host="user@evil.example"), dict(host="evil.example:99999"), dict(host="e vil.example"), dict(host="evil.example\n"),
    dict(host="-evil.example"), dict(host="a" * 64 + ".example"), dict(host="évil.example"), dict(host=b"evil.example"), dict(host="[::1"),
    dict(priority="1"), dict(priority=1.0), dict(priority=None), dict(priority=True),
    dict(base_url="http://evil.example"), dict(base_url="http://127.0.0.1.evil.example"), dict(base_url="http://2130706433"),
    dict(base_url="http://127.0.0.1@evil.example"), dict(base_url="ftp://127.0.0.1"), dict(base_url="file:///etc/passwd"),
    dict(base_url="//evil.example"), dict(base_url="evil.example"), dict(base_url="https://"), dict(base_url="https:///x"),
    dict(base_url="https://evil.example?x=1"), dict(base_url="https://evil.example#x"), dict(base_url="https://evil.example\\x"),
    dict(base_url="https://evil.example\r\nX: y"), dict(base_url="https://evil.example:port"), dict(base_url=b"https://evil.example"),
    dict(base_url=""), dict(base_url="HTTP://localhost.evil.example"), dict(routes={"/x": "/v2/x"}), dict(routes={"/x": ("/v2/x",)}),
]
NO_TABLE = [3, "x", [], None]


def test_the_table_is_long_enough():
    assert sum(map(len, (ENDPOINTS, PLATFORMS, PARAMS, SECONDS, DEFINITIONS))) >= 60


@pytest.fixture(autouse=True)
def nothing_is_sent(rapidapi):
    yield
    assert rapidapi.requests == []


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: ascii(endpoint)[:30])
def test_an_endpoint_that_could_lead_off_the_host(client, endpoint):
    with pytest.raises(InvalidEndpoint, match="an endpoint"):
        client.call("tiktok", endpoint)
    with pytest.raises(InvalidEndpoint):
        ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, routes={"/x": Route(endpoint)})]})
    with pytest.raises((InvalidEndpoint, TypeError)):  # a set cannot be the key of a mapping
        ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, routes={endpoint: Route("/x")})]})
    with pytest.raises(InvalidEndpoint):
        ProviderRegistry({}).add("p", ProviderConfig("a", "a.example", 1), probe=(endpoint, {}))


@pytest.mark.parametrize("platform", PLATFORMS, ids=ascii)
def test_a_platform_that_is_none(client, platform):
    for ask in (lambda: client.call(platform, "/user/info"), lambda: client.registry.get_available_providers(platform),
                lambda: client.registry.mark_error(platform, "tiktok-scraper7"), lambda: client.check_provider_health([platform])):
        with pytest.raises(UnknownPlatform, match="tiktok"):  # names those that there are
            ask()


@pytest.mark.parametrize("name", ["", "nope", "TIKTOK-SCRAPER7", None, 1, b"tiktok-scraper7", ["x"]], ids=ascii)
def test_a_provider_that_is_none(client, name):
    for ask in (client.registry.mark_error, client.registry.mark_success, client.registry.enable, client.registry.disable, client.registry.reset):
        if name is None and ask == client.registry.reset:
            continue  # all of them
        with pytest.raises(UnknownProvider):
            ask("tiktok", name)


@pytest.mark.parametrize("params, error", PARAMS, ids=lambda value: ascii(value)[:30])
def test_params_that_no_query_can_hold(client, params, error):
    with pytest.raises(error):
        client.call("tiktok", "/user/info", params)


@pytest.mark.parametrize("seconds", SECONDS, ids=lambda value: ascii(value)[:20])
def test_times_that_are_none(client, rapidapi, seconds):
    options = [dict(timeout=seconds), dict(deadline=seconds)]
    for option in options:
        if seconds is not None:
            with pytest.raises(ValueError, match=f"{next(iter(option))} is a positive finite number"):
                client.call("tiktok", "/user/info", **option)
        with pytest.raises(ValueError, match=next(iter(option))):
            FailoverClient(rapidapi.registry, **option)
    with pytest.raises(ValueError):
        ProviderRegistry({}, cooldown=seconds)
    with pytest.raises(ValueError):
        client.monitor(seconds)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda value: ascii(value)[:40])
def test_a_provider_that_the_key_must_not_go_to(definition):
    with pytest.raises(ValueError):
        ProviderConfig(**{"name": "a", "host": "a.example", "priority": 1, **definition})


@pytest.mark.parametrize("made, said", [
    (lambda: ProviderConfig("a", "a.example", 1, check=5), "the check of a is a function, not int"),
    (lambda: ProviderConfig("a", "a.example", 1, routes={"/x": Route("/y", params={"a": 1})}), "the params of a for '/x' is a function, not dict"),
    (lambda: ProviderConfig("a", "a.example", 1, routes={"/x": Route("/y", json={})}), "the json of a for '/x' is a function, not dict"),
    (lambda: ProviderConfig("a", "a.example", 1, routes={"/x": Route("/y", adapt="z")}), "the adapt of a for '/x' is a function, not str"),
    (lambda: ProviderRegistry([ProviderConfig("a", "a.example", 1)]), "a mapping of platforms to lists of ProviderConfig, not list"),
    (lambda: get_tiktok_user(None), "a name is a text, not NoneType"), (lambda: get_linkedin_profile(b"ada"), "a name is a text, not bytes"),
])
def test_what_cannot_serve_is_refused_with_what_to_write(made, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        made()


def test_a_blank_name_is_not_asked_for():
    for blank in ("", " \n"):
        with pytest.raises(ValueError, match="empty"):
            get_tiktok_user(blank)


def test_a_host_is_known_whatever_its_case():
    assert speaks_rapidapi(ProviderConfig("a", "Tiktok-Scraper7.P.RapidAPI.com", 1))


@pytest.mark.parametrize("option, error", [
    (dict(max_body=0), ValueError), (dict(max_body=-1), ValueError), (dict(max_body=1.5), ValueError), (dict(max_body=True), ValueError),
    (dict(max_wait=-1), ValueError), (dict(max_stale=math.nan), ValueError), (dict(fresh_for="1"), ValueError),
    (dict(matrix=3), TypeError), (dict(matrix={429: "retry"}), TypeError), (dict(matrix={"429": MATRIX[429]}), TypeError), (dict(refresh=3), TypeError),
])
def test_options_that_make_no_sense(rapidapi, option, error):
    with pytest.raises(error, match=next(iter(option))):
        FailoverClient(rapidapi.registry, **option)


@pytest.mark.parametrize("make", [
    lambda: LRUTTLCache(max_entries=0), lambda: LRUTTLCache(ttl=-1), lambda: LRUTTLCache(max_bytes=0), lambda: FileCache("x", 0),
])
def test_caches_that_could_hold_nothing(make):
    with pytest.raises(ValueError):
        make()


def test_a_member_of_an_enum_is_its_value(rapidapi, client):
    """An f-string would format it as Path.USER, behind the host's name and without a slash."""
    client.call("tiktok", Path.USER, {"unique_id": "ada"})
    config = ProviderConfig(Path.USER, "a.example", 1, routes={Path.USER: Route(Path.USER)})
    assert f"{config.name}" == "/user/info"
    assert rapidapi.requests.pop().path == "/user/info"
