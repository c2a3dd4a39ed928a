"""The colors of a small painting and the lightness of a large photo, joined.

He, Sun: Fast Guided Filter, 2015 (arXiv:1505.00996), after He, Sun, Tang: Guided Image Filtering,
ECCV 2010.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.lab import (
    gray_to_lightness,
    is_grayscale,
    lab_to_rgb,
    lab_to_rgb_uint8,
    rgb_to_lightness,
)

_STRIP_PIXELS = 2**17  # pixels joined at a time, to bound the memory
_EPSILON = 0.001  # variance of lightness: steps of some 3 L* begin to be edges


def guided_upsample(rgb: Tensor, ab: Tensor, guide: Tensor | None = None) -> Tensor:
    """Paint a full-size photo with the colors of a small painting, keeping its lightness.

    With a guide the colors keep to the edges of the photo: around each small pixel they are a line
    of the lightness, whose slope is the guided filter's, and which the full-size lightness then
    follows. The line goes through the small pixel's own color, where the filter's goes through the
    mean: nothing is blurred, and where the lightness is flat the colors are upsampled bilinearly,
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
    painted = torch.empty(rgb.shape, dtype=rgb.dtype)
    from_palette = rgb.dtype == torch.uint8 and is_grayscale(rgb)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = rgb[:, top : top + rows]
        slope, offset = _rows(small, top, top + strip.shape[1], height).split(2)
        if from_palette:
            colors = slope * gray_to_lightness(strip[0]) + offset
            strip = _palette().paint(strip[0], colors)
        elif rgb.dtype == torch.uint8:
            lightness = rgb_to_lightness(strip)
            strip = lab_to_rgb_uint8(lightness, slope * lightness + offset)
        else:
            lightness = rgb_to_lightness(strip.float() / 65535)
            strip = lab_to_rgb(lightness, slope * lightness + offset, gamut="table")
            strip = (strip * 65535).round()
        painted[:, top : top + rows] = strip
    return painted


class _GrayColorCache:
    """8-bit greys painted with colors, worked out when they first occur: most photos have few.

    A color is known in steps of 1.25 CIELAB units, half of which nobody sees. The lightness is
    exactly that of the grey.
    """

    _REACH = 88  # steps from 0 to the end of a and of b
    _STEPS = 2 * _REACH + 1

    def __init__(self) -> None:
        # Red, green, blue and 255 in one number; 0 is not known yet. Untouched it costs no memory.
        self.colors = np.zeros((self._STEPS**2, 256), np.int32)

    def paint(self, grey: Tensor, ab: Tensor) -> Tensor:
        """Greys, uint8 (H, W), with the colors ab (2, H, W): uint8 (3, H, W)."""
        steps = ab.clamp(-1, 1).mul_(self._REACH).add_(self._REACH + 0.5).int()
        index = steps[0].mul_(self._STEPS).add_(steps[1]).mul_(256).add_(grey)
        packed = self._look_up(index)
        if packed.max() >= 0:  # 255 in the last byte makes a number negative
            self._learn((index[packed == 0] // 256).unique().long())
            packed = self._look_up(index)
        painted = np.empty((3, *grey.shape), np.uint8)
        for channel, shift in zip(painted, (0, 8, 16), strict=True):
            channel[:] = packed >> shift  # whose last byte is kept
        return torch.from_numpy(painted)

    def _look_up(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.colors.take(index.numpy(), mode="clip"))

    def _learn(self, new: Tensor) -> None:
        """Work out all 256 greys with these colors, which are steps of both as one number."""
        lightness = gray_to_lightness(torch.arange(256, dtype=torch.uint8))
        ab = torch.stack((new // self._STEPS, new % self._STEPS)) / self._REACH - 1
        rgb = lab_to_rgb_uint8(
            lightness.expand(1, len(new), -1), ab.unsqueeze(-1).expand(-1, -1, 256)
        )
        packed = torch.full((len(new), 256, 4), 255, dtype=torch.uint8)
        packed[..., :3] = rgb.permute(1, 2, 0)
        self.colors[new.numpy()] = packed.view(torch.int32).squeeze(-1).numpy()


@functools.cache
def _palette() -> _GrayColorCache:
    return _GrayColorCache()


def _slope(ab: Tensor, guide: Tensor) -> Tensor:
    """How much ab (2, h, w) changes with the lightness around each pixel (Equation 3)."""
    means = _mean(torch.cat((guide, ab, guide * guide, guide * ab)))
    mean, mean_ab, mean_square, mean_product = means.split((1, 2, 1, 2))
    variance = mean_square - mean * mean
    covariance = mean_product - mean * mean_ab
    return covariance / (variance + _EPSILON)


def _mean(x: Tensor) -> Tensor:
    """Of the window around each pixel of (C, h, w); at the border, of what lies inside."""
    total = F.pad(torch.cat((x, torch.ones_like(x[:1]))), [1] * 4)  # and of ones, to count
    total = total[:, :-2] + total[:, 1:-1] + total[:, 2:]  # a pooling of torch takes ten times that
    total = total[..., :-2] + total[..., 1:-1] + total[..., 2:]
    return total[:-1] / total[-1:]


def _rows(small: Tensor, top: int, bottom: int, height: int) -> Tensor:
    """Some rows of (C, h, W) upsampled bilinearly to a height, as torch's interpolation has them."""
    y = (torch.arange(top, bottom) + 0.5) * (small.shape[1] / height) - 0.5
    y = y.clamp(0, small.shape[1] - 1)
    above = y.long()
    below = (above + 1).clamp(max=small.shape[1] - 1)
    rows = (small.index_select(1, index) for index in (above, below))  # faster than small[:, above]
    return torch.lerp(*rows, (y - above).unsqueeze(1))
