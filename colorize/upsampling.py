"""The colors of a small painting and the lightness of a large photo, joined.

He, Sun: Fast Guided Filter, 2015 (arXiv:1505.00996), after He, Sun, Tang: Guided Image Filtering,
ECCV 2010.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color import lab_to_rgb, lab_to_rgb8, rgb_to_lightness

_STRIP_PIXELS = 2**17  # pixels joined at a time, to bound the memory
_RADIUS = 1  # windows of 3 x 3
_EPSILON = 0.001  # variance of lightness: steps of some 3 L* begin to be edges


def join(rgb: Tensor, ab: Tensor, guide: Tensor | None = None) -> Tensor:
    """Paint a full-size photo with the colors of a small painting, keeping its lightness.

    With a guide the colors keep to the edges of the photo: around each small pixel they are a line
    of the lightness, whose slope is the guided filter's, and which the full-size lightness then
    follows. The line goes through the small pixel's own color, where the filter's goes through the
    mean: nothing is blurred, and where the lightness is flat the colors are enlarged bilinearly,
    as everywhere without a guide.

    Args:
        rgb: the photo, uint8 or uint16 (3, H, W).
        ab: the colors, (2, h, w).
        guide: lightness (1, h, w) that the painter of `ab` saw.

    Returns:
        The painted photo, of the same type and shape. Worked out in strips, to bound the memory.
    """
    height, width = rgb.shape[-2:]
    slope = torch.zeros_like(ab) if guide is None else _slope(ab, guide)
    offset = ab if guide is None else ab - slope * guide
    small = F.interpolate(
        torch.cat((slope, offset)).unsqueeze(0), (ab.shape[-2], width), mode="bilinear"
    )[0]
    painted = torch.empty_like(rgb)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = rgb[:, top : top + rows]
        slope, offset = _rows(small, top, top + strip.shape[1], height).split(2)
        if rgb.dtype == torch.uint8:
            lightness = rgb_to_lightness(strip)
            painted[:, top : top + rows] = lab_to_rgb8(lightness, slope * lightness + offset)
        else:
            lightness = rgb_to_lightness(strip.float() / 65535)
            deep = lab_to_rgb(lightness, slope * lightness + offset, gamut="table")
            painted[:, top : top + rows] = (deep * 65535).round()
    return painted


def _slope(ab: Tensor, guide: Tensor) -> Tensor:
    """How much ab (2, h, w) changes with the lightness around each pixel (Equation 3)."""
    mean = _mean(guide)
    variance = _mean(guide * guide) - mean * mean
    covariance = _mean(guide * ab) - mean * _mean(ab)
    return covariance / (variance + _EPSILON)


def _mean(x: Tensor) -> Tensor:
    """Of the window around each pixel of (C, h, w); at the border, of what lies inside."""
    return F.avg_pool2d(x, 2 * _RADIUS + 1, stride=1, padding=_RADIUS, count_include_pad=False)


def _rows(small: Tensor, top: int, bottom: int, height: int) -> Tensor:
    """Some rows of (C, h, W) enlarged bilinearly to a height, as torch's interpolation has them."""
    y = (torch.arange(top, bottom) + 0.5) * (small.shape[1] / height) - 0.5
    y = y.clamp(0, small.shape[1] - 1)
    above = y.long()
    first, last = int(above[0]), min(int(above[-1]) + 2, small.shape[1])
    shares = torch.zeros(bottom - top, last - first + 1)  # of each small row in each large one
    number = torch.arange(bottom - top)
    shares[number, above - first] = 1 - (y - above)
    shares[number, above - first + 1] = y - above
    return shares[:, : last - first] @ small[:, first:last]
