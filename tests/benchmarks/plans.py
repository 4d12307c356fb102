"""What becomes of names at a provider that keeps to a plan: over real HTTP, in real time. Four minutes.

The provider counts in fixed windows, as the gateway does, and says 429 in the gateway's words. The names are asked for by
``batch`` in eight threads.
"""

import collections
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]
from rapidfailover import FailoverClient, ProviderConfig, ProviderRegistry  # noqa: E402

PLANS = (  # what it allows, the names asked for, what is said of the provider
    ("1 a second", (1, 1.0, "second"), None, 24, ({"rate": 1}, {})),
    ("10 a second", (10, 1.0, "second"), None, 100, ({"rate": 10}, {})),
    ("60 a minute", (60, 60.0, "minute"), None, 100, ({"rate": 1}, {})),
    ("20 left of the month, hard", None, (20, True), 50, ({},)),
    ("20 left of the month, then for money", None, (20, False), 50, ({"overage": True}, {})),
)


class Provider:
    def __init__(self, rate, month):
        self.rate, self.month, self.used, self.told = rate, month, 0, collections.Counter()
        self.windows, self.lock = collections.Counter(), threading.Lock()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # it writes the head and the body apart

            def do_GET(self):
                status, body, headers = provider.answer()
                body = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self):
        with self.lock:
            status, words, headers = 200, "", {}
            if self.rate is not None:
                most, seconds, window = self.rate
                now = time.time() // seconds
                self.windows[now] += 1
                if self.windows[now] > most:
                    status, words = 429, f"You have exceeded the rate limit per {window} for your plan, BASIC, by the API provider"
            if self.month is not None:
                most, is_hard = self.month
                self.used += 1
                headers = {"X-RateLimit-Requests-Limit": "500", "X-RateLimit-Requests-Remaining": str(max(most - self.used, 0)),
                           "X-RateLimit-Requests-Reset": "86400"}
                if is_hard and self.used > most:
                    status, words = 429, "You have exceeded the MONTHLY quota for Requests on your current plan, BASIC"
            self.told[status] += 1
            return status, {"message": words} if words else {"user": {"name": "ada"}}, headers

    def config(self, **said):
        return ProviderConfig("plan", "plan.example", 1, base_url=f"http://127.0.0.1:{self.server.server_port}", **said)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def measured(plan):
    name, rate, month, count, ways = plan
    rows = []
    for said in ways:
        provider, began = Provider(rate, month), time.monotonic()
        with FailoverClient(ProviderRegistry({"p": [provider.config(**said)]}), api_key="not-a-real-key", refresh=False) as client:
            answers = list(client.batch("p", "/u", ({"name": number} for number in range(count))))
        provider.close()
        answered = sum(answer.error is None for answer in answers)
        words = ", ".join(f"`{option}={value}`" for option, value in said.items()) or "nothing"
        rows.append(f"| {name} | {words} | {answered} of {count} | {sum(provider.told.values())} | {provider.told[429]} "
                    f"| {time.monotonic() - began:.1f} s |")
    return rows


if __name__ == "__main__":
    print("| plan | said | names answered | requests | of which 429 | took |\n|---|---|---|---|---|---|")
    with ThreadPoolExecutor(len(PLANS)) as pool:
        for rows in pool.map(measured, PLANS):
            print("\n".join(rows), flush=True)
