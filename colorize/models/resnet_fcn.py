"""A fully convolutional network that adds up the scores of every level.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015.
"""

import math
import os
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import ColorizationModel
from colorize.models.encoders import Encoder


class ResNetFCN(ColorizationModel):
    """ResNet101 whose scores from every level are upsampled and summed, coarsest to finest.

    A score is a 1x1 convolution to the two color channels. torchvision's ready-made FCN reads
    the last level only and upsamples a coarse map; this one is the network of the paper
    (section 4.2), with all five levels instead of its three.
    """

    size_divisibility = 32

    def __init__(
        self,
        encoder_name: str = "resnet101",
        encoder_weights: str | os.PathLike | None = None,
        padding: str = "symmetric",
    ):
        """Build the network.

        Args:
            encoder_name: torchvision's name, as in `Encoder`.
            encoder_weights: name or file of its weights, as in `Encoder`.
            padding: "symmetric" or "same", as in `Encoder`.
        """
        super().__init__()
        self.encoder = Encoder(encoder_name, encoder_weights, padding)
        self.scores = nn.ModuleList(
            _zero_initialized(nn.Conv2d(channels, 2, kernel_size=1))
            for channels in self.encoder.channels
        )

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the pretrained encoder."""
        return self.encoder.parameters()

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W) from lightness (N, 1, H, W), both in [-1, 1]."""
        self.check_input(lightness, hints)
        features = self.encoder(lightness)
        # Adam moves every weight by about the learning rate, and hundreds of features add up in
        # a score; without the division the first steps would saturate the tanh for good.
        levels = [
            score(x) / math.sqrt(x.shape[1]) for score, x in zip(self.scores, features, strict=True)
        ]
        fused = levels.pop()
        while levels:
            fused = _upsample(fused, 2) + levels.pop()
        return torch.tanh(_upsample(fused, self.encoder.strides[0]))


def _zero_initialized(score: nn.Conv2d) -> nn.Conv2d:
    """Zero a layer: "We zero-initialize the score layers" (section 4.3); predictions are gray."""
    for parameter in score.parameters():
        nn.init.zeros_(parameter)
    return score


def _upsample(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
