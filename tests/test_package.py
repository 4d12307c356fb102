"""Facts about the whole: layers, names, what an import costs and does, the size of things."""

import ast
import configparser
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path
from unittest import mock

import pytest

import rapidfailover
from rapidfailover import FailoverClient

PACKAGE = Path(rapidfailover.__file__).parent
ROOT = Path(__file__).parent.parent

LAYERS = {
    "matrix": 0, "config": 0, "payload": 0, "deadline": 0, "errors": 0, "fork": 0,
    "endpoints": 0.4, "quota": 0.4, "guide": 0.4, "checks": 0.4, "coalesce": 0.4,
    "circuit": 1, "pace": 1, "gateway": 1, "catalog": 1, "sockets": 0.6, "connection": 1, "names": 1,
    "credentials": 1, "keys": 1.1,
    "batch": 1, "pages": 1, "refresh": 1, "events": 1, "flights": 1,
    "verdicts": 1.4, "members": 1.5, "sharing": 1.6, "cache": 1.7, "records": 1.75, "tls": 1.5,
    "snapshots": 1.6, "directory": 1.8, "leaves": 1.85, "admission": 1.9, "checkups": 1.95, "registry": 2, "pool": 2, "failures": 2, "options": 2,
    "session": 2.5,
    "transport": 3,
    "asking": 3.2, "visiting": 3.4, "health": 3.6,
    "decision": 4, "calls": 4.2, "lists": 4.3, "client": 4.4,
    "api": 5, "verify": 5,
    "cli_output": 5.1, "cli_questions": 5.2, "cli_calls": 5.2, "cli_answers": 5.3,
    "cli_batch": 5.4, "cli_catalog": 5.4, "cli_demo": 5.4, "cli": 5.5,
    "__init__": 6, "__main__": 6,
}
SIDE = {"testing", "testing_payloads", "pytest_plugin", "redis", "sqlite", "sqlite_file", "fleet", "outbox", "link", "entries", "mirror"}
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
    assert ours & SIDE == {"cli_demo": {"testing"}, "cli_calls": {"sqlite"}}.get(module, set())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_but_requests_and_urllib3_is_needed(module):
    _, others = imports(module)
    outside = others - set(getattr(sys, "stdlib_module_names", others - {"requests", "urllib3"}))
    allowed = {"transport": {"requests"}, "session": {"requests", "urllib3"}, "connection": {"urllib3"}, "pool": {"urllib3"}, "tls": {"urllib3"}, "names": {"urllib3"}, "failures": {"requests", "urllib3"}, "errors": {"requests"}, "redis": {"redis"}}
    assert outside <= allowed.get(module, set())


def test_all_is_what_the_package_offers():
    assert len(set(rapidfailover.__all__)) == len(rapidfailover.__all__)
    for name in rapidfailover.__all__:
        assert getattr(rapidfailover, name) is not None
    assert set(rapidfailover.__all__) == {*rapidfailover._MODULES, "registry"} and set(rapidfailover.__all__) <= set(dir(rapidfailover))  # the table that is tested
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
    for function in (FailoverClient.call, FailoverClient._decide):  # the tree that is measured
        assert len(inspect.getsource(function).splitlines()) <= 60


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=PACKAGE.parent, env={**os.environ, **environment}).stdout


@pytest.mark.slow
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
for name in rapidfailover.__all__:
    assert name == "registry" or getattr(rapidfailover, name)
assert threading.active_count() == 1
assert rapidfailover.api._default.client is None
"""))


@pytest.mark.slow
def test_the_bare_import_loads_nothing_and_a_name_loads_no_command_line_and_no_testing():
    before = set(run("from __future__ import annotations; import logging, sys, typing, importlib; print(*sys.modules)").split())
    loaded = set(run("import rapidfailover, sys; rapidfailover.__version__, dir(rapidfailover); print(*sys.modules)").split()) - before
    assert loaded == {"rapidfailover"}
    loaded = run("from rapidfailover import *; import sys; print(*sys.modules)").split()
    assert not {"argparse", "rapidfailover.cli", "rapidfailover.testing", "rapidfailover.pytest_plugin"} & set(loaded)


@pytest.mark.slow
def test_an_import_costs_little_beside_requests(tmp_path):
    """All of it, four tenths of requests' own import; compiled once, as pip leaves it; of CPU, the best of several: machines are shared."""
    code = ("import time; start = time.process_time(); import requests; t = time.process_time(); import rapidfailover.api; "
            "print((time.process_time() - t) / (t - start))")
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert any(float(run(code, **compiled)) < 0.40 for _ in range(15))


