"""The networks. One contract: `forward(lightness (N, 1, H, W), hints=None) -> ab (N, 2, H, W)`."""

import torch
from torch import nn

from colorize.models.resnet_autoencoder import ResNetAutoencoder
from colorize.models.resnet_fcn import ResNetFCN
from colorize.models.unet_gan import PatchDiscriminator, UNetGAN, UNetGenerator


def _unet_gan(base_channels: int = 64, **generator_args) -> UNetGAN:
    generator = UNetGenerator(base_channels=base_channels, **generator_args)
    return UNetGAN(generator, PatchDiscriminator(base_channels))


MODELS = {
    "resnet_autoencoder": ResNetAutoencoder,
    "resnet_fcn": ResNetFCN,
    "unet_gan": _unet_gan,
}


def create_model(name: str, seed: int = 0, **args) -> nn.Module:
    """Build a network by its name in `MODELS`; arguments as of its class.

    "unet_gan" takes `UNetGenerator`'s; its discriminator is as wide as the generator.

    Args:
        name: a name in `MODELS`.
        seed: of the random weights; torch's global generator is left as it was.
        args: of the network's constructor.

    Raises:
        ValueError: if there is no such network, or it does not take an argument.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {name!r}")
    with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
        torch.default_generator.manual_seed(seed)
        try:
            return MODELS[name](**args)
        except TypeError as error:
            raise ValueError(f"{name} with {args}: {error}") from error
