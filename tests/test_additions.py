"""What is added to the product in one place works everywhere, and breaks no test of another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
CORE = "cli", "client", "events", "guide", "registry", "dialects", "testing"

SHOWN = """
import json
import additions
from rapidfailover import FailoverClient, cli
from rapidfailover.testing import FakeRapidAPI

with FakeRapidAPI() as fake, FailoverClient(fake.registry, api_key="k" * 50, refresh=False) as client:
    for first in ("tiktok-scraper7", "tiktok-feature", "tiktok-tikwm"):
        fake.fail(first, 503)
    assert client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-new"
    assert {page.provider for page in client.pages("tiktok", "/user/posts", {"unique_id": "ada"}, limit=2)} == {"tiktok-new"}
    assert client.call("reddit", "/u", {"name": "ada"}).data["params"] == {"name": "ada"}
    fake.recover()
    assert cli.main(["endpoints", "tiktok"]) == 0
    cli.main(["verify", "tiktok", "--yes"], registry=fake.registry)
    cli.main(["providers"])
assert cli.main(["hello", "ada"]) == 0
"""


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent))), "RAPIDAPI_KEY": "k" * 50}
    return subprocess.run([sys.executable, *arguments], cwd=TESTS.parent, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)


def test_a_provider_added_in_the_catalogue_is_called_paged_listed_played_and_verified():
    done = run("-c", SHOWN)
    shown = done.stdout.decode()
    assert done.returncode == 0, shown
    assert "tiktok-new /user/info: answered" in shown and "https://rapidapi.com/" in shown
    assert shown.count("tiktok-new") > 5 and "reddit-new" in shown and "hello, ada" in shown


def test_what_is_added_breaks_no_test_of_another():
    """But for the one that reads in the source what is reported."""
    done = run("-m", "pytest", "-q", "-p", "additions", "-p", "no:cacheprovider", "-k", "not stands_in_the_table",
               *(f"tests/test_{name}.py" for name in CORE))
    assert done.returncode == 0 and b" passed" in done.stdout, done.stdout.decode()[-3000:]
