"""What a user would write or pick instead. Each ``peer(urls, timeout, cooldown)`` is a function of a question.

``urls`` are the providers' by priority; ``cooldown`` is five minutes, or what stands for them in compressed time.
"""

import asyncio
import time

import requests

KEY = "0123456789msh0123456789abcdefp1012345jsn0123456789"
HEADERS = {"X-RapidAPI-Key": KEY, "X-RapidAPI-Host": "a.example"}


class Failed(Exception):
    pass


def first_that_answers(gets, *errors):
    """Provider after provider, until one's ``get(question)`` raises none of the errors."""
    def ask(question):
        for get in gets:
            try:
                return get(question)
            except errors as problem:
                last = problem
        raise Failed(repr(last))

    return ask


def get_json(client, url, timeout):
    """By a client of requests' or httpx's make: an error status is an error."""
    def get(question):
        response = client.get(url + "/x", params={"q": question}, headers=HEADERS, timeout=timeout)
        response.raise_for_status()
        return response.json()

    return get


def bare(urls, timeout=5.0, cooldown=300.0):
    """``requests.Session().get(...).json()``, on the first provider alone."""
    session = requests.Session()
    return lambda question: session.get(urls[0] + "/x", params={"q": question}, headers=HEADERS, timeout=timeout).json()


def prepared(urls, timeout=5.0, cooldown=300.0):
    """``Session.send`` with one prepared request, whatever the question."""
    session = requests.Session()
    request = session.prepare_request(requests.Request("GET", urls[0] + "/x?q=1", headers=HEADERS))
    return lambda question: session.send(request, timeout=timeout).json()


def pool_manager(urls, timeout=5.0, cooldown=300.0):
    import json

    import urllib3
    pool = urllib3.PoolManager()
    return lambda question: json.loads(pool.request("GET", f"{urls[0]}/x?q={question}", headers=HEADERS, timeout=timeout).data)


def httpx_client(urls, timeout=5.0, cooldown=300.0):
    import httpx
    client = httpx.Client(timeout=timeout)
    return lambda question: client.get(urls[0] + "/x", params={"q": question}, headers=HEADERS).json()


def strategy(urls, timeout=15.0, cooldown=300.0):
    """The strategy document's own way: an httpx client per call, a provider out for cooldown x faults after three."""
    import httpx
    errors, disabled_until = {}, {}

    def mark_error(url):
        errors[url] = errors.get(url, 0) + 1
        if errors[url] >= 3:
            disabled_until[url] = time.time() + cooldown * errors[url]

    async def call(question):
        last = None
        for url in [url for url in urls if disabled_until.get(url, 0) < time.time()]:
            try:
                async with httpx.AsyncClient() as client:
                    response = await client.get(url + "/x", headers=HEADERS, params={"q": question}, timeout=timeout)
                if response.status_code == 200:
                    errors[url] = 0
                    disabled_until.pop(url, None)
                    return response.json()
                if response.status_code == 429:
                    mark_error(url)
                    await asyncio.sleep(cooldown / 300)  # a second in five minutes
                elif response.status_code in (500, 502, 503, 504):
                    mark_error(url)
            except Exception as problem:
                mark_error(url)
                last = problem
        raise Failed(f"all providers failed: {last!r}")

    return lambda question: asyncio.run(call(question))


def sessions_with_retry(urls, timeout=5.0, cooldown=300.0):
    """A loop over Sessions with urllib3's Retry."""
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    def session():
        made = requests.Session()
        made.mount("http://", HTTPAdapter(max_retries=Retry(
            total=1, backoff_factor=0.1 * cooldown / 300, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=False)))
        return made

    return first_that_answers([get_json(session(), url, timeout) for url in urls], requests.RequestException, ValueError)


def tenacity_pybreaker(urls, timeout=5.0, cooldown=300.0):
    """tenacity around pybreaker around a Session, provider after provider."""
    import pybreaker
    import tenacity
    session = requests.Session()

    def guarded(url):
        breaker, get = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=cooldown), get_json(session, url, timeout)
        return lambda question: tenacity.Retrying(
            stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_random(0.1 * cooldown / 300, 0.3 * cooldown / 300),
            retry=tenacity.retry_if_exception_type(requests.RequestException), reraise=True,
        )(breaker.call, get, question)

    return first_that_answers(list(map(guarded, urls)), requests.RequestException, ValueError, pybreaker.CircuitBreakerError)


def requests_cache_stale(urls, timeout=5.0, cooldown=300.0):
    """requests-cache with stale_if_error, provider after provider."""
    import requests_cache
    session = requests_cache.CachedSession(backend="memory", expire_after=0.001, stale_if_error=True, allowable_codes=(200,))
    return first_that_answers([get_json(session, url, timeout) for url in urls], requests.RequestException, ValueError)


def httpx_retries(urls, timeout=5.0, cooldown=300.0):
    """httpx with httpx-retries, provider after provider."""
    import httpx
    from httpx_retries import Retry, RetryTransport
    client = httpx.Client(transport=RetryTransport(retry=Retry(total=1, backoff_factor=0.1 * cooldown / 300, respect_retry_after_header=False)),
                          timeout=timeout)
    return first_that_answers([get_json(client, url, timeout) for url in urls], httpx.HTTPError, ValueError)


def ours(urls, timeout=15.0, cooldown=300.0):
    """rapidfailover, everything on."""
    from rapidfailover import FailoverClient, ProviderConfig, ProviderRegistry
    providers = [ProviderConfig(f"p{number}", "a.example", number, base_url=url) for number, url in enumerate(urls)]
    registry = ProviderRegistry({"p": providers}, cooldown=cooldown, max_cooldown=12 * cooldown)
    client = FailoverClient(registry, api_key=KEY, timeout=timeout, deadline=max(5 / 3 * timeout, 0.1), max_wait=2 * cooldown / 300)
    ask = lambda question: client.call("p", "/x", {"q": question}).data  # noqa: E731
    ask.client = client
    return ask


ALONE = {"requests.Session, by hand": bare, "Session.send(prepared)": prepared, "urllib3 PoolManager": pool_manager, "httpx client": httpx_client}
FAILOVER = {"rapidfailover": ours, "the strategy's own code": strategy, "loop over Sessions, urllib3 Retry": sessions_with_retry,
            "tenacity + pybreaker + Session": tenacity_pybreaker, "requests-cache, stale_if_error": requests_cache_stale,
            "httpx + httpx-retries": httpx_retries}
