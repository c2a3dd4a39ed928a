"""Pretrained encoders: torchvision's classifiers of five families, with lightness as the input."""

import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from colorize.color.lab import lightness_to_gray
from colorize.models.layers import StochasticDepth
from colorize.models.mobilenet_v2 import MobileNetV2
from colorize.utils.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

# torchvision's ImageNet weights were trained on RGB in [0, 1] minus this mean, over this deviation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FAMILIES = ("ResNet", "MobileNetV2", "MobileNetV3", "ConvNeXt", "EfficientNet")
_PROBE = 64  # px; the side of the input by which stages are found


class WeightsError(RuntimeError):
    """Pretrained weights that cannot be loaded or do not fit; the message names the file."""


class LightnessStem(nn.Module):
    """An RGB network's first convolution, rewritten exactly for lightness.

    The gray photo of a lightness L has R = G = B = g, so that the RGB network's normalized input is
    (g - mean_c) / std_c, padded with zeros. Summing the filters over c gives one filter for g; the
    rest, -mean_c / std_c, is a constant that ends at the border where the padding begins. It
    becomes a second filter over a plane of ones, which is padded with zeros in the same way. A bias
    alone would be wrong at the borders.
    """

    def __init__(self, conv: nn.Conv2d):
        """Fold ImageNet's normalization into `conv`, a convolution of three channels."""
        super().__init__()
        self.conv = nn.Conv2d(
            2,
            conv.out_channels,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            _symmetric_padding(conv),
            bias=conv.bias is not None,
        )
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        with torch.no_grad():
            weight = conv.weight / std
            gray, ones = weight.sum(1), -(weight * mean).sum(1)
            self.conv.weight.copy_(torch.stack((gray, ones), dim=1))
            if conv.bias is not None and self.conv.bias is not None:
                self.conv.bias.copy_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map lightness (N, 1, H, W) to the convolution's output."""
        gray = lightness_to_gray(x).to(next(self.conv.parameters()).dtype)
        return self.conv(torch.cat((gray, torch.ones_like(gray)), dim=1))


