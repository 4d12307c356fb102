"""One attempt over a real socket: what is read, what is refused, what is kept between requests."""

import gc
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
import requests
import urllib3.util.connection
from conftest import KEY, NO_RETRY, Upstream, http, in_threads
from faults import Heartbeat, World, read_head, tunnel, unread

from rapidfailover import AllProvidersFailed, FailoverClient, ProviderConfig, ProviderRegistry
from rapidfailover.names import Names
from rapidfailover.sockets import open_sockets

GOOD = b'{"ok": true}'


def ask(upstream, **options):
    """The result of one call to that upstream alone; its only attempt when it fails."""
    options = {"matrix": NO_RETRY, "refresh": False, "timeout": 5.0, **options}
    with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, **options) as client:
        try:
            return client.call("raw", "/thing", {"q": "1"})
        except AllProvidersFailed as error:
            attempt, = error.attempts
            return attempt


def deflate(body, wbits=15):
    squeeze = zlib.compressobj(wbits=wbits)
    return squeeze.compress(body) + squeeze.flush()


# --- bodies that are fine ---

@pytest.mark.parametrize("answer", [
    http(GOOD),
    http(GOOD, "201 Created"),
    http(b"\xef\xbb\xbf" + GOOD),
    http('{"ok": true}'.encode("utf-16")),
    http(GOOD, Content_Type="text/html; charset=latin1"),
    http(gzip.compress(GOOD), Content_Encoding="gzip"),
    http(gzip.compress(GOOD), Content_Encoding="X-GZIP"),
    http(deflate(GOOD), Content_Encoding="deflate"),
    http(deflate(GOOD, -15), Content_Encoding="deflate"),
    http(GOOD, Content_Encoding="identity"),
    b"HTTP/1.1 200 OK\r\n\r\n" + GOOD,
    http(GOOD, length="12, 12"),
    http(b'{"ok": true, "deep": ' + b"[" * 150 + b"]" * 150 + b', "flat": [' + b"[]," * 1000 + b'"[[[["]}'),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + GOOD[:5] + b"\r\n7\r\n" + GOOD[5:] + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + http(GOOD),
    *(http(GOOD, Content_Encoding=name) for name in ("UTF-8", "none", "binary", "aws-chunked", "", "gzip2", "a" * 900)),
    *(http(gzip.compress(GOOD), Content_Encoding=name) for name in ("gzip, identity", "UTF-8, gzip")),
    http(gzip.compress(gzip.compress(GOOD)), Content_Encoding="gzip, gzip"),
    http(gzip.compress(deflate(GOOD)), Content_Encoding="deflate, gzip"),
    http(gzip.compress(GOOD[:5]) + gzip.compress(GOOD[5:]), Content_Encoding="gzip"),
    *(http(gzip.compress(GOOD) + padding, Content_Encoding="gzip") for padding in (b"\0", b"\0" * 600, b"\r\n", b"\r", GOOD)),
    http(deflate(GOOD) + b"\0\0", Content_Encoding="deflate"),
    *(http(GOOD, length=length) for length in ("0000012", "+12", "", "12, 012", "many", -1)),
    b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 012\r\n\r\n" + GOOD,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nc\r\n" + GOOD + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nc;x=y\r\n" + GOOD + b"\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X-Long: %b\r\n" % (b"y" * 60_000) * 98 + b"\r\n" + GOOD,
], ids=lambda answer: " ".join(answer.decode("latin-1").partition("\r\n\r\n")[0].split()[3:9])[:60])
def test_a_whole_body_of_json_is_read(answer):
    with Upstream(answer) as upstream:
        assert ask(upstream).data["ok"] is True


