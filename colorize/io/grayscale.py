"""Decide whether a photo is gray, toned (sepia, duotone), hand-tinted or in color."""

import math
from typing import Literal

import torch
from torch import Tensor

from colorize.color.curves import AB_SCALE
from colorize.color.lab import is_grayscale, mean_chroma, rgb_to_lab
from colorize.io.image import resize

Tone = Literal["gray", "toned", "tinted", "color"]
COLORED_TONES = frozenset({"tinted", "color"})  # with colors of their own, to be left as they are

# A grayscale photo stored as RGB has a mean CIELAB chroma below 1 (JPEG noise); the palest
# photos that are still useful for training, snow or fog, lie above 2.
GRAY_CHROMA = 2.0

# A tinted gray photo (sepia, a blue or brown duotone) spreads little around the one color of each
# lightness: less than TONED_SPREAD, and less than TONED_SHARE of its mean chroma. Of 700 duotones
# made from photos 99 % fall below both; of 8,657 color photos 0.3 %, most of them snow, sea and
# mist in one tint.
TONED_SPREAD = 3.0
TONED_SHARE = 0.15

# px; short side at which chroma is measured. It is small because scanner noise is not color: of
# 150 gray photos of 256 px with noise of 8 levels in each channel all are classified as gray.
_SIDE = 64
_STEPS = 40  # of lightness

# What follows was fixed on 1,500 color photos and on 280 old prints made of others by
# scripts/benches/old_prints.py, apart from those of the report. In CIELAB units:

# The pixels of a foxed or yellowed print lie along a line in the ab plane through the color of the
# print: 98 % of them are within 2.2 of it, but in 99 % of the color photos only within 2.6 or more.
# The line has the hue of rust and old paper, mostly 41 to 102 degrees, and a length below 12.
_STAIN_WIDTH = 2.4
_STAIN_LENGTH = 20.0
_STAIN_HUES = (40, 115)  # degrees
_CAST_LENGTH = 4.0  # of lines of other hues: noise, the cast of a scanner

# Apart from what is tinted, a hand-tinted print has one color for each lightness: of the pixels of
# the same lightness 40 % and more are nearer to it than that, on the average of all lightnesses.
# So are those of 94 % of the tinted prints and of 1.2 % of the color photos.
_BASE_DISTANCE = 1.25
_BASE_SHARE = 0.4
# A print is tinted if this share of it has another color; date imprints cover less.
_TINT_DISTANCE = 6.0
_TINT_SHARE = 0.02


def classify_photo(rgb: Tensor) -> Tone:
    """Classify a uint8 photo (3, H, W) as "gray", "toned", "tinted" (by hand) or "color"."""
    if is_grayscale(rgb):  # much faster than measuring
        return "gray"
    return classify_colors(*rgb_to_lab(reduce_to(rgb, _SIDE)))


def reduce_to(rgb: Tensor, side: int) -> Tensor:
    """Reduce a uint8 photo (3, H, W) to a short side of at most `side` px."""
    height, width = rgb.shape[1:]
    k = min(1, side / min(height, width))
    return resize(rgb, max(1, round(height * k)), max(1, round(width * k)))


def classify_colors(lightness: Tensor, ab: Tensor) -> Tone:
    """Classify a photo, or some of its pixels, apart from noise and stains.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W) in [-1, 1].
    """
    tone = classify_tone(mean_chroma(ab).item(), color_spread(lightness, ab).item())
    if tone == "toned":
        return tone
    offset = offset_from_base(lightness, ab, base_colors(lightness, ab))
    if _is_stained(offset):
        return "gray" if tone == "gray" else "toned"
    distance = torch.hypot(*offset)
    if tone == "gray":
        share = (distance > _TINT_DISTANCE).float().mean()
        return "gray" if share < _TINT_SHARE else "tinted"
    return "tinted" if _base_share(lightness, distance) > _BASE_SHARE else "color"


