"""Asks the same question about many things, in threads; yields an Answer for each as it is done.

Knows no client: ``ask`` is the client's ``call``. No thread holds the iterator, so dropping the
iterator ends the threads.
"""

from __future__ import annotations

import heapq
from copy import deepcopy
from queue import Empty, SimpleQueue
from threading import Thread
from typing import (
    Any,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from .config import Result, check_seconds, encode_query, nests
from .deadline import monotonic
from .errors import (
    AuthenticationFailed,
    BadRequest,
    FailoverError,
    InvalidAPIKey,
    InvalidEndpoint,
    MissingAPIKey,
    UnknownPlatform,
)
from .fork import pass_on
from .matrix import MATRIX

__all__ = ["Answer", "answers"]

_FATAL = (AuthenticationFailed, MissingAPIKey, InvalidAPIKey, UnknownPlatform, InvalidEndpoint)
_REMEMBERED = 2**16  # questions, to ask duplicates once: the latest 65,536 at least; about 10 MB
_WAITING = 4  # times the threads: how many may wait for a provider while others are taken
_OPINIONS = (MATRIX[403].action, MATRIX[404].action, "skipped")
_TRIES = 2  # more tries of an item, where nobody had an answer and no retry_after is known
_LONGEST_OUTAGE = 10  # times the patience: when nobody answers for so long, no item waits any more
_LOOK = 0.5  # seconds: the longest sleep; on Windows an interrupt does not end a sleep
# seconds; an answer to another item ends a longer wait. A turn by the provider's pace comes sooner
_LONG = 1.0
_SOON = 0.05  # seconds, the shortest wait

Ask = Callable[[Mapping[str, Any]], Result]


class Answer(NamedTuple):
    """One item of a batch: what was asked, and what came of it."""

    params: Mapping[str, Any]
    result: Result | None  # None where there is an error
    error: FailoverError | None


class _Item:
    """A question on its way."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.tries = 0  # further ones
        self.error: FailoverError | None = None  # of the latest try
        self.was_asked = False  # whether a provider was, and failed
        self.answers: int | None = None  # to other items, when it was first under way

    def first_asked(self, answers: int) -> None:
        self.answers = answers if self.answers is None else self.answers
        self.is_alone = False  # whether no other was under way when it was asked


_Done = Tuple[_Item, Optional[Result], Optional[BaseException]]


def answers(
    ask: Ask,
    questions: Iterable[Mapping[str, Any]],
    threads: int = 8,
    patience: float = 60.0,
    may_nest: Callable[[], bool] = bool,
) -> Generator[Answer, None, None]:
    """``ask`` each of the questions; ValueError or TypeError at once for arguments that make no
    sense.

    ``may_nest``: whether their values may be objects. The questions are taken in the caller's
    thread. Closing the generator ends the threads, each when the call that it makes is over.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"threads is a positive whole number, not {threads!r}")
    check_seconds("patience", patience, zero=True)
    if isinstance(questions, (str, bytes, Mapping)):
        raise TypeError(f"questions is an iterable of params, it is no {type(questions).__name__}")
    return _answers(ask, _Source(questions, may_nest), threads, patience)


def _answers(
    ask: Ask, source: _Source, threads: int, patience: float
) -> Generator[Answer, None, None]:
    crew = _Crew(ask, threads)
    waiting = _Waiting(patience)
    try:
        while True:
            while crew.under_way < threads:
                taken = waiting.due(crew.under_way) or (
                    source.take() if len(waiting) < _WAITING * threads else None
                )
                if taken is None:
                    break
                if isinstance(taken, Answer):
                    yield taken
                else:
                    taken.first_asked(waiting.answers)
                    crew.start(taken)
            if not crew.under_way and not waiting:
                break
            done = crew.wait(waiting.seconds())
            if done is not None:
                yield from _judged(done, waiting)
                if source.is_over() and not crew.under_way:
                    yield from map(_failed, waiting.hopeless())
        if source.problem is not None:
            raise source.problem
    finally:
        crew.end()


def _judged(done: _Done, waiting: _Waiting) -> list[Answer]:
    """The answers that are final; none where the item waits for another try.

    Raises an error that every item would meet.
    """
    item, result, problem = done
    if problem is None:
        waiting.answered()
        return [Answer(item.params, result, None)]
    if isinstance(problem, _FATAL) or not isinstance(problem, FailoverError):
        raise problem
    item.error = problem
    if not problem.retryable:
        waiting.answered()
        return [_failed(item)]
    return list(map(_failed, waiting.put(item, problem)))


def _failed(item: _Item) -> Answer:
    return Answer(item.params, None, item.error)


