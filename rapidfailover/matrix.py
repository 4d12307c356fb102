"""The strategy's error handling matrix, as one table of data."""

from __future__ import annotations

from types import MappingProxyType
from typing import Mapping, NamedTuple

__all__ = ["MATRIX", "Rule", "read_as"]


class Rule(NamedTuple):
    """One row: what a status means and what is done about it."""

    action: str  # its name: the error handling matrix's word
    retry: bool  # once more at the same provider
    switch: bool  # on to the next provider
    fault: bool  # counts against the provider


MATRIX: Mapping[int, Rule] = MappingProxyType(
    {
        #          action          retry  switch fault
        200: Rule("success", False, False, False),
        400: Rule("bad request", False, False, False),
        401: Rule("auth failed", False, False, False),  # after one refresh_key
        403: Rule("forbidden", False, True, False),
        404: Rule("not found", False, True, False),
        429: Rule("rate limited", True, True, True),  # waits before its retry
        500: Rule("server error", True, True, True),
        502: Rule("bad gateway", True, True, True),  # a bad payload too, which is not retried
        503: Rule("unavailable", True, True, True),  # no connection too
        504: Rule("timeout", True, True, True),  # our own too, which is not retried
    }
)

# Statuses without a row of their own that do not read as the first of their class.
_READ_AS = {204: 404, 408: 504, 422: 400}
_CLASS = {2: 200, 3: 403, 4: 403, 5: 500}


def read_as(status: int, matrix: Mapping[int, Rule] = MATRIX) -> int:
    """The row that a status reads as: its own, else its class's, else 502."""
    if status in matrix:
        return status
    return _READ_AS.get(status) or _CLASS.get(status // 100, 502)
