"""A provider's own auth: what it is sent, that nothing of it is told, and what its failures mean."""

import base64
import functools
import json
import logging
import pickle
import time
from urllib.parse import quote

import pytest
import requests
from conftest import KEY, NO_RETRY, Upstream, http
from faults import GET_200
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth
from test_secrets import mouth

from rapidfailover import (
    AllProvidersFailed,
    AuthenticationFailed,
    FailoverClient,
    FailoverError,
    FileCache,
    LRUTTLCache,
    MissingAPIKey,
    ProviderConfig,
    ProviderRegistry,
    RapidAPIKey,
    Route,
)

SECRET = "sk_planted0secret1of2some3vendor4"
SHORT = "pw4711"


def vendor(upstream, name="vendor", priority=1, **options):
    """A provider that is none of RapidAPI's."""
    return ProviderConfig(name, f"api.{name}.example", priority, base_url=f"http://127.0.0.1:{upstream.port}", **options)


def client_of(*providers, **options):
    options = {"api_key": KEY, "matrix": NO_RETRY, "max_wait": 0.0, "refresh": False, **options}
    return FailoverClient(ProviderRegistry({"p": list(providers)} if providers else {}), **options)


def head_of(upstream, number=0):
    return upstream.received[number].decode("latin-1")


# --- auths, each of which puts the secret somewhere else ---

def bearer(request):
    request.headers["Authorization"] = f"Bearer {SECRET}"
    return request


def in_bytes(request):
    request.headers[b"X-Vendor-Key"] = SECRET.encode()
    return request


def in_the_query(request):
    request.prepare_url(request.url, {"apikey": SECRET})
    return request


def in_the_query_by_hand(request):
    request.url += ("&" if "?" in request.url else "?") + f"apikey={SECRET}"
    return request


def in_the_path(request):
    scheme, _, rest = request.url.partition("://")
    host, _, path = rest.partition("/")
    request.url = f"{scheme}://{host}/{SECRET}/{path}"
    return request


def in_a_json_body(request):
    asked = json.loads(request.body or b"{}")
    request.body = json.dumps({**asked, "auth": {"token": SECRET}}).encode()
    return request


def in_a_form(request):
    request.prepare_body({"token": SECRET, "grant": "x"}, None)
    return request


class Signs(AuthBase):
    """As signatures are put on: new ones each time, in several parameters of a header."""

    def __call__(self, request):
        request.headers["Authorization"] = f'SIG1 Credential="{SECRET}",Signature={SECRET[::-1]}'
        return request


AUTHS = {
    "bearer": bearer, "bytes": in_bytes, "basic, password": HTTPBasicAuth("ada", SECRET), "basic, user": HTTPBasicAuth(SECRET, ""),
    "query": in_the_query, "query by hand": in_the_query_by_hand, "path": in_the_path, "JSON": in_a_json_body, "form": in_a_form,
    "signature": Signs(), "RapidAPI's, own key": RapidAPIKey(SECRET), "partial": functools.partial(lambda token, request: bearer(request), SECRET),
}
SPELT = "".join(f"\\u{ord(char):04x}" for char in SECRET)
FORMS = {name: [SECRET] for name in AUTHS}  # in which the upstream has seen it
FORMS["basic, password"].append(base64.b64encode(f"ada:{SECRET}".encode()).decode())
FORMS["basic, user"].append(base64.b64encode(f"{SECRET}:".encode()).decode())
FORMS["signature"].append(SECRET[::-1])

