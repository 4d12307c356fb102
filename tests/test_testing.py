"""The local RapidAPI, asked by a plain requests.Session as any client would."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from rapidfailover import UnknownProvider, testing
from rapidfailover.testing import FakeRapidAPI


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


# --- the pytest plugin ---

PLUGGED = """
def test_it(fake_rapidapi, failover_client):
    fake_rapidapi.fail("tiktok-scraper7", 503)
    assert failover_client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-feature"
    assert len(fake_rapidapi.requests) == 3


def test_each_has_its_own(fake_rapidapi, failover_client):
    assert fake_rapidapi.requests == [] and failover_client.registry is fake_rapidapi.registry
"""


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


def test_pytest_is_not_imported_for_it():
    code = "import sys, rapidfailover.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(testing.__file__).parent.parent).returncode == 0
