"""The fixtures ``fake_rapidapi`` and ``failover_client``; nothing of the rest is imported before a
test asks for one.

pytest loads an installed plugin before any ``conftest.py``, and gevent has to patch before requests
is imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Iterator

if TYPE_CHECKING:
    from .client import FailoverClient
    from .testing import FakeRapidAPI

__all__ = ["failover_client", "fake_rapidapi"]


def _fake_rapidapi() -> Iterator[FakeRapidAPI]:
    """A local RapidAPI, closed after the test."""
    from .testing import FakeRapidAPI

    with FakeRapidAPI() as rapidapi:
        yield rapidapi


def _failover_client(fake_rapidapi: FakeRapidAPI) -> Iterator[FailoverClient]:
    """A FailoverClient on ``fake_rapidapi``, closed after the test."""
    from .client import FailoverClient

    with FailoverClient(fake_rapidapi.registry, api_key="not-a-real-key") as client:
        yield client


_fixture: Any = (
    sys.modules["pytest"].fixture if "pytest" in sys.modules else lambda function: function
)
fake_rapidapi, failover_client = _fixture(_fake_rapidapi), _fixture(_failover_client)
