"""What a century does to a photograph, done to the input alone: the colors to learn stay true."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize.color.lab import orthochromatic_lightness, rgb_to_lab


def degrade(rgb: Tensor, share: float) -> Tensor:
    """The lightness of photos as it might have come down to us, from torch's generator.

    Of the photos that are aged, each damage befalls every second one: an emulsion blind to red,
    blur, fading, grain, scratches, JPEG compression; in the order in which they happen.

    Args:
        rgb: uint8 (N, 3, H, W).
        share: of the photos that are aged, from 0 to 1.

    Returns:
        Lightness (N, 1, H, W) in [-1, 1].
    """
    lightness, _ = rgb_to_lab(rgb)
    aged = torch.rand(len(rgb)) < share
    damages = (_emulsion, _blur, _fade, _grain, _scratch, _compress)
    befallen = torch.rand(len(damages), len(rgb)) < 0.5
    for damage, chosen in zip(damages, befallen & aged, strict=True):
        numbers = chosen.nonzero().flatten().tolist()
        for number in numbers:
            lightness[number] = damage(lightness[number], rgb[number]).clamp(-1, 1)
    return lightness


def _between(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _emulsion(lightness: Tensor, rgb: Tensor) -> Tensor:
    """Plates before about 1920 did not see red: lips and bricks came out dark, skies pale."""
    return orthochromatic_lightness(rgb)


def _blur(lightness: Tensor, rgb: Tensor) -> Tensor:
    return _smooth(lightness, _between(0.4, 1.5))


def _fade(lightness: Tensor, rgb: Tensor) -> Tensor:
    """Less contrast: black becomes grey, white yellows away."""
    dark, light = _between(-1, -0.5), _between(0.5, 1)
    return dark + (lightness + 1) / 2 * (light - dark)


def _grain(lightness: Tensor, rgb: Tensor) -> Tensor:
    """Noise of a grain's size, strongest in the middle tones."""
    noise = _smooth(torch.randn(lightness.shape).to(lightness.device), _between(0.3, 0.8))
    return lightness + _between(0.05, 0.2) * noise * (1.2 - lightness.square())


def _scratch(lightness: Tensor, rgb: Tensor) -> Tensor:
    """A few thin lines, nearly upright, light or dark, and specks of dust."""
    height, width = lightness.shape[-2:]
    scratched = lightness.clone()
    rows = torch.arange(height)
    for _ in range(int(_between(1, 5))):
        begin, end = sorted((_between(0, height), _between(0, height)))
        columns = (_between(0, width) + _between(-0.2, 0.2) * rows).long()
        line = rows[(rows >= begin) & (rows < end) & (columns >= 0) & (columns < width)]
        scratched[0, line, columns[line]] = 1.0 if _between(0, 1) < 0.7 else -1.0
    for _ in range(int(_between(0, 12))):
        top, left = int(_between(0, height - 1)), int(_between(0, width - 1))
        scratched[0, top : top + 2, left : left + 2] = 1.0
    return scratched


def _compress(lightness: Tensor, rgb: Tensor) -> Tensor:
    """The scan was saved as a JPEG."""
    grey = ((lightness[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=int(_between(20, 80)))
    again = torch.from_numpy(np.array(Image.open(file)))
    return (again.float() / 127.5 - 1).unsqueeze(0).to(lightness.device)


def _smooth(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of (1, H, W)."""
    radius = min(3, min(x.shape[-2:]) - 1)
    places = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-places.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x.unsqueeze(0), (radius,) * 4, mode="reflect")
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return x.squeeze(0)
