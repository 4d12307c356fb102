"""What a call costs: CPU seconds of this process, as multiples of ``requests.Session().get(...).json()`` in the same run.

Rounds of the contestants are interleaved and medians taken, because machines are shared. Answers over loopback, of 335
bytes where nothing else is said, from a server in a process of its own.
"""

import itertools
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[number]) for number in range(3)]
import peers  # noqa: E402
import requests  # noqa: E402
import sizes  # noqa: E402
import urllib3  # noqa: E402
from redis_server import PROGRAM, RedisServer  # noqa: E402

from rapidfailover import (  # noqa: E402
    FailoverClient,
    LRUTTLCache,
    NoProvidersAvailable,
    ProviderConfig,
    ProviderRegistry,
)

SERVER = r'''
import socket, threading
body = b'{"question": "1", "x": "' + b"y" * 309 + b'"}'
answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return
        received += piece
        while b"\r\n\r\n" in received:
            received = received.split(b"\r\n\r\n", 1)[1]
            connection.sendall(answer)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
'''


class Server:
    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def cpu(calls, rounds):
    """{name: median CPU seconds of one call}, of {name: (function, how many a round)}."""
    for function, _ in calls.values():
        for _ in range(20):
            function()
    took = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (function, count) in calls.items():
            began = time.process_time()
            for _ in range(count):
                function()
            took[name].append((time.process_time() - began) / count)
    return {name: statistics.median(each) for name, each in took.items()}


def out(url, ask_first):
    """A client whose three providers are all out, with or without a copy at hand.

    Without early trials, or the refresh worker would have them back in two seconds.
    """
    providers = [ProviderConfig(name, "a.example", number, base_url=url) for number, name in enumerate("abc")]
    registry = ProviderRegistry({"p": providers}, early_trials=False, clock=lambda: 1000.0)
    client = FailoverClient(registry, api_key=peers.KEY)
    if ask_first:
        client.call("p", "/x", {"q": "1"})
    for name in "abc":
        for _ in range(3):
            registry.mark_error("p", name)

    def degraded():
        assert client.call("p", "/x", {"q": "1"}).stale

    def fail_fast():
        try:
            client.call("p", "/x", {"q": "1"})
        except NoProvidersAvailable:
            pass

    return degraded if ask_first else fail_fast


def healthy(url, rounds, everybody):
    """Name, microseconds, multiple of the bare session."""
    calls = {"requests.Session, by hand": (peers.bare([url]), 200), "Session.send(prepared)": (peers.prepared([url]), 200),
             "rapidfailover": (peers.ours([url]), 200)}
    if everybody:
        calls.update({name: (make([url]), 100) for name, make in {**peers.ALONE, **peers.FAILOVER}.items()
                      if name not in calls and make is not peers.strategy})
        calls["the strategy's own code"] = (peers.strategy([url]), 5)
    calls = {name: ((lambda ask=ask: ask("1")), count) for name, (ask, count) in calls.items()}
    calls["rapidfailover, all out, a copy at hand"] = (out(url, True), 1000)
    calls["rapidfailover, all out, no copy"] = (out(url, False), 1000)
    took = cpu(calls, rounds)
    bare = took["requests.Session, by hand"]
    return [(name, seconds * 1e6, seconds / bare) for name, seconds in sorted(took.items(), key=lambda item: item[1])]


def threads(url, seconds, quick):
    """(threads, calls a second of a bare session each, ours on one client)."""
    for count in (1, 32) if quick else (1, 8, 32, 128, 256):
        done = {}
        for _ in range(2 if quick else 3):  # interleaved, the best of each
            client = peers.ours([url])
            for name, make in (("bare", lambda: peers.bare([url])), ("ours", lambda: client)):
                asks = [make() for _ in range(count)]
                for ask in asks:
                    ask("1")
                calls, ends = [0] * count, time.monotonic() + seconds

                def work(number):
                    ask, question = asks[number], str(number)
                    while time.monotonic() < ends:
                        ask(question)
                        calls[number] += 1

                running = [threading.Thread(target=work, args=(number,)) for number in range(count)]
                for thread in running:
                    thread.start()
                for thread in running:
                    thread.join()
                done[name] = max(done.get(name, 0), sum(calls) / seconds)
        yield count, done["bare"], done["ours"]


