"""Training by a reconstruction loss alone: the predicted ab approach the true ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from colorize.config import CROSS_ENTROPY, PERCEPTUAL, TrainConfig
from colorize.losses import PIXEL_LOSSES, PerceptualLoss
from colorize.models import GAN, ColorizationModel
from colorize.trainers.epoch_losses import mean_losses
from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer

ReconstructionLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of lightness, pred_ab, target_ab


class RegressionTrainer(Trainer):
    """Trains one network by a reconstruction loss.

    Under a squared error the best prediction of an ambiguous color is the mean of all plausible
    ones, so the results are brownish.
    """

    @classmethod
    def check_model(cls, model: ColorizationModel, config: TrainConfig) -> None:
        """Check that the model has no discriminator.

        Raises:
            ValueError: if it has one.
        """
        if isinstance(model, GAN):
            raise ValueError(
                f"{config.model} has a discriminator, which needs a gan_loss; without one use the "
                "model unet or encoder_unet"
            )

    def set_up(self) -> None:
        """Create the loss."""
        self.reconstruction_loss = create_reconstruction_loss(self.config, self.device)

    def networks(self) -> dict[str, nn.Module]:
        """Return the model itself."""
        return {"model": self.model}

    def training_step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Reduce the reconstruction loss."""
        state, losses = self.train_state, []
        for micro_batch in micro_batches:
            with state.accumulate(micro_batch):
                pred_ab = state.forward("model", micro_batch)
                loss = self.reconstruction_loss(
                    micro_batch.lightness, pred_ab, micro_batch.target_ab
                )
                state.backward(loss, "model")
            losses.append({"loss": loss})
        state.optimizer_step("model")
        state.update_ema()
        return mean_losses(losses)

    def validation_step(self, lightness: Tensor, target_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction loss and the predicted ab."""
        pred_ab = self.train_state.predict(lightness)
        return self.reconstruction_loss(lightness, pred_ab, target_ab), pred_ab


def create_reconstruction_loss(config: TrainConfig, device: torch.device) -> ReconstructionLoss:
    """Create the loss between predicted and true ab that the settings name.

    Raises:
        ValueError: if it is a loss of logits, not of ab.
        WeightsError: if the weights of a perceptual loss cannot be loaded.
    """
    name = config.reconstruction_loss
    if name == PERCEPTUAL:
        return PerceptualLoss(config.perceptual_weights).to(device)
    if name == CROSS_ENTROPY:
        raise ValueError(
            f"reconstruction_loss {name} is of classes, which {config.model} does not predict; use "
            "mse, l1, smooth_l1 or perceptual"
        )
    pixel_loss = PIXEL_LOSSES[name]
    return lambda lightness, pred_ab, target_ab: pixel_loss(pred_ab, target_ab)
