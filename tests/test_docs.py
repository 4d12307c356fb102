"""README and docs are held to the code: their blocks run, their tables are the code's, their links lead somewhere."""

import inspect
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import docs_site
import pytest
import requests
import responses
import write_docs
from conftest import forget_default_client

import rapidfailover
from rapidfailover import MATRIX, AuthenticationFailed, FailoverClient, LRUTTLCache, ProviderRegistry
from rapidfailover.catalog import PAGES, PROVIDERS
from rapidfailover.cli import main
from rapidfailover.testing import _FAULTS, _GATEWAY, FakeRapidAPI  # the tables that the docs print
from rapidfailover.testing_payloads import ENVELOPES

ROOT = Path(__file__).parent.parent
APPS = ROOT / "tests" / "apps"
TEXTS = {path.name if path.parent == ROOT else f"docs/{path.name}": path.read_text(encoding="utf-8")
         for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]}
README = TEXTS["README.md"]
ALL = "\n".join(TEXTS.values())
FILES = {path.read_text(encoding="utf-8"): path.stem for path in APPS.glob("*_*.py")}  # run by test_servers


class Block(NamedTuple):
    kind: str
    text: str
    output: str  # of a python block: what it prints


def blocks(text):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for number, (kind, inside) in enumerate(found):
        before = found[number - 1] if number else ("", "")
        if kind != "text" or before[0] != "python" or f"```python\n{before[1]}```\n\n```text\n{inside}```" not in text:
            after = found[number + 1] if number + 1 < len(found) else ("", "")
            is_output = after[0] == "text" and f"```{kind}\n{inside}```\n\n```text\n{after[1]}```" in text
            yield Block(kind, inside, after[1] if kind == "python" and is_output else "")


BLOCKS = {name: list(blocks(text)) for name, text in TEXTS.items()}
CONSOLE = [(name, block.text) for name, found in BLOCKS.items() for block in found if block.kind == "console"]
CRONTAB, = [block.text for found in BLOCKS.values() for block in found if block.kind == "crontab"]


def file_of(block):
    """The path of the project's file that a block is, or None."""
    named = re.match(r"# ([\w/]+\.py)(, at its end)?\n", block.text)
    return named if block.kind == "python" and named else None


def table(page, head):
    """The cells of the page's table whose header line begins like this."""
    text = TEXTS[page]
    lines = text[text.index(f"| {head}"):].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def without_numbers(text):
    return re.sub(r"\d+(\.\d+)?(?= (s|ms)\b)", "N", text)


# --- what can be run ---

def weather(mocked):
    """The three hosts of the example of providers of your own. Each takes its own key, and no other's."""
    def answers(secret, payloads):
        def answer(request):
            sent = {name: value for name, value in request.headers.items() if "not-a-real" in value}
            city, = [value for value in parse_qs(urlsplit(request.url).query).values()][0]
            return (200, {}, json.dumps(payloads[city])) if sent == secret and city in payloads else (503, {}, "{}")
        return answer

    mocked.add_passthru("http://127.0.0.1")
    mocked.add_callback("GET", "https://sunny-weather.p.rapidapi.com/current", answers(
        {"X-RapidAPI-Key": "not-a-real-key"}, {"Oslo": {"city": "Oslo", "celsius": 5}}))
    mocked.add_callback("GET", "https://api.rainy.example/v2/now", answers(
        {"Authorization": "Bearer not-a-real-token"}, {"Rome": {"place": "Rome", "fahrenheit": 68}}))
    mocked.add_callback("GET", "https://windy.example/forecast", answers({}, {"Lima": {"name": "Lima", "now": {"t": 17}}}))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Somebody in an empty directory, with a key, whose providers are the local RapidAPI's."""
    registry = import_module("rapidfailover.registry")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAPIDAPI_KEY", "not-a-real-key")
    with FakeRapidAPI() as rapidapi:
        monkeypatch.setattr(registry, "PROVIDERS", rapidapi.providers)
        forget_default_client()
        yield rapidapi
        forget_default_client()


