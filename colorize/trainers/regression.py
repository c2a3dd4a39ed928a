"""Learning to come close: the distance between painted and true colors goes down."""

from collections.abc import Sequence

from torch import Tensor, nn

from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer


class RegressionTrainer(Trainer):
    """Trains one network by a distance alone. With MSE the mean color wins: everything is brown."""

    def __init__(self, model, config, *args, **kwargs):
        if hasattr(model, "discriminator"):
            raise ValueError(
                f"{config.model} has a critic, which needs an adversarial loss; without one use "
                "the model unet or encoder_unet"
            )
        super().__init__(model, config, *args, **kwargs)

    def networks(self) -> dict[str, nn.Module]:
        """The network itself."""
        return {"model": self.model}

    def step(self, batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Come closer to the true colors."""
        total = 0
        for batch in batches:
            with self.learning(batch):
                loss = self.distance(
                    batch.lightness, self.train_state.paint("model", batch), batch.ab
                )
                self.train_state.backward(loss / len(batches), "model")
            total = total + loss.detach() / len(batches)
        self.train_state.update("model")
        return {"loss": total}
