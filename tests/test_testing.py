"""The local RapidAPI, asked by a plain requests.Session as any client would."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

import rapidfailover
from rapidfailover import AllProvidersFailed, FailoverClient, NotFound, ProviderConfig, Route, UnknownProvider, testing
from rapidfailover.catalog import PROVIDERS
from rapidfailover.testing import FakeRapidAPI, local_registry, using


def get(rapidapi, provider, path, params=None, method="GET", timeout=5.0, **headers):
    config = next(p for members in rapidapi.providers.values() for p in members if p.name == provider)
    sent = {"X-RapidAPI-Key": "k", "X-RapidAPI-Host": config.host, **headers}
    return requests.request(method, config.base_url + path, params=params, timeout=timeout,
                            headers={name: value for name, value in sent.items() if value is not None})


@pytest.mark.parametrize("provider, path, params, found", [
    ("tiktok-scraper7", "/user/info", {"unique_id": "ada"}, lambda d: d["code"] == 0 and d["data"]["user"]["uniqueId"]),
    ("tiktok-scraper7", "/user/posts", {"unique_id": "ada", "count": 3}, lambda d: d["data"]["videos"][2]["title"]),
    ("tiktok-feature", "/", {"url": "https://example.invalid/v"}, lambda d: d["data"]["play"]),
    ("instagram-looter2", "/profile", {"username": "ada"}, lambda d: d["edge_followed_by"]["count"]),
    ("instagram-looter2", "/user-feeds", {"id": "7", "count": 2}, lambda d: len(d["items"]) == 2),
    ("instagram-looter2", "/post", {"url": "u"}, lambda d: d["status"]),
    ("instagram-stats", "/community", {"url": "https://www.instagram.com/ada/"}, lambda d: d["data"]["screenName"] == "ada"),
    ("instagram-stats", "/posts", {"cid": "INST:1"}, lambda d: d["meta"]["code"] == 200),
    ("instagram-stats", "/posts/one", {"postUrl": "u"}, lambda d: d["data"]["likes"]),
    ("yt-api", "/video/info", {"id": "v"}, lambda d: d["viewCount"].isdigit()),
    ("yt-api", "/channel/about", {"id": "@ada"}, lambda d: d["title"]),
    ("yt-api", "/channel/videos", {"id": "@ada"}, lambda d: d["data"]),
    ("the-old-bird", "/screenname.php", {"screenname": "ada"}, lambda d: d["profile"] == "ada"),
    ("the-old-bird", "/timeline.php", {"screenname": "ada"}, lambda d: d["timeline"]),
    ("the-old-bird", "/tweet.php", {"id": "1"}, lambda d: d["id"] == "1"),
    ("linkedin-realtime", "/profile_updates", {"profile_url": "u"}, lambda d: d["success"]),
    ("linkedin-fresh", "/api/v1/user/profile", {"username": "ada"}, lambda d: d["data"]["urn"]),
    ("linkedin-fresh", "/api/v1/user/posts", {"urn": "u"}, lambda d: d["data"]),
    ("threads-api4", "/api/user/info", {"username": "ada"}, lambda d: d["data"]),
    ("threads-api4", "/api/user/posts", {"user_id": "1"}, lambda d: d["data"]),
    ("threads-api4", "/api/post/detail", {"post_id": "1"}, lambda d: d["data"]),
])
def test_each_host_serves_its_own_endpoints(rapidapi, provider, path, params, found):
    response = get(rapidapi, provider, path, params)
    assert response.status_code == 200 and found(response.json())


def test_one_of_them_takes_a_post_with_a_body(rapidapi):
    config = rapidapi.providers["linkedin"][0]
    headers = {"X-RapidAPI-Key": "k", "X-RapidAPI-Host": config.host}
    url = f"{config.base_url}/person_deep"
    told = requests.post(url, json={"link": "https://www.linkedin.com/in/ada"}, headers=headers, timeout=5).json()
    assert told["data"]["publicIdentifier"] == "ada"
    assert requests.post(url, data="{torn", headers=headers, timeout=5).status_code == 400
    assert requests.get(url, params={"link": "u"}, headers=headers, timeout=5).status_code == 404


def test_the_same_handle_has_the_same_numbers(rapidapi):
    one, two = (get(rapidapi, name, "/user/info", {"unique_id": "ada"}).json() for name in ("tiktok-scraper7", "tiktok-tikwm"))
    assert one == two


@pytest.mark.parametrize("path, headers, status, message", [
    ("/profile", {}, 404, "Endpoint '/profile' does not exist"),
    ("/user/info", {"X-RapidAPI-Key": None}, 401, "Invalid API key"),
    ("/user/info", {"X-RapidAPI-Host": "other.example"}, 404, "API doesn't exists"),
    ("/user/info", {}, 400, "unique_id is required"),
])
def test_a_mistake_is_answered_as_the_gateway_would(rapidapi, path, headers, status, message):
    response = get(rapidapi, "tiktok-scraper7", path, **headers)
    assert response.status_code == status and message in response.json()["message"]


@pytest.mark.parametrize("fault", [200, 201, 302, 400, 401, 403, 404, 429, 500, 503, 599, 999])
def test_a_status_on_demand(rapidapi, fault):
    rapidapi.fail("yt-api", fault)
    response = requests.get(f"{rapidapi.providers['youtube'][0].base_url}/x", allow_redirects=False, timeout=5)
    assert response.status_code == fault and response.json()["message"]


def test_a_fault_for_so_many_requests(rapidapi):
    rapidapi.fail("yt-api", 503, times=2)
    assert [get(rapidapi, "yt-api", "/video/info", {"id": "v"}).status_code for _ in range(3)] == [503, 503, 200]


def test_named_faults(rapidapi):
    rapidapi.fail("yt-api", "html")
    assert "<html>" in get(rapidapi, "yt-api", "/video/info", {"id": "v"}).text
    rapidapi.fail("yt-api", "empty")
    assert get(rapidapi, "yt-api", "/video/info", {"id": "v"}).content == b""
    rapidapi.fail("yt-api", "disconnect")
    with pytest.raises(requests.ConnectionError):
        get(rapidapi, "yt-api", "/video/info", {"id": "v"})
    rapidapi.fail("yt-api", "cut")
    try:
        assert len(get(rapidapi, "yt-api", "/video/info", {"id": "v"}).content) < 400  # urllib3 1.26 takes it for whole
    except requests.RequestException:
        pass
    rapidapi.fail("yt-api", "hang")
    with pytest.raises(requests.Timeout):
        get(rapidapi, "yt-api", "/video/info", {"id": "v"}, timeout=0.1)


def test_a_hanging_request_ends_with_recover(rapidapi):
    rapidapi.fail("yt-api", "hang")
    failures = []

    def ask():
        try:
            get(rapidapi, "yt-api", "/video/info", {"id": "v"})
        except requests.ConnectionError as failure:
            failures.append(failure)

    thread = threading.Thread(target=ask)
    thread.start()
    while not rapidapi.requests:
        time.sleep(0.01)
    rapidapi.recover("yt-api")
    thread.join(5)
    assert len(failures) == 1


def test_a_quota_that_a_fault_used_up_is_there_again_after_recover(rapidapi):
    video = ("yt-api", "/video/info", {"id": "v"})
    left = int(get(rapidapi, *video).headers["X-RateLimit-Requests-Remaining"])
    rapidapi.fail("yt-api", "quota")
    for _ in range(2):
        assert get(rapidapi, *video).headers["X-RateLimit-Requests-Remaining"] == "0"
    rapidapi.recover()
    assert get(rapidapi, *video).headers["X-RateLimit-Requests-Remaining"] == str(left - 1)
    rapidapi.quota("yt-api", 0)
    rapidapi.recover()  # it was no fault
    assert get(rapidapi, *video).headers["X-RateLimit-Requests-Remaining"] == "0"


@pytest.mark.parametrize("times", [0, -1, 1.5, "2"])
def test_a_number_of_times_that_is_none_is_refused(rapidapi, times):
    with pytest.raises(ValueError, match="times"):
        rapidapi.fail("yt-api", 503, times=times)
    with pytest.raises(ValueError, match="seconds"):
        rapidapi.delay("yt-api", "1")


def test_a_delay_answers_later(rapidapi):
    rapidapi.delay("yt-api", 0.2)
    assert get(rapidapi, "yt-api", "/video/info", {"id": "v"}).elapsed.total_seconds() >= 0.2


def test_refuse_and_recover_on_the_same_port(rapidapi):
    before = rapidapi.providers["youtube"][0].base_url
    with requests.Session() as session:
        headers = {"X-RapidAPI-Key": "k", "X-RapidAPI-Host": "yt-api.p.rapidapi.com"}
        assert session.get(f"{before}/video/info?id=v", headers=headers, timeout=5).status_code == 200
        for _ in range(2):  # the second changes nothing
            rapidapi.refuse("yt-api")
        with pytest.raises(requests.ConnectionError):
            session.get(f"{before}/video/info?id=v", headers=headers, timeout=5)
        rapidapi.recover()
        assert session.get(f"{before}/video/info?id=v", headers=headers, timeout=5).status_code == 200


def test_every_request_is_recorded_with_what_it_carried(rapidapi):
    rapidapi.fail("yt-api", 500, times=1)
    for _ in range(2):
        get(rapidapi, "yt-api", "/video/info", {"id": "v"})
    first, second = rapidapi.requests
    assert first == second and (first.provider, first.method, first.path, first.params) == (
        "yt-api", "GET", "/video/info", {"id": "v"})
    assert first.headers["x-rapidapi-key"] == "k"


@pytest.mark.parametrize("fault", ["nonsense", None, 7, 1000, True, 2.5])
def test_a_fault_that_does_not_exist_is_refused(rapidapi, fault):
    with pytest.raises(ValueError, match="html"):
        rapidapi.fail("yt-api", fault)


def test_a_provider_that_does_not_exist_is_refused(rapidapi):
    for act in (lambda: rapidapi.fail("yt", 500), lambda: rapidapi.delay("yt", 1), lambda: rapidapi.refuse("yt"),
                lambda: rapidapi.recover("yt")):
        with pytest.raises(UnknownProvider, match="yt-api"):
            act()


def test_it_leaves_nothing_behind():
    before = threading.active_count()
    with FakeRapidAPI() as rapidapi:
        rapidapi.refuse("yt-api")
        rapidapi.fail("the-old-bird", "hang")
        with pytest.raises(requests.Timeout):
            get(rapidapi, "the-old-bird", "/tweet.php", {"id": "1"}, timeout=0.1)
        urls = [provider.base_url for members in rapidapi.providers.values() for provider in members]
    for url in urls:
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=1)
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


# --- your own providers and answers ---

SUNNY = ProviderConfig("sunny", "sunny.p.rapidapi.com", 1)
RAINY = ProviderConfig("rainy", "rainy.p.rapidapi.com", 2, base_url="https://rainy.p.rapidapi.com/api", routes={
    "/current": Route("/v2/now", params=lambda p: {"q": p["city"]}, adapt=lambda data: {"celsius": data["now"]["temp"]})})


@pytest.fixture
def weather():
    with FakeRapidAPI({"weather": [SUNNY, RAINY]}) as fake, FailoverClient(fake.registry, api_key="k", refresh=False) as client:
        yield fake, client


def test_your_own_platform_answers_what_it_was_told_and_fails_over(weather):
    fake, client = weather
    fake.answer("sunny", "/current", {"celsius": 7})
    fake.answer("rainy", "/v2/now", lambda asked: {"now": {"temp": len(asked["q"])}})
    assert client.call("weather", "/current", {"city": "Oslo"}).data == {"celsius": 7}
    fake.fail("sunny", 404)
    result = client.call("weather", "/current", {"city": "Oslo"})
    assert (result.provider, result.data) == ("rainy", {"celsius": 4})
    assert fake.requests[-1].path == "/api/v2/now"  # below the path of its base_url


def test_what_a_provider_of_your_own_was_not_told_comes_back_as_what_was_asked(weather):
    fake, client = weather
    assert client.call("weather", "/history", {"city": "Oslo", "n": 3}).data == {
        "provider": "sunny", "method": "GET", "path": "/history", "params": {"city": "Oslo", "n": "3"}}


def test_an_answer_may_be_given_for_the_platforms_endpoint_that_a_route_maps(weather):
    fake, client = weather
    fake.fail("sunny", 404)
    fake.answer("rainy", "/current", {"now": {"temp": 9}})
    assert client.call("weather", "/current", {"city": "Oslo"}).data == {"celsius": 9}
    fake.fail("rainy", 404, endpoint="/current")
    with pytest.raises(NotFound):
        client.call("weather", "/current", {"city": "Oslo"})


@pytest.mark.parametrize("answer, status, said", [
    ((404, {"message": "no such city"}), 404, b"no such city"), (lambda asked: (503, []), 503, b"[]"), (b"<html>", 200, b"<html>"),
    (lambda asked: asked["city"], 400, b"city is required"), (lambda asked: 1 / 0, 500, b"ZeroDivisionError"), ([1], 200, b"[1]"),
    (lambda asked: object(), 500, b"TypeError"),
])
def test_an_answer_is_a_payload_or_a_status_with_one_or_a_callable(weather, answer, status, said):
    fake, _ = weather
    fake.answer("sunny", "/current", answer)
    response = get(fake, "sunny", "/current")
    assert response.status_code == status and said in response.content


@pytest.mark.parametrize("endpoint, answer", [("current", {}), (None, {}), ("/current", object()), ("/current", (99, {})), ("/current", (1, 2, 3))])
def test_an_answer_that_cannot_be_sent_is_refused_at_once(weather, endpoint, answer):
    with pytest.raises((TypeError, ValueError)):
        weather[0].answer("sunny", endpoint, answer)


def test_a_catalogued_endpoint_may_be_answered_too(rapidapi, client):
    rapidapi.answer("tiktok-scraper7", "/user/info", {"code": 0, "data": {"user": {"uniqueId": "mine"}}})
    rapidapi.answer("tiktok-scraper7", "/hashtag", {"code": 0, "data": {}})
    assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).data["data"]["user"] == {"uniqueId": "mine"}
    assert client.call("tiktok", "/hashtag").data["code"] == 0


def test_one_endpoint_fails_and_the_others_do_not(rapidapi, client):
    rapidapi.fail("tiktok-scraper7", 503, endpoint="/user/posts", times=1)
    statuses = [get(rapidapi, "tiktok-scraper7", path, {"unique_id": "ada"}).status_code
                for path in ("/user/info", "/user/posts", "/user/posts")]
    assert statuses == [200, 503, 200]
    rapidapi.fail("tiktok-scraper7", 500)
    rapidapi.fail("tiktok-scraper7", 404, endpoint="/user/info")
    assert [get(rapidapi, "tiktok-scraper7", path).status_code for path in ("/user/info", "/user/posts")] == [404, 500]
    rapidapi.recover("tiktok-scraper7")
    assert get(rapidapi, "tiktok-scraper7", "/user/info", {"unique_id": "ada"}).status_code == 200


def test_the_catalogues_own_errors_are_not_those_of_a_provider_of_yours(weather):
    with pytest.raises(ValueError, match="no fault 'dead'"):
        weather[0].fail("sunny", "dead")


def test_a_provider_that_is_not_behind_rapidapi_needs_no_key_of_it():
    bearer = ProviderConfig("other", "api.other.example", 1)
    with FakeRapidAPI({"x": [bearer, PROVIDERS["tiktok"][0]]}) as fake:
        assert get(fake, "other", "/a", **{"X-RapidAPI-Key": None, "X-RapidAPI-Host": None}).status_code == 200
        assert get(fake, "tiktok-scraper7", "/user/info", {"unique_id": "a"}, **{"X-RapidAPI-Key": None}).status_code == 401
        assert get(fake, "tiktok-scraper7", "/user/info", {"unique_id": "a"}).json()["data"]["user"]["uniqueId"] == "a"


def test_providers_that_a_registry_would_not_take_are_refused():
    for providers in ([SUNNY], "tiktok", {"x": ["sunny"]}):
        with pytest.raises((TypeError, AttributeError)):
            FakeRapidAPI(providers)
    with pytest.raises(ValueError, match="different hosts"):
        FakeRapidAPI({"x": [SUNNY], "y": [ProviderConfig("sunny", "moon.example", 1)]})


def test_one_provider_of_two_platforms_is_one_host():
    with FakeRapidAPI({"x": [SUNNY], "y": [SUNNY]}) as fake:
        assert fake.providers["x"] == fake.providers["y"]


def test_answers_are_played_from_a_mapping_or_from_records(tmp_path):
    for number, (name, params) in enumerate([("ada", {"unique_id": "ada"}), ("bob", {"unique_id": "bob"})]):
        record = {"provider": "tiktok-scraper7", "path": "/user/info", "sent": params, "status": 200,
                  "data": {"code": 0, "data": {"user": {"uniqueId": f"{name} as recorded"}}}}
        (tmp_path / f"{number}.json").write_text(json.dumps(record))
    with FakeRapidAPI(answers=tmp_path) as fake:
        found = [get(fake, "tiktok-scraper7", "/user/info", {"unique_id": name}).json()["data"]["user"]["uniqueId"]
                 for name in ("bob", "ada", "carl")]
        assert found == ["bob as recorded", "ada as recorded", "ada as recorded"]
    with FakeRapidAPI({"weather": [SUNNY]}, {"sunny": {"/current": [7]}}) as fake:
        assert get(fake, "sunny", "/current").json() == [7]


def test_records_that_are_none_are_told_by_their_name(tmp_path):
    with pytest.raises(ValueError, match="holds no answers"):
        FakeRapidAPI(answers=tmp_path)
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="other.json is no answer"):
        FakeRapidAPI(answers=str(tmp_path))
    with pytest.raises(UnknownProvider):
        FakeRapidAPI(answers={"nobody": {"/x": {}}})


# --- one port for all, and the default client for a while ---

def test_one_port_serves_all_and_a_registry_points_at_it():
    own = {"weather": [SUNNY, RAINY]}
    with FakeRapidAPI(port=0) as fake, FailoverClient(local_registry(fake.url + "/"), api_key="k", refresh=False) as client:
        fake.fail("tiktok-scraper7", 503)
        assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-feature"
        assert client.call("linkedin", "/person_deep", {"link": "https://www.linkedin.com/in/ada"}).data["data"]["publicIdentifier"] == "ada"
        assert {request.path for request in fake.requests} == {"/user/info", "/person_deep"}
        assert requests.get(f"{fake.url}/nobody/x", timeout=5).status_code == 404
    with FakeRapidAPI(own, port=0) as fake, FailoverClient(local_registry(fake.url, own), api_key="k", refresh=False) as client:
        fake.fail("sunny", 404)
        fake.answer("rainy", "/v2/now", {"now": {"temp": 1}})
        assert client.call("weather", "/current", {"city": "Oslo"}).data == {"celsius": 1}


def test_a_port_that_is_taken_is_told_and_the_url_of_one_port_is_asked_for_where_there_is_one():
    with FakeRapidAPI(port=0) as fake:
        with pytest.raises(OSError):
            FakeRapidAPI(port=int(fake.url.rpartition(":")[2]))
        with FakeRapidAPI() as other, pytest.raises(ValueError, match="port=0"):
            other.url


def test_using_makes_a_client_the_default_and_puts_the_former_back(client, rapidapi):
    before = rapidfailover.configure(api_key="mine", timeout=3.0)
    registry = rapidfailover.registry
    with using(client) as used:
        assert used is client is rapidfailover.default_client() and rapidfailover.registry is rapidapi.registry
        assert rapidfailover.get_tiktok_user("ada")["data"]["user"]["uniqueId"] == "ada"
        with using(before):
            assert rapidfailover.default_client() is before
        assert rapidfailover.default_client() is client
        configured = rapidfailover.configure(api_key="other")
        assert rapidfailover.default_client() is configured and configured.registry is rapidapi.registry
    assert rapidfailover.default_client() is before and rapidfailover.registry is registry
    assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).data  # it is the test's: still open


def test_using_ends_with_the_error_of_its_block_and_takes_a_client_alone(client):
    before = rapidfailover.default_client()
    with pytest.raises(AllProvidersFailed), using(client):
        raise AllProvidersFailed("in the test")
    assert rapidfailover.default_client() is before
    with pytest.raises(TypeError, match="FailoverClient"), using(client.registry):
        pass


@pytest.mark.slow
def test_using_before_there_is_a_default_client_leaves_none_behind():
    code = """if True:
        from rapidfailover import FailoverClient, api
        from rapidfailover.testing import FakeRapidAPI, using
        with FakeRapidAPI() as fake, FailoverClient(fake.registry, api_key="k") as client, using(client):
            api.get_youtube_video("v")
        raise SystemExit(api._default.client is not None or api._default.registry is not None)"""
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(testing.__file__).parent.parent).returncode == 0


VIEWS = {"flask": """
import flask
app = flask.Flask("views")