@contextmanager
def an_own_log():
    """A log that nobody has set up, as at the start of a program; afterwards it is as it was."""
    loggers = [logging.getLogger(), logging.getLogger("rapidfailover")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    loggers[0].handlers[:] = []
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)


def fixtures(test, stack):
    """Those that a test function of a page takes. (pytest itself runs those of the pages' projects.)"""
    if not inspect.signature(test).parameters:
        return {}
    rapidapi = stack.enter_context(FakeRapidAPI())
    client = stack.enter_context(FailoverClient(rapidapi.registry, api_key="not-a-real-key"))
    return {"fake_rapidapi": rapidapi, "failover_client": client}


def at_the_local(rapidapi, text):
    """What a program by hand asks is the local RapidAPI's too."""
    for provider in rapidapi.providers["tiktok"]:
        text = text.replace(f'"https://{provider.host}"', f'"{provider.base_url}"')
    return text


@pytest.mark.slow
@pytest.mark.parametrize("page", [name for name, found in BLOCKS.items() if any(block.kind == "python" for block in found)])
def test_the_blocks_of_a_page_run_in_order_and_print_what_they_say(page, reader):
    names, printed = {"__name__": "page"}, StringIO()
    with an_own_log(), redirect_stdout(printed), redirect_stderr(printed), ExitStack() as stack:
        stack.callback(lambda: [value.close() for value in names.values() if isinstance(value, requests.Session)])
        if "own-providers" in page:
            weather(stack.enter_context(responses.RequestsMock(assert_all_requests_are_fired=False)))
        for block in BLOCKS[page]:
            if block.kind == "console":  # a file that the next block reads
                for command, _ in prompts(block.text):
                    assert not command.startswith("printf ") or subprocess.run(command, shell=True).returncode == 0
            if block.kind != "python" or block.text in FILES or file_of(block):
                continue
            exec(compile(at_the_local(reader, block.text), page, "exec"), names)
            for name in [name for name in names if name.startswith("test_")]:
                test = names.pop(name)
                with ExitStack() as own:
                    test(**fixtures(test, own))
            assert without_numbers(printed.getvalue()) == without_numbers(block.output), block.text
            printed.seek(0)
            printed.truncate()


def test_the_three_programs_are_shorter_than_by_hand():
    common, *programs = [len([line for line in block.text.splitlines() if line and not line.startswith("print(")])
                         for block in BLOCKS["docs/programs.md"] if block.kind == "python"][:7]
    assert len(programs) == 6
    for by_hand, with_it in zip(programs[::2], programs[1::2]):
        assert with_it < common + by_hand


@pytest.mark.slow
def test_the_views_of_the_readme_answer(reader):
    import django.conf
    names = {"__name__": "page"}
    for block in BLOCKS["README.md"]:
        if "flask" in block.text or "django" in block.text:
            exec(block.text, names)
    assert names["app"].test_client().get("/user/ada").json["data"]["user"]["uniqueId"] == "ada"
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    assert json.loads(names["profile"](None, "ada").content)["data"]["user"]["uniqueId"] == "ada"


PROJECTS = [name for name, found in BLOCKS.items() if any(map(file_of, found))]


