"""`rapidfailover verify`: asked of a local RapidAPI that answers as the catalogue says, or does not."""

import io
import json

import pytest
from conftest import KEY

from rapidfailover import FailoverClient, ProviderConfig, cli
from rapidfailover.testing import FakeRapidAPI


@pytest.fixture
def verify(rapidapi, monkeypatch, capsys):
    """(exit status, stdout, stderr) of the command on the local RapidAPI."""
    monkeypatch.setenv("RAPIDAPI_KEY", KEY)

    def verify(*arguments, registry=None):
        status = cli.main(["verify", *map(str, arguments)], registry=registry or rapidapi.registry)
        return (status, *capsys.readouterr())

    return verify


def test_all_is_as_the_catalogue_says_and_each_is_asked_once(rapidapi, verify):
    status, out, err = verify("--yes")
    assert status == 0 and "WRONG" not in out
    assert err.startswith(f"{len(rapidapi.requests)} metered calls at most: tiktok-scraper7 7, ")
    assert out.splitlines()[-1] == f"{len(rapidapi.requests)} of {len(rapidapi.requests)} are as the catalogue says"
    assert len({(request.provider, request.path, str(request.params)) for request in rapidapi.requests}) >= len(rapidapi.requests) - 1  # /company twice


@pytest.mark.parametrize("answer, asked", [("y\n", 3), ("yes\n", 3), ("n\n", 0), ("\n", 0), ("", 0)])
def test_it_asks_before_it_spends(rapidapi, verify, monkeypatch, answer, asked):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    status, _, err = verify("youtube")
    assert (status, len(rapidapi.requests)) == (0 if asked else 1, asked)
    assert err.startswith("3 metered calls at most: yt-api 3\nGo on? [y/N] ") and ("nothing was asked" in err) is (asked == 0)


def test_a_field_that_is_missing_or_renamed_or_of_another_type_is_wrong(rapidapi, verify):
    rapidapi.answer("yt-api", "/video/info", {"id": "v", "headline": "was title", "viewCount": 7, "likeCount": 1, "channelId": "c",
                                              "channelTitle": "t", "publishedAt": None})
    status, out, _ = verify("youtube", "--yes")
    assert status == 1 and out.splitlines()[:4] == [
        "WRONG yt-api /video/info: answered, 5 fields there, 1 missing, 1 changed, 1 new",
        "        missing: title", "        changed: viewCount: number, not text", "        new: headline"]
    assert out.splitlines()[-1] == "2 of 3 are as the catalogue says"


@pytest.mark.parametrize("fault, said", [(403, "403 forbidden (Forbidden)"), (400, "400 Bad Request"), (503, "503 unavailable"),
                                         ("dead", "200 not found"), ("html", "200 bad gateway"), ("cut", "200 bad gateway")])
def test_an_answer_that_is_none_is_wrong_and_not_asked_for_again(rapidapi, verify, fault, said):
    rapidapi.fail("yt-api", fault, endpoint="/channel/about")
    status, out, _ = verify("youtube", "--yes")
    assert status == 1 and f"WRONG yt-api /channel/about: {said}" in out and len(rapidapi.requests) == 3


def test_who_is_not_subscribed_is_asked_once(rapidapi, verify):
    rapidapi.fail("yt-api", "not-subscribed")
    status, out, _ = verify("youtube", "--yes")
    assert status == 1 and len(rapidapi.requests) == 1 and "not subscribed" in out.lower() and out.count("not asked: ") == 2


def test_the_pace_of_a_plan_is_no_finding(rapidapi, verify):
    rapidapi.fail("yt-api", "per-second", times=1)
    status, out, _ = verify("youtube", "--yes")
    assert status == 0 and out.splitlines()[-1] == "3 of 3 are as the catalogue says" and len(rapidapi.requests) == 4


def test_a_platform_that_is_named_twice_is_asked_once(rapidapi, verify):
    status, out, _ = verify("youtube", "youtube", "--yes")
    assert status == 0 and len(rapidapi.requests) == 3