@pytest.mark.slow
def test_a_name_that_is_not_there_is_an_error_of_its_kind_and_one_of_another_module_is_passed_on():
    run("""
import sys, rapidfailover
assert not hasattr(rapidfailover, "registrar") and not hasattr(rapidfailover, "__main__") and not hasattr(rapidfailover, "__wrapped__")
assert rapidfailover.checkups.Checkups is rapidfailover.registry.__class__.__init__.__globals__["Checkups"]  # a submodule, on demand
try: from rapidfailover import registrar
except ImportError as error: assert "cannot import name 'registrar'" in str(error)
for name in [name for name in sys.modules if name.startswith(("requests", "rapidfailover"))]: del sys.modules[name]
sys.modules["requests"] = None
import rapidfailover
for ask in "from rapidfailover import FailoverError", "rapidfailover.transport":
    try: exec(ask)
    except ModuleNotFoundError as error: assert error.name == "requests"
    else: sys.exit(ask)
""")


@pytest.mark.slow
def test_threads_that_ask_for_the_first_names_at_once_get_them():
    run("""
import sys, threading, rapidfailover
sys.setswitchinterval(1e-6)
names, given, together = [name for name in rapidfailover.__all__ if name != "MATRIX"] * 2, [], threading.Barrier(66, timeout=30)
def ask(name):
    together.wait()
    given.append((name, getattr(rapidfailover, name)))
threads = [threading.Thread(target=ask, args=(name,)) for name in names[:66]]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
assert len(given) == 66 and all(value is getattr(rapidfailover, name) for name, value in given), given
""")


def test_what_is_pickled_names_the_module_that_defines_it():
    loaded = run("import pickle, rapidfailover; print(pickle.dumps(rapidfailover.Route, 0), pickle.loads(pickle.dumps(rapidfailover.Route('/a'))))")
    assert "rapidfailover.config" in loaded and "path='/a'" in loaded


def test_the_log_is_silent_unless_asked_for():
    code = "import logging, rapidfailover; logging.getLogger('rapidfailover').warning('hidden')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stderr == ""


@pytest.mark.slow
def test_it_can_be_reloaded():
    done = run("import importlib, rapidfailover as r; importlib.reload(importlib.reload(r)); "
               "print(type(r.registry).__name__, r.call_with_failover.__name__)")
    assert done.split() == ["ProviderRegistry", "call_with_failover"]


# --- rapidfailover.registry: the submodule to those who import it, the default client's registry to all others ---

