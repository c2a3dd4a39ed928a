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
    """Trains a `UNetGAN`: two networks, two optimizers, one step each per batch.

    Both step at once, from one forward pass of each network: the paper steps in turn, which
    would take a second pass of the critic. So both see the same painting, and BatchNorm in the
    critic the same mixture of true and painted photos, where it learns and where it teaches.
    """

    def __init__(self, model, config, *args, **kwargs):
        if config.adversarial is None:
            raise ValueError("a GAN needs an adversarial loss, the settings name none")
        self.adversarial = ADVERSARIAL[config.adversarial]
        super().__init__(model, config, *args, **kwargs)

    def learners(self) -> dict[str, nn.Module]:
        """The painter and its critic."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """One step of the critic and one of the painter."""
        losses: Counter[str] = Counter()
        for batch in batches:
            with self.learning(batch):
                painted = self.paint("generator", batch)
                real, fake = self._judge(batch, painted)

                # Discriminator: true pairs up, painted pairs down. Halved to slow it (Sec. 3.3).
                d_loss = (self.adversarial(real, True) + self.adversarial(fake, False)) / 2
                self.backward(d_loss / len(batches), "discriminator", retain_graph=True)

                # Generator: fool the discriminator, and stay close to the truth (Eq. 4).
                g_loss = self.adversarial(fake, True)
                distance = self.distance(painted, batch.ab)
                g_total = g_loss + self.config.distance_weight * distance
                self.backward(g_total / len(batches), "generator")
            found = {"discriminator": d_loss, "adversarial": g_loss, "distance": distance}
            found |= {"real": torch.sigmoid(real).mean(), "fake": torch.sigmoid(fake).mean()}
            for name, loss in found.items():
                losses[name] += loss.detach() / len(batches)
        self.update("discriminator", "generator")
        return dict(losses)

    def _judge(self, batch: Batch, painted: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's logits for the true and the painted photos."""
        lightness = torch.cat((batch.lightness, batch.lightness))
        with self.autocast():
            logits = self.parallel["discriminator"](lightness, torch.cat((batch.ab, painted)))
        real, fake = logits.float().chunk(2)
        return real, fake
