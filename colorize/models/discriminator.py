"""The patch discriminator of pix2pix.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks,
CVPR 2017. Spectral norm and attention: Zhang et al., SAGAN, ICML 2019.
"""

import torch
from torch import Tensor, nn

from colorize.models.layers import SelfAttention, apply_spectral_norm, init_normal


class PatchDiscriminator(nn.Module):
    """The 70x70 PatchGAN (appendix 6.1.2): one logit for each overlapping patch.

    Its input is lightness and ab together: it tells whether these colors suit this photo.
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
            base_channels: channels after the first convolution; they double up to 8 times as many.
            layers: number of convolutions of stride 2; with three, a patch has 70x70 px.
            spectral_norm: whether convolutions are spectrally normalized, instead of BatchNorm
                (SAGAN).
            attention: stride after which it has self-attention; None for nowhere.

        Raises:
            ValueError: if it has no such stride.
        """
        super().__init__()
        channels = [base_channels * min(2**level, 8) for level in range(layers + 1)]
        strides = [2**level for level in range(2, layers + 1)]
        if attention is not None and attention not in strides:
            raise ValueError(
                "attention must be at one of the discriminator's strides "
                f"{strides}, got {attention}"
            )
        blocks: list[nn.Module] = [nn.Conv2d(3, channels[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            # No running statistics: the discriminator is only used in training.
            norm = nn.BatchNorm2d(channels[level], track_running_stats=False)
            blocks += [
                nn.Conv2d(channels[level - 1], channels[level], 4, stride, 1, bias=spectral_norm),
                nn.Identity() if spectral_norm else norm,
                nn.LeakyReLU(0.2),
            ]
            if stride == 2 and 2 ** (level + 1) == attention:
                blocks.append(SelfAttention(channels[level]))
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 4, 1, 1))
        self.apply(init_normal)
        if spectral_norm:
            apply_spectral_norm(self)

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Map lightness (N, 1, H, W) and ab (N, 2, H, W) to logits (N, 1, h, w), high for real."""
        return self.blocks(torch.cat((lightness, ab), dim=1))