def growth(url, rounds):
    """What a call costs with much in the registry or the cache, as a multiple of what it costs with little."""
    def with_platforms(count):
        registry = ProviderRegistry({f"p{number}": [ProviderConfig("a", "a.example", 1, base_url=url)] for number in range(count)})
        client = FailoverClient(registry, api_key=peers.KEY)
        return lambda: client.call("p0", "/x", {"q": "1"})

    def with_entries(count):
        registry = ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, base_url=url)]})
        cache = LRUTTLCache(max_entries=count)
        for number in range(count):
            cache.set(f"key{number}", b"x" * 335)
        client = FailoverClient(registry, api_key=peers.KEY, cache=cache)
        return lambda: client.call("p", "/x", {"q": "1"})

    took = cpu({"1 platform": (with_platforms(1), 100), "1,000 platforms": (with_platforms(1000), 100),
                "10 cached": (with_entries(10), 100), "100,000 cached": (with_entries(100_000), 100)}, rounds)
    return took["1,000 platforms"] / took["1 platform"], took["100,000 cached"] / took["10 cached"]


def shared(url, rounds, count, store):
    """What a healthy call costs with a store, the work of its thread included, as a multiple of one without."""
    def calls(store):
        client = FailoverClient(ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, base_url=url)]}), api_key=peers.KEY, store=store)
        numbers = itertools.count()
        return lambda: client.call("p", "/x", {"q": str(next(numbers) % 1000)})

    took = cpu({"with": (calls(store), count), "without": (calls(None), count)}, rounds)
    return took["with"] / took["without"]


def shared_on_redis(url, *how):
    from rapidfailover.redis import RedisStore
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder) as server:
        return shared(url, *how, RedisStore(server.url))


def shared_on_sqlite(url, *how):
    from rapidfailover.sqlite import SQLiteStore
    with tempfile.TemporaryDirectory() as folder:
        return shared(url, *how, SQLiteStore(Path(folder, "shared.db")))


def memory_per_entry(body=335, entries=20_000):
    """Bytes that an entry takes beyond its body."""
    from rapidfailover.records import Records, key_of
    cache = LRUTTLCache(max_entries=entries)
    records = Records(cache, lambda body, checked: body, 60.0)
    tracemalloc.start()
    for number in range(entries):
        records.keep(key_of("p", "/x", str(number)), "provider", bytes(body))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(cache) - body


def start_up(url, rounds=9):
    """(CPU of the import beyond requests as a multiple of that of requests, CPU of the first call as one of a bare session's first)."""
    compiled = tempfile.mkdtemp()  # as pip leaves a package
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}

    def took(code):
        return float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, env=environment,
                                    cwd=Path(__file__).parent.parent.parent).stdout)

    took("import requests, rapidfailover.api; print(0)")
    imports = [took("import time; began = time.process_time(); import requests; theirs = time.process_time(); import rapidfailover.api; "
                    "print((time.process_time() - theirs) / (theirs - began))") for _ in range(rounds)]
    clock = "began = time.process_time(); {}; print(time.process_time() - began)"
    ready = f"import requests, rapidfailover, time; from rapidfailover import *; url = {url!r}; "
    ours = ready + clock.format("FailoverClient(ProviderRegistry({'p': [ProviderConfig('a', 'a.example', 1, base_url=url)]}), "
                                "api_key='k' * 50).call('p', '/x', {'q': '1'}).data")
    bare = ready + clock.format("requests.Session().get(url + '/x', params={'q': '1'}, headers={'X-RapidAPI-Key': 'k' * 50}, timeout=5).json()")
    pairs = [(took(ours), took(bare)) for _ in range(rounds)]
    shutil.rmtree(compiled)
    return statistics.median(imports), statistics.median(first for first, _ in pairs) / statistics.median(second for _, second in pairs)


