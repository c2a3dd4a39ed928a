"""The networks. One contract: `forward(lightness (N, 1, H, W), hints=None) -> ab (N, 2, H, W)`."""

import inspect
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from colorize.color.ab_bins import bin_centers
from colorize.config import TrainConfig
from colorize.models.classifier import ColorClassifier
from colorize.models.discriminator import PatchDiscriminator
from colorize.models.encoder_unet import EncoderUNet
from colorize.models.encoders import WeightsError
from colorize.models.resnet_autoencoder import ResNetAutoencoder
from colorize.models.resnet_fcn import ResNetFCN
from colorize.models.unet import UNetGenerator
from colorize.models.unet_gan import GAN, UNetGAN

__all__ = [
    "GAN",
    "ColorClassifier",
    "EncoderUNet",
    "PatchDiscriminator",
    "ResNetAutoencoder",
    "ResNetFCN",
    "UNetGAN",
    "UNetGenerator",
    "create_model",
    "model_summary",
]


def _color_classifier(
    temperature: float = 0.38, prior_strength: float = 1.0, **network_args
) -> ColorClassifier:
    network = EncoderUNet(bins=len(bin_centers()), **network_args)
    return ColorClassifier(network, temperature, prior_strength)


# What paints.
NETWORKS = {
    "resnet_autoencoder": ResNetAutoencoder,
    "resnet_fcn": ResNetFCN,
    "unet": UNetGenerator,
    "encoder_unet": EncoderUNet,
    "color_classifier": _color_classifier,
}

# Those that also come with a critic: the painter of each. A new one is a line here.
GANS = {
    "unet_gan": "unet",
    "encoder_unet_gan": "encoder_unet",
    "classifier_gan": "color_classifier",
}
MODELS = (*NETWORKS, *GANS)
_OF_CRITICS = ("discriminator_channels", "discriminator_attention")


def _with_critic(
    painter: str,
    discriminator_channels: int | None = None,
    discriminator_attention: int | None = None,
    **args: Any,
) -> GAN:
    """A painter and its critic: as wide as a U-Net is, if nothing is said, else 64."""
    channels = (
        args.get("base_channels", 64) if discriminator_channels is None else discriminator_channels
    )
    spectral = args.get("spectral_norm", False)
    critic = (channels, 3, spectral, discriminator_attention)
    return GAN(NETWORKS[painter](**args), PatchDiscriminator(*critic))


def model_summary(config: TrainConfig) -> tuple[int, int]:
    """What the network of some settings weighs: parameters that learn, and MACs to paint a photo.

    Counted on tensors without content, so that the largest networks cost nothing.
    """
    args = dict(config.model_kwargs)
    if "encoder_weights" in args:
        args["encoder_weights"] = None
    network = create_model(config.model, **args).eval().to("meta")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lightness = torch.zeros(1, 1, config.crop_size, config.crop_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(lightness)
    return parameters, counter.get_total_flops() // 2


def extract_generator(
    network: nn.Module, name: str, args: dict[str, Any]
) -> tuple[nn.Module, str, dict[str, Any]]:
    """What paints of a network, with its own name and arguments: of a GAN the generator."""
    if name not in GANS:
        return network, name, args
    own = {key: value for key, value in args.items() if key not in _OF_CRITICS}
    return network.generator, GANS[name], own


def model_arguments(name: str) -> list[str]:
    """The arguments that a network of `MODELS` takes."""
    painter = GANS.get(name, name)
    known = dict.fromkeys(inspect.signature(NETWORKS[painter]).parameters)
    if "network_args" in known:  # passed on, but the bins, which are its own
        known |= dict.fromkeys(inspect.signature(EncoderUNet).parameters)
        del known["network_args"], known["bins"]
    return [*known, *(_OF_CRITICS if name in GANS else ())]


def create_model(name: str, seed: int = 0, **args) -> nn.Module:
    """Build a network by its name in `MODELS`; arguments as of its class.

    Networks with a critic take their painter's arguments (`GANS`), and `discriminator_channels` and
    `discriminator_attention`; the critic is spectrally normalized where its painter is. "color_classifier"
    takes `EncoderUNet`'s.

    Args:
        name: a name in `MODELS`.
        seed: of the random weights; torch's global generator is left as it was.
        args: of the network's constructor.

    Raises:
        ValueError: if there is no such network, or it does not take an argument.

    Example:
        >>> network = create_model("unet", base_channels=8, depth=4)
        >>> network(torch.zeros(1, 1, 64, 96)).shape
        torch.Size([1, 2, 64, 96])
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {name!r}")
    with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
        torch.default_generator.manual_seed(seed)
        unknown = ", ".join(argument for argument in args if argument not in model_arguments(name))
        if unknown:
            takes = ", ".join(model_arguments(name))
            raise ValueError(f"{name} takes the arguments {takes}, not {unknown}")
        try:
            return _with_critic(GANS[name], **args) if name in GANS else NETWORKS[name](**args)
        except (TypeError, RuntimeError, ZeroDivisionError) as error:
            if isinstance(error, WeightsError):
                raise
            raise ValueError(f"{name} with {args}: {error}") from error