FORMS = """
import importlib, sys

def must(*claims):  # not by assert: -O takes that away
    if not all(claims):
        raise AssertionError(claims)

import NAME.registry as first
submodule = sys.modules["NAME.registry"]
must(first is submodule, importlib.import_module("NAME.registry") is submodule)
import NAME as package
import NAME.registry
default = package.default_client().registry
must(package.registry is default, NAME.registry is default, getattr(package, "registry") is default)
from NAME import registry
from NAME.registry import ProviderRegistry
must(registry is default, isinstance(registry, ProviderRegistry), ProviderRegistry is submodule.ProviderRegistry)

import NAME.registry as second; from NAME import MATRIX, registry as third, Rule; import NAME.registry as fourth, NAME.matrix as other
must(second is submodule, third is default, fourth is submodule, MATRIX is other.MATRIX, package.registry is default)

def inside(flag):
    if flag:
        import NAME.registry as fifth
    from NAME import registry as sixth
    def deeper():
        import NAME.registry as seventh
        return seventh, package.registry, fifth
    return fifth, sixth, package.registry, *deeper()
must(inside(True) == (submodule, default, default, submodule, default, submodule))

class Body:
    import NAME.registry as eighth
    from NAME import registry as ninth
must(Body.eighth is submodule, Body.ninth is default)

def generate():
    import NAME.registry as tenth
    yield tenth
    yield package.registry
must(list(generate()) == [submodule, default])

both = "import NAME.registry as one\\nfrom NAME import registry as two\\n"
for before in "", "".join(f"n{number} = {number}\\n" for number in range(1000)):  # the bytecode's arguments are extended
    seen = {}
    exec(before + both, seen)
    must(seen["one"] is submodule, seen["two"] is default)
exec("import NAME.registry as one\\nfrom NAME import *", seen)
must(seen["one"] is submodule, seen["registry"] is default)

for reloaded in package, submodule, package:
    importlib.reload(reloaded)
    import NAME.registry as after; from NAME import registry as same
    must(after is submodule, same is default, package.registry is default)

sys._getframe = None  # an interpreter without frames: it may not tell them apart, but fails at nothing
import NAME.registry as guessed
must(guessed is default, package.registry is default)
"""
TRACED = """
import sys
def trace(frame, event, argument):
    frame.f_trace_opcodes = True
    return trace
sys.settrace(trace)
sys.setprofile(lambda *event: None)
"""
MONITORED = """
import sys
if hasattr(sys, "monitoring"):
    from sys import monitoring
    monitoring.use_tool_id(1, "tests")
    for event in (monitoring.events.LINE, monitoring.events.INSTRUCTION):
        monitoring.register_callback(1, event, lambda *event: None)
    monitoring.set_events(1, monitoring.events.LINE | monitoring.events.INSTRUCTION)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rapidfailover", "acme.failover", "acme.registry"])
@pytest.mark.parametrize("before, options", [("", []), ("", ["-O"]), (TRACED, []), (MONITORED, [])], ids=["plain", "-O", "traced", "monitored"])
def test_every_form_of_import_gives_the_submodule_or_the_registry(tmp_path, name, before, options):
    shutil.copytree(PACKAGE, tmp_path.joinpath(*name.split(".")), ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "forms.py").write_text(FORMS.replace("NAME", name))
    done = subprocess.run([sys.executable, *options, "-W", "error", "-c", before + "\nimport forms"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_every_form_in_a_test_whose_asserts_pytest_rewrites():
    import rapidfailover.registry as submodule
    from rapidfailover import registry
    assert submodule is sys.modules["rapidfailover.registry"] and registry is rapidfailover.registry is rapidfailover.default_client().registry


def test_a_users_own_registry_stands_there_for_a_while(monkeypatch):
    default, own, other = rapidfailover.registry, object(), object()
    with mock.patch.object(rapidfailover, "registry", own):
        import rapidfailover.registry as submodule
        from rapidfailover import registry
        assert registry is own is rapidfailover.registry and submodule.ProviderRegistry is rapidfailover.ProviderRegistry
        with mock.patch("rapidfailover.registry", other), monkeypatch.context() as patch:
            assert rapidfailover.registry is other
            patch.setattr("rapidfailover.registry", None)
            assert rapidfailover.registry is None
            del rapidfailover.registry
            assert rapidfailover.registry is default
        assert rapidfailover.registry is own
    assert rapidfailover.registry is default
    with monkeypatch.context() as patch:
        patch.setattr(rapidfailover, "registry", own)
        importlib.reload(rapidfailover)
        assert rapidfailover.registry is own
        patch.delattr(rapidfailover, "registry")
        assert rapidfailover.registry is default
    rapidfailover.configure(registry=rapidfailover.ProviderRegistry())
    assert rapidfailover.registry is rapidfailover.default_client().registry is not default  # followed again, not what was put back
    rapidfailover.configure()


@pytest.mark.slow
def test_the_import_system_does_not_take_the_place_of_a_users_own_registry():
    run("""
import sys, rapidfailover
rapidfailover.registry = own = "my own"
for name in [name for name in sys.modules if name.startswith("rapidfailover.")]: del sys.modules[name]
import rapidfailover.registry as submodule
assert submodule is sys.modules["rapidfailover.registry"] and rapidfailover.registry is own
""")


def test_a_package_that_is_imported_lazily_has_its_registry_too():
    run("""
import importlib.util, sys
spec = importlib.util.find_spec("rapidfailover")
spec.loader = importlib.util.LazyLoader(spec.loader)
sys.modules["rapidfailover"] = rapidfailover = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rapidfailover)
assert isinstance(rapidfailover.registry, rapidfailover.ProviderRegistry)
import rapidfailover.registry as submodule
assert submodule is sys.modules["rapidfailover.registry"]
""")


# --- the pytest plugin, which is loaded before any conftest.py ---

SUITE = """
import sys
of_pytest = {"ssl"} if sys.version_info < (3, 9) else set()  # whose unittest imports asyncio
heavy = {name for name in sys.modules if name.split(".")[0] in ("requests", "urllib3", "ssl", "rapidfailover")} - of_pytest
assert sorted(heavy) == ["rapidfailover", "rapidfailover.pytest_plugin"], heavy
import gevent.monkey
gevent.monkey.patch_all()
"""
PATCHED = """
import ssl

import gevent
import urllib3.util.ssl_

def test_a_call(failover_client, fake_rapidapi):
    assert gevent.monkey.is_module_patched("socket")
    fake_rapidapi.fail("tiktok-scraper7", 503)
    assert failover_client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-feature"
    assert ssl.SSLContext is urllib3.util.ssl_.SSLContext and "gevent" in ssl.SSLContext.__module__