ECHOES = {
    "200": lambda forms: http(json.dumps({"key": forms}).encode()),
    "200, spelt out": lambda forms: http(f'{{"key": "{SPELT}"}}'.encode()),
    "200, in a URL": lambda forms: http(json.dumps({"url": f"http://x/?apikey={SECRET}&q=1", "quoted": quote(forms[-1], "")}).encode()),
    "error body": lambda forms: http(json.dumps({"message": f"bad key {' '.join(forms)}"}).encode(), "403 Forbidden"),
    "error page": lambda forms: http(f"<html>{' '.join(forms)}</html>".encode(), "500 Oops"),
    "400": lambda forms: http(json.dumps({"message": " ".join(forms)}).encode(), "400 Bad Request"),
    "401": lambda forms: http(json.dumps({"message": " ".join(forms)}).encode(), "401 Unauthorized"),
    "reason": lambda forms: http(b"{}", f"503 {' '.join(forms)}"),
    "status line": lambda forms: f"HTTP/1.1 {' '.join(forms)}\r\n\r\n".encode(),
    "redirect": lambda forms: http(b"", "302 Found", Location=f"https://evil.example/{SECRET}"),
    "header that is none": lambda forms: GET_200 + f"{' '.join(forms)}\r\nX-Other: {SECRET}\r\n\r\n{{}}".encode(),
    "encoding": lambda forms: http(b"{}", Content_Encoding=forms[-1]),
    "cut short": lambda forms: http(b'{"ok": "' + forms[-1].encode(), length=4000),
    "UTF-16": lambda forms: http(json.dumps({"message": " ".join(forms)}).encode("utf-16"), "403 Forbidden"),
}


@pytest.mark.slow
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("auth", AUTHS)
def test_nothing_that_an_auth_put_on_is_told(monkeypatch, caplog, capfd, tmp_path, auth, echo):
    """Everything that leaves the process is searched, with the logs of all loggers at DEBUG."""
    monkeypatch.setattr("http.client.HTTPConnection.debuglevel", 1)
    caplog.set_level(logging.DEBUG)
    handed, events, told = [], [], []
    files, memory = FileCache(tmp_path), LRUTTLCache()
    route = Route("/thing", "POST", json=dict) if auth in ("JSON", "form") else Route("/thing")
    with Upstream(ECHOES[echo](FORMS[auth])) as upstream:
        provider = vendor(upstream, auth=AUTHS[auth], routes={"/thing": route})
        for cache in (files, memory):
            with client_of(provider, cache=cache, refresh=handed.append, on_event=lambda *event: events.append(event)) as client:
                try:
                    told += mouth(client.call("p", "/thing", {"q": "1"}))
                except FailoverError as error:
                    told += mouth(error)
                told += [repr(client), repr(vars(client)), repr(client._transport._sessions), repr(memory._entries), repr(provider)]  # whatever somebody may print
                told += [repr(client.registry.snapshot()), repr(client.check_provider_health())]
    told += [caplog.text, *capfd.readouterr(), repr(events), *map(repr, handed)]
    told += [repr([record.__dict__ for record in caplog.records])]
    told += [path.read_text() + str(path) for path in tmp_path.iterdir()]
    told += [base64.b64decode(json.loads(path.read_text())["bytes"]).decode() for path in tmp_path.iterdir()]
    for said in told:
        plain = said.replace("\\\\", "\\").replace(" ", "")
        for form in (*FORMS[auth], SPELT[:60]):
            assert form[:24] not in plain and form[:24].lower() not in plain.lower(), (form, said)


@pytest.mark.parametrize("auth", AUTHS)
def test_it_goes_out_with_each_request(auth):
    """Else the search above would find nothing whatever we do."""
    seen = []

    def serve(connection):
        data = connection.recv(65536)
        while b"\r\n\r\n" not in data or b"POST" in data[:4] and not data.partition(b"\r\n\r\n")[2]:
            data += connection.recv(65536)
        seen.append(data.decode("latin-1"))
        connection.sendall(http())

    route = Route("/thing", "POST", json=dict) if auth in ("JSON", "form") else Route("/thing")
    with Upstream(accepted=serve) as upstream, client_of(vendor(upstream, auth=AUTHS[auth], routes={"/thing": route})) as client:
        assert client.call("p", "/thing", {"q": "1"}).data == {"ok": True}
        client.call("p", "/thing", {"q": "2"})
    assert len(seen) == 2
    for request in seen:
        assert any(form in request for form in FORMS[auth]) and KEY not in request
        head, _, body = request.partition("\r\n\r\n")
        assert f"Content-Length: {len(body)}" in head or not body


