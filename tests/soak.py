"""A fault campaign over sockets: ``make soak`` (SECONDS=120, SEED=1, THREADS=12).

Three providers do to each request what chance says, seeded by the number of the request; threads ask, refreshes ask
too, and every single call is held to what it may give: exactly a body that the provider sent for that request, or a
FailoverError, in time, stale only where the rules say. In the end every request is accounted for, and circuits and cache are
played through a model again.
"""

import argparse
import gc
import json
import logging
import os
import random
import resource
import sys
import threading
import time
from collections import Counter, OrderedDict
from unittest import mock

from faults import FAULTS, GOOD, Heartbeat, Upstream, http, read_head, reset
from model import Model

from rapidfailover import (
    AllProvidersFailed,
    AuthenticationFailed,
    BadRequest,
    FailoverClient,
    FailoverError,
    LRUTTLCache,
    NotFound,
    ProviderConfig,
    ProviderRegistry,
    Result,
    members,
    transport,
)
from rapidfailover.circuit import ANYBODY, Circuit, Ticket

KEY = "planted0key0msh1planted2key3p4jsn5planted6key7"
NAMES = ("first", "second", "third")
QUESTIONS = [f"q{number}" for number in range(24)]
TIMEOUT, DEADLINE = 0.4, 1.0  # seconds
FIRST_EARLY = 0.1
LATE = 0.05  # seconds that a call may be over its deadline, and what the machine was late by itself

# Bytes that are an answer whatever is asked: all of Head and Body that plays plainly.
BYTES = {fault.name: fault.base_url.answer for fault in FAULTS if fault.phase in ("Head", "Body")}
STATUSES = {
    "400": http(b'{"message": "no"}', "400 Bad Request"), "401": http(b'{"message": "Invalid API key"}', "401 Unauthorized"),
    "403": http(b'{"message": "You are not subscribed to this API."}', "403 Forbidden"), "404": http(b"{}", "404 Not Found"),
    "404 endpoint": http(b'{"message": "Endpoint \'/x\' does not exist"}', "404 Not Found"),
    "418": http(b"{}", "418 Teapot"), "429": http(b"{}", "429 Too Many Requests"),
    "429 soon": http(b"{}", "429 Too Many Requests", Retry_After="1"), "429 later": http(b"{}", "429 Too Many Requests", Retry_After="7"),
    "429 odd": http(b"{}", "429 Too Many Requests", Retry_After="7, 9"), "429 quota": http(
        b'{"message": "You have exceeded the MONTHLY quota"}', "429 Too Many Requests", X_RateLimit_Requests_Remaining="0", X_RateLimit_Requests_Reset="2"),
    "500": http(b"<html>", "500 Oops"), "502": http(b"", "502 Bad Gateway"), "503": http(b"", "503 Unavailable"),
    "503 later": http(b"", "503 Unavailable", Retry_After="99999999999"), "504": http(b"", "504 Gateway Timeout"),
    "302": http(b"", "302 Found", Location="https://evil.example/"), "307 to itself": http(b"", "307 Again", Location="/x"),
    "cookie": http(b'{"error": "x"}', "403 No", Set_Cookie="a=b"), "key echoed": http(json.dumps({"message": KEY}).encode(), "500 Oops"),
    "outage in a 200": http(b'{"messages": "The request to the API has timed out.", "info": "Your Client (working) ---> Gateway (working)"}'),
    "error in a 200": http(b'{"error": "soft"}'),
}


