"""Settings of a training run, and the presets."""

import dataclasses
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from colorize.losses import ADVERSARIAL, DISTANCES
from colorize.runtime import PRECISIONS, written_beside

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, but its photos and its machine.

    Attributes:
        model: a name in `colorize.models.MODELS`.
        model_args: arguments of the model's constructor, of types that JSON knows.
        size: side of the square crops in pixels.
        epochs: passes through the training photos, at most.
        batch_size: photos per step, over all processes.
        accumulate: so many micro-batches per step and process; saves memory. BatchNorm then
            normalizes by each micro-batch; nothing else changes.
        lr: Adam's learning rate.
        betas: Adam's decay rates.
        encoder_lr_scale: an encoder with pretrained weights learns at lr times this.
        schedule: "constant"; "linear": constant for the first half of the epochs, then linearly
            down to 0 (pix2pix); or "cosine", from the first epoch down to 0.
        clip: largest norm of the gradient of all of a network's weights; None does not clip.
        ema: decay of the moving average of the weights that then paint; it warms up, n steps in it
            is at most (1 + n) / (10 + n). None paints with the weights as they are.
        distance: the loss between painted and true ab, a name in `colorize.losses.DISTANCES`.
        adversarial: the loss against a critic, a name in `colorize.losses.ADVERSARIAL`; None
            trains without a critic.
        distance_weight: weight of the distance beside the adversarial loss (pix2pix: 100).
        patience: stop after so many epochs in a row without a better validation loss; None never.
        seed: of the weights, the order, the crops, the dropout.
        precision: "fp32"; "bf16"; "fp16", with a scaled loss, on CUDA only; or "auto", bf16 where
            the hardware multiplies it, else fp32.
        compile: whether torch compiles the networks; takes minutes first. Checkpoints are the same.
        deterministic: whether torch takes its repeatable algorithms on CUDA too, which are slower.
    """

    model: str
    model_args: dict[str, Any] = field(default_factory=dict)
    size: int = 224
    epochs: int = 20
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    encoder_lr_scale: float = 1.0
    schedule: str = "constant"
    clip: float | None = None
    ema: float | None = None
    distance: str = "mse"
    adversarial: str | None = None
    distance_weight: float = 1.0
    patience: int | None = None
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives lists
        for name in ("size", "epochs", "batch_size", "accumulate", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, or none, got {self.patience}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or none, got {self.clip}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must lie between 0 and 1, or be none, got {self.ema}")
        _check("precision", self.precision, PRECISIONS)
        _check("schedule", self.schedule, SCHEDULES)
        _check("distance", self.distance, DISTANCES)
        if self.adversarial is not None:
            _check("adversarial", self.adversarial, ADVERSARIAL)
        elif self.distance_weight != 1:
            raise ValueError("distance_weight weighs nothing where there is no adversarial loss")

    @property
    def weights_name(self) -> str:
        """Which of a run's weights to paint with: "best" or "last".

        The best are those of the lowest validation distance. An adversarial run is shown as it
        ended, because by that distance the dullest epoch would win.
        """
        return "best" if self.adversarial is None else "last"

    def lr_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        half = self.epochs // 2
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        if self.schedule == "constant" or epoch < half:
            return 1.0
        return (self.epochs - epoch) / (self.epochs - half + 1)

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        with written_beside(path) as part:
            part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "TrainConfig":
        """Read settings written by `save`.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} does not hold the settings of a run: {error}") from error


def _check(name: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


# Of the source story, for attempts one and two alike.
_FIRST_SETUP = {
    "model_args": {"backbone_weights": "IMAGENET1K_V1"},
    "encoder_lr_scale": 0.1,
    "patience": 3,
}

PRESETS = {
    # 1. ResNet50 features, MSE: paints everything brown.
    "autoencoder": TrainConfig(model="resnet_autoencoder", **_FIRST_SETUP),
    # 2. The same setup, every level of a ResNet101.
    "fcn": TrainConfig(model="resnet_fcn", **_FIRST_SETUP),
    # 3. pix2pix (Isola et al. 2017, sections 3.3 and 6.2).
    "unet_gan": TrainConfig(
        model="unet_gan",
        size=256,
        epochs=100,
        lr=2e-4,
        betas=(0.5, 0.999),
        schedule="linear",
        distance="l1",
        adversarial="vanilla",
        distance_weight=100.0,
    ),
}

# The same methods at demonstration size: minutes on a CPU, no pretrained weights. They learn the
# embedded photos' colors and little else. Epochs of three steps are noisy, hence the slower rate
# and the longer patience.
_QUICK = {"size": 64, "batch_size": 4}
_FIRST_QUICK = {"epochs": 30, "lr": 3e-4, "patience": 10, **_QUICK}
PRESETS |= {
    "autoencoder_quick": replace(PRESETS["autoencoder"], model_args={}, **_FIRST_QUICK),
    "fcn_quick": replace(PRESETS["fcn"], model_args={"backbone": "resnet18"}, **_FIRST_QUICK),
    "unet_gan_quick": replace(
        PRESETS["unet_gan"], model_args={"depth": 6, "base_channels": 32}, epochs=60, **_QUICK
    ),
}