def test_nothing_is_paid_for_that_cannot_be_recorded(rapidapi, verify, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = verify("youtube", "--yes", "--record", tmp_path / "file")
    assert status == 1 and str(tmp_path / "file") in err and rapidapi.requests == []


def test_who_did_not_answer_confirms_nothing(rapidapi, verify):
    for provider in rapidapi.providers["tiktok"]:
        rapidapi.fail(provider.name, 503)
    status, out, _ = verify("tiktok", "--yes")
    assert status == 1 and out.splitlines()[-1].startswith("0 of ")


def test_a_provider_whose_contract_is_not_established_contradicts_nothing(rapidapi, verify):
    rapidapi.fail("tiktok-tikwm", 404)
    status, out, _ = verify("tiktok", "--yes")
    assert status == 0 and "?     tiktok-tikwm /user/info: 404" in out


def test_what_an_earlier_answer_should_have_given_is_not_guessed(rapidapi, verify):
    rapidapi.fail("instagram-looter2", 503, endpoint="/profile")
    status, out, _ = verify("instagram", "--yes")
    assert status == 1 and "WRONG instagram-looter2 /user-feeds: not asked: /profile gave no id" in out


def test_a_refused_key_ends_it(rapidapi, verify):
    rapidapi.fail("tiktok-scraper7", "invalid-key")
    status, _, err = verify("--yes")
    assert status == 1 and "AuthenticationFailed" in err and len(rapidapi.requests) == 1 and KEY not in err


def test_wrong_names_and_no_key(verify, monkeypatch):
    assert verify("myspace", "--yes")[0] == 2
    monkeypatch.delenv("RAPIDAPI_KEY")
    assert verify("youtube", "--yes")[0] == 1


def test_it_touches_no_circuit_of_the_registry(rapidapi, verify):
    rapidapi.fail("yt-api", 503)
    verify("youtube", "--yes")
    assert rapidapi.registry.snapshot()["youtube"]["yt-api"]["error_count"] == 0


def test_what_was_recorded_is_played_and_holds_no_secret(rapidapi, verify, tmp_path):
    rapidapi.answer("yt-api", "/video/info", {"id": "v", "title": f"echo of {KEY}", "viewCount": "7"})
    rapidapi.answer("instagram-stats", "/community", {"meta": {"code": 200}, "data": {"screenName": "recorded", "name": "R", "cid": "INST:9"}})
    verify("--yes", "--record", tmp_path / "kept")
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((tmp_path / "kept").iterdir())]
    assert len(kept) == len(rapidapi.requests) and KEY not in json.dumps(kept) and "echo of" in json.dumps(kept)
    with FakeRapidAPI(answers=tmp_path / "kept") as played, FailoverClient(played.registry, api_key=KEY, refresh=False) as client:
        assert client.call("youtube", "/video/info", {"id": "any"}).data["viewCount"] == "7"
        played.fail("instagram-looter2", 404)
        assert client.call("instagram", "/profile", {"username": "any"}).data["username"] == "recorded"  # adapted anew
        assert client.call("linkedin", "/person_deep", {"link": "https://www.linkedin.com/in/williamhgates"}).data["success"]


def test_a_folder_that_cannot_be_written_is_told(verify, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = verify("youtube", "--yes", "--record", tmp_path / "file")
    assert status == 1 and str(tmp_path / "file") in err and "Traceback" not in err


def test_a_provider_that_is_added_to_a_platform_is_verified_too(verify):
    own = ProviderConfig("yt-own", "yt-own.p.rapidapi.com", 2)
    with FakeRapidAPI() as catalogue, FakeRapidAPI({"youtube": [own]}) as fake:
        fake.answer("yt-own", "/video/info", {"id": "v", "title": "t"})
        catalogue.registry.add("youtube", fake.providers["youtube"][0])
        status, out, _ = verify("youtube", "--yes", registry=catalogue.registry)
    assert status == 1 and "WRONG yt-own /video/info: answered, 2 fields there, 5 missing" in out and len(fake.requests) == 3