def test_a_secret_that_is_too_short_for_an_echo_is_in_no_log_line_either(caplog):
    """An echo of four letters would be found everywhere. A URL that urllib3 logs is ours to know."""
    def put(request):
        request.prepare_url(request.url, {"apikey": SHORT})
        return request

    caplog.set_level(logging.DEBUG)
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=put)) as client:
        client.call("p", "/thing", {"q": "1"})
    assert f"apikey={SHORT}" in head_of(upstream) and "q=1" in caplog.text
    assert SHORT not in caplog.text


def test_what_the_caller_asked_for_itself_is_no_secret():
    asked = "a-name-that-the-caller-wrote"
    with Upstream(http(json.dumps({"name": asked}).encode())) as upstream:
        with client_of(vendor(upstream, auth=bearer)) as client:
            assert client.call("p", "/thing", {"name": asked}).data == {"name": asked}


def test_the_objects_of_requests_do_not_hold_it(monkeypatch):
    """What a hook or an error reporter gets to see of requests."""
    seen = []
    send = requests.Session.send

    def spy(session, request, **settings):
        response = send(session, request, **settings)
        for each in (request, response.request):
            seen.append((each.url, each.body, dict(each.headers), each.hooks))
        seen.append((dict(session.headers), session.auth))
        return response

    def hooked(request):
        request.register_hook("response", lambda response, **settings: seen.append((response.request.url, "hooked")))
        return in_the_query(bearer(request))

    monkeypatch.setattr(requests.Session, "send", spy)
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=hooked)) as client:
        client.call("p", "/thing", {"q": "1"})
    assert head_of(upstream).count(SECRET) == 2
    assert len(seen) == 3 and "hooked" not in repr(seen)
    assert SECRET not in repr(seen)


@pytest.mark.parametrize("auth", ["bearer", "query", "basic, password", "JSON"])
def test_no_traceback_with_locals_of_an_interrupt_tells_it(monkeypatch, auth):
    """The frames of requests, urllib3 and http.client hold the request's head and body."""
    def interrupted(*args, **kwargs):
        del args, kwargs  # urllib3 1.26 hands it the body
        raise KeyboardInterrupt

    route = Route("/thing", "POST", json=dict) if auth == "JSON" else Route("/thing")
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=AUTHS[auth], routes={"/thing": route})) as client:
        with monkeypatch.context() as patch:
            patch.setattr("http.client.HTTPConnection.endheaders", interrupted)
            with pytest.raises(KeyboardInterrupt) as caught:
                client.call("p", "/thing", {"q": "1"})
    trace = mouth(caught.value)
    assert "question = " in "".join(trace)  # the locals are there
    assert not any(form[:24] in said for said in trace for form in FORMS[auth])


# --- to whom the RapidAPI key goes ---

@pytest.mark.parametrize("host, is_sent", [
    ("x.p.rapidapi.com", True), ("rapidapi.com", True), ("x.rapidapi.com", True), ("api.vendor.example", False),
    ("evilrapidapi.com", False), ("rapidapi.com.evil.example", False), ("x.rapidapi.com.example", False),
])
def test_the_key_goes_to_hosts_of_rapidapi_alone(host, is_sent):
    with Upstream(http()) as upstream:
        with client_of(ProviderConfig("a", host, 1, f"http://127.0.0.1:{upstream.port}")) as client:
            client.call("p", "/thing")
    assert (KEY in head_of(upstream)) is is_sent and ("rapidapi" in head_of(upstream).lower()) is is_sent


def test_an_auth_of_its_own_takes_the_keys_place_at_a_host_of_rapidapi_too():
    with Upstream(http()) as upstream, client_of(upstream.provider(auth=bearer)) as client:
        client.call("p", "/thing")
    assert SECRET in head_of(upstream) and KEY not in head_of(upstream)


