"""Training of a distribution over colors: the class-rebalanced loss.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from colorize.color.ab_bins import bin_centers
from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.loaders import EpochLoader
from colorize.losses.classification import (
    count_bins,
    downsample_ab,
    rebalanced_cross_entropy,
    rebalancing_weights,
)
from colorize.models import ColorClassifier, ColorizationModel
from colorize.models.layers import upsample_like
from colorize.trainers.epoch_losses import mean_losses
from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer
from colorize.utils.distributed import all_reduce_sum, world_size

_PRIOR_PHOTOS = 5000  # training photos from which the prior is estimated, at most


class ClassificationTrainer(Trainer):
    """Trains a `ColorClassifier`; before the first step it computes the weights of the bins."""

    model: ColorClassifier

    @classmethod
    def check_model(cls, model: ColorizationModel, config: TrainConfig) -> None:
        """Check that the model predicts a distribution.

        Raises:
            ValueError: if it does not.
        """
        if not isinstance(model, ColorClassifier):
            raise ValueError(
                f"{config.reconstruction_loss} needs a model with classes, not {config.model}"
            )

    def networks(self) -> dict[str, nn.Module]:
        """Return the network of the logits."""
        return {"model": self.model.network}

    def on_fit_start(self, train: EpochLoader, val: Iterable[Tensor]) -> None:
        """Estimate the frequency of each bin from crops of the training photos."""
        if self.global_step > 0:  # the weights are part of the checkpoint
            return
        train.set_epoch(0)
        photos = (example.rgb for example in train)
        bar = tqdm(photos, "counting colors", len(train), leave=False, disable=not self.show_bars)
        self.set_class_weights(bar)

    def set_class_weights(self, batches: Iterable[Tensor]) -> None:
        """Set the weights of the bins by the colors of uint8 photos (N, 3, H, W).

        The first 5,000 photos are used, over all processes.
        """
        counts = torch.zeros(len(bin_centers()), dtype=torch.float64, device=self.device)
        photos = 0
        for rgb in batches:
            _, ab = rgb_to_lab(rgb.to(self.device))
            counts += count_bins(downsample_ab(ab, (ab.shape[-2] // 4, ab.shape[-1] // 4)))
            photos += len(rgb) * world_size()
            if photos >= _PRIOR_PHOTOS:
                break
        weights = rebalancing_weights(all_reduce_sum(counts))
        self.model.class_weights.copy_(weights)
        self._eval_classifier().class_weights.copy_(weights)

    def training_step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Increase the likelihood of the true colors, of rare ones more."""
        state, losses = self.train_state, []
        for micro_batch in micro_batches:
            with state.accumulate(micro_batch):
                logits = state.forward("model", micro_batch)
                loss = rebalanced_cross_entropy(
                    logits, micro_batch.target_ab, self.model.class_weights
                )
                state.backward(loss, "model")
            losses.append({"loss": loss})
        state.optimizer_step("model")
        state.update_ema()
        return mean_losses(losses)

    def validation_step(self, lightness: Tensor, target_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of the logits, and the ab decoded from them."""
        model = self._eval_classifier()
        with self.train_state.autocast():
            logits = model.logits(lightness).float()
        pred_ab = upsample_like(model.decode(logits), lightness)
        return rebalanced_cross_entropy(logits, target_ab, self.model.class_weights), pred_ab

    def _eval_classifier(self) -> ColorClassifier:
        model = self.train_state.eval_model
        assert isinstance(model, ColorClassifier)  # the model, or an average of it
        return model