def test_utf8_is_utf8_whatever_the_charset_says():
    with Upstream(http('["größe"]'.encode(), Content_Type="application/json; charset=latin1")) as upstream:
        assert ask(upstream).data == ["größe"]


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1251", "GBK", '"Shift_JIS"', "EUC-KR", "utf-16-le"])
def test_json_is_read_in_the_charset_that_the_answer_names(charset):
    words = {"ISO-8859-1": "größe", "windows-1251": "размер", "GBK": "大小和名称", "EUC-KR": "크기와이름"}.get(charset, "サイズと名前")
    body = ('["%s"]' % words).encode(charset.strip('"'))
    with Upstream(http(body, Content_Type=f"application/json; charset={charset}")) as upstream:
        assert ask(upstream).data == [words]


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", "; charset=hex", "; charset=nonsense", "; charset=idna"])
def test_one_byte_that_is_no_utf8_costs_one_character(charset):
    with Upstream(http(b'["gr\xf6\xc3\x9fe"]', Content_Type="application/json" + charset)) as upstream:
        assert ask(upstream).data == ["gr\ufffdße"]


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_head_in_two_pieces_before_a_long_body(pause):
    """One read takes the end of the head and the beginning of the body, as much as the reader's buffer holds."""
    body = b'["' + b"x" * 600_000 + b'"]'
    answer = http(body)

    def in_two(connection):
        connection.sendall(answer[:20])
        time.sleep(pause)
        connection.sendall(answer[20:])

    with Upstream(in_two) as upstream:
        assert ask(upstream).data == ["x" * 600_000]


# --- bodies that are not ---

