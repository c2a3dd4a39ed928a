"""Two ways of doing the same thing, timed in turn."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection

import numpy as np


def in_turn(ways: Mapping[str, Callable], repeats: int) -> dict[str, float]:
    """The median seconds of each way; so far as the machine's load moves, it moves them alike."""
    return {name: statistics.median(taken) for name, taken in all_in_turn(ways, repeats).items()}


def all_in_turn(ways: Mapping[str, Callable], repeats: int) -> dict[str, list[float]]:
    """The seconds of each way, of every round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


@contextlib.contextmanager
def in_a_process(make: Callable[..., Callable], *args: object) -> Iterator[Callable]:
    """What `make` makes of the arguments, called in a process of its own.

    So a plain way is timed with torch and the allocator as they come, whatever ours has set.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_answer, args=(make, args, theirs), daemon=True
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


def _answer(make: Callable, args: tuple, asked: Connection) -> None:
    way = make(*args)
    with contextlib.suppress(EOFError):  # the other side has closed
        while True:
            asked.recv()
            asked.send(way())


def compare(
    plain: Callable, ours: Callable, per: int, unit: str, tolerance: float, repeats: int = 7
) -> dict:
    """Check that both agree within `tolerance`, time them in turn, divide by `per`."""
    gap = np.abs(plain().astype(np.float64) - ours().astype(np.float64)).max()
    if gap > tolerance:
        raise AssertionError(f"the two ways differ by {gap}, more than {tolerance}")
    times = in_turn({"plain": plain, "ours": ours}, repeats)
    slow, fast = (seconds * 1000 / per for seconds in times.values())
    return {"plain": slow, "ours": fast, "unit": unit, "ratio": slow / fast}
