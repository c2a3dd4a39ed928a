"""Color hints as a user would give them: a few small patches of the true color.

Zhang, Zhu, Isola, Geng, Lin, Yu, Efros: Real-Time User-Guided Image Colorization with Learned
Deep Priors, SIGGRAPH 2017, section 3.2.
"""

import math
from collections.abc import Sequence

import torch
from PIL import ImageColor
from torch import Tensor

from colorize.color.lab import rgb_to_lab

Hint = tuple[float, float, str | tuple[int, int, int]]  # x, y in pixels of the photo, and a color

STOP = 1 / 8  # each further point is drawn with probability 7/8
LARGEST = 9  # px; sides of the patches are drawn from 1 to it
ALL = 0.01  # share of photos whose colors are all given
GIVEN = 5  # px; side of the patch by which a user's point is given, the mean of those drawn


def sample_hints(ab: Tensor, without: float = 0.0) -> Tensor:
    """Hints for a batch, from torch's generator: none for one photo in eight, or for more.

    The number of points is geometric, their place Gaussian around the middle with a quarter of
    the side as its deviation, the side of a patch uniform from 1 to 9 px; its color is the mean in
    the patch. For one photo in a hundred all colors are given.

    Args:
        ab: the truth (N, 2, H, W).
        without: share of the photos that get none whatever was drawn.

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
    if without > 0:
        hints[torch.rand(count) < without] = 0
    return hints


def parse_hint(text: str) -> Hint:
    """A user's hint of the text "x,y,color".

    Raises:
        ValueError: if it is none; whether there is such a color is seen when it is placed.
    """
    x, _, rest = text.partition(",")
    y, _, color = rest.partition(",")
    try:
        return float(x), float(y), color.strip()
    except ValueError as error:
        raise ValueError(f"a hint is X,Y,COLOR, such as 120,80,teal; got {text!r}") from error


def rasterize_hints(
    hints: Sequence[Hint], photo_size: Sequence[int], size: Sequence[int]
) -> Tensor:
    """A user's hints as the network takes them.

    Args:
        hints: (x, y, color): where, in pixels of the photo; and "#aa3311" or another color that
            Pillow knows, or (r, g, b). Of colors that overlap the last one counts.
        photo_size: height and width of the photo.
        size: height and width at the network.

    Returns:
        (3, height, width): ab where it is given, elsewhere 0, and a mask of ones there.

    Raises:
        ValueError: if a point is outside the photo, or a color is none.
    """
    placed = torch.zeros(3, *size)
    for x, y, color in hints:
        if not (0 <= x < photo_size[1] and 0 <= y < photo_size[0]):
            raise ValueError(
                f"the hint at ({x}, {y}) is outside the photo, which has {photo_size[1]}x"
                f"{photo_size[0]} pixels"
            )
        begins = [
            min(max(int(at * side / whole) - GIVEN // 2, 0), max(side - GIVEN, 0))
            for at, side, whole in zip((y, x), size, photo_size, strict=True)
        ]
        patch = tuple(slice(begin, begin + GIVEN) for begin in begins)
        placed[:2, *patch], placed[2, *patch] = _ab(color).view(2, 1, 1), 1
    return placed


def _ab(color: str | tuple[int, int, int]) -> Tensor:
    """The ab (2,) of a color.

    Raises:
        ValueError: if it is none.
    """
    try:
        rgb = ImageColor.getrgb(color)[:3] if isinstance(color, str) else color
        if not all(isinstance(level, int) for level in rgb):
            raise ValueError("levels are whole numbers")
        pixel = torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'{color!r} is no color: give "#aa3311", a name such as "teal", or (r, g, b) from 0 to '
            "255"
        ) from error
    return rgb_to_lab(pixel)[1].flatten()
