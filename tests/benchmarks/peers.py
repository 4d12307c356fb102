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
    """By a client of requests' or httpx's make: an error status is an error, and so is an answer without what is read of it."""
    def get(question):
        response = client.get(url + "/x", params={"q": question}, headers=HEADERS, timeout=timeout)
        response.raise_for_status()
        data = response.json()
        data["question"]
        return data

    return get


NO_DATA = (requests.RequestException, ValueError, KeyError)


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
                    data = response.json()
                    data["question"]
                    errors[url] = 0
                    disabled_until.pop(url, None)
                    return data
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

    return first_that_answers([get_json(session(), url, timeout) for url in urls], *NO_DATA)


def tenacity_pybreaker(urls, timeout=5.0, cooldown=300.0):
    """tenacity around pybreaker around a Session, provider after provider."""
    import pybreaker
    import tenacity
    session = requests.Session()

    def guarded(url):
        breaker, get = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=cooldown), get_json(session, url, timeout)
        return lambda question: tenacity.Retrying(
            stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_random(0.1 * cooldown / 300, 0.3 * cooldown / 300),
            retry=tenacity.retry_if_exception_type(NO_DATA), reraise=True,
        )(breaker.call, get, question)

    return first_that_answers(list(map(guarded, urls)), *NO_DATA, pybreaker.CircuitBreakerError)


def requests_cache_stale(urls, timeout=5.0, cooldown=300.0):
    """requests-cache with stale_if_error, provider after provider."""
    import requests_cache
    session = requests_cache.CachedSession(backend="memory", expire_after=0.001, stale_if_error=True, allowable_codes=(200,))
    return first_that_answers([get_json(session, url, timeout) for url in urls], *NO_DATA)


def httpx_retries(urls, timeout=5.0, cooldown=300.0):
    """httpx with httpx-retries, provider after provider."""
    import httpx
    from httpx_retries import Retry, RetryTransport
    client = httpx.Client(transport=RetryTransport(retry=Retry(total=1, backoff_factor=0.1 * cooldown / 300, respect_retry_after_header=False)),
                          timeout=timeout)
    return first_that_answers([get_json(client, url, timeout) for url in urls], httpx.HTTPError, ValueError, KeyError)


def threads_and_copies(urls, timeout=5.0, cooldown=300.0):
    """What a good engineer writes: circuitbreaker, tenacity, a deadline by a thread pool, copies in cachetools, a check."""
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from concurrent.futures import TimeoutError as TooLate

    import cachetools
    import circuitbreaker
    import tenacity
    session, pool, lock = requests.Session(), ThreadPoolExecutor(64), threading.Lock()
    copies = cachetools.TTLCache(10_000, 288 * cooldown)

    def is_transient(problem):
        status = getattr(getattr(problem, "response", None), "status_code", None)
        return isinstance(problem, requests.ConnectionError) or status in (500, 502, 503, 504)

    def guarded(url):
        once_more = tenacity.retry(
            stop=tenacity.stop_after_attempt(2), retry=tenacity.retry_if_exception(is_transient), reraise=True,
            wait=tenacity.wait_random(0.1 * cooldown / 300, 0.3 * cooldown / 300))
        breaker = circuitbreaker.CircuitBreaker(3, cooldown, NO_DATA, name=url)
        return breaker(once_more(get_json(session, url, timeout)))

    from_anybody = first_that_answers(list(map(guarded, urls)), *NO_DATA, circuitbreaker.CircuitBreakerError)

    def ask(question):
        try:
            data = pool.submit(from_anybody, question).result(5 / 3 * timeout)
        except (Failed, TooLate):
            with lock:
                return copies[question]
        with lock:
            copies[question] = data
        return data

    return ask


def asyncio_and_copies(urls, timeout=5.0, cooldown=300.0):
    """The same with asyncio in a thread of its own: httpx, purgatory, copies in cachetools, a check."""
    import threading

    import cachetools
    import httpx
    import purgatory
    from purgatory.domain.model import OpenedState
    loop, client = asyncio.new_event_loop(), httpx.AsyncClient()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    breakers = purgatory.AsyncCircuitBreakerFactory(default_threshold=3, default_ttl=cooldown)
    copies = cachetools.TTLCache(10_000, 288 * cooldown)
    no_data = (httpx.HTTPError, ValueError, KeyError, OpenedState, asyncio.TimeoutError)

    async def get(url, question):
        for attempt in range(2):
            async with await breakers.get_breaker(url):
                response = await client.get(url + "/x", params={"q": question}, headers=HEADERS)
                if response.status_code in (500, 502, 503, 504) and not attempt:
                    await asyncio.sleep(0.2 * cooldown / 300)
                    continue
                response.raise_for_status()
                data = response.json()
                data["question"]
                return data

    async def from_anybody(question):
        for url in urls:
            try:
                data = copies[question] = await asyncio.wait_for(get(url, question), timeout)
                return data
            except no_data:
                pass
        return copies[question]

    async def in_time(question):
        try:
            return await asyncio.wait_for(from_anybody(question), 5 / 3 * timeout)
        except asyncio.TimeoutError:
            return copies[question]

    return lambda question: asyncio.run_coroutine_threadsafe(in_time(question), loop).result()


def ours(urls, timeout=15.0, cooldown=300.0):
    """rapidfailover, everything on."""
    from rapidfailover import FailoverClient, ProviderConfig, ProviderRegistry
    providers = [ProviderConfig(f"p{number}", "a.example", number, base_url=url, check=has_question) for number, url in enumerate(urls)]
    registry = ProviderRegistry({"p": providers}, cooldown=cooldown, max_cooldown=12 * cooldown)
    client = FailoverClient(registry, api_key=KEY, timeout=timeout, deadline=max(5 / 3 * timeout, 0.1), max_wait=2 * cooldown / 300)
    ask = lambda question: client.call("p", "/x", {"q": question}).data  # noqa: E731
    ask.client = client
    return ask


def has_question(endpoint, data):
    return 200 if "question" in data else 502


def compress(factor):
    """Shorten the pauses of rapidfailover that no option sets, as all other times are."""
    from rapidfailover import circuit, deadline, members, refresh, session, visiting
    for module, names in ((deadline, ["_RESERVE"]), (circuit, ["FIRST_EARLY", "LAST_EARLY", "_SOON"]), (members, ["_DOUBLED", "_SILENT"]),
                          (refresh, ["_FIRST_PAUSE", "_LAST_PAUSE"]), (visiting, ["_UNTOLD_WAIT"])):
        for name in names:
            setattr(module, name, factor * getattr(module, name))
    session._PAUSE = tuple(factor * seconds for seconds in session._PAUSE)
    circuit.Circuit.__init__.__defaults__ = tuple(  # which were taken when the class was made
        circuit.FIRST_EARLY if default == circuit.FIRST_EARLY / factor else default for default in circuit.Circuit.__init__.__defaults__)


ALONE = {"requests.Session, by hand": bare, "Session.send(prepared)": prepared, "urllib3 PoolManager": pool_manager, "httpx client": httpx_client}
FAILOVER = {"rapidfailover": ours, "the strategy's own code": strategy, "loop over Sessions, urllib3 Retry": sessions_with_retry,
            "tenacity + pybreaker + Session": tenacity_pybreaker, "requests-cache, stale_if_error": requests_cache_stale,
            "httpx + httpx-retries": httpx_retries, "circuitbreaker + tenacity + thread pool + cachetools": threads_and_copies,
            "asyncio + httpx + purgatory + cachetools": asyncio_and_copies}
