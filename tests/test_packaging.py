"""What is built and handed out: without warnings, with all that belongs in it, and its tests pass where it is unpacked."""

import os
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BELONGS = [path.relative_to(ROOT) for folder in ("rapidfailover", "docs", "tests", "tests/apps", "tests/benchmarks")
           for path in (ROOT / folder).iterdir() if path.is_file() and path.suffix != ".pyc"]
TOP = ["LICENSE", "README.md", "CHANGELOG.md", "Makefile", "mkdocs.yml", "setup.cfg", "setup.py"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(the sdist, the wheel), made from a copy, so that nothing is left here; by one of the processes that run the tests."""
    base = tmp_path_factory.getbasetemp()
    tree = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "tree"
    try:
        tree.mkdir()
    except FileExistsError:  # another one is at it
        until = time.monotonic() + 120
        while not (tree / "told").exists() and time.monotonic() < until:
            time.sleep(0.1)
    else:
        for path in [*map(Path, TOP), *BELONGS]:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes((ROOT / path).read_bytes())
        done = subprocess.run([sys.executable, "-m", "build", "."], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        (tree / "telling").write_text(f"{done.returncode}\n{done.stdout}")
        (tree / "telling").rename(tree / "told")
    status, told = (tree / "told").read_text().split("\n", 1)
    assert status == "0" and "Warning" not in told and "deprecat" not in told.lower(), told[-3000:]
    return sorted((tree / "dist").iterdir(), key=lambda path: path.suffix)


def test_twine_has_nothing_to_say(built):
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, built)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_is_the_package_and_no_more(built):
    names = {name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    assert names == {str(path) for path in BELONGS if path.parts[0] == "rapidfailover"}


def test_the_sdist_has_all_and_its_tests_pass_from_it(built, tmp_path):
    with tarfile.open(built[0]) as archive:
        archive.extractall(str(tmp_path), **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    unpacked, = tmp_path.iterdir()
    missing = [str(path) for path in [*map(Path, TOP), *BELONGS] if not (unpacked / path).exists()]
    assert not missing
    chosen = ["test_gateway.py", "test_input.py", "test_docs.py"]  # all of them: make test-all
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in chosen)], cwd=unpacked,
                          env={**os.environ, "PYTHONPATH": str(unpacked)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_wheel_installs_into_a_clean_environment_with_requests_and_urllib3_alone(built, tmp_path):
    """As a new user's: an empty home, no caches, nothing of this folder."""
    made = tmp_path / "venv"
    venv.create(made, with_pip=True)
    home = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAPIDAPI"))}
    home.update(HOME=str(tmp_path), PIP_NO_CACHE_DIR="1")

    def run(*command):
        done = subprocess.run([str(made / "bin" / command[0]), *command[1:]], cwd=tmp_path, env=home, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def packages():
        return {line.split("==")[0].lower() for line in run("python", "-m", "pip", "list", "--format=freeze").splitlines() if "==" in line}

    before = packages()
    run("python", "-m", "pip", "install", "-q", str(built[1]))
    run("python", "-m", "pip", "check")
    assert packages() - before == {"rapidfailover", "requests", "urllib3", "certifi", "idna", "charset-normalizer"}
    assert "Everything happened as printed." in run("rapidfailover", "demo")
    run("python", "-W", "error", "-c", "from rapidfailover import *; from rapidfailover.testing import FakeRapidAPI")
