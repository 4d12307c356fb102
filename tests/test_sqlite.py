"""A file as store: that nothing which happens to it can fail or delay a call."""

import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from faults import Heartbeat
from workers import ADA, FIRST, ROOT, SECOND, THIRD, Counted, processes, state, until

from rapidfailover import AllProvidersFailed, FailoverClient
from rapidfailover.sqlite import SQLiteStore

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shared.db"


def told(caplog):
    """What the log says of the store."""
    return [record.message for record in caplog.records if record.message.startswith("the store")]


@contextmanager
def database(path):
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as connection:
        yield connection


# --- many processes ---

def test_eight_processes_agree_on_a_trip_within_a_second(path):
    with Counted() as bad, Counted() as good:
        with processes(8, ["SQLite", str(path)], [("bad", bad.url), ("good", good.url)], {"error_threshold": 1}, refresh=False) as workers:
            for one in workers:
                one.ask("ask", 0.01, 0.0, 10, 1)
            bad.status = 503
            workers[0].ask("ask", 0.01, 0.0, 10, 1)
            began = time.monotonic()
            while {one.ask("state")["bad"]["circuit"] for one in workers} != {"open"}:
                assert time.monotonic() - began < 1.0
            assert all(one.ask("state")["bad"]["store"].startswith("shared") for one in workers)


