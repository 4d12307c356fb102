"""The README is held to the code: its blocks run, its tables are the code's."""

import inspect
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import responses

import rapidfailover
from rapidfailover import MATRIX, AuthenticationFailed, FailoverClient, LRUTTLCache, ProviderRegistry, api
from rapidfailover.testing import _ENVELOPES, _FAULTS, _GATEWAY, FakeRapidAPI

ROOT = Path(__file__).parent.parent
APPS = ROOT / "tests" / "apps"
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = {path.read_text(encoding="utf-8"): path.stem for path in APPS.glob("*_*.py")}  # run by test_servers
BLOCKS = [(code, output) for code, output in re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, re.DOTALL)
          if code not in FILES]
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
CRONTAB, = re.findall(r"```crontab\n(.*?)```", README, re.DOTALL)


def table(head):
    """The cells of the table whose header line begins like this."""
    lines = README[README.index(f"| {head}"):].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def weather(mock):
    """The two hosts of the example of providers of your own: the first is down."""
    mock.add_passthru("http://127.0.0.1")
    mock.get("https://sunny-weather.p.rapidapi.com/current", status=503)
    mock.get("https://rainy-weather.p.rapidapi.com/v2/now", json={"place": "Oslo", "fahrenheit": 41})


@pytest.mark.parametrize("code, output", BLOCKS)
def test_a_block_runs_and_prints_what_it_says(code, output):
    if "rapidfailover.redis" in code:
        pytest.importorskip("redis")
    with FakeRapidAPI() as rapidapi, responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        weather(mock)
        rapidfailover.configure(registry=rapidapi.registry, api_key="not-a-real-key")
        printed, names = StringIO(), {}
        try:
            with redirect_stdout(printed):
                exec(code, names)
                for name, value in list(names.items()):
                    if name.startswith("test_"):
                        value()
        finally:
            api._default.client.close()
            api._default.client = api._default.registry = None
    assert printed.getvalue() == output


def test_there_are_blocks_and_some_show_their_output():
    assert len(BLOCKS) >= 6 and sum(bool(output) for _, output in BLOCKS) >= 3
    assert len(re.findall("^```", README, re.MULTILINE)) / 2 == len(
        BLOCKS) + len(FILES) + len(CONSOLE) + sum(bool(output) for _, output in BLOCKS) + 2  # the crontab, the drawing


@pytest.mark.parametrize("code", FILES, ids=FILES.get)
def test_the_apps_stand_there_as_they_are_run(code):
    assert f"```python\n{code}```" in README


