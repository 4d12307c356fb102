"""Identical calls under way share one upstream request."""

from __future__ import annotations

import threading
from copy import copy as copy_of
from typing import Any, Callable, Tuple

from .coalesce import Flight, SingleFlight
from .config import Result
from .deadline import Deadline, monotonic
from .errors import FailoverError, NotFound, RequestRefused
from .payload import parse

__all__ = ["Flights"]

Decide = Callable[[], Tuple[Result, bytes]]


_DECODING = 3e-8  # seconds a byte, until it was measured; next to nothing for a small answer


class _Call(Flight):
    """One call that others wait for."""

    def __init__(self, timeout: float, deadline: Deadline) -> None:
        super().__init__()
        self.leader = threading.get_ident()
        self.timeout = timeout
        self.deadline = deadline
        self.result: Result | None = None
        self.body = b""
        self.error: FailoverError | None = None
        self._turn = threading.Lock()
        self._takes = -1.0  # seconds to decode the body, once that is known

    def may_be_joined_by(self, later: Flight) -> bool:
        """Nobody waits for a call of its own thread, nor for one whose time is over.

        An interrupt can arrive anywhere, and may have kept its leader from saying that it landed.
        """
        is_anothers = not isinstance(later, _Call) or self.leader != later.leader
        return is_anothers and not self.landed.is_open and self.deadline.left() > 0

    def decoded(self, deadline: Deadline) -> Any:
        """The data, decoded anew for each caller; None where there is no time to decode it.

        Callers decode one after the other: side by side, each would take as long as all together.
        """
        if self._takes < 0:
            self._takes = len(self.body) * _DECODING
        longest = min(max(0.0, deadline.left() - self._takes), threading.TIMEOUT_MAX)
        if not self._turn.acquire(timeout=longest):
            return None
        try:
            began = monotonic()
            if deadline.left() < self._takes:
                return None
            data = parse(self.body, checked=True)
            self._takes = max(self._takes, monotonic() - began)
            return data
        finally:
            self._turn.release()

    def had_time_of(self, other: _Call) -> bool:
        """Whether this call had at least as much time as the ``other``, later one has."""
        return self.timeout >= other.timeout and self.deadline.seconds >= other.deadline.seconds


class Flights(SingleFlight[_Call]):
    """The calls under way, by their keys."""

    def share(
        self,
        key: str,
        timeout: float,
        deadline: Deadline,
        decide: Decide,
        too_late: Callable[[str], FailoverError],
    ) -> Result:
        """What ``decide`` comes to here or in a call that is under way: its result, a copy for
        each, or its error.

        ``too_late(provider)`` makes the error where the answer is there and no time is left to
        decode it.
        """
        own = _Call(timeout, deadline)
        try:
            while True:
                flight = self.join(key, own) or own
                if flight is own:
                    own.result, own.body = decide()
                    return own.result
                flight.landed.wait(min(deadline.left(), flight.deadline.left()))
                if deadline.left() <= 0:
                    return decide()[0]  # the copy, or the error
                result, error = flight.result, flight.error
                if result is not None and (not result.stale or flight.had_time_of(own)):
                    data = flight.decoded(deadline)
                    if data is None:
                        raise too_late(result.provider)
                    return result._replace(
                        data=data,
                        elapsed=deadline.elapsed(),
                        quota=result.quota and dict(result.quota),
                    )
                if error is not None and (
                    isinstance(error, (RequestRefused, NotFound)) or flight.had_time_of(own)
                ):
                    raise copy_of(error)
                # Its leader was interrupted, or had less time than this call has: ask for
                # ourselves.
        except FailoverError as error:
            own.error = error
            raise
        finally:
            self.land(key, own)
