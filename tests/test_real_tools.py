"""The tools that people really use see our calls, answer them, and never see the key unless they are told to record it.

A tool that changes the whole process, or has to be imported before us, runs in a process of its own.
"""

import gzip
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pook
import pytest
import requests
import vcr
from conftest import KEY, NO_RETRY, Upstream, http
from faults import World

from rapidfailover import AllProvidersFailed, FailoverClient, ProviderConfig, ProviderRegistry

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
GOOD = b'{"ok": true}'
GZIP = http(gzip.compress(GOOD), Content_Encoding="gzip")


def provider_at(url):
    return ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=url)


def client_of(*providers, **options):
    options = {"matrix": NO_RETRY, "refresh": False, "max_stale": 0, "timeout": 5.0, **options}
    return FailoverClient(ProviderRegistry({"raw": list(providers)}), api_key=KEY, **options)


def in_a_process(script, *arguments, first_on_path=(), **environment):
    """What it prints. ``RAPIDAPI_KEY`` is set there: a variable that held the key would be found by every tool."""
    path = [*map(str, first_on_path), str(TESTS.parent), str(TESTS)]
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "RAPIDAPI_KEY": KEY, "NO_PROXY": "*", **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


CLIENT = """
import os, sys
from rapidfailover import AllProvidersFailed, FailoverClient, FailoverError, MATRIX, ProviderConfig, ProviderRegistry
registry = ProviderRegistry({"raw": [ProviderConfig("p" + port, "raw.p.rapidapi.com", number, base_url="http://127.0.0.1:" + port)
                                     for number, port in enumerate(sys.argv[1:], 1)]})
once = {status: rule._replace(retry=False) for status, rule in MATRIX.items()}
client = FailoverClient(registry, matrix=once, refresh=False, max_stale=0, timeout=5.0)
"""


# --- that answer in place of the network ---

