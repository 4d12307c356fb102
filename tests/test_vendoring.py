"""A copy under another name, beside another version that is installed: both work, nothing of one leaks into the other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def make(*arguments):
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """acme/vendor/failover is our copy; site/rapidfailover another version."""
    tree = tmp_path_factory.mktemp("monorepo")
    (tree / "acme" / "vendor").mkdir(parents=True)
    done = make("vendor", f"DEST={tree / 'acme' / 'vendor' / 'failover'}")
    assert done.returncode == 0, done.stderr
    other = tree / "site" / "rapidfailover"
    shutil.copytree(ROOT / "rapidfailover", other, ignore=shutil.ignore_patterns("__pycache__"))
    source = (other / "__init__.py").read_text(encoding="utf-8")
    (other / "__init__.py").write_text(source.replace('__version__ = "', '__version__ = "99.'), encoding="utf-8")
    return tree


def python(tree, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=tree, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(tree / "site")})


def test_the_copy_has_its_licence_and_says_what_it_is(tree):
    copy = tree / "acme" / "vendor" / "failover"
    assert (copy / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert (copy / "VENDORED").read_text().startswith("rapidfailover 0.")
    assert (copy / "py.typed").exists() and not list(copy.glob("*.pyc"))


def test_the_copy_names_the_commit_it_was_made_from(tree):
    told = (tree / "acme" / "vendor" / "failover" / "VENDORED").read_text()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert f"(commit {commit})" in told if commit else "commit" not in told


def test_outside_git_a_copy_names_no_commit(tmp_path):
    shutil.copytree(ROOT / "rapidfailover", tmp_path / "source" / "rapidfailover", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    done = subprocess.run(["make", "vendor", f"DEST={tmp_path / 'copy'}"], cwd=tmp_path / "source", capture_output=True, text=True,
                          env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "copy" / "VENDORED").read_text()
    assert "commit" not in told and re.match(r"rapidfailover \d+\.\d+\.\d+, copied by", told)


@pytest.mark.slow
def test_the_copy_passes_mypy_strict_without_redis(tree):
    """Without site-packages mypy finds no requests either: what it says of that is not the question."""
    checked = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--no-site-packages", "--cache-dir", os.devnull, "acme/vendor/failover"],
                             cwd=tree, capture_output=True, text=True)
    said = checked.stdout.splitlines()
    assert any('"requests"' in line for line in said), checked.stdout + checked.stderr
    assert not [line for line in said if "redis" in line]


def test_a_copy_is_renewed_but_nothing_of_yours_is_overwritten(tree):
    copy = tree / "acme" / "vendor" / "failover"
    (copy / "long_gone.py").write_text("")
    assert make("vendor", f"DEST={copy}").returncode == 0
    assert not (copy / "long_gone.py").exists()
    (tree / "yours").mkdir()
    (tree / "yours" / "code.py").write_text("")
    assert make("vendor", f"DEST={tree / 'yours'}").returncode != 0 and (tree / "yours" / "code.py").exists()
    assert make("vendor").returncode != 0


@pytest.mark.slow
def test_both_work_side_by_side_and_share_nothing(tree):
    done = python(tree, "-c", """
import logging, sys
import acme.vendor.failover as ours
assert not any(name.split(".")[0] == "rapidfailover" for name in sys.modules)
import rapidfailover as theirs
assert theirs.__version__ == "99." + ours.__version__
for name in ours.__all__:
    if name not in ("MATRIX",):
        assert getattr(ours, name) is not getattr(theirs, name), name
assert not issubclass(ours.FailoverError, theirs.FailoverError)
assert ours.default_client() is not theirs.default_client() and ours.registry is not theirs.registry

from acme.vendor.failover.testing import FakeRapidAPI
lines = []
class Listen(logging.Handler):
    def emit(self, record): lines.append(record.name)
logging.getLogger().addHandler(Listen())
with FakeRapidAPI() as rapidapi:
    ours.configure(registry=rapidapi.registry, api_key="k" * 20)
    rapidapi.fail("tiktok-scraper7", 404)
    assert ours.get_tiktok_user("ada")["data"]["user"]["uniqueId"] == "ada"
assert lines == ["acme.vendor.failover"], lines
assert theirs.registry.snapshot()["tiktok"]["tiktok-scraper7"]["last_error"] is None
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acme.vendor.failover", "rapidfailover"])
def test_the_command_line_runs_under_either_name(tree, name):
    done = python(tree, "-m", name, "matrix")
    assert done.returncode == 0 and "rate limited" in done.stdout, done.stderr
    assert python(tree, "-m", name, "--help").stdout.startswith(f"usage: python -m {name} ")


def test_no_module_names_the_package_in_its_code():
    """But for the words in messages, thread names and the cache's keys."""
    for path in (ROOT / "rapidfailover").glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not line.lstrip().startswith(("import rapidfailover", "from rapidfailover")) or line.startswith("    "), line
