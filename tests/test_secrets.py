"""A key is planted, everything goes wrong that can, and all that leaves the process's mouth is searched for it."""

import json
import logging
import pickle
import traceback

import pytest
import requests
from conftest import NO_RETRY, Upstream, http, in_threads
from faults import GET_200

from rapidfailover import FailoverClient, FailoverError, FileCache, LRUTTLCache, ProviderRegistry, cli, credentials
from rapidfailover.credentials import Key, without

KEY = "planted0key0msh1planted2key3p4jsn5planted6key7"
SPELT = "".join(f"\\u00{ord(char):02X}" for char in KEY)
PART = KEY[:16]

ECHOES = {
    "200": http(json.dumps({"key": KEY}).encode()),
    "200, spelt out": http(f'{{"key": "{SPELT}"}}'.encode()),
    "200, half spelt out": http(f'{{"key": "{SPELT[:60]}{KEY[10:]}"}}'.encode()),
    "200, as a name": http(json.dumps({KEY: 1}).encode()),
    "error body": http(json.dumps({"message": f"bad key {KEY}"}).encode(), "403 Forbidden"),
    "error page": http(f"<html>{KEY}</html>".encode(), "500 Oops"),
    "reason": http(b"{}", f"503 {KEY}"),
    "status line": f"HTTP/1.1 {KEY}\r\n\r\n".encode(),
    "redirect": http(b"", "302 Found", Location=f"https://evil.example/{KEY}"),
    "header that is none": GET_200 + f"{KEY}\r\nX-Other: {KEY}\r\n\r\n{{}}".encode(),
    "encoding": http(b"{}", Content_Encoding=KEY),
    "length": http(b"{}", length=KEY),
    "quota": http(b"{}", X_RateLimit_Requests_Remaining=KEY, X_RateLimit_Requests_Limit=KEY),
    "401": http(json.dumps({"message": KEY}).encode(), "401 Unauthorized"),
    "400": http(json.dumps({"message": KEY}).encode(), "400 Bad Request"),
    "UTF-16, broken": http(KEY.encode("utf-16") + b"x", "403 Forbidden"),
    "spaced out": http(json.dumps({"message": "\0".join(KEY)}).encode(), "403 Forbidden"),
    "cookie": http(b"[]", Set_Cookie=f"k={KEY}"),
}


def mouth(thing, seen=None):
    """Everything that can be told of an object: its repr, text, pickle, causes, and a traceback with locals."""
    told = [repr(thing), str(thing), repr(pickle.dumps(thing))]
    if isinstance(thing, BaseException):
        told.append("".join(traceback.TracebackException.from_exception(thing, capture_locals=True).format()))
        told += [repr(thing.args), repr(thing.__dict__)]
        for cause in (thing.__cause__, thing.__context__):
            told += [] if cause is None else mouth(cause)
    return told


@pytest.fixture
def tell_all(monkeypatch, caplog):
    """http.client prints every header, urllib3 and we log all we have."""
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.parametrize("echo", ECHOES)
def test_no_echo_of_the_key_is_told(tell_all, caplog, capfd, tmp_path, echo):
    handed = []
    files, memory = FileCache(tmp_path), LRUTTLCache()
    with Upstream(ECHOES[echo]) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider()]})
        for cache in (files, memory):
            with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, cache=cache, refresh=handed.append) as client:
                try:
                    told = mouth(client.call("raw", "/thing", {"q": "1"}))
                except FailoverError as error:
                    told = mouth(error)
                told += [repr(client), repr(vars(client)), repr(client._transport._sessions), repr(memory._entries)]  # whatever somebody may print
    assert KEY.encode() in upstream.received[0]  # it went out
    told += [caplog.text, *capfd.readouterr(), repr(registry.snapshot()), *map(repr, handed)]
    told += [repr([record.__dict__ for record in caplog.records])]
    told += [path.read_text() + str(path) for path in tmp_path.iterdir()]
    for said in told:
        assert " ".join(PART) not in said and PART not in said and PART.lower() not in said.lower() and SPELT[:40] not in said.replace("\\\\", "\\")


