"""How good are the colors: measures of one painting against the true photo."""

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.curves import AB_SCALE, L_SCALE
from colorize.color.lab import mean_chroma, rgb_to_lab
from colorize.losses.pixel import PIXEL_LOSSES

NO_COLOR = 0.5  # mean chroma in CIELAB units; below, color is the rounding of 8 bits

# Where colors bleed: chroma that changes faster than by _CHROMA_EDGE units a pixel, farther than
# _REACH pixels from where L* changes faster than by _LIGHTNESS_EDGE.
_LIGHTNESS_EDGE, _CHROMA_EDGE, _REACH = 3.0, 1.0, 2


def ab_error(painted: Tensor, ab: Tensor) -> Tensor:
    """Mean distance in the a*b* plane, in CIELAB units, of each photo: (N, 2, H, W) to (N,)."""
    return mean_chroma((painted - ab).float())


def psnr(rgb: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each uint8 photo (N, 3, H, W): (N,).

    Rewards dull colors: plain grey beats many a colorizer. Never the headline.
    """
    mse = (rgb.float() - truth.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse)


def colorfulness(rgb: Tensor, absolute: bool = False) -> Tensor:
    """Colorfulness M3 of each uint8 photo (N, 3, H, W): (N,).

    Hasler and Süsstrunk, Measuring Colourfulness in Natural Images, 2003: about 15 is slightly,
    45 averagely, 82 highly colorful.

    Args:
        rgb: the photos.
        absolute: whether to take the opponent differences' absolute values, as the code of DDColor
            and of those before it does, which gives smaller numbers; the paper has them signed.
    """
    r, g, b = rgb.float().unbind(1)
    rg, yb = r - g, (r + g) / 2 - b
    if absolute:
        rg, yb = rg.abs(), yb.abs()
    deviation = torch.hypot(_std(rg), _std(yb))
    mean = torch.hypot(rg.mean(dim=(1, 2)), yb.mean(dim=(1, 2)))
    return deviation + 0.3 * mean


def color_cast(ab: Tensor) -> Tensor:
    """How much of the color of photos (N, 2, H, W) is one and the same tint: a number in [0, 1].

    The length of the mean ab over the mean length of ab: 1 where every pixel of every photo has
    the same hue, near 0 where the colors of many photos balance. Of grey photos it tells
    how rounding falls, and nothing else (`NO_COLOR`).
    """
    mean = torch.linalg.vector_norm(ab.float().mean(dim=(0, 2, 3)))
    length = mean_chroma(ab).mean() / AB_SCALE
    return mean / length.clamp(min=1e-6)


def bleeding(lightness: Tensor, ab: Tensor) -> Tensor:
    """The share of color edges that lie away from any edge of the lightness: a number in [0, 1].

    Where colors end, something ends, and its lightness mostly changes too; colors that run over
    its border end elsewhere. A color edge counts by how much faster than 1 unit a pixel the color
    changes there; an edge of the lightness, where L* changes faster than 3 units a pixel, covers
    2 pixels around it. True photos have some (painted walls, sunsets), so compare with theirs.

    Args:
        lightness: (1, H, W), of the true photo.
        ab: (2, H, W).

    Returns:
        NaN where there is no color edge at all.
    """
    steps = F.max_pool2d(
        (_slope(lightness * L_SCALE) > _LIGHTNESS_EDGE).float().unsqueeze(0),
        **{"kernel_size": 2 * _REACH + 1, "stride": 1, "padding": _REACH},
    )
    edges = (_slope(ab * AB_SCALE) - _CHROMA_EDGE).clamp(min=0)
    return (edges * (1 - steps[0])).sum() / edges.sum()


def _slope(x: Tensor) -> Tensor:
    """How much a picture (C, H, W) changes from pixel to pixel, over all channels: (1, H, W)."""
    x = F.pad(x.unsqueeze(0), (1, 1, 1, 1), mode="replicate")[0]
    right, down = x[:, 1:-1, 2:] - x[:, 1:-1, :-2], x[:, 2:, 1:-1] - x[:, :-2, 1:-1]
    return (right.square() + down.square()).sum(0, keepdim=True).sqrt() / 2


def _std(x: Tensor) -> Tensor:
    return x.std(dim=(1, 2), correction=0)


class MetricImage:
    """A picture to measure; what several measures need of it is worked out once.

    Attributes:
        rgb: uint8 (3, H, W), at least 7 x 7.
    """

    def __init__(self, rgb: Tensor):
        self.rgb = rgb

    @functools.cached_property
    def lab(self) -> tuple[Tensor, Tensor]:
        """Lightness (1, H, W) and ab (2, H, W)."""
        return rgb_to_lab(self.rgb)

    @functools.cached_property
    def chroma(self) -> float:
        """Mean chroma in CIELAB units."""
        return mean_chroma(self.lab[1]).item()

    @functools.cached_property
    def colorfulness(self) -> float:
        """As of the paper."""
        return colorfulness(self.rgb[None]).item()

    @functools.cached_property
    def colorfulness_absolute(self) -> float:
        """As of DDColor's code."""
        return colorfulness(self.rgb[None], absolute=True).item()


def _ssim(painted: MetricImage, truth: MetricImage) -> float:
    """Structural similarity in RGB (Wang et al. 2004), as scikit-image has it: 7 x 7 windows."""
    from skimage.metrics import structural_similarity  # here, because it costs a second

    arrays = [picture.rgb.float().numpy() for picture in (painted, truth)]
    return float(structural_similarity(*arrays, channel_axis=0, data_range=255))


def _delta_e(painted: MetricImage, truth: MetricImage) -> float:
    """Mean CIEDE2000 (Sharma et al. 2005), scikit-image's."""
    from skimage.color import deltaE_ciede2000

    lab = [
        torch.cat(((lightness + 1) * L_SCALE, ab * AB_SCALE)).numpy()
        for lightness, ab in (painted.lab, truth.lab)
    ]
    return float(deltaE_ciede2000(*lab, channel_axis=0).mean())


def _distance(name: str) -> Callable[[MetricImage, MetricImage], float]:
    return lambda painted, truth: PIXEL_LOSSES[name](painted.lab[1], truth.lab[1]).item()


# By name, what is measured of a painting beside the truth.
METRICS: dict[str, Callable[[MetricImage, MetricImage], float]] = {
    "ab_error": lambda p, t: ab_error(p.lab[1][None], t.lab[1][None]).item(),
    "delta_e": _delta_e,
    "psnr": lambda p, t: psnr(p.rgb[None], t.rgb[None]).item(),
    "ssim": _ssim,
    "colorfulness": lambda p, t: p.colorfulness,
    "colorfulness_absolute": lambda p, t: p.colorfulness_absolute,
    "colorfulness_error": lambda p, t: abs(p.colorfulness - t.colorfulness),
    "colorfulness_absolute_error": lambda p, t: abs(
        p.colorfulness_absolute - t.colorfulness_absolute
    ),
    "cast": lambda p, t: color_cast(p.lab[1][None]).item() if p.chroma >= NO_COLOR else math.nan,
    "bleeding": lambda p, t: bleeding(t.lab[0], p.lab[1]).item(),
    "mean_a": lambda p, t: p.lab[1][0].mean().item() * AB_SCALE,
    "mean_b": lambda p, t: p.lab[1][1].mean().item() * AB_SCALE,
    "chroma": lambda p, t: p.chroma,
    **{name: _distance(name) for name in PIXEL_LOSSES},
}


def compute_metrics(painted: MetricImage, truth: MetricImage) -> dict[str, float | None]:
    """Everything in `MEASURES`; None for what a painting does not have.

    PSNR is infinite for the truth itself; a grey painting has no color edges to bleed, and no cast.

    Raises:
        ValueError: if the pictures are not of one size.
    """
    if painted.rgb.shape != truth.rgb.shape:
        raise ValueError(
            f"a painting of {tuple(painted.rgb.shape[1:])} cannot be compared with a photo of "
            f"{tuple(truth.rgb.shape[1:])} (height, width)"
        )
    found = {name: function(painted, truth) for name, function in METRICS.items()}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
