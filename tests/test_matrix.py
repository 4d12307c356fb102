"""The error handling matrix: every row, over a socket and through `responses`."""

import pytest
import responses
from conftest import Upstream, http

from rapidfailover import (
    MATRIX,
    AuthenticationFailed,
    BadRequest,
    FailoverClient,
    ProviderConfig,
    ProviderRegistry,
    RequestRefused,
    Rule,
)
from rapidfailover.matrix import read_as

USER = ("tiktok", "/user/info", {"unique_id": "ada"})

# status over the wire, requests to that provider, what comes of it, faults counted
ROWS = [
    (400, 1, BadRequest, 0),
    (401, 1, AuthenticationFailed, 0),
    (403, 1, "switch", 0),
    (404, 1, "switch", 0),
    (429, 2, "switch", 1),
    (500, 2, "switch", 1),
    (502, 2, "switch", 1),
    (503, 2, "switch", 1),
    (504, 2, "switch", 1),
    # no row of their own
    (302, 1, "switch", 0),
    (408, 2, "switch", 1),
    (410, 1, "switch", 0),
    (422, 1, BadRequest, 0),
    (507, 2, "switch", 1),
    (999, 2, "switch", 1),
]


@pytest.mark.slow
@pytest.mark.parametrize("status, requests, outcome, faults", ROWS)
def test_a_row_over_a_socket(rapidapi, make_client, status, requests, outcome, faults):
    client = make_client(max_wait=0.01)
    rapidapi.fail("tiktok-scraper7", status)
    if outcome == "switch":
        result = client.call(*USER)
        assert result.provider == "tiktok-feature"
        assert [(a.provider, a.status, a.action, a.retries) for a in result.attempts] == [
            ("tiktok-scraper7", status, MATRIX[read_as(status)].action, requests - 1), ("tiktok-feature", 200, "success", 0)]
    else:
        with pytest.raises(outcome) as caught:
            client.call(*USER)
        assert (caught.value.provider, caught.value.status) == ("tiktok-scraper7", status)
    assert [r.provider for r in rapidapi.requests].count("tiktok-scraper7") == requests
    assert rapidapi.registry.snapshot()["tiktok"]["tiktok-scraper7"]["error_count"] == faults


@pytest.mark.parametrize("status, requests, outcome, faults", [r for r in ROWS if r[0] != 999])
def test_a_row_through_responses(status, requests, outcome, faults):
    registry = ProviderRegistry({"demo": [ProviderConfig("one", "one.p.rapidapi.com", 1),
                                          ProviderConfig("two", "two.p.rapidapi.com", 2)]})
    with responses.RequestsMock() as mock, FailoverClient(registry, api_key="k" * 20, max_wait=0.01) as client:
        failing = mock.get("https://one.p.rapidapi.com/thing", json={"message": "no"}, status=status)
        if outcome == "switch":
            mock.get("https://two.p.rapidapi.com/thing", json={"found": True})
            assert client.call_with_failover("demo", "/thing", {"q": 1}) == {"found": True}
        else:
            with pytest.raises(outcome):
                client.call("demo", "/thing")
        assert failing.call_count == requests
    assert registry.snapshot()["demo"]["one"]["error_count"] == faults


def test_200_is_success_and_the_default_table_says_so(rapidapi, client):
    result = client.call(*USER)
    assert (result.provider, result.stale, result.age) == ("tiktok-scraper7", False, 0.0)
    assert result.attempts[0].action == "success"
    assert len(rapidapi.requests) == 1


@pytest.mark.parametrize("status, reads_as", [
    (200, 200), (201, 200), (204, 404), (206, 200), (301, 403), (304, 403), (402, 403), (405, 403), (408, 504), (410, 403),
    (422, 400), (501, 500), (505, 500), (100, 502), (101, 502), (0, 502), (20, 502), (600, 502), (999, 502),
])
def test_a_status_without_a_row_takes_anothers(status, reads_as):
    assert read_as(status) == reads_as


def test_a_row_of_the_users_own_is_laid_over_the_table(rapidapi, make_client):
    client = make_client(matrix={429: MATRIX[429]._replace(retry=False), 418: Rule("teapot", False, False, False)})
    rapidapi.fail("tiktok-scraper7", 429)
    assert client.call(*USER).attempts[0].retries == 0
    rapidapi.fail("tiktok-scraper7", 418)
    with pytest.raises(RequestRefused) as caught:
        client.call(*USER)
    assert type(caught.value) is RequestRefused and caught.value.status == 418


def test_the_table_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        MATRIX[200] = Rule("x", True, True, True)


def test_a_row_of_success_for_another_status_is_success(make_client):
    with Upstream(http(status="201 Created")) as upstream:
        client = make_client(ProviderRegistry({"raw": [upstream.provider()]}), matrix={201: MATRIX[200]})
        assert client.call_with_failover("raw", "/thing") == {"ok": True}


@pytest.mark.parametrize("matrix", [{429: "retry"}, {"429": MATRIX[429]}, None, 5])
def test_a_matrix_of_something_else_is_refused(matrix):
    with pytest.raises(TypeError, match="Rules"):
        FailoverClient(matrix=matrix)
