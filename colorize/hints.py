"""Color hints as a user would give them: a few small patches of the true color.

Zhang, Zhu, Isola, Geng, Lin, Yu, Efros: Real-Time User-Guided Image Colorization with Learned
Deep Priors, SIGGRAPH 2017, section 3.2.
"""

import math

import torch
from torch import Tensor

STOP = 1 / 8  # each further point is drawn with probability 7/8
LARGEST = 9  # px; sides of the patches are drawn from 1 to it
ALL = 0.01  # share of photos whose colors are all given


def draw_hints(ab: Tensor) -> Tensor:
    """Hints for a batch, from torch's generator: none for one photo in eight.

    The number of points is geometric, their place Gaussian around the middle with a quarter of
    the side as its deviation, the side of a patch uniform from 1 to 9 px; its color is the mean in
    the patch. For one photo in a hundred all colors are given.

    Args:
        ab: the truth (N, 2, H, W).

    Returns:
        (N, 3, H, W): ab where it is given, elsewhere 0, and a mask of ones there.
    """
    count, _, height, width = ab.shape
    hints = ab.new_zeros(count, 3, height, width)
    uniform = torch.rand(count, dtype=torch.float64).clamp(min=1e-12)
    points = (torch.log(uniform) / math.log(1 - STOP)).floor().long().tolist()
    for number, some in enumerate(points):
        if torch.rand(()) < ALL:
            hints[number, :2], hints[number, 2] = ab[number], 1
            continue
        places = (torch.randn(some, 2) / 4 + 0.5) * torch.tensor([height, width])
        sides = torch.randint(1, LARGEST + 1, (some, 1))
        begins = (places - sides / 2).round().long()
        for (top, left), side in zip(begins.tolist(), sides.flatten().tolist(), strict=True):
            top = min(max(top, 0), max(height - side, 0))
            left = min(max(left, 0), max(width - side, 0))
            patch = (slice(top, top + side), slice(left, left + side))
            mean = ab[number][:, *patch].mean((1, 2), keepdim=True)
            hints[number][:2, *patch], hints[number][2, *patch] = mean, 1
    return hints
