"""The tree of errors."""

import pickle

import pytest
import requests

from rapidfailover import errors
from rapidfailover.config import Attempt
from rapidfailover.errors import AllProvidersFailed, FailoverError, refusal

TREE = {
    "FailoverError": requests.RequestException,
    "UnknownPlatform": errors.FailoverError, "UnknownProvider": errors.FailoverError,
    "InvalidEndpoint": errors.FailoverError, "MissingAPIKey": errors.FailoverError,
    "InvalidAPIKey": errors.FailoverError,
    "RequestRefused": errors.FailoverError, "BadRequest": errors.RequestRefused,
    "AuthenticationFailed": errors.RequestRefused,
    "AllProvidersFailed": errors.FailoverError, "NotFound": errors.AllProvidersFailed,
    "NoProvidersAvailable": errors.AllProvidersFailed,
}


def test_the_tree_is_whole():
    assert sorted(TREE) == sorted(errors.__all__)
    for name, base in TREE.items():
        assert getattr(errors, name).__bases__[0] is base
        assert f"{name}" in errors.__doc__


@pytest.mark.parametrize("name, builtin", [("UnknownPlatform", LookupError), ("UnknownProvider", LookupError),
                                           ("InvalidEndpoint", ValueError)])
def test_some_are_builtin_errors_too(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("name", sorted(TREE))
def test_each_prints_its_message_and_pickles(name):
    error = getattr(errors, name)("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) == "what happened"
    assert error.request is None and error.response is None


def test_evidence_survives_a_pickle():
    attempts = (Attempt("one", 503, "unavailable", "no", 1, 0.5),)
    error = AllProvidersFailed("none", platform="tiktok", attempts=attempts, retry_after=7.5)
    again = pickle.loads(pickle.dumps(error))
    assert (again.platform, again.attempts, again.retry_after) == ("tiktok", attempts, 7.5)


@pytest.mark.parametrize("row, kind", [(400, errors.BadRequest), (401, errors.AuthenticationFailed),
                                       (418, errors.RequestRefused)])
def test_a_refusal_says_who_what_and_why(row, kind):
    error = refusal(row, "one", 422, "id is missing")
    assert type(error) is kind and isinstance(error, FailoverError)
    assert str(error) == "one refused the request with 422: id is missing"
    again = pickle.loads(pickle.dumps(error))
    assert (again.provider, again.status, again.detail) == ("one", 422, "id is missing")
    assert str(refusal(row, "one", 422, "")) == "one refused the request with 422"
