"""Facts about the whole: layers, names, what an import costs and does, the size of things."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rapidfailover
from rapidfailover import FailoverClient

PACKAGE = Path(rapidfailover.__file__).parent

LAYERS = {
    "matrix": 0, "config": 0, "errors": 0, "fork": 0,
    "gateway": 1, "catalog": 1, "wire": 1, "circuit": 1, "cache": 1, "events": 1, "refresh": 1, "health": 1,
    "transport": 2, "registry": 2,
    "client": 3,
    "cli": 4, "api": 4,
    "__init__": 5, "__main__": 5,
}
SIDE = {"testing", "redis"}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports(module):
    """(ours, others): the modules imported, with those under TYPE_CHECKING left out."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    typing_only = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
                   for node in ast.walk(block)}
    ours, others = set(), set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            (ours if node.level else others).update(name.split(".")[0] for name in names)
        elif isinstance(node, ast.Import):
            others.update(alias.name.split(".")[0] for alias in node.names)
    return ours, others


def test_every_module_has_a_layer():
    assert MODULES == sorted(set(LAYERS) | SIDE)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_layers_below_its_own(module):
    ours, others = imports(module)
    assert "rapidfailover" not in others  # relative imports only, or it could not be vendored
    if module in SIDE:
        return
    for other in ours - SIDE:
        assert LAYERS[other] < LAYERS[module], f"{module} imports {other}"
    assert not ours & SIDE or module == "cli" and ours & SIDE == {"testing"}  # the demo


@pytest.mark.parametrize("module", MODULES)
def test_nothing_but_requests_and_urllib3_is_needed(module):
    _, others = imports(module)
    outside = others - set(getattr(sys, "stdlib_module_names", others - {"requests", "urllib3"}))
    allowed = {"transport": {"requests", "urllib3"}, "wire": {"urllib3"}, "errors": {"requests"}, "redis": {"redis"}}
    assert outside <= allowed.get(module, set())


def test_all_is_what_the_package_offers():
    assert len(set(rapidfailover.__all__)) == len(rapidfailover.__all__)
    for name in rapidfailover.__all__:
        assert getattr(rapidfailover, name) is not None
    contract = {
        "call_with_failover", "call", "check_provider_health", "FileCache", "get_tiktok_user", "get_instagram_profile", "get_youtube_video",
        "get_twitter_user", "get_linkedin_profile", "configure", "default_client", "registry", "FailoverClient",
        "Result", "Attempt", "ProviderConfig", "RefreshRequest", "ProviderRegistry", "LRUTTLCache", "Rule", "MATRIX",
        "FailoverError", "UnknownPlatform", "UnknownProvider", "InvalidEndpoint", "MissingAPIKey", "InvalidAPIKey",
        "RequestRefused", "BadRequest", "AuthenticationFailed", "AllProvidersFailed", "NotFound",
        "NoProvidersAvailable"}
    assert contract <= set(rapidfailover.__all__)


def test_the_version_is_a_literal_and_the_changelog_is_there():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"$', source, re.MULTILINE)


def test_the_tree_fits_a_screen():
    for function in (FailoverClient.call, FailoverClient._decide):
        assert len(inspect.getsource(function).splitlines()) <= 60


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=PACKAGE.parent, env={**os.environ, **environment}).stdout


def test_an_import_starts_no_thread_opens_no_socket_and_reads_no_environment():
    print(run("""
import os, requests, socket, threading
class Environ(dict):
    def _refuse(self, *args): raise AssertionError("the environment was read")
    get = __getitem__ = __contains__ = __iter__ = _refuse
def refuse(*args, **kwargs): raise AssertionError("a socket was opened")
os.environ = Environ()
os.getenv = Environ()._refuse
socket.socket = socket.create_connection = refuse
import rapidfailover
assert threading.active_count() == 1
assert rapidfailover.api._default.client is None
"""))


def test_an_import_loads_no_command_line_and_no_testing():
    loaded = run("import rapidfailover, sys; print(*sys.modules)").split()
    assert not {"argparse", "rapidfailover.cli", "rapidfailover.testing"} & set(loaded)


def test_an_import_costs_little_beside_requests(tmp_path):
    """20 ms is the promise; compiled once, as pip leaves it; of CPU, and the best of several: the machine is shared."""
    code = "import requests, time; t = time.process_time(); import rapidfailover; print(time.process_time() - t)"
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert any(float(run(code, **compiled)) < 0.020 for _ in range(15))


def test_the_log_is_silent_unless_asked_for():
    code = "import logging, rapidfailover; logging.getLogger('rapidfailover').warning('hidden')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stderr == ""
