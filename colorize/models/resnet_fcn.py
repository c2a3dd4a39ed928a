"""Attempt two: a fully convolutional network that adds up what every level says.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015.
"""

import math
import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.encoders import Encoder
from colorize.models.layers import check_input


class ResNetFCN(nn.Module):
    """ResNet101 whose scores from every level are upsampled and summed, coarsest to finest.

    A score is a 1x1 convolution to the two color channels. torchvision's ready-made FCN reads
    the last level only, and so blows up a coarse map; this one is the network of the paper
    (section 4.2), with all five levels instead of its three.

    Attributes:
        multiple: heights and widths must be multiples of it.
    """

    supports_hints = False
    size_divisibility = 32

    def __init__(
        self,
        encoder_name: str = "resnet101",
        encoder_weights: str | os.PathLike | None = None,
        padding: str = "symmetric",
    ):
        """Build the network; arguments as of `Backbone`."""
        super().__init__()
        self.encoder = Encoder(encoder_name, encoder_weights, padding)
        self.scores = nn.ModuleList(
            nn.Conv2d(channels, 2, kernel_size=1) for channels in self.encoder.channels
        )
        for score in self.scores:  # "We zero-initialize the score layers" (section 4.3): grey
            nn.init.zeros_(score.weight)
            nn.init.zeros_(score.bias)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W), both in [-1, 1]."""
        check_input(lightness, hints, self.size_divisibility)
        features = self.encoder(lightness)
        # Adam moves every weight by about the learning rate, and hundreds of features add up in
        # a score; undivided, the first steps would drive the tanh into saturation for good.
        levels = [
            score(x) / math.sqrt(x.shape[1]) for score, x in zip(self.scores, features, strict=True)
        ]
        fused = levels.pop()
        while levels:
            fused = _enlarged(fused, 2) + levels.pop()
        return torch.tanh(_enlarged(fused, self.encoder.strides[0]))


def _enlarged(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)