@pytest.fixture
def shell(tmp_path):
    """Runs a command in an empty home: (exit status, stdout, stderr). Its rapidfailover asks the local RapidAPI."""
    with FakeRapidAPI() as rapidapi:
        providers = [(config.name, config.base_url) for config in rapidapi.providers["tiktok"]]
        command = tmp_path / "venv" / "bin" / "rapidfailover"
        command.parent.mkdir(parents=True)
        command.write_text(f"#!/bin/sh\nexec {sys.executable} -W ignore -m served \"$@\"\n")
        command.chmod(0o755)
        told = {**os.environ, "HOME": str(tmp_path), "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": f"{ROOT}{os.pathsep}{APPS}", "PROVIDERS": json.dumps(providers), "APP": "rapidfailover.__main__"}
        told.pop("RAPIDAPI_KEY", None)

        def run(line, **more):
            done = subprocess.run(line, shell=True, cwd=tmp_path, env={**told, **more}, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout, done.stderr

        run.rapidapi = rapidapi
        yield run


def without_numbers(text):
    return re.sub(r"\d+(\.\d)? s", "N s", text)


def test_what_is_typed_at_a_prompt_does_what_stands_there(shell, tmp_path):
    """The lines for rapidfailover are typed in an empty home; of the others is known what they name."""
    targets = re.findall("^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in CONSOLE:
        for command, expected in re.findall(r"\$ (.*)\n((?:[^$].*\n)*)", block):
            words = command.split()
            if "call" in words:
                if "STALE" in expected:
                    shell.rapidapi.fail("tiktok-scraper7", 503)
                    shell.rapidapi.fail("tiktok-feature", 500)
                    shell.rapidapi.refuse("tiktok-tikwm")
                status, out, err = shell(command, RAPIDAPI_KEY="not-a-real-key")
                assert status == (3 if "STALE" in expected else 0) and (not expected or without_numbers(err) == without_numbers(expected))
                assert json.loads(out or (tmp_path / "profile.json").read_text())["data"]["user"]["uniqueId"] == "tiktok"
            elif words[0] == "make":
                assert words[1] in targets
            elif words[0].endswith(("gunicorn", "celery")):
                assert (APPS / f"{re.search('[a-z]+_[a-z]+', command).group()}.py").exists()
            else:
                assert re.match("export RAPIDAPI_KEY=|python3 -m venv venv$|venv/bin/pip install ", command), command


def test_the_crontab_mails_nothing_while_answers_are_fresh(shell, tmp_path):
    setting, job = CRONTAB.splitlines()
    assert setting.startswith("RAPIDAPI_KEY=")
    line = job.split(None, 5)[5]
    assert shell(line, RAPIDAPI_KEY="not-a-real-key") == (0, "", "")
    for config in shell.rapidapi.providers["tiktok"]:
        shell.rapidapi.refuse(config.name)
    status, out, err = shell(line, RAPIDAPI_KEY="not-a-real-key")
    assert (status, out) == (3, "") and "STALE" in err
    kept = (tmp_path / "profiles.jsonl").read_text().splitlines()
    assert len(kept) == 2 and kept[0] == kept[1] and json.loads(kept[0])["data"]["user"]["uniqueId"] == "tiktok"


def test_the_matrix_is_the_codes():
    yes = {"yes": True, "no": False}
    printed = {int(status): (action, yes[retry], yes[switch], yes[fault])
               for status, action, retry, switch, fault in table("status | action")}
    assert printed == {status: tuple(rule) for status, rule in MATRIX.items()}


@pytest.mark.parametrize("head, made", [("option | default", FailoverClient), ("`ProviderRegistry` option", ProviderRegistry)])
def test_every_option_stands_there_with_its_default(head, made):
    parameters = inspect.signature(made).parameters
    told = {row[0].strip("`"): row[1] for row in table(head)}
    assert set(told) == set(parameters) - {"providers", "clock"}
    for name, default in told.items():
        number = re.match(r"[\d,]+$", default)
        if number:
            assert float(default.replace(",", "")) == parameters[name].default
        elif default.endswith("MiB"):
            assert int(default.split()[0]) * 2 ** 20 == parameters[name].default


def test_the_cache_is_told_as_it_is():
    signature = str(inspect.signature(LRUTTLCache))
    assert "max_entries=1024, ttl=86400.0, max_bytes=64 * 2**20" in README
    assert "max_entries: int = 1024, ttl: float = 86400.0" in signature and f"max_bytes: int = {64 * 2 ** 20}" in signature


def test_every_error_stands_there():
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("error | when")))
    assert sorted([*told, "FailoverError"]) == sorted(rapidfailover.errors.__all__)


def test_every_named_fault_stands_there():
    for fault in [*_FAULTS, *_GATEWAY, *_ENVELOPES["yt-api"]]:
        assert fault in README


@pytest.mark.parametrize("name, says, status, read_as, hold, faults", list(table("name | says")))
def test_what_rapidapi_says_is_done_about_as_it_says(name, says, status, read_as, hold, faults):
    """A row of the table through the whole client, over a socket."""
    with FakeRapidAPI() as rapidapi, FailoverClient(rapidapi.registry, api_key="k" * 20, max_wait=0.01) as client:
        rapidapi.fail("tiktok-scraper7", name.strip("`"))
        if read_as == "auth failed":
            with pytest.raises(AuthenticationFailed):
                client.call("tiktok", "/user/info", {"unique_id": "ada"})
        else:
            result = client.call("tiktok", "/user/info", {"unique_id": "ada"})
            assert result.provider == "tiktok-feature"
            assert (result.attempts[0].status, result.attempts[0].action) == (int(status), read_as)
            words = [word for word in says.split("…") if word.strip() and "the provider's" not in says]
            assert all(word.strip().replace("/x", "/user/info") in result.attempts[0].detail for word in words)
        state = rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]
        assert state["error_count"] == int(faults)
        assert (state["hold_until"] or 0) == pytest.approx(float(hold or 0), abs=0.9)


def test_every_answer_of_the_gateway_has_its_row():
    assert [row[0].strip("`") for row in table("name | says")] == [*_GATEWAY, "soft-error", "dead"]
