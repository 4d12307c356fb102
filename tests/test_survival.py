"""What an upstream can do to a connection, what the caller sees of it, and how late that is.

Every fault plays over sockets, a dozen of them at a time. ``python tests/test_survival.py`` prints the table of docs/faults.md.
"""

import os
import re
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from conftest import KEY
from faults import CHUNKED, FAULTS, IN_TIME, ROUTES, Heartbeat, Upstream, World, drip

from rapidfailover import MATRIX, AllProvidersFailed, FailoverClient, ProviderConfig, ProviderRegistry, Route

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"
TIMEOUT = 0.6  # seconds for an attempt
ALLOWED = 0.05  # seconds that it may be over
PLAYED = FAULTS + ROUTES


class Seen(NamedTuple):
    what: str
    over: float  # seconds beyond the time that it had
    hiccups: float  # of which the machine had seconds of its own

    def is_what(self, fault):
        return self.what == fault.sees if fault.sees.startswith("data") else self.what.startswith(tuple(fault.sees.split(" or ")))

    def is_in_time(self):
        return self.over < ALLOWED + self.hiccups


def play(fault, world, heartbeat):
    """The provider that does it, and behind it one that is fine."""
    route = Route("/thing", "POST", json=fault.json) if fault.json else Route("/thing")
    provider = ProviderConfig("raw", "raw.example", 1, base_url=fault.base_url(world), routes={"/thing": route})
    client = FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, timeout=TIMEOUT, refresh=False,
                            max_body=2_000_000, max_stale=0)
    with client:
        for number in range(fault.calls):
            began = time.monotonic()
            try:
                attempts, data = client.call("raw", "/thing", {"q": str(number)}).attempts, True
            except AllProvidersFailed as error:
                attempts, data = error.attempts, False
            over = time.monotonic() - began - TIMEOUT
    attempt, = attempts
    row, = [status for status, rule in MATRIX.items() if rule.action == attempt.action]
    seen = f"{row} {attempt.action}: {attempt.detail}"
    if data:
        seen = "data" if attempt.retries == 0 else "data, after a retry"
    return Seen(seen, over, heartbeat.hiccups(began))


def out_of_time(fault, seen):
    return not seen.is_what(fault) and seen.what.startswith(IN_TIME)


def play_all(directory):
    world = World(Path(directory))
    environment = {"REQUESTS_CA_BUNDLE": world.bundle, "HTTPS_PROXY": f"http://127.0.0.1:{world.proxy.port}",
                   "NO_PROXY": "direct.example,unknown.example,stalls.example,dead.example,several.example"}
    with mock.patch.dict(os.environ, environment), mock.patch.object(socket, "getaddrinfo", world.getaddrinfo), \
            Heartbeat() as heartbeat, ThreadPoolExecutor(12) as threads:
        seen = list(threads.map(lambda fault: play(fault, world, heartbeat), PLAYED))
        # A busy machine is not the subject: what was late, or had no time to come to its end, is played again, alone.
        for _ in range(2):
            seen = [play(fault, world, heartbeat) if not one.is_in_time() or out_of_time(fault, one) else one
                    for fault, one in zip(PLAYED, seen)]
    world.close()
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return play_all(tmp_path_factory.mktemp("world"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(PLAYED)), ids=[
    f"{fault.phase}: {fault.name}{'' if number < len(FAULTS) else f' ({number})'}" for number, fault in enumerate(PLAYED)])
def test_the_caller_sees_it_in_time(seen, number):
    assert seen[number].is_what(PLAYED[number]), seen[number].what
    assert seen[number].is_in_time()


@pytest.mark.slow
def test_the_deadline_of_a_call_is_kept_with_every_provider_dripping(tmp_path):
    with Upstream(drip(b"HTTP/1.1 200 O")) as head, Upstream(drip(CHUNKED, b"0")) as body, Heartbeat() as heartbeat:
        providers = [upstream.provider(name, number)
                     for number, (name, upstream) in enumerate([("a", head), ("b", body), ("c", head)])]
        over = []
        while len(over) < 3 and not any(late < ALLOWED for late in over):  # a busy machine is not the subject
            with FailoverClient(ProviderRegistry({"raw": providers}), api_key=KEY, refresh=False) as client:
                began = time.monotonic()
                with pytest.raises(AllProvidersFailed) as caught:
                    client.call("raw", "/thing", deadline=1.2)
                over.append(time.monotonic() - began - 1.2 - heartbeat.hiccups(began))
            assert [attempt.action for attempt in caught.value.attempts] == ["timeout"] * 3
    assert min(over) < ALLOWED


def lines(seen):
    """The table: a line for each fault, the worst of the routes that it came by."""
    for fault in FAULTS:
        over = max(one.over for played, one in zip(PLAYED, seen) if played.name == fault.name)
        yield fault.phase, fault.name, fault.sees, f"{over * 1000:.0f} ms" if over > -0.1 else "at once"


def test_the_docs_have_a_line_for_each():
    table = PAGE.read_text(encoding="utf-8").split("## The table")[1].split("\n## ")[0]
    told = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \|$", table, re.MULTILINE)
    assert set(told) >= {(fault.phase, fault.name, fault.sees) for fault in FAULTS}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        for line in lines(play_all(directory)):
            print("|", " | ".join(line), "|")