@pytest.mark.parametrize("answer, why", [
    (http(b""), "empty"),
    (http(b"  \n"), "empty"),
    (http(b"<html>down</html>"), "not JSON"),
    (http(b'{"ok": tru'), "not JSON"),
    (http(b"\xff\xfe\xfd"), "not JSON"),
    (http(b'{"n": NaN}'), "not JSON"),
    (http(b'{"n": -Infinity}'), "not JSON"),
    (http(b"null"), "neither an object nor an array"),
    (http(b"true"), "neither an object nor an array"),
    (http(b'"text"'), "neither an object nor an array"),
    (http(b"7"), "neither an object nor an array"),
    (http(b"[" * 100_000), "nested too deeply"),
    (http(b'{"a":' * 300 + b"1" + b"}" * 300), "nested too deeply"),
    (http(('["\\"[", ' + "[" * 300).encode("utf-16")), "nested too deeply"),
    (http(b'{"n": 1e999}'), "not JSON"),
    (http(b'{"n": ' + b"9" * 5000 + b".0}"), "not JSON"),
    (http(GOOD, length=400), "12 bytes"),
    (http(gzip.compress(GOOD)[:-4], Content_Encoding="gzip"), "cut short"),
    (http(gzip.compress(GOOD)[:-8] + b"12345678", Content_Encoding="gzip"), "incorrect data check"),
    (http(GOOD, Content_Encoding="gzip"), "incorrect header check"),
    (http(GOOD, Content_Encoding="br"), "was not offered"),
    (http(GOOD, Content_Encoding="gzip, ZSTD"), "was not offered"),
    (http(gzip.compress(GOOD), Content_Encoding="gzip, gzip"), "incorrect header check"),
    (http(gzip.compress(GOOD), Content_Encoding=", ".join(["gzip"] * 6)), "too many"),
    (http(gzip.compress(GOOD) + gzip.compress(b" ")[:-6], Content_Encoding="gzip"), "cut short"),
    (http(gzip.compress(b"") * 10_001, Content_Encoding="gzip"), "too many"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + GOOD[:5] + b"\r\n7\r\n" + GOOD[5:8], "ncomplete"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD, "bad payload"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_anything_else_with_a_200_is_a_bad_payload(answer, why):
    with Upstream(answer) as upstream:
        attempt = ask(upstream)
    assert (attempt.action, attempt.retries) == ("bad gateway", 0)
    assert attempt.detail.startswith("bad payload: ") and why in attempt.detail


def test_a_204_is_not_found():
    with Upstream(http(b"", "204 No Content")) as upstream:
        attempt = ask(upstream)
    assert (attempt.status, attempt.action, attempt.detail, attempt.retries) == (204, "not found", "no content", 0)


def test_a_body_over_the_limit_is_a_bad_payload():
    body = b'["' + b"x" * 1000 + b'"]'
    with Upstream(http(body)) as upstream:
        assert ask(upstream, max_body=len(body)).data == ["x" * 1000]
        assert "longer than 1003 bytes" in ask(upstream, max_body=len(body) - 1).detail


@pytest.mark.slow
def test_a_body_in_tiny_chunks_may_be_as_long_as_any():
    """Its framing, the CRLF after each chunk included, is five times as long."""
    body = b'["' + b"x" * 70_000 + b'"]'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with Upstream(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks) as upstream:
        assert ask(upstream, max_body=len(body)).data == ["x" * 70_000]


@pytest.mark.parametrize("times", [1, 2])
def test_a_compressed_bomb_is_left_at_the_limit(times):
    bomb = b" " * 20_000_000
    for _ in range(times):
        bomb = gzip.compress(bomb)
    with Upstream(http(bomb, Content_Encoding="gzip")) as upstream:
        attempt = ask(upstream, max_body=100_000)
    assert attempt.action == "bad gateway"


def test_a_body_without_end_is_left_at_the_limit():
    def endless(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with Upstream(endless) as upstream:
        assert "longer than 1000000 bytes" in ask(upstream, max_body=1_000_000).detail


def test_a_body_that_drips_is_left_when_the_time_is_over():
    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(300):
            connection.sendall(b" " * 70_000)
            time.sleep(0.01)

    with Upstream(drip) as upstream:
        attempt = ask(upstream, timeout=0.3)
    assert attempt.action == "timeout" and 0.25 < attempt.elapsed < 1.5


def test_the_body_of_an_error_is_read_for_its_words_only_and_changes_nothing():
    def broken(connection):
        connection.sendall(http(b'{"message": "no', "503 Oops", length=500))

    with Upstream(broken, http(b"x" * 200_000, "500 Oops"), http(b'{"message": "Out\\u0007 of\\n order"}', "500 Oops")) as upstream:
        assert (ask(upstream).status, ask(upstream).status) == (503, 500)
        assert ask(upstream).detail == "Out of order"


# --- heads ---

@pytest.mark.parametrize("answer", [
    b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03\r\n\r\n", b"HTTP/3.0 200 OK\r\n\r\n{}", b"HTTP/1.1 abc OK\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(101)) + b"\r\n{}",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n{}",
], ids=["closed", "SSH", "garbage", "HTTP/3.0", "no status", "101 headers", "70 KB line"])
def test_a_head_that_is_none_means_no_connection(answer):
    with Upstream(answer) as upstream:
        attempt = ask(upstream)
    assert (attempt.status, attempt.action) == (None, "unavailable")


def test_a_head_that_never_comes_is_our_timeout():
    with Upstream(lambda connection: time.sleep(1)) as upstream:
        attempt = ask(upstream, timeout=0.2)
    assert (attempt.status, attempt.action, attempt.detail) == (None, "timeout", "no answer in time")


def test_nobody_listens():
    with Upstream(b"") as upstream:
        provider = upstream
    assert "refused" in ask(provider).detail


def test_other_peoples_words_stay_short_and_printable():
    with Upstream(b"HTTP/1.1 \x1b[31m" + b"x" * 60_000 + b"\r\n\r\n") as upstream:
        detail = ask(upstream).detail
    assert len(detail) <= 200 and detail.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("size", [512, 128])
def test_brackets_crash_no_thread_with_a_small_stack(size):
    """In a process of its own: what is guarded against is a segmentation fault."""
    code = f"""
import threading
from conftest import Upstream, http
from test_transport import ask
threading.stack_size({size} * 1024)
for status in ("200 OK", "503 No"):
    with Upstream(http(b"[" * 20_000, status), http(b"[" * 20_000 + b"]" * 20_000, status)) as upstream:
        for _ in range(2):
            thread = threading.Thread(target=ask, args=(upstream,))
            thread.start()
            thread.join()
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    assert done.returncode == 0 and done.stdout == "alive\n", done.stderr


# --- retries ---

@pytest.mark.slow
@pytest.mark.parametrize("first", [http(b"", "503 Oops"), b"", http(b"", "503 Oops", Retry_After="3600")],
                         ids=["status", "no answer", "Retry-After is not slept on"])
def test_one_retry_after_a_short_pause(first):
    with Upstream(first, http(GOOD)) as upstream:
        result = ask(upstream, matrix={})
    assert result.data == {"ok": True} and result.attempts[0].retries == 1
    assert 0.1 <= result.elapsed < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("discarded", [
    b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFFFFF\r\nabc",
    b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffff\r\nabc",
    http(b"x", "503 x", length=10 ** 15), http(b"x", "503 x", length=10 ** 30),
    lambda connection: (connection.sendall(b"HTTP/1.1 503 x\r\n\r\nx"), time.sleep(2)),
], ids=["chunk beyond all", "large chunk", "long", "longer", "dripping"])
def test_the_body_of_an_answer_that_is_retried_is_not_read(discarded):
    with Upstream(discarded, http(GOOD)) as upstream:
        result = ask(upstream, matrix={})
    assert result.data == {"ok": True} and result.elapsed < 1.0


def test_one_retry_and_no_more():
    with Upstream(http(b"", "500 Oops")) as upstream:
        assert ask(upstream, matrix={}).retries == 1
        assert len(upstream.received) == 2


@pytest.mark.slow
@pytest.mark.parametrize("answer", [http(b"<html>"), lambda connection: time.sleep(2)], ids=["bad payload", "timeout"])
def test_no_retry_where_it_would_help_nobody(answer):
    with Upstream(answer) as upstream:
        assert ask(upstream, matrix={}, timeout=0.8).retries == 0
        assert len(upstream.received) == 1


@pytest.mark.slow
def test_the_retry_gets_what_is_left_of_the_attempt():
    def late(connection):
        time.sleep(1.0)
        connection.sendall(http(b"", "503 Oops"))

    with Upstream(late, lambda connection: time.sleep(4)) as upstream:
        attempt = ask(upstream, matrix={}, timeout=2.0)
    assert attempt.action == "timeout" and attempt.retries == 1 and attempt.elapsed < 2.7  # the whole anew were 3.1


def test_a_server_that_hangs_up_on_a_kept_connection_is_asked_three_times_at_most_and_all_are_counted():
    state = {"ok": True}

    def serve(connection):
        while read_head(connection) and state["ok"]:
            connection.sendall(http(GOOD, Connection="keep-alive"))
            served.append(1)
        hung_up.append(1)

    served, hung_up = [], []
    with Upstream(accepted=serve) as upstream:
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False, max_stale=0) as client:
            client.call("raw", "/thing")
            state["ok"] = False
            with pytest.raises(AllProvidersFailed) as caught:
                client.call("raw", "/thing")
    assert caught.value.attempts[0].retries + 1 == len(hung_up) <= 3


@pytest.mark.filterwarnings("ignore:.*unclosed.*")  # urllib3 1.26 leaves the socket open when the name does not match
def test_a_certificate_that_fails_is_not_tried_again(tmp_path, monkeypatch):
    world = World(tmp_path)
    upstream = world.upstream(http(GOOD), tls=world.context("other.test"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
    provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://localhost:{upstream.port}")
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False) as client:
        with pytest.raises(AllProvidersFailed, match="SSLCertVerificationError|CertificateError") as caught:
            client.call("raw", "/thing")
    assert caught.value.attempts[0].retries == 0
    del caught
    gc.collect()
    world.close()


# --- what must not happen between requests ---

@pytest.mark.parametrize("wrapped", ["", "send"])
@pytest.mark.parametrize("location", ["http://127.0.0.1:{port}/next", "//127.0.0.1:{port}/next", "/thing", "http://[::1", "\xff"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(location, status, wrapped, monkeypatch):
    if wrapped:  # by a tool, where a session looks for redirects
        plain = requests.Session.send
        monkeypatch.setattr(requests.Session, "send", lambda *args, **kwargs: plain(*args, **kwargs))
    with Upstream(http(GOOD)) as stranger:
        with Upstream(http(b"", f"{status} Away", Location=location.format(port=stranger.port))) as upstream:
            attempt = ask(upstream)
            assert (attempt.status, attempt.action) == (status, "forbidden")
            assert len(upstream.received) == 1
        assert stranger.received == []


def test_no_cookie_is_kept():
    with Upstream(http(GOOD, Set_Cookie="id=1; Path=/")) as upstream:
        client = FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY)
        client.call("raw", "/a")
        client.call("raw", "/b")
        client.close()
    assert b"cookie" not in b"".join(upstream.received).lower()


def test_no_netrc_is_read(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Upstream(http(GOOD)) as upstream:
        ask(upstream)
    assert b"authorization" not in upstream.received[0].lower()


def test_a_plain_loopback_request_goes_through_no_proxy(monkeypatch):
    with Upstream(http(b"<html>")) as proxy, Upstream(http(GOOD)) as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert ask(upstream).data == {"ok": True}
        assert proxy.received == []


def test_https_goes_through_the_proxy_of_the_environment(monkeypatch):
    with Upstream(b"HTTP/1.1 407 No\r\n\r\n") as proxy:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        registry = ProviderRegistry({"raw": [ProviderConfig("a", "a.invalid", 1)]})
        with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, timeout=5.0) as client:
            with pytest.raises(AllProvidersFailed):
                client.call("raw", "/thing")
        assert proxy.received[0].startswith(b"CONNECT a.invalid:443") and KEY.encode() not in proxy.received[0]


@pytest.mark.filterwarnings("ignore:.*unclosed.*")  # urllib3 1.26 leaves the socket open when a bundle is missing
def test_certificates_are_verified_and_a_missing_ca_bundle_is_no_crash(monkeypatch):
    with Upstream(http(GOOD)) as upstream:
        registry = ProviderRegistry({"raw": [ProviderConfig("a", "a.example", 1, f"https://127.0.0.1:{upstream.port}")]})
        with FailoverClient(registry, api_key=KEY, matrix=NO_RETRY, timeout=5.0) as client:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
            with pytest.raises(AllProvidersFailed, match="CA"):
                client.call("raw", "/thing")


def test_only_what_can_be_inflated_under_a_limit_is_offered():
    with Upstream(http(GOOD)) as upstream:
        ask(upstream)
    head = upstream.received[0].decode().lower()
    assert "accept-encoding: gzip, deflate\r\n" in head
    assert head.startswith("get /thing?q=1 http/1.1\r\n") and "host: raw.p.rapidapi.com" in head


# --- pools ---

def counting_server(requests_per_connection):
    """Counts the connections it takes; answers on each as often as it is asked."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve(connection):
        with connection:
            reader = connection.makefile("rb")
            while True:
                head = b"".join(iter(lambda: reader.readline().strip(), b""))
                if not head:
                    return
                requests_per_connection[-1] += 1
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            requests_per_connection.append(0)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def test_connections_are_kept_and_shared_by_threads():
    connections = []
    with counting_server(connections) as listener:
        provider = ProviderConfig("a", "a.example", 1, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY) as client:
            for _ in range(10):
                client.call("raw", "/thing")
            assert len(connections) == 1
            in_threads(32, lambda number: [client.call("raw", "/thing") for _ in range(10)])
            assert len(connections) <= 32
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_a_warm_burst_of_128_threads_opens_no_connection():
    opened = []
    all_ask = threading.Barrier(128, timeout=60)

    def serve(connection):
        opened.append(connection)
        while True:
            head = read_head(connection)
            if not head:
                return
            if b"q=first" not in head:
                all_ask.wait()  # so that each thread needs a connection of its own
            connection.sendall(http(Connection="keep-alive"))

    with Upstream(accepted=serve) as upstream:
        with FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, timeout=60.0, deadline=60.0) as client:
            client.call("raw", "/thing", {"q": "first"})  # until it is known to answer, few go at a time
            for burst in range(3):
                in_threads(128, lambda number: client.call("raw", "/thing", {"q": number}))
                assert len(opened) == 128


def test_each_provider_has_a_pool_of_its_own(rapidapi, client):
    for platform, endpoint, params in [("tiktok", "/user/info", {"unique_id": "a"}), ("youtube", "/video/info", {"id": "b"})]:
        client.call(platform, endpoint, params)
    assert sorted(client._transport._sessions) == [("tiktok", "tiktok-scraper7"), ("youtube", "yt-api")]  # which pools there are is told nowhere


# --- what comes after, before and instead ---

def answering(*pieces, tls=None):
    """A server that keeps its connections and sends, for each request, the pieces with a pause before each but the first."""
    def serve(connection):
        while True:
            head = read_head(connection)
            if not head:
                return
            asked = head.split()[1].rpartition(b"=")[2]
            for number, piece in enumerate(pieces):
                time.sleep(0.1 if number else 0.0)
                connection.sendall(piece(asked) if callable(piece) else piece)
    return Upstream(accepted=within(tls, serve) if tls else serve)


def within(tls, serve):
    def serve_within(connection):
        with tls.wrap_socket(connection, server_side=True) as secured:
            serve(secured)
    return serve_within


def right(asked):
    return http(b'{"for": "%s"}' % asked, Connection="keep-alive")


def asked_twice(provider, **options):
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, **options) as client:
        for name in ("one", "two"):
            yield client.call("raw", "/thing", {"q": name})
            time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints", "199 Hm"])
def test_an_answer_that_announces_another_is_not_the_answer(status):
    """http.client takes it for the whole, and then the next caller would get what this one asked for."""
    with answering(f"HTTP/1.1 {status}\r\nLink: x\r\n\r\n".encode(), right) as upstream:
        assert [result.data for result in asked_twice(upstream.provider())] == [{"for": "one"}, {"for": "two"}]


def test_switched_protocols_are_no_connection_to_keep():
    with answering(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", right) as upstream:
        assert ask(upstream).status == 101


def test_an_answer_that_nobody_asked_for_is_nobodys():
    with answering(lambda asked: right(asked) + http(b'{"evil": 1}', Connection="keep-alive")) as upstream:
        assert [result.data for result in asked_twice(upstream.provider())] == [{"for": "one"}, {"for": "two"}]


@pytest.fixture
def tls_proxy(tmp_path, monkeypatch):
    """A proxy that is spoken to in TLS, for targets that are spoken to in TLS as well."""
    world = World(tmp_path)
    outer = world.context("localhost")
    proxy = world.upstream(accepted=within(outer, tunnel))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
    monkeypatch.setenv("HTTPS_PROXY", f"https://localhost:{proxy.port}")
    yield world
    world.close()


def hello_dripped(connection):
    """A handshake record of 8 KiB, a byte at a time, for as long as this test cares."""
    connection.sendall(b"\x16\x03\x03\x20\x00")
    for _ in range(100):
        connection.sendall(b"\0")
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("play", [hello_dripped, unread])
def test_tls_within_tls_is_in_time(tls_proxy, play):
    port = tls_proxy.upstream(accepted=play).port
    provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://target.example:{port}")
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, timeout=0.6) as client, Heartbeat() as heartbeat:
        began = time.monotonic()
        with pytest.raises(AllProvidersFailed, match="timeout"):
            client.call("raw", "/thing")
        assert time.monotonic() - began < 1.0 + heartbeat.hiccups(began)  # the peers stay for longer


def test_what_is_left_over_of_tls_within_tls_is_nobodys(tls_proxy):
    evil = http(b'{"evil": 1}', Connection="keep-alive")

    def long(asked):  # as long as what is read at once
        body = b'{"for": "%s", "pad": "' % asked
        head = len(http(body, length=8192, Connection="keep-alive")) - len(body)
        body += b"x" * (8192 - head - len(body) - 2) + b'"}'
        return http(body, Connection="keep-alive") + evil

    with answering(long, tls=tls_proxy.context("target.example")) as upstream:
        provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://target.example:{upstream.port}")
        assert [result.data.get("for") for result in asked_twice(provider)] == ["one", "two"]


def test_a_long_head_is_read_in_time():
    cookie = b"Set-Cookie: " + b"a=b;" * 15_000 + b"\r\n"
    with Upstream(b"HTTP/1.1 200 OK\r\n" + cookie * 90 + b"\r\n" + GOOD) as upstream:
        began = time.thread_time()
        assert ask(upstream, timeout=20.0).data
        assert time.thread_time() - began < 1.0


@pytest.mark.slow
def test_many_brackets_take_no_time():
    with Upstream(http(b"[" + b"[]," * 500_000 + b"1]")) as upstream:
        began = time.thread_time()
        assert ask(upstream, timeout=20.0).data
        assert time.thread_time() - began < 2.0


# --- names ---

def test_a_name_for_which_there_is_no_thread_is_looked_up_in_the_callers(monkeypatch):
    """Python 3.12 starts no thread while it shuts down."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("rapidfailover"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with Upstream(http(GOOD)) as upstream:
        provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"http://localhost:{upstream.port}")
        with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, matrix=NO_RETRY) as client:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                assert client.call("raw", "/thing").data == {"ok": True}


@pytest.mark.slow
def test_too_many_names_at_once_wait_for_their_turn_and_each_is_looked_up_once(monkeypatch):
    looked_up = []

    def getaddrinfo(host, *args):
        looked_up.append(host)
        time.sleep(0.2)
        return [host]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names, ends = Names(), time.monotonic() + 10
    in_threads(80, lambda number: names.addresses(f"host{number % 40}.example", 443, ends) == [f"host{number % 40}.example"] or 1 / 0)
    assert sorted(looked_up) == sorted(f"host{number}.example" for number in range(40))
    with pytest.raises(socket.timeout):
        names.addresses("late.example", 443, time.monotonic() + 0.05)


def test_the_password_of_a_proxy_is_not_told(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://u:pr0xyPassw0rd@127.0.0.1:99999")
    with FailoverClient(ProviderRegistry({"raw": [ProviderConfig("raw", "raw.p.rapidapi.com", 1)]}), api_key=KEY, refresh=False) as client:
        with pytest.raises(AllProvidersFailed) as caught:
            client.call("raw", "/thing")
    assert "pr0xyPassw0rd" not in str(caught.value)


# --- what others have put in place of socket's and urllib3's functions ---

def bound(*args, **kwargs):
    """A well-known recipe: bind each socket to a source address."""
    sock = REAL_SOCKET(*args, **kwargs)
    if "fileno" not in kwargs:
        bound.made += 1
    return sock


REAL_SOCKET = socket.socket
REAL_CREATE, REAL_GETADDRINFO = urllib3.util.connection.create_connection, socket.getaddrinfo


def pinned(address, *args, **kwargs):
    return REAL_CREATE(("127.0.0.1", address[1]), *args, **kwargs)


def four_arguments(host, port, family, kind):
    return REAL_GETADDRINFO("127.0.0.1", port, family, kind)


@pytest.mark.parametrize("owner, name, patch", [
    (socket, "socket", bound), (urllib3.util.connection, "create_connection", pinned), (socket, "create_connection", pinned),
    (socket, "getaddrinfo", four_arguments),
], ids=["socket.socket", "urllib3's create_connection", "socket.create_connection", "getaddrinfo"])
def test_a_replaced_function_is_honoured(monkeypatch, tmp_path, owner, name, patch):
    bound.made = 0
    world = World(tmp_path)
    upstream = world.upstream(http(GOOD), tls=world.context("localhost" if patch is bound else "pinned.example"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
    monkeypatch.setenv("NO_PROXY", "*")
    where = "localhost" if patch is bound else "pinned.example"
    provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://{where}:{upstream.port}")
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, matrix=NO_RETRY) as client:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, patch)
            assert client.call("raw", "/thing").data == {"ok": True}
    assert bound.made == (patch is bound) or bound.made > 1
    world.close()


@pytest.mark.slow
def test_addresses_are_tried_side_by_side(monkeypatch, tmp_path):
    """Three that never answer have a quarter second's head start each, and not all the time that there is."""
    world = World(tmp_path)
    upstream = world.upstream(http(GOOD))
    ports = [world.full] * 3 + [upstream.port]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *args: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in ports])
    provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"http://localhost:{upstream.port}")
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, matrix=NO_RETRY, timeout=5.0) as client:
        result = client.call("raw", "/thing")
    assert result.data == {"ok": True} and 0.7 < result.elapsed < 2.0
    world.close()


