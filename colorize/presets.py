"""Presets: the settings of the papers, and the same methods at demonstration size."""

from dataclasses import dataclass, replace
from typing import Any

from colorize.config import TrainConfig


@dataclass(frozen=True)
class Preset:
    """A method.

    Attributes:
        title: what characterizes it.
        paper: its source.
        config: the paper's settings.
        quick: settings of demonstration size: minutes on a CPU, without pretrained weights. They
            learn the colors of the demo photos and little else. Epochs of three steps are noisy,
            hence the lower learning rate and the longer patience.
    """

    title: str
    paper: str
    config: TrainConfig
    quick: TrainConfig | None = None


_RESNET34: dict[str, Any] = {"encoder_name": "resnet34", "encoder_weights": "IMAGENET1K_V1"}
_RESNET18: dict[str, Any] = {"encoder_name": "resnet18", "width": 64}
_ATTENTION: dict[str, Any] = {"attention": 8, "spectral_norm": True, "discriminator_attention": 8}


def _quick(config: TrainConfig, model_kwargs: dict[str, Any], epochs: int) -> TrainConfig:
    return replace(config, model_kwargs=model_kwargs, epochs=epochs, crop_size=64, batch_size=4)


def _quick_mse(config: TrainConfig, model_kwargs: dict[str, Any]) -> TrainConfig:
    return replace(_quick(config, model_kwargs, epochs=30), lr=3e-4, patience=10)


def _quick_unet(config: TrainConfig, model_kwargs: dict[str, Any] | None = None) -> TrainConfig:
    small = {"depth": 6, "base_channels": 32}
    return _quick(config, small | (model_kwargs or {}), epochs=60)


def _quick_encoder_unet(
    config: TrainConfig, model_kwargs: dict[str, Any] | None = None
) -> TrainConfig:
    quick = _quick(config, _RESNET18 | (model_kwargs or {}), epochs=30)
    return replace(quick, lr=1e-3, ema_decay=0.9)


_AUTOENCODER = TrainConfig(
    model="resnet_autoencoder",
    model_kwargs={"encoder_weights": "IMAGENET1K_V1"},
    encoder_lr_mult=0.1,
    patience=3,
)
_FCN = replace(_AUTOENCODER, model="resnet_fcn")
_PIX2PIX = TrainConfig(  # sections 3.3 and 6.2
    model="unet_gan",
    crop_size=256,
    epochs=100,
    lr=2e-4,
    betas=(0.5, 0.999),
    lr_schedule="linear",
    reconstruction_loss="l1",
    gan_loss="vanilla",
    reconstruction_weight=100.0,
)
_UNET = replace(_PIX2PIX, model="unet", gan_loss=None, reconstruction_weight=1.0)  # table 1: L1
_ENCODER_UNET = TrainConfig(
    model="encoder_unet",
    model_kwargs=_RESNET34,
    lr=3e-4,
    encoder_lr_mult=0.1,
    lr_schedule="cosine",
    ema_decay=0.999,
    reconstruction_loss="l1",
)
_ZHANG2016 = replace(  # section 3.1; Adam's decay rates from their code
    _ENCODER_UNET,
    model="color_classifier",
    betas=(0.9, 0.99),
    reconstruction_loss="rebalanced_cross_entropy",
)
_LSGAN = replace(_PIX2PIX, gan_loss="least_squares")  # only the loss differs from pix2pix
_SAGAN = replace(  # spectral norm in both networks, attention at 32x32, two learning rates
    _PIX2PIX,
    model_kwargs=_ATTENTION,
    lr=1e-4,
    discriminator_lr=4e-4,
    betas=(0.0, 0.9),
    ema_decay=0.999,
    gan_loss="hinge",
)
_NOGAN = TrainConfig(
    model="encoder_unet_gan",
    model_kwargs=_RESNET34 | _ATTENTION,
    crop_size=192,
    epochs=25,
    lr=1e-4,
    discriminator_lr=5e-4,
    betas=(0.0, 0.9),
    encoder_lr_mult=0.1,
    ema_decay=0.999,
    reconstruction_loss="perceptual",
    gan_loss="vanilla",
    reconstruction_weight=1.5,
    phases=(("generator", 20, 1.0), ("discriminator", 4, 1.0), ("joint", 1, 0.2)),
    selection_interval=50,
)
_NOGAN_QUICK = replace(
    _NOGAN,
    model_kwargs=_RESNET18 | _ATTENTION | {"discriminator_channels": 32},
    crop_size=64,
    batch_size=4,
    epochs=40,
    lr=1e-3,
    ema_decay=0.9,
    reconstruction_loss="l1",
    reconstruction_weight=10.0,
    phases=(("generator", 25, 1.0), ("discriminator", 5, 1.0), ("joint", 10, 0.2)),
    selection_interval=3,
)
_HINT_GUIDED = replace(
    _ENCODER_UNET, model_kwargs=_RESNET34 | {"hints": True}, reconstruction_loss="smooth_l1"
)
_DEGRADED = replace(_ENCODER_UNET, degradation_prob=0.8)

