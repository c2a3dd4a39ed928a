"""What the networks share: their contract, pretrained encoders, and the stem for lightness."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.checkpoint import load_checkpoint
from colorize.color import lightness_to_grey

# torchvision's ImageNet weights were trained on RGB in [0, 1] less this mean, over this deviation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class WeightsError(RuntimeError):
    """Pretrained weights that cannot be had or do not fit; the message names the file."""


def check_size(size: int, multiple: int) -> None:
    """Refuse a side of training crops that a network cannot carry.

    Raises:
        ValueError: if `size` is no multiple of `multiple`; the nearest good ones are named.
    """
    if size % multiple:
        good = " or ".join(str(side) for side, _ in _nearest(size, size, multiple))
        raise ValueError(
            f"size must be a multiple of {multiple} for this network: {good}, not {size}"
        )


def check_input(lightness: Tensor, hints: Tensor | None, multiple: int) -> None:
    """Hold a network's input to the contract that all models share.

    Raises:
        ValueError: if lightness is not (N, 1, H, W), its height or width is no multiple of
            `multiple` (the nearest good ones are named; padding is the caller's), or hints are
            given to a network that takes none.
    """
    if lightness.dim() != 4 or lightness.shape[1] != 1:
        raise ValueError(f"lightness must be (N, 1, H, W), got {tuple(lightness.shape)}")
    height, width = lightness.shape[-2:]
    if height % multiple or width % multiple:
        good = " or ".join(f"{h}x{w}" for h, w in _nearest(height, width, multiple))
        raise ValueError(
            f"this network carries heights and widths that are multiples of {multiple}, got "
            f"{height}x{width}; pad or resize to {good}"
        )
    if hints is not None:
        raise ValueError("this network takes no color hints; pass hints=None")


def _nearest(height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    down = [max(side // multiple, 1) * multiple for side in (height, width)]
    up = [-(-side // multiple) * multiple for side in (height, width)]
    return sorted({tuple(down), tuple(up)})


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

    def forward(self, lightness: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) in [-1, 1] to the convolution's output."""
        grey = lightness_to_grey(lightness)
        return self.conv(torch.cat((grey, torch.ones_like(grey)), dim=1))


class ResNetEncoder(nn.Module):
    """A torchvision ResNet on lightness, up to a stage, giving the features of every stage.

    Attributes:
        channels: of the features, finest first: the stem's at 1/2 of the input's size, then
            layer1 to layer4 at 1/4 to 1/32.
    """

    def __init__(self, name: str, weights: str | os.PathLike | None, stages: int):
        """Build the first `stages` of the four stages of resnet18 ... resnet152.

        Args:
            name: torchvision's, such as "resnet50".
            weights: torchvision's weights, a member of their enum or its name, such as
                "IMAGENET1K_V1" (downloaded into torch's cache where they are not there yet), or
                a file with a state dict of the whole network, or None for random ones.
            stages: 1 to 4.

        Raises:
            ValueError: if torchvision has no such ResNet.
            WeightsError: if the weights cannot be had or do not fit.
        """
        super().__init__()
        resnet = load_torchvision(name, weights)
        if not hasattr(resnet, "layer4"):
            raise ValueError(f"backbone must be one of torchvision's ResNets, got {name!r}")
        self.stem = nn.Sequential(LightnessStem(resnet.conv1), resnet.bn1, resnet.relu)
        self.pool = resnet.maxpool
        layers = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)[:stages]
        self.layers = nn.ModuleList(layers)
        self.channels = [resnet.conv1.out_channels, *map(_out_channels, layers)]

    def forward(self, lightness: Tensor) -> list[Tensor]:
        """Lightness (N, 1, H, W) to features, finest first."""
        features = [self.stem(lightness)]
        x = self.pool(features[0])
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features


def _out_channels(layer: nn.Sequential) -> int:
    block = layer[-1]
    return (block.conv3 if hasattr(block, "conv3") else block.conv2).out_channels


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
            "name a file, or use no pretrained weights"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if place.exists():
            raise WeightsError(f"{place} is damaged, remove it: {error}") from error
        raise WeightsError(f"{weights} came damaged over the net, try again: {error}") from error


class Noise(nn.Dropout):
    """Dropout that stays on when the network is used, as pix2pix's only source of chance.

    Isola et al. 2017, section 3.1: "we provide noise only in the form of dropout, applied on
    several layers of our generator at both training and test time".
    """

    def forward(self, x: Tensor) -> Tensor:
        """Dropout, whether the network is in training mode or not."""
        return F.dropout(x, self.p, training=True)


def init_normal(module: nn.Module) -> None:
    """pix2pix's initial weights: convolutions N(0, 0.02), BatchNorm N(1, 0.02), biases 0.

    Isola et al. 2017, appendix 6.2. For `module.apply`.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def parameter_groups(
    network: nn.Module, lr: float, encoder_lr: float
) -> Iterator[dict[str, object]]:
    """Optimizer groups: a network's `encoder`, if it has one, learns at its own rate."""
    encoder = list(getattr(network, "encoder", nn.Module()).parameters())
    known = set(map(id, encoder))
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    if encoder:
        yield {"params": encoder, "lr": encoder_lr}
    yield {"params": rest, "lr": lr}
