"""Settings of a training run."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colorize.utils.device import PRECISIONS
from colorize.utils.files import atomic_write
from colorize.utils.legacy import upgrade_settings

# Names of losses; the functions are in `colorize.losses`.
PIXEL_LOSS_NAMES = ("mse", "l1", "smooth_l1")
PERCEPTUAL = "perceptual"
CROSS_ENTROPY = "rebalanced_cross_entropy"
RECONSTRUCTION_LOSSES = (*PIXEL_LOSS_NAMES, PERCEPTUAL, CROSS_ENTROPY)
GAN_LOSS_NAMES = ("vanilla", "least_squares", "hinge")

SCHEDULES = ("constant", "linear", "cosine")
PHASES = ("generator", "discriminator", "joint")


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, but its photos and its machine.

    Attributes:
        model: a name in `colorize.models.MODELS`.
        model_kwargs: arguments of the model's constructor, of types that JSON knows.
        init_from: trained network whose weights training begins with, as `Colorizer.from_pretrained`
            finds it: a run, a folder, a name; a critic begins anew. None begins all anew.
        crop_size: side of the square crops in pixels.
        epochs: passes through the training photos, at most.
        batch_size: photos per step, over all processes.
        grad_accum_steps: so many micro-batches per step and process; saves memory. BatchNorm then
            normalizes by each micro-batch; nothing else changes.
        lr: Adam's learning rate.
        betas: Adam's decay rates.
        encoder_lr_mult: an encoder that begins with trained weights learns at lr times this.
        lr_schedule: "constant"; "linear": constant for the first half of the epochs, then linearly
            down to 0 (pix2pix); or "cosine", from the first epoch down to 0.
        grad_clip: largest norm of the gradient of all of a network's weights; None does not clip.
        ema_decay: decay of the moving average of the weights that then paint; it warms up, n steps in it
            is at most (1 + n) / (10 + n). None paints with the weights as they are.
        reconstruction_loss: the loss between painted and true ab, a name in `RECONSTRUCTION_LOSSES`.
        perceptual_weights: of VGG16-bn for the perceptual loss, a name in torchvision or a file.
        gan_loss: the loss against a critic, a name in `colorize.losses.gan`; None
            trains without a critic.
        reconstruction_weight: weight of the distance beside the adversarial loss (pix2pix: 100).
        discriminator_lr: the critic's learning rate; None is `lr`.
        phases: of an adversarial run, in order: (name, epochs, factor of the learning rates), with
            the names "generator" (alone), "discriminator" (alone) and "joint"; they may come again.
            None is both from the beginning.
        selection_interval: steps of a joint phase after which the turn is looked for; None never.
        degradation_prob: share of the photos whose input is aged (`colorize.data.degradations`), from 0 to 1.
        hint_dropout: share of the photos that get no hint, beside the paper's one in eight, from
            0 to 1; for a network that takes hints and is to paint well without.
        patience: stop after so many epochs in a row without a better validation loss; None never.
        seed: of the weights, the order, the crops, the dropout.
        precision: "fp32"; "bf16"; "fp16", with a scaled loss, on CUDA only; or "auto", bf16 where
            the hardware multiplies it, else fp32.
        compile: whether torch compiles the networks; takes minutes first. Checkpoints are the same.
        deterministic: whether torch takes its repeatable algorithms on CUDA too, which are slower;
            where it has none, it warns.
    """

    model: str
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None
    crop_size: int = 224
    epochs: int = 20
    batch_size: int = 16
    grad_accum_steps: int = 1
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    encoder_lr_mult: float = 1.0
    lr_schedule: str = "constant"
    grad_clip: float | None = None
    ema_decay: float | None = None
    reconstruction_loss: str = "mse"
    perceptual_weights: str | None = "IMAGENET1K_V1"
    gan_loss: str | None = None
    reconstruction_weight: float = 1.0
    discriminator_lr: float | None = None
    phases: tuple[tuple[str, int, float], ...] | None = None
    selection_interval: int | None = None
    degradation_prob: float = 0.0
    hint_dropout: float = 0.0
    patience: int | None = None
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives lists
        for name in ("crop_size", "epochs", "batch_size", "grad_accum_steps", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {self.betas}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, or none, got {self.patience}")
        if self.grad_clip is not None and not self.grad_clip > 0:
            raise ValueError(f"clip must be positive, or none, got {self.grad_clip}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema must lie between 0 and 1, or be none, got {self.ema_decay}")
        _check("precision", self.precision, PRECISIONS)
        _check("lr_schedule", self.lr_schedule, SCHEDULES)
        _check("reconstruction_loss", self.reconstruction_loss, RECONSTRUCTION_LOSSES)
        if not 0 <= self.degradation_prob <= 1:
            raise ValueError(f"degradation_prob must be from 0 to 1, got {self.degradation_prob}")
        if not 0 <= self.hint_dropout <= 1:
            raise ValueError(f"hint_dropout must be from 0 to 1, got {self.hint_dropout}")
        if self.gan_loss is not None:
            _check("gan_loss", self.gan_loss, GAN_LOSS_NAMES)
        else:
            for name, nothing in _OF_A_GAME.items():
                if getattr(self, name) != nothing:
                    value = "none" if nothing is None else nothing
                    raise ValueError(
                        f"{name} does nothing where there is no adversarial loss: set it to {value}"
                    )
        if self.phases is not None:
            self._check_phases()
        if self.selection_interval is not None and self.selection_interval < 1:
            raise ValueError(
                f"selection_interval must be positive, or none, got {self.selection_interval}"
            )

    def _check_phases(self) -> None:
        phases = tuple((str(name), int(epochs), float(rate)) for name, epochs, rate in self.phases)
        object.__setattr__(self, "phases", phases)
        for name, epochs, rate in phases:
            _check("a phase", name, PHASES)
            if epochs < 1 or rate <= 0:
                raise ValueError(f"phase {name} needs epochs and a rate, got {epochs} and {rate}")
        if self.patience is not None:
            raise ValueError(
                "patience and phases do not go together: while the critic learns alone, nothing "
                "gets better; set one of them to none"
            )
        if self.selection_interval is not None and "joint" not in {name for name, _, _ in phases}:
            raise ValueError(
                "selection_interval looks for the turn of a phase both, and there is none"
            )
        total = sum(epochs for _, epochs, _ in phases)
        if total != self.epochs:
            raise ValueError(f"the phases have {total} epochs, epochs says {self.epochs}")

    def phase(self, epoch: int) -> tuple[str, int]:
        """The phase of an epoch, counted from 0, and the epoch in which it began."""
        name, begin, _ = self._phase(epoch)
        return name, begin

    def _phase(self, epoch: int) -> tuple[str, int, float]:
        begin = 0
        for name, epochs, rate in self.phases or ():
            if epoch < begin + epochs:
                return name, begin, rate
            begin += epochs
        return "joint", 0, 1.0

    @property
    def eval_checkpoint(self) -> str:
        """Which of a run's weights to paint with: "best", "last" or "turn".

        The best are those of the lowest validation loss. An adversarial run is shown as it ended,
        because by its distance the dullest epoch would win, or at the turn where one was sought.
        """
        if self.gan_loss is None:
            return "best"
        return "last" if self.selection_interval is None else "turn"

    @property
    def loss(self) -> str:
        """The loss in words."""
        if self.gan_loss is None:
            return self.reconstruction_loss
        return f"{self.reconstruction_weight:g} {self.reconstruction_loss} + {self.gan_loss} game"

    @property
    def plan(self) -> str:
        """Epochs, rates and schedule in words."""
        rates = f"lr {self.lr:g}"
        if self.discriminator_lr is not None:
            rates += f" (critic {self.discriminator_lr:g})"
        words = [f"{self.epochs} epochs of {self.batch_size}", rates, self.lr_schedule]
        if self.ema_decay is not None:
            words.append(f"EMA {self.ema_decay:g}")
        for name, epochs, rate in self.phases or ():
            words.append(f"{name} {epochs}" + ("" if rate == 1 else f" at {rate:g} lr"))
        return ", ".join(words)

    def lr_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""
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
        with atomic_write(path) as part:
            part.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> "TrainConfig":
        """Read settings written by `save`.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            return cls(**upgrade_settings(json.loads(Path(path).read_text())))
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} does not hold the settings of a run: {error}") from error


# Settings that only an adversarial run reads, and what they are elsewhere.
_OF_A_GAME = {
    "reconstruction_weight": 1.0,
    "discriminator_lr": None,
    "phases": None,
    "selection_interval": None,
}


def _check(name: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