METHODS = {
    "autoencoder": Preset(
        "ResNet50 features, squared error: predicts brown",
        "the source project's first model",
        _AUTOENCODER,
        _quick_mse(_AUTOENCODER, {}),
    ),
    "fcn": Preset(
        "sum of scores from every level of a ResNet101",
        "Long et al. 2015, arXiv:1411.4038",
        _FCN,
        _quick_mse(_FCN, {"encoder_name": "resnet18"}),
    ),
    "unet_gan": Preset(
        "pix2pix: U-Net and patch discriminator",
        "Isola et al. 2017, arXiv:1611.07004",
        _PIX2PIX,
        _quick_unet(_PIX2PIX),
    ),
    "unet": Preset(
        "the same U-Net without a discriminator",
        "Isola et al. 2017, arXiv:1611.07004",
        _UNET,
        _quick_unet(_UNET),
    ),
    "encoder_unet": Preset(
        "U-Net with a pretrained encoder",
        "Ronneberger et al. 2015, arXiv:1505.04597",
        _ENCODER_UNET,
        _quick_encoder_unet(_ENCODER_UNET),
    ),
    "perceptual": Preset(
        "the same with a perceptual loss",
        "Johnson et al. 2016, arXiv:1603.08155",
        replace(_ENCODER_UNET, reconstruction_loss="perceptual"),
    ),
    "zhang2016": Preset(
        "classification of colors, rare ones weighted higher",
        "Zhang et al. 2016, arXiv:1603.08511",
        _ZHANG2016,
        _quick_encoder_unet(_ZHANG2016),
    ),
    "lsgan": Preset(
        "pix2pix with the least-squares loss",
        "Mao et al. 2017, arXiv:1611.04076",
        _LSGAN,
        _quick_unet(_LSGAN),
    ),
    "sagan": Preset(
        "self-attention, spectral norm, hinge loss",
        "Zhang et al. 2019, arXiv:1805.08318",
        _SAGAN,
        replace(_quick_unet(_SAGAN, _ATTENTION), ema_decay=0.9),
    ),
    "nogan": Preset(
        "generator alone, discriminator alone, both briefly; the inflection point by rule",
        "Antic 2018, github.com/jantic/DeOldify",
        _NOGAN,
        _NOGAN_QUICK,
    ),
    "hint_guided": Preset(
        "automatic, or guided by color hints",
        "Zhang et al. 2017, arXiv:1705.02999",
        _HINT_GUIDED,
        _quick_encoder_unet(_HINT_GUIDED, {"hints": True}),
    ),
    "degraded": Preset(
        "the U-Net with an encoder, inputs degraded like old photos",
        "this project",
        _DEGRADED,
        _quick_encoder_unet(_DEGRADED),
    ),
}
PRESETS = {name: preset.config for name, preset in METHODS.items()} | {
    f"{name}_quick": preset.quick for name, preset in METHODS.items() if preset.quick is not None
}


def method_of(name: str) -> Preset:
    """Return the method of a name in `PRESETS`."""
    return METHODS[name.removesuffix("_quick")]
