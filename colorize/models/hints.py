"""Color hints of users: parsing them, and rasterizing them for the model."""

from collections.abc import Sequence
from numbers import Real

import torch
from PIL import ImageColor
from torch import Tensor

from colorize.color.lab import rgb_to_lab
from colorize.utils.checks import whole_number

Hint = tuple[float, float, str | tuple[int, int, int]]  # x, y in pixels of the photo, and a color

USER_PATCH = 5  # px; side of the patch by which a user's point is given


def parse_hint(text: str) -> Hint:
    """Parse a hint of the form "x,y,color".

    Raises:
        ValueError: if it has another form; `rasterize_hints` checks the color itself.
    """
    x, _, rest = text.partition(",")
    y, _, color = rest.partition(",")
    try:
        return float(x), float(y), color.strip()
    except ValueError as error:
        raise ValueError(f"a hint is X,Y,COLOR, such as 120,80,teal; got {text!r}") from error


def check_hint(hint: object) -> Hint:
    """Return a hint if it has the form (x, y, color); `rasterize_hints` checks the color itself.

    Raises:
        ValueError: if it has another form.
    """
    if isinstance(hint, tuple | list) and len(hint) == 3:
        x, y, color = hint
        if isinstance(x, Real) and isinstance(y, Real):
            return float(x), float(y), color
    raise ValueError(f"a hint is (x, y, color), got {hint!r}")


def rasterize_hints(
    hints: Sequence[Hint], photo_size: Sequence[int], size: Sequence[int]
) -> Tensor:
    """Convert hints of a user to the model's input.

    Args:
        hints: (x, y, color): the position in pixels of the photo; and "#aa3311" or another color
            that Pillow knows, or (r, g, b). Where patches overlap the last one counts.
        photo_size: height and width of the photo.
        size: height and width of the model's input.

    Returns:
        (3, height, width): ab where a color is given, elsewhere 0, and a mask of ones there.

    Raises:
        ValueError: if a point is outside the photo, or a color is invalid.
    """
    (photo_height, photo_width), (height, width) = photo_size, size
    raster = torch.zeros(3, height, width)
    for x, y, color in hints:
        if not (0 <= x < photo_width and 0 <= y < photo_height):
            raise ValueError(
                f"the hint at ({x}, {y}) is outside the photo, which has "
                f"{photo_width}x{photo_height} pixels"
            )
        rows, columns = _patch(y, photo_height, height), _patch(x, photo_width, width)
        raster[:2, rows, columns] = _parse_color(color).view(2, 1, 1)
        raster[2, rows, columns] = 1
    return raster


def _patch(position: float, photo_side: int, side: int) -> slice:
    """Return the pixels along one side that a hint covers, all of them inside."""
    begin = int(position * side / photo_side) - USER_PATCH // 2
    begin = min(max(begin, 0), max(side - USER_PATCH, 0))
    return slice(begin, begin + USER_PATCH)


def _parse_color(color: str | tuple[int, int, int]) -> Tensor:
    """Return the ab (2,) of a color.

    Raises:
        ValueError: if it is invalid.
    """
    try:
        rgb = ImageColor.getrgb(color)[:3] if isinstance(color, str) else color
        levels = [whole_number("a level", level, 0, 255) for level in rgb]
        pixel = torch.tensor(levels, dtype=torch.uint8).view(3, 1, 1)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f'{color!r} is no color: give "#aa3311", a name such as "teal", or (r, g, b) from 0 to '
            "255"
        ) from error
    return rgb_to_lab(pixel)[1].flatten()
