"""Adversarial losses, as functions of the discriminator's logits."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class GANLoss:
    """The losses of generator and discriminator, by the discriminator's logits.

    Attributes:
        discriminator: its loss, from its logits for real and for generated photos.
        generator: its loss, from the logits for generated photos.
        real_prob: the probability in [0, 1] that a photo is real, from its logits.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    real_prob: Callable[[Tensor], Tensor]


def _vanilla_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def _least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def _hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


GAN_LOSSES = {
    # Goodfellow et al. 2014: binary cross-entropy; the generator's in the non-saturating form,
    # -log D instead of log(1 - D). The discriminator's is halved to slow it down (Isola et al.
    # 2017, section 3.3).
    "vanilla": GANLoss(
        discriminator=_vanilla_discriminator,
        generator=lambda fake: F.softplus(-fake).mean(),
        real_prob=lambda logits: logits.sigmoid(),
    ),
    # Mao et al. 2017, equation 9: a = 0, b = c = 1.
    "least_squares": GANLoss(
        discriminator=_least_squares_discriminator,
        generator=lambda fake: (fake - 1).square().mean(),
        real_prob=lambda logits: logits.clamp(0, 1),
    ),
    # Lim and Ye 2017; Zhang et al. 2019 (SAGAN), equation 4.
    "hinge": GANLoss(
        discriminator=_hinge_discriminator,
        generator=lambda fake: -fake.mean(),
        real_prob=lambda logits: (logits.clamp(-1, 1) + 1) / 2,
    ),
}
