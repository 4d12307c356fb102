"""The command batch: from a file of names to a file of answers, however often it is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import KEY
from local_host import LocalHost

from rapidfailover import Answer, NotFound, ProviderRegistry, cli, cli_answers, cli_batch, cli_output

ROOT = Path(__file__).parent.parent


class Upstream(LocalHost):
    """Answers with the name that was asked, unless ``statuses`` says otherwise for it; counts who is under way."""

    def __init__(self):
        super().__init__(self._answer)
        self.statuses = {}
        self.seconds = 0.0
        self.gate = threading.Event()
        self.gate.set()

    def _answer(self, path, params):
        time.sleep(self.seconds)
        self.gate.wait(60)
        status = self.statuses.get(params.get("name"), 200)
        return status, {"name": params.get("name")} if status == 200 else {"message": "no"}

    def names(self):
        return [params["name"] for params in self.asked]


@pytest.fixture
def upstream():
    with Upstream() as host:
        yield host


@pytest.fixture
def run(upstream, tmp_path, monkeypatch, capsys):
    """``batch own /x`` on the upstream, in the folder of the files: (exit status, stdout, stderr)."""
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, endpoint="/x"):
        status = cli.main(["batch", "own", endpoint, *arguments], registry=ProviderRegistry({"own": [upstream.provider()]}))
        out, err = capsys.readouterr()
        assert KEY not in out + err
        return status, out, err

    return run


NAMES = ("--from", "names.txt", "--param", "name", "--to", "out.jsonl")


def write(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def records(name="out.jsonl"):
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def answered(name="out.jsonl"):
    return sorted(record["params"]["name"] for record in records(name))


# --- in and out ---

def test_a_line_for_each_name_with_params_provider_and_data(run, upstream):
    write("names.txt", "ada\nbob\n")
    status, out, err = run(*NAMES)
    assert (status, out) == (0, "") and answered() == ["ada", "bob"]
    assert {"platform": "own", "endpoint": "/x", "params": {"name": "ada"}, "provider": "own", "stale": False, "data": {"name": "ada"}} in records()
    assert re.fullmatch(r"2 of 2: 2 fresh, 0 stale, 0 missing, 0 failed, in \d+ s\nrequests: own 2 \(quota left: not told\)\n", err)
    assert run(*NAMES, "-q")[1:] == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("content", [
    "ada\nbob\n", "ada\r\nbob\r\n", "ada\rbob\r", "\ufeffada\nbob", "\n  ada  \n\n\nbob\n\n", "ada\nbob\nada\n"],
    ids=["plain", "crlf", "cr", "bom", "blank", "twice"])
def test_a_name_a_line(run, upstream, content):
    write("names.txt", content)
    assert run(*NAMES)[0] == 0 and answered() == ["ada", "bob"] == sorted(upstream.names())


@pytest.mark.slow
@pytest.mark.parametrize("content", [
    "handle,age\nada,1\nbob,2\n", "\ufeffhandle,age\r\nada,1\r\nbob,2\r\n", "age;handle\n1;ada\n2;bob\n", "age\thandle\n1\tada\n2\tbob\n",
    '"age","handle"\n"1","ada"\n"2"," bob "\n', "\nhandle,age\n\nada,1,,\n\nbob\n", 'note,handle\n"of two\nlines",ada\n"a, b",bob\n'],
    ids=["plain", "bom and crlf", "semicolons", "tabs", "quoted", "ragged", "lines in cells"])
def test_csv_by_the_title_of_a_column(run, upstream, content):
    write("names.csv", content)
    assert run("--from", "names.csv", "--param", "name=handle", "--to", "out.jsonl")[0] == 0 and answered() == ["ada", "bob"]


@pytest.mark.parametrize("content, arguments", [
    ('{"name": "ada"}\n{"name": "bob"}', []), ('{"handle": "ada"}\n\n{"handle": "bob"}\n', ["--param", "name=handle"]),
    ('"ada"\n"bob"\n', ["--param", "name"])])
def test_json_lines(run, content, arguments):
    write("names.jsonl", content)
    assert run("--from", "names.jsonl", "--to", "out.jsonl", *arguments)[0] == 0 and answered() == ["ada", "bob"]


def test_names_may_be_anything(run, upstream):
    names = ["a,b", "two\nlines", "emoji 🎉", "größe", '"quoted"', "\u2028", "back\\slash", "%41", "a&b=c", "-x", "null"]
    write("names.jsonl", "".join(json.dumps({"name": name}) + "\n" for name in names))
    assert run("--from", "names.jsonl", "--to", "out.jsonl")[0] == 0
    assert answered() == sorted(names) == sorted(upstream.names())
    assert run("--from", "names.jsonl", "--to", "out.jsonl")[0] == 0 and len(upstream.asked) == len(names)


def test_what_cannot_be_asked_is_an_error_line_and_harms_no_other(run, upstream):
    write("names.jsonl", '{"name": {"deep": 1}}\n{"name": "\\ud800"}\n{"name": "ada"}\n')
    for _ in range(2):
        assert run("--from", "names.jsonl", "--to", "out.jsonl")[0] == (0 if _ else 1)
    assert [record["error"]["type"] for record in records() if "error" in record] == ["BadRequest"] * 2 and upstream.names() == ["ada"]


def test_several_params_and_constant_ones(run, upstream):
    write("names.csv", "handle,n\nada,3\nbob,\n,4\n")
    status, _, err = run("count=35", "--from", "names.csv", "--param", "name=handle", "--param", "n", "--to", "out.jsonl")
    assert status == 0 and sorted(upstream.asked, key=str) == [{"count": "35", "name": "ada", "n": "3"}, {"count": "35", "name": "bob"}]
    assert "1 rows without a value were left out" in err


@pytest.mark.slow
def test_from_stdin_and_other_pipes(upstream, tmp_path):
    with start(upstream, tmp_path, "--from", "-", "--param", "name", "--to", "out.jsonl", stdin=subprocess.PIPE) as process:
        _, err = process.communicate(b"ada\nbob\n", timeout=60)
    assert process.returncode == 0, err
    assert answered(tmp_path / "out.jsonl") == ["ada", "bob"]


def test_what_the_endpoint_takes_is_known_of_the_catalogues(rapidapi, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    write("names.txt", "ada\n")
    write("names.csv", "note,unique_id\nx,bob\n")
    for arguments in (["tiktok", "/user/info", "--from", "names.txt", "--to", "a"], ["tiktok", "/user/posts", "--from", "names.txt", "--to", "b"],
                      ["tiktok", "/user/info", "--from", "names.csv", "--to", "c"], ["linkedin", "/person_deep", "--from", "names.txt", "--to", "d"]):
        assert cli.main(["batch", *arguments], registry=rapidapi.registry) == 0
    assert [request.params for request in rapidapi.requests[:3]] == [{"unique_id": "ada"}, {"unique_id": "ada"}, {"unique_id": "bob"}]
    assert json.loads(rapidapi.requests[3].body) == {"link": "https://www.linkedin.com/in/ada"}


def test_a_row_of_json_without_a_name_asks_nothing(rapidapi, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    write("names.jsonl", '{"unique_id": null}\n{"unique_id": ""}\n{"unique_id": "ada", "hl": "en"}\n')
    assert cli.main(["batch", "tiktok", "/user/info", "--from", "names.jsonl", "--to", "out"], registry=rapidapi.registry) == 0
    assert [request.params for request in rapidapi.requests] == [{"unique_id": "ada", "hl": "en"}]
    assert "2 rows without a value were left out" in capsys.readouterr().err


def test_a_stdin_that_is_closed_is_wrong_usage(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    status, _, err = run("--from", "-", "--param", "name", "--to", "out.jsonl")
    assert status == 2 and "stdin is closed" in err


# --- what is wrong with it is told before anything is asked ---

@pytest.mark.slow
@pytest.mark.parametrize("content, arguments, told", [
    ("handle\nada\n", ["--from", "names.csv", "--param", "name=nick"], "names.csv has no column 'nick'; it has 'handle'"),
    ("handle\nada\n", ["--from", "names.csv"], "has no column that the endpoint takes: write --param; it has 'handle'"),
    ("", ["--from", "names.csv", "--param", "name"], "no column 'name'; it has none"),
    ("name,name\nada,bob\n", ["--from", "names.csv", "--param", "name"], "names.csv has two columns 'name'"),
    ("name\nada\nDoe, John\n", ["--from", "names.csv", "--param", "name"], "names.csv, line 3: 2 cells for 1 titles"),
    ('name\nada\n"bob\neve\n', ["--from", "names.csv", "--param", "name"], "names.csv, line 4: unexpected end of data"),
    ("name\n\n,\n", ["--from", "names.csv", "--param", "name"], "names.csv asks nothing"),
    ("\n\n", ["--from", "names.txt", "--param", "name"], "names.txt asks nothing"),
    ("ada\n", ["--from", "names.txt"], "Write --param NAME"),
    ("ada\n", ["--from", "names.txt", "--param", "a", "--param", "b"], "2 params are wanted of it"),
    ('{"name": "ada"}\n{"na', ["--from", "names.jsonl"], "names.jsonl, line 2 is no JSON"),
    ('{"name": "ada"}\n7\n', ["--from", "names.jsonl"], "line 2 is neither an object nor a text"),
    ("ada\ngr\xf6\xdfe\n".encode("latin-1"), ["--from", "names.txt", "--param", "name"], "names.txt is no UTF-8"),
    ("ada\n".encode("utf-16"), ["--from", "names.txt", "--param", "name"], "names.txt is no UTF-8"),
    ('name\n"' + "x" * 200_000 + '"\n', ["--from", "names.csv", "--param", "name"], "field larger than field limit"),
    ("ada\n", ["--from", "others.txt", "--param", "name"], "--from others.txt: No such file or directory"),
    ("ada\n", ["--from", ".", "--param", "name"], "--from .: Is a directory")])
def test_a_file_that_cannot_be_read_is_wrong_usage(run, upstream, content, arguments, told):
    write(arguments[1] if "names" in arguments[1] else "names.txt", content)
    status, out, err = run(*arguments, "--to", "out.jsonl")
    assert (status, out) == (2, "") and told in err and upstream.asked == []
    assert not os.path.exists("out.jsonl")


@pytest.mark.parametrize("target, told", [("no/such/out.jsonl", "No such file or directory"), (".", "Is a directory"), ("names.txt", "are one file"),
                                          ("./names.txt", "are one file"), ("link", "are one file"), ("other.txt", "line 1 is no answer of a batch")])
def test_an_output_that_cannot_be_is_wrong_usage_and_left_as_it_is(run, upstream, target, told):
    write("names.txt", "ada\n")
    write("other.txt", "precious\n")
    os.symlink("names.txt", "link")
    status, _, err = run("--from", "names.txt", "--param", "name", "--to", target)
    assert status == 2 and told in err and upstream.asked == []
    assert Path("names.txt").read_text() == "ada\n" and Path("other.txt").read_text() == "precious\n"


def test_the_file_that_stdin_reads_is_no_output(tmp_path):
    Path(tmp_path, "one.txt").write_text("ada")
    with open(Path(tmp_path, "one.txt")) as names:
        done = subprocess.run([sys.executable, "-m", "rapidfailover", "batch", "tiktok", "/user/info", "--from", "-", "--to", str(tmp_path / "one.txt")],
                              stdin=names, cwd=ROOT, env={**os.environ, "RAPIDAPI_KEY": KEY}, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "are one file" in done.stderr and Path(tmp_path, "one.txt").read_text() == "ada"


def test_answers_about_another_endpoint_are_no_answers(run, upstream):
    write("names.txt", "ada\n")
    run(*NAMES)
    status, _, err = run(*NAMES, endpoint="/y")
    assert status == 2 and "line 1 is about own /x; name another file" in err


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "x"], ["--rate", "0"], ["--rate", "nan"], ["--param", "=a"], ["--param", "a="], ["novalue"]])
def test_wrong_usage_is_two(arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["batch", "own", "/x", "--from", "a", "--to", "b", *arguments])
    assert caught.value.code == 2


def test_an_unknown_platform_leaves_no_file(run, tmp_path):
    write("names.txt", "ada\n")
    assert cli.main(["batch", "myspace", "/x", *NAMES]) == 2 and not os.path.exists("out.jsonl")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_ends_it_with_one_line(run, upstream):
    write("names.txt", "".join(f"n{n}\n" for n in range(1000)))
    status, _, err = run(*NAMES[:-1], "/dev/full")
    assert status == 1 and err.splitlines()[-1] == "--to /dev/full: No space left on device" and len(upstream.asked) < 50


# --- how it ends ---

def test_what_failed_is_an_error_line_and_one(run, upstream):
    upstream.statuses.update(dead=404, odd=400, private=403)
    write("names.txt", "ada\ndead\nodd\nprivate\n")
    status, _, err = run(*NAMES)
    errors = {record["params"]["name"]: record["error"] for record in records() if "error" in record}
    assert status == 1 and {name: (error["type"], error["retryable"]) for name, error in errors.items()} == {
        "dead": ("NotFound", False), "odd": ("BadRequest", False), "private": ("AllProvidersFailed", True)}
    assert "4 of 4: 1 fresh, 0 stale, 1 missing, 2 failed" in err and "the same command asks again for 1 of those that failed" in err


def test_who_is_not_found_is_answered(run, upstream):
    upstream.statuses["dead"] = 404
    write("names.txt", "ada\ndead\n")
    assert run(*NAMES)[0] == 0 and run(*NAMES)[0] == 0 and len(upstream.asked) == 2


def test_a_copy_is_three(run, upstream):
    write("names.txt", "ada\n")
    cached = ["--param", "name", "--cache", "kept"]
    run("--from", "names.txt", "--to", "first", *cached)
    upstream.statuses["ada"] = 503
    status, _, err = run("--from", "names.txt", "--to", "second", *cached)
    assert status == 3 and records("second")[0]["stale"] is True and "1 stale" in err


def test_a_key_that_is_refused_ends_it(run, upstream):
    upstream.statuses = {str(n): 401 for n in range(100)}
    write("names.txt", "".join(f"{n}\n" for n in range(100)))
    status, _, err = run(*NAMES)
    assert status == 1 and "AuthenticationFailed" in err and len(upstream.asked) < 20 and records() == []


@pytest.mark.slow
def test_the_rate_is_kept(run, upstream):
    write("names.txt", "".join(f"{n}\n" for n in range(11)))
    began = time.monotonic()
    assert run(*NAMES, "--rate", "20")[0] == 0 and time.monotonic() - began >= 10 / 20


# --- it goes on where it stopped ---

def test_who_was_answered_is_not_asked_again(run, upstream):
    write("names.txt", "ada\nbob\n")
    run(*NAMES)
    write("names.txt", "eve\nbob\nada\n")
    status, _, err = run(*NAMES)
    assert status == 0 and upstream.names()[2:] == ["eve"] and len(records()) == 3
    assert "3 of 3: 2 before, 1 fresh" in err


def test_what_failed_for_want_of_a_provider_is_asked_again_and_stands_there_once(run, upstream):
    upstream.statuses.update(bob=403, odd=400)
    write("names.txt", "ada\nbob\nodd\neve\n")
    assert run(*NAMES)[0] == 1
    os.chmod("out.jsonl", 0o640)
    upstream.statuses.clear()
    assert run(*NAMES)[0] == 0 and answered() == ["ada", "bob", "eve", "odd"] and upstream.names()[4:] == ["bob"]
    assert os.stat("out.jsonl").st_mode & 0o777 == 0o640 and sorted(os.listdir()) == ["names.txt", "out.jsonl"]


def test_it_is_mended_where_files_have_no_locks_too(run, upstream, monkeypatch):
    """As on Windows, which moves no file that is open."""
    monkeypatch.setattr(cli_answers, "fcntl", None)
    upstream.statuses["bob"] = 403
    write("names.txt", "bob\nada\neve\n")
    run(*NAMES)
    upstream.statuses.clear()
    assert run(*NAMES)[0] == 0 and answered() == ["ada", "bob", "eve"] and upstream.names()[3:] == ["bob"]


def test_it_writes_through_a_link(run, upstream):
    upstream.statuses["bob"] = 403
    write("names.txt", "ada\nbob\n")
    write("real.jsonl", "")
    os.symlink("real.jsonl", "out.jsonl")
    run(*NAMES)
    upstream.statuses.clear()
    run(*NAMES)
    assert os.path.islink("out.jsonl") and answered("real.jsonl") == ["ada", "bob"]


@pytest.mark.parametrize("kept", [0, 1, 20, -2, -1])
def test_a_torn_last_line_is_mended(run, upstream, kept):
    """A line that lacks nothing but its end counts."""
    write("names.txt", "ada\nbob\n")
    run(*NAMES, "--threads", "1")
    whole = Path("out.jsonl").read_bytes()
    first, second = whole.splitlines(True)
    write("out.jsonl", first + second[:kept])
    assert run(*NAMES)[0] == 0 and Path("out.jsonl").read_bytes() == whole
    assert upstream.names()[2:] == ([] if kept == -1 else ["bob"])


@pytest.mark.parametrize("theirs", [b'{"my": "config"}', b"ada", b"\x89PNG\r\n\x1a" + b"\0" * 3000, b'{"platform": "own", "endpoint": "/y", "params": {}'])
def test_what_somebody_else_keeps_in_one_line_is_not_taken_for_a_torn_one(run, upstream, theirs):
    write("names.txt", "ada\n")
    write("out.jsonl", theirs)
    status, _, err = run(*NAMES)
    assert status == 2 and "line 1 is no answer of a batch; name another file" in err
    assert Path("out.jsonl").read_bytes() == theirs and upstream.asked == []


def test_an_editor_may_have_been_at_it(run, upstream):
    """A byte order mark, other ends of lines, and an empty one."""
    write("names.txt", "ada\nbob\n")
    run(*NAMES)
    write("out.jsonl", b"\xef\xbb\xbf" + Path("out.jsonl").read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert run(*NAMES)[0] == 0 and len(upstream.asked) == 2 == Path("out.jsonl").read_bytes().count(b"\n")


@pytest.mark.parametrize("tail", [b"\0" * 300, b"\n\n", b"\xff\xfe", b'{"params": {"name": "eve"}'])
def test_what_a_crash_of_the_machine_leaves_is_mended(run, upstream, tail):
    write("names.txt", "ada\nbob\n")
    run(*NAMES)
    whole = Path("out.jsonl").read_bytes()
    write("out.jsonl", whole + tail)
    assert run(*NAMES)[0] == 0 and Path("out.jsonl").read_bytes() == whole and len(upstream.asked) == 2


def test_torn_and_failed_lines_are_mended_in_one(run, upstream):
    upstream.statuses["bob"] = 403
    write("names.txt", "bob\nada\n")
    run(*NAMES, "--threads", "1")
    with open("out.jsonl", "rb+") as file:
        file.truncate(os.path.getsize("out.jsonl") - 1)
    upstream.statuses.clear()
    assert run(*NAMES)[0] == 0 and answered() == ["ada", "bob"]


# --- as a process ---

DRIVER = """
import sys
from rapidfailover import ProviderConfig, ProviderRegistry
from rapidfailover.cli import main
provider = ProviderConfig("own", "own.p.rapidapi.com", 1, base_url=sys.argv[1])
sys.exit(main(["batch", "own", "/x", *sys.argv[2:]], registry=ProviderRegistry({"own": [provider]})))
"""


def start(upstream, folder, *arguments, stderr=subprocess.PIPE, stdin=None):
    return subprocess.Popen([sys.executable, "-c", DRIVER, upstream.url, *arguments], cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
                            env={**os.environ, "RAPIDAPI_KEY": KEY, "PYTHONPATH": str(ROOT)},
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def wait_for(claim, seconds=60.0):
    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_lost_and_nothing_asked_twice_but_what_was_under_way(upstream, tmp_path):
    names = [f"name{n}" for n in range(400)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    upstream.seconds = 0.004
    for part in (60, 150, 290):
        with start(upstream, tmp_path, *NAMES, "--threads", "4") as process:
            wait_for(lambda: len(upstream.asked) >= part)
            process.kill()
            process.communicate(timeout=60)
    with start(upstream, tmp_path, *NAMES, "--threads", "4") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert answered(tmp_path / "out.jsonl") == sorted(names)
    asked = upstream.names()
    assert set(asked) == set(names) and len(asked) <= len(names) + 3 * 4


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130_and_what_was_had_is_kept(upstream, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(str(n) for n in range(10_000)))
    upstream.seconds = 0.01
    with start(upstream, tmp_path, *NAMES) as process:
        wait_for(lambda: len(upstream.asked) >= 30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    had = answered(tmp_path / "out.jsonl")
    assert process.returncode == 130 and b"Traceback" not in err and len(had) >= 15
    assert f"{len(had):,} of 10,000: {len(had):,} fresh".encode() in err and b"; the same command goes on" in err


def test_where_nothing_moves_the_progress_says_what_is_waited_for():
    tally = cli_batch._Tally(total=3, before=1, blank=0)
    tally._counted_at -= 90.0
    assert tally.progress() == "1 of 3: 1 before, 0 fresh, 0 stale, 0 missing, 0 failed; waiting for a provider: no answer for 90 s"
    tally.count(Answer({}, None, NotFound("p /x: not found")))
    assert tally.progress().startswith("2 of 3: 1 before, 0 fresh, 0 stale, 1 missing, 0 failed, ")


@pytest.mark.slow
def test_two_at_a_time_do_not_write_to_one_file(upstream, tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "names.txt").write_text("ada\nbob\n")
    upstream.gate.clear()
    with start(upstream, tmp_path, *NAMES) as first:
        wait_for(lambda: upstream.asked)
        with start(upstream, tmp_path, *NAMES) as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 1 and b"another batch is writing to it" in err
        upstream.gate.set()
        first.communicate(timeout=60)
    assert first.returncode == 0 and answered(tmp_path / "out.jsonl") == ["ada", "bob"] and len(upstream.asked) == 2


def test_a_log_gets_a_line_of_how_it_goes_now_and_then(run, upstream, monkeypatch):
    monkeypatch.setattr(cli_output, "_SELDOM", 0.05)
    upstream.seconds = 0.02
    write("names.txt", "\n".join(str(n) for n in range(60)))
    *often, summary, _ = run(*NAMES)[2].splitlines()
    assert len(often) >= 2 and all(re.match(r"\d+ of 60: \d+ fresh", line) and line.count("\r") == 0 for line in often)
    assert summary.startswith("60 of 60")


def test_with_v_each_answer_is_told(run, upstream):
    upstream.statuses["dead"] = 404
    write("names.txt", "ada\ndead\n")
    err = run(*NAMES, "-v", "--threads", "1")[2]
    assert '{"name": "ada"}: asked own: 200, success' in err and '{"name": "dead"}: NotFound: own /x' in err


@pytest.mark.slow
def test_a_terminal_shows_how_it_goes(upstream, tmp_path):
    pty = pytest.importorskip("pty")
    main, other = pty.openpty()
    (tmp_path / "names.txt").write_text("\n".join(str(n) for n in range(50)))
    upstream.seconds, told = 0.2, []

    def read():
        try:
            while True:
                told.append(os.read(main, 10_000))
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with start(upstream, tmp_path, *NAMES, stderr=other) as process:
        os.close(other)
        process.communicate(timeout=120)
    reader.join(60)
    os.close(main)
    shown = b"".join(told).decode()
    assert process.returncode == 0
    assert re.search(r"\r\d+ of 50: \d+ fresh, 0 stale, 0 missing, 0 failed, [\d.]+ a second, \d+ s left", shown)
    assert re.search(r"\r +\r50 of 50: 50 fresh", shown)


@pytest.mark.slow
def test_a_reader_of_the_answers_that_had_enough_is_no_traceback(upstream, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(200))))
    with start(upstream, tmp_path, *NAMES[:-1], "/dev/stdout") as process:
        assert json.loads(process.stdout.readline())["provider"] == "own"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read() and process.wait(60) == 141


@pytest.mark.slow
def test_a_reader_of_stderr_that_had_enough_is_no_traceback(upstream, tmp_path):
    (tmp_path / "names.txt").write_text("ada\n")
    with start(upstream, tmp_path, *NAMES) as process:
        process.stderr.close()
        assert process.stdout.read() == b"" and process.wait(60) in (0, 141)
    assert answered(tmp_path / "out.jsonl") == ["ada"]