@pytest.mark.slow
@pytest.mark.parametrize("fault", [401, 403, 404, 429, 500, 503, "hang", "disconnect", "html", "cut"])
def test_no_failure_tells_it(tell_all, caplog, capfd, rapidapi, make_client, fault):
    for provider in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        rapidapi.fail(provider, fault)
    client = make_client(api_key=lambda: KEY, refresh_key=lambda old: KEY[::-1], max_wait=0)
    with pytest.raises(FailoverError) as caught:
        client.call("tiktok", "/user/info", {"unique_id": "ada"}, timeout=0.4)
    for said in [*mouth(caught.value), caplog.text, *capfd.readouterr(), repr(client.registry.snapshot())]:
        assert " ".join(PART) not in said and PART not in said and KEY[::-1][:16] not in said


def test_no_traceback_of_what_is_raised_while_connecting_tells_it(monkeypatch):
    """http.client connects when the head is put together, in a frame that holds the head."""
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with Upstream(http(b"[]")) as upstream, FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=lambda: KEY) as client:
        with monkeypatch.context() as patch:
            patch.setattr("socket.socket", interrupted)
            with pytest.raises(KeyboardInterrupt) as caught:
                client.call("raw", "/thing")
        assert not any(PART in said for said in mouth(caught.value))


def test_the_objects_of_requests_do_not_hold_it(rapidapi, make_client, monkeypatch):
    """What a hook or an error reporter gets to see of requests."""
    seen = []
    send = requests.Session.send

    def spy(session, request, **settings):
        response = send(session, request, **settings)
        seen.extend([dict(session.headers), session.auth, dict(request.headers), dict(response.request.headers), dict(response.headers)])
        return response

    monkeypatch.setattr(requests.Session, "send", spy)
    make_client(api_key=KEY).call("tiktok", "/user/info", {"unique_id": "ada"})
    assert seen and KEY not in repr(seen)


def test_the_command_line_does_not_tell_it(rapidapi, monkeypatch, capfd):
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)
    echo = Upstream(ECHOES["error body"], ECHOES["200"])
    registry = ProviderRegistry({"raw": [echo.provider()]})
    for _ in range(3):
        cli.main(["call", "raw", "/thing"], registry=registry)
    cli.main(["health"], registry=rapidapi.registry)
    cli.main(["providers"], registry=rapidapi.registry)
    out, err = capfd.readouterr()
    assert out and err and KEY not in out + err


def test_in_many_threads_each_log_line_is_masked_with_the_key_of_its_own_call(caplog):
    keys = [f"{number:03d}{KEY}" for number in range(8)]
    with Upstream(lambda connection: connection.sendall(GET_200 + b"nonsense " + KEY.encode() + b"\r\n\r\n[]")) as upstream:
        registry = ProviderRegistry({"raw": [upstream.provider()]})

        def work(number):
            with FailoverClient(registry, api_key=keys[number]) as client:
                client.call("raw", "/thing", {"q": number})

        with caplog.at_level(logging.DEBUG):
            in_threads(8, work)
    assert "Starting new HTTP connection" in caplog.text
    assert not any(key in caplog.text for key in keys)


@pytest.mark.parametrize("key", ["k" * 20, 'a"b\\c/d.e+f*g(h)i[j', "0123456789abcdef"])
def test_every_spelling_is_found_and_nothing_else_touched(key):
    upper = "".join(f"\\u{ord(char):04X}" for char in key)
    for spelt in (json.dumps(key)[1:-1], upper, upper.lower().replace("\\U", "\\u"), json.dumps(key)[1:-1].replace("/", "\\/")):
        assert without(Key(key), f'["{spelt}", "\\u0041\\u00e9\\/"]'.encode()) == b'["***", "\\u0041\\u00e9\\/"]'
    assert without(Key(key), b'"\\u0041 \\\\ nothing"') == b'"\\u0041 \\\\ nothing"'


@pytest.mark.parametrize("before", ["", "\\", "\\\\", "\\u", "\\u00", "\\u0123", "\\U", "\\U0001", "\\ud83d", "\\u0026"])
@pytest.mark.parametrize("key", ["0123456789abcdef0123", 'a"b\\c/d.e+f*g(h)i[j'])
def test_no_escape_in_front_of_a_spelt_out_key_hides_it(key, before):
    spelt = key[:6] + f"\\u{ord(key[6]):04x}" + key[7:]
    assert b"***" in without(Key(key), f'["{before}{spelt}"]'.encode())


def test_an_ampersand_in_a_url_starts_no_search(monkeypatch):
    monkeypatch.setattr(credentials, "_may_spell", None)
    body = b'["https://x.invalid/?a=1\\u0026b=2\\u003c\\u00e9\\n"]'
    assert without(Key(KEY), body) == body
