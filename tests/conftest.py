"""A clock that tests turn by hand, a local RapidAPI, and an upstream that sends whatever bytes it is given."""

import os
import threading
from unittest import mock

import pytest
from catalogue import CATALOGUE
from faults import Upstream, http  # noqa: F401

import rapidfailover.api
from rapidfailover import MATRIX, FailoverClient, ProviderRegistry
from rapidfailover.testing import FakeRapidAPI

KEY = "0123456789msh0123456789abcdefp1012345jsn0123456789"  # has the form of one, is none

# For tests in which urllib3's retry and its pause are not the subject.
NO_RETRY = {status: rule._replace(retry=False) for status, rule in MATRIX.items()}


class Clock:
    """Seconds that pass when ``tick`` says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def tick(self, seconds):
        self.now += seconds


def in_threads(count, work):
    """``work(n)`` in that many threads at once; their first error is raised."""
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    running = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    assert not any(thread.is_alive() for thread in running)
    if failures:
        raise failures[0]


def forget_default_client():
    """Leave the module as it is after import: no public name does that."""
    default = rapidfailover.api._default  # there is one for each process
    if default.client is not None:
        default.client.close()
    default.client = default.registry = None


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rapidapi():
    with FakeRapidAPI(CATALOGUE) as fake:
        yield fake


@pytest.fixture
def make_client(rapidapi):
    """Clients on the local RapidAPI's registry, closed in the end."""
    clients = []

    def make(registry=None, **options):
        options.setdefault("api_key", KEY)
        clients.append(FailoverClient(registry or rapidapi.registry, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client):
    return make_client(matrix=NO_RETRY, max_wait=0.0)


@pytest.fixture
def worker(rapidapi, make_client):
    """Workers of a fleet: each a client with a registry and a connection of its own."""
    def make(store, *, rules=None, **options):
        options = {"matrix": NO_RETRY, "max_wait": 0.0, "refresh": False, **options}
        store = store if hasattr(store, "share") else store.store()
        return make_client(ProviderRegistry(rapidapi.providers, **(rules or {})), store=store, **options)
    return make


@pytest.fixture
def unhurried():
    """Everything counts as quick: the machine's own hiccups are not the subject."""
    with mock.patch.multiple("rapidfailover.link", _PATIENCE=5.0, _SLOW=5.0, _SILENCE=10.0), mock.patch("rapidfailover.sqlite_file._BUSY", 5.0):
        yield


def pytest_sessionfinish(session, exitstatus):
    """A test that CI skips guards nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped") and exitstatus == 0:
        reporter.write_line("skipped tests are failures in CI", red=True)
        session.exitstatus = 1
