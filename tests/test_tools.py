"""Test tools that step in below us see our calls and answer them."""

import socket

import pytest
import requests_mock
import responses
import vcr
from conftest import KEY, Upstream, http

from rapidfailover import FailoverClient, ProviderConfig, ProviderRegistry

WEATHER = ProviderRegistry({"weather": [ProviderConfig("sunny", "sunny.p.rapidapi.com", 1)]})


@pytest.fixture
def client():
    with FailoverClient(WEATHER, api_key=KEY, refresh=False) as client:
        yield client


@pytest.fixture(autouse=True)
def no_name_is_looked_up(monkeypatch):
    def refuse(host, *args):
        raise AssertionError(f"{host} was looked up")

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args: real(host, *args) if host == "127.0.0.1" else refuse(host))


@responses.activate
def test_responses(client):
    responses.get("https://sunny.p.rapidapi.com/now", json={"celsius": 5})
    assert client.call("weather", "/now", {"place": "Oslo"}).data == {"celsius": 5}
    assert responses.calls[0].request.url == "https://sunny.p.rapidapi.com/now?place=Oslo"
    assert responses.calls[0].request.headers["X-RapidAPI-Host"] == "sunny.p.rapidapi.com"


def test_requests_mock(client):
    with requests_mock.Mocker() as mock:
        mock.get("https://sunny.p.rapidapi.com/now", json={"celsius": 5})
        assert client.call("weather", "/now", {"place": "Oslo"}).data == {"celsius": 5}
    assert mock.last_request.qs == {"place": ["oslo"]}


def test_vcrpy_records_and_plays_back(tmp_path):
    cassette = tmp_path / "cassette.yaml"
    tape = vcr.VCR(filter_headers=["X-RapidAPI-Key"])
    with Upstream(http(b'{"celsius": 5}')) as upstream:
        registry = ProviderRegistry({"weather": [upstream.provider()]})
        with FailoverClient(registry, api_key=KEY, refresh=False) as client:
            with tape.use_cassette(str(cassette)):
                assert client.call("weather", "/now").data == {"celsius": 5}
            assert len(upstream.received) == 1
            client.call("weather", "/now")  # outside: past the tape
            assert len(upstream.received) == 2
            with tape.use_cassette(str(cassette)) as played:
                assert client.call("weather", "/now").data == {"celsius": 5}
                assert played.play_count == 1
    assert len(upstream.received) == 2 and KEY not in cassette.read_text()
