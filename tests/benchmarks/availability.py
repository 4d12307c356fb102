"""Who has data when providers fail: one schedule of outages, played to each contestant over real sockets.

Time is compressed: a second here is a minute, so the strategy's cooldown of five minutes is five seconds, a timeout of 15 s a
quarter of one, and so is every pause before a retry. Contestant and upstream are a process each. Three visitors in ten ask for
one of 8 names, the others for one of 2,000, most of which nobody asked for before. Everybody checks that the field is there
that is read, and keeps copies where the library can. What came back is held against what was sent. The times in the table are
told as they would be without compression, but for p50 and p99.
"""

import inspect
import json
import os
import queue
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]
import peers  # noqa: E402

TIMEOUT, COOLDOWN, PATIENCE = 0.25, 5.0, 2.0  # seconds; the last is how long after the end an answer still counts
HOT, COLD, WORKERS, ARRIVALS = 8, 2000, 16, 25  # a second: visitors come whether or not a worker is free

# (scene, its length in seconds at full length, what the first, second and third provider do)
SCENES = [
    ("calm", 2, "fine", "fine", "fine"),
    ("primary flaps", 6, "flaps", "fine", "fine"),
    ("primary hangs", 5, "hangs", "fine", "fine"),
    ("primary drips", 5, "drips", "fine", "fine"),
    ("burst limits", 5, "limited", "limited", "fine"),
    ("quota gone", 5, "quota", "fine", "fine"),
    ("HTML with a 200", 5, "html", "fine", "fine"),
    ("an error in a 200", 5, "error", "fine", "fine"),
    ("everything down", 6, "down", "hangs", "down"),
    ("recovery", 12, "fine", "fine", "fine"),
]


