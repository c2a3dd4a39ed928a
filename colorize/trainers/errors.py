"""What goes wrong in a training step, said in terms of the settings."""

import contextlib
from collections.abc import Iterator

import torch

from colorize.config import TrainConfig
from colorize.utils.distributed import world_size

DIVERGED_ADVICE = (
    "The last checkpoint is kept. Start again in another folder with a lower lr, or with grad_clip."
)


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight is not finite."""


def check_batch_size(config: TrainConfig) -> None:
    """Check that a batch divides into equal micro-batches.

    Raises:
        ValueError: if it does not; the message names a batch size that does.
    """
    micro_batches = world_size() * config.grad_accum_steps
    if config.batch_size % micro_batches:
        divisible = config.batch_size // micro_batches * micro_batches or micro_batches
        raise ValueError(
            f"a batch of {config.batch_size} cannot be divided into {micro_batches} equal "
            f"micro-batches ({world_size()} processes x grad_accum_steps "
            f"{config.grad_accum_steps}): use a batch size of {divisible}"
        )


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
            f"out of memory with {photos} photos of {config.crop_size} px at a time: set {advice}"
        ) from error
