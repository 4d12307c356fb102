"""All pages of a list, over real sockets."""

import time

import pytest
from conftest import NO_RETRY, forget_default_client
from local_host import LocalHost

import rapidfailover
from rapidfailover import (
    AllProvidersFailed,
    InvalidEndpoint,
    Paging,
    ProviderRegistry,
    Route,
    UnknownPlatform,
    UnknownProvider,
)


def following(params, data):
    return {**params, "cursor": data["cursor"]} if data["more"] else None


def pages_of(count, name="own"):
    """A list of so many pages; the cursor of a page is told by the one before."""
    def answer(path, params):
        number = int(params.get("cursor", "0"))
        return 200, {"from": name, "page": number, "cursor": number + 1, "more": number + 1 < count}
    return answer


@pytest.fixture
def two(make_client):
    """(client, first host, second host): both have a list of three pages, and the catalogue says how it goes on."""
    route = {"/posts": Route("/posts", pages=Paging(following))}
    with LocalHost(lambda *asked: first.answer(*asked)) as first, LocalHost(lambda *asked: second.answer(*asked)) as second:
        first.answer, second.answer = pages_of(3, "first"), pages_of(3, "second")
        registry = ProviderRegistry({"own": [first.provider("first", routes=route), second.provider("second", 2, routes=route)]})
        yield make_client(registry, matrix=NO_RETRY, max_wait=0.0), first, second


def test_a_result_for_each_page_as_the_catalogue_says_how_to_go_on(two):
    client, first, _ = two
    results = list(client.pages("own", "/posts", {"id": "7"}))
    assert [result.data["page"] for result in results] == [0, 1, 2]
    assert first.asked == [{"id": "7"}, {"id": "7", "cursor": "1"}, {"id": "7", "cursor": "2"}]


def test_page_one_from_whoever_has_it_and_the_others_from_that_provider_alone(two):
    client, first, second = two
    first.answer = lambda *asked: (503, {"message": "down"})
    pages = client.pages("own", "/posts")
    assert next(pages).provider == "second"
    first.answer = pages_of(3, "first")  # it is back: nobody asks it about a cursor of the other's
    assert [result.data["from"] for result in pages] == ["second", "second"] and len(first.asked) == 1


def test_a_page_that_fails_raises_after_the_others_and_it_goes_on_from_there(two):
    client, first, second = two
    first.answer = lambda path, params: (503, {"message": "down"}) if params.get("cursor") == "1" else pages_of(3)(path, params)
    pages, had = client.pages("own", "/posts"), []
    with pytest.raises(AllProvidersFailed):
        for result in pages:
            had.append(result)
    assert [result.data["page"] for result in had] == [0] and second.asked == []
    first.answer = pages_of(3)
    params = following({}, had[-1].data)
    assert [result.data["page"] for result in client.pages("own", "/posts", params, provider=had[-1].provider)] == [1, 2]


def test_page_one_of_a_stale_copy_pins_its_provider_too(two):
    client, first, second = two
    next(client.pages("own", "/posts"))
    first.answer = second.answer = lambda *asked: (503, {"message": "down"})
    pages = client.pages("own", "/posts")
    result = next(pages)
    assert (result.stale, result.provider) == (True, "first")
    asked = len(second.asked)
    second.answer = pages_of(3)
    with pytest.raises(AllProvidersFailed):
        next(pages)
    assert len(second.asked) == asked


def test_next_goes_before_the_catalogue_and_serves_where_it_says_nothing(two):
    client, first, _ = two
    results = client.pages("own", "/posts", next=lambda params, data: {"cursor": 2} if data["page"] == 0 else None)
    assert [result.data["page"] for result in results] == [0, 2]
    results = client.pages("own", "/others", {"of": "x"}, next=following)
    assert [result.data["page"] for result in results] == [0, 1, 2] and first.asked[-1] == {"of": "x", "cursor": "2"}


