"""Learning which colors are likely: the class-rebalanced loss of Colorful Image Colorization."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from colorize.color.ab_bins import bin_centers
from colorize.color.lab import rgb_to_lab
from colorize.losses.classification import (
    count_bins,
    downsample_ab,
    rebalanced_cross_entropy,
    rebalancing_weights,
)
from colorize.models.classifier import predicts_distribution
from colorize.models.layers import upsample_like
from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer
from colorize.utils.distributed import all_reduce_sum, world_size

_COUNTED = 5000  # training photos from which the prior is estimated, at most


class ClassificationTrainer(Trainer):
    """Trains a `ColorClassifier`; before the first step it weighs the bins by the photos."""

    def __init__(self, model, config, *args, **kwargs):
        if not predicts_distribution(model):
            raise ValueError(
                f"{config.reconstruction_loss} needs a model with classes, not {config.model}"
            )
        super().__init__(model, config, *args, **kwargs)

    def networks(self) -> dict[str, nn.Module]:
        """The network of the logits."""
        return {"model": self.model.network}

    def begin(self, train: DataLoader, val: DataLoader) -> None:
        """Estimate how frequent each bin's colors are, from crops of the training photos."""
        super().begin(train, val)
        if self.steps > 0:  # the weights are part of the run's state
            return
        train.sampler.set_epoch(0)
        self.weigh(tqdm(train, "counting colors", leave=False, disable=not self.bars))

    def weigh(self, batches: Iterable[Tensor]) -> None:
        """Weigh the bins by the colors of uint8 photos (N, 3, H, W), of the first 5,000."""
        counts = torch.zeros(len(bin_centers()), dtype=torch.float64, device=self.device)
        left = _COUNTED
        for rgb in batches:
            _, ab = rgb_to_lab(rgb.to(self.device))
            counts += count_bins(downsample_ab(ab, [side // 4 for side in ab.shape[-2:]]))
            left -= len(rgb) * world_size()
            if left <= 0:
                break
        weights = rebalancing_weights(all_reduce_sum(counts))
        for model in (self.model, self.train_state.painter):
            model.weights.copy_(weights)

    def step(self, batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Make the true colors likelier, rare ones more so."""
        total = 0
        for batch in batches:
            with self.learning(batch):
                logits = self.train_state.paint("model", batch)
                loss = rebalanced_cross_entropy(logits, batch.ab, self.model.weights)
                self.train_state.backward(loss / len(batches), "model")
            total = total + loss.detach() / len(batches)
        self.train_state.update("model")
        return {"loss": total}

    def judge(self, lightness: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the logits, and the colors decoded from them."""
        with self.train_state.autocast():
            logits = self.train_state.painter.logits(lightness).float()
        painted = upsample_like(self.train_state.painter.decode(logits), lightness)
        return rebalanced_cross_entropy(logits, ab, self.model.weights), painted
