"""Last good copies in files: shared by processes, whole or not at all, and never in the way."""

import errno
import hashlib
import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import NO_RETRY

from rapidfailover import FailoverClient, FileCache
from rapidfailover.records import key_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "copies"


def only_file(directory):
    path, = directory.iterdir()
    return path


def test_what_was_set_comes_back_in_another_process_too(directory):
    FileCache(directory).set("key", b'{"a": "gr\xc3\xb6\xc3\x9fe"}\n\xff', 60)
    code = f"import rapidfailover; print(rapidfailover.FileCache({str(directory)!r}).get('key'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == repr(b'{"a": "gr\xc3\xb6\xc3\x9fe"}\n\xff')


@pytest.mark.parametrize("value", [b"", b"\x00\xff", "text", 7, None, [1, {"a": None}]])
def test_it_keeps_bytes_and_what_json_can_hold(directory, value):
    cache = FileCache(str(directory))
    cache.set("key", value)
    assert cache.get("key", "nothing") == value and len(cache) == 1


def test_it_stays_where_it_was_made_wherever_the_process_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = FileCache("copies")
    cache.set("a", b"1")
    monkeypatch.chdir("/")
    assert cache.get("a") == b"1"
    with pytest.raises(ValueError, match="not empty"):
        FileCache("")


def test_what_json_cannot_hold_is_refused(directory):
    with pytest.raises(TypeError):
        FileCache(directory).set("key", object())


@pytest.mark.parametrize("timeout, found", [(None, True), (60, True), (0, False), (-1, False)])
def test_it_expires(directory, timeout, found):
    cache = FileCache(directory)
    cache.set("key", b"1", timeout)
    assert (cache.get("key") == b"1") is found and cache.get("other", "nothing") == "nothing"


def test_one_small_file_an_entry_for_its_owner_alone(directory):
    FileCache(directory).set("key", b"1")
    path = only_file(directory)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert json.loads(path.read_text())["key"] == "key"


def test_the_oldest_go_when_there_are_too_many_and_nothing_of_anybody_else(directory):
    cache = FileCache(directory, max_entries=3)
    directory.mkdir()
    (directory / "notes.txt").write_text("mine")
    for number in range(5):
        cache.set(f"key{number}", b"%d" % number)
        os.utime(cache._path(f"key{number}"), (number, number))
    assert [cache.get(f"key{number}") for number in range(5)] == [None, None, b"2", b"3", b"4"]
    assert len(cache) == 3 and (directory / "notes.txt").read_text() == "mine"


def test_a_quarter_more_than_the_most_is_there_until_it_looks_and_never_more(directory):
    cache = FileCache(directory, max_entries=50)
    sizes = []
    for number in range(300):
        cache.set(f"key{number}", b"1")
        sizes.append(len(cache))
    assert 50 <= min(sizes[60:]) and max(sizes) <= 62


def test_processes_that_keep_one_entry_each_fill_no_directory(directory):
    """A cron job's, say: each is gone before it has kept as many entries as there are between two looks."""
    for number in range(400):
        FileCache(directory, max_entries=50).set(f"key{number}", b"1")
    assert len(FileCache(directory)) < 200  # each looks with a chance of a twelfth


@pytest.mark.slow
def test_a_set_costs_the_same_among_ten_files_and_among_ten_thousand(directory):
    """One that looked through the directory each time took 46 ms among ten thousand, and 0.1 ms among ten."""
    def cost(cache):
        times = []
        for number in range(50):
            began = time.thread_time()
            cache.set(f"another{number}", b"x" * 3000)
            times.append(time.thread_time() - began)
        return sorted(times)[len(times) // 2]

    few, many = FileCache(directory / "few", max_entries=10 ** 4), FileCache(directory / "many", max_entries=10 ** 4)
    for cache in (few, many):
        cache.set("first", b"1")
    for number in range(10 ** 4):
        with open(many._path(str(number)), "wb"):
            pass
    assert cost(many) < 5 * cost(few) + 0.001


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"7", b'"text"', b'{"key": "other", "expires": 9e9, "value": 1}', b'{"key": "key"}',
    b'{"key": "key", "expires": "later", "value": 1}', b'{"key": "key", "expires": 9e9}', b"\xff\xfe\x00", b"[" * 100_000,
    b'{"key": "key", "expires": 9e9, "bytes": 7}', b'{"key": "key", "expires": 9e9, "bytes": "*"}',
])
def test_a_foreign_or_torn_file_is_a_miss_and_is_written_over(directory, content):
    cache = FileCache(directory)
    cache.set("key", b"1")
    only_file(directory).write_bytes(content)
    assert cache.get("key") is None
    cache.set("key", b"2")
    assert cache.get("key") == b"2"


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: os.mkdir(path), lambda path: os.symlink("/nowhere", path)],
                         ids=["FIFO", "directory", "dangling link"])
def test_something_that_is_no_file_is_a_miss_at_once(directory, make):
    cache = FileCache(directory)
    directory.mkdir()
    make(cache._path("key"))
    assert cache.get("key") is None


def test_a_directory_that_vanishes_is_a_miss_and_is_made_again(directory):
    cache = FileCache(directory)
    assert cache.get("key") is None and len(cache) == 0
    cache.set("key", b"1")
    only_file(directory).unlink()
    directory.rmdir()
    assert cache.get("key") is None
    cache.set("key", b"2")
    assert cache.get("key") == b"2"


