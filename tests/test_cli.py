"""The command line: what it prints where, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import KEY

from rapidfailover import MATRIX, AllProvidersFailed, FailoverClient, cli

ROOT = Path(__file__).parent.parent
USER = ["call", "tiktok", "/user/info", "unique_id=ada"]
TIKTOK = ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm")


@pytest.fixture
def run(rapidapi, monkeypatch, capsys):
    """Runs a command on the local RapidAPI: (exit status, stdout, stderr)."""
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)

    def run(*arguments):
        status = cli.main(arguments, registry=rapidapi.registry)
        out, err = capsys.readouterr()
        return status, out, re.sub(r"\d\.\d s$", "N s", err, flags=re.MULTILINE)  # how long it took is not the subject

    return run


# --- call ---

def test_data_goes_to_stdout_and_what_happened_to_stderr(rapidapi, run):
    rapidapi.fail("tiktok-scraper7", 404)
    status, out, err = run(*USER)
    assert status == 0 and json.loads(out)["data"]["user"]["uniqueId"] == "ada" and "\n  " in out
    assert err.splitlines()[0] == "asked tiktok-scraper7: 404, not found (Not Found), N s"
    assert err.splitlines()[-1] == "fresh from tiktok-feature, after N s"


def test_json_is_one_line_for_programs(run):
    status, out, _ = run(*USER, "--json")
    assert status == 0 and out.count("\n") == 1 and json.loads(out)["code"] == 0


def test_cron_gets_a_fresh_copy_and_then_a_stale_one_with_its_age(rapidapi, run, tmp_path):
    cached = [*USER, "--cache", str(tmp_path / "copies")]
    status, fresh, err = run(*cached)
    assert status == 0 and err == "asked tiktok-scraper7: 200, success, N s\nfresh from tiktok-scraper7, after N s\n"
    for name in TIKTOK:
        rapidapi.refuse(name)
    status, stale, err = run(*cached)
    assert status == 3 and stale == fresh
    assert "asked tiktok-feature: no answer, unavailable (" in err and "refused" in err
    assert err.splitlines()[-1].startswith("STALE: a copy ") and err.endswith(" s old, from tiktok-scraper7\n")


def test_quiet_says_nothing_of_a_fresh_answer_and_all_of_the_rest(rapidapi, run, tmp_path):
    cached = [*USER, "--quiet", "--cache", str(tmp_path / "copies")]
    rapidapi.fail("tiktok-scraper7", 404)
    status, out, err = run(*cached)
    assert status == 0 and json.loads(out) and err == ""
    for name in TIKTOK:
        rapidapi.refuse(name)
    status, _, err = run(*cached)
    assert status == 3 and len(err.splitlines()) == 4 and "STALE: a copy " in err
    assert run(*USER, "-q")[0] == 1 and run(*USER, "-q")[2]


def test_nobody_and_no_copy_is_one(rapidapi, run):
    for name in TIKTOK:
        rapidapi.registry.hold("tiktok", name, 60)
    status, out, err = run(*USER)
    assert (status, out) == (1, "") and err.startswith("NoProvidersAvailable: tiktok /user/info")


def test_a_missing_key_is_one(run, monkeypatch):
    monkeypatch.delenv("RAPIDAPI_KEY")
    status, _, err = run(*USER)
    assert status == 1 and "set RAPIDAPI_KEY" in err


@pytest.mark.parametrize("arguments", [["call", "myspace", "/x"], ["call", "tiktok", "user/info"], ["health", "myspace"]])
def test_a_name_that_is_none_is_wrong_usage(run, arguments):
    assert run(*arguments)[0] == 2


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["call", "tiktok"], ["call", "tiktok", "/x", "novalue"],
                                       ["call", "tiktok", "/x", "=value"], ["demo", "--fast"]])
def test_wrong_usage_is_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2 and "usage: " in capsys.readouterr().err


def test_a_name_given_twice_is_a_list(rapidapi, run):
    run("call", "tiktok", "/user/info", "unique_id=ada", "a=1", "a=2=3")
    assert rapidapi.requests[0].params == {"unique_id": "ada", "a": "2=3"}


def test_the_key_is_printed_nowhere(rapidapi, run):
    for name in TIKTOK:
        rapidapi.fail(name, 401)
    assert KEY not in "".join(map(str, run(*USER)))


@pytest.mark.parametrize("encoding, expected", [("utf-8", "größe"), ("ascii", "gr\\u00f6\\u00dfe"), ("cp1252", "gr\\u00f6\\u00dfe")])
def test_what_is_printed_fits_the_stream_and_steers_no_terminal(encoding, expected, monkeypatch):
    monkeypatch.setattr(cli.sys, "stdout", type("Stream", (), {"encoding": encoding})())
    text = cli._as_json({"größe": "\x1b[2J\x9b2J\x7f"}, None)
    assert expected in text and text.isprintable() and json.loads(text) == {"größe": "\x1b[2J\x9b2J\x7f"}
    assert cli._as_json(["\ud800"], None) == '["\\ud800"]'


# --- the others ---

def test_health_is_a_table_and_one_when_somebody_is_ill(rapidapi, run):
    status, out, _ = run("health", "tiktok", "youtube")
    assert status == 0 and out.splitlines()[0].split() == ["platform", "provider", "status", "quota", "left"]
    assert all("9,999 of 10,000, resets in 30 d" in line for line in out.splitlines()[1:])
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["tiktok", name, "healthy"] for name in TIKTOK] + [
        ["youtube", "yt-api", "healthy"]]
    rapidapi.fail("yt-api", 403)
    status, out, _ = run("health", "youtube")
    assert status == 1 and "unhealthy  9,999 of 10,000, resets in 30 d  yt-api: 403 forbidden" in out


def test_a_quota_is_told_as_far_as_it_is_known():
    assert cli._quota(None) == cli._quota({"limit": 5, "remaining": None, "reset": None}) == "not told"
    assert cli._quota({"limit": None, "remaining": 0, "reset": 90.0}) == "0, resets in 90 s"
    assert [cli._span(seconds) for seconds in (119, 120, 7200, 200_000)] == ["119 s", "2 min", "2 h", "2 d"]


def test_help_says_what_a_health_check_costs(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["health", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert caught.value.code == 0 and "288 calls a day for each, 2,592 in all" in told


def test_providers_come_in_order_with_what_is_advised(capsys):
    assert cli.main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split(None, 4) == ["tiktok", "1", "tiktok-scraper7", "ok", "keep (primary): best coverage, stable"]
    assert [line.split()[2] for line in lines[1:4]] == list(TIKTOK)
    assert "disabled  subscribe: need to subscribe" in lines[-1]


def test_the_matrix_is_printed_as_it_is(capsys):
    assert cli.main(["matrix"]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    yes = {True: "yes", False: "no"}
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        [str(status), rule.action, yes[rule.retry], yes[rule.switch], yes[rule.fault]] for status, rule in MATRIX.items()]


def test_the_demo_does_what_it_prints():
    done = subprocess.run([sys.executable, "-m", "rapidfailover", "demo"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for told in ("1. The primary answers.", "-> ada.example, fresh from tiktok-scraper7", "tiktok-scraper7: 503, unavailable",
                 "fresh from tiktok-feature", "a copy ", "one refresh is queued", "the refresh landed after",
                 "Everything happened as printed."):
        assert told in done.stdout


def test_the_demo_says_so_and_fails_when_a_step_does_not_happen(monkeypatch, capsys):
    monkeypatch.setattr(FailoverClient, "pending_refreshes", property(lambda self: 0))
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr().out
    assert "NOT as it should be: 4. All fail" in printed and "Everything happened" not in printed


def test_a_call_that_fails_in_the_demo_is_a_failure_of_the_demo(monkeypatch, capsys):
    def fail(self, *question):
        raise AllProvidersFailed("nobody")

    monkeypatch.setattr(FailoverClient, "call", fail)
    assert cli.main(["demo"]) == 1
    assert "tiktok-scraper7 answers; instead: nobody" in capsys.readouterr().out


# --- as a process ---

DRIVER = """
import sys
from rapidfailover import ProviderConfig, ProviderRegistry
from rapidfailover.cli import main
provider = ProviderConfig("tiktok-scraper7", "tiktok-scraper7.p.rapidapi.com", 1, base_url=sys.argv[1])
sys.exit(main(sys.argv[2:], registry=ProviderRegistry({"tiktok": [provider]})))
"""


def start(rapidapi, *arguments, **options):
    url = rapidapi.providers["tiktok"][0].base_url
    return subprocess.Popen([sys.executable, "-c", DRIVER, url, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env={**os.environ, "RAPIDAPI_KEY": KEY, **options},
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def test_ctrl_c_ends_it_with_130_and_no_traceback(rapidapi):
    rapidapi.fail("tiktok-scraper7", "hang")
    process = start(rapidapi, *USER)
    until = time.monotonic() + 20
    while not rapidapi.requests and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_reader_that_had_enough_is_no_traceback(rapidapi):
    process = start(rapidapi, "call", "tiktok", "/user/posts", "unique_id=ada", "count=35")
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read() and process.wait(10) == 141
    process.stderr.close()


def test_in_a_pipe_with_a_poor_encoding_it_is_still_json(rapidapi):
    process = start(rapidapi, "call", "tiktok", "/user/info", "unique_id=größe", PYTHONIOENCODING="ascii")
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and json.loads(out)["data"]["user"]["uniqueId"] == "größe"


def test_it_runs_as_a_module_and_names_itself_so():
    done = subprocess.run([sys.executable, "-m", "rapidfailover", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m rapidfailover ")
    for command in ("call", "health", "providers", "matrix", "demo"):
        assert re.search(rf"^    {command}\s", done.stdout, re.MULTILINE)


# --- odd outputs and inputs ---

def test_a_secondary_in_a_dialect_of_its_own_is_asked_too(rapidapi, run):
    rapidapi.fail("instagram-looter2", 503)
    status, _, err = run("call", "instagram", "/profile", "username=ada")
    assert status == 0 and "fresh from instagram-stats" in err
    status, _, err = run("call", "linkedin", "/person_deep", "link=https://www.linkedin.com/in/ada")
    assert status == 0 and json.loads(rapidapi.requests[-1].body) == {"link": "https://www.linkedin.com/in/ada"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("redirect, status", [(">/dev/full", 1), (">&-", 0)])
def test_an_output_that_takes_nothing_is_no_traceback(redirect, status):
    done = subprocess.run(f"{sys.executable} -m rapidfailover matrix {redirect}", shell=True, cwd=ROOT, stderr=subprocess.PIPE)
    assert done.returncode == status and b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


def test_an_argument_that_is_no_utf8_is_wrong_usage(run):
    with pytest.raises(SystemExit) as caught:
        run("call", "tiktok", "/user/info", "unique_id=\udcff")
    assert caught.value.code == 2


def test_words_that_the_terminal_cannot_show_are_escaped():
    code = "from rapidfailover import cli; cli._table(('a',), [('\u5fd9',)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"\\u5fd9" in done.stdout
