"""Every public name, used as a typed program would: `make types` holds it to mypy --strict and to pyright."""

from typing import Any, Dict, List, Optional

import rapidfailover
from rapidfailover import (
    MATRIX,
    AllProvidersFailed,
    Attempt,
    AuthenticationFailed,
    BadRequest,
    FailoverClient,
    FailoverError,
    FileCache,
    InvalidAPIKey,
    InvalidEndpoint,
    LRUTTLCache,
    MissingAPIKey,
    NoProvidersAvailable,
    NotFound,
    Paging,
    ProviderConfig,
    ProviderRegistry,
    RapidAPIKey,
    RefreshRequest,
    RequestRefused,
    Result,
    Route,
    Rule,
    UnknownPlatform,
    UnknownProvider,
)
from rapidfailover.redis import RedisStore
from rapidfailover.testing import FakeRapidAPI, local_registry, using


def params(asked: Dict[str, Any]) -> Dict[str, Any]:
    return {"link": asked["username"]}


def check(endpoint: str, data: Any) -> int:
    return 200 if endpoint and data else 404


def hand_over(request: RefreshRequest) -> None:
    print(request.platform, request.endpoint, dict(request.params))


def on_event(name: str, fields: Dict[str, Any]) -> None:
    print(name, fields["platform"])


route = Route("/v2/profile", "POST", json=params, adapt=lambda data: data["data"])
by_path = Route(lambda asked: ("v1", "users", asked["name"]), pages=Paging(lambda asked, data: {**asked, "page": 2} if data else None))
as_text = Route(lambda asked: f"/v1/users/{asked['name']}")
provider = ProviderConfig("mine", "mine.example", 1, base_url="https://mine.example", use_case="profiles", status="ok",
                          advice="keep", enabled=True, routes={"/profile": route}, check=check)
registry = ProviderRegistry({"people": [provider]}, error_threshold=3, cooldown=300.0, max_cooldown=3600.0)
registry.add("people", ProviderConfig("other", "other.example", 2, auth=RapidAPIKey("key")), probe=("/profile", {"username": "ada"}))
rule: Rule = MATRIX[429]._replace(retry=False)
client = FailoverClient(registry, api_key=lambda: "key", refresh_key=lambda old: old + "2", cache=LRUTTLCache(),
                        store=RedisStore("redis://127.0.0.1", namespace="people"), namespace="customer",
                        timeout=15, deadline=25.0, max_wait=2.0, max_body=10 * 2 ** 20, max_stale=86400.0, fresh_for=0.0,
                        matrix={429: rule}, refresh=hand_over, coalesce=True, on_event=on_event)


def ask() -> Optional[Any]:
    try:
        result: Result = client.call("people", "/profile", {"username": "ada"}, timeout=5.0, deadline=9.0)
        attempts: List[Attempt] = list(result.attempts)
        print(attempts[0].provider, attempts[0].status, result.stale, result.age, result.quota, result.elapsed)
        return client.call_with_failover("people", "/profile", {"username": "ada"}, timeout=5.0)
    except (BadRequest, AuthenticationFailed, RequestRefused) as refused:
        return refused.provider, refused.status, refused.detail
    except (NotFound, NoProvidersAvailable, AllProvidersFailed) as failed:
        return failed.platform, [attempt.detail for attempt in failed.attempts], failed.retry_after
    except (UnknownPlatform, UnknownProvider, InvalidEndpoint, MissingAPIKey, InvalidAPIKey, FailoverError) as error:
        return str(error)


def manage() -> None:
    names: List[str] = [config.name for config in registry.get_available_providers("people")]
    registry.mark_error("people", names[0])
    registry.mark_success("people", names[0])
    registry.hold("people", names[0], 60.0)
    registry.disable("people", names[0])
    registry.enable("people", names[0])
    registry.reset("people", names[0])
    print(registry.snapshot()["people"][names[0]]["circuit"], registry.platforms, client.pending_refreshes)
    client.refresh_now(RefreshRequest("people", "/profile", {"username": "ada"}))
    health: Dict[str, Dict[str, Dict[str, Any]]] = client.check_provider_health(["people"])
    client.monitor(interval=300.0)
    client.close()
    print(health, FileCache("copies").get("key"), len(LRUTTLCache()))


def shared() -> None:
    rapidfailover.configure(api_key="key", timeout=10.0)
    default: FailoverClient = rapidfailover.default_client()
    shared_registry: ProviderRegistry = rapidfailover.registry
    result: Result = rapidfailover.call("tiktok", "/user/info", {"unique_id": "ada"})
    print(default.cache, shared_registry.platforms, result.data, rapidfailover.check_provider_health(["tiktok"]),
          rapidfailover.call_with_failover("tiktok", "/user/info", {"unique_id": "ada"}, 5.0),
          rapidfailover.get_tiktok_user("ada"), rapidfailover.get_instagram_profile("ada"),
          rapidfailover.get_youtube_video("dQw4w9WgXcQ"), rapidfailover.get_twitter_user("ada"),
          rapidfailover.get_linkedin_profile("ada"), rapidfailover.__version__)


def test_double() -> None:
    with FakeRapidAPI() as rapidapi, FailoverClient(rapidapi.registry, api_key="key") as tested:
        rapidapi.fail("tiktok-scraper7", 503, times=2)
        rapidapi.delay("tiktok-scraper7", 0.1)
        rapidapi.refuse("tiktok-tikwm")
        rapidapi.recover()
        print(tested.call("tiktok", "/user/info", {"unique_id": "ada"}).provider, rapidapi.requests[0].headers)


def test_own_platform() -> None:
    with FakeRapidAPI({"people": [provider]}, answers={"mine": {"/v2/profile": {"data": {}}}}) as rapidapi:
        rapidapi.answer("mine", "/v2/profile", lambda asked: (404, {"message": asked["link"]}))
        rapidapi.fail("mine", 503, times=1, endpoint="/profile")
    with using(FailoverClient(local_registry("http://127.0.0.1:8080"), api_key="key")) as used:
        print(used.registry)


def test_fixtures(fake_rapidapi: FakeRapidAPI, failover_client: FailoverClient) -> None:
    fake_rapidapi.quota("yt-api", 0)
    assert failover_client.call("tiktok", "/user/info", {"unique_id": "ada"}).provider == "tiktok-scraper7"