def test_a_session_request_that_a_tool_has_wrapped_is_where_calls_enter(monkeypatch):
    seen, plain = [], requests.Session.request

    def traced(self, method, url, **kwargs):
        seen.append((method, url, dict(kwargs["headers"])))
        kwargs["headers"]["X-Trace"] = "1"
        return plain(self, method, url, **kwargs)

    with Upstream(http(GOOD)) as upstream:
        monkeypatch.setattr(requests.Session, "request", traced)
        assert ask(upstream).data == {"ok": True}
        head = upstream.received[0].decode().lower()
    (method, url, headers), = seen
    assert (method, url.rpartition("/")[2]) == ("GET", "thing?q=1") and KEY not in str(headers)
    assert "x-trace: 1" in head and KEY in head and "authorization" not in head


# --- the environment ---

def test_a_change_of_the_environment_is_seen_by_the_next_call(tmp_path, monkeypatch):
    world = World(tmp_path)
    upstream = world.upstream(http(GOOD), tls=world.context("localhost"))
    provider = ProviderConfig("raw", "raw.p.rapidapi.com", 1, base_url=f"https://localhost:{upstream.port}")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with FailoverClient(ProviderRegistry({"raw": [provider]}), api_key=KEY, refresh=False, matrix=NO_RETRY, max_stale=0) as client:
        with pytest.raises(AllProvidersFailed, match="CERTIFICATE_VERIFY_FAILED"):
            client.call("raw", "/thing")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", world.bundle)
        client.call("raw", "/thing")
        client.call("raw", "/thing")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{world.refused}")
        with pytest.raises(AllProvidersFailed, match="unavailable"):
            client.call("raw", "/thing")
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert client.call("raw", "/thing").data == {"ok": True}
    world.close()


def test_a_client_that_is_dropped_leaves_no_connection_open():
    with answering(right) as upstream:
        client = FailoverClient(ProviderRegistry({"raw": [upstream.provider()]}), api_key=KEY, refresh=False)
        client.call("raw", "/thing", {"q": "1"})
        connections = [sock for sock in open_sockets._all if sock.fileno() >= 0 and sock.getpeername()[1] == upstream.port]  # which sockets are open is told nowhere
        assert len(connections) == 1
        del client
        gc.collect()
        assert connections[0].fileno() == -1
