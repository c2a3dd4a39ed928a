"""Metrics of one colorized photo against its ground truth."""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.curves import AB_SCALE, L_SCALE
from colorize.color.lab import mean_chroma, rgb_to_lab

NO_COLOR = 0.5  # mean chroma in CIELAB units; below, all color is rounding to 8 bits

# Bleeding: where chroma changes by more than _CHROMA_EDGE units per pixel, farther than _REACH
# pixels from where L* changes by more than _LIGHTNESS_EDGE units per pixel.
_LIGHTNESS_EDGE, _CHROMA_EDGE, _REACH = 3.0, 1.0, 2

# Stains: a pixel lies on a plain surface if the standard deviation of L* in the window around it
# is below _PLAIN_STD. Photos with a smaller share of such pixels than _MIN_PLAIN are not measured.
_WINDOW, _PLAIN_STD, _MIN_PLAIN = 9, 1.0, 0.01


def ab_error(pred_ab: Tensor, target_ab: Tensor) -> Tensor:
    """Compute the mean distance in the a*b* plane of each photo.

    Args:
        pred_ab: predicted ab (N, 2, H, W), scaled to [-1, 1].
        target_ab: ground truth of the same shape and scale.

    Returns:
        (N,), in CIELAB units.
    """
    return mean_chroma((pred_ab - target_ab).float())


def ab_mae(pred_ab: Tensor, target_ab: Tensor) -> Tensor:
    """Compute the mean of |Δa*| and |Δb*| over pixels and both channels of each photo.

    Args:
        pred_ab: predicted ab (N, 2, H, W), scaled to [-1, 1].
        target_ab: ground truth of the same shape and scale.

    Returns:
        (N,), in CIELAB units.
    """
    return (pred_ab - target_ab).float().abs().mean(dim=(1, 2, 3)) * AB_SCALE