@pytest.mark.slow
@pytest.mark.parametrize("page", PROJECTS)
def test_the_project_of_a_page_does_what_its_commands_say(page, tmp_path):
    """Its files are written, and its commands typed, in the order of the page."""
    home = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "-p no:cacheprovider",
            "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    home.pop("RAPIDAPI_KEY", None)
    ran = []
    for block in BLOCKS[page]:
        named = file_of(block)
        if named:
            path = tmp_path / named.group(1)
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text(encoding="utf-8") if named.group(2) else ""
            path.write_text(before + block.text, encoding="utf-8")
        elif block.kind == "console":
            for command, expected in prompts(block.text):
                if command.startswith("python "):
                    words = [sys.executable, *shlex.split(command)[1:]]
                    if "pytest" in words:  # installed or not: the fixtures are there once
                        words += ["-p", "no:rapidfailover", "-p", "rapidfailover.pytest_plugin"]
                    done = subprocess.run(words, cwd=tmp_path, env=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
                    assert done.returncode == 0, done.stdout
                    assert all(re.sub(r" in \S+ s", "", line) in done.stdout for line in expected.splitlines()), done.stdout
                    ran.append(command)
    assert any("test" in command for command in ran)


def prompts(console):
    """(command, what it prints) of a console block."""
    return re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", console, re.MULTILINE)


def test_every_block_is_run_by_somebody():
    for name, found in BLOCKS.items():
        for block in found:
            known = block.kind in ("python", "console", "crontab") or block.kind == "text" and (
                "──▶" in block.text or "+ping" in block.text)  # the drawing; the rights of a user of Redis
            assert known, (name, block)
    python = [block for found in BLOCKS.values() for block in found if block.kind == "python"]
    assert len(python) >= 40 and sum(bool(block.output) for block in python) >= 15


@pytest.mark.parametrize("code", FILES, ids=FILES.get)
def test_the_apps_stand_there_as_they_are_run(code):
    assert f"```python\n{code}```" in ALL


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


def help_of(*command):
    printed = StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        main([*command, "--help"])
    return printed.getvalue()


MAKE = re.findall("^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
NOT_RUN = r"(export RAPIDAPI_KEY=…|python3 -m venv venv|venv/bin/pip install .+|python .+|printf .+)$|rapidfailover fake --port 8080"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({name for name, _ in CONSOLE}))
def test_what_is_typed_at_a_prompt_does_what_stands_there(page, shell, tmp_path):
    """The lines for rapidfailover are typed in an empty home; of the others is known what they name."""
    for command, expected in [typed for name, block in CONSOLE if name == page for typed in prompts(block)]:
        words = command.split()
        if command.startswith("printf "):  # a file for the next line, or for the next block
            assert shell(command)[0] == 0
        elif words[0].endswith("rapidfailover") and words[1] != "fake":
            if "STALE" in expected:
                shell.rapidapi.fail("tiktok-scraper7", 503)
                shell.rapidapi.fail("tiktok-feature", 500)
                shell.rapidapi.refuse("tiktok-tikwm")
            status, out, err = shell(command, RAPIDAPI_KEY="not-a-real-key")
            assert status in ((3,) if "STALE" in expected else (0, 1) if words[1] == "verify" else (0,)), err
            assert not expected or without_numbers(err) == without_numbers(expected)
            if words[1] in ("get", "call"):
                assert json.loads(out or (tmp_path / "profile.json").read_text())["data"]["user"]["uniqueId"] == "tiktok"
        elif words[0] == "make":
            assert words[1] in MAKE
        elif words[0].endswith(("gunicorn", "celery")):
            assert (APPS / f"{re.search('[a-z]+_[a-z]+', command).group()}.py").exists()
        else:
            assert re.match(NOT_RUN, command) and (page in PROJECTS or words[0] != "python"), command


def test_every_command_has_its_line():
    told = {row[0].strip("`").split()[0] for row in table("docs/command-line.md", "command | what")}
    there = set(re.findall(r"^    (\w+)(?: |$)", help_of(), re.MULTILINE))
    assert told == there
    assert set(re.findall(r"`make ([a-z-]+)`", ALL)) | {line.split()[2] for _, block in CONSOLE for line in block.splitlines() if line.startswith("$ make ")} <= set(MAKE)


def test_every_option_of_a_command_stands_there():
    text = TEXTS["docs/command-line.md"]
    commands = [row[0].strip("`").split()[0] for row in table("docs/command-line.md", "command | what")]
    there = {option for command in [(), *((command,) for command in commands)] for option in re.findall(r"(?<![\w-])--[a-z]+", help_of(*command))}
    assert set(re.findall(r"(?<![\w-])--[a-z]+", text)) == there


@pytest.mark.slow
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


# --- what can be computed ---

@pytest.mark.parametrize("page", ["README.md", "docs/matrix.md"])
def test_the_matrix_is_the_codes(page):
    yes = {"yes": True, "no": False}
    printed = {int(status): (action, yes[retry], yes[switch], yes[fault])
               for status, action, retry, switch, fault in table(page, "status | action")}
    assert printed == {status: tuple(rule) for status, rule in MATRIX.items()}


def test_the_readme_names_the_listing_to_subscribe_to():
    """Of each platform that is asked: its function, the first provider's page, and the reserves."""
    def listing(config):
        name, page = config.host.split(".")[0], PAGES.get(config.host)
        return f"[{name}]({page})" if page else name

    rows = {platform: (function.split("(")[0].strip("`"), first, reserves)
            for platform, function, first, reserves in table("README.md", "platform | function")}
    assert rows == {platform: (rows[platform][0], listing(members[0]), ", ".join(map(listing, members[1:])))
                    for platform, members in PROVIDERS.items() if members[0].enabled}
    assert {row[0] for row in rows.values()} == {name for name in rapidfailover.__all__ if name.startswith("get_")}


def test_the_providers_and_endpoints_are_the_catalogues():
    text = TEXTS["docs/providers.md"]
    assert write_docs.providers_page(text) == text  # else: python tests/write_docs.py


def test_the_reference_is_made_from_the_code():
    assert TEXTS["docs/reference.md"] == write_docs.reference()  # else: python tests/write_docs.py


def test_the_reference_has_every_public_name():
    told = {name for names in write_docs.GROUPS.values() for name in names if "." not in name}
    assert told | write_docs.ELSEWHERE | set(rapidfailover.errors.__all__) == set(rapidfailover.__all__)
    assert all(f"`{name}`" in TEXTS["docs/reference.md"] for name in write_docs.ELSEWHERE)


@pytest.mark.parametrize("head, made", [("option | default", FailoverClient), ("`ProviderRegistry` option", ProviderRegistry)])
def test_every_option_stands_there_with_its_default(head, made):
    parameters = inspect.signature(made).parameters
    told = {row[0].strip("`"): row[1] for row in table("docs/options.md", head)}
    assert set(told) == set(parameters) - {"providers", "clock"}
    for name, default in told.items():
        number = re.match(r"[\d,]+$", default)
        if number:
            assert float(default.replace(",", "")) == parameters[name].default
        elif default.endswith("MiB"):
            assert int(default.split()[0]) * 2 ** 20 == parameters[name].default


def test_every_argument_of_a_call_stands_there():
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("docs/options.md", "argument of `call`")))
    assert set(told) == {name for name, parameter in inspect.signature(FailoverClient.call).parameters.items()
                         if parameter.kind is parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("page, head, made, besides", [
    ("docs/own-providers.md", "field | what", rapidfailover.Route, set()),
    ("docs/own-providers.md", "field | what |\n|---|---|\n| `base_url`", rapidfailover.ProviderConfig,
     {"name", "host", "priority", "routes", "check", "auth"}),
])
def test_every_field_stands_there(page, head, made, besides):
    fields = getattr(made, "_fields", None) or made.__dataclass_fields__
    text = TEXTS[page]
    rows = text[text.index(f"| {head}"):].split("\n\n")[0].splitlines()[2:]
    told = set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows)))
    assert told == set(fields) - besides
    assert all(f"`{name}" in text or f" {name}" in text for name in besides)


