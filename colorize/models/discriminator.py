"""The critic of pix2pix, which judges patches, and the pair that plays the game.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017. Spectral norm and attention: Zhang et al., SAGAN, ICML 2019.
"""

import torch
from torch import Tensor, nn

from colorize.models.layers import SelfAttention, apply_spectral_norm, init_normal


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN (appendix 6.1.2): one logit for each overlapping patch.

    It sees lightness and ab together, so it judges whether these colors suit this photo.
    """

    def __init__(
        self,
        base_channels: int = 64,
        layers: int = 3,
        spectral_norm: bool = False,
        attention: int | None = None,
    ):
        """Build the network.

        Args:
            base_channels: after the first convolution; they double up to 8 times as many.
            layers: convolutions of stride 2; three of them see patches of 70x70 px.
            spectral_norm: whether its convolutions are spectrally normalized instead of BatchNorm
                (SAGAN).
            attention: stride after which it has self-attention; None nowhere.

        Raises:
            ValueError: if it has no such stride.
        """
        super().__init__()
        channels = [base_channels * min(2**level, 8) for level in range(layers + 1)]
        strides = [2**level for level in range(2, layers + 1)]
        if attention is not None and attention not in strides:
            raise ValueError(
                f"attention must be at one of the critic's strides {strides}, got {attention}"
            )
        blocks: list[nn.Module] = [nn.Conv2d(3, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            blocks += [
                nn.Conv2d(channels[level - 1], channels[level], 4, stride, 1, bias=spectral_norm),
                nn.Identity()
                if spectral_norm
                # Of the batch at hand only: the critic is never used on its own.
                else nn.BatchNorm2d(channels[level], track_running_stats=False),
                nn.LeakyReLU(0.2),
            ]
            if stride == 2 and 2 ** (level + 1) == attention:
                blocks.append(SelfAttention(channels[level]))
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 4, 1, 1))
        self.apply(init_normal)
        if spectral_norm:
            apply_spectral_norm(self)

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) and ab (N, 2, H, W) to logits (N, 1, h, w), high for real."""
        return self.blocks(torch.cat((lightness, ab), dim=1))