def _as_it_is_now(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


class _Source:
    """The questions, each once. An item that is no params is refused; the others go on."""

    def __init__(
        self, questions: Iterable[Mapping[str, Any]], may_nest: Callable[[], bool]
    ) -> None:
        self._may_nest = may_nest
        # what the iterable raised: raised again when all that it gave is answered
        self.problem: Exception | None = None
        self._questions: Iterator[Mapping[str, Any]] | None = iter(questions)
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()

    def take(self) -> _Item | Answer | None:
        """The next question that was not asked yet, or the Answer to an item that cannot be asked;
        None at the end.
        """
        while self._questions is not None:
            try:
                params = next(self._questions)
            except StopIteration:
                self._questions = None
                return None
            except Exception as problem:
                pass_on(problem)
                self.problem, self._questions = problem, None
                return None
            try:
                query = encode_query(params, self._may_nest)
                # copied: a generator may give the same dict again and again
                asked = {
                    name: deepcopy(value) if nests(value) else _as_it_is_now(value)
                    for name, value in (params or {}).items()
                }
            except (TypeError, ValueError, RecursionError) as problem:
                return Answer(params, None, BadRequest(f"this cannot be asked: {problem}"))
            if self._is_new(hash(query)):
                return _Item(asked)
        return None

    def is_over(self) -> bool:
        return self._questions is None

    def _is_new(self, question: int) -> bool:
        if question in self._seen or question in self._seen_before:
            return False
        if len(self._seen) >= _REMEMBERED:
            self._seen, self._seen_before = set(), self._seen
        self._seen.add(question)
        return True


class _Waiting:
    """The items that no provider could answer, until they are asked again."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._timed: list[tuple[float, int, _Item]] = []  # a heap, by when they are due
        self._number = 0
        # these wait until the calls under way show whether anybody answers
        self._others: list[_Item] = []
        self._failing_since: float | None = None
        self.answers = 0  # so far
        self._is_in_vain = False  # the latest try

    def __len__(self) -> int:
        return len(self._timed) + len(self._others)

    def put(self, item: _Item, error: FailoverError) -> list[_Item]:
        """Let the item wait where that is worth it; else return it, and with it the items that
        would fail in the same way.

        To wait is worth it where ``retry_after`` is within the patience. Without a ``retry_after``,
        it may be the first moment of an outage, or this item's own fault: it gets a few more tries.
        While other calls are under way, a long ``retry_after`` may be due to one of them that goes
        first after a hold. After a very long outage, no item waits any more.
        """
        now, seconds = monotonic(), getattr(error, "retry_after", None)
        if self._failing_since is None:
            self._failing_since = now
        is_asked = any(attempt.action != "skipped" for attempt in getattr(error, "attempts", ()))
        item.was_asked = item.was_asked or is_asked
        self._is_in_vain = is_asked and now - self._failing_since > self._patience
        if seconds is None:
            if item.tries == _TRIES or _is_said_of_the_item(error):
                return [item]
            seconds = 2.0**item.tries
            item.tries += 1
        elif seconds > self._patience > 0 and not item.is_alone:
            self._others.append(item)
            return []
        if (
            seconds > self._patience
            or now + seconds - self._failing_since > _LONGEST_OUTAGE * self._patience
        ):
            others, self._others = self._others, []
            return [item, *others]
        self._push(now + max(seconds, _SOON), item)
        return []

    def hopeless(self) -> list[_Item]:
        """All that wait, where they are the last, and one has just failed after nobody was answered
        for as long as the patience: an outage that is shorter would be over. Each of them has
        failed itself, since others were answered.
        """
        if not self._is_in_vain:
            return []
        waiting = [item for *_, item in self._timed] + self._others
        if not all(item.was_asked and self.answers > (item.answers or 0) for item in waiting):
            return []
        self._timed, self._others = [], []
        return waiting

    def answered(self) -> None:
        """A provider answers: items that wait for long, or for this sign, may be asked now."""
        self._failing_since, now = None, monotonic()
        self.answers += 1
        if self._others or self._timed and max(self._timed)[0] > now + _LONG:
            timed, others = self._timed, self._others
            self._timed, self._others = [], []
            for item in others:
                self._push(now, item)
            for due, _, item in timed:
                self._push(now if due > now + _LONG else due, item)

    def _push(self, due: float, item: _Item) -> None:
        self._number += 1
        heapq.heappush(self._timed, (due, self._number, item))

    def seconds(self) -> float:
        """Until the next is due, half a second at most."""
        return min(max(self._timed[0][0] - monotonic(), 0.0), _LOOK) if self._timed else _LOOK

    def due(self, under_way: int) -> _Item | None:
        if self._timed and self._timed[0][0] <= monotonic():
            return heapq.heappop(self._timed)[2]
        if self._others and not under_way and not self._timed:
            return self._others.pop(0)
        return None


def _is_said_of_the_item(error: FailoverError) -> bool:
    """Whether there were attempts, and each ended in a 403, a 404 or a skip: none was out."""
    attempts = getattr(error, "attempts", ())
    return bool(attempts) and all(attempt.action in _OPINIONS for attempt in attempts)


class _Crew:
    """The threads, started as they are needed."""

    def __init__(self, ask: Ask, threads: int) -> None:
        self.under_way = 0
        self._ask = ask
        self._threads = threads
        self._started = 0
        # re-entrant: the garbage collector may run end() anywhere
        self._to_ask: SimpleQueue[Optional[_Item]] = SimpleQueue()
        self._done: SimpleQueue[_Done] = SimpleQueue()

    def start(self, item: _Item) -> None:
        item.is_alone = not self.under_way
        self.under_way += 1
        self._to_ask.put(item)
        if self._started < self._threads:
            self._started += 1
            Thread(
                target=_work,
                args=(self._ask, self._to_ask, self._done),
                name=f"{__package__}-batch",
                daemon=True,
            ).start()

    def wait(self, seconds: float) -> _Done | None:
        """What is done next, or None after so many seconds."""
        try:
            done = self._done.get(timeout=seconds) if seconds > 0 else self._done.get_nowait()
        except Empty:
            return None
        self.under_way -= 1
        return done

    def end(self) -> None:
        try:
            while True:
                self._to_ask.get_nowait()  # nobody wants the answer any more
        except Empty:
            pass
        for _ in range(self._started):
            self._to_ask.put(None)


def _work(ask: Ask, to_ask: SimpleQueue[Optional[_Item]], done: SimpleQueue[_Done]) -> None:
    while True:
        item = to_ask.get()
        if item is None:
            return
        try:
            done.put((item, ask(item.params), None))
        except BaseException as problem:  # raised in the caller's thread
            done.put((item, None, problem))
        del item
