"""Workers that share a store: clients in this process, and processes of their own that are told what to do."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADA = ("tiktok", "/user/info", {"unique_id": "ada"})
FIRST, SECOND, THIRD = "tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"


def until(holds, seconds=30.0):
    """The seconds until it holds: a bound for a machine that is loaded, no measure."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if holds():
            return time.monotonic() - began
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def state(client, provider=FIRST, platform="tiktok"):
    return client.registry.snapshot()[platform][provider]


WORKER = """
import json, sys, threading, time
from importlib import import_module
from rapidfailover import *
import_module("rapidfailover.refresh")._GRACE = 1.0  # seconds: nobody is killed here
told = json.loads(sys.argv[1])
if told["patience"]:  # so that a machine that is loaded is not taken for a slow store
    link = import_module("rapidfailover.link")
    link._PATIENCE = link._SLOW = link._SILENCE = told["patience"]
kind, where = told["store"]
store = getattr(import_module(f"rapidfailover.{kind.lower()}"), f"{kind}Store")(where)
providers = [ProviderConfig(name, f"{name}.example", number, base_url=url, rate=told["rate"]) for number, (name, url) in enumerate(told["providers"])]
registry = ProviderRegistry({"p": providers}, **told["rules"])
client = FailoverClient(registry, api_key="k" * 20, store=store, matrix={
    status: rule._replace(retry=False) for status, rule in MATRIX.items()}, **told["options"])

def ask(seconds, pause, pages):
    end, slowest, wrong, count = time.monotonic() + seconds, 0.0, [], 0
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            client.call("p", "/x", {"q": count % pages})
        except FailoverError as error:
            wrong.append(type(error).__name__)
        count += 1
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(pause)
    return count, slowest, wrong

for line in sys.stdin:
    order, *more = json.loads(line)
    if order == "ask":
        threads, results = [], []
        for _ in range(more.pop()):
            threads.append(threading.Thread(target=lambda: results.append(ask(*more))))
            threads[-1].start()
        for thread in threads:
            thread.join()
        print(json.dumps(results), flush=True)
    elif order == "state":
        print(json.dumps(registry.snapshot()["p"]), flush=True)
    elif order == "pending":
        print(client.pending_refreshes, flush=True)
"""


class Process:
    def __init__(self, store, providers, rules=None, patience=None, rate=None, **options):
        told = json.dumps({"store": store, "providers": providers, "rules": rules or {}, "patience": patience, "rate": rate, "options": options})
        self._process = subprocess.Popen([sys.executable, "-c", WORKER, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, cwd=ROOT)

    def order(self, *order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def told(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, *order):
        self.order(*order)
        return self.told()

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def processes(count, *arguments, **options):
    made = [Process(*arguments, **options) for _ in range(count)]
    try:
        for one in made:
            one.ask("pending")  # it is there
        yield made
    finally:
        for one in made:
            one.end()


class Counted(ThreadingHTTPServer):
    """An upstream that knows how many requests it has at a time; ``status`` and ``takes`` (seconds) are set by tests."""

    daemon_threads = True
    request_queue_size = 128

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            upstream = self.server
            with upstream.lock:
                status = upstream.status
                upstream.under_way += 1
                upstream.most = max(upstream.most, upstream.under_way)
                upstream.asked += 1
            time.sleep(upstream.takes)
            with upstream.lock:
                upstream.under_way -= 1
            self.send_response(status)
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

        def log_message(self, *args):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.lock = threading.Lock()
        self.status, self.takes, self.under_way, self.most, self.asked = 200, 0.0, 0, 0, 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self.shutdown()
        self.server_close()