def chroma_statistics(rgb: Tensor) -> tuple[float, float]:
    """Measure a uint8 photo (3, H, W) for `classify_tone`.

    Returns:
        The mean chroma and the `color_spread` in CIELAB units, of the photo at 64 px.
    """
    lightness, ab = rgb_to_lab(reduce_to(rgb, _SIDE))
    return mean_chroma(ab).item(), color_spread(lightness, ab).item()


def color_spread(lightness: Tensor, ab: Tensor) -> Tensor:
    """Measure how far colors scatter around the one color that goes with each lightness.

    It is 0 for a gray photo and for any toned one, whose color is a function of its lightness
    alone, and large where two things of the same lightness differ in color.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W) in [-1, 1].

    Returns:
        A scalar in CIELAB units: the root mean square distance of a*b* from the mean a*b* of the
        pixels of the same lightness, in 40 steps.
    """
    step = _lightness_step(lightness)
    ab = ab.flatten(1) * AB_SCALE
    count = torch.bincount(step, minlength=_STEPS).clamp(min=1)
    mean = torch.zeros(2, _STEPS, device=ab.device).index_add(1, step, ab) / count
    return (ab - mean[:, step]).square().sum(0).mean().sqrt()


def classify_tone(chroma: float, spread: float) -> Tone:
    """Classify a photo by its mean chroma and its `color_spread`, both in CIELAB units."""
    if chroma < GRAY_CHROMA:
        return "gray"
    return "toned" if spread < min(TONED_SPREAD, TONED_SHARE * chroma) else "color"


def base_colors(lightness: Tensor, ab: Tensor) -> Tensor:
    """Estimate the one color of each lightness of a print, in spite of stains and tints on it.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W) in [-1, 1].

    Returns:
        (2, 40) in CIELAB units: the mean a*b* of the pixels of each step of lightness, and to a
        lesser degree of the steps around it, without the pixels that are far from it.
    """
    step = _lightness_step(lightness)
    ab = ab.flatten(1) * AB_SCALE
    steps = torch.arange(_STEPS)
    nearness = torch.exp(-(steps - steps.unsqueeze(1)).abs().float())
    weight = torch.ones_like(ab[0])
    for _ in range(6):  # the mean of the pixels near the mean before
        count = torch.bincount(step, weight, minlength=_STEPS) @ nearness
        mean = torch.zeros(2, _STEPS).index_add(1, step, ab * weight) @ nearness / count
        distance = torch.hypot(*(ab - mean[:, step]))
        weight = (distance < max(3.0, 2 * distance.median().item())).float()
    return mean


def offset_from_base(lightness: Tensor, ab: Tensor, base: Tensor) -> Tensor:
    """Subtract `base_colors`: (2, N) in CIELAB units, of each pixel."""
    return ab.flatten(1) * AB_SCALE - base[:, _lightness_step(lightness)]


def _lightness_step(lightness: Tensor) -> Tensor:
    return ((lightness.flatten() + 1) * (_STEPS / 2)).long().clamp(0, _STEPS - 1)


def _base_share(lightness: Tensor, distance: Tensor) -> float:
    """Measure the share of pixels of the base color, as the mean over the steps of lightness.

    So a plain background counts no more than a narrow range of grays.
    """
    step = _lightness_step(lightness)
    count = torch.bincount(step, minlength=_STEPS)
    near = torch.bincount(step, (distance < _BASE_DISTANCE).float(), minlength=_STEPS)
    is_common = count > 0.01 * len(step)
    return (near / count)[is_common].mean().item()


def _is_stained(offset: Tensor) -> bool:
    """Tell whether colors, as offsets (2, N) from the base, are those of stains, casts and noise.

    They lie along one line: the more there is of a stain, the farther from the base.
    """
    _, axes = torch.linalg.eigh(offset @ offset.T)
    width, length = (axes.T @ offset).abs().quantile(0.98, dim=1).tolist()
    a, b = axes[:, 1].tolist()
    low, high = _STAIN_HUES
    is_rust = low < math.degrees(math.atan2(b, a)) % 180 < high
    return width < _STAIN_WIDTH and length < (_STAIN_LENGTH if is_rust else _CAST_LENGTH)
