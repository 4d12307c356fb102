"""How many connections a pool keeps: as many as the busiest moment of the last minute needed."""

import queue
import random

import pytest
from conftest import Clock, in_threads

from rapidfailover.pool import _Stack

MOST = 256


class Connection:
    closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stack(clock):
    """As a pool of urllib3's makes it."""
    stack = type("Stack", (_Stack,), {"clock": staticmethod(clock)})(MOST)
    for _ in range(MOST):
        stack.put(None)
    return stack


def busy(stack, count):
    """So many requests at once. The connections that served them."""
    taken = [stack.get() or Connection() for _ in range(count)]
    for connection in taken:
        stack.put(connection)
    return taken


def kept(stack):
    return [item for item in stack._items if item is not None]


def test_a_burst_finds_all_connections_of_the_burst_before(stack, clock):
    first = busy(stack, 128)
    clock.tick(59)
    busy(stack, 1)
    assert set(busy(stack, 128)) == set(first) and not any(connection.closed for connection in first)


def test_what_was_not_needed_for_a_minute_is_closed_and_the_longest_idle_first(stack, clock):
    connections = busy(stack, 128)
    for _ in range(4):
        clock.tick(31)
        used = busy(stack, 2)
    assert len(kept(stack)) == 2 and set(kept(stack)) == set(used)
    assert sum(connection.closed for connection in connections) == 126
    assert len(stack._items) == MOST  # a place for each that may be in use


def test_a_minute_that_is_long_past_does_not_count(stack, clock):
    busy(stack, 128)
    clock.tick(3600)
    busy(stack, 3)
    clock.tick(61)
    busy(stack, 1)
    assert len(kept(stack)) <= 3


def test_a_steady_load_keeps_its_connections(stack, clock):
    connections = busy(stack, 40)
    for _ in range(100):
        clock.tick(7)
        assert set(busy(stack, 40)) == set(connections)


def test_what_is_in_use_is_none_of_its_business(stack, clock):
    taken = [stack.get() or Connection() for _ in range(100)]
    for _ in range(5):
        clock.tick(61)
        busy(stack, 1)
    for connection in taken:
        stack.put(connection)
    assert not any(connection.closed for connection in taken) and len(stack._items) == MOST


def test_no_more_than_its_size(stack):
    taken = [stack.get() for _ in range(MOST)]
    with pytest.raises(queue.Empty):
        stack.get()
    for _ in taken:
        stack.put(Connection())
    with pytest.raises(queue.Full):
        stack.put(Connection())


def test_no_connection_is_closed_while_a_thread_has_it(stack, clock):
    def work(number):
        chance = random.Random(number)
        for _ in range(300):
            try:
                taken = [stack.get() or Connection() for _ in range(chance.randint(1, 8))]
            except queue.Empty:
                continue
            assert not any(connection.closed for connection in taken)
            clock.tick(chance.random() * 40)
            assert not any(connection.closed for connection in taken)
            for connection in taken:
                try:
                    stack.put(connection)
                except queue.Full:
                    connection.close()

    in_threads(16, work)
