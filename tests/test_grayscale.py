"""Gray, toned, or in color."""

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb

from colorize.color.curves import AB_SCALE
from colorize.color.lab import rgb_to_lab
from colorize.io.grayscale import classify_photo, classify_tone, color_spread


def lab_photo(lightness, a, b):
    lab = np.stack(np.broadcast_arrays(lightness, a, b), axis=-1).astype(float)
    return torch.from_numpy(np.round(lab2rgb(lab) * 255).astype(np.uint8)).permute(2, 0, 1)


def test_the_spread_is_the_distance_from_the_color_of_each_lightness():
    lightness = np.repeat(np.linspace(30, 80, 40)[None], 40, axis=0)
    half = np.where(np.arange(40)[:, None] % 2, 10, -10)
    two_colors = rgb_to_lab(lab_photo(lightness, half, 0))
    assert color_spread(*two_colors).item() == pytest.approx(10, abs=0.4)
    toned = rgb_to_lab(lab_photo(lightness, lightness / 8, lightness / 4))
    assert color_spread(*toned).item() < 0.6
    assert torch.linalg.vector_norm(toned[1] * AB_SCALE, dim=0).mean() > 10
    gray = rgb_to_lab(lab_photo(lightness, 0, 0))
    assert color_spread(*gray).item() < 0.1


def test_noise_is_not_color():
    gray = torch.linspace(0, 255, 300).expand(3, 200, 300)
    noise = 8 * torch.randn(3, 200, 300, generator=torch.Generator().manual_seed(0))
    assert classify_photo((gray + noise).round().clamp(0, 255).to(torch.uint8)) == "gray"
    half = gray.clone()
    half[0, :, :30] += 60  # a tenth of it is red
    assert classify_photo(half.clamp(0, 255).to(torch.uint8)) == "tinted"


@pytest.mark.parametrize(
    ("chroma", "spread", "result"),
    [
        (1.9, 9, "gray"),
        (2.1, 0.4, "color"),
        (2.1, 0.3, "toned"),
        (25, 2.9, "toned"),
        (25, 3.1, "color"),
    ],
)
def test_a_tint_has_little_spread_in_units_and_in_chroma(chroma, spread, result):
    assert classify_tone(chroma, spread) == result


def test_a_color_for_each_of_forty_lightnesses_has_no_spread():
    lightness = ((torch.arange(40) + 0.5) / 20 - 1).view(1, 40, 1)
    ab = torch.rand(2, 40, 1).expand(2, 40, 3)
    assert color_spread(lightness.expand(1, 40, 3), ab).item() == pytest.approx(0, abs=1e-4)
