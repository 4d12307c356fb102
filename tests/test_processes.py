"""Fork, exit and shutdown, each in a real process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROLOGUE = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is the subject
from rapidfailover import *
from rapidfailover.testing import FakeRapidAPI

import rapidfailover.refresh
import rapidfailover.connection
rapidfailover.refresh._FIRST_PAUSE = 0.3
NO_RETRY = {status: rule._replace(retry=False) for status, rule in MATRIX.items()}
USER = ("tiktok", "/user/info", {"unique_id": "ada"})
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")
rapidapi = FakeRapidAPI()
client = FailoverClient(rapidapi.registry, api_key="k" * 20, matrix=NO_RETRY)

def fail_all(fault):
    for name in TIKTOK:
        rapidapi.fail(name, fault)

def settled(seconds=10):
    until = time.monotonic() + seconds
    while client.pending_refreshes and time.monotonic() < until:
        time.sleep(0.02)
    return client.pending_refreshes == 0

def in_child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, status
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child hangs")
"""


def run(script, before="", timeout=40):
    """The process that ran the script, and how long it took to end after its last line."""
    done = subprocess.run([sys.executable, "-c", before + PROLOGUE + script], capture_output=True, text=True, cwd=ROOT,
                          timeout=timeout)
    return done, time.time() - float(done.stdout.split()[-1]) if done.stdout.strip() else None


def passes(script, before=""):
    done, _ = run(script, before)
    assert done.returncode == 0 and not done.stderr, done.stderr


NO_HOOKS = "import os\nos.register_at_fork = lambda **hooks: None\n"


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", NO_HOOKS], ids=["hooks", "no hooks"])
def test_a_forked_child_begins_empty_and_refreshes_for_itself(before):
    passes("""
client.call(*USER)
fail_all(503)
assert client.call(*USER).stale and client.pending_refreshes == 1
parents = threading.enumerate()  # without hooks the child's threading takes them for its own

def child():
    assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).stale
    assert client.pending_refreshes == 1  # its own
    assert [t.name for t in threading.enumerate() if t not in parents].count("rapidfailover-refresh") == 1

in_child(child)
rapidapi.recover()
assert settled()
""", before)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", NO_HOOKS], ids=["hooks", "no hooks"])
def test_what_the_parent_queued_is_asked_once_and_by_the_parent(before):
    passes("""
fail_all(503)
try:
    client.call(*USER)
except AllProvidersFailed:
    pass
rapidapi.recover()
del rapidapi.requests[:]

def child():
    client.call("youtube", "/video/info", {"id": "v"})
    assert client.pending_refreshes == 0
    time.sleep(0.5)

in_child(child)
assert settled()
assert [r.path for r in rapidapi.requests].count("/user/info") == 1
""", before)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", NO_HOOKS], ids=["hooks", "no hooks"])
def test_a_lock_that_another_thread_held_at_the_fork_is_free_in_the_child(before):
    passes("""
from rapidfailover import api
client.call(*USER)
configure(registry=rapidapi.registry, api_key="k" * 20)
locks = [client.registry._lock, client.cache._lock, client._transport._lock, client._keys._lock,
         client._refreshes._changed, client._flights._lock, api._default._lock]
for lock in locks:
    lock.acquire()

def child():
    assert client.call("tiktok", "/user/info", {"unique_id": "bob"}).provider == "tiktok-scraper7"
    assert call("tiktok", "/user/info", {"unique_id": "bob"}).provider == "tiktok-scraper7"
    configure()
    client.close()

in_child(child)
""", before)


@pytest.mark.slow
def test_a_call_under_way_in_the_parent_is_not_waited_for_in_the_child():
    passes("""
rapidapi.delay("tiktok-scraper7", 1.0)
threading.Thread(target=client.call, args=USER).start()
time.sleep(0.3)

def child():
    began = time.monotonic()
    assert client.call(*USER, timeout=5).provider == "tiktok-scraper7"
    assert 0.9 < time.monotonic() - began < 2.5

in_child(child)
""")