class Provider(Upstream):
    """Answers by chance: well, late, or with one of the faults. Knows what it sent, and when."""

    def __init__(self, name, seed, counts):
        self.name, self.seed, self.counts = name, seed, counts
        self.lock = threading.Lock()
        self.number = self.arrived = 0
        self.began = time.monotonic()
        self.sent = {}  # serial -> (question, when it was begun to be sent)
        self.statuses = Counter()  # (question, status) that were sent
        super().__init__()

    def _take(self, connection):
        try:
            with self.lock:
                self.number += 1
                chance = random.Random(f"{self.seed} {self.name} {self.number}")
            if chance.random() < 0.02:
                self.count("reset at accept")
                return reset(connection)
            while self._one(connection, chance):
                with self.lock:
                    self.number += 1
                    chance = random.Random(f"{self.seed} {self.name} {self.number}")
        except OSError:
            pass  # the client had enough
        finally:
            connection.close()

    def _one(self, connection, chance):
        """One request; whether the connection is kept."""
        head = read_head(connection)
        if not head:
            return False
        question = head.split(b" ", 2)[1].rpartition(b"=")[2].decode()
        with self.lock:
            self.arrived += 1
        # Periods of a few seconds in which it flaps, is fine, or is down.
        mood = random.Random(f"{self.seed} {self.name} {int((time.monotonic() - self.began) / 3)}").choice((0.03, 0.03, 0.3, 0.9))
        what = chance.random()
        if what > mood:
            return self._well(connection, question, chance)
        if what < 0.08 * mood:
            self.count("idle connection closed under us")
            return False
        if chance.random() < 0.5:
            kind = chance.choice(sorted(STATUSES))
            with self.lock:
                self.statuses[question, STATUSES[kind].split(b" ")[1]] += 1
            answer = STATUSES[kind]
        else:
            kind = chance.choice(sorted(BYTES))
            answer = BYTES[kind]
        self.count(kind)
        answer(connection) if callable(answer) else connection.sendall(answer)
        return False

    def _well(self, connection, question, chance):
        slow = chance.random() < 0.1
        self.count("slow but fine" if slow else "fine")
        if slow:
            time.sleep(chance.uniform(0.05, 0.3))
        with self.lock:
            serial = f"{self.name} {len(self.sent)}"
            self.sent[serial] = question, time.monotonic()
        keep = chance.random() < 0.9
        body = json.dumps({"provider": self.name, "question": question, "serial": serial, "pad": "x" * chance.randrange(3000)}).encode()
        connection.sendall(http(body, Connection="keep-alive" if keep else "close"))
        return keep

    def count(self, kind):
        with self.lock:
            self.counts[kind] += 1


class Watched(Circuit):
    """Held against the model after everything that happens to it, under the registry's lock."""

    def __init__(self, *rules):
        self.model, self.tickets = Model(*rules, first_early=FIRST_EARLY), {None: None}
        self.difference, self.inside = None, False
        super().__init__(*rules, early_pause=FIRST_EARLY)

    def both(self, what, *arguments, **named):
        real = getattr(super(), what)
        if self.inside:  # what it does to itself
            return real(*arguments, **named)
        self.inside = True
        try:
            came = real(*arguments, **named)
        finally:
            self.inside = False
        translated = [self.tickets[one] if one is None or isinstance(one, Ticket) else one for one in (*arguments, *named.values())]
        if what != "release" or arguments[0].trial:
            said = getattr(self.model, what)(*translated)
        if what == "admit":
            self.tickets[came] = said
            if (came is None) != (said is None):
                self.difference = self.difference or f"{what}{arguments}: {came}, the model says {said}"
        real, said = (self.error_count, self.open_until or 0.0, self.hold_until or 0.0), (
            self.model.faults, self.model.open, self.model.hold_until)
        if real != said:
            self.difference = self.difference or f"after {what}{arguments}: {real}, the model says {said}"
        return came

    def admit(self, now, lease, asker):
        return self.both("admit", now, lease, asker)

    def release(self, ticket):
        return self.both("release", ticket)

    def fault(self, now, ticket=None, *, rate_limited=False, given=ANYBODY, question=0):
        return self.both("fault", now, ticket, rate_limited=rate_limited, given=given, question=question)

    def success(self, ticket=None, took=0.0, now=0.0):
        return self.both("success", ticket, took, now)

    def hold(self, now, seconds):
        return self.both("hold", now, seconds)

    def limit(self, now, seconds, ticket):
        return self.both("limit", now, seconds, ticket)


