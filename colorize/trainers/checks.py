"""What of a run can be checked before its first step."""

import torch
from torch import nn
from torch.func import functional_call

from colorize.config import TrainConfig
from colorize.models import ColorizationModel, PatchDiscriminator
from colorize.utils.distributed import world_size


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


def check_batch_norm(model: ColorizationModel, config: TrainConfig) -> None:
    """Check that BatchNorm gets more than one value per channel, by a step without values.

    Raises:
        ValueError: if it does not; or if the weights are not float32.
    """
    if model.dtype != torch.float32:
        raise ValueError(
            f"the weights are {model.dtype}: train them in float32 (model.float()); the setting "
            "precision makes the arithmetic faster"
        )
    photos = config.batch_size // world_size() // config.grad_accum_steps
    if photos > 1:  # of whatever size, there are two values
        return
    lightness = torch.empty(1, 1, config.crop_size, config.crop_size, device="meta")
    was_training = model.training
    try:
        _run_without_values(model.train(), lightness)
    except ValueError as error:
        if "more than 1 value" not in str(error):  # torch's words of `batch_norm`
            raise
        raise ValueError(
            f"BatchNorm of {config.model} has a single value to normalize by, with one photo of "
            f"{config.crop_size} px at a time: use a batch_size of at least "
            f"{2 * config.batch_size}, or a crop_size of at least {2 * config.crop_size}"
        ) from error
    except (RuntimeError, NotImplementedError):
        return  # a network of one's own that looks at values: its first step will tell
    finally:
        model.train(was_training)


def check_patches(discriminator: PatchDiscriminator, crop_size: int) -> None:
    """Check that a crop is as large as the discriminator's convolutions need it.

    Raises:
        ValueError: if it is too small.
    """
    sides = torch.empty(2, 1, crop_size, crop_size, device="meta")
    try:
        _run_without_values(discriminator, sides, sides.expand(-1, 2, -1, -1))
    except RuntimeError as error:
        raise ValueError(
            f"crop_size {crop_size} is too small for the discriminator: use at least 32"
        ) from error


def _run_without_values(network: nn.Module, *inputs: torch.Tensor) -> None:
    """Run a network on the meta device, where tensors have shapes and no values."""
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        on_meta = {name: torch.empty_like(t, device="meta") for name, t in state.items()}
        functional_call(network, on_meta, inputs)