def measured(quick=False, everybody=True):
    """Lines of Markdown, and whether each bound was met."""
    logging.getLogger("rapidfailover").setLevel(logging.CRITICAL)
    lines, bounds = [], []

    def hold(what, figure, bound, told):
        bounds.append((what, told, bound, figure))

    newest = sys.version_info[:2] == (3, 11)
    sharing = (3, 800) if quick else (9, 4000)  # rounds; calls: 4,000 are some seconds, in which the store's thread has its share
    with Server() as url:
        table = healthy(url, 3 if quick else 15, everybody)
        ratio = {name: multiple for name, _, multiple in table}
        lines += ["| a call by | CPU, µs | × bare session |", "|---|---|---|"]
        lines += [f"| {name} | {microseconds:,.0f} | {multiple:.{3 if multiple < 0.1 else 2}f} |" for name, microseconds, multiple in table]
        hold("healthy call", ratio["rapidfailover"] <= (0.65 if newest else 0.80), f"≤ {0.65 if newest else 0.80} ×", f"{ratio['rapidfailover']:.2f} ×")
        send = ratio["rapidfailover"] / ratio["Session.send(prepared)"]
        hold("healthy call, to Session.send(prepared)", send <= 1.25, "≤ 1.25 ×", f"{send:.2f} ×")
        for name in ("rapidfailover, all out, a copy at hand", "rapidfailover, all out, no copy"):
            hold(name, ratio[name] <= 0.10, "≤ 0.10 ×", f"{ratio[name]:.3f} ×")
        for count, bare, ours in threads(url, 0.3 if quick else 2.0, quick):
            hold(f"{count} threads", ours >= bare, f"≥ {bare:,.0f} calls/s (bare)", f"{ours:,.0f} calls/s")
        platforms, entries = growth(url, 5 if quick else 31)
        hold("1,000 platforms to 1", platforms <= 1.10, "≤ 1.10 ×", f"{platforms:.2f} ×")
        hold("100,000 cache entries to 10", entries <= 1.10, "≤ 1.10 ×", f"{entries:.2f} ×")
        if PROGRAM:
            store = shared_on_redis(url, *sharing)
            hold("healthy call with a RedisStore, to one without", store <= 1.10, "≤ 1.10 ×", f"{store:.2f} ×")
        store = shared_on_sqlite(url, *sharing)
        hold("healthy call with a SQLiteStore, to one without", store <= 1.10, "≤ 1.10 ×", f"{store:.2f} ×")
        memory = memory_per_entry()
        hold("memory of an entry beyond its body", memory <= 600, "≤ 600 bytes", f"{memory:,.0f} bytes")
        imports, first = start_up(url, 3 if quick else 9)
        hold("import beyond requests, to that of requests", imports <= 0.40, "≤ 0.40 ×", f"{imports:.2f} ×")
        hold("first call to a bare session's", first <= 1.2, "≤ 1.2 ×", f"{first:.2f} ×")
    by_size, of_sizes = sizes.measured(quick)
    lines += ["", " ".join(sizes.__doc__.split()), "", *by_size]
    for what, met, bound, told in of_sizes:
        hold(what, met, bound, told)
    lines += ["", "| bound | | measured | met |", "|---|---|---|---|"]
    lines += [f"| {what} | {bound} | {told} | {'yes' if met else '**no**'} |" for what, told, bound, met in bounds]
    return lines, all(met for *_, met in bounds)


def machine():
    return (f"Python {platform.python_version()}, requests {requests.__version__}, urllib3 {urllib3.__version__}, "
            f"{platform.system()} {platform.machine()}")


if __name__ == "__main__":  # without the peers: runs wherever rapidfailover does
    print(machine())
    lines, met = measured(quick="--quick" in sys.argv, everybody=False)
    print("\n".join(lines))
    sys.exit(0 if met or "--quick" in sys.argv else 1)
