"""Adversarial training: a generator against a discriminator.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017. The phases are NoGAN's: Antic, DeOldify, 2018.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from colorize.config import CROSS_ENTROPY, TrainConfig
from colorize.data.loaders import EpochLoader
from colorize.losses.gan import GAN_LOSSES
from colorize.models import GAN, ColorizationModel
from colorize.trainers.checks import check_patches
from colorize.trainers.epoch_losses import mean_losses
from colorize.trainers.generator_cache import GeneratorCache
from colorize.trainers.inflection import InflectionSelector
from colorize.trainers.regression import create_reconstruction_loss
from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer

Losses = dict[str, Tensor]


class GANTrainer(Trainer):
    """Trains a `GAN`: two networks with an optimizer each.

    In a joint step both networks learn from one forward pass of each. (The paper updates them in
    turn, which takes a second pass of the discriminator.) So both see the same predictions, and
    BatchNorm in the discriminator the same mixture of real and predicted photos.

    With phases (NoGAN), epochs of the generator alone and of the discriminator alone precede the
    short joint ones, in which `InflectionSelector` looks for the inflection point. In the
    discriminator's phase the generator does not change: its predictions are cached in
    `generator_cache/` in the first epoch, and all epochs of the phase have the same crops.

    Attributes:
        phase: of the current epoch, a name in `PHASES`.
        phase_start: epoch in which the phase started, counted from 0.
        inflection: finds the inflection point.
    """

    model: GAN

    @classmethod
    def check_model(cls, model: ColorizationModel, config: TrainConfig) -> None:
        """Check that there are a discriminator and losses that go with it.

        Raises:
            ValueError: if the settings name no `gan_loss`, the model has no discriminator, or the
                reconstruction loss does not go with one.
        """
        if config.gan_loss is None:
            raise ValueError("a GAN needs an adversarial loss: set gan_loss")
        if not isinstance(model, GAN):
            raise ValueError(
                f"gan_loss {config.gan_loss} needs a model with a discriminator, not {config.model}"
            )
        if config.reconstruction_loss == CROSS_ENTROPY:
            raise ValueError(
                f"reconstruction_loss {CROSS_ENTROPY} is of classes, which {config.model} does not "
                "predict; beside a discriminator use mse, l1, smooth_l1 or perceptual"
            )
        check_patches(model.discriminator, config.crop_size)

    def set_up(self) -> None:
        """Create the losses, the cache, and the search for the inflection point."""
        assert self.config.gan_loss is not None  # as checked
        self.gan_loss = GAN_LOSSES[self.config.gan_loss]
        self.reconstruction_loss = create_reconstruction_loss(self.config, self.device)
        self.phase, self.phase_start = self.config.phase(0)
        self.cache = GeneratorCache(self.run.path / "generator_cache")
        self.inflection = InflectionSelector(
            self.model, self.train_state, self.gan_loss, self.config, self.run, self.device
        )

    def networks(self) -> dict[str, nn.Module]:
        """Return the generator and the discriminator."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def training_step(self, micro_batches: Sequence[MicroBatch]) -> Losses:
        """Update the networks that learn in this phase."""
        state, phase, losses = self.train_state, PHASES[self.phase], []
        for micro_batch in micro_batches:
            with state.accumulate(micro_batch):
                losses.append(phase.forward_backward(self, micro_batch))
        state.optimizer_step(*phase.networks)
        state.update_ema()
        return mean_losses(losses)

    def joint_forward_backward(self, micro_batch: MicroBatch) -> Losses:
        """Let both networks learn: equations 1 and 4 of Isola et al."""
        state, target_ab = self.train_state, micro_batch.target_ab
        pred_ab = state.forward("generator", micro_batch)
        real, fake = self._discriminate(micro_batch, pred_ab)

        # Discriminator: real photos up, predicted ones down.
        loss_d = self.gan_loss.discriminator(real, fake)
        state.backward(loss_d, "discriminator", retain_graph=True)

        # Generator: fool the discriminator, and stay close to the ground truth.
        loss_gan = self.gan_loss.generator(fake)
        loss_rec = self.reconstruction_loss(micro_batch.lightness, pred_ab, target_ab)
        state.backward(loss_gan + self.config.reconstruction_weight * loss_rec, "generator")
        return {
            "loss_D": loss_d,
            "loss_G_gan": loss_gan,
            "loss_G_rec": loss_rec,
            "real_prob": self.gan_loss.real_prob(real).mean(),
            "fake_prob": self.gan_loss.real_prob(fake).mean(),
        }

    def generator_forward_backward(self, micro_batch: MicroBatch) -> Losses:
        """Let the generator learn by the reconstruction loss."""
        state, target_ab = self.train_state, micro_batch.target_ab
        pred_ab = state.forward("generator", micro_batch)
        loss_rec = self.reconstruction_loss(micro_batch.lightness, pred_ab, target_ab)
        state.backward(self.config.reconstruction_weight * loss_rec, "generator")
        return {"loss_G_rec": loss_rec}

    def discriminator_forward_backward(self, micro_batch: MicroBatch) -> Losses:
        """Let the discriminator learn from cached predictions."""
        real, fake = self._discriminate(micro_batch, self._cached_prediction(micro_batch))
        loss_d = self.gan_loss.discriminator(real, fake)
        self.train_state.backward(loss_d, "discriminator")
        return {
            "loss_D": loss_d,
            "real_prob": self.gan_loss.real_prob(real).mean(),
            "fake_prob": self.gan_loss.real_prob(fake).mean(),
        }

    def _discriminate(self, micro_batch: MicroBatch, pred_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the discriminator's logits of the real and of the predicted photos."""
        lightness = torch.cat((micro_batch.lightness, micro_batch.lightness))
        with self.train_state.autocast():
            logits = self.train_state.parallel["discriminator"](
                lightness, torch.cat((micro_batch.target_ab, pred_ab))
            )
        real, fake = logits.float().chunk(2)
        return real, fake

    @torch.no_grad()
    def _cached_prediction(self, micro_batch: MicroBatch) -> Tensor:
        """Return the generator's ab, from the cache after the first epoch of the phase."""
        key = f"epoch-{self.phase_start + 1:04}-{self.epoch_step:06}-{micro_batch.index:04}"
        pred_ab = self.cache.load(key, micro_batch.target_ab.shape)
        if pred_ab is None:
            self.model.generator.eval()
            with self.train_state.autocast():
                pred_ab = self.model.generator(micro_batch.lightness, micro_batch.hints).float()
            self.model.generator.train()
            pred_ab = self.cache.save(key, pred_ab)
        return pred_ab.to(self.device)

    def validation_step(self, lightness: Tensor, target_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction loss and the predicted ab."""
        pred_ab = self.train_state.predict(lightness)
        return self.reconstruction_loss(lightness, pred_ab, target_ab), pred_ab

    def on_fit_start(self, train: EpochLoader, val: Iterable[Tensor]) -> None:
        """Take the photos to score, and forget predictions of a run that was never saved."""
        if not self.run.has_run:
            self.cache.clear()
        self.inflection.take_photos(val)

    def on_epoch_start(self, epoch: int) -> None:
        """Change the phase, and clear the cache when it is not needed any more."""
        self.phase, self.phase_start = self.config.phase(epoch)
        if self.phase != "discriminator":
            self.cache.clear()

    def augmentation_epoch(self, epoch: int) -> int:
        """Return the first epoch of the discriminator's phase in all of its epochs."""
        return self.phase_start if self.phase == "discriminator" else epoch

    def on_step_end(self) -> None:
        """Look for the inflection point."""
        if self.phase == "joint":
            ends_epoch = self.epoch_step == self.steps_per_epoch
            self.inflection.update(self.global_step, ends_epoch=ends_epoch)

    def extra_state(self) -> dict[str, Any]:
        """Return the scores."""
        return {"scores": self.inflection.scores}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the scores."""
        self.inflection.scores = state["scores"]


@dataclass(frozen=True)
class Phase:
    """A phase of adversarial training.

    Attributes:
        networks: those that are updated.
        forward_backward: accumulates their gradients for a micro-batch, and returns the losses.
    """

    networks: tuple[str, ...]
    forward_backward: Callable[[GANTrainer, MicroBatch], Losses]


PHASES = {
    "generator": Phase(("generator",), GANTrainer.generator_forward_backward),
    "discriminator": Phase(("discriminator",), GANTrainer.discriminator_forward_backward),
    "joint": Phase(("discriminator", "generator"), GANTrainer.joint_forward_backward),
}
