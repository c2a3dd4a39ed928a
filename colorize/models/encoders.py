"""Pretrained encoders: any torchvision classifier of four families, looking at lightness."""

import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from colorize.color.lab import lightness_to_gray
from colorize.utils.checkpoint import load_checkpoint

# torchvision's ImageNet weights were trained on RGB in [0, 1] less this mean, over this deviation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


FAMILIES = ("ResNet", "MobileNetV2", "MobileNetV3", "ConvNeXt", "EfficientNet")


class WeightsError(RuntimeError):
    """Pretrained weights that cannot be had or do not fit; the message names the file."""


class LightnessStem(nn.Module):
    """An RGB network's first convolution, rewritten to take lightness, exactly.

    The grey photo that a lightness L stands for has R = G = B = g, so that the RGB network's
    normalized input is (g - mean_c) / std_c, with zeros padded around it. Summing the filters
    over c gives one filter for g; what remains, -mean_c / std_c, is a constant that ends at the
    border where the padding begins. It becomes a second filter over a plane of ones, which the
    same padding surrounds with zeros. A bias alone would be wrong at the borders.
    """

    def __init__(self, conv: nn.Conv2d):
        """Fold `conv`, a convolution of three channels, with ImageNet's normalization."""
        super().__init__()
        bias = conv.bias is not None
        self.conv = nn.Conv2d(
            2, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=bias
        )
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        with torch.no_grad():
            weight = conv.weight / std
            grey, ones = weight.sum(1), -(weight * mean).sum(1)
            self.conv.weight.copy_(torch.stack((grey, ones), dim=1))
            if bias:
                self.conv.bias.copy_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) to the convolution's output."""
        grey = lightness_to_gray(x)
        return self.conv(torch.cat((grey, torch.ones_like(grey)), dim=1))