@app.get("/people/<name>")
def person(name):
    return rapidfailover.get_tiktok_user(name)["data"]["user"]

def visit():
    return app.test_client().get("/people/ada").get_json()
""", "django": """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
django.setup()
from django.http import JsonResponse
from django.test import Client
from django.urls import path

def person(request, name):
    return JsonResponse(rapidfailover.get_tiktok_user(name)["data"]["user"])

urlpatterns = [path("people/<name>", person)]

def visit():
    return Client().get("/people/ada").json()
"""}
UNITTEST = """
import unittest
import rapidfailover
from rapidfailover.testing import FakeRapidAPI, using
{views}
class Views(unittest.TestCase):
    def setUp(self):
        self.rapidapi = FakeRapidAPI()
        self.addCleanup(self.rapidapi.close)
        client = rapidfailover.FailoverClient(self.rapidapi.registry, api_key="not-a-real-key")
        self.addCleanup(client.close)
        used = using(client)
        used.__enter__()
        self.addCleanup(used.__exit__, None, None, None)

    def test_a_view_has_data_when_the_primary_is_down(self):
        self.rapidapi.fail("tiktok-scraper7", 404)
        self.assertEqual(visit()["uniqueId"], "ada")
        self.assertEqual([request.provider for request in self.rapidapi.requests], ["tiktok-scraper7", "tiktok-feature"])