def test_rapidapikey_sends_the_clients_key_where_it_is_told_to():
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=RapidAPIKey())) as client:
        client.call("p", "/thing")
    assert f"X-RapidAPI-Key: {KEY}\r\n" in head_of(upstream) and "X-RapidAPI-Host: api.vendor.example\r\n" in head_of(upstream)


def test_rapidapikey_with_a_key_of_its_own_asks_a_callable_at_each_request():
    keys = iter([SECRET, SECRET[::-1]])
    with Upstream(http()) as upstream, client_of(upstream.provider(auth=RapidAPIKey(lambda: next(keys)))) as client:
        client.call("p", "/thing")
        client.call("p", "/thing")
    assert f"X-RapidAPI-Key: {SECRET}\r\n" in head_of(upstream) and f"X-RapidAPI-Key: {SECRET[::-1]}\r\n" in head_of(upstream, 1)
    assert "X-RapidAPI-Host: raw.p.rapidapi.com\r\n" in head_of(upstream) and KEY not in head_of(upstream)


def test_rapidapikey_is_an_auth_of_plain_requests_too():
    request = requests.Request("GET", "https://x.p.rapidapi.com/thing", auth=RapidAPIKey(SECRET)).prepare()
    assert (request.headers["X-RapidAPI-Key"], request.headers["X-RapidAPI-Host"]) == (SECRET, "x.p.rapidapi.com")
    assert SECRET not in repr(RapidAPIKey(SECRET)) + repr(vars(RapidAPIKey(SECRET)))


def test_who_needs_no_key_needs_none(monkeypatch):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    with Upstream(http()) as upstream:
        providers = [vendor(upstream, auth=bearer), vendor(upstream, "free", 2), upstream.provider("own", 3, auth=RapidAPIKey(SECRET))]
        for provider in providers:
            with client_of(api_key=None) as client:
                client.registry.add("p", provider, probe=("/thing", {}))
                assert client.call("p", "/thing").data == {"ok": True}
                assert client.check_provider_health()["p"][provider.name]["status"] == "healthy"


def test_the_key_is_asked_for_when_a_provider_that_needs_it_is_asked(monkeypatch):
    monkeypatch.delenv("RAPIDAPI_KEY", raising=False)
    asked = []
    with Upstream(http(), http(b"{}", "503 Oops")) as free, Upstream(http()) as paid:
        with client_of(vendor(free), paid.provider("paid", 2), api_key=lambda: asked.append(1) or KEY) as client:
            client.call("p", "/thing")
            assert asked == []
            assert client.call("p", "/thing").provider == "paid" and asked == [1]
    with Upstream(http(b"{}", "503 Oops")) as free, client_of(vendor(free), free.provider("paid", 2), api_key=None) as client:
        with pytest.raises(MissingAPIKey):
            client.call("p", "/thing")


# --- a 401, and an auth that fails ---

@pytest.mark.parametrize("options", [{"auth": bearer}, {}, {"auth": RapidAPIKey(SECRET)}], ids=["own auth", "no key", "own key"])
def test_a_401_that_is_not_about_the_clients_key_switches_and_renews_nothing(options):
    renewed = []
    no = http(b'{"message": "Invalid API key. Go to https://docs.rapidapi.com/docs/keys for more info."}', "401 No")
    with Upstream(no) as first, Upstream(http()) as second:
        with client_of(vendor(first, **options), second.provider("next", 2), refresh_key=renewed.append) as client:
            result = client.call("p", "/thing")
            assert [(one.status, one.action) for one in result.attempts] == [(401, "forbidden"), (200, "success")]
            assert client.registry.snapshot()["p"]["vendor"]["error_count"] == 0
    assert renewed == [] and len(first.received) == 1


def test_a_401_of_the_clients_key_still_stops():
    with Upstream(http(b'{"message": "Invalid API key."}', "401 No")) as upstream:
        with client_of(vendor(upstream, auth=RapidAPIKey())) as client, pytest.raises(AuthenticationFailed):
            client.call("p", "/thing")


def raising(request):
    raise RuntimeError(f"cannot use {SECRET}")