class Encoder(nn.Module):
    """A torchvision classifier without its classifier, giving the features of every stage.

    A stage is what happens at one size: its features are the last ones before the next halving.

    Attributes:
        channels: of the features, finest first.
        strides: by how much their sides are smaller than the input's: 2, 4, 8, 16, 32 (ConvNeXt
            begins with 4).
        stages: the modules.
    """

    def __init__(
        self,
        name: str,
        weights: str | os.PathLike | None = None,
        padding: str = "symmetric",
        frozen_norm: bool | None = None,
        stages: int | None = None,
    ):
        """Build the first `stages` stages of a network.

        Args:
            name: torchvision's, such as "resnet50", "mobilenet_v2", "convnext_tiny".
            weights: torchvision's weights, a member of their enum or its name, such as
                "IMAGENET1K_V1" (downloaded into torch's cache where they are not there yet), or
                a file with a state dict of the whole network, or None for random ones.
            padding: "symmetric", torchvision's; or "same", TensorFlow's, for weights that were
                trained so: convolutions of stride 2 (not a ResNet's pooling) then pad an even
                side's right and bottom more.
            frozen_norm: whether BatchNorm keeps the statistics of the weights in training; None:
                where these are the identity (mean 0, variance 1), folded into the convolutions,
                so that statistics of a batch would undo what the network learned.
            stages: how many; None for all.

        Raises:
            ValueError: if torchvision has no such network, or it is of another family.
            WeightsError: if the weights cannot be had or do not fit.
        """
        super().__init__()
        if padding not in ("symmetric", "same"):
            raise ValueError(f'padding must be "symmetric" or "same", got {padding!r}')
        network = load_torchvision(name, weights)
        if type(network).__name__ not in FAMILIES:
            raise ValueError(
                f"backbone must be of the families {', '.join(FAMILIES)}, got {name!r}"
            )
        if frozen_norm is None:
            frozen_norm = weights is not None and _is_folded(network)
        # Part of the state: a run that goes on has no weights' file to judge by.
        self.register_buffer("frozen_norm", torch.tensor(frozen_norm))
        blocks = nn.Sequential(*_blocks(network))
        path, first = _first_convolution(blocks)
        _set(blocks, path, LightnessStem(first))
        if padding == "same":
            for path, conv in list(blocks.named_modules()):
                if isinstance(conv, nn.Conv2d) and conv.stride[0] == 2 and conv.padding[0] > 0:
                    _set(blocks, path, _same_padded(conv))
        sizes, self.channels = _shapes(blocks)
        ends = [i + 1 for i in range(len(sizes)) if sizes[i : i + 1] != sizes[i + 1 : i + 2]]
        ends = ends[:stages]
        self.channels = [self.channels[end - 1] for end in ends]
        self.strides = [_PROBE // sizes[end - 1] for end in ends]
        begins = [0, *ends]
        self.stages = nn.ModuleList(
            blocks[begin:end] for begin, end in zip(begins, ends, strict=False)
        )

    def train(self, mode: bool = True) -> "Encoder":
        """Switch to training; BatchNorm stays as it is where it is frozen."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Lightness (N, 1, H, W) to features, finest first."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


_PROBE = 64  # px; the side of the input by which stages are found


def _blocks(network: nn.Module) -> list[nn.Module]:
    """A classifier's blocks in order, none of which halves twice."""
    if hasattr(network, "layer4"):  # a ResNet
        stem = nn.Sequential(network.conv1, network.bn1, network.relu)
        first = nn.Sequential(network.maxpool, network.layer1)
        return [stem, first, network.layer2, network.layer3, network.layer4]
    blocks = list(network.features)
    # MobileNets and EfficientNets end with a convolution that widens for the classifier.
    return blocks if type(network).__name__ == "ConvNeXt" else blocks[:-1]


def _is_folded(network: nn.Module) -> bool:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return bool(norms) and all(
        not norm.running_mean.any() and (norm.running_var == 1).all() for norm in norms
    )


def _first_convolution(blocks: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((path, m) for path, m in blocks.named_modules() if isinstance(m, nn.Conv2d))


def _set(blocks: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(blocks.get_submodule(parent), name, module)


def _same_padded(conv: nn.Conv2d) -> nn.Module:
    """TensorFlow's "same" padding of a convolution of stride 2 on an even side."""
    total = conv.kernel_size[0] - conv.stride[0]
    conv.padding = (0, 0)
    return nn.Sequential(nn.ZeroPad2d((total // 2, total - total // 2) * 2), conv)


@torch.no_grad()
def _shapes(blocks: nn.Sequential) -> tuple[list[int], list[int]]:
    """Side and channels after each block, of an input of `_PROBE` px."""
    was = blocks.training
    x = torch.zeros(1, 1, _PROBE, _PROBE)
    sides, widths = [], []
    for block in blocks.eval():
        x = block(x)
        sides.append(x.shape[-1])
        widths.append(x.shape[1])
    blocks.train(was)
    return sides, widths


def load_torchvision(name: str, weights: str | os.PathLike | None) -> nn.Module:
    """A torchvision classifier with weights by enum name or file, or random ones for None.

    Raises:
        ValueError: if torchvision has no such network.
        WeightsError: if the weights cannot be had or do not fit.
    """
    import torchvision.models as zoo  # here, because it costs seconds

    if name not in zoo.list_models(module=zoo):
        raise ValueError(f"torchvision has no network {name!r}")
    if weights is None:
        return zoo.get_model(name)
    if isinstance(weights, zoo.WeightsEnum):
        return _with_published_weights(name, weights)
    names = zoo.get_model_weights(name).__members__
    if str(weights) in names:
        return _with_published_weights(name, names[str(weights)])
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"{weights} is neither a file nor one of {name}'s weights in torchvision: "
            f"{', '.join(names)}"
        )
    network = zoo.get_model(name)
    try:
        state = load_checkpoint(path)
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise WeightsError(f"{path} does not hold the state dict of a {name}: {error}") from error
    return network


def _with_published_weights(name: str, weights) -> nn.Module:
    """The network with a member of torchvision's weights enum, from torch's cache or the net."""
    import torchvision.models as zoo

    place = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    try:
        return zoo.get_model(name, weights=weights)
    except OSError as error:  # URLError is one
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"{weights} cannot be downloaded ({reason}). Put {place.name} into {place.parent}, or "
            "name a file (--encoder-weights FILE), or begin untrained (--encoder-weights none)"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if place.exists():
            raise WeightsError(f"{place} is damaged, remove it: {error}") from error
        raise WeightsError(f"{weights} came damaged over the net, try again: {error}") from error