"""


@pytest.fixture
def installed(tmp_path):
    """As pip leaves it: the package, and its entry points beside it."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    shutil.copytree(PACKAGE, tmp_path / "site" / "rapidfailover", ignore=shutil.ignore_patterns("__pycache__"))
    about = tmp_path / "site" / "rapidfailover-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rapidfailover\nVersion: 0\n")
    (about / "RECORD").write_text("rapidfailover/__init__.py,,\nrapidfailover/pytest_plugin.py,,\n")
    (about / "entry_points.txt").write_text("[pytest11]\n" + metadata["options.entry_points"]["pytest11"].strip() + "\n")

    def suite(conftest, tests, *options, **environment):
        (tmp_path / "suite").mkdir()
        (tmp_path / "suite" / "conftest.py").write_text(conftest)
        (tmp_path / "suite" / "test_suite.py").write_text(tests)
        return subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options], cwd=tmp_path / "suite",
                              capture_output=True, text=True, timeout=120, env={**os.environ, **environment, "PYTHONPATH": str(tmp_path / "site")})
    return suite


@pytest.mark.slow
def test_a_suite_whose_conftest_patches_by_gevent_passes_where_it_is_installed(installed):
    """Other plugins are not loaded: some import requests. ``-p`` finds ours by its entry point all the same."""
    done = installed(SUITE, PATCHED, "-p", "rapidfailover", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("conftest", ["", "pytest_plugins = ['rapidfailover.testing']",
                                      "from rapidfailover.testing import FakeRapidAPI, failover_client, fake_rapidapi"])
def test_its_fixtures_are_found_by_themselves_and_by_every_name(installed, conftest):
    done = installed(conftest, "def test_it(failover_client, fake_rapidapi): assert failover_client.registry is fake_rapidapi.registry")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


# --- the size of the rooms ---

TABLES = {"catalog", "guide", "testing_payloads"}  # facts about providers, as many as there are


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_at_one_sitting(module):
    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert max(map(len, source.splitlines()), default=0) <= 100
    assert module in TABLES | {"testing"} or len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            assert module == "testing" or node.end_lineno - node.lineno < 200, node.name


@pytest.mark.slow
def test_a_line_holds_no_more_than_is_read_at_a_glance():
    """The models have four to six tokens a line."""
    tokens = lines = 0
    for module in MODULES:
        with open(PACKAGE / f"{module}.py", encoding="utf-8") as source:
            used, inside = set(), 0  # an f-string is one token until Python 3.11
            for token in tokenize.generate_tokens(source.readline):
                kind = tokenize.tok_name[token.type]
                inside -= kind.endswith("STRING_END")
                if not inside and kind not in ("NEWLINE", "NL", "INDENT", "DEDENT", "COMMENT", "ENDMARKER") and not kind.endswith("STRING_END"):
                    tokens += 1
                    used.update(range(token.start[0], token.end[0] + 1))
                inside += kind.endswith("STRING_START")
            lines += len(used)
    assert tokens / lines <= 6.5


@pytest.mark.parametrize("module", MODULES)
def test_no_module_uses_a_private_name_of_another(module):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {name.attr for name in ast.walk(tree) if isinstance(name, ast.Attribute) and isinstance(name.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert not any(alias.name.startswith("_") and not alias.name.startswith("__") for alias in node.names)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") or isinstance(node.value, ast.Call) \
                and getattr(node.value.func, "id", "") == "super"
            assert of_itself or node.attr in own | {"_replace", "_fields", "_getframe"}, node.attr  # the standard library's own


TESTED_IN = {  # the modules that a test file is about, where it is more than its own name
    "test_coalesce": {"flights"}, "test_file_cache": {"cache"}, "test_processes": {"fork"},
    "test_redis": {"fleet", "link", "mirror", "outbox"}, "test_sqlite": {"sqlite_file"},
    "test_stores": {"fleet", "link", "mirror", "redis", "sharing", "sqlite"},
}
NOBODYS = {"_replace", "_exit", "_getframe", "_original_response"}  # the standard library's, urllib3's


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_a_test_uses_no_private_name_of_a_module_that_it_is_not_about_unless_a_comment_says_why(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    about = TESTED_IN.get(path.stem, set()) | {path.stem.replace("test_", "")}
    sources = [PACKAGE / f"{module}.py" for module in about if module in MODULES]
    own = NOBODYS.union(*(re.findall(r"\b_[a-zA-Z]\w*", source.read_text(encoding="utf-8")) for source in sources))
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rapidfailover"):
            used = {alias.name for alias in node.names} if node.module.split(".")[-1] not in about else set()
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            used = {node.attr}
        else:
            continue
        if any(re.match("_[^_]", name) for name in used - own):
            here, before = lines[node.lineno - 1], lines[node.lineno - 2]
            assert "  # " in here or before.lstrip().startswith("#"), f"{path.name}:{node.lineno}: {here.strip()}"
