"""A generator with its discriminator, after pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017.
"""

from torch import Tensor, nn

from colorize.models.discriminator import PatchDiscriminator
from colorize.models.unet import UNetGenerator


class GAN(nn.Module):
    """A generator together with its discriminator; used as a network, it is the generator."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    @property
    def size_divisibility(self) -> int:
        """Heights and widths must be multiples of it."""
        return self.generator.size_divisibility

    @property
    def supports_hints(self) -> bool:
        """Whether the generator was built for color hints."""
        return self.generator.supports_hints

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W), and hints (N, 3, H, W), to ab (N, 2, H, W) in [-1, 1]."""
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
            depth, base_channels, dropout, attention, spectral_norm, hints: of `UNetGenerator`.
            discriminator_channels: of `PatchDiscriminator`; None takes the generator's.
            discriminator_attention: stride after which the discriminator has self-attention.
        """
        super().__init__(
            UNetGenerator(depth, base_channels, dropout, attention, spectral_norm, hints),
            PatchDiscriminator(
                base_channels if discriminator_channels is None else discriminator_channels,
                spectral_norm=spectral_norm,
                attention=discriminator_attention,
            ),
        )
