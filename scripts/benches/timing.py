"""Time two implementations of the same function in turn."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np

Row = dict[str, Any]  # of a benchmark's table: plain, ours, unit, ratio, and more numbers
T = TypeVar("T")

_is_tiny = False


def use_tiny_sizes() -> None:
    """Let all benchmarks run at a size that tells whether they work, but nothing about speed."""
    global _is_tiny
    _is_tiny = True


def sized(full: T, tiny: T) -> T:
    """Return the size of a benchmark, or the tiny one for tests."""
    return tiny if _is_tiny else full


def in_turn(ways: Mapping[str, Callable], repeats: int) -> dict[str, float]:
    """Return the median seconds of each function; changes of the load affect them alike."""
    return {name: statistics.median(times) for name, times in all_in_turn(ways, repeats).items()}


def all_in_turn(ways: Mapping[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each function in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(sized(repeats, 1)):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


@contextlib.contextmanager
def in_a_process(make: Callable[..., Callable], *args: object) -> Iterator[Callable]:
    """Yield a function that calls `make(*args)` in another process.

    The plain implementation is thus timed with the defaults of torch and the allocator, whatever
    ours has changed.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(make, args, theirs), daemon=True
    )
    process.start()
    theirs.close()

    def call() -> object:
        ours.send(None)
        return ours.recv()

    try:
        yield call
    finally:
        ours.close()
        process.join()


def _serve(make: Callable, args: tuple, requests: Connection) -> None:
    way = make(*args)
    with contextlib.suppress(EOFError):  # the other side has closed
        while True:
            requests.recv()
            requests.send(way())


def compare(
    plain: Callable[[], np.ndarray],
    ours: Callable[[], np.ndarray],
    *,
    per: int,
    unit: str,
    tolerance: float,
    repeats: int = 7,
) -> Row:
    """Check that two implementations agree, and time them.

    Args:
        plain: the plain implementation.
        ours: ours.
        per: by which the milliseconds are divided, such as a number of photos.
        unit: of the result.
        tolerance: largest difference of a value.
        repeats: number of rounds.

    Raises:
        AssertionError: if they do not agree.
    """
    difference = np.abs(plain().astype(np.float64) - ours().astype(np.float64)).max()
    if difference > tolerance:
        raise AssertionError(f"the results differ by {difference}, more than {tolerance}")
    slow, fast = in_turn({"plain": plain, "ours": ours}, repeats).values()
    factor = 1000 / per
    return {"plain": slow * factor, "ours": fast * factor, "unit": unit, "ratio": slow / fast}