def psnr(rgb: Tensor, target: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB of uint8 photos (N, 3, H, W): (N,).

    PSNR rewards dull colors: plain gray scores higher than many colorizers. It should never be
    the headline number.
    """
    mse = (rgb.float() - target.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse)


def colorfulness(rgb: Tensor, absolute: bool = False) -> Tensor:
    """Compute the colorfulness M3 of each uint8 photo (N, 3, H, W): (N,).

    Hasler and Süsstrunk, Measuring Colourfulness in Natural Images, 2003: about 15 is slightly,
    45 averagely, 82 highly colorful.

    Args:
        rgb: the photos.
        absolute: take absolute values of the opponent differences, as DDColor's code and its
            predecessors do, which gives smaller numbers; the paper uses signed differences.
    """
    r, g, b = rgb.float().unbind(1)
    rg, yb = r - g, (r + g) / 2 - b
    if absolute:
        rg, yb = rg.abs(), yb.abs()
    deviation = torch.hypot(_std(rg), _std(yb))
    mean = torch.hypot(rg.mean(dim=(1, 2)), yb.mean(dim=(1, 2)))
    return deviation + 0.3 * mean


def color_cast(ab: Tensor) -> Tensor:
    """Compute which share of the color of photos (N, 2, H, W) is one common tint, in [0, 1].

    The length of the mean ab vector divided by the mean length of all ab vectors: 1 if every
    pixel of every photo has the same hue, near 0 if the colors of many photos balance. For gray
    photos it reflects rounding only (see `NO_COLOR`).
    """
    mean = torch.linalg.vector_norm(ab.float().mean(dim=(0, 2, 3)))
    length = mean_chroma(ab).mean() / AB_SCALE
    return mean / length.clamp(min=1e-6)


def bleeding(lightness: Tensor, ab: Tensor) -> Tensor:
    """Compute the share of color edges that lie away from any lightness edge, in [0, 1].

    A color usually ends where an object ends, and there the lightness mostly changes too; colors
    that bleed over the border end elsewhere. A color edge is weighted by how much faster than
    1 unit per pixel the color changes; a lightness edge, where L* changes faster than 3 units per
    pixel, covers 2 pixels around it. Ground truth has some bleeding as well (colored walls,
    sunsets), so values are to be compared with those of the ground truth.

    Args:
        lightness: (1, H, W), of the ground truth.
        ab: (2, H, W).

    Returns:
        NaN if there is no color edge at all.
    """
    is_lightness_edge = (_slope(lightness * L_SCALE) > _LIGHTNESS_EDGE).float().unsqueeze(0)
    covered = F.max_pool2d(is_lightness_edge, kernel_size=2 * _REACH + 1, stride=1, padding=_REACH)
    color_edges = (_slope(ab * AB_SCALE) - _CHROMA_EDGE).clamp(min=0)
    return (color_edges * (1 - covered[0])).sum() / color_edges.sum()


def stains(lightness: Tensor, ab: Tensor) -> Tensor:
    """Compute how fast color changes on plain surfaces, where the lightness hardly changes.

    The colors of a plain surface (sky, wall, backdrop) are nearly uniform; stains are patches of
    other colors on it. A pixel is plain if the standard deviation of L* in the 9 x 9 window around
    it is below 1. The metric is the mean, over these pixels, of the gradient magnitude of the
    window's mean color. (The gradient of the pixels themselves mostly reflects JPEG compression
    and rounding to 8 bits.) Ground truth has some, since skies have gradients, so values are to be
    compared with those of the ground truth; gray photos have none.

    `bleeding` is a share, and measures whether sharp color edges coincide with lightness edges.
    This metric is an amount: it counts soft patches without any edge too, and grows with the
    chroma of the colors. Methods are therefore to be compared at equal colorfulness.

    Args:
        lightness: (N, 1, H, W), of the ground truth.
        ab: (N, 2, H, W).

    Returns:
        (N,), in CIELAB units per pixel; NaN if less than a hundredth of a photo is plain.
    """
    if min(lightness.shape[-2:]) < _WINDOW + 2:  # no window has neighbors on both sides
        return torch.full((len(lightness),), math.nan, device=lightness.device)
    l_star = lightness.float() * L_SCALE  # from -50 to 50
    variance = _window_mean(l_star.square()) - _window_mean(l_star).square()
    is_plain = (variance < _PLAIN_STD**2).float()[..., 1:-1, 1:-1]
    slopes = torch.stack([_slope(mean * AB_SCALE) for mean in _window_mean(ab.float())])
    share = is_plain.mean(dim=(1, 2, 3))
    mean_slope = (slopes[..., 1:-1, 1:-1] * is_plain).mean(dim=(1, 2, 3)) / share
    return mean_slope.where(share >= _MIN_PLAIN, math.nan)


def _window_mean(x: Tensor) -> Tensor:
    """Average the windows that lie completely in the images (N, C, H, W): (N, C, H - 8, W - 8)."""
    return F.avg_pool2d(F.avg_pool2d(x, (_WINDOW, 1), stride=1), (1, _WINDOW), stride=1)


def _slope(x: Tensor) -> Tensor:
    """Compute the gradient magnitude of an image (C, H, W) over all channels: (1, H, W)."""
    x = F.pad(x.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]
    right, down = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    return (right.square() + down.square()).sum(0, keepdim=True).sqrt() / 2


def _std(x: Tensor) -> Tensor:
    return x.std(dim=(1, 2), correction=0)


class MetricImage:
    """An image to measure, with cached values that several metrics share.

    Attributes:
        rgb: uint8 (3, H, W), at least 7 x 7.
    """

    def __init__(self, rgb: Tensor):
        self.rgb = rgb

    @functools.cached_property
    def lab(self) -> tuple[Tensor, Tensor]:
        """Lightness (1, H, W) and ab (2, H, W)."""
        return rgb_to_lab(self.rgb)

    @property
    def ab(self) -> Tensor:
        """The ab channels as a batch (1, 2, H, W)."""
        return self.lab[1][None]

    @functools.cached_property
    def chroma(self) -> float:
        """Mean chroma in CIELAB units."""
        return mean_chroma(self.lab[1]).item()

    @functools.cached_property
    def colorfulness(self) -> float:
        """Colorfulness by the formula of the paper."""
        return colorfulness(self.rgb[None]).item()

    @functools.cached_property
    def colorfulness_absolute(self) -> float:
        """Colorfulness by the formula of DDColor's code."""
        return colorfulness(self.rgb[None], absolute=True).item()


def ssim(pred: MetricImage, target: MetricImage) -> float:
    """Compute structural similarity in RGB (Wang et al. 2004) by scikit-image: 7 x 7 windows."""
    from skimage.metrics import structural_similarity  # deferred: the import takes a second

    arrays = [image.rgb.float().numpy() for image in (pred, target)]
    return float(structural_similarity(*arrays, channel_axis=0, data_range=255))


def delta_e(pred: MetricImage, target: MetricImage) -> float:
    """Compute the mean CIEDE2000 color difference (Sharma et al. 2005) by scikit-image."""
    from skimage.color import deltaE_ciede2000

    lab = [
        torch.cat(((lightness + 1) * L_SCALE, ab * AB_SCALE)).numpy()
        for lightness, ab in (pred.lab, target.lab)
    ]
    return float(deltaE_ciede2000(*lab, channel_axis=0).mean())
