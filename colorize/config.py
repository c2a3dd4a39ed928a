"""Settings of a training run. Imports neither torch nor anything else that is slow."""

import dataclasses
import inspect
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from colorize.utils.files import atomic_write
from colorize.utils.legacy import upgrade_settings

# Names of the losses; the functions are in `colorize.losses`.
ReconstructionLoss = Literal["mse", "l1", "smooth_l1", "perceptual", "rebalanced_cross_entropy"]
GanLoss = Literal["vanilla", "least_squares", "hinge"]
LRSchedule = Literal["constant", "linear", "cosine"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Phase = Literal["generator", "discriminator", "joint"]

PERCEPTUAL: ReconstructionLoss = "perceptual"
CROSS_ENTROPY: ReconstructionLoss = "rebalanced_cross_entropy"

T = TypeVar("T")


class Bounds(NamedTuple):
    """The values that a number may have, with or without both ends."""

    low: float
    high: float = math.inf
    includes_ends: bool = True

    def contain(self, value: float) -> bool:
        """Whether `value` is allowed; NaN is not."""
        if self.includes_ends:
            return self.low <= value <= self.high
        return self.low < value < self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low}" if self.includes_ends else f"above {self.low}"
        if self.includes_ends:
            return f"from {self.low} to {self.high}"
        return f"between {self.low} and {self.high}"


COUNT = Bounds(1)
POSITIVE = Bounds(0, includes_ends=False)
SHARE = Bounds(0, 1)


