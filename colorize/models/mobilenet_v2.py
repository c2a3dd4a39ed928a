"""MobileNetV2 without torchvision, whose import takes as long as torch's.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2, CVPR 2018. Names, order and initialization of
the modules are those of `torchvision.models.mobilenet_v2`, so that state dicts and seeds agree.
"""

from torch import Tensor, nn

# Expansion, channels, blocks, and stride of the first block (table 2 of the paper).
_SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_norm_act(
    channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel_size // 2
    conv = nn.Conv2d(
        channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; with a residual where sizes agree."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = channels * expansion
        layers = [_conv_norm_act(channels, hidden, kernel_size=1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *layers,
            _conv_norm_act(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.has_residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to the next block's."""
        return x + self.conv(x) if self.has_residual else self.conv(x)


class MobileNetV2(nn.Module):
    """The classifier of 1,000 classes, with random weights; its features are what is used.

    Attributes:
        features: the blocks, finest first.
        classifier: dropout and a linear layer.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 32
        blocks: list[nn.Module] = [_conv_norm_act(3, channels, stride=2)]
        for expansion, out_channels, count, first_stride in _SETTINGS:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        self.features = nn.Sequential(*blocks, _conv_norm_act(channels, 1280, kernel_size=1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized RGB (N, 3, H, W) to logits (N, 1000)."""
        return self.classifier(self.features(x).mean((2, 3)))
