"""GANLoss losses, as functions of the discriminator's logits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class GANLoss:
    """A game between painter and critic, by the critic's logits.

    Attributes:
        critic: what its logits for true and painted photos cost the critic.
        painter: what its logits for painted photos cost the painter.
        chance: logits as the critic's chance, in [0, 1], that a photo is true.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    painter: Callable[[Tensor], Tensor]
    chance: Callable[[Tensor], Tensor]


def _vanilla_critic(real: Tensor, fake: Tensor) -> Tensor:
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def _least_squares_critic(real: Tensor, fake: Tensor) -> Tensor:
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def _hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


GAN_LOSSES = {
    # Goodfellow et al. 2014: binary cross-entropy; the painter's in the non-saturating form, -log D
    # instead of log(1 - D). The critic's is halved to slow it (Isola et al. 2017, section 3.3).
    "vanilla": GANLoss(
        _vanilla_critic, lambda fake: F.softplus(-fake).mean(), lambda logits: logits.sigmoid()
    ),
    # Mao et al. 2017, equation 9: a = 0, b = c = 1.
    "least_squares": GANLoss(
        _least_squares_critic,
        lambda fake: (fake - 1).square().mean(),
        lambda logits: logits.clamp(0, 1),
    ),
    # Lim and Ye 2017; Zhang et al. 2019 (SAGAN), equation 4.
    "hinge": GANLoss(
        _hinge_critic, lambda fake: -fake.mean(), lambda logits: (logits.clamp(-1, 1) + 1) / 2
    ),
}
