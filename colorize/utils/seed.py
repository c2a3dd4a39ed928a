"""Randomness: every random number follows from a few integers, by one rule (`derive_seed`)."""

import contextlib
from collections.abc import Iterator

import torch


def derive_seed(*numbers: int) -> int:
    """Derive one 63-bit seed from several integers, by SplitMix64.

    Close integers give unrelated seeds. The whole project draws its random numbers from
    generators seeded in this way, so no generator's state has to be stored: a run can be continued
    at any step, and an example can be made in any process. What each draw is seeded by:

    | drawn | seeded by |
    |---|---|
    | order of the photos in an epoch | seed, epoch |
    | an example: its crop, degradations and hints | seed, epoch, index of the photo |
    | noise inside the networks in training (dropout) | seed, global step, micro-batch |
    | noise in validation, sample images and scores | seed |
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


def seeded_generator(*numbers: int) -> torch.Generator:
    """Create a CPU generator that is seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*numbers))


def seed_all(*numbers: int) -> None:
    """Seed torch's global generators, of the CPU and of accelerators, by `derive_seed`."""
    seed = derive_seed(*numbers)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # torch.manual_seed would record a deferred call for CUDA, with a traceback
        torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Use torch's deterministic algorithms inside the block, if enabled; restore its mode after."""
    mode = torch.get_deterministic_debug_mode()
    if enabled:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
