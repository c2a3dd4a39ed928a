"""The networks. One contract: `forward(lightness (N, 1, H, W), hints=None) -> ab (N, 2, H, W)`."""

import inspect
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from colorize.bins import bin_centers
from colorize.config import TrainConfig
from colorize.models.backbone import WeightsError
from colorize.models.backbone_unet import BackboneUNet
from colorize.models.color_classifier import ColorClassifier
from colorize.models.critic import GAN, PatchDiscriminator
from colorize.models.resnet_autoencoder import ResNetAutoencoder
from colorize.models.resnet_fcn import ResNetFCN
from colorize.models.unet import UNetGenerator


def _unet_gan(
    base_channels: int = 64, critic_attention: int | None = None, **generator_args
) -> GAN:
    generator = UNetGenerator(base_channels=base_channels, **generator_args)
    spectral = generator_args.get("spectral_norm", False)
    return GAN(generator, PatchDiscriminator(base_channels, 3, spectral, critic_attention))


def _backbone_gan(
    critic_channels: int = 64, critic_attention: int | None = None, **generator_args
) -> GAN:
    generator = BackboneUNet(**generator_args)
    spectral = generator_args.get("spectral_norm", False)
    return GAN(generator, PatchDiscriminator(critic_channels, 3, spectral, critic_attention))


def _color_classifier(
    temperature: float = 0.38, balance: float = 1.0, **network_args
) -> ColorClassifier:
    network = BackboneUNet(bins=len(bin_centers()), **network_args)
    return ColorClassifier(network, temperature, balance)


def _classifier_gan(
    critic_channels: int = 64,
    critic_attention: int | None = None,
    temperature: float = 0.38,
    **generator_args,
) -> GAN:
    generator = _color_classifier(temperature, **generator_args)
    spectral = generator_args.get("spectral_norm", False)
    return GAN(generator, PatchDiscriminator(critic_channels, 3, spectral, critic_attention))


MODELS = {
    "resnet_autoencoder": ResNetAutoencoder,
    "resnet_fcn": ResNetFCN,
    "unet": UNetGenerator,
    "unet_gan": _unet_gan,
    "backbone_unet": BackboneUNet,
    "backbone_gan": _backbone_gan,
    "color_classifier": _color_classifier,
    "classifier_gan": _classifier_gan,
}

# What paints of each network with a critic; it takes the same arguments, without the critic's.
GENERATORS = {
    "unet_gan": "unet",
    "backbone_gan": "backbone_unet",
    "classifier_gan": "color_classifier",
}


def cost(config: TrainConfig) -> tuple[int, int]:
    """What the network of some settings weighs: parameters that learn, and MACs to paint a photo.

    Counted on tensors without content, so that the largest networks cost nothing.
    """
    args = dict(config.model_args)
    if "backbone_weights" in args:
        args["backbone_weights"] = None
    network = create_model(config.model, **args).eval().to("meta")
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    lightness = torch.zeros(1, 1, config.size, config.size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(lightness)
    return parameters, counter.get_total_flops() // 2


# Of the factories above: where the arguments go that they pass on.
_PASSED_ON = {
    "unet_gan": UNetGenerator,
    "backbone_gan": BackboneUNet,
    "color_classifier": BackboneUNet,
    "classifier_gan": BackboneUNet,
}


def generator_of(
    network: nn.Module, name: str, args: dict[str, Any]
) -> tuple[nn.Module, str, dict[str, Any]]:
    """What paints of a network, with its own name and arguments: of a GAN the generator."""
    if name not in GENERATORS:
        return network, name, args
    own = {key: value for key, value in args.items() if not key.startswith("critic_")}
    return network.generator, GENERATORS[name], own


def model_arguments(name: str) -> list[str]:
    """The arguments that a network of `MODELS` takes."""
    known: dict[str, None] = {}
    for source in (MODELS[name], _PASSED_ON.get(name)):
        if source is not None:
            known |= dict.fromkeys(inspect.signature(source).parameters)
    hidden = {"generator_args", "network_args"} | ({"bins"} if name != "backbone_unet" else set())
    return [argument for argument in known if argument not in hidden]


def create_model(name: str, seed: int = 0, **args) -> nn.Module:
    """Build a network by its name in `MODELS`; arguments as of its class.

    "unet_gan" takes `UNetGenerator`'s; "backbone_gan", "color_classifier" and "classifier_gan" take
    `BackboneUNet`'s. A
    critic is spectrally normalized where its generator is; `critic_attention` is its own, and
    `critic_channels` that of a backbone's critic (a U-Net's is as wide as the U-Net).

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
        unknown = ", ".join(argument for argument in args if argument not in model_arguments(name))
        if unknown:
            takes = ", ".join(model_arguments(name))
            raise ValueError(f"{name} takes the arguments {takes}, not {unknown}")
        try:
            return MODELS[name](**args)
        except (TypeError, RuntimeError, ZeroDivisionError) as error:
            if isinstance(error, WeightsError):
                raise
            raise ValueError(f"{name} with {args}: {error}") from error
