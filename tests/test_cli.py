"""The command line: what it prints where, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import KEY

import rapidfailover
from rapidfailover import MATRIX, AllProvidersFailed, FailoverClient, ProviderRegistry, cli, cli_calls, cli_output
from rapidfailover.testing import local_registry

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


@pytest.mark.slow
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


@pytest.mark.slow
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
    monkeypatch.setattr(cli_output.sys, "stdout", type("Stream", (), {"encoding": encoding})())
    text = cli_output.as_json({"größe": "\x1b[2J\x9b2J\x7f"}, None)
    assert expected in text and text.isprintable() and json.loads(text) == {"größe": "\x1b[2J\x9b2J\x7f"}
    assert cli_output.as_json(["\ud800"], None) == '["\\ud800"]'


# --- get ---

def test_get_asks_for_what_bears_the_name(rapidapi, run):
    for platform, name, asked in (("tiktok", "ada", {"unique_id": "ada"}), ("youtube", "x1", {"id": "x1"}), ("twitter", "ada", {"screenname": "ada"})):
        assert run("get", platform, name)[0] == 0 and rapidapi.requests[-1].params == asked
    status, out, err = run("get", "tiktok", "ada", "--json", "-q")
    assert status == 0 and json.loads(out)["data"]["user"]["uniqueId"] == "ada" and out.count("\n") == 1 and err == ""


def test_a_name_that_begins_with_a_dash_stands_behind_two(rapidapi, run):
    assert run("get", "youtube", "--", "-x1")[0] == 0 and rapidapi.requests[-1].params == {"id": "-x1"}


def test_of_some_platforms_nothing_is_known_by_name(run):
    status, out, err = run("get", "threads", "ada")
    assert (status, out) == (2, "") and "of 'threads' nothing is known by name" in err


def test_what_nobody_has_is_four(rapidapi, run):
    for name in TIKTOK:
        rapidapi.fail(name, 404)
    for arguments in (["get", "tiktok", "ada"], USER, ["pages", "tiktok", "/user/posts", "unique_id=ada"]):
        status, out, err = run(*arguments)
        assert (status, out) == (4, "") and "NotFound: tiktok /user/" in err


# --- pages ---

POSTS = ["pages", "tiktok", "/user/posts", "unique_id=ada"]


def three_pages(params):
    number = int(params.get("cursor", 0))
    return {"code": 0, "data": {"videos": [{"video_id": str(number)}], "hasMore": number < 2, "cursor": number + 1}}


def test_pages_are_lines_of_json(rapidapi, run):
    rapidapi.answer("tiktok-scraper7", "/user/posts", three_pages)
    status, out, err = run(*POSTS)
    assert status == 0 and [json.loads(line)["data"]["videos"][0]["video_id"] for line in out.splitlines()] == ["0", "1", "2"]
    assert err.splitlines()[-1] == "page 3: fresh from tiktok-scraper7, after N s"
    status, out, err = run(*POSTS, "--limit", "2", "-q")
    assert status == 0 and out.count("\n") == 2 and err == ""


def test_a_page_that_fails_is_one_after_those_that_were_had(rapidapi, run):
    rapidapi.answer("tiktok-scraper7", "/user/posts", lambda params: (403, {}) if params.get("cursor") == "2" else three_pages(params))
    status, out, err = run(*POSTS)
    assert status == 1 and out.count("\n") == 2 and "after 2 pages: AllProvidersFailed: " in err


@pytest.mark.slow
def test_a_page_of_a_copy_is_three(rapidapi, run, tmp_path):
    cached = [*POSTS, "--limit", "1", "--cache", str(tmp_path), "-q"]
    assert run(*cached)[::2] == (0, "")
    for name in TIKTOK:
        rapidapi.refuse(name)
    status, out, err = run(*cached)
    assert status == 3 and out and "page 1: STALE: a copy" in err


@pytest.mark.slow
def test_each_page_is_out_before_the_next_is_asked_for(rapidapi):
    asked = threading.Event()

    def answer(params):
        asked.wait(0 if "cursor" not in params else 60)
        return three_pages(params)

    rapidapi.answer("tiktok-scraper7", "/user/posts", answer)
    with start_all(rapidapi, *POSTS) as process:
        assert json.loads(process.stdout.readline())["data"]["cursor"] == 1
        process.stdout.close()  # as `| head -1` does
        asked.set()
        assert "Traceback" not in process.stderr.read() and process.wait(60) == 141


# --- what all commands take ---

@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["-v", *USER], [*USER, "-v"], [*USER[:-1], "-v", USER[-1]]])
def test_options_stand_before_the_command_or_behind_it(rapidapi, run, arguments):
    rapidapi.fail("tiktok-scraper7", 503)
    status, _, err = run(*arguments)
    assert status == 0 and "WARNING: tiktok /user/info: tiktok-scraper7: 503 unavailable" in err
    assert rapidapi.requests[-1].params == {"unique_id": "ada"} and KEY not in err


def test_without_v_the_log_is_not_told(rapidapi, run):
    run("-v", *USER)
    rapidapi.fail("tiktok-scraper7", 503)
    assert "WARNING" not in run(*USER)[2]


def test_every_command_takes_the_common_options():
    for command in (["get", "tiktok", "ada"], USER, POSTS, ["batch", "tiktok", "/x", "--from", "a", "--to", "b"], ["providers"],
                    ["endpoints"], ["verify"], ["health"], ["matrix"], ["demo"], ["fake"]):
        for arguments in ([*command, "--timeout", "3", "--deadline", "4", "--cache", "d", "-v"], ["--timeout", "3", "--deadline", "4", "--cache", "d", "-v", *command]):
            found = cli._parsed(arguments)
            assert (found.timeout, found.deadline, found.cache, found.verbose) == (3.0, 4.0, "d", True)
    assert cli._parsed(["matrix"]).timeout is None and not cli._parsed(["matrix"]).verbose


@pytest.mark.parametrize("option", [["--timeout", "0"], ["--timeout", "x"], ["--deadline", "inf"], ["--deadline", "-1"], ["--cache", ""]])
def test_an_option_that_makes_no_sense_is_wrong_usage(option):
    with pytest.raises(SystemExit) as caught:
        cli.main([*option, *USER])
    assert caught.value.code == 2


@pytest.mark.slow
def test_a_timeout_is_that_of_each_attempt_and_a_deadline_that_of_the_call(rapidapi, run):
    for name in TIKTOK:
        rapidapi.fail(name, "hang")
    for options in (["--timeout", "0.3"], ["--deadline", "0.6"]):
        began = time.monotonic()
        assert run(*USER, *options)[0] == 1 and time.monotonic() - began < 10


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"rapidfailover {rapidfailover.__version__}\n"


# --- what one run has learnt, the next knows ---

@pytest.mark.slow
def test_a_provider_whose_plan_is_used_up_is_left_alone_by_the_next_runs(rapidapi, tmp_path):
    """Each run is a process, as a line of cron makes it."""
    rapidapi.fail("tiktok-scraper7", "quota")
    runs = [run_all(rapidapi, *USER, "--cache", str(tmp_path / "kept")) for _ in range(4)]
    assert [code for code, _, _ in runs] == [0] * 4
    asked = [request.provider for request in rapidapi.requests]
    assert asked == ["tiktok-scraper7"] + ["tiktok-feature"] * 4
    code, out, _ = run_all(rapidapi, "health", "tiktok", "--cache", str(tmp_path / "kept"))
    assert code == 1 and re.search("tiktok-scraper7 +unhealthy .* 0 of 10,000 .*its plan is used up for", out)


@pytest.mark.slow
def test_a_provider_that_hangs_is_left_alone_by_the_next_runs(rapidapi, tmp_path):
    """A run asks once: three faults would be three runs that each wait."""
    rapidapi.fail("tiktok-scraper7", "hang")
    for _ in range(8):
        assert run_all(rapidapi, *USER, "--cache", str(tmp_path), "--timeout", "0.3")[0] == 0
    assert [request.provider for request in rapidapi.requests] == ["tiktok-scraper7"] + ["tiktok-feature"] * 8


@pytest.mark.slow
def test_an_answer_that_cannot_be_used_is_asked_for_again_by_the_next_runs(rapidapi, tmp_path):
    """One bad name takes no provider from the other names."""
    rapidapi.fail("tiktok-scraper7", 500)
    for _ in range(2):
        assert run_all(rapidapi, *USER, "--cache", str(tmp_path))[0] == 0
    assert {"tiktok-scraper7"} == {request.provider for request in rapidapi.requests[:1]} == {request.provider for request in rapidapi.requests[-2:-1]}


def test_a_machine_that_is_slow_costs_no_run_what_others_have_learnt(rapidapi, run, tmp_path, monkeypatch):
    """A call in a server would not wait for so long."""
    rapidapi.fail("tiktok-scraper7", "quota")
    run(*USER, "--cache", str(tmp_path))
    monkeypatch.setattr("rapidfailover.link._PATIENCE", 0.0)
    monkeypatch.setattr(rapidapi, "registry", ProviderRegistry(rapidapi.providers))  # knows nothing yet
    assert run(*USER, "--cache", str(tmp_path))[0] == 0
    assert [request.provider for request in rapidapi.requests] == ["tiktok-scraper7", "tiktok-feature", "tiktok-feature"]


@pytest.mark.slow
def test_what_is_left_of_a_plan_is_known_to_the_next_run(rapidapi, tmp_path):
    rapidapi.quota("tiktok-scraper7", 41)
    run_all(rapidapi, *USER, "--cache", str(tmp_path))
    _, out, _ = run_all(rapidapi, "providers", "--json", "--cache", str(tmp_path))
    assert json.loads(out)[0]["subscribed"] is True and json.loads(out)[1]["subscribed"] is None


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/here"])
def test_a_directory_that_takes_nothing_is_told_and_fails_no_call(run, tmp_path, place):
    (tmp_path / "a-file").write_text("x")
    status, out, err = run(*USER, "--cache", str(tmp_path / place))
    assert status == 0 and json.loads(out) and "nothing is kept there" in err.splitlines()[0]


def test_a_python_without_sqlite_keeps_copies_alone(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfailover.sqlite", None)
    status, _, err = run(*USER, "--cache", str(tmp_path))
    assert status == 0 and "only copies are kept there" in err and len(os.listdir(tmp_path)) == 1


def test_a_learnt_file_that_is_broken_fails_no_call(run, tmp_path):
    (tmp_path / "learnt.sqlite").write_bytes(b"no database" * 1000)
    assert run(*USER, "--cache", str(tmp_path))[0] == 0
    assert "the store does not answer" in run(*USER, "--cache", str(tmp_path), "-v")[2]


# --- who waits, is told for whom ---

@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_a_terminal_says_who_is_being_asked(rapidapi):
    import pty
    main, other = pty.openpty()
    rapidapi.fail("tiktok-scraper7", "hang")
    with start(rapidapi, *USER, stderr=other) as process:
        os.close(other)
        told = b""
        until = time.monotonic() + 30
        while b"asking tiktok-scraper7 \xe2\x80\xa6 " not in told and time.monotonic() < until:
            told += os.read(main, 1000)
        rapidapi.recover()
        process.communicate(timeout=30)
    told += os.read(main, 1000)
    os.close(main)
    assert b"asking tiktok-scraper7 \xe2\x80\xa6 " in told and b"fresh from" in told.split(b"\r")[-2]


# --- the others ---

def columns(line):
    return re.split("  +", line)


def test_health_is_a_table_with_titles_and_one_when_somebody_is_ill(rapidapi, run):
    rapidapi.registry.add("own", replace(rapidapi.providers["youtube"][0], rate=5), probe=("/video/info", {"id": "a"}))
    status, out, _ = run("health", "tiktok", "own")
    titles, *rows = map(columns, out.splitlines())
    assert status == 0 and titles == ["platform", "provider", "status", "latency", "pace", "requests", "quota left", "resets in", "detail"]
    assert [row[:3] for row in rows] == [["tiktok", name, "healthy"] for name in TIKTOK] + [["own", "yt-api", "healthy"]]
    assert all(re.fullmatch(r"\d+ ms", row[3]) and row[5:] == ["1", "9,999 of 10,000", "30 d"] for row in rows[:3])
    assert [row[4] for row in rows] == ["not known"] * 3 + ["5 in 1 s"]
    rapidapi.fail("yt-api", 403)
    status, out, _ = run("health", "youtube")
    assert status == 1 and "unhealthy" in out and "yt-api: 403 forbidden" in out


def test_a_quota_is_told_as_far_as_it_is_known():
    assert cli_calls.quota_text(None) == cli_calls.quota_text({"limit": 5, "remaining": None, "reset": None}) == "not told"
    assert cli_calls.quota_text({"limit": None, "remaining": 0, "reset": 90.0}) == "0"
    assert [cli_output.span(seconds) for seconds in (119, 120, 7200, 200_000)] == ["119 s", "2 min", "2 h", "2 d"]


def test_help_says_what_a_health_check_costs(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["health", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    enabled = [state["enabled"] for members in ProviderRegistry().snapshot().values() for state in members.values()].count(True)
    assert caught.value.code == 0 and f"288 calls a day for each, {288 * enabled:,} in all" in told


def test_providers_come_in_order_with_what_is_advised(capsys):
    assert cli.main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["platform", "provider", "status", "subscribed", "host", "page", "advice"]
    assert re.split(r"  +", lines[1]) == [
        "tiktok", "1", "tiktok-scraper7", "ok", "not known", "tiktok-scraper7.p.rapidapi.com",
        "https://rapidapi.com/tikwm-tikwm-default/api/tiktok-scraper7", "keep (primary): best coverage, stable"]
    assert [line.split()[2] for line in lines[1:4]] == list(TIKTOK)
    disabled, = [line for line in lines if " disabled " in line]
    assert disabled.split()[2] == "threads-api4" and disabled.endswith("subscribe: need to subscribe")


def test_providers_for_programs_are_json_and_tell_who_answered_with_a_plan(rapidapi, run):
    run(*USER, "-q")
    status, out, _ = run("providers", "--json")
    first, second = json.loads(out)[:2]
    assert status == 0 and (first["provider"], first["subscribed"]) == ("tiktok-scraper7", True)
    assert (second["host"], second["page"], second["subscribed"]) == ("tiktok-video-feature-summary.p.rapidapi.com", None, None)


# --- endpoints and fake ---

def test_endpoints_tell_params_who_serves_them_what_comes_and_how_sure_that_is(run):
    status, out, _ = run("endpoints", "instagram")
    assert status == 0 and out.startswith("instagram /profile  (GET, B)\n  params: username\n"
                                          "  served by: instagram-looter2 (B), instagram-stats (B)\n  A status: bool or text\n")
    assert "  params: id, [count], [max_id]\n  served by: instagram-looter2 (B)\n  pages: by max_id\n" in out and "tiktok" not in out
    status, out, _ = run("endpoints")
    assert status == 0 and "linkedin /person_deep  (POST, B)" in out and "threads-api4 (B), disabled" in out
    assert run("endpoints", "myspace")[0] == 2


@pytest.mark.slow
def test_the_fake_serves_until_it_is_interrupted(rapidapi):
    process = start(rapidapi, "fake", "--port", "0")
    try:
        url = process.stdout.readline().split()[0].decode()
        with FailoverClient(local_registry(url), api_key="any", refresh=False) as client:
            assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).data["data"]["user"]["uniqueId"] == "ada"
        taken = subprocess.run([sys.executable, "-m", "rapidfailover", "fake", "--port", url.rpartition(":")[2]],
                               cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert taken.returncode == 1 and "cannot be served" in taken.stderr and "Traceback" not in taken.stderr
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")


def test_the_matrix_is_printed_as_it_is(capsys):
    assert cli.main(["matrix"]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    yes = {True: "yes", False: "no"}
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        [str(status), rule.action, yes[rule.retry], yes[rule.switch], yes[rule.fault]] for status, rule in MATRIX.items()]


@pytest.mark.slow
def test_the_demo_does_what_it_prints():
    done = subprocess.run([sys.executable, "-m", "rapidfailover", "demo"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for told in ("1. The primary answers.", "-> ada.example, fresh from tiktok-scraper7", "tiktok-scraper7: 503, unavailable",
                 "fresh from tiktok-feature", "a copy ", "one refresh is queued", "the refresh landed after",
                 "Everything happened as printed."):
        assert told in done.stdout


@pytest.mark.slow
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


def start(rapidapi, *arguments, stderr=subprocess.PIPE, **options):
    url = rapidapi.providers["tiktok"][0].base_url
    return subprocess.Popen([sys.executable, "-c", DRIVER, url, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=stderr, env={**os.environ, "PYTHONIOENCODING": "utf-8", "RAPIDAPI_KEY": KEY, **options},
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


ALL = """
import json, sys
from dataclasses import replace
from rapidfailover import ProviderRegistry
from rapidfailover.catalog import PROVIDERS
from rapidfailover.cli import main
urls = json.loads(sys.argv[1])
sys.exit(main(sys.argv[2:], registry=ProviderRegistry({
    platform: [replace(provider, base_url=urls[provider.name]) for provider in members] for platform, members in PROVIDERS.items()})))
