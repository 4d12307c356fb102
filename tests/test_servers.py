"""Under a real gunicorn: sync, gthread and gevent workers, with and without --preload; and pools of processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import KEY
from redis_server import PROGRAM, RedisServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@contextmanager
def gunicorn(rapidapi, tmp_path, app, *options, workers=2, **environment):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    providers = [(config.name, config.base_url) for config in rapidapi.providers["tiktok"]]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gunicorn", "served:app", "-b", f"127.0.0.1:{port}", "-w", str(workers),
         "--graceful-timeout", "15", *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'apps'}", "RAPIDAPI_KEY": KEY, "PROVIDERS": json.dumps(providers), "APP": f"{app}_app", **environment})

    def get(name, page="user/"):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/{page}{name}", timeout=20) as answer:
            return json.load(answer)

    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process, get
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


WORKERS = [("sync",), ("sync", "--preload"), ("gthread", "--threads", "4"), ("gthread", "--threads", "4", "--preload"), ("gevent",)]


@pytest.mark.parametrize("worker", WORKERS, ids=" ".join)
@pytest.mark.parametrize("app", ["flask", "django"])
def test_a_page_comes_back_while_providers_fail_and_mend_and_ends_cleanly(rapidapi, tmp_path, app, worker):
    with gunicorn(rapidapi, tmp_path, app, "-k", *worker) as (process, get), ThreadPoolExecutor(8) as visitors:
        names = [f"user{number}" for number in range(40)]
        told = list(visitors.map(get, names))
        assert [one["user"].lower() for one in told] == names and not any(one["stale"] for one in told)
        rapidapi.fail("tiktok-scraper7", 503)
        rapidapi.fail("tiktok-feature", "cut")
        told = list(visitors.map(get, names))
        assert [one["user"].lower() for one in told] == names and {one["provider"] for one in told} == {"tiktok-tikwm"}
        rapidapi.refuse("tiktok-tikwm")
        assert all(one["stale"] for one in visitors.map(get, [names[0]] * 16))
        health = get("health", page="")["tiktok"]
        assert set(health) == {"tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"} and health["tiktok-scraper7"]["error_count"] > 0
        for provider in health:
            rapidapi.recover(provider)
            rapidapi.fail(provider, 404)
        process.send_signal(signal.SIGTERM)  # with refreshes queued
        began = time.monotonic()
        assert process.wait(20) == 0 and time.monotonic() - began < 12.0  # before it is killed
        assert "Traceback" not in process.stdout.read()


@pytest.mark.parametrize("app", ["flask", "django"])
def test_four_workers_and_sixteen_visitors_while_providers_and_workers_come_and_go(rapidapi, tmp_path, app):
    """No page fails but those in flight on a worker at the moment it is killed."""
    wrong, killed = [], []
    with gunicorn(rapidapi, tmp_path, app, "-k", "gthread", "--threads", "4", workers=4) as (process, get):
        for number in range(8):
            get(f"user{number}")  # a good copy of each, for all
        ends = time.monotonic() + 6.0

        def visit(number):
            pages = 0
            while time.monotonic() < ends or pages < 10:
                name, began = f"user{(number + pages) % 8}", time.monotonic()
                try:
                    assert get(name)["user"].lower() == name
                except Exception as problem:
                    wrong.append((began, time.monotonic(), problem))
                pages += 1

        with ThreadPoolExecutor(16) as visitors:
            asking = [visitors.submit(visit, number) for number in range(16)]
            for fault in (503, "hang", "html", 429, "disconnect", "cut"):
                rapidapi.fail("tiktok-scraper7", fault)
                rapidapi.fail("tiktok-tikwm", fault)
                time.sleep(0.5)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                killed.append(time.monotonic())
                os.kill(int(children[-1]), signal.SIGKILL)
                time.sleep(0.3)
                rapidapi.recover()
            for one in asking:
                one.result()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    not_in_flight = [one for one in wrong if not any(one[0] - 0.1 <= moment <= one[1] for moment in killed)]
    assert not not_in_flight and len(wrong) <= 16 * len(killed)


def agree(visitors, get, provider):
    """Wait until all workers have its circuit open: those that were asked for a name, so that they know of the endpoint."""
    began = time.monotonic()
    while True:
        told = [one["tiktok"] for one in visitors.map(lambda _: get("health", page=""), range(40))]
        if {one[provider]["circuit"] for one in told if one["tiktok-scraper7"]["requests"]} == {"open"}:
            return
        assert time.monotonic() - began < 60.0  # a second, but for the machine
        time.sleep(0.1)


@pytest.mark.parametrize("app", ["flask", "django"])
def test_four_workers_share_their_file_as_they_are(rapidapi, tmp_path, app):
    with ThreadPoolExecutor(16) as visitors, gunicorn(rapidapi, tmp_path, app, "-k", "gthread", "--threads", "4", workers=4) as (process, get):
        names = [f"user{number}" for number in range(40)]
        assert not any(one["stale"] for one in visitors.map(get, names))
        asked = len(rapidapi.requests)
        rapidapi.fail("tiktok-scraper7", "html")
        for name in names[:3]:
            assert get(name)["provider"] == "tiktok-feature"
        agree(visitors, get, "tiktok-scraper7")
        assert 3 <= sum(request.provider == "tiktok-scraper7" for request in rapidapi.requests[asked:]) <= 11
        for provider in ("tiktok-feature", "tiktok-tikwm"):
            rapidapi.refuse(provider)
        assert all(one["stale"] for one in visitors.map(get, names))  # whichever worker had it
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0 and (tmp_path / "shared.db").exists()


@pytest.mark.skipif(not PROGRAM, reason="no redis-server is installed")
@pytest.mark.parametrize("app, worker", [("flask", ("gthread", "--threads", "4")), ("django", ("sync",)), ("flask", ("gevent",)),
                                         ("django", ("gthread", "--threads", "4", "--preload"))], ids=str)
def test_four_workers_on_one_redis_know_what_one_has_learnt_and_go_on_without_it(rapidapi, tmp_path, app, worker):
    pytest.importorskip("redis")
    with RedisServer(tmp_path) as redis, ThreadPoolExecutor(16) as visitors, \
            gunicorn(rapidapi, tmp_path, app, "-k", *worker, workers=4, STORE=redis.url) as (process, get):
        names = [f"user{number}" for number in range(40)]
        assert not any(one["stale"] for one in visitors.map(get, names))

        asked = len(rapidapi.requests)
        rapidapi.fail("tiktok-scraper7", "html")  # a bad payload: no retry
        for name in names[:3]:
            assert get(name)["provider"] == "tiktok-feature"
        agree(visitors, get, "tiktok-scraper7")
        assert all(one["provider"] == "tiktok-feature" for one in visitors.map(get, names))
        # In the whole fleet, and on a slow machine a few trials before its time; each worker by itself would make it twelve.
        assert 3 <= sum(request.provider == "tiktok-scraper7" for request in rapidapi.requests[asked:]) <= 11
        redis.kill()
        rapidapi.fail("tiktok-feature", "html")
        assert not any(one["stale"] for one in visitors.map(get, names * 3))
        redis.start()
        agree(visitors, get, "tiktok-feature")
        agree(visitors, get, "tiktok-scraper7")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stdout.read()


def test_gevent_that_patches_too_late_is_told_so(rapidapi, tmp_path):
    with gunicorn(rapidapi, tmp_path, "flask", "-k", "gevent", "--preload") as (process, get):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get("ada")
        assert caught.value.code == 500
        caught.value.close()
        process.send_signal(signal.SIGTERM)
        assert "patch_all() before anything else" in process.stdout.read()


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent, pathlib, tempfile
sys.path.insert(0, "tests")
import os, socket
from faults import World, drip, GET_200, secure
from rapidfailover import *
world = World(pathlib.Path(tempfile.mkdtemp()))
os.environ.update(REQUESTS_CA_BUNDLE=world.bundle)
socket.getaddrinfo = world.getaddrinfo

def record_dripped(connection):
    "One TLS record of 4 KB, of which a byte arrives now and then."
    raw = socket.socket(fileno=os.dup(connection.fileno()))
    raw.sendall(b"\\x17\\x03\\x03\\x10\\x00")
    while True:
        raw.sendall(b"x")
        gevent.sleep(0.02)

provider = ProviderConfig("raw", "raw.example", 1, base_url=secure(record_dripped)(world))
client = FailoverClient(ProviderRegistry({"raw": [provider]}, error_threshold=100), api_key="k" * 20, refresh=False)
began = time.monotonic()
def call(number):
    try:
        client.call("raw", "/thing", {"q": number}, timeout=1.0)
    except AllProvidersFailed as error:
        assert error.attempts[0].action == "timeout", error
        return time.monotonic() - began
took = [job.get() for job in [gevent.spawn(call, number) for number in range(10)]]
assert 0.9 < min(took) and max(took) < 3.0, took  # without our care: as long as the peer drips

with gevent.Timeout(0.3, False):  # the user's own, and the way a greenlet is killed
    client.call("raw", "/thing", {"q": "x"})
    sys.exit("swallowed")
job = gevent.spawn(client.call, "raw", "/thing", {"q": "y"})
gevent.sleep(0.2)
job.kill(timeout=1.0)
assert job.dead and isinstance(job.value, gevent.GreenletExit), job
os._exit(0)
"""


