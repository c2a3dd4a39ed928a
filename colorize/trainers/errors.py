"""What goes wrong in a training step, said in terms of the settings."""

import contextlib
from collections.abc import Iterator

import torch

from colorize.config import TrainConfig
from colorize.utils.checks import counted

DIVERGED_ADVICE = (
    "The last checkpoint is kept. Start again in another folder with a lower lr, or with grad_clip."
)


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is not finite."""


@contextlib.contextmanager
def explained_memory(config: TrainConfig, photos: int) -> Iterator[None]:
    """Say what to set when a device's memory does not suffice for `photos` at a time.

    Raises:
        ValueError: instead of torch.OutOfMemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = [n for n in range(1, photos) if photos % n == 0]
        advice = "a smaller crop_size or batch_size"
        if smaller:
            steps = config.grad_accum_steps * photos // smaller[-1]
            advice = f"grad_accum_steps {steps}, or {advice}"
        raise ValueError(
            f"out of memory with {counted(photos, 'photo')} of {config.crop_size} px at a time: "
            f"set {advice}"
        ) from error
