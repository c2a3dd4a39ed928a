"""Degradations of old photographs: what is done to the input, and to nothing else."""

import pytest
import torch
from PIL import Image
from test_models import random_lightness

import colorize.data.degradations as degradations
from colorize.color.lab import orthochromatic_lightness, rgb_to_lab
from colorize.data.dataset import ExampleSettings, make_example
from colorize.data.degradations import degrade
from colorize.utils.seed import seeded_generator


def colors(*rgb):
    return torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)


def test_the_emulsion_is_blind_to_red_and_keeps_white():
    red, green, blue = (colors(*(255 * (i == j) for j in range(3))) for i in range(3))
    assert orthochromatic_lightness(red).item() == pytest.approx(-1, abs=1e-5)
    for gray in (0, 90, 255):
        expected = rgb_to_lab(colors(gray, gray, gray))[0]
        assert torch.allclose(
            orthochromatic_lightness(colors(gray, gray, gray)), expected, atol=1e-5
        )
    # L* of linear 0.45: 116 * 0.45 ** (1/3) - 16 = 72.9.
    assert (orthochromatic_lightness(blue).item() + 1) * 50 == pytest.approx(72.89, abs=0.02)
    assert orthochromatic_lightness(green) > orthochromatic_lightness(blue)


def degraded(rgb, degradation_prob, seed=0):
    settings, generator = ExampleSettings(degradation_prob), seeded_generator(seed)
    return torch.stack([make_example(photo, settings, generator).lightness for photo in rgb])


def test_as_many_photos_are_degraded_as_asked_for():
    rgb = torch.randint(0, 256, (400, 3, 16, 16), dtype=torch.uint8)
    lightness, _ = rgb_to_lab(rgb)
    assert make_example(rgb[0], ExampleSettings(0.0)).lightness is None  # that of the photo
    changed = (degraded(rgb, 0.5) != lightness).flatten(1).any(1).float().mean()
    assert changed.item() == pytest.approx(0.5 * (1 - 0.5**6), abs=0.07)
    always = degraded(rgb, 1.0)
    assert always.shape == lightness.shape
    assert always.abs().max() <= 1 and always.isfinite().all()


def test_the_given_generator_decides_and_no_other():
    rgb = torch.randint(0, 256, (8, 3, 24, 32), dtype=torch.uint8)
    before = torch.get_rng_state()
    results = [degraded(rgb, 1.0, seed) for seed in (1, 1, 2)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_torchs_own_decides():
    rgb = torch.randint(0, 256, (3, 24, 32), dtype=torch.uint8)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(torch.stack([degrade(rgb) for _ in range(8)]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", ["_blur", "_fade", "_grain", "_scratch", "_compress"])
def test_each_degradation_does_what_it_is_called(name):
    torch.manual_seed(3)
    coarse = random_lightness(1, 1, 8, 8)
    lightness = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic")[0].clamp(-1, 1)
    rgb = torch.zeros(3, 64, 64, dtype=torch.uint8)
    noisy = (lightness + 0.1 * torch.randn(1, 64, 64)).clamp(-1, 1)
    damaged = getattr(degradations, name)(noisy, rgb, None)
    assert damaged.shape == noisy.shape

    def roughness(x):
        return (x[:, 1:] - x[:, :-1]).square().mean()

    if name == "_blur":
        assert roughness(damaged) < 0.8 * roughness(noisy)
        assert damaged.mean().item() == pytest.approx(noisy.mean().item(), abs=0.02)
    elif name == "_fade":
        assert damaged.std() < noisy.std() and (damaged.diff() * noisy.diff() >= 0).all()
    elif name == "_grain":
        flat = torch.zeros(1, 64, 64)
        assert 0.02 < degradations._grain(flat, rgb, None).std() < 0.3
    elif name == "_scratch":
        changed = (damaged != noisy).float().mean()
        assert 0 < changed < 0.2 and set(damaged[damaged != noisy].tolist()) <= {-1.0, 1.0}
    else:
        assert 0 < (damaged - noisy).abs().mean() < 0.2


def test_each_degradation_hits_every_second_photo_in_the_order_in_which_they_happen(
    monkeypatch,
):
    names = ["_emulsion", "_blur", "_fade", "_grain", "_scratch", "_compress"]
    seen = []

    def noted(name):
        return lambda lightness, rgb, generator: (seen.append(name), lightness)[1]

    for name in names:
        monkeypatch.setattr(degradations, name, noted(name))
    for _ in range(400):
        before = len(seen)
        degrade(torch.zeros(3, 2, 2, dtype=torch.uint8))
        assert seen[before:] == [name for name in names if name in seen[before:]]
    assert all(seen.count(name) == pytest.approx(200, abs=40) for name in names)


def test_grain_is_strongest_in_the_middle_tones():
    spread = []
    for tone in (0.0, 0.9):
        torch.manual_seed(0)
        flat = torch.full((1, 64, 64), tone)
        spread.append((degradations._grain(flat, None, None) - flat).std().item())
    assert spread[1] == pytest.approx(spread[0] * (1.2 - 0.9**2) / 1.2, rel=1e-4)


def test_compression_is_that_of_bad_scans_and_keeps_every_gray(monkeypatch):
    qualities, save = [], Image.Image.save

    def noted(*args, quality):
        qualities.append(quality)
        save(*args, quality=100)  # at which nothing is lost of a flat gray

    monkeypatch.setattr(Image.Image, "save", noted)
    for level in range(256):
        flat = torch.full((1, 8, 8), level / 127.5 - 1)
        torch.testing.assert_close(degradations._compress(flat, None, None), flat)
    assert 20 <= min(qualities) < 25 and 75 < max(qualities) <= 80
