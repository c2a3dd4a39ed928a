"""Random color hints for training, as a user would give them: a few small patches of true color.

Zhang, Zhu, Isola, Geng, Lin, Yu, Efros: Real-Time User-Guided Image Colorization with Learned
Deep Priors, SIGGRAPH 2017, section 3.2.
"""

import math

import torch
from torch import Tensor

from colorize.color.lab import rgb_to_lab

STOP_PROB = 1 / 8  # each further point is drawn with probability 7/8
MAX_PATCH = 9  # px; the sides of patches are drawn from 1 to it
REVEAL_ALL_PROB = 0.01  # of photos whose colors are all given


def sample_hints(rgb: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw the hints of one photo.

    The number of points is geometric, so one photo in eight has none. Points are Gaussian around
    the center with a standard deviation of a quarter of the side, the sides of their patches are
    uniform from 1 to 9 px, and the color is the mean ab of the patch. For one photo in a hundred
    all colors are given.

    Args:
        rgb: uint8 (3, H, W).
        generator: source of the random numbers; None takes torch's global one.

    Returns:
        (3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there.
    """
    _, height, width = rgb.shape
    hints = torch.zeros(3, height, width)
    uniform = torch.rand((), dtype=torch.float64, generator=generator).clamp(min=1e-12).item()
    points = math.floor(math.log(uniform) / math.log(1 - STOP_PROB))
    if torch.rand((), generator=generator) < REVEAL_ALL_PROB:
        hints[:2], hints[2] = rgb_to_lab(rgb)[1], 1
        return hints
    if points == 0:
        return hints
    centers = torch.randn(points, 2, generator=generator) / 4 + 0.5
    centers = centers * torch.tensor([height, width])
    sides = torch.randint(1, MAX_PATCH + 1, (points, 1), generator=generator)
    corners = (centers - sides / 2).round().long()
    patches = [
        (_span(top, side, height), _span(left, side, width))
        for (top, left), side in zip(corners.tolist(), sides.flatten().tolist(), strict=True)
    ]
    # All patches are converted in one call: calls on a few pixels cost as much as on many.
    pixels = [rgb[:, rows, columns].flatten(1) for rows, columns in patches]
    _, ab = rgb_to_lab(torch.cat(pixels, dim=1).unsqueeze(1))
    means = [chunk.mean(1) for chunk in ab.squeeze(1).split([p.shape[1] for p in pixels], dim=1)]
    for (rows, columns), mean in zip(patches, means, strict=True):
        hints[:2, rows, columns], hints[2, rows, columns] = mean.view(2, 1, 1), 1
    return hints


def _span(start: int, side: int, length: int) -> slice:
    """Return the pixels of a patch along one axis, moved inside the photo."""
    start = min(max(start, 0), max(length - side, 0))
    return slice(start, start + side)
