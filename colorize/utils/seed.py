"""Randomness: every random number follows from a few integers, by one rule (`derive_seed`)."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# Functions of torch's that take a generator.
_DRAWING = {
    *("bernoulli", "bernoulli_", "exponential_", "multinomial", "normal", "normal_", "rand"),
    *("randint", "randn", "random_", "randperm", "uniform_"),
}
_generator_of: ContextVar[Callable[[torch.device], torch.Generator | None]] = ContextVar(
    "generator_of", default=lambda device: None
)


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
    | noise and samples of a colorized photo | seed |

    torch's global generators are never seeded.
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


@contextlib.contextmanager
def seeded_noise(*numbers: int) -> Iterator[None]:
    """Let networks draw their noise in this block from generators of its own, by `derive_seed`.

    torch's global generators are left alone, and other threads do not notice.
    """
    seed = derive_seed(*numbers)
    token = _generator_of.set(
        functools.cache(lambda device: torch.Generator(device).manual_seed(seed))
    )
    try:
        yield
    finally:
        _generator_of.reset(token)


def noise_generator(device: torch.device) -> torch.Generator | None:
    """Return the generator of `seeded_noise` on a device; outside of it None, torch's global one.

    Layers with noise draw from it, those of your own networks too if they are to be repeatable.
    """
    return _generator_of.get()(device)


class DrawFrom(TorchFunctionMode):
    """Let initializers of layers draw from one generator in this block, in this thread."""

    def __init__(self, generator: torch.Generator):
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch's, with the generator if it draws."""
        kwargs = dict(kwargs or {})
        is_drawing = func.__name__ in _DRAWING or "generator" in kwargs  # as of `torch.nn.init`
        if is_drawing and kwargs.get("generator") is None:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


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
