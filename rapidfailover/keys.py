"""RapidAPI's key: where it comes from, and what replaces one that was refused."""

from __future__ import annotations

import math
import os
import time
from typing import Any, Callable

from .coalesce import Flight, SingleFlight
from .credentials import Key, KeySource, checked_key
from .deadline import Deadline
from .errors import InvalidAPIKey, MissingAPIKey
from .fork import anew_in_child, new_lock, pass_on

__all__ = ["Keys"]

_RENEWED_AGAIN = 60.0  # seconds after which a key that is refused once more is renewed once more


class Keys:
    """Where the key comes from, and what became of those that were refused. Thread-safe."""

    def __init__(
        self,
        source: KeySource,
        refresh_key: Callable[[str], str] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._refresh_key = refresh_key
        self._clock = clock
        # old key -> when refresh_key was asked, and why there is no new key
        self._asked: dict[Key, tuple[float, str]] = {}
        self._renewed: dict[Key, Key] = {}  # old key -> the one that replaced it
        self._renewals: SingleFlight[_Renewal] = SingleFlight()
        anew_in_child(self._renew)

    def _renew(self) -> None:
        self._lock = new_lock()

    def current(self, deadline: Deadline) -> Key:
        """From a text, a callable or ``RAPIDAPI_KEY``, read anew. MissingAPIKey, InvalidAPIKey."""
        if self._source is None:
            key = checked_key("RAPIDAPI_KEY", os.environ.get("RAPIDAPI_KEY"))
        elif callable(self._source):
            key = checked_key("api_key()", _answer_of(deadline, self._source))
        else:
            key = checked_key("api_key", self._source)
        newer: Key | None = key
        while newer is not None:
            key, newer = newer, self._renewed.get(newer)
        return key

    def renew(self, old: Key, deadline: Deadline) -> tuple[Key | None, str]:
        """The key that replaces a refused one, or None and why there is none.

        ``refresh_key`` runs once however many threads ask; the others wait for it, each within its
        own deadline. Its answer is remembered, so a straggler gets it at once. For the same key it
        runs once a minute at most, whatever came of it.
        """
        if self._refresh_key is None:
            return None, ""
        own = _Renewal()
        try:  # before others can wait for it: an interrupt can arrive anywhere
            renewal = self._renewals.join(old, own) or own
            if renewal is own:
                self._run(old, own, deadline)
            elif not renewal.landed.wait(deadline.left()):
                return None, "refresh_key is still running"
            return renewal.key, renewal.problem
        finally:
            self._renewals.land(old, own)

    def _run(self, old: Key, renewal: _Renewal, deadline: Deadline) -> None:
        with self._lock:
            if old in self._renewed:  # by one that has landed meanwhile
                renewal.key, renewal.problem = self._renewed[old], ""
                return
            asked_at, problem = self._asked.get(old, (-math.inf, ""))
            if self._clock() - asked_at < _RENEWED_AGAIN:
                renewal.problem = problem
                return
        try:
            new = checked_key("refresh_key()", _answer_of(deadline, self._refresh_key, str(old)))
        except (MissingAPIKey, InvalidAPIKey) as refused:
            self._settle(old, renewal, None, str(refused))
        else:
            self._settle(
                old, renewal, None if new == old else new, "refresh_key returned the same key"
            )

    def _settle(self, old: Key, renewal: _Renewal, new: Key | None, problem: str) -> None:
        with self._lock:
            now = self._clock()
            self._asked = {
                key: asked for key, asked in self._asked.items() if now - asked[0] < _RENEWED_AGAIN
            }
            self._asked[old] = now, (
                problem if new is None else "it was renewed less than a minute ago"
            )
            if new is not None:
                self._renewed.pop(new, None)  # in use again: renewals must not go in a circle
                self._renewed[old] = new
        renewal.key, renewal.problem = new, problem if new is None else ""


class _Renewal(Flight):
    def __init__(self) -> None:
        super().__init__()
        self.key: Key | None = None
        self.problem = "refresh_key was interrupted"


def _answer_of(deadline: Deadline, source: Any, *args: str) -> Any:
    """What a callable of the user's returns. Whatever it raises means that there is no key."""
    try:
        return deadline.outside(source, *args)
    except Exception as problem:
        pass_on(problem)
        trouble = type(problem).__name__  # its text may hold a key
    raise MissingAPIKey(f"the callable for the key raised {trouble}")