def test_every_field_of_a_snapshot_stands_there():
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("docs/log.md", "field | what")))
    assert {*told} == {*ProviderRegistry().snapshot()["tiktok"]["tiktok-scraper7"], "store"}


@pytest.mark.slow
def test_every_event_stands_there_with_its_fields():
    seen = {}
    with FakeRapidAPI() as rapidapi:
        registry = ProviderRegistry(rapidapi.providers, error_threshold=1, cooldown=0.05)
        with FailoverClient(registry, api_key="any", refresh=False,
                            on_event=lambda name, fields: seen.setdefault(name, set()).update(fields)) as client:
            question = ("tiktok", "/user/info", {"unique_id": "ada"})
            client.call(*question)
            for provider, fault in (("tiktok-scraper7", 503), ("tiktok-feature", "not-subscribed"), ("tiktok-tikwm", 500)):
                rapidapi.fail(provider, fault)
            assert client.call(*question).stale
            rapidapi.recover()
            time.sleep(0.06)
            assert not client.call(*question).stale
            client.refresh_now(rapidfailover.RefreshRequest(*question))
            until = time.monotonic() + 20
            while len(seen) < 6 and time.monotonic() < until:
                time.sleep(0.01)
    told = {}
    for name, _, fields in table("docs/log.md", "event | when"):
        told[name.strip("`")] = told["trip"] if fields == "the same" else set(re.findall(r"`(\w+)`", fields.split(":")[0])) | {"platform"}
    assert told == seen