@pytest.mark.parametrize("auth, why", [
    (raising, "raised RuntimeError"), (lambda request: None, "returned NoneType"), (lambda request: 1 / 0, "raised ZeroDivisionError"),
    (lambda request: request.headers.update({"X-Key": f"{SECRET}\r\nX-Evil: 1"}) or request, "no header or URL can hold"),
    (lambda request: request.headers.update({"X-Key": f"{SECRET}\u2028"}) or request, "no header or URL can hold"),
    (lambda request: setattr(request, "body", iter([SECRET.encode()])) or request, "and not bytes"),
    (lambda request: setattr(request, "url", None) or request, "no header or URL can hold"),
    (RapidAPIKey(lambda: None), "holds no RapidAPI key"), (RapidAPIKey(f"{SECRET} {SECRET}"), "no key has"),
    (lambda request: RapidAPIKey()(request), "raised MissingAPIKey"),
])
def test_an_auth_that_fails_is_our_side_and_counts_against_nobody(caplog, auth, why):
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=auth)) as client:
        for _ in range(4):
            with pytest.raises(AllProvidersFailed) as caught:
                client.call("p", "/thing")
        state = client.registry.snapshot()["p"]["vendor"]
        assert (state["circuit"], state["error_count"], state["endpoints"]) == ("closed", 0, {})
    attempt = caught.value.attempts[0]
    assert attempt.detail.startswith("our side: its auth ") and why in attempt.detail and attempt.status is None
    assert upstream.received == [] and SECRET not in "".join([*mouth(caught.value), caplog.text])


def test_what_its_auth_fails_at_the_next_one_does():
    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=raising), vendor(upstream, "free", 2)) as client:
        assert client.call("p", "/thing").provider == "free"


def test_an_alarm_that_rings_in_an_auth_passes():
    class Alarm(Exception):
        pass

    def ring(signum, frame):
        raise Alarm

    def slow(request):
        import sys
        ring(14, sys._getframe())  # as the interpreter calls a handler: with the frame that it interrupts
        return request

    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=slow)) as client, pytest.raises(Alarm):
        client.call("p", "/thing")


@pytest.mark.slow
def test_the_time_of_an_auth_does_not_count():
    def slow(request):
        time.sleep(0.5)
        return bearer(request)

    with Upstream(http()) as upstream, client_of(vendor(upstream, auth=slow)) as client:
        assert client.call("p", "/thing", timeout=0.3, deadline=0.3).data == {"ok": True}


# --- set-ups that cannot serve ---

@pytest.mark.parametrize("auth, hint", [
    (("ada", SECRET), "HTTPBasicAuth(user, password)"), (SECRET, "RapidAPIKey(key)"), (HTTPBasicAuth, "HTTPBasicAuth(...)"),
    (HTTPDigestAuth("ada", SECRET), "asks twice"), ({"Authorization": SECRET}, "a function"),
])
def test_an_auth_that_is_none_is_refused_without_being_shown(auth, hint):
    with pytest.raises(TypeError) as caught:
        ProviderConfig("a", "a.example", 1, auth=auth)
    assert hint in str(caught.value) and SECRET not in str(caught.value)


def test_an_asynchronous_auth_is_refused():
    async def auth(request):
        return request

    with pytest.raises(TypeError, match="plain function"):
        ProviderConfig("a", "a.example", 1, auth=auth)


@pytest.mark.parametrize("key", [b"bytes", 5, [SECRET]])
def test_a_rapidapikey_takes_a_text_or_a_callable(key):
    with pytest.raises(TypeError, match="a text, a callable or None"):
        RapidAPIKey(key)


def test_a_provider_with_an_auth_is_a_value_as_any_other():
    one, other = (ProviderConfig("a", "a.example", 1, auth=HTTPBasicAuth("ada", SECRET)) for _ in range(2))
    assert one == other and hash(one) == hash(other) and SECRET not in repr(one)
    assert pickle.loads(pickle.dumps(one)) == one
