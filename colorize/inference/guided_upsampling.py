"""Upsample predicted colors to the size of a photo, along the edges of its lightness.

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

_STRIP_PIXELS = 2**17  # colorized at a time, to bound the memory
_EPSILON = 0.001  # variance of lightness: steps of about 3 L* begin to be edges
_UINT16_WHITE = 65535


def guided_upsample(rgb: Tensor, ab: Tensor, guide: Tensor | None = None) -> Tensor:
    """Colorize a full-size photo with colors of a lower resolution, keeping its lightness.

    With a guide the colors follow the edges of the photo: around each pixel of `ab` they are a
    linear function of the lightness, with the slope of the guided filter, evaluated at the
    full-size lightness. The line passes through the pixel's own color, where the filter's passes
    through the mean: nothing is blurred. Where the lightness is flat, and everywhere without a
    guide, the colors are upsampled bilinearly.

    Args:
        rgb: the photo, uint8 or uint16 (3, H, W).
        ab: (2, h, w) in [-1, 1].
        guide: the lightness (1, h, w) in [-1, 1] that `ab` was predicted from.

    Returns:
        The colorized photo, of the same type and shape.
    """
    height, width = rgb.shape[-2:]
    slope = torch.zeros_like(ab) if guide is None else _slope(ab, guide)
    offset = ab if guide is None else ab - slope * guide
    lines = torch.cat((slope, offset)).unsqueeze(0)
    lines = F.interpolate(lines, (ab.shape[-2], width), mode="bilinear")[0]
    colorized = torch.empty(rgb.shape, dtype=rgb.dtype)
    is_gray = rgb.dtype == torch.uint8 and is_grayscale(rgb)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = rgb[:, top : top + rows]
        slope, offset = _upsample_rows(lines, top, top + strip.shape[1], height).split(2)
        colorized[:, top : top + rows] = _colorize_strip(strip, slope, offset, is_gray=is_gray)
    return colorized


def _colorize_strip(rgb: Tensor, slope: Tensor, offset: Tensor, *, is_gray: bool) -> Tensor:
    """Replace the colors of a strip by ab = slope * lightness + offset."""
    if is_gray:
        gray = rgb[0]
        return _gray_color_cache().colorize(gray, slope * gray_to_lightness(gray) + offset)
    if rgb.dtype == torch.uint8:
        lightness = rgb_to_lightness(rgb)
        return lab_to_rgb_uint8(lightness, slope * lightness + offset)
    lightness = rgb_to_lightness(rgb.float() / _UINT16_WHITE)
    colorized = lab_to_rgb(lightness, slope * lightness + offset, gamut="table")
    return (colorized * _UINT16_WHITE).round()


class _GrayColorCache:
    """A table of colorized 8-bit grays, filled when a color first occurs: most photos have few.

    Colors are quantized in steps of 1.25 CIELAB units, half of which is invisible; the lightness
    is exactly that of the gray.

    Threads share the table without a lock: an entry depends on its index alone, and 32 bits are
    written at once, so that a race at worst computes the same entry twice.
    """

    _REACH = 88  # steps from 0 to the end of the a and of the b axis
    _STEPS = 2 * _REACH + 1

    def __init__(self) -> None:
        # Red, green, blue and 255, packed into one number; 0 is still unknown. Pages of the table
        # that are never touched take no memory.
        self.colors = np.zeros((self._STEPS**2, 256), np.int32)

    def colorize(self, gray: Tensor, ab: Tensor) -> Tensor:
        """Colorize grays, uint8 (H, W), with ab (2, H, W); returns uint8 (3, H, W)."""
        steps = ab.clamp(-1, 1).mul_(self._REACH).add_(self._REACH + 0.5).int()
        index = steps[0].mul_(self._STEPS).add_(steps[1]).mul_(256).add_(gray)
        packed = self._look_up(index)
        if packed.max() >= 0:  # 255 in the last byte makes known numbers negative
            self._fill((index[packed == 0] // 256).unique().long())
            packed = self._look_up(index)
        rgb = np.empty((3, *gray.shape), np.uint8)
        for channel, shift in zip(rgb, (0, 8, 16), strict=True):
            channel[:] = packed >> shift  # the cast keeps the last byte
        return torch.from_numpy(rgb)

    def _look_up(self, index: Tensor) -> Tensor:
        return torch.from_numpy(self.colors.take(index.numpy(), mode="clip"))

    def _fill(self, colors: Tensor) -> None:
        """Compute all 256 grays of new colors, given as their row in the table."""
        lightness = gray_to_lightness(torch.arange(256, dtype=torch.uint8))
        ab = torch.stack((colors // self._STEPS, colors % self._STEPS)) / self._REACH - 1
        rgb = lab_to_rgb_uint8(
            lightness.expand(1, len(colors), -1), ab.unsqueeze(-1).expand(-1, -1, 256)
        )
        packed = torch.full((len(colors), 256, 4), 255, dtype=torch.uint8)
        packed[..., :3] = rgb.permute(1, 2, 0)
        self.colors[colors.numpy()] = packed.view(torch.int32).squeeze(-1).numpy()


@functools.cache
def _gray_color_cache() -> _GrayColorCache:
    return _GrayColorCache()


def _slope(ab: Tensor, guide: Tensor) -> Tensor:
    """Compute how ab (2, h, w) depends on the lightness around each pixel (Equation 3)."""
    means = _window_mean(torch.cat((guide, ab, guide * guide, guide * ab)))
    mean, mean_ab, mean_square, mean_product = means.split((1, 2, 1, 2))
    variance = mean_square - mean * mean
    covariance = mean_product - mean * mean_ab
    return covariance / (variance + _EPSILON)


def _window_mean(x: Tensor) -> Tensor:
    """Average (C, h, w) in the 3x3 window around each pixel, without what lies outside."""
    total = F.pad(torch.cat((x, torch.ones_like(x[:1]))), [1] * 4)  # the ones count the pixels
    total = total[:, :-2] + total[:, 1:-1] + total[:, 2:]  # ten times as fast as torch's pooling
    total = total[..., :-2] + total[..., 1:-1] + total[..., 2:]
    return total[:-1] / total[-1:]


def _upsample_rows(x: Tensor, top: int, bottom: int, height: int) -> Tensor:
    """Upsample (C, h, W) bilinearly to a height as torch does, but only the rows top to bottom."""
    y = (torch.arange(top, bottom) + 0.5) * (x.shape[1] / height) - 0.5
    y = y.clamp(0, x.shape[1] - 1)
    above = y.long()
    below = (above + 1).clamp(max=x.shape[1] - 1)
    # index_select is faster than x[:, above]
    return torch.lerp(x.index_select(1, above), x.index_select(1, below), (y - above).unsqueeze(1))