"""


def start_all(rapidapi, *arguments):
    """A process with all providers of the local RapidAPI."""
    urls = json.dumps({provider.name: provider.base_url for members in rapidapi.providers.values() for provider in members})
    return subprocess.Popen([sys.executable, "-c", ALL, urls, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "RAPIDAPI_KEY": KEY}, encoding="utf-8")


def run_all(rapidapi, *arguments):
    """(exit status, stdout, stderr) of such a process."""
    with start_all(rapidapi, *arguments) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130_and_no_traceback(rapidapi):
    rapidapi.fail("tiktok-scraper7", "hang")
    process = start(rapidapi, *USER)
    until = time.monotonic() + 20
    while not rapidapi.requests and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.slow
def test_a_reader_that_had_enough_is_no_traceback(rapidapi):
    process = start(rapidapi, "call", "tiktok", "/user/posts", "unique_id=ada", "count=35")
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read() and process.wait(10) == 141
    process.stderr.close()


@pytest.mark.slow
def test_in_a_pipe_with_a_poor_encoding_it_is_still_json(rapidapi):
    process = start(rapidapi, "call", "tiktok", "/user/info", "unique_id=größe", PYTHONIOENCODING="ascii")
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and json.loads(out)["data"]["user"]["uniqueId"] == "größe"


@pytest.mark.slow
def test_it_runs_as_a_module_and_names_itself_so():
    done = subprocess.run([sys.executable, "-m", "rapidfailover", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m rapidfailover ")
    for command in ("get", "call", "pages", "batch", "health", "providers", "endpoints", "verify", "fake", "matrix", "demo"):
        assert re.search(rf"^    {command}\s", done.stdout, re.MULTILINE)


# --- odd outputs and inputs ---

def test_a_secondary_in_a_dialect_of_its_own_is_asked_too(rapidapi, run):
    rapidapi.fail("instagram-looter2", 503)
    status, _, err = run("call", "instagram", "/profile", "username=ada")
    assert status == 0 and "fresh from instagram-stats" in err
    status, _, err = run("call", "linkedin", "/person_deep", "link=https://www.linkedin.com/in/ada")
    assert status == 0 and json.loads(rapidapi.requests[-1].body) == {"link": "https://www.linkedin.com/in/ada"}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_stderr_that_takes_nothing_withholds_no_data():
    code = ("import sys; from rapidfailover.cli import main; from rapidfailover.testing import FakeRapidAPI\n"
            "with FakeRapidAPI() as fake: status = main(['get', 'twitter', 'ada'], registry=fake.registry)\n"
            "sys.exit(status)")
    done = subprocess.run(f"{sys.executable} -c \"$CODE\" 2>/dev/full", shell=True, cwd=ROOT, stdout=subprocess.PIPE,
                          env={**os.environ, "CODE": code, "RAPIDAPI_KEY": KEY})
    assert done.returncode == 0 and json.loads(done.stdout)["profile"]


@pytest.mark.slow
def test_the_local_rapidapi_serves_without_a_stdout():
    """As a service does."""
    with subprocess.Popen(f"exec {sys.executable} -m rapidfailover fake --port 0 >&-", shell=True, cwd=ROOT, stderr=subprocess.PIPE) as serving:
        with pytest.raises(subprocess.TimeoutExpired):
            serving.wait(3)
        serving.terminate()
        assert serving.communicate(timeout=20)[1] == b""


@pytest.mark.slow
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
    code = "from rapidfailover import cli_output; cli_output.table(('a',), [('\u5fd9',)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"\\u5fd9" in done.stdout
