"""An iterable that runs ahead in a thread."""

import threading

import pytest

from colorize.utils.threads import InTurn, prefetch


def test_items_come_in_order_and_an_error_in_its_place():
    def items():
        yield from range(20)
        raise ValueError("at the end")

    seen = []
    with pytest.raises(ValueError, match="at the end"):
        for item in prefetch(items(), 3):
            seen.append(item)
    assert seen == list(range(20))
    assert list(prefetch(range(20), 3)) == list(range(20))


def test_it_runs_ahead_but_not_far():
    made, ahead = [], threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 4:
                ahead.set()
            yield number

    iterator = prefetch(items(), 3)
    assert next(iterator) == 0
    assert ahead.wait(10), "nobody asked for these items yet"
    assert len(made) <= 6
    iterator.close()
    assert len(made) <= 7


def test_closing_ends_the_thread():
    before = threading.active_count()
    iterator = prefetch(iter(int, 1), 2)  # endless
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


def test_calls_run_in_turn_and_an_error_reaches_the_caller():
    calls = []

    def call(number):
        calls.append(number)
        if number == 3:
            raise ValueError("of the third")

    with pytest.raises(ValueError, match="of the third"), InTurn(2) as thread:
        for number in range(1, 100):
            thread.submit(call, number)
    assert calls[:3] == [1, 2, 3] and len(calls) < 10
    with pytest.raises(KeyboardInterrupt), InTurn(2) as thread:
        raise KeyboardInterrupt
