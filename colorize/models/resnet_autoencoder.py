"""A ResNet's early features, upsampled to ab."""

import os
from collections.abc import Iterable

from torch import Tensor, nn

from colorize.models.base import ColorizationModel
from colorize.models.encoders import Encoder


class ResNetAutoencoder(ColorizationModel):
    """ResNet50 up to its 256x56x56 features (for 224x224), and a decoder up to 2x224x224.

    The source project calls these features mid-level. They are the output of the first of four
    stages, and the receptive field of a color is about 50 px wide: sky is recognized by its
    smoothness, not by its being above a meadow.
    """

    def __init__(
        self,
        encoder_name: str = "resnet50",
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
        self.encoder = Encoder(encoder_name, encoder_weights, padding, stages=2)
        self.size_divisibility = self.encoder.strides[-1]
        channels = self.encoder.channels[-1]
        layers: list[nn.Module] = []
        # Two doublings; three for ConvNeXt, whose first stage has stride 4.
        for _ in range(self.size_divisibility.bit_length() - 1):
            layers.append(_upsampling_block(channels, channels // 2))
            channels //= 2
        layers.append(nn.Conv2d(channels, 2, kernel_size=3, padding=1))
        self.decoder = nn.Sequential(*layers, nn.Tanh())

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the pretrained encoder."""
        return self.encoder.parameters()

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W) from lightness (N, 1, H, W), both in [-1, 1]."""
        self.check_input(lightness, hints)
        return self.decoder(self.encoder(lightness)[-1])


def _upsampling_block(in_channels: int, out_channels: int) -> nn.Module:
    """Build a block that doubles the size; padded and bilinear, so that colors stay in place.

    The convolution comes first, where it costs a quarter.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