class Encoder(nn.Module):
    """A torchvision classifier without its classification head, with the features of every stage.

    A stage is all that happens at one size: its features are the last ones before the next halving.

    Attributes:
        channels: of the features, finest first.
        strides: by how much their sides are smaller than the input's: 2, 4, 8, 16, 32 (ConvNeXt
            begins with 4).
        stages: the modules.
        frozen_norm: whether BatchNorm keeps its statistics in training; a buffer.
    """

    frozen_norm: Tensor

    def __init__(
        self,
        name: str,
        weights: "str | os.PathLike | WeightsEnum | None" = None,
        padding: str = "symmetric",
        frozen_norm: bool | None = None,
        stages: int | None = None,
    ):
        """Build the first `stages` stages of a network.

        Args:
            name: torchvision's, such as "resnet50", "mobilenet_v2", "convnext_tiny".
            weights: torchvision's weights, a member of their enum or its name, such as
                "IMAGENET1K_V1" (downloaded into torch's cache if they are not there yet); or a file
                with a state dict of the whole network; or None for random ones.
            padding: "symmetric", torchvision's; or "same", TensorFlow's, for weights that were
                trained with it: convolutions of stride 2 (not a ResNet's pooling) then pad the
                right and the bottom of even sides more.
            frozen_norm: whether BatchNorm keeps the statistics of the weights in training; None
                freezes statistics that are the identity (mean 0, variance 1) because they were
                folded into the convolutions: statistics of a batch would undo what was learned.
            stages: how many; None for all.

        Raises:
            ValueError: if torchvision has no such network, or it is of another family.
            WeightsError: if the weights cannot be loaded or do not fit.
        """
        super().__init__()
        if padding not in ("symmetric", "same"):
            raise ValueError(f'padding must be "symmetric" or "same", got {padding!r}')
        network = _create_backbone(name, weights)
        if type(network).__name__ not in FAMILIES:
            raise ValueError(
                f"the encoder must be of the families {', '.join(FAMILIES)}, got {name!r}"
            )
        if frozen_norm is None:
            frozen_norm = weights is not None and _is_folded(network)
        # In the state dict, because a resumed run has no file of weights to decide by.
        self.register_buffer("frozen_norm", torch.tensor(frozen_norm))
        blocks = nn.Sequential(*_blocks(network))
        path, first = _first_convolution(blocks)
        _replace(blocks, path, LightnessStem(first))
        _use_own_noise(blocks)
        if padding == "same":
            _use_same_padding(blocks)
        sides, widths = _block_shapes(blocks)
        ends = [i + 1 for i in range(len(sides)) if sides[i : i + 1] != sides[i + 1 : i + 2]]
        ends = ends[:stages]
        self.channels = [widths[end - 1] for end in ends]
        self.strides = [_PROBE // sides[end - 1] for end in ends]
        self.stages = nn.ModuleList(
            blocks[begin:end] for begin, end in zip([0, *ends], ends, strict=False)
        )

    def train(self, mode: bool = True) -> "Encoder":
        """Set the training mode; frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map lightness (N, 1, H, W) to features, finest first."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _blocks(network: nn.Module) -> Iterable[nn.Module]:
    """Return a classifier's blocks in order, none of which halves the size twice."""
    if type(network).__name__ == "ResNet":
        layers = dict(network.named_children())
        stem = nn.Sequential(layers["conv1"], layers["bn1"], layers["relu"])
        first = nn.Sequential(layers["maxpool"], layers["layer1"])
        return [stem, first, layers["layer2"], layers["layer3"], layers["layer4"]]
    blocks = list(network.get_submodule("features").children())
    # MobileNets and EfficientNets end with a convolution that widens for the classifier.
    return blocks if type(network).__name__ == "ConvNeXt" else blocks[:-1]


def _is_folded(network: nn.Module) -> bool:
    """Whether all BatchNorm statistics are the identity."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return bool(norms) and all(_is_identity(norm) for norm in norms)


def _is_identity(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    return not mean.any() and bool(torch.eq(variance, 1).all())


def _first_convolution(blocks: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((path, m) for path, m in blocks.named_modules() if isinstance(m, nn.Conv2d))


def _replace(blocks: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(blocks.get_submodule(parent), name, module)


def _pair(sides: tuple[int, ...]) -> tuple[int, int]:
    height, width = sides
    return height, width


def _symmetric_padding(conv: nn.Conv2d) -> tuple[int, int]:
    if isinstance(conv.padding, str):  # "same" or "valid", which no network of FAMILIES has
        raise ValueError(f"a convolution with padding {conv.padding!r} is not supported")
    return _pair(conv.padding)


def _use_own_noise(blocks: nn.Module) -> None:
    """Replace torchvision's stochastic depth, which draws from torch's global generator."""
    for path, module in list(blocks.named_modules()):
        if type(module).__name__ == "StochasticDepth" and isinstance(module.p, float):
            _replace(blocks, path, StochasticDepth(module.p))


def _use_same_padding(blocks: nn.Module) -> None:
    """Replace the padding of convolutions of stride 2 by TensorFlow's "same", for even sides."""
    for path, conv in list(blocks.named_modules()):
        if not isinstance(conv, nn.Conv2d) or conv.stride[0] != 2:
            continue
        if _symmetric_padding(conv)[0] == 0:
            continue
        total = conv.kernel_size[0] - conv.stride[0]
        left, right = total // 2, total - total // 2
        conv.padding = (0, 0)
        _replace(blocks, path, nn.Sequential(nn.ZeroPad2d((left, right, left, right)), conv))


@torch.no_grad()
def _block_shapes(blocks: nn.Sequential) -> tuple[list[int], list[int]]:
    """Return side and channels after each block, for an input of `_PROBE` px."""
    was_training = blocks.training
    x = torch.zeros(1, 1, _PROBE, _PROBE)
    sides, widths = [], []
    for block in blocks.eval():
        x = block(x)
        sides.append(x.shape[-1])
        widths.append(x.shape[1])
    blocks.train(was_training)
    return sides, widths


def _create_backbone(name: str, weights: "str | os.PathLike | WeightsEnum | None") -> nn.Module:
    """Return a classifier, without importing torchvision for the bundled model's."""
    if name == "mobilenet_v2" and weights is None:
        return MobileNetV2()
    return load_torchvision(name, weights)


def load_torchvision(name: str, weights: "str | os.PathLike | WeightsEnum | None") -> nn.Module:
    """Return a torchvision classifier with weights by enum name or file, or random ones for None.

    Raises:
        ValueError: if torchvision has no such network.
        WeightsError: if the weights cannot be loaded or do not fit.
    """
    from torchvision import models  # here, because its import takes seconds

    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no network {name!r}")
    if weights is None:
        return models.get_model(name)
    if isinstance(weights, models.WeightsEnum):
        return _with_published_weights(name, weights)
    published = models.get_model_weights(name).__members__
    if str(weights) in published:
        return _with_published_weights(name, published[str(weights)])
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"{weights} is neither a file nor one of {name}'s weights in torchvision: "
            f"{', '.join(published)}"
        )
    network = models.get_model(name)
    try:
        state = load_checkpoint(path)
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise WeightsError(f"{path} does not hold the state dict of a {name}: {error}") from error
    return network


def _with_published_weights(name: str, weights: "WeightsEnum") -> nn.Module:
    """Return a network with torchvision's weights, from torch's cache or downloaded."""
    from torchvision import models

    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        return models.get_model(name, weights=weights)
    except OSError as error:  # includes URLError
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"{weights} cannot be downloaded ({reason}). Put {path.name} into {path.parent}, or "
            "name a file (--encoder-weights FILE), or train from random weights "
            "(--encoder-weights none)"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if path.exists():
            raise WeightsError(f"{path} is damaged, remove it: {error}") from error
        raise WeightsError(f"{weights} was damaged in the download, try again: {error}") from error