def test_without_either_it_is_told_before_anything_is_sent(two):
    client, first, second = two
    with pytest.raises(InvalidEndpoint, match="pass next="):
        client.pages("own", "/others")
    assert first.asked == second.asked == []


def test_a_provider_whose_pages_nobody_knows_ends_it_after_the_first(two):
    client, first, second = two
    client.registry.add("own", first.provider("third", 0, routes={"/posts": Route("/posts")}))
    pages = client.pages("own", "/posts")
    assert next(pages).provider == "third"
    with pytest.raises(InvalidEndpoint, match="third"):
        next(pages)


@pytest.mark.parametrize("cursors", [[0], [1, 1], [1, 2, 1], [1, 2, 0]])
def test_a_cursor_that_comes_twice_ends_it_with_an_error(two, cursors):
    """The first page has cursor 0 in its params; what was had stays had."""
    client, first, _ = two
    told = iter(cursors)
    first.answer = lambda path, params: (200, {"cursor": next(told), "more": True})
    had = []
    with pytest.raises(AllProvidersFailed, match=f"first gave a cursor for the second time, after {len(cursors)} page"):
        had.extend(client.pages("own", "/posts", {"cursor": 0}))
    assert len(first.asked) == len(cursors)


def test_a_page_that_does_not_say_how_to_go_on_is_an_error_after_it(two):
    client, first, _ = two
    first.answer = lambda *asked: (200, {"page": 0})
    pages = client.pages("own", "/posts")
    assert next(pages).data == {"page": 0}
    with pytest.raises(AllProvidersFailed, match="page 1 of first does not say how to go on: KeyError"):
        next(pages)


def test_what_next_raises_comes_as_it_is(two):
    client, _, _ = two
    pages = client.pages("own", "/posts", next=lambda params, data: 1 / 0)
    next(pages)
    with pytest.raises(ZeroDivisionError):
        next(pages)


@pytest.mark.parametrize("limit, requests", [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_limit_bounds_the_pages_and_what_is_asked(two, limit, requests):
    client, first, _ = two
    assert len(list(client.pages("own", "/posts", limit=limit))) == requests == len(first.asked)


def test_what_the_caller_does_with_a_page_changes_nothing(two):
    client, first, _ = two
    for result in client.pages("own", "/posts"):
        result.data.clear()
    assert len(first.asked) == 3


def test_nothing_is_asked_before_it_is_wanted(two):
    client, first, _ = two
    pages = client.pages("own", "/posts")
    assert first.asked == []
    next(pages)
    assert len(first.asked) == 1
    pages.close()


def test_each_page_has_a_deadline_of_its_own(two):
    client, first, _ = two
    paged = pages_of(3)

    def slow(*asked):
        time.sleep(0.15)
        return paged(*asked)

    first.answer = slow
    assert len(list(client.pages("own", "/posts", timeout=0.3, deadline=0.3))) == 3  # 0.45 s in all


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_a_limit_that_is_none_is_refused_at_once(two, limit):
    with pytest.raises(ValueError, match="limit is a positive whole number"):
        two[0].pages("own", "/posts", limit=limit)


def test_names_that_are_none_are_refused_at_once(two):
    client, _, _ = two
    for error, arguments in ((UnknownPlatform, ("myspace", "/posts")), (InvalidEndpoint, ("own", "posts"))):
        with pytest.raises(error):
            client.pages(*arguments)
    with pytest.raises(UnknownProvider):
        client.pages("own", "/posts", provider="fourth")
    with pytest.raises(TypeError):
        client.pages("own", "/posts", {"id": {}})


def test_the_module_has_it_on_the_default_client(two):
    client, first, _ = two
    rapidfailover.configure(registry=client.registry, api_key="not-a-real-key")
    try:
        assert len(list(rapidfailover.pages("own", "/posts", limit=2))) == 2 == len(first.asked)
    finally:
        forget_default_client()
