"""Settings of a training run."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colorize.losses import ADVERSARIAL, LOSSES
from colorize.runtime import PRECISIONS, written_beside

SCHEDULES = ("constant", "linear", "cosine")
PHASES = ("generator", "critic", "both")


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, but its photos and its machine.

    Attributes:
        model: a name in `colorize.models.MODELS`.
        model_args: arguments of the model's constructor, of types that JSON knows.
        start: trained network whose weights training begins with, as `Colorizer.from_pretrained`
            finds it: a run, a folder, a name; a critic begins anew. None begins all anew.
        size: side of the square crops in pixels.
        epochs: passes through the training photos, at most.
        batch_size: photos per step, over all processes.
        accumulate: so many micro-batches per step and process; saves memory. BatchNorm then
            normalizes by each micro-batch; nothing else changes.
        lr: Adam's learning rate.
        betas: Adam's decay rates.
        encoder_lr_scale: an encoder that begins with trained weights learns at lr times this.
        schedule: "constant"; "linear": constant for the first half of the epochs, then linearly
            down to 0 (pix2pix); or "cosine", from the first epoch down to 0.
        clip: largest norm of the gradient of all of a network's weights; None does not clip.
        ema: decay of the moving average of the weights that then paint; it warms up, n steps in it
            is at most (1 + n) / (10 + n). None paints with the weights as they are.
        distance: the loss between painted and true ab, a name in `colorize.losses.LOSSES`.
        perceptual_weights: of VGG16-bn for the perceptual loss, a name in torchvision or a file.
        adversarial: the loss against a critic, a name in `colorize.losses.ADVERSARIAL`; None
            trains without a critic.
        distance_weight: weight of the distance beside the adversarial loss (pix2pix: 100).
        critic_lr: the critic's learning rate; None is `lr`.
        phases: of an adversarial run, in order: (name, epochs, factor of the learning rates), with
            the names "generator" (alone), "critic" (alone) and "both"; they may come again.
            None is both from the beginning.
        score_every: steps of a joint phase after which the turn is looked for; None never.
        old_photos: share of the photos whose input is aged (`colorize.aging`), from 0 to 1.
        without_hints: share of the photos that get no hint, beside the paper's one in eight, from
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
    model_args: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
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
    perceptual_weights: str | None = "IMAGENET1K_V1"
    adversarial: str | None = None
    distance_weight: float = 1.0
    critic_lr: float | None = None
    phases: tuple[tuple[str, int, float], ...] | None = None
    score_every: int | None = None
    old_photos: float = 0.0
    without_hints: float = 0.0
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
        if not all(0 <= beta < 1 for beta in self.betas) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {self.betas}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, got {self.seed}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, or none, got {self.patience}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be positive, or none, got {self.clip}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must lie between 0 and 1, or be none, got {self.ema}")
        _check("precision", self.precision, PRECISIONS)
        _check("schedule", self.schedule, SCHEDULES)
        _check("distance", self.distance, LOSSES)
        if not 0 <= self.old_photos <= 1:
            raise ValueError(f"old_photos must be from 0 to 1, got {self.old_photos}")
        if not 0 <= self.without_hints <= 1:
            raise ValueError(f"without_hints must be from 0 to 1, got {self.without_hints}")
        if self.adversarial is not None:
            _check("adversarial", self.adversarial, ADVERSARIAL)
        else:
            for name, nothing in _OF_A_GAME.items():
                if getattr(self, name) != nothing:
                    value = "none" if nothing is None else nothing
                    raise ValueError(
                        f"{name} does nothing where there is no adversarial loss: set it to {value}"
                    )
        if self.phases is not None:
            self._check_phases()
        if self.score_every is not None and self.score_every < 1:
            raise ValueError(f"score_every must be positive, or none, got {self.score_every}")

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
        if self.score_every is not None and "both" not in {name for name, _, _ in phases}:
            raise ValueError("score_every looks for the turn of a phase both, and there is none")
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
        return "both", 0, 1.0

    @property
    def weights_name(self) -> str:
        """Which of a run's weights to paint with: "best", "last" or "turn".

        The best are those of the lowest validation loss. An adversarial run is shown as it ended,
        because by its distance the dullest epoch would win, or at the turn where one was sought.
        """
        if self.adversarial is None:
            return "best"
        return "last" if self.score_every is None else "turn"

    @property
    def loss(self) -> str:
        """The loss in words."""
        if self.adversarial is None:
            return self.distance
        return f"{self.distance_weight:g} {self.distance} + {self.adversarial} game"

    @property
    def plan(self) -> str:
        """Epochs, rates and schedule in words."""
        rates = f"lr {self.lr:g}"
        if self.critic_lr is not None:
            rates += f" (critic {self.critic_lr:g})"
        words = [f"{self.epochs} epochs of {self.batch_size}", rates, self.schedule]
        if self.ema is not None:
            words.append(f"EMA {self.ema:g}")
        for name, epochs, rate in self.phases or ():
            words.append(f"{name} {epochs}" + ("" if rate == 1 else f" at {rate:g} lr"))
        return ", ".join(words)

    def lr_factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in an epoch, counted from 0."""
        return self._schedule_factor(epoch) * self._phase(epoch)[2]

    def _schedule_factor(self, epoch: int) -> float:
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


# Settings that only an adversarial run reads, and what they are elsewhere.
_OF_A_GAME = {"distance_weight": 1.0, "critic_lr": None, "phases": None, "score_every": None}


def _check(name: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
