"""A generator with its discriminator, after pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from colorize.models.base import ColorizationModel
from colorize.models.discriminator import PatchDiscriminator
from colorize.models.unet import UNetGenerator


class GAN(ColorizationModel):
    """A generator together with its discriminator; called as a model, it is the generator.

    Attributes:
        generator: predicts ab from lightness.
        discriminator: tells real from predicted ab.
    """

    def __init__(self, generator: ColorizationModel, discriminator: PatchDiscriminator):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.size_divisibility = generator.size_divisibility
        self.supports_hints = generator.supports_hints

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the generator's pretrained encoder."""
        return self.generator.encoder_parameters()

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W) in [-1, 1] with the generator."""
        return self.generator(lightness, hints)


class UNetGAN(GAN):
    """pix2pix's U-Net generator and its 70 x 70 patch discriminator.

    Example:
        >>> import torch
        >>> model = UNetGAN(depth=5, base_channels=8)
        >>> model(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(
        self,
        depth: int = 8,
        base_channels: int = 64,
        dropout: float = 0.5,
        attention: int | None = None,
        spectral_norm: bool = False,
        hints: bool = False,
        discriminator_channels: int | None = None,
        discriminator_attention: int | None = None,
    ):
        """Build both networks.

        Args:
            depth: number of halvings, as in `UNetGenerator`.
            base_channels: after the first halving, as in `UNetGenerator`.
            dropout: probability in the decoder's first three blocks.
            attention: stride at which the generator has self-attention; None for nowhere.
            spectral_norm: whether all convolutions of both are spectrally normalized.
            hints: whether the generator takes color hints.
            discriminator_channels: base channels of the discriminator; None for the generator's.
            discriminator_attention: stride after which the discriminator has self-attention; None
                for nowhere.
        """
        generator = UNetGenerator(depth, base_channels, dropout, attention, spectral_norm, hints)
        discriminator = PatchDiscriminator(
            base_channels if discriminator_channels is None else discriminator_channels,
            spectral_norm=spectral_norm,
            attention=discriminator_attention,
        )
        super().__init__(generator, discriminator)
