"""Learning to come close: the distance between painted and true colors goes down."""

from torch import Tensor, nn

from colorize.trainers.base import Trainer


class RegressionTrainer(Trainer):
    """Trains one network by a distance alone. With MSE the mean color wins: everything is brown."""

    def learners(self) -> dict[str, nn.Module]:
        """The network itself."""
        return {"model": self.model}

    def step(self, lightness: Tensor, ab: Tensor) -> dict[str, Tensor]:
        """Come closer to the true colors of one batch."""
        loss = self.distance(self.model(lightness), ab)
        self.update("model", loss)
        return {"loss": loss.detach()}