class WatchedCache(LRUTTLCache):
    """Small, so that it is full all the time; held against an ordered dictionary."""

    def __init__(self):
        super().__init__(max_entries=16, ttl=6.0, clock=lambda: self.now)
        self.one_at_a_time, self.now, self.kept, self.difference = threading.Lock(), 0.0, OrderedDict(), None

    def get(self, key, default=None):
        with self.one_at_a_time:
            self.now = time.monotonic()
            value = super().get(key, default)
            said, ends = self.kept.get(key, (None, 0.0))
            if ends > self.now:
                self.kept.move_to_end(key)
            else:
                said = self.kept.pop(key, None) and None
            if said != value:
                self.difference = self.difference or f"{key}: {value!r:.60}, the model says {said!r:.60}"
            return value

    def set(self, key, value, timeout=None):
        with self.one_at_a_time:
            self.now = time.monotonic()
            super().set(key, value, timeout)
            self.kept.pop(key, None)
            self.kept[key] = value, self.now + timeout
            while len(self.kept) > 16:
                self.kept.popitem(last=False)


class Campaign:
    def __init__(self, seconds, seed, threads):
        self.seconds, self.seed, self.threads = seconds, seed, threads
        self.counts, self.endings, self.violations = Counter(), Counter(), []
        self.calls = 0
        self.slowest = -DEADLINE  # seconds over the deadline, the machine's own hiccups taken off
        self.worst_hiccup = 0.0
        self.attempts = self.sent = 0  # requests, with urllib3's retries and the free ones
        self.lock = threading.Lock()

    def run(self):
        logging.getLogger("rapidfailover").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        own, ask = threading.local(), transport.Transport.ask

        class Seen(transport._Progress):  # the one that knows what arrived
            def __init__(self, *arguments):
                super().__init__(*arguments)
                own.progress = self

        def counted(*arguments):
            reply = ask(*arguments)
            with self.lock:
                self.attempts += 1
                self.sent += 1 + own.progress.retries + own.progress.fresh
            return reply

        rules = dict(error_threshold=3, cooldown=0.05, max_cooldown=0.5)
        with mock.patch.object(members, "Circuit", Watched), mock.patch.object(transport, "_Progress", Seen), \
                mock.patch.object(transport.Transport, "ask", counted), \
                mock.patch("rapidfailover.circuit.FIRST_EARLY", FIRST_EARLY), mock.patch("rapidfailover.refresh._FIRST_PAUSE", 0.1), \
                Heartbeat() as self.heartbeat:
            before = self.left_open()
            self.providers = {name: Provider(name, self.seed, self.counts) for name in NAMES}
            registry = ProviderRegistry({"p": [
                ProviderConfig(name, f"{name}.p.rapidapi.com", number, base_url=f"http://127.0.0.1:{provider.port}", check=self.check)
                for number, (name, provider) in enumerate(self.providers.items())]}, **rules)
            self.cache = WatchedCache()
            self.client = FailoverClient(registry, api_key=KEY, timeout=TIMEOUT, deadline=DEADLINE, max_wait=0.3, max_stale=5.0,
                                         max_body=200_000, cache=self.cache)
            self.ends = time.monotonic() + self.seconds
            workers = [threading.Thread(target=self.work, args=(number,)) for number in range(self.threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            self.client.close()
            time.sleep(0.5)  # a refresh under way ends
            for slot in registry.slots():
                self.hold(slot.circuit.difference, f"circuit of {slot.name()}")
            self.hold(self.cache.difference, "cache")
            arrived = sum(provider.arrived for provider in self.providers.values())
            if arrived > self.sent:
                self.violate(f"{arrived} requests arrived, of {self.sent} that were sent")
            for provider in self.providers.values():
                provider.__exit__()
            until = time.monotonic() + 5
            while self.left_open() > before and time.monotonic() < until:
                time.sleep(0.1)  # providers see late that a connection was closed
            if self.left_open() > before:
                self.violate(f"descriptors and threads: {before} before, {self.left_open()} after")

    @staticmethod
    def left_open():
        gc.collect()
        handles = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else ()
        return len(handles), threading.active_count()

    @staticmethod
    def check(endpoint, data):
        return 502 if "error" in data else 200

    def hold(self, difference, what):
        if difference:
            self.violate(f"{what}: {difference}")

    def violate(self, what):
        with self.lock:
            self.violations.append(what)

    def work(self, number):
        chance = random.Random(f"{self.seed} thread {number}")
        while time.monotonic() < self.ends and len(self.violations) < 20:
            question = chance.choice(QUESTIONS)
            deadline = chance.choice((0.3, DEADLINE, DEADLINE))
            began = time.monotonic()
            try:
                ending = self.client.call("p", "/x", {"q": question}, deadline=deadline)
            except FailoverError as error:
                ending = error
            except BaseException as problem:
                self.violate(f"{question}: {problem!r}")
                continue
            over = time.monotonic() - began - deadline
            hiccups = self.heartbeat.hiccups(began)
            wrong = self.wrong(question, ending, began)
            if over > LATE + hiccups:
                wrong = f"{over:.3f} s over the deadline of {deadline} s, the machine had {hiccups:.3f} s: {ending!r:.200}"
            with self.lock:
                self.calls += 1
                kind = type(ending).__name__ if isinstance(ending, Exception) else "stale" if ending.stale else "fresh"
                self.endings[kind] += 1
                self.slowest = max(self.slowest, over - hiccups)
                self.worst_hiccup = max(self.worst_hiccup, hiccups)
            if kind != "fresh":
                time.sleep(0.02)  # or most calls would find everybody out
            if wrong:
                self.violate(f"{question}: {wrong}")

    def wrong(self, question, ending, began):
        """What is wrong with it, if anything is."""
        if KEY in repr(ending):
            return "the key is in it"
        if isinstance(ending, Result):
            return self.wrong_data(question, ending, began)
        attempts = getattr(ending, "attempts", ())
        if isinstance(ending, NotFound):
            everybody = len(attempts) == len(NAMES) and any(one.action == "not found" for one in attempts)
            return None if everybody and all(one.action in ("not found", "forbidden") for one in attempts) else f"NotFound of {attempts}"
        if isinstance(ending, (BadRequest, AuthenticationFailed)):
            status = b"400" if isinstance(ending, BadRequest) else b"401"
            return None if self.providers[ending.provider].statuses[question, status] else f"nobody sent a {status}"
        if not isinstance(ending, AllProvidersFailed):
            return f"an error that was not due: {ending!r}"
        return f"success in {attempts}" if any(one.action == "success" for one in attempts) else None

    def wrong_data(self, question, result, began):
        data, now = result.data, time.monotonic()
        if data == json.loads(GOOD) or data == {"ok": "\u00fc"}:  # from one of the faults that are none in the end
            return None
        asked, when = self.providers[result.provider].sent.get(data.get("serial"), (None, 0.0))
        if asked != question or data["question"] != question or data["provider"] != result.provider:
            return f"a body that was sent for {asked}: {data!r:.200}"
        if not result.stale:
            if result.attempts[-1].action != "success":
                return f"fresh after {result.attempts}"
            return None if when >= began - DEADLINE else f"fresh, and sent {began - when:.2f} s before it was asked for"
        if any(one.action in ("success", "bad request", "auth failed") for one in result.attempts):
            return f"stale after {result.attempts}"
        if result.attempts and len(result.attempts) == len(NAMES) and all(one.action == "not found" for one in result.attempts):
            return "stale where everybody said 404"
        return None if abs(now - when - result.age) < 1.0 and result.age <= 5.0 else f"age {result.age:.2f}, sent {now - when:.2f} s ago"

    def report(self):
        print(f"{self.calls} calls by {self.threads} threads in {self.seconds:.0f} s, seed {self.seed}: "
              + ", ".join(f"{kind} {count}" for kind, count in self.endings.most_common()))
        print(f"{self.sent} requests sent by {self.attempts} attempts, {sum(p.arrived for p in self.providers.values())} arrived")
        print("faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self.counts.items())))
        print(f"slowest overrun {1000 * max(0.0, self.slowest):.0f} ms beyond the machine's own hiccups (worst {1000 * self.worst_hiccup:.0f} ms); "
              f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")
        print(f"violations: {len(self.violations)}")
        for violation in self.violations[:20]:
            print("  ", violation)
        if self.violations:
            print(f"to repeat: make soak SEED={self.seed} SECONDS={self.seconds:.0f} THREADS={self.threads}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--threads", type=int, default=12)
    arguments = parser.parse_args()
    campaign = Campaign(arguments.seconds, arguments.seed, arguments.threads)
    campaign.run()
    campaign.report()
    return 1 if campaign.violations else 0


if __name__ == "__main__":
    sys.exit(main())
