"""Learning to convince: a generator against a critic, after pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from colorize.losses import ADVERSARIAL
from colorize.trainers.base import Batch, Trainer


class GANTrainer(Trainer):
    """Trains a `UNetGAN`: two networks, two optimizers, one step each per batch."""

    def __init__(self, model, config, *args, **kwargs):
        if config.adversarial is None:
            raise ValueError("a GAN needs an adversarial loss, the settings name none")
        self.adversarial = ADVERSARIAL[config.adversarial]
        super().__init__(model, config, *args, **kwargs)

    def learners(self) -> dict[str, nn.Module]:
        """The painter and its critic."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """One step of the critic, then one of the painter."""
        count = len(batches)
        once = count == 1  # then the generator runs once; its graph for many would fill the memory
        losses: Counter[str] = Counter()

        # Discriminator: true pairs up, painted pairs down. Halved to slow it (Sec. 3.3).
        for batch in batches:
            with self.learning(batch, "discriminator"):
                with torch.set_grad_enabled(once):
                    painted = self.paint("generator", batch)
                real, fake = self._judge(self.parallel["discriminator"], batch, painted.detach())
                d_loss = (self.adversarial(real, True) + self.adversarial(fake, False)) / 2
                self.backward(d_loss / count)
            sureness = {"real": torch.sigmoid(real).mean(), "fake": torch.sigmoid(fake).mean()}
            _add(losses, {"discriminator": d_loss} | sureness, count)
        self.update("discriminator")

        # Generator: fool the updated discriminator, and stay close to the truth (Eq. 4).
        self.model.discriminator.requires_grad_(False)  # no gradients where none are used
        for batch in batches:
            with self.learning(batch, "generator"):
                if not once:
                    painted = self.paint("generator", batch)
                _, fooled = self._judge(self.model.discriminator, batch, painted)
                g_loss = self.adversarial(fooled, True)
                distance = self.distance(painted, batch.ab)
                self.backward((g_loss + self.config.distance_weight * distance) / count)
            _add(losses, {"adversarial": g_loss, "distance": distance}, count)
        self.update("generator")
        self.model.discriminator.requires_grad_(True)
        return dict(losses)

    def _judge(self, critic: nn.Module, batch: Batch, painted: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's logits for the true and the painted photos.

        Both in one forward, in both paragraphs: BatchNorm sees the same mixture where the
        critic learns and where the generator is taught by it.
        """
        lightness = torch.cat((batch.lightness, batch.lightness))
        with self.autocast():
            logits = critic(lightness, torch.cat((batch.ab, painted)))
        real, fake = logits.float().chunk(2)
        return real, fake


def _add(losses: Counter, found: dict[str, Tensor], count: int) -> None:
    for name, loss in found.items():
        losses[name] = losses[name] + loss.detach() / count
