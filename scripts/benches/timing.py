"""Two ways of doing the same thing, timed in turn."""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turn(ways: Mapping[str, Callable], repeats: int) -> dict[str, float]:
    """The median seconds of each way; so far as the machine's load moves, it moves them alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


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