@pytest.mark.slow
def test_parent_and_child_share_no_connection():
    passes("""
def ask(who, times):
    for number in range(times):
        name = f"{who}{number}"
        assert client.call("tiktok", "/user/info", {"unique_id": name}).data["data"]["user"]["uniqueId"] == name

ask("warm", 1)
parent = threading.Thread(target=ask, args=("parent", 200))
parent.start()
in_child(lambda: ask("child", 200))
parent.join()
""")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("before", ["", NO_HOOKS], ids=["hooks", "no hooks"])
def test_a_child_lets_go_of_its_parents_sockets(before):
    passes("""
def sockets():
    links = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
    return {link for link in links if link.startswith("socket:")}

before = sockets()
client.call(*USER)
rapidapi.delay("tiktok-scraper7", 0.5)
threading.Thread(target=client.call, args=("tiktok", "/user/info", {"unique_id": "b"})).start()
time.sleep(0.2)
pools = [pool for session in client._transport._sessions.values() for adapter in session.adapters.values()
         for pool in adapter.poolmanager.pools._container.values()]
handles = {sock.fileno() for sock in rapidfailover.sockets.open_sockets._all}
ours = {os.readlink(f"/proc/self/fd/{handle}") for handle in handles if handle >= 0}
assert len(ours) == 1, ours  # kept from the first call, in use by the second

def child():
    client.call(*USER)
    assert not ours & sockets()

in_child(child)
""", before)


# --- exit ---

BUSY = """
rapidfailover.refresh._FIRST_PAUSE = {wait} / 2 or 60
client.call(*USER)
fail_all({fault!r})
try:
    client.call(*USER, timeout=0.2)
except AllProvidersFailed:
    pass
time.sleep({wait})
assert client.pending_refreshes == 1
client.monitor(interval=0.05)
print(time.time(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault, wait", [(503, 0.0), ("hang", 0.4)], ids=["waiting", "asking"])
@pytest.mark.parametrize("end, status", [
    ("", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -signal.SIGTERM),
    ("signal.signal(signal.SIGTERM, lambda *a: sys.exit(9)); os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", 9),
    ("raise RuntimeError('on purpose')", 1),
], ids=["end of script", "sys.exit", "SIGTERM", "SIGTERM handled", "exception"])
def test_a_refresh_under_way_or_waiting_holds_up_no_exit(end, status, fault, wait):
    done, took = run(BUSY.format(fault=fault, wait=wait) + end)
    assert done.returncode == status, done.stderr
    assert took < 1.5
    assert "Fatal" not in done.stderr and (not done.stderr or end.startswith("raise"))


@pytest.mark.slow
def test_a_call_during_shutdown_fails_nobody(rapidapi):
    """Python 3.12 starts no thread by then; so the local RapidAPI is that of this process."""
    for name in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        rapidapi.fail(name, 503)
    script = """
import atexit, sys, threading, time
from rapidfailover import *
urls = sys.argv[1:]
registry = ProviderRegistry({"tiktok": [ProviderConfig(f"p{n}", "tiktok-scraper7.p.rapidapi.com", n, url)
                                        for n, url in enumerate(urls)]})
client = FailoverClient(registry, api_key="k" * 20)

def late():
    try:
        client.call("tiktok", "/user/info", {"unique_id": "ada"})
    except AllProvidersFailed as error:
        print(len(error.attempts), "asked", client.pending_refreshes in (0, 1), time.time(), flush=True)

atexit.register(late)
getattr(threading, "_register_atexit", atexit.register)(late)
"""
    urls = [provider.base_url for provider in rapidapi.providers["tiktok"]]
    done = subprocess.run([sys.executable, "-c", script, *urls], capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert done.returncode == 0 and not done.stderr and done.stdout.count("3 asked True") == 2, done.stderr
    assert time.time() - float(done.stdout.split()[-1]) < 1.5


# --- hand over ---

@pytest.mark.slow
def test_a_request_is_handed_over_and_asked_in_another_process():
    passes("""
import pickle, subprocess
handed = []
client = FailoverClient(rapidapi.registry, api_key="k" * 20, matrix=NO_RETRY, refresh=handed.append)
fail_all(503)
for _ in range(3):
    try:
        client.call(*USER)
    except AllProvidersFailed:
        pass
request, = handed  # once, not thrice
url = {p.name: p.base_url for p in rapidapi.providers["tiktok"]}
rapidapi.recover()
task = '''
import pickle, sys
from rapidfailover import *
request = pickle.loads(bytes.fromhex(sys.argv[1]))
provider = ProviderConfig("tiktok-scraper7", "tiktok-scraper7.p.rapidapi.com", 1, base_url=sys.argv[2])
with FailoverClient(ProviderRegistry({"tiktok": [provider]}), api_key="k" * 20) as client:
    print(client.refresh_now(request).provider)
'''
done = subprocess.run([sys.executable, "-c", task, pickle.dumps(request).hex(), url["tiktok-scraper7"]],
                      capture_output=True, text=True)
assert done.stdout.strip() == "tiktok-scraper7", done.stderr
assert RefreshRequest(*__import__("json").loads(__import__("json").dumps(request))) == request
""")
