"""The functions of the module and the client they share."""

import inspect

import pytest
from conftest import KEY, NO_RETRY, forget_default_client

import rapidfailover
from rapidfailover import AllProvidersFailed


@pytest.fixture(autouse=True)
def no_default_client():
    """Each test meets the module as it is after import."""
    yield
    forget_default_client()


@pytest.fixture
def configured(rapidapi):
    rapidfailover.configure(registry=rapidapi.registry, api_key=KEY, matrix=NO_RETRY)
    return rapidapi


@pytest.mark.parametrize("function, argument, found", [
    (rapidfailover.get_tiktok_user, "ada", lambda data: data["data"]["user"]["uniqueId"]),
    (rapidfailover.get_instagram_profile, "ada", lambda data: data["username"]),
    (rapidfailover.get_youtube_video, "dQw4w9WgXcQ", lambda data: data["id"]),
    (rapidfailover.get_twitter_user, "ada", lambda data: data["profile"]),
    (rapidfailover.get_linkedin_profile, "ada-example", lambda data: data["data"]["publicIdentifier"]),
])
def test_each_platform_has_a_function(configured, function, argument, found):
    assert found(function(argument)) == argument
    assert inspect.signature(function).parameters["timeout"].default == 15.0


def test_the_strategys_signature(configured):
    signature = inspect.signature(rapidfailover.call_with_failover)
    assert list(signature.parameters) == ["platform", "endpoint", "params", "timeout"]
    assert signature.parameters["timeout"].default == 15.0
    data = rapidfailover.call_with_failover(platform="tiktok", endpoint="/user/info", params={"unique_id": "ada"})
    assert data["data"]["user"]["uniqueId"] == "ada"


def test_call_gives_the_result(configured):
    result = rapidfailover.call("tiktok", "/user/info", {"unique_id": "ada"}, timeout=5, deadline=10)
    assert result.provider == "tiktok-scraper7"


@pytest.mark.slow
def test_a_timeout_left_out_is_the_clients_and_one_given_goes_first(rapidapi):
    rapidfailover.configure(registry=rapidapi.registry, api_key=KEY, matrix=NO_RETRY, timeout=0.2, deadline=0.5)
    for name in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        rapidapi.delay(name, 0.6)
    with pytest.raises(AllProvidersFailed):
        rapidfailover.get_tiktok_user("ada")
    rapidapi.registry.reset()
    for name in ("tiktok-feature", "tiktok-tikwm"):
        rapidapi.registry.disable("tiktok", name)
    assert rapidfailover.get_tiktok_user("ada", timeout=15.0)


def test_the_default_client_is_made_once_and_its_registry_is_the_modules():
    client = rapidfailover.default_client()
    assert rapidfailover.default_client() is client
    assert rapidfailover.registry is client.registry
    from rapidfailover import registry
    assert registry is client.registry and "tiktok" in registry.platforms


def test_configure_replaces_and_closes_the_client_and_keeps_the_circuits():
    registry = rapidfailover.registry
    replaced = rapidfailover.default_client()
    replaced._refreshes.put("k", rapidfailover.RefreshRequest("tiktok", "/", {}))  # no public name queues
    rapidfailover.configure(timeout=5)
    assert rapidfailover.default_client() is not replaced and replaced.pending_refreshes == 0
    assert rapidfailover.registry is registry


def test_configure_with_a_registry_of_ones_own(rapidapi):
    strategys = rapidfailover.registry
    rapidfailover.configure(registry=rapidapi.registry)
    assert rapidfailover.registry is rapidapi.registry
    rapidfailover.configure()
    assert rapidfailover.registry is strategys


def test_options_that_make_no_sense_leave_the_client_in_place():
    client = rapidfailover.default_client()
    with pytest.raises(ValueError):
        rapidfailover.configure(timeout=-1)
    with pytest.raises(TypeError):
        rapidfailover.configure(timeouts=1)
    assert rapidfailover.default_client() is client


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'registrar'"):
        rapidfailover.registrar
