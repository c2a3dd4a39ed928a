"""The U-Net of pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import ColorizationModel
from colorize.models.layers import (
    AlwaysOnDropout,
    SelfAttention,
    apply_spectral_norm,
    concat_hints,
    init_normal,
)


class UNetGenerator(ColorizationModel):
    """pix2pix's U-Net (appendix 6.1.1): an encoder that halves, a decoder that doubles, skips.

    At depth 8 and 256 px the innermost features are 1x1: every color may depend on the whole
    photo. The decoder's first three blocks have dropout that stays on at inference;
    `colorize.utils.seed.seeded_noise` makes a prediction repeatable. Inputs must be divisible by
    2 ** depth.
    """

    def __init__(
        self,
        depth: int = 8,
        base_channels: int = 64,
        dropout: float = 0.5,
        attention: int | None = None,
        spectral_norm: bool = False,
        hints: bool = False,
    ):
        """Build the network.

        Args:
            depth: number of halvings.
            base_channels: channels after the first halving; they double up to 8 times as many.
            dropout: probability in the decoder's first three blocks.
            attention: stride at which the decoder has self-attention (SAGAN); None for nowhere.
            spectral_norm: whether all convolutions are also spectrally normalized (SAGAN).
            hints: whether it takes color hints (see `concat_hints`).

        Raises:
            ValueError: if there are fewer than two halvings, too few for a skip, or the decoder
                has no such stride.
        """
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth must be at least 2, got {depth}")
        self.size_divisibility, self.supports_hints = 2**depth, hints
        channels = [base_channels * min(2**level, 8) for level in range(depth)]
        self.encoder_blocks = nn.ModuleList()
        for level, out in enumerate(channels):
            first, last = level == 0, level == depth - 1
            in_channels = (4 if hints else 1) if first else channels[level - 1]
            self.encoder_blocks.append(
                nn.Sequential(
                    nn.Identity() if first else nn.LeakyReLU(0.2),
                    nn.Conv2d(in_channels, out, 4, 2, 1),
                    # A 1x1 map of one photo has no variance to normalize by.
                    nn.Identity() if first or last else nn.BatchNorm2d(out),
                )
            )
        strides = [2**level for level in range(1, depth)]
        if attention is not None and attention not in strides:
            raise ValueError(
                f"attention must be at one of the decoder's strides {strides}, got {attention}"
            )
        self.decoder_blocks = nn.ModuleList()
        for level in reversed(range(1, depth)):
            skip_channels = 0 if level == depth - 1 else channels[level]
            out = channels[level - 1]
            self.decoder_blocks.append(
                nn.Sequential(
                    nn.ConvTranspose2d(channels[level] + skip_channels, out, 4, 2, 1),
                    nn.BatchNorm2d(out),
                    AlwaysOnDropout(dropout) if level >= depth - 3 else nn.Identity(),
                    SelfAttention(out) if 2**level == attention else nn.Identity(),
                )
            )
        self.head = nn.Sequential(nn.ConvTranspose2d(2 * channels[0], 2, 4, 2, 1), nn.Tanh())
        self.apply(init_normal)
        if spectral_norm:
            apply_spectral_norm(self)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W) in [-1, 1] from lightness (N, 1, H, W) and hints (N, 3, H, W)."""
        self.check_input(lightness, hints)
        x = concat_hints(lightness, hints) if self.supports_hints else lightness
        skips = []
        for block in self.encoder_blocks:
            x = block(x)
            skips.append(x)
        x = F.relu(skips.pop())  # the innermost
        for block in self.decoder_blocks:
            # Concatenate after the ReLU, not before: the values are the same, but BatchNorm gets a
            # contiguous gradient; with a slice, torch on a CPU is nearly twenty times slower.
            x = torch.cat((F.relu(block(x)), F.relu(skips.pop())), dim=1)
        return self.head(x)
