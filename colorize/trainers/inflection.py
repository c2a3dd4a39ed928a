"""The inflection point of NoGAN: where a generator turns from colorful to oversaturated.

Antic: DeOldify, 2018, stops there by eye; here it is found by a rule.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import TrainConfig
from colorize.losses.gan import GANLoss
from colorize.metrics.image import color_cast, colorfulness
from colorize.models import GAN
from colorize.trainers.run_dir import RunDir
from colorize.trainers.train_state import TrainState
from colorize.utils.distributed import rank
from colorize.utils.files import atomic_write
from colorize.utils.seed import seeded_noise

_SCORED_PHOTOS = 64  # validation photos, at most


class InflectionSelector:
    """Scores a GAN in its joint phases, and keeps the weights of the lowest score.

    The score adds up three ways in which predictions differ from the ground truth: dull or
    oversaturated colors, a common tint, and the discriminator:

        score = |1 - colorfulness / true colorfulness|
                + max(0, color cast - true color cast)
                + |real_prob - fake_prob|

    The weights are kept as `inflection.pt`, the scores as `scores.json`.

    Attributes:
        scores: of all times at which the GAN was scored.
    """

    def __init__(
        self,
        model: GAN,
        train_state: TrainState,
        gan_loss: GANLoss,
        config: TrainConfig,
        run: RunDir,
        device: torch.device,
    ):
        self.model, self.train_state, self.gan_loss = model, train_state, gan_loss
        self.config, self.run, self.device = config, run, device
        self.scores: list[dict[str, float]] = []
        self._rgb: Tensor | None = None

    def take_photos(self, batches: Iterable[Tensor]) -> None:
        """Keep the first validation photos, uint8 (N, 3, H, W); in the first process only."""
        if self.config.selection_interval is None or rank() != 0:
            return
        photos: list[Tensor] = []
        for rgb in batches:
            photos.append(rgb)
            if sum(map(len, photos)) >= _SCORED_PHOTOS:
                break
        self._rgb = torch.cat(photos)[:_SCORED_PHOTOS]

    def update(self, step: int, *, ends_epoch: bool) -> None:
        """Score the GAN if it is time: every `selection_interval` steps, and after each epoch."""
        interval = self.config.selection_interval
        if interval is None or self._rgb is None or (step % interval and not ends_epoch):
            return
        self.scores.append({"step": step, **self.score(self._rgb)})
        if min(self.scores, key=lambda entry: entry["score"]) is self.scores[-1]:
            weights = self.train_state.eval_model.state_dict()
            self.run.save_weights("inflection", {"step": step, "model": weights})
        with atomic_write(Path(self.run.path, "scores.json")) as tmp:
            tmp.write_text(json.dumps(self.scores, indent=1) + "\n")

    @torch.no_grad()
    def score(self, rgb: Tensor) -> dict[str, float]:
        """Return the score of predictions for uint8 photos (N, 3, H, W), and what it consists of.

        `colorfulness` is relative to the ground truth's.
        """
        self.train_state.eval_model.eval()
        self.model.discriminator.eval()
        batches = [
            rgb_to_lab(photos.to(self.device))
            for photos in rgb.split(max(1, self.config.batch_size))
        ]
        lightness, target_ab = [batch[0] for batch in batches], [batch[1] for batch in batches]
        with seeded_noise(self.config.seed):
            pred_ab = [self.train_state.predict(batch) for batch in lightness]
        probs = []
        for batch, real_ab, fake_ab in zip(lightness, target_ab, pred_ab, strict=True):
            with self.train_state.autocast():
                logits = self.model.discriminator(
                    batch.repeat(2, 1, 1, 1), torch.cat((real_ab, fake_ab))
                )
            real, fake = self.gan_loss.real_prob(logits.float()).chunk(2)
            probs.append(torch.stack((real.mean(), fake.mean())) * len(batch))
        self.model.train()
        real_prob, fake_prob = (torch.stack(probs).sum(0) / len(rgb)).tolist()
        colors = _mean_colorfulness(lightness, pred_ab) / _mean_colorfulness(lightness, target_ab)
        cast = color_cast(torch.cat(pred_ab)).item()
        true_cast = color_cast(torch.cat(target_ab)).item()
        return {
            "colorfulness": colors,
            "cast": cast,
            "true_cast": true_cast,
            "real": real_prob,
            "fake": fake_prob,
            "score": abs(1 - colors) + max(0.0, cast - true_cast) + abs(real_prob - fake_prob),
        }


def _mean_colorfulness(lightness: list[Tensor], ab: list[Tensor]) -> float:
    batches = zip(lightness, ab, strict=True)
    return torch.cat([colorfulness(to_uint8(lab_to_rgb(*pair))) for pair in batches]).mean().item()