def _setting(default: T, description: str, bounds: Bounds | None = None) -> T:
    """Define a field with the description for `colorize train --help` and its bounds."""
    return field(default=default, metadata={"help": description, "bounds": bounds})


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a run, except its photos and its machine.

    Attributes:
        model: a name in `colorize.models.MODELS`.
        model_kwargs: arguments of the model's constructor, of types that JSON has.
    """

    model: str
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = _setting(
        None,
        "trained model whose weights training starts from, as `Colorizer.from_pretrained` finds "
        "it: a run, a folder, a name; a discriminator starts from random weights; none for random "
        "weights",
    )
    crop_size: int = _setting(224, "side of the square crops in pixels", COUNT)
    epochs: int = _setting(20, "maximum number of passes through the training photos", COUNT)
    batch_size: int = _setting(16, "photos per step, over all processes", COUNT)
    grad_accum_steps: int = _setting(
        1,
        "micro-batches per step and process; more need less memory; BatchNorm normalizes by each "
        "micro-batch, nothing else changes",
        COUNT,
    )
    lr: float = _setting(1e-3, "Adam's learning rate", POSITIVE)
    betas: tuple[float, float] = _setting((0.9, 0.999), "Adam's decay rates")
    encoder_lr_mult: float = _setting(
        1.0, "factor of the learning rate of an encoder that starts from trained weights"
    )
    lr_schedule: LRSchedule = _setting(
        "constant",
        "constant; linear: constant for the first half of the epochs, then linearly down to 0 "
        "(pix2pix); or cosine: from the first epoch down to 0",
    )
    grad_clip: float | None = _setting(
        None, "maximum norm of the gradient of each network; none for no clipping", POSITIVE
    )
    ema_decay: float | None = _setting(
        None,
        "decay of the exponential moving average of the weights that is then evaluated, such as "
        "0.999; it warms up: after n steps it is at most (1 + n) / (10 + n); none for no average",
        Bounds(0, 1, includes_ends=False),
    )
    reconstruction_loss: ReconstructionLoss = _setting(
        "mse",
        "loss between predicted and target ab: mse, l1, smooth_l1, perceptual or "
        "rebalanced_cross_entropy",
    )
    perceptual_weights: str | None = _setting(
        "IMAGENET1K_V1", "VGG16-bn's, for the perceptual loss: a name in torchvision or a file"
    )
    gan_loss: GanLoss | None = _setting(
        None,
        "adversarial loss: vanilla, least_squares or hinge; none to train without a discriminator",
    )
    reconstruction_weight: float = _setting(
        1.0, "weight of the reconstruction loss beside the adversarial loss (pix2pix: 100)"
    )
    discriminator_lr: float | None = _setting(
        None, "the discriminator's learning rate; none for lr"
    )
    phases: tuple[tuple[Phase, int, float], ...] | None = _setting(
        None,
        "phases of adversarial training, in order, with their epochs and factors of the learning "
        "rates, such as generator:20,discriminator:4,joint:2:0.1; none for joint throughout",
    )
    selection_interval: int | None = _setting(
        None,
        "steps of a joint phase between two checks for the inflection point; none for no checks",
        COUNT,
    )
    degradation_prob: float = _setting(
        0.0, "share of the photos whose input is degraded like an old photo", SHARE
    )
    hint_dropout: float = _setting(
        0.0,
        "share of the photos that get no hints, beside the paper's one in eight; for a model that "
        "is to work well without hints too",
        SHARE,
    )
    patience: int | None = _setting(
        None, "stop after this many epochs without a better validation loss; none for never", COUNT
    )
    seed: int = _setting(
        0, "seed of the weights, the order, the crops, the dropout", Bounds(0, 2**63 - 1)
    )
    precision: Precision = _setting(
        "auto",
        "fp32; bf16; fp16, with a scaled loss, on CUDA only; or auto: bf16 where the hardware "
        "multiplies it, else fp32",
    )
    compile: bool = _setting(
        False, "compile the networks, which takes minutes; checkpoints stay the same"
    )
    deterministic: bool = _setting(
        False, "use torch's deterministic algorithms on CUDA too, which are slower"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON has lists
        if self.phases is not None:
            phases = tuple((name, int(epochs), float(rate)) for name, epochs, rate in self.phases)
            object.__setattr__(self, "phases", phases)
        self._check_bounds()
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {self.betas}")
        _check_name("precision", self.precision, get_args(Precision))
        _check_name("lr_schedule", self.lr_schedule, get_args(LRSchedule))
        _check_name("reconstruction_loss", self.reconstruction_loss, get_args(ReconstructionLoss))
        if self.gan_loss is None:
            self._check_gan_settings_are_unset()
        else:
            _check_name("gan_loss", self.gan_loss, get_args(GanLoss))
        if self.phases is not None:
            self._check_phases(self.phases)

    def _check_bounds(self) -> None:
        for setting in dataclasses.fields(self):
            bounds, value = setting.metadata.get("bounds"), getattr(self, setting.name)
            if bounds is None or (value is None and setting.default is None):
                continue
            if not bounds.contain(value):
                none = ", or none" if setting.default is None else ""
                raise ValueError(f"{setting.name} must be {bounds}{none}, got {value}")

    def _check_gan_settings_are_unset(self) -> None:
        for name in ("reconstruction_weight", "discriminator_lr", "phases", "selection_interval"):
            default = getattr(type(self), name)
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} has no effect without an adversarial loss: set gan_loss, or set "
                    f"{name} to {'none' if default is None else default}"
                )

    def _check_phases(self, phases: tuple[tuple[Phase, int, float], ...]) -> None:
        for name, epochs, rate in phases:
            _check_name("a phase", name, get_args(Phase))
            if epochs < 1 or rate <= 0:
                raise ValueError(
                    f"phase {name} needs positive epochs and a positive factor of the learning "
                    f"rate, got {epochs} and {rate}"
                )
        if self.patience is not None:
            raise ValueError(
                "patience and phases exclude each other, because the validation loss cannot "
                "improve while the discriminator learns alone: set one of them to none"
            )
        if self.selection_interval is not None and "joint" not in {name for name, _, _ in phases}:
            raise ValueError("selection_interval requires a joint phase")
        total = sum(epochs for _, epochs, _ in phases)
        if total != self.epochs:
            raise ValueError(f"the phases have {total} epochs, but epochs is {self.epochs}")

    def phase(self, epoch: int) -> tuple[Phase, int]:
        """Return the phase of an epoch, counted from 0, and the epoch in which it begins."""
        name, begin, _ = self._phase(epoch)
        return name, begin

    def _phase(self, epoch: int) -> tuple[Phase, int, float]:
        begin = 0
        for name, epochs, rate in self.phases or ():
            if epoch < begin + epochs:
                return name, begin, rate
            begin += epochs
        return "joint", 0, 1.0

    @property
    def eval_checkpoint(self) -> str:
        """Which of a run's checkpoints to evaluate: "best", "last" or "inflection".

        The best has the lowest validation loss. Of an adversarial run it is the last, because
        selecting by the reconstruction loss would pick the least colorful epoch, or the inflection
        point where one was searched for.
        """
        if self.gan_loss is None:
            return "best"
        return "last" if self.selection_interval is None else "inflection"

    def lr_factor(self, epoch: int) -> float:
        """Return the factor of the learning rates in an epoch, counted from 0."""
        return self._schedule_factor(epoch) * self._phase(epoch)[2]

    def _schedule_factor(self, epoch: int) -> float:
        half = self.epochs // 2
        if self.lr_schedule == "cosine":
            return (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        if self.lr_schedule == "constant" or epoch < half:
            return 1.0
        return (self.epochs - epoch) / (self.epochs - half + 1)

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        with atomic_write(path) as tmp:
            tmp.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "TrainConfig":
        """Read settings written by `save`.

        Raises:
            ValueError: if the file does not hold settings.
        """
        try:
            return cls(**upgrade_settings(json.loads(Path(path).read_text(encoding="utf-8"))))
        except (TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} does not hold the settings of a run: {error}") from error


def _check_name(setting: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        raise ValueError(f"{setting} must be one of {', '.join(choices)}, got {name!r}")


# The docstring lists all settings, from their descriptions.
TrainConfig.__doc__ = "\n".join(
    (
        inspect.getdoc(TrainConfig) or "",
        *(
            f"    {setting.name}: {setting.metadata['help']}."
            for setting in dataclasses.fields(TrainConfig)
            if "help" in setting.metadata
        ),
    )
)