def test_a_directory_that_cannot_be_is_a_miss_and_a_log_line(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = FileCache(tmp_path / "file" / "copies")
    cache.set("key", b"1")
    assert cache.get("key") is None and len(cache) == 0
    assert "an entry could not be kept" in caplog.text and "Not a directory" in caplog.text


def test_a_full_disk_leaves_the_entry_that_was_there_and_no_rubbish(directory, monkeypatch, caplog):
    cache = FileCache(directory)
    cache.set("key", b"old")

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.set("key", b"new")
    assert cache.get("key") == b"old" and len(list(directory.iterdir())) == 1
    assert "No space left" in caplog.text


def test_a_disk_that_is_really_full(directory, caplog):
    """/dev/full takes the open and refuses the write."""
    cache = FileCache(directory)
    cache.set("key", b"old")
    real_open = os.open
    os.open = lambda path, *args: real_open("/dev/full", os.O_WRONLY) if str(path).endswith(".tmp") else real_open(path, *args)
    try:
        cache.set("key", b"new")
    finally:
        os.open = real_open
    assert cache.get("key") == b"old" and "No space left" in caplog.text


def hammer(directory, number, rounds):
    """Writes and reads the same entries as the others; what it reads was written whole by somebody."""
    cache = FileCache(directory, max_entries=8)
    for turn in range(rounds):
        key = f"key{turn % 10}"
        cache.set(key, (b"%d:%d " % (number, turn)) * 500)
        found = cache.get(f"key{(turn * 7) % 10}")
        if found is not None and len(set(found.split())) != 1:
            os._exit(1)
    os._exit(0)


@pytest.mark.slow
def test_eight_processes_writing_and_reading_the_same_entries(directory):
    processes = [multiprocessing.get_context("spawn").Process(target=hammer, args=(str(directory), number, 150))
                 for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    assert len(FileCache(directory)) <= 10 and not list(directory.glob("*.tmp"))


@pytest.mark.slow
def test_kill_9_in_the_middle_leaves_whole_entries_only(directory):
    process = multiprocessing.get_context("spawn").Process(target=hammer, args=(str(directory), 0, 10 ** 9))
    process.start()
    until = time.monotonic() + 20
    while len(FileCache(directory)) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    for path in directory.glob("*.json"):
        assert json.loads(path.read_text())["key"]


def test_what_a_killed_writer_left_is_swept_up_a_day_later(directory):
    cache = FileCache(directory, max_entries=5)
    directory.mkdir()
    old, young = (directory / f"{letter * 40}.rapidfailover.json.1-1.tmp" for letter in "ab")
    others = directory / "report.tmp", directory / "x.rapidfailover.json"
    for path in (old, young, *others):
        path.write_text("half an ent")
        os.utime(path, (0, 0))
    os.utime(young)
    cache.set("key", b"1")
    assert not old.exists() and young.exists() and len(cache) == 1
    assert all(path.exists() for path in others)


def test_a_planted_link_is_not_followed(directory):
    cache = FileCache(directory)
    directory.mkdir()
    precious = directory / "precious"
    precious.write_text("mine")
    os.symlink(precious, f"{cache._path('key')}.{os.getpid()}-{threading.get_ident()}.tmp")
    cache.set("key", b"1")
    assert precious.read_text() == "mine" and cache.get("key") == b"1"


def test_what_is_no_file_is_a_miss_and_keeps_nothing_open(directory):
    cache = FileCache(directory)
    os.makedirs(cache._path("key"))
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    assert all(cache.get("key") is None for _ in range(5))
    assert before is None or len(os.listdir("/proc/self/fd")) == before


def test_a_lifetime_of_nothing_removes_the_entry_and_no_other(directory):
    cache = FileCache(directory, max_entries=1)
    cache.set("kept", b"1")
    cache.set("gone", b"2", 0)
    assert cache.get("kept") == b"1" and cache.get("gone") is None


def test_it_serves_the_client_and_the_next_process(rapidapi, directory):
    question = ("tiktok", "/user/info", {"unique_id": "ada"})
    with FailoverClient(rapidapi.registry, api_key="k" * 20, cache=FileCache(directory)) as client:
        fresh = client.call(*question)
    for name in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        rapidapi.fail(name, 503)
    with FailoverClient(rapidapi.registry, api_key="k" * 20, cache=FileCache(directory), matrix=NO_RETRY) as client:
        copy = client.call(*question)
    assert copy.stale and copy.data == fresh.data


def test_it_holds_at_least_one_entry(directory):
    with pytest.raises(ValueError):
        FileCache(directory, max_entries=0)


def test_keys_may_hold_anything(tmp_path):
    cache = FileCache(tmp_path)
    cache.set("\udcff", b"1", 1)
    assert cache.get("\udcff") == b"1"
    assert key_of("p", "/x", "\udcff") != key_of("p", "/x", "")
    assert key_of("p", "/x", "q") == "rapidfailover:1:" + hashlib.sha256(b"p\0/x\0q").hexdigest()
    with pytest.raises(ValueError, match="^max_entries is positive$"):
        FileCache(tmp_path, 0)


def test_what_a_file_cache_could_not_keep_is_said_once_with_its_place(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    FileCache(tmp_path / "file").set("k", b"1")
    assert [record.getMessage().startswith(f"an entry could not be kept in {tmp_path / 'file'}: ") for record in caplog.records] == [True]
    assert FileCache(tmp_path)._max_entries == 1024
