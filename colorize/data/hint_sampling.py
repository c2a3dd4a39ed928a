"""Random color hints for training, as a user would give them: a few small patches of true color.

Zhang, Zhu, Isola, Geng, Lin, Yu, Efros: Real-Time User-Guided Image Colorization with Learned
Deep Priors, SIGGRAPH 2017, section 3.2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from colorize.color.lab import rgb_to_lab

STOP_PROB = 1 / 8  # each further point is drawn with probability 7/8
MAX_PATCH = 9  # px; the sides of patches are drawn from 1 to it
REVEAL_ALL_PROB = 0.01  # of photos whose colors are all given


class HintPatches(NamedTuple):
    """Where hints are given, drawn before the colors are known.

    Attributes:
        boxes: (top, left, height, width) of each patch in pixels; later ones cover earlier ones.
        reveals_all: whether all colors are given instead.
    """

    boxes: list[tuple[int, int, int, int]]
    reveals_all: bool = False


def draw_patches(height: int, width: int, generator: torch.Generator | None = None) -> HintPatches:
    """Draw the patches of one photo.

    The number of points is geometric, so one photo in eight has none. Points are Gaussian around
    the center with a standard deviation of a quarter of the side, and the sides of their patches
    are uniform from 1 to 9 px. For one photo in a hundred all colors are given.

    Args:
        height: of the photo in pixels.
        width: likewise.
        generator: source of the random numbers; None takes torch's global one.
    """
    uniform = torch.rand((), dtype=torch.float64, generator=generator).clamp(min=1e-12).item()
    points = math.floor(math.log(uniform) / math.log(1 - STOP_PROB))
    if torch.rand((), generator=generator) < REVEAL_ALL_PROB:
        return HintPatches([], reveals_all=True)
    if points == 0:
        return HintPatches([])
    centers = torch.randn(points, 2, generator=generator) / 4 + 0.5
    centers = centers * torch.tensor([height, width])
    sides = torch.randint(1, MAX_PATCH + 1, (points, 1), generator=generator)
    corners = (centers - sides / 2).round().long()
    boxes = []
    for (top, left), side in zip(corners.tolist(), sides.flatten().tolist(), strict=True):
        (top, rows), (left, columns) = _span(top, side, height), _span(left, side, width)
        boxes.append((top, left, rows, columns))
    return HintPatches(boxes)


def fill_patches(rgb: Tensor, patches: HintPatches) -> Tensor:
    """Compute the hints of one photo: the mean ab of each patch.

    Args:
        rgb: uint8 (3, H, W).
        patches: where they are given.

    Returns:
        (3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there.
    """
    hints = torch.zeros(3, *rgb.shape[1:])
    if patches.reveals_all:
        hints[:2], hints[2] = rgb_to_lab(rgb)[1], 1
    if not patches.boxes:
        return hints
    areas = [(slice(t, t + h), slice(left, left + w)) for t, left, h, w in patches.boxes]
    # All patches are converted in one call: calls on a few pixels cost as much as on many.
    pixels = [rgb[:, rows, columns].flatten(1) for rows, columns in areas]
    _, ab = rgb_to_lab(torch.cat(pixels, dim=1).unsqueeze(1))
    means = [chunk.mean(1) for chunk in ab.squeeze(1).split([p.shape[1] for p in pixels], dim=1)]
    for (rows, columns), mean in zip(areas, means, strict=True):
        hints[:2, rows, columns], hints[2, rows, columns] = mean.view(2, 1, 1), 1
    return hints


def sample_hints(rgb: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw the hints (3, H, W) of one uint8 photo (3, H, W)."""
    return fill_patches(rgb, draw_patches(rgb.shape[1], rgb.shape[2], generator))


def _span(start: int, side: int, length: int) -> tuple[int, int]:
    """Return start and length of a patch along one axis, moved inside the photo."""
    start = min(max(start, 0), max(length - side, 0))
    return start, min(side, length)
