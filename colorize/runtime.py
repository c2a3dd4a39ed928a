"""The machine a run happens on: its device, its randomness, its files."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, else the CPU.

    Raises:
        ValueError: if no such device is here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # torch raises AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {error}") from error
    return device


def seed_all(*numbers: int) -> None:
    """Seed torch's generators by a few numbers, for example (seed, step).

    A run that seeds each step by its number can be continued anywhere without storing any
    generator's state.
    """
    torch.manual_seed(mix_seed(*numbers))


def mix_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, by SplitMix64: near numbers give unrelated seeds."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


@contextlib.contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[Path]:
    """A hidden path beside `path` to write to, renamed to `path` when the block ends well.

    No half-written file ever bears the final name, and a failed one is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    part = path.with_name(f".{path.name}.{writer}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
