"""Random seeds that follow from numbers."""

import torch


def seed_all(*numbers: int) -> None:
    """Seed torch's generators by a few numbers, for example (seed, step).

    A run that seeds each step by its number can be continued anywhere without storing any
    generator's state.
    """
    seed = derive_seed(*numbers)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would note in vain, with a traceback, what to do once there is a GPU
        torch.default_generator.manual_seed(seed)


def derive_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, by SplitMix64: near numbers give unrelated seeds."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1
