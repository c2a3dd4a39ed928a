"""Attempt three: pix2pix, a U-Net that paints and a critic that judges patches.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017.
"""

import torch
from torch import Tensor, nn

from colorize.models.layers import Noise, check_input, init_normal


class UNetGenerator(nn.Module):
    """pix2pix's U-Net (appendix 6.1.1): an encoder that halves, a decoder that doubles, skips.

    At depth 8 and 256 px the innermost features are 1x1: every color may depend on the whole
    photo. The decoder's first three blocks carry dropout that stays on in use; seed torch for
    a repeatable painting.

    Attributes:
        multiple: heights and widths must be multiples of it, 2 ** depth.
    """

    def __init__(self, depth: int = 8, base_channels: int = 64, dropout: float = 0.5):
        """Build the network.

        Args:
            depth: number of halvings.
            base_channels: after the first halving; they double up to 8 times as many.
            dropout: probability in the decoder's first three blocks.

        Raises:
            ValueError: if there are fewer than two halvings, too few for a skip.
        """
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth must be at least 2, got {depth}")
        self.multiple = 2**depth
        channels = [base_channels * min(2**level, 8) for level in range(depth)]
        self.encoder_blocks = nn.ModuleList()
        for level, out in enumerate(channels):
            first, last = level == 0, level == depth - 1
            self.encoder_blocks.append(
                nn.Sequential(
                    nn.Identity() if first else nn.LeakyReLU(0.2),
                    nn.Conv2d(1 if first else channels[level - 1], out, 4, 2, 1),
                    # A 1x1 map of one photo has no variance to normalize by.
                    nn.Identity() if first or last else nn.BatchNorm2d(out),
                )
            )
        self.decoder_blocks = nn.ModuleList()
        for level in reversed(range(1, depth)):
            skipped = 0 if level == depth - 1 else channels[level]
            out = channels[level - 1]
            self.decoder_blocks.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(channels[level] + skipped, out, 4, 2, 1),
                    nn.BatchNorm2d(out),
                    Noise(dropout) if level >= depth - 3 else nn.Identity(),
                )
            )
        self.head = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(2 * channels[0], 2, 4, 2, 1), nn.Tanh()
        )
        self.apply(init_normal)

    def forward(self, lightness: Tensor, hints: None = None) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W), both in [-1, 1]."""
        check_input(lightness, hints, self.multiple)
        x, skips = lightness, []
        for block in self.encoder_blocks:
            x = block(x)
            skips.append(x)
        skips.pop()  # the innermost is x itself
        for block in self.decoder_blocks:
            x = torch.cat((block(x), skips.pop()), dim=1)
        return self.head(x)


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN (appendix 6.1.2): one logit for each overlapping patch.

    It sees lightness and ab together, so it judges whether these colors suit this photo.
    """

    def __init__(self, base_channels: int = 64, layers: int = 3):
        """Build the network.

        Args:
            base_channels: after the first convolution; they double up to 8 times as many.
            layers: convolutions of stride 2; three of them see patches of 70x70 px.
        """
        super().__init__()
        channels = [base_channels * min(2**level, 8) for level in range(layers + 1)]
        blocks: list[nn.Module] = [nn.Conv2d(3, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            blocks += [
                nn.Conv2d(channels[level - 1], channels[level], 4, stride, 1, bias=False),
                # Of the batch at hand only: the critic is never used on its own.
                nn.BatchNorm2d(channels[level], track_running_stats=False),
                nn.LeakyReLU(0.2),
            ]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 4, 1, 1))
        self.apply(init_normal)

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) and ab (N, 2, H, W) to logits (N, 1, h, w), high for real."""
        return self.blocks(torch.cat((lightness, ab), dim=1))


class UNetGAN(nn.Module):
    """The generator together with its critic; used as a network, it is the generator."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of it."""
        return self.generator.multiple

    def forward(self, lightness: Tensor, hints: None = None) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W), both in [-1, 1]."""
        return self.generator(lightness, hints)
