"""Degradations of old photographs, applied to the network's input only: the target stays clean."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize.color.lab import orthochromatic_lightness, rgb_to_lab

DEGRADATION_PROB = 0.5  # of each single degradation


def degrade(rgb: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Compute the lightness of a photo as an old print or plate of it would have it.

    Each degradation is applied with probability 0.5, in the order in which they happen: an
    emulsion blind to red, blur, fading, grain, scratches, JPEG compression.

    Args:
        rgb: uint8 (3, H, W).
        generator: source of the random numbers; None takes torch's global one.

    Returns:
        Lightness (1, H, W) in [-1, 1].
    """
    lightness, _ = rgb_to_lab(rgb)
    degradations = (_emulsion, _blur, _fade, _grain, _scratch, _compress)
    is_applied = torch.rand(len(degradations), generator=generator) < DEGRADATION_PROB
    for degradation, applied in zip(degradations, is_applied.tolist(), strict=True):
        if applied:
            lightness = degradation(lightness, rgb, generator).clamp(-1, 1)
    return lightness


def _uniform(low: float, high: float, generator: torch.Generator | None) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _emulsion(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    """Plates before about 1920 did not see red: lips and bricks came out dark, skies pale."""
    return orthochromatic_lightness(rgb)


def _blur(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    return _gaussian_blur(lightness, _uniform(0.4, 1.5, generator))


def _fade(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    """Reduce the contrast: black becomes gray, white yellows."""
    dark, light = _uniform(-1, -0.5, generator), _uniform(0.5, 1, generator)
    return dark + (lightness + 1) / 2 * (light - dark)


def _grain(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    """Add noise of a grain's size, strongest in the middle tones."""
    noise = torch.randn(lightness.shape, generator=generator)
    noise = _gaussian_blur(noise, _uniform(0.3, 0.8, generator))
    return lightness + _uniform(0.05, 0.2, generator) * noise * (1.2 - lightness.square())


def _scratch(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a few thin lines, nearly upright, light or dark, and specks of dust."""
    height, width = lightness.shape[-2:]
    scratched = lightness.clone()
    rows = torch.arange(height)
    for _ in range(int(_uniform(1, 5, generator))):
        start, end = sorted((_uniform(0, height, generator), _uniform(0, height, generator)))
        slope = _uniform(-0.2, 0.2, generator)
        columns = (_uniform(0, width, generator) + slope * rows).long()
        line = rows[(rows >= start) & (rows < end) & (columns >= 0) & (columns < width)]
        scratched[0, line, columns[line]] = 1.0 if _uniform(0, 1, generator) < 0.7 else -1.0
    for _ in range(int(_uniform(0, 12, generator))):
        top = int(_uniform(0, height - 1, generator))
        left = int(_uniform(0, width - 1, generator))
        scratched[0, top : top + 2, left : left + 2] = 1.0
    return scratched


def _compress(lightness: Tensor, rgb: Tensor, generator: torch.Generator | None) -> Tensor:
    """Save the scan as a JPEG file and read it again."""
    gray = ((lightness[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=int(_uniform(20, 80, generator)))
    decoded = torch.from_numpy(np.array(Image.open(file)))
    return (decoded.float() / 127.5 - 1).unsqueeze(0)


def _gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur (1, H, W) by a Gaussian of `sigma` pixels."""
    radius = min(3, min(x.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x.unsqueeze(0), (radius,) * 4, mode="reflect")
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return x.squeeze(0)