def test_under_gevent_a_dripped_tls_record_is_in_time_and_a_greenlet_can_be_killed():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", GEVENT], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]


POOL = """
import sys, multiprocessing, billiard, json, os
from rapidfailover import *
providers = [ProviderConfig(name, f"{name}.p.rapidapi.com", number, base_url=url)
             for number, (name, url) in enumerate(json.loads(os.environ["PROVIDERS"]))]
client = FailoverClient(ProviderRegistry({"tiktok": providers}))

def ask(name):
    return client.call("tiktok", "/user/info", {"unique_id": name}).data["data"]["user"]["uniqueId"].lower()

if __name__ == "__main__":
    names = [f"user{number}" for number in range(60)]
    ask("parent")
    for pool in (multiprocessing.get_context("fork").Pool(3), billiard.Pool(3)):
        assert pool.map(ask, names) == names
        pool.close()
        pool.join()
    assert ask("parent") == "parent"
    print("fine")
"""


def test_pools_of_forked_processes_get_each_what_it_asked_for(rapidapi, tmp_path):
    (tmp_path / "pooled.py").write_text(POOL)
    providers = [(config.name, config.base_url) for config in rapidapi.providers["tiktok"]]
    done = subprocess.run([sys.executable, "-W", "ignore", "pooled.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "RAPIDAPI_KEY": KEY, "PROVIDERS": json.dumps(providers)})
    assert done.stdout == "fine\n", done.stderr[-2000:]


def test_a_celery_worker_asks_again_for_what_nobody_answered(rapidapi, tmp_path):
    (tmp_path / "queue").mkdir()
    providers = [(config.name, config.base_url) for config in rapidapi.providers["tiktok"]]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'apps'}", "RAPIDAPI_KEY": KEY, "PROVIDERS": json.dumps(providers),
                   "APP": "celery_tasks", "BROKER": "filesystem://"}

    def web(expected):
        """A process of its own, as the web's is: everybody fails, what is in the shared cache comes back."""
        code = ("import served\nfrom celery_tasks import client\n"
                "from rapidfailover import AllProvidersFailed\n"
                "try: print(client.call('tiktok', '/user/info', {'unique_id': 'ada'}).stale)\n"
                "except AllProvidersFailed: print('nobody')")
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.stdout == f"{expected}\n", done.stdout + done.stderr[-2000:]

    for name, _ in providers:
        rapidapi.fail(name, 503)
    web("nobody")
    assert list((tmp_path / "queue").iterdir())
    rapidapi.recover()
    asked = len(rapidapi.requests)
    worker = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "celery", "-A", "served", "worker", "--pool", "solo", "--without-gossip",
                               "--without-mingle", "--without-heartbeat"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not (tmp_path / "copies").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert len(rapidapi.requests) == asked + 1
    finally:
        worker.kill()
        worker.wait()
    for name, _ in providers:
        rapidapi.fail(name, 503)
    web(True)