def test_the_cache_is_told_as_it_is():
    defaults = {name: parameter.default for name, parameter in inspect.signature(LRUTTLCache).parameters.items()}
    assert "max_entries=1024, ttl=86400.0, max_bytes=64 * 2**20" in TEXTS["docs/options.md"]
    assert (defaults["max_entries"], defaults["ttl"], defaults["max_bytes"]) == (1024, 86400.0, 64 * 2 ** 20)


def test_every_error_stands_there():
    told = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("docs/errors.md", "error | when")))
    assert sorted([*told, "FailoverError"]) == sorted(rapidfailover.errors.__all__)


def test_every_named_fault_stands_there():
    for fault in [*_FAULTS, *ENVELOPES["yt-api"]]:
        assert f"`{fault}`" in TEXTS["docs/testing.md"]
    for fault in _GATEWAY:
        assert f"`{fault}`" in TEXTS["docs/answers.md"]


@pytest.mark.slow
@pytest.mark.parametrize("name, says, status, read_as, hold, faults", list(table("docs/answers.md", "name | says")))
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
    assert [row[0].strip("`") for row in table("docs/answers.md", "name | says")] == [*_GATEWAY, "soft-error", "dead"]


def test_the_figures_are_those_that_were_measured():
    """Of the benchmarks; the README's five lines too."""
    text = TEXTS["docs/benchmarks.md"]
    assert write_docs.benchmarks_page(text) == text  # else: python tests/write_docs.py
    shares = {cells[0]: cells[1:] for cells in table("docs/benchmarks.md", "| right data | fresh")}
    (right, _, _, wrong, _, _, p99, _, in_vain, back, _), others = shares.pop("rapidfailover"), list(shares.values())
    number = lambda text: float(text.strip("%"))  # noqa: E731
    good, slow = sorted(number(cells[0]) for cells in others), sorted(number(cells[6]) / 1000 for cells in others)
    better = sorted(int(cells[8]) for cells in others if number(cells[0]) > number(right))
    assert {cells[3] for cells in [*others, [""] * 3 + [wrong]]} == {"0.0%"}  # all look at what they were sent
    assert f"Right data in {right} of the calls; the others gave it in {good[0]}% to {good[-1]}%." in README
    assert f"Of 100 requests {in_vain} went to a provider" in README and len(better) == 2
    assert f"With the two that had more right data, {better[0]} and {better[1]} did." in README
    assert f"99% of the calls took at most {p99} ms; with the others {slow[0]:.1f} to {slow[-1]:.1f} seconds." in README
    assert f"used {back.replace('s', 'seconds')} after it is back." in README
    cost = dict(row[:1] + row[2:3] for row in table("docs/benchmarks.md", "bound |"))["healthy call"]
    assert float(cost.strip("× ")) <= 0.67 and "A healthy call costs two thirds of the CPU time of `requests.Session` used by hand." in README
    late = re.findall(r"(\d+) ms", " ".join(cell for row in table("docs/faults.md", "phase | fault") for cell in row[3:]))
    assert max(map(int, late)) <= 40 and f"[{len(list(table('docs/faults.md', 'phase | fault')))} faults of the network]" in README


# --- words, lengths, links ---

