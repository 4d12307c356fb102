"""What an answer of a real size costs, and a new TLS connection: CPU of this process, as multiples of a bare session.

The bodies have the shape of a page of posts: nested objects, escapes, texts in several scripts, ``\\u0026`` in URLs.
Each comes in four forms: identity and gzip, with a Content-Length and in chunks. Whole calls, interleaved; the median
of the ratios.
"""

import gzip
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[number]) for number in range(3)]
import peers  # noqa: E402
import requests  # noqa: E402

from rapidfailover import FailoverClient, FileCache, ProviderConfig, ProviderRegistry  # noqa: E402

SIZES = {"335 B": 335, "5 KB": 5_000, "50 KB": 50_000, "250 KB": 250_000, "1 MB": 1_000_000, "5 MB": 5_000_000}
BOUNDS = {"335 B": 0.65, "5 KB": 0.65, "50 KB": 0.85, "250 KB": 1.0, "1 MB": 1.0, "5 MB": 1.0}
FORMS = ("identity", "gzip", "identity, chunked", "gzip, chunked")

# Serves each file of a folder as an answer: "3-1" is the form number 1 of the size number 3. TLS where there is a key.
SERVER = r'''
import pathlib, socket, ssl, sys, threading
folder = pathlib.Path(sys.argv[1])
tls = None
if (folder / "key.pem").exists():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "key.pem")
def answer(file):
    body, form = file.read_bytes(), int(file.name[-1])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"Content-Encoding: gzip\r\n" * (form % 2)
    if form < 2:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    pieces = (body[start:start + 16384] for start in range(0, len(body), 16384))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"
answers = {file.name.encode(): answer(file) for file in folder.glob("*-?")}
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = tls.wrap_socket(connection, server_side=True) if tls else connection
    received = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return connection.close()
        received += piece
        while b"\r\n\r\n" in received:
            head, received = received.split(b"\r\n\r\n", 1)
            connection.sendall(answers[head.split()[1].partition(b"?")[0].strip(b"/")])
            if tls:
                return connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
'''


class Server:
    def __init__(self, folder):
        self._folder = str(folder)

    def __enter__(self):
        self._process = subprocess.Popen([sys.executable, "-c", SERVER, self._folder], stdout=subprocess.PIPE)
        return int(self._process.stdout.readline())

    def __exit__(self, *exc_info):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def post(chance, number):
    def url(kind):
        return (f"https://p16-sign.example/obj/{chance.getrandbits(128):032x}~c5_300x400.{kind}?x-expires=1764000000&"
                f"x-signature={chance.getrandbits(160):040x}&s=PUBLISH&se=false&sh=&sc=cover")

    caption = chance.choice(["Sunset at the beach 🌅", 'Größe «zählt» nicht, "wirklich"', "one line\nand\tanother, 日本語", "nothing much"])
    return {"aweme_id": str(chance.getrandbits(60)), "title": caption * chance.randint(1, 3), "cover": url("jpeg"), "play": url("mp4"),
            "duration": chance.randint(5, 180), "ratio": 0.5625, "create_time": 1_700_000_000 + number, "images": [],
            "music_info": {"id": str(chance.getrandbits(60)), "title": "original sound", "play": url("mp3"), "original": True},
            "play_count": chance.randint(0, 10 ** 7), "mentioned": [{"id": "1", "name": "x"}], "flags": {"ad": False, "top": None},
            "author": {"id": str(number), "unique_id": f"user{number}", "nickname": "Ädä 💡", "avatar": url("jpeg")}}


def body(size):
    if size < 1000:
        return b'{"x": "' + b"y" * (size - 9) + b'"}'
    chance, posts, length = random.Random(size), [], 0
    while length < size:
        posts.append(post(chance, len(posts)))
        length += len(dumped(posts[-1])) + 1
    return dumped({"code": 0, "msg": "success", "processed_time": 0.2134, "data": {"videos": posts, "cursor": "17", "hasMore": True}})


