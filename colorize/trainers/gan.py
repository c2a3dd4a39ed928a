"""Learning to convince: a generator against a critic, after pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017.
"""

import torch
from torch import Tensor, nn

from colorize.losses import ADVERSARIAL
from colorize.trainers.base import Trainer


class GANTrainer(Trainer):
    """Trains a `UNetGAN`: two networks, two optimizers, one step each per batch."""

    def __init__(self, model, config, *args, **kwargs):
        super().__init__(model, config, *args, **kwargs)
        if config.adversarial is None:
            raise ValueError("a GAN needs an adversarial loss, the settings name none")
        self.adversarial = ADVERSARIAL[config.adversarial]

    def learners(self) -> dict[str, nn.Module]:
        """The painter and its critic."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def step(self, lightness: Tensor, ab: Tensor) -> dict[str, Tensor]:
        """One step of the critic, then one of the painter, on one batch."""
        generator, discriminator = self.model.generator, self.model.discriminator
        painted = generator(lightness)

        # Discriminator: true pairs up, painted pairs down. Halved to slow it (Sec. 3.3).
        real, fake = self._judge(lightness, ab, painted.detach())
        d_loss = (self.adversarial(real, True) + self.adversarial(fake, False)) / 2
        self.update("discriminator", d_loss)

        # Generator: fool the updated discriminator, and stay close to the truth (Eq. 4).
        discriminator.requires_grad_(False)  # no gradients where none are used
        _, fooled = self._judge(lightness, ab, painted)
        g_loss = self.adversarial(fooled, True)
        distance = self.distance(painted, ab)
        self.update("generator", g_loss + self.config.distance_weight * distance)
        discriminator.requires_grad_(True)

        losses = {"discriminator": d_loss, "adversarial": g_loss, "distance": distance}
        sureness = {"real": torch.sigmoid(real).mean(), "fake": torch.sigmoid(fake).mean()}
        return {name: value.detach() for name, value in (losses | sureness).items()}

    def _judge(self, lightness: Tensor, ab: Tensor, painted: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's logits for the true and the painted photos.

        Both in one forward, in both paragraphs: BatchNorm sees the same mixture where the
        critic learns and where the generator is taught by it.
        """
        logits = self.model.discriminator(
            torch.cat((lightness, lightness)), torch.cat((ab, painted))
        )
        real, fake = logits.chunk(2)
        return real, fake