def http(body, status="200 OK", headers=""):
    return (f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n").encode() + body


class Upstream:
    """Three providers that follow the schedule; counts what arrives by scene."""

    def __init__(self, scale):
        self.scale, self.began = scale, None
        self.arrived, self.futile = {}, 0  # requests by scene; those of all to a provider that could not answer them
        self.bursts = [[] for _ in range(3)]
        self.lock = threading.Lock()
        self.ports = []
        for number in range(3):
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            self.ports.append(listener.getsockname()[1])
            threading.Thread(target=self.accept, args=(number, listener), daemon=True).start()

    def accept(self, number, listener):
        while True:
            threading.Thread(target=self.serve, args=(number, listener.accept()[0]), daemon=True).start()

    def now(self, number):
        """(scene, what this provider does)."""
        passed = 0.0 if self.began is None else time.time() - self.began
        for scene, length, *does in SCENES:
            if passed < length * self.scale:
                return scene, does[number], passed
            passed -= length * self.scale
        return "over", "fine", passed

    def serve(self, number, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    head += piece
                if not self.answer(number, connection, head.split()[1].decode().rpartition("=")[2]):
                    return
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, number, connection, question):
        scene, does, passed = self.now(number)
        with self.lock:
            self.arrived[scene] = self.arrived.get(scene, 0) + 1
            if does == "limited":  # ten a second at most
                now = time.time()
                self.bursts[number] = [then for then in self.bursts[number] if now - then < 1.0]
                does = "fine" if len(self.bursts[number]) < 10 else "burst"
                self.bursts[number].append(now)
        if does == "flaps":
            does = "fine" if int(passed / self.scale) % 2 else "down"
        with self.lock:
            self.futile += does != "fine"
        if does == "hangs":
            time.sleep(30)
            return False
        if does == "drips":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            for _ in range(200):  # four minutes long
                connection.sendall(b" ")
                time.sleep(0.02)
            return False
        answers = {
            "down": http(b"", "503 Service Unavailable"),
            "burst": http(b'{"message": "Too many requests"}', "429 Too Many Requests", "Retry-After: 1\r\n"),
            "quota": http(b'{"message": "You have exceeded the MONTHLY quota for Requests on your current plan"}', "429 Too Many Requests",
                          "X-RateLimit-Requests-Limit: 100\r\nX-RateLimit-Requests-Remaining: 0\r\n"
                          f"X-RateLimit-Requests-Reset: {max(1, round(5 * self.scale))}\r\n"),
            "html": http(b"<html><body>Down for maintenance</body></html>"),
            "error": http(b'{"messages": "The request to the API has timed out.", "info": "Your Client (working) ---> Gateway (working) ---> API"}'),
        }
        if does in answers:
            connection.sendall(answers[does])
        else:
            connection.sendall(http(json.dumps({"question": question, "provider": number, "sent": time.time(), "pad": "x" * 250}).encode()))
        return True


def contest(name, scale):
    """Plays one contestant; prints a line of JSON. Run in a process of its own."""
    upstream = subprocess.Popen([sys.executable, __file__, "upstream", str(scale)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ports = json.loads(upstream.stdout.readline())
    peers.compress(COOLDOWN / 300)
    ask = peers.FAILOVER[name]([f"http://127.0.0.1:{port}" for port in ports], TIMEOUT, COOLDOWN)
    for question in range(HOT):
        ask(f"hot{question}")  # everybody begins warm
    began = time.time() + 0.2
    print(began, file=upstream.stdin, flush=True)
    time.sleep(0.2)
    ends = began + sum(length for _, length, *_ in SCENES) * scale
    calls, lock = [], threading.Lock()
    visitors = queue.Queue()

    def work():
        while True:
            number, came, question = visitors.get()
            asked = time.time()
            try:
                data = ask(question)
                right = isinstance(data, dict) and data.get("question") == question
                outcome = "wrong" if not right else "fresh" if data["sent"] >= asked - TIMEOUT else "stale"
                provider = data["provider"] if right else None
            except Exception:
                outcome, provider = "error", None
            with lock:
                calls[number] = came - began, outcome, time.time() - came, provider

    for _ in range(WORKERS):
        threading.Thread(target=work, daemon=True).start()
    chance = random.Random(1)
    for number in range(int((ends - began) * ARRIVALS)):
        came = began + number / ARRIVALS
        time.sleep(max(0.0, came - time.time()))
        with lock:
            calls.append((came - began, "error", ends + PATIENCE - came, None))  # until it is answered
        visitors.put((number, came, f"hot{chance.randrange(HOT)}" if chance.random() < 0.3 else f"cold{chance.randrange(COLD)}"))
    time.sleep(max(0.0, ends + PATIENCE - time.time()))
    with lock:
        calls = list(calls)
    print("over", file=upstream.stdin, flush=True)
    counted = json.loads(upstream.stdout.readline())
    upstream.kill()
    print(json.dumps({"calls": calls, **counted}), flush=True)
    os._exit(0)  # whoever still waits for a drip


def upstream_main(scale):
    upstream = Upstream(scale)
    print(json.dumps(upstream.ports), flush=True)
    upstream.began = float(sys.stdin.readline())
    sys.stdin.readline()
    print(json.dumps({"arrived": upstream.arrived, "futile": upstream.futile}), flush=True)


def play(quick=False):
    """{contestant: {"calls": [(when, outcome, seconds, provider)], "arrived": {scene: requests}, "futile": requests}}."""
    scale = 0.1 if quick else 1.0
    waiting, running, played = list(peers.FAILOVER), {}, {}
    while waiting or running:
        while waiting and len(running) < (4 if quick else 3):
            name = waiting.pop(0)
            running[name] = subprocess.Popen([sys.executable, "-W", "ignore", __file__, "contest", name, str(scale)],
                                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        name, process = next(iter(running.items()))
        out, _ = process.communicate()
        played[name] = json.loads(out.splitlines()[-1])
        del running[name]
    return scale, {name: played[name] for name in peers.FAILOVER}


def spans(scale):
    began = 0.0
    for scene, length, *_ in SCENES:
        yield scene, began, began + length * scale
        began += length * scale


def table(scale, played):
    """Lines of Markdown: all scenes together, then the share of right data in each."""
    recovered = next(began for scene, began, _ in spans(scale) if scene == "recovery")
    lines = ["| | right data | fresh | stale | wrong data | errors | p50, ms | p99, ms | requests a call | of 100 requests, in vain "
             "| primary back after | lines |", "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, seen in played.items():
        calls = seen["calls"]
        share = {kind: sum(outcome == kind for _, outcome, _, _ in calls) / len(calls) for kind in ("fresh", "stale", "wrong", "error")}
        took = sorted(seconds for _, _, seconds, _ in calls)
        back = [when - recovered for when, outcome, _, provider in calls if when >= recovered and outcome == "fresh" and provider == 0]
        requests, minute = sum(seen["arrived"].values()), 60.0
        lines.append("| {} | {:.1%} | {:.1%} | {:.1%} | {:.1%} | {:.1%} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {} | {} |".format(
            name, share["fresh"] + share["stale"], share["fresh"], share["stale"], share["wrong"], share["error"],
            1000 * statistics.median(took), 1000 * took[int(0.99 * len(took))], requests / len(calls), 100 * seen["futile"] / requests,
            f"{minute * min(back):.0f} s" if back else f"over {minute * SCENES[-1][1] * scale:.0f} s",
            len(inspect.getsource(peers.FAILOVER[name]).splitlines())))
    lines += ["", "| right data in | " + " | ".join(played) + " |", "|---|" + "---|" * len(played)]
    for scene, began, ended in spans(scale):
        cells = []
        for seen in played.values():
            outcomes = [outcome for when, outcome, _, _ in seen["calls"] if began <= when < ended]
            cells.append(f"{sum(outcome in ('fresh', 'stale') for outcome in outcomes) / max(1, len(outcomes)):.0%}")
        lines.append(f"| {scene} | " + " | ".join(cells) + " |")
    return lines


def plot(scale, played, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    colours = {"fresh": "#2a9d5c", "stale": "#e9c46a", "wrong": "#8d3b9e", "error": "#d64545"}
    figure, axes = pyplot.subplots(len(played), 1, figsize=(10, 1.05 * len(played) + 1.1), sharex=True)
    for axis, (name, seen) in zip(axes, played.items()):
        width = 0.5 * scale
        end = max(ended for _, _, ended in spans(scale))
        edges = [number * width for number in range(int(end / width) + 1)]
        base = [0.0] * len(edges)
        for kind, colour in colours.items():
            heights = []
            for edge in edges:
                outcomes = [outcome for when, outcome, _, _ in seen["calls"] if edge <= when < edge + width]
                heights.append(sum(outcome == kind for outcome in outcomes) / len(outcomes) if outcomes else 0.0)
            axis.bar(edges, heights, width, base, align="edge", color=colour, label=kind)
            base = [low + high for low, high in zip(base, heights)]
        axis.set_ylabel(name.replace(" + ", "\n+ ").replace(", ", ",\n"), rotation=0, ha="right", va="center", fontsize=8)
        axis.set_yticks([])
        axis.set_xlim(0, end)
        for _, began, _ in spans(scale):
            axis.axvline(began, color="black", linewidth=0.5)
    for scene, began, ended in spans(scale):
        axes[0].text((began + ended) / 2, 1.04, scene.replace(" ", "\n", 1), ha="center", va="bottom", fontsize=7)
    axes[-1].set_xlabel("seconds, of which each stands for a minute", loc="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower right", ncol=4, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        upstream_main(float(sys.argv[2]))
    else:
        contest(sys.argv[2], float(sys.argv[3]))
