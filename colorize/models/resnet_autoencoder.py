"""Attempt one: a ResNet's early features, upsampled to color."""

import os

from torch import Tensor, nn

from colorize.models.encoders import Encoder
from colorize.models.layers import check_input


class ResNetAutoencoder(nn.Module):
    """ResNet50 up to its 256x56x56 features (for 224x224), and a decoder up to 2x224x224.

    The source story calls these features mid-level. They are the output of the first of four
    stages, and a color sees about 50 px around it: sky is known by its smoothness, not by its
    being above a meadow.

    Attributes:
        multiple: heights and widths must be multiples of it.
    """

    supports_hints = False

    def __init__(
        self,
        encoder_name: str = "resnet50",
        encoder_weights: str | os.PathLike | None = None,
        padding: str = "symmetric",
    ):
        """Build the network; arguments as of `Backbone`."""
        super().__init__()
        self.encoder = Encoder(encoder_name, encoder_weights, padding, stages=2)
        channels, self.size_divisibility = self.encoder.channels[-1], self.encoder.strides[-1]
        doublings = (
            self.size_divisibility.bit_length() - 1
        )  # 2; of ConvNeXt, which begins at stride 4, 3
        self.decoder = nn.Sequential(
            *(_upsample(channels >> k, channels >> k + 1) for k in range(doublings)),
            nn.Conv2d(channels >> doublings, 2, kernel_size=3, padding=1),
            nn.Tanh(),
        )

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W), both in [-1, 1]."""
        check_input(lightness, hints, self.size_divisibility)
        return self.decoder(self.encoder(lightness)[-1])


def _upsample(in_channels: int, out_channels: int) -> nn.Module:
    """Twice the size; padded and bilinear, so that colors stay on their objects.

    The convolution comes first, where it costs a quarter.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
