"""Tell what is to be colorized of a photo: all of it, or the prints that it shows."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import ImageFilter
from torch import Tensor

from colorize.color.lab import rgb_to_lab
from colorize.io.grayscale import COLORED_TONES, Tone, classify_photo, reduce_to
from colorize.io.pages import LabPhoto, draw_outlines, find_beside_chart, find_on_page

_SIDE = 256  # px; short side at which prints are found
_STRIP_PIXELS = 2**20  # blended at a time, to bound the memory


@dataclass(frozen=True)
class PhotoTone:
    """The tone of what is to be colorized, and where that is.

    Attributes:
        tone: of the prints, or of the whole photo.
        prints: convex outlines (N, 2) of the gray and toned prints: x and y in [0, 1], relative to
            the size of the photo. Empty if the photo is to be taken as a whole.
    """

    tone: Tone
    prints: tuple[np.ndarray, ...] = ()

    @property
    def is_colored(self) -> bool:
        """Whether the photo has colors of its own: in color, or tinted by hand."""
        return self.tone in COLORED_TONES

    def keep_surroundings(self, rgb: Tensor, colorized: Tensor) -> Tensor:
        """Take the prints from the colorized photo, and what surrounds them from the photo.

        Args:
            rgb: the photo, uint8 or uint16 (3, H, W).
            colorized: of the same type and shape.
        """
        if not self.prints:
            return colorized
        height, width = rgb.shape[1:]
        outlines = [outline * (width, height) for outline in self.prints]
        feather = ImageFilter.BoxBlur(max(1, min(height, width) / 1000))
        mask = torch.from_numpy(np.array(draw_outlines(outlines, height, width).filter(feather)))
        blended = torch.empty(rgb.shape, dtype=rgb.dtype)
        rows = max(1, _STRIP_PIXELS // width)
        for top in range(0, height, rows):
            strip = slice(top, top + rows)
            before, after = rgb[:, strip].float(), colorized[:, strip].float()
            blended[:, strip] = torch.lerp(before, after, mask[strip] / 255).round()
        return blended


def analyze_tone(rgb: Tensor) -> PhotoTone:
    """Classify a uint8 photo (3, H, W), or the prints that it shows on a page or by a chart."""
    rgb = reduce_to(rgb, _SIDE)
    tone = classify_photo(rgb)
    if tone == "gray":
        return PhotoTone(tone)
    photo = LabPhoto(*rgb_to_lab(rgb))
    prints = find_on_page(photo, is_toned=tone == "toned")
    if not prints and tone == "tinted":
        prints = find_beside_chart(photo)
    if not prints:
        return PhotoTone(tone)
    height, width = photo.size
    outlines = tuple(outline / (width, height) for outline, _ in prints)
    return PhotoTone("toned" if any(tone == "toned" for _, tone in prints) else "gray", outlines)