def test_what_a_process_had_told_outlives_its_kill(path):
    with Counted() as bad, Counted() as good:
        providers = [("bad", bad.url), ("good", good.url)]
        with processes(3, ["SQLite", str(path)], providers, {"error_threshold": 1}, refresh=False) as workers:
            for one in workers:
                one.ask("ask", 0.01, 0.0, 10, 1)
            bad.status = 503
            for one in workers[:2]:  # they write at every moment
                one.order("ask", 30.0, 0.0, 1000, 2)
            until(lambda: workers[2].ask("state")["bad"]["circuit"] == "open")
            time.sleep(0.6)
            for one in workers:
                one.end()
        with processes(1, ["SQLite", str(path)], providers, refresh=False) as (cold,):
            good.status, before = 503, bad.asked
            assert not any(wrong for _, _, wrong in cold.ask("ask", 0.2, 0.01, 20, 1))  # it has the copies
            assert cold.ask("state")["bad"]["circuit"] == "open" and bad.asked == before
        with database(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # fork beside threads is the subject
def test_children_of_a_fork_and_their_parent_go_on_with_one_sound_file(path, unhurried, worker):
    client = worker(SQLiteStore(path), rules={"error_threshold": 1000})
    client.call(*ADA)
    children = []
    for _ in range(6):
        client.registry.mark_error("tiktok", FIRST)
        children.append(os.fork())
        if not children[-1]:
            try:
                for _ in range(5):
                    client.registry.mark_error("tiktok", FIRST)
                client.close()
                time.sleep(0.2)
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    until(lambda: state(client)["error_count"] == 36)
    with database(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# --- the file ---

def test_nobody_else_may_read_what_is_in_it(path, unhurried, worker):
    client = worker(SQLiteStore(path))
    client.call(*ADA)
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
    client.close()
    until(lambda: [one.name for one in path.parent.iterdir()] == ["shared.db"])


@pytest.mark.parametrize("odd", ["with blank.db", "per%20cent?.db", "hash#.db", ":memory:", "ünï.db"])
def test_any_name_will_do(tmp_path, worker, odd):
    client = worker(SQLiteStore(tmp_path / odd))
    until(lambda: state(client)["store"] == "shared")
    assert (tmp_path / odd).exists()


def test_a_folder_of_ones_own_is_not_needed_and_the_working_directory_may_change(tmp_path, worker, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("shared.db")
    monkeypatch.chdir("/")
    client = worker(store)
    until(lambda: state(client)["store"] == "shared")
    assert (tmp_path / "shared.db").exists()


@pytest.mark.parametrize("path, options, error", [
    ("", {}, ValueError), ("a\0b", {}, ValueError), (None, {}, TypeError), (7, {}, TypeError),
    ("a", {"max_entries": 0}, ValueError), ("a", {"max_bytes": 1.5}, ValueError), ("a", {"max_bytes": True}, ValueError)])
def test_what_is_no_path_or_no_bound_is_refused(path, options, error):
    with pytest.raises(error):
        SQLiteStore(path, **options)


def test_copies_are_bounded_by_entries_and_bytes_and_the_oldest_go(path, unhurried, worker):
    client = worker(SQLiteStore(path, max_entries=30, max_bytes=10_000), fresh_for=60.0)
    for number in range(100):
        client.call("tiktok", "/user/info", {"unique_id": f"user{number}"})
    client.call("tiktok", "/user/info", {"unique_id": "user99"})
    client.close()
    with database(path) as connection:
        counted, size = connection.execute("SELECT count(*), sum(length(content)) FROM copies").fetchone()
        assert connection.execute("SELECT copies, bytes FROM head").fetchall() == [(counted, size)]
        assert 10 < counted <= 30 and 0 < size <= 10_000
        assert {number for number, in connection.execute("SELECT number FROM copies")} == set(range(101 - counted, 101))


def test_an_eviction_costs_the_same_among_many_as_among_few(path, unhurried, worker):
    """None of what runs for a copy scans a table."""
    state(worker(SQLiteStore(path)))
    with database(path) as connection:
        for sql in ("SELECT key, kept_at, size FROM copies WHERE key IN ('k', 'l')", "DELETE FROM copies WHERE number = 1",
                    "SELECT number, size, expires_at FROM copies ORDER BY number LIMIT 1",
                    "DELETE FROM leases WHERE key = 'k' OR ends_at < 1", "SELECT circuit FROM circuits WHERE name = x'00'"):
            plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
            assert "SEARCH" in plan or "LIMIT 1" in sql and "TEMP B-TREE" not in plan, plan


def test_circuits_are_bounded_and_the_latest_stay(path, unhurried, worker, monkeypatch):
    monkeypatch.setattr("rapidfailover.sqlite._MOST", 50)
    at = worker(SQLiteStore(path)).registry.sharing._server  # the file, without a registry
    for number in range(200):
        at.change(b"p\0%d" % number, b"", b"x" * 9)
    with database(path) as connection:
        names = [bytes(name) for name, in connection.execute("SELECT name FROM circuits ORDER BY version")]
        assert names == [b"p\0%d" % number for number in range(150, 200)]
        connection.execute("UPDATE circuits SET changed_at = 1.0")
    for number in range(100):
        at.change(b"p\0late", b"%d" % number if number else b"", b"%d" % (number + 1))
    with database(path) as connection:
        assert connection.execute("SELECT count(*) FROM circuits").fetchone() == (1,)
    at.hang_up()  # no thread was there to do it


# --- what happens to it: told once, and the process goes on alone ---

def not_ours(path):
    with database(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def of_another_version(path):
    with closing(FailoverClient(store=SQLiteStore(path))) as client:
        client.registry.snapshot()
        until(path.exists)
    with database(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def corrupt(path):
    with closing(FailoverClient(store=SQLiteStore(path))) as client:
        client.registry.snapshot()
        until(path.exists)
    until(lambda: path.exists() and not path.with_name("shared.db-wal").exists())
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 30_000)


@pytest.mark.parametrize("happens, why", [
    (lambda path: path.write_bytes(b"no database at all " * 100), "file is not a database"),
    (lambda path: path.mkdir(), "unable to open database file"),
    (lambda path: path.symlink_to("/dev/null"), ""),
    (not_ours, "it is the file of something else"), (of_another_version, "it is of another version"), (corrupt, "malformed")])
def test_a_file_that_cannot_serve_is_told_once_and_left_as_it_is(path, worker, rapidapi, caplog, happens, why):
    happens(path)
    before = path.read_bytes() if path.is_file() else None
    client = worker(SQLiteStore(path))
    with caplog.at_level(logging.INFO, "rapidfailover"), Heartbeat() as heartbeat:
        began, took = time.monotonic(), []
        for _ in range(20):
            called = time.monotonic()
            assert client.call(*ADA).provider == FIRST
            took.append(time.monotonic() - called)
        until(lambda: state(client)["store"].startswith("own memory for ") and why in state(client)["store"])
        time.sleep(1.2)
        assert max(took) < 0.1 + heartbeat.hiccups(began)
    client.registry.mark_error("tiktok", FIRST)
    assert state(client)["error_count"] == 1 and why in state(client)["store"] and state(client)["store"].startswith("own memory for ")
    line, = [line for line in told(caplog) if "is slow" not in line]
    assert line.startswith("the store does not answer (") and why in line
    if before is not None:
        assert path.read_bytes() == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_that_is_not_there_is_waited_for(tmp_path, worker):
    client = worker(SQLiteStore(tmp_path / "later" / "shared.db"))
    client.call(*ADA)
    until(lambda: "No such file or directory" in state(client)["store"])
    (tmp_path / "later").mkdir()
    until(lambda: state(client)["store"] == "shared")


def test_a_file_that_another_process_locks_delays_one_call_and_is_shared_again(path, worker, rapidapi, caplog):
    client, other = worker(SQLiteStore(path), rules={"error_threshold": 1}), worker(SQLiteStore(path))
    client.call(*ADA)
    other.call(*ADA)
    with database(path) as connection, caplog.at_level(logging.INFO, "rapidfailover"):
        connection.execute("BEGIN EXCLUSIVE")
        rapidapi.fail(FIRST, 503)
        with Heartbeat() as heartbeat:
            began, took = time.monotonic(), []
            while time.monotonic() - began < 2.0:
                called = time.monotonic()
                assert client.call(*ADA).provider == SECOND
                took.append(time.monotonic() - called)
                time.sleep(0.01)
            hiccups = heartbeat.hiccups(began)
        assert max(took) < 0.1 + hiccups and sum(one > 0.05 for one in took) <= 2 + hiccups / 0.04
        assert "database is locked" in state(client)["store"] and state(other)["error_count"] == 0
        connection.execute("COMMIT")
        until(lambda: state(client)["store"] == "shared" and state(other)["endpoints"])
    assert 1 <= sum("does not answer (database is locked)" in line for line in told(caplog)) <= 2  # one of each


def test_a_file_that_is_removed_is_made_anew_from_what_the_processes_know(path, unhurried, worker):
    first, second = worker(SQLiteStore(path)), worker(SQLiteStore(path))
    for _ in range(3):
        first.registry.mark_error("tiktok", FIRST)
    until(lambda: state(second)["circuit"] == "open")
    for one in path.parent.iterdir():
        one.unlink()
    first.registry.hold("tiktok", SECOND, 500)
    until(lambda: state(first)["store"] == state(second)["store"] == "shared" and path.exists() and state(second, SECOND)["hold_until"])
    until(lambda: state(worker(SQLiteStore(path)))["circuit"] == "open")


def test_of_a_file_that_is_removed_alone_the_log_that_is_left_harms_nobody(path, unhurried, worker):
    first = worker(SQLiteStore(path))
    first.registry.mark_error("tiktok", FIRST)
    path.unlink()
    assert path.with_name("shared.db-wal").exists()
    until(lambda: path.exists())
    second = worker(SQLiteStore(path))
    second.registry.hold("tiktok", SECOND, 500)
    until(lambda: state(second)["error_count"] == 1 and state(first, SECOND)["hold_until"])
    with database(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_a_killed_process_left_of_making_it_is_cleared_away(path, worker):
    path.with_name("shared.db.new").write_bytes(b"half")
    client = worker(SQLiteStore(path))
    client.call(*ADA)
    until(lambda: state(client)["store"] == "shared")
    assert not path.with_name("shared.db.new").exists()


def test_eight_processes_that_begin_at_once_make_one_file(path):
    with Counted() as good, processes(8, ["SQLite", str(path)], [("good", good.url)], refresh=False) as workers:
        for one in workers:
            one.order("state")
        assert all(one.told()["good"]["store"].startswith(("shared", "not asked yet")) for one in workers)
        until(lambda: all(one.ask("state")["good"]["store"] == "shared" for one in workers))
        with database(path) as connection:
            epoch, = connection.execute("SELECT epoch FROM head").fetchone()
            assert len(epoch) == 32 and [one.name for one in path.parent.iterdir() if "new" in one.name] == []


def test_an_empty_file_is_one_to_begin_with(path, unhurried, worker):
    path.touch()
    client = worker(SQLiteStore(path))
    client.registry.mark_error("tiktok", FIRST)
    until(lambda: state(client)["store"] == "shared")
    assert state(worker(SQLiteStore(path)))["error_count"] == 1


@contextmanager
def somebody():
    """Not root, who may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_only_be_read_is_read(worker, caplog):
    """What others share is known; what is learnt here, nobody else knows."""
    folder = Path(tempfile.mkdtemp())
    try:
        path = folder / "shared.db"
        knows = worker(SQLiteStore(path))
        for _ in range(3):
            knows.registry.mark_error("tiktok", FIRST)
        folder.chmod(0o555)
        for one in folder.iterdir():
            one.chmod(0o444)
        with somebody(), caplog.at_level(logging.INFO, "rapidfailover"):
            client = worker(SQLiteStore(path))
            began = time.monotonic()
            assert client.call(*ADA).provider in (FIRST, SECOND)
            client.registry.mark_error("tiktok", THIRD)
            until(lambda: "own memory" in state(client)["store"])
            time.sleep(1.2)
            assert state(client, THIRD)["error_count"] == 1 and time.monotonic() - began < 8.0
            client.close()
        assert len([line for line in told(caplog) if "does not answer" in line]) == 1
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_full_disk_fails_nothing_and_the_store_is_joined_again_when_there_is_room(path):
    """Of one process that may write no larger files."""
    code = """
import json, logging, resource, sys, time
from rapidfailover import *
from rapidfailover.sqlite import SQLiteStore
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
url, path = sys.argv[1:]
registry = ProviderRegistry({"tiktok": [ProviderConfig("tiktok-scraper7", "a.example", 1, base_url=url)]}, error_threshold=5)
client = FailoverClient(registry, api_key="k" * 20, store=SQLiteStore(path))
client.call("tiktok", "/user/info", {"unique_id": "ada"})
time.sleep(0.7)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
for number in range(300):
    client.call("tiktok", "/user/info", {"unique_id": f"user{number}"})
registry.mark_error("tiktok", "tiktok-scraper7")
time.sleep(1.5)
print(json.dumps(registry.snapshot()["tiktok"]["tiktok-scraper7"]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
time.sleep(1.5)
print(json.dumps(registry.snapshot()["tiktok"]["tiktok-scraper7"]))
"""
    with Counted() as good:
        done = subprocess.run([sys.executable, "-c", code, good.url, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    full, roomy = map(json.loads, done.stdout.splitlines())
    assert full["error_count"] == 1 and full["store"].startswith("own memory for ")
    assert roomy["error_count"] == 1 and roomy["store"].startswith("shared")
    assert done.stderr.count("the store does not answer") == 1


# --- foreign data in it ---

@pytest.mark.parametrize("sql", [
    "INSERT OR REPLACE INTO circuits VALUES (x'{name}', 'a text', 1.0, 9)", "INSERT OR REPLACE INTO circuits VALUES (x'{name}', x'ff', 1.0, 9)",
    "INSERT OR REPLACE INTO circuits VALUES (x'{name}', zeroblob(5000000), 1.0, 9)", "UPDATE copies SET content = x'00'",
    "UPDATE copies SET content = 'a text'", "UPDATE copies SET content = zeroblob(5000)"])
def test_foreign_data_is_ignored_and_mended(path, unhurried, worker, rapidapi, sql):
    first = worker(SQLiteStore(path))
    first.call(*ADA)
    first.close()
    with database(path) as connection:
        connection.execute(sql.format(name=f"tiktok\0{FIRST}".encode().hex()))
        connection.execute("UPDATE head SET version = version + 9")
    client = worker(SQLiteStore(path))
    assert client.call(*ADA).provider == FIRST
    client.registry.mark_error("tiktok", FIRST)
    until(lambda: state(client)["store"] == "shared")
    other = worker(SQLiteStore(path))
    until(lambda: state(other)["error_count"] == 1)
    client.close()
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    assert worker(SQLiteStore(path)).call(*ADA).stale


def test_a_wrong_count_of_copies_is_right_again_after_the_next(path, unhurried, worker):
    client = worker(SQLiteStore(path))
    client.call(*ADA)
    client.close()
    with database(path) as connection:
        connection.execute("UPDATE head SET copies = -7, bytes = 99999999999")
    for _ in range(2):
        client.call(*ADA)
        client.close()
    with database(path) as connection:
        assert connection.execute("SELECT copies, bytes FROM head").fetchall() \
            == connection.execute("SELECT count(*), sum(size) FROM copies").fetchall()


def test_a_copy_that_is_over_is_nobodys(path, unhurried, worker, rapidapi):
    first = worker(SQLiteStore(path))
    first.call(*ADA)
    first.close()
    with database(path) as connection:
        connection.execute("UPDATE copies SET expires_at = 1.0")
    for provider in (FIRST, SECOND, THIRD):
        rapidapi.refuse(provider)
    with pytest.raises(AllProvidersFailed):
        worker(SQLiteStore(path)).call(*ADA)
