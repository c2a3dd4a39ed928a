"""The models. One contract: `forward(lightness (N, 1, H, W), hints=None) -> ab (N, 2, H, W)`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from colorize.color.ab_bins import bin_centers
from colorize.models.base import ColorizationModel, DistributionModel
from colorize.models.classifier import ColorClassifier
from colorize.models.discriminator import PatchDiscriminator
from colorize.models.encoder_unet import EncoderUNet
from colorize.models.encoders import WeightsError
from colorize.models.resnet_autoencoder import ResNetAutoencoder
from colorize.models.resnet_fcn import ResNetFCN
from colorize.models.unet import UNetGenerator
from colorize.models.unet_gan import GAN, UNetGAN
from colorize.utils.seed import DrawFrom

__all__ = [
    "GAN",
    "ColorClassifier",
    "ColorizationModel",
    "DistributionModel",
    "EncoderUNet",
    "PatchDiscriminator",
    "ResNetAutoencoder",
    "ResNetFCN",
    "UNetGAN",
    "UNetGenerator",
    "create_model",
    "model_summary",
]


def _create_classifier(
    temperature: float = 0.38, prior_strength: float = 1.0, **unet_kwargs: Any
) -> ColorClassifier:
    network = EncoderUNet(bins=len(bin_centers()), **unet_kwargs)
    return ColorClassifier(network, temperature, prior_strength)


GENERATORS: dict[str, Callable[..., ColorizationModel]] = {
    "resnet_autoencoder": ResNetAutoencoder,
    "resnet_fcn": ResNetFCN,
    "unet": UNetGenerator,
    "encoder_unet": EncoderUNet,
    "color_classifier": _create_classifier,
}


def _create_gan(
    create_generator: Callable[..., ColorizationModel],
    discriminator_channels: int | None = None,
    discriminator_attention: int | None = None,
    **generator_kwargs: Any,
) -> GAN:
    """Build a generator with a discriminator that is spectrally normalized where it is."""
    generator = create_generator(**generator_kwargs)
    discriminator = PatchDiscriminator(
        base_channels=64 if discriminator_channels is None else discriminator_channels,
        spectral_norm=generator_kwargs.get("spectral_norm", False),
        attention=discriminator_attention,
    )
    return GAN(generator, discriminator)


# Models with a discriminator, and the names of their generators.
GANS = {
    "unet_gan": "unet",
    "encoder_unet_gan": "encoder_unet",
    "classifier_gan": "color_classifier",
}
MODELS: dict[str, Callable[..., ColorizationModel]] = {
    **GENERATORS,
    "unet_gan": UNetGAN,
    "encoder_unet_gan": functools.partial(_create_gan, EncoderUNet),
    "classifier_gan": functools.partial(_create_gan, _create_classifier),
}
_DISCRIMINATOR_KWARGS = ("discriminator_channels", "discriminator_attention")


def create_model(name: str, seed: int = 0, **kwargs: Any) -> ColorizationModel:
    """Build a model by its name.

    Models with a discriminator (`GANS`) take their generator's arguments, `discriminator_channels`
    and `discriminator_attention`; the discriminator is spectrally normalized where the generator
    is. "color_classifier" takes `EncoderUNet`'s arguments, but `bins`.

    Args:
        name: a name in `MODELS`.
        seed: of the random weights; torch's global generator is left unchanged.
        kwargs: arguments of the model's constructor (`model_arguments`).

    Returns:
        The model on the CPU, in training mode; of a name in `GANS` a `GAN`.

    Raises:
        ValueError: if there is no such model, or it does not take an argument or its value.
        WeightsError: if the encoder's weights cannot be loaded.

    Example:
        >>> network = create_model("unet", base_channels=8, depth=4)
        >>> network(torch.zeros(1, 1, 64, 96)).shape
        torch.Size([1, 2, 64, 96])
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {name!r}")
    supported = model_arguments(name)
    unsupported = ", ".join(argument for argument in kwargs if argument not in supported)
    if unsupported:
        raise ValueError(f"{name} takes the arguments {', '.join(supported)}, not {unsupported}")
    with DrawFrom(torch.Generator().manual_seed(seed)):
        try:
            return MODELS[name](**kwargs)
        except WeightsError:
            raise
        except (TypeError, RuntimeError, ZeroDivisionError) as error:
            raise ValueError(f"{name} with {kwargs}: {error}") from error


def model_arguments(name: str) -> list[str]:
    """Return the names of the arguments that a model of `MODELS` takes."""
    generator = GANS.get(name, name)
    names = list(inspect.signature(GENERATORS[generator]).parameters)
    if generator == "color_classifier":  # its last argument stands for those of the network
        unet_names = inspect.signature(EncoderUNet).parameters
        names[-1:] = [argument for argument in unet_names if argument != "bins"]
    return [*names, *(_DISCRIMINATOR_KWARGS if name in GANS else ())]


def extract_generator(
    network: ColorizationModel, name: str, kwargs: dict[str, Any]
) -> tuple[ColorizationModel, str, dict[str, Any]]:
    """Return a GAN's generator with its own name and arguments; other models unchanged."""
    if not isinstance(network, GAN):
        return network, name, kwargs
    own = {key: value for key, value in kwargs.items() if key not in _DISCRIMINATOR_KWARGS}
    return network.generator, GANS[name], own


def model_summary(name: str, kwargs: dict[str, Any], size: int) -> tuple[int, int]:
    """Count the parameters and the multiply-accumulate operations of a model.

    Both are counted on the meta device, so that even the largest models need no memory.

    Args:
        name: a name in `MODELS`.
        kwargs: arguments of its constructor; the encoder's weights are not loaded.
        size: side of the square input in pixels.

    Returns:
        Trainable parameters (with those of a discriminator), and MACs of one prediction.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here, because it imports triton

    network = create_model(name, **without_encoder_weights(kwargs)).eval().to("meta")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lightness = torch.zeros(1, 1, size, size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(lightness)
    return parameters, counter.get_total_flops() // 2


def without_encoder_weights(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return a model's arguments without pretrained weights, for one that gets its own."""
    return {name: None if name == "encoder_weights" else value for name, value in kwargs.items()}
