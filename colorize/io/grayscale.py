"""Whether a photo is grey, toned or in color."""

import torch
from torch import Tensor

from colorize.color.curves import AB_SCALE
from colorize.color.lab import is_grayscale, mean_chroma, rgb_to_lab
from colorize.io.image import resize

# A greyscale photo stored as RGB has a mean CIELAB chroma below 1 (JPEG noise); the palest
# photos that still teach something, snow or fog, lie above 2.
GRAY_CHROMA = 2.0

# Grey photos stored with a tint (sepia, a blue or brown duotone) spread little around the one color
# that goes with each lightness: less than this, and less than this share of their mean chroma. Of
# 700 duotones made from photos 99 % fall below both; of 8,657 photos in color 0.3 %, most of them
# snow, sea and mist in one tint.
TONED_SPREAD = 3.0
TONED_SHARE = 0.15

# px; the short side at which it is looked whether a photo has color. Small, for the noise of a scan
# is not color: of 150 grey photos of 256 px with noise of 8 levels in each channel all are grey.
_SIDE = 64


def chroma_statistics(rgb: Tensor) -> tuple[float, float]:
    """Mean chroma and `color_spread` of a uint8 photo (3, H, W), seen small: what `tone` asks."""
    height, width = rgb.shape[1:]
    k = min(1, _SIDE / min(height, width))
    lightness, ab = rgb_to_lab(resize(rgb, max(1, round(height * k)), max(1, round(width * k))))
    return mean_chroma(ab).item(), color_spread(lightness, ab).item()


def classify_photo(rgb: Tensor) -> str:
    """Whether a uint8 photo (3, H, W) is "grey", "toned" or in "color"."""
    if is_grayscale(rgb):  # soon seen
        return "grey"
    return classify_tone(*chroma_statistics(rgb))


def color_spread(lightness: Tensor, ab: Tensor) -> Tensor:
    """How far a photo's colors scatter around the one color that goes with each lightness.

    0 for a grey photo and for one toned in whatever way (sepia, duotone), whose color is a
    function of its lightness alone; large where two things of the same lightness differ in color.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W).

    Returns:
        In CIELAB units: root mean square of the distance from the mean a*b* of the pixels of the
        same lightness, in 40 steps.
    """
    step = ((lightness.flatten() + 1) * (40 / 2)).long().clamp(0, 39)
    ab = ab.flatten(1) * AB_SCALE
    count = torch.bincount(step, minlength=40).clamp(min=1)
    mean = torch.zeros(2, 40, device=ab.device).index_add(1, step, ab) / count
    return (ab - mean[:, step]).square().sum(0).mean().sqrt()


def classify_tone(chroma: float, spread: float) -> str:
    """Whether a photo of a mean chroma and a `color_spread` is "grey", "toned" or in "color"."""
    if chroma < GRAY_CHROMA:
        return "grey"
    return "toned" if spread < min(TONED_SPREAD, TONED_SHARE * chroma) else "color"