@pytest.fixture(params=["http", "https"])
def served(request, tmp_path, monkeypatch):
    """``with served(answer) as upstream``, over TLS too."""
    world = World(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
    monkeypatch.setenv("NO_PROXY", "*")

    @contextmanager
    def serve(answer):
        with Upstream(answer, tls=world.context("localhost") if request.param == "https" else None) as upstream:
            upstream.url = f"{request.param}://localhost:{upstream.port}"
            yield upstream

    yield serve
    world.close()


@pytest.mark.parametrize("is_filtered", [True, False], ids=["without the key", "as it is"])
def test_vcrpy_plays_back_what_it_recorded_when_the_server_is_gone(served, tmp_path, is_filtered):
    cassette = tmp_path / "cassette.yaml"
    tape = vcr.VCR(filter_headers=["X-RapidAPI-Key"] if is_filtered else [])
    with served(GZIP) as upstream, client_of(provider_at(upstream.url)) as client:
        client.call("raw", "/thing")  # so that there is a connection of ours
        with tape.use_cassette(str(cassette)):
            assert client.call("raw", "/thing").data == {"ok": True}
    assert len(upstream.received) == 2 and KEY.encode() in upstream.received[1]
    assert (KEY in cassette.read_text()) is not is_filtered
    with client_of(provider_at(upstream.url)) as client:
        with tape.use_cassette(str(cassette), record_mode="none") as played:
            assert client.call("raw", "/thing").data == {"ok": True}
        assert played.play_count == 1
        with pytest.raises(AllProvidersFailed, match="refused"):
            client.call("raw", "/thing")


def test_vcrpy_plays_to_us_what_bare_requests_recorded(served, tmp_path):
    cassette = str(tmp_path / "cassette.yaml")
    with served(GZIP) as upstream, vcr.use_cassette(cassette):
        assert requests.get(f"{upstream.url}/thing", timeout=5).json() == {"ok": True}
    with client_of(provider_at(upstream.url)) as client, vcr.use_cassette(cassette, record_mode="none"):
        assert client.call("raw", "/thing").data == {"ok": True}
    assert len(upstream.received) == 1


def test_mocket():
    """In a process of its own: it may leave pyOpenSSL in urllib3 behind."""
    in_a_process(CLIENT + """
from mocket import Mocketizer
from mocket.mocks.mockhttp import Entry

with Mocketizer(strict_mode=True), FailoverClient(ProviderRegistry({"raw": [ProviderConfig("raw", "raw.p.rapidapi.com", 1)]}), matrix=once) as client:
    Entry.single_register(Entry.GET, "https://raw.p.rapidapi.com/thing?q=1", body='{"ok": true}', headers={"content-type": "application/json"})
    assert client.call("raw", "/thing", {"q": 1}).data == {"ok": True}
""")


def test_pook():
    with client_of(ProviderConfig("raw", "raw.p.rapidapi.com", 1)) as client, pook.use():
        asked = pook.get("https://raw.p.rapidapi.com/thing", params={"q": "1"}, headers={"X-RapidAPI-Host": "raw.p.rapidapi.com"},
                         reply=200, response_json={"ok": True})
        assert client.call("raw", "/thing", {"q": 1}).data == {"ok": True}
        assert asked.calls == 1


FROZEN = """
from freezegun import freeze_time
from rapidfailover import FailoverClient
from rapidfailover.testing import FakeRapidAPI
with FakeRapidAPI() as rapidapi, FailoverClient(rapidapi.registry, api_key="k" * 30) as client, freeze_time("2024-01-01") as frozen:
    print(client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider)
    answers = client.batch("tiktok", "/user/info", ({"unique_id": f"name{n}"} for n in range(20)), patience=0)
    print(sum(answer.result is not None for answer in answers))
    print(client.check_provider_health(["youtube"])["youtube"]["yt-api"]["status"])
    frozen.tick(3600)
    print(client.call("tiktok", "/user/info", {"unique_id": "bob"}, deadline=5).provider)
"""


def test_time_that_freezegun_holds_is_no_deadline_that_is_over():
    """It gives the threads of a process different times."""
    assert in_a_process(FROZEN).split() == ["tiktok-scraper7", "20", "healthy", "tiktok-scraper7"]


def test_requests_cache_that_was_installed_before_us_answers_the_second_call():
    script = "import requests_cache; requests_cache.install_cache('calls', backend='memory')" + CLIENT + """
assert [client.call("raw", "/thing").data for _ in range(2)] == [{"ok": True}] * 2
saved = list(requests_cache.get_cache().responses.values())
assert len(saved) == 1 and os.environ["RAPIDAPI_KEY"] not in str([(one.request.headers, one.headers) for one in saved]), saved
"""
    with Upstream(GZIP) as upstream:
        in_a_process(script, upstream.port)
        assert len(upstream.received) == 1 and KEY.encode() in upstream.received[0]


PYTEST_SOCKET = CLIENT.replace("sys.argv[1:]", "[os.environ['PORT']]") + """
import pytest, pytest_socket

@pytest.mark.disable_socket
def test_disabled():
    with pytest.raises(pytest_socket.SocketBlockedError):
        client.call("raw", "/thing")

@pytest.mark.allow_hosts(["127.0.0.2"])
def test_another_host_is_allowed():
    with pytest.raises(pytest_socket.SocketConnectBlockedError):
        client.call("raw", "/thing")

@pytest.mark.allow_hosts(["127.0.0.1"])
def test_our_host_is_allowed():
    assert client.call("raw", "/thing").data == {"ok": True}
"""


def test_pytest_socket_forbids_and_allows(tmp_path):
    (tmp_path / "test_ours.py").write_text(PYTEST_SOCKET)
    with Upstream(http(GOOD)) as upstream:
        printed = in_a_process("import pytest, sys; pytest.main(sys.argv[1:])", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path,
                               tmp_path, PORT=str(upstream.port))
        assert "3 passed" in printed, printed
        assert len(upstream.received) == 1


# --- that look on ---

OPENTELEMETRY = CLIENT + """
import json
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
for name in os.environ["INSTRUMENTED"].split():
    if name == "requests":
        from opentelemetry.instrumentation.requests import RequestsInstrumentor as Instrumentor
    else:
        from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor as Instrumentor
    Instrumentor().instrument(tracer_provider=provider)
assert client.call("raw", "/thing", {"q": 1}).data == {"ok": True}
print(json.dumps([span.to_json() for span in spans.get_finished_spans()]))
"""


@pytest.mark.parametrize("instrumented", ["requests", "urllib3", "requests urllib3"])
def test_opentelemetry_has_a_span_for_each_request_and_no_key(instrumented):
    # What is asked to show every header shows none of ours: above the adapter there is no key. Below there is.
    shown = {"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": ".*"} if "requests" in instrumented else {}
    with Upstream(http(b"", "500 Oops")) as first, Upstream(http(GOOD)) as second:
        told = json.loads(in_a_process(OPENTELEMETRY, first.port, second.port, INSTRUMENTED=instrumented, **shown))
        heads = [head.decode().lower() for one in (first, second) for head in one.received]
    assert KEY not in str(told)
    spans = [json.loads(span) for span in told]
    assert [span["attributes"]["http.status_code"] for span in spans] == [500, 200]
    assert len(heads) == 2
    for head, span in zip(heads, spans):
        assert f"\r\ntraceparent: 00-{span['context']['trace_id'][2:]}-{span['context']['span_id'][2:]}-" in head


SENTRY = CLIENT + """
import json, sentry_sdk
from sentry_sdk.transport import Transport

class Memory(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items)

    capture_event = lambda self, event: sent.append(event)  # before sentry-sdk 2

sent = []
sentry_sdk.init("http://public@127.0.0.1:9/1", transport=Memory, traces_sample_rate=1.0, send_default_pii=True, auto_enabling_integrations=False)
with sentry_sdk.start_transaction(op="test", name="ours"):
    assert client.call("raw", "/thing").data == {"ok": True}
    try:
        client.call("raw", "/thing", {"q": "again"})
    except AllProvidersFailed as failure:
        sentry_sdk.capture_exception(failure)
print(json.dumps(sent, default=str))
"""


def test_sentry_has_spans_and_breadcrumbs_and_no_key():
    with Upstream(http(b"", "500 Oops")) as first, Upstream(http(GOOD), http(b"", "500 Oops")) as second:
        printed = in_a_process(SENTRY, first.port, second.port)
        heads = [head.decode().lower() for one in (first, second) for head in one.received]
    assert KEY not in printed
    event, transaction = json.loads(printed)
    told = [span["data"] for span in transaction["spans"] if span["op"] in ("http.client", "http")]
    told += [crumb["data"] for crumb in event["breadcrumbs"]["values"] if crumb["type"] == "http"]
    assert [data.get("http.response.status_code") or data["status_code"] for data in told] == [500, 200, 500, 500] * 2
    assert all(frame["vars"] for one in event["exception"]["values"] for frame in one["stacktrace"]["frames"])
    assert len(heads) == 4 and all("\r\nsentry-trace: " in head for head in heads)


XRAY = CLIENT + """
from aws_xray_sdk.core import patch, xray_recorder

class Memory:
    def send_entity(self, entity):
        sent.append(entity.serialize())

sent = []
xray_recorder.configure(emitter=Memory(), sampling=False)
patch(["requests", "httplib"])
with xray_recorder.in_segment("ours"):
    assert client.call("raw", "/thing").data == {"ok": True}
    try:
        client.call("raw", "/thing", {"q": "again"})
    except AllProvidersFailed:
        pass
segment, = sent
print(segment)
"""


def test_xray_has_a_subsegment_for_each_request_and_no_key():
    with Upstream(http(b"", "500 Oops")) as first, Upstream(http(GOOD), http(b"", "500 Oops")) as second:
        printed = in_a_process(XRAY, first.port, second.port, AWS_XRAY_DAEMON_ADDRESS="127.0.0.1:9")
        heads = [head.decode().lower() for one in (first, second) for head in one.received]
    assert KEY not in printed
    told = [(one["http"]["request"]["url"], one["http"]["response"]["status"]) for one in json.loads(printed)["subsegments"]]
    told = [(url, status) for url, status in told if url != "http://127.0.0.1/thing"]  # what httplib's patch adds is told without a port
    assert told == [(f"http://127.0.0.1:{one.port}/thing", status) for one, status in [(first, 500), (second, 200), (first, 500), (second, 500)]]
    assert len(heads) == 4 and all("\r\nx-amzn-trace-id: root=" in head and KEY in head for head in heads)


# --- that change what is below us ---

def test_verification_that_somebody_turns_off_for_a_while_is_on_again_afterwards(tmp_path, monkeypatch):
    world = World(tmp_path)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    keep_alive = world.upstream(lambda connection: [connection.sendall(http(GOOD, Connection="keep-alive")), connection.recv(1)],
                                tls=world.context("localhost"))
    plain = requests.Session.merge_environment_settings

    def unverified(self, *args):
        return {**plain(self, *args), "verify": False}

    with client_of(provider_at(f"https://localhost:{keep_alive.port}")) as client:
        for _ in range(2):
            with mock.patch.object(requests.Session, "merge_environment_settings", unverified), pytest.warns(Warning, match="Unverified HTTPS"):
                assert client.call("raw", "/thing").data == {"ok": True}
            with pytest.raises(AllProvidersFailed, match="CERTIFICATE_VERIFY_FAILED"):
                client.call("raw", "/thing")
    world.close()


GEVENT = "from gevent import monkey; monkey.patch_all()" + CLIENT + """
import gevent, time

class Mine(Exception):
    pass

began = time.monotonic()
try:
    with gevent.Timeout(0.3, Mine):
        client.call("raw", "/thing")
except Mine:
    print("mine" if time.monotonic() - began < 1.5 else "late")
print({(state["error_count"], state["circuit"], state["last_error"]) for state in registry.snapshot()["raw"].values()})
"""


def test_a_timeout_of_gevents_with_a_class_of_the_users_passes_through_and_is_nobodys_fault():
    with Upstream(lambda connection: time.sleep(4)) as first, Upstream(http(GOOD)) as second:
        printed = in_a_process(GEVENT, first.port, second.port)
        assert (len(first.received), len(second.received)) == (1, 0)
    assert printed.splitlines() == ["mine", "{(0, 'closed', None)}"]


URLLIB3_FUTURE = "import urllib3_future" + CLIENT.replace("http://127.0.0.1", "https://localhost") + """
import urllib3
assert urllib3.__version__ == urllib3_future.__version__, urllib3
try:
    assert [client.call("raw", "/thing").data for _ in range(2)] == [{"ok": True}] * 2
except FailoverError as refused:
    assert "urllib3-future" in str(refused), refused
"""


def test_urllib3_future_in_place_of_urllib3_works_or_is_named(tmp_path):
    """Not in this environment, where it would take the place of urllib3 for all other tests."""
    target, world = tmp_path / "packages", World(tmp_path)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", target, "urllib3-future"],
                   check=True, timeout=300, stderr=subprocess.DEVNULL)
    upstream = world.upstream(GZIP, tls=world.context("localhost"))
    in_a_process(URLLIB3_FUTURE, upstream.port, first_on_path=[target], REQUESTS_CA_BUNDLE=world.bundle)
    world.close()