def prose(text):
    """The sentences, without blocks and tables."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)  # a link is its words
    text = re.sub(r"`[^`]*`", "code", text)
    pieces = re.split(r"\n\s*\n|\n(?=#|\||[-*] |\d+\. )", text)
    for piece in pieces:
        if not piece.strip().startswith("|"):
            yield from re.split(r"(?<=[.!?])\s+", " ".join(piece.split()))


PAGE_NAMES = [name for name in TEXTS if name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_sentences_are_short(page):
    assert not [sentence for sentence in prose(TEXTS[page]) if len(sentence.split()) > 25]


@pytest.mark.parametrize("page", TEXTS)
def test_every_forge_reads_the_markdown_alike(page):
    """No HTML; tables with as many cells in each row; a blank line before lists, tables, headings and blocks."""
    text = re.sub(r"^```.*?^```$", "```", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"<[a-z/!][^>]*>", re.sub(r"`[^`\n]*`", "", text))
    before = ""
    for line in text.splitlines():
        assert line == line.rstrip(), line
        if line and before:
            parts = [part_of(before), part_of(line)]
            assert parts[0] == parts[1] != "heading" or parts == ["list", "prose"] and line.startswith("  "), line
            if parts == ["table", "table"]:
                assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", before)), line
        before = line if not (part_of(before) == "list" and line.startswith("  ")) else before


def part_of(line):
    """What a line of Markdown belongs to."""
    for beginning, part in (("#", "heading"), (r"\|", "table"), (r"[-*] |\d+\. ", "list"), ("```", "block")):
        if re.match(beginning, line):
            return part
    return "prose"


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_a_page_is_short(page):
    assert len(TEXTS[page].splitlines()) < (200 if page == "README.md" else 250)
    assert len(README.split()) <= 1500
    columns = 96 if page == "README.md" else 110
    assert not [line for block in BLOCKS[page] for line in block.text.splitlines() if len(line) > columns and block.kind == "python"]


def test_the_source_document_has_one_page():
    for page, text in TEXTS.items():
        if page not in ("docs/strategy.md", "CHANGELOG.md"):
            assert not re.search(r"\bstrategy(?!\.md)\b", text, re.IGNORECASE), page


def test_every_concept_stands_in_the_glossary_in_alphabetical_order():
    told = [row[0] for row in table("docs/glossary.md", "word | meaning")]
    assert told == sorted(told) and all(row[1].endswith(".") and ". " not in row[1] for row in table("docs/glossary.md", "word | meaning"))


def test_a_dialect_is_explained_where_it_is_first_used():
    for page, text in TEXTS.items():
        first = re.search(r"[^.|]*\bdialects?\b[^.|]*", text)
        if first and page not in ("CHANGELOG.md", "docs/reference.md", "docs/strategy.md", "docs/glossary.md", "docs/development.md", "docs/providers.md"):
            assert re.search("paths|how one host wants|Routes: another", first.group()), (page, first.group())


def anchors(text):
    """Of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match("https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists() and ROOT in found.resolve().parents, target
        if anchor:
            assert anchor in list(anchors(found.read_text(encoding="utf-8"))), target


def test_every_page_is_reached_from_the_list_of_pages():
    reached = set(re.findall(r"\]\((\w[\w-]*\.md)\)", TEXTS["docs/README.md"]))
    assert reached == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_every_link_of_the_html_leads_to_one_of_its_pages():
    """As ``make docs`` makes them; mkdocs itself is not needed for that."""
    nav = docs_site.on_config({})["nav"]
    listed = [page for entry in nav for value in entry.values() for page in (
        [value] if isinstance(value, str) else [page for each in value for page in each.values()])]
    assert sorted(listed) == sorted([*(path.name for path in (ROOT / "docs").glob("*.md")), "start.md", "changes.md"])
    for page, text in TEXTS.items():
        made = docs_site.on_page_markdown(text if page.startswith("docs/") else docs_site.moved(text))
        made = re.sub(r"^```.*?^```$", "", made, flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s#]+)", made):
            assert target in [*listed, "availability.png"] or re.match("https?://", target), (page, target)


def test_what_the_docs_name_of_the_code_is_there():
    for name in re.findall(r"`FailoverClient\.(\w+)`", ALL):
        assert hasattr(FailoverClient, name), name
    for name in re.findall(r"`(?:client|default_client\(\))\.registry\.(\w+)|`registry\.(?!py\b)(\w+)", ALL):
        assert hasattr(ProviderRegistry, "".join(name)), name
    for name in re.findall(r"`([\w/]+\.py)`", TEXTS["docs/development.md"]):
        assert any((ROOT / folder / name).exists() for folder in ("rapidfailover", "tests", ".")) or name == "profiles/views.py", name