if __name__ == "__main__":
    unittest.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("framework", VIEWS)
def test_a_view_is_tested_by_unittest_with_the_frameworks_own_test_client(tmp_path, framework):
    pytest.importorskip(framework)
    (tmp_path / "views.py").write_text(UNITTEST.format(views=VIEWS[framework]))
    done = subprocess.run([sys.executable, str(tmp_path / "views.py")], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(Path(testing.__file__).parent.parent)})
    assert done.returncode == 0 and "Ran 1 test" in done.stderr, done.stderr


# --- the pytest plugin ---

PLUGGED = """
def test_it(fake_rapidapi, failover_client):
    fake_rapidapi.fail("tiktok-scraper7", 503)
    assert failover_client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-feature"
    assert len(fake_rapidapi.requests) == 3


def test_each_has_its_own(fake_rapidapi, failover_client):
    assert fake_rapidapi.requests == [] and failover_client.registry is fake_rapidapi.registry
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rapidfailover", "acme.failover"])
def test_its_fixtures_are_a_pytest_plugin_under_any_name(tmp_path, name):
    package = tmp_path.joinpath(*name.split("."))
    package.parent.mkdir(exist_ok=True)
    shutil.copytree(Path(testing.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "conftest.py").write_text(f"pytest_plugins = ['{name}.testing']")
    (tmp_path / "test_plugged.py").write_text(PLUGGED)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:rapidfailover", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_pytest_is_not_imported_for_it():
    code = "import sys, rapidfailover.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(testing.__file__).parent.parent).returncode == 0
