"""The command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from rapidfailover import AllProvidersFailed, FailoverClient, cli

ROOT = Path(__file__).parent.parent


def test_the_demo_does_what_it_prints():
    done = subprocess.run([sys.executable, "-m", "rapidfailover", "demo"], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    for told in ("1. The primary answers.", "-> ada.example, fresh from tiktok-scraper7", "tiktok-scraper7: 503 unavailable",
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


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "--fast"]])
def test_wrong_usage_is_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2 and "usage: " in capsys.readouterr().err