def dumped(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("&", "\\u0026").encode()


def ratios(calls, seconds):
    """The median of each call's CPU to the first one's, by turns for so long."""
    took = {name: [] for name in calls}
    ends, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < ends or rounds < 5:
        rounds += 1
        for name, call in calls.items():
            began = time.process_time()
            call()
            took[name].append(time.process_time() - began)
    bare, *_ = took.values()
    return {name: statistics.median(one / first for one, first in zip(each, bare)) for name, each in took.items()}


def by_size(quick):
    """(size, {form: multiple of a bare session}, multiple for a copy that is served)."""
    session, seconds = requests.Session(), 0.2 if quick else 3.0
    with tempfile.TemporaryDirectory() as folder:
        for number, size in enumerate(SIZES.values()):
            made = body(size)
            for form in range(4):
                Path(folder, f"{number}-{form}").write_bytes(gzip.compress(made) if form % 2 else made)
        with Server(folder) as port:
            base = f"http://127.0.0.1:{port}"
            client = FailoverClient(ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, base_url=base)]}), api_key=peers.KEY)
            for number, size in enumerate(SIZES):
                found, copy = {}, 0.0
                for form in range(2 if quick else 4):
                    path = f"/{number}-{form}"
                    calls = {
                        "bare": lambda: session.get(base + path, params={"q": "1"}, headers=peers.HEADERS, timeout=5).json(),
                        "ours": lambda: client.call("p", path, {"q": "1"}).data,
                        "copy": lambda: client.call("p", path, {"q": "1"}, fresh_for=1000).data}
                    assert calls["bare"]() == calls["ours"]() == calls["copy"]()
                    got = ratios(calls, seconds)
                    found[FORMS[form]], copy = got["ours"], copy or got["copy"]
                yield size, found, copy


def tls_connection(quick):
    """CPU milliseconds of a call on a new TLS connection with certifi's bundle: (ours, a bare session's); None without trustme."""
    try:
        import certifi
        import trustme
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(Path(folder, "key.pem")))
        bundle = Path(folder, "ca.pem")
        bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        Path(folder, "0-0").write_bytes(body(335))
        before = {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "NO_PROXY")}
        os.environ.update(REQUESTS_CA_BUNDLE=str(bundle), NO_PROXY="*")
        try:
            with Server(folder) as port:
                base, session, numbers = f"https://localhost:{port}", requests.Session(), itertools.count()
                client = FailoverClient(ProviderRegistry({"p": [ProviderConfig("a", "a.example", 1, base_url=base)]}), api_key=peers.KEY)
                calls = (lambda: client.call("p", "/0-0", {"q": str(next(numbers))}), lambda: session.get(base + "/0-0", timeout=5).json())
                took = []
                for call in calls:
                    call()
                    each = []
                    for _ in range(20 if quick else 100):
                        began = time.process_time()
                        call()
                        each.append(time.process_time() - began)
                    took.append(1000 * statistics.median(each))
                return tuple(took)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def file_set(files):
    """CPU milliseconds of ``FileCache.set`` among so many files, what it spends on old ones now and then included."""
    with tempfile.TemporaryDirectory() as folder:
        cache = FileCache(folder, max_entries=max(files, 1000))
        for number in range(files):
            cache.set(f"kept{number}", b"1")
        sets = max(100, files // 4)
        began = time.process_time()
        for number in range(sets):
            cache.set(f"new{number}", b"x" * 3000)
        return 1000 * (time.process_time() - began) / sets


def measured(quick):
    """Lines of Markdown; and (what, whether it met its bound, the bound, the figure)."""
    lines, bounds = [f"| × bare session | {' | '.join(FORMS)} | a copy served |", "|---|---|---|---|---|---|"], []
    for size, found, copy in by_size(quick):
        cells = [f"{found[form]:.2f}" if form in found else "" for form in FORMS]
        lines.append(f"| {size} | {' | '.join(cells)} | {copy:.2f} |")
        worst = max(found.values())
        bounds.append((f"an answer of {size}, the worst form", worst <= BOUNDS[size], f"≤ {BOUNDS[size]:.2f} ×", f"{worst:.2f} ×"))
        if size == "50 KB":
            bounds.append(("a copy of 50 KB served", copy <= 0.40, "≤ 0.40 ×", f"{copy:.2f} ×"))
    tls = tls_connection(quick)
    if tls is not None:
        bounds.append(("a call on a new TLS connection", tls[0] <= 0.12 * tls[1], f"≤ 0.12 × ({tls[1]:.1f} ms CPU)", f"{tls[0] / tls[1]:.2f} ×"))
    for files in (10, 1000) if quick else (10, 10_000):
        took = file_set(files)
        bounds.append((f"FileCache.set among {files:,} files", took <= 0.25, "≤ 0.25 ms CPU", f"{took:.2f} ms"))
    return lines, bounds


if __name__ == "__main__":
    lines, bounds = measured("--quick" in sys.argv)
    print("\n".join(lines))
    for what, met, bound, figure in bounds:
        print(f"{what}: {figure} ({bound}){'' if met else ' NOT MET'}")
