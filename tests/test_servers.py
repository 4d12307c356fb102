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

ROOT = Path(__file__).parent.parent

APP = '''
import json, os
from urllib.parse import parse_qs
from rapidfailover import FailoverClient, FailoverError, FileCache, ProviderConfig, ProviderRegistry

providers = [ProviderConfig(name, f"{name}.p.rapidapi.com", number, base_url=url)
             for number, (name, url) in enumerate(json.loads(os.environ["PROVIDERS"]))]
client = FailoverClient(ProviderRegistry({"tiktok": providers}), timeout=2.0, cache=FileCache("copies"))
if os.environ.get("ASK_AT_IMPORT"):
    client.call("tiktok", "/user/info", {"unique_id": "import"})  # connections that forked workers inherit


def app(environ, start_response):
    name = parse_qs(environ["QUERY_STRING"])["name"][0]
    try:
        result = client.call("tiktok", "/user/info", {"unique_id": name})
        status, told = "200 OK", {"pid": os.getpid(), "user": result.data["data"]["user"]["uniqueId"], "stale": result.stale}
    except FailoverError as error:
        status, told = "502 Bad Gateway", {"error": str(error)}
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
'''


@contextmanager
def gunicorn(rapidapi, tmp_path, *options, **environment):
    (tmp_path / "served.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    providers = [(config.name, config.base_url) for config in rapidapi.providers["tiktok"]]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gunicorn", "served:app", "-b", f"127.0.0.1:{port}", "-w", "2", "--graceful-timeout", "5", *options],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAPIDAPI_KEY": KEY, "PROVIDERS": json.dumps(providers), **environment})

    def get(name):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/?name={name}", timeout=20) as answer:
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
def test_a_page_comes_back_while_providers_fail_and_ends_cleanly(rapidapi, tmp_path, worker):
    asked_at_import = {"ASK_AT_IMPORT": "1"} if "--preload" in worker else {}
    with gunicorn(rapidapi, tmp_path, "-k", *worker, **asked_at_import) as (process, get), ThreadPoolExecutor(8) as visitors:
        names = [f"user{number}" for number in range(40)]
        told = list(visitors.map(get, names))
        assert [one["user"].lower() for one in told] == names and not any(one["stale"] for one in told)
        rapidapi.fail("tiktok-scraper7", 503)
        rapidapi.fail("tiktok-feature", "cut")
        assert [one["user"].lower() for one in visitors.map(get, names)] == names
        rapidapi.refuse("tiktok-tikwm")
        stale = list(visitors.map(get, [names[0]] * 16))
        process.send_signal(signal.SIGTERM)  # with refreshes queued
        began = time.monotonic()
        assert process.wait(20) == 0 and time.monotonic() - began < 4.0
        assert "Traceback" not in process.stdout.read()
    assert all(one["stale"] for one in stale)


def test_gevent_that_patches_too_late_is_told_so(rapidapi, tmp_path):
    with gunicorn(rapidapi, tmp_path, "-k", "gevent", "--preload") as (process, get):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get("ada")
        assert "patch_all() before anything else" in json.load(caught.value)["error"]
        caught.value.close()


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
assert 0.9 < min(took) and max(took) < 1.2, took

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
