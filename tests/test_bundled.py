"""The network that comes with the package."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from colorize import Colorizer, load_samples, read_photo
from colorize.color.lab import rgb_to_lab
from colorize.io.image import photo_to_rgb
from colorize.metrics.image import ab_error, colorfulness
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT, WEIGHTS

RELEASED = Path(__file__).parents[1] / "report" / "results" / "release" / "colorized"


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def photos():
    return {photo.id: read_photo(photo.path) for photo in load_samples().select("test").photos}


@pytest.fixture(scope="module")
def colorized(colorizer, photos):
    return {name: colorizer(photo) for name, photo in photos.items()}


def test_it_is_small_and_has_a_checksum_a_card_and_a_license():
    weights = BUNDLED / DEFAULT / WEIGHTS
    assert weights.stat().st_size <= 20e6
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (BUNDLED / "SHA256SUMS").read_text() == f"{digest}  {DEFAULT}/{WEIGHTS}\n"
    card = (BUNDLED / DEFAULT / CARD).read_text()
    assert "license_name: LICENSE-WEIGHTS" in card
    assert "ImageNet" in (BUNDLED / "LICENSE-WEIGHTS").read_text()


def test_it_predicts_a_distribution_and_supports_hints(colorizer):
    assert colorizer.name == DEFAULT
    assert (
        colorizer.predicts_distribution and colorizer.supports_hints and not colorizer.is_stochastic
    )


def test_its_outputs_keep_the_lightness(photos, colorized):
    for name, photo in photos.items():
        before, _ = rgb_to_lab(photo_to_rgb(photo))
        after, _ = rgb_to_lab(photo_to_rgb(colorized[name]))
        assert (after - before).abs().max() * 50 < 0.5, name  # a level is 0.4 L* and more


def test_its_outputs_are_colorful_and_nearer_to_the_ground_truth_than_gray(photos, colorized):
    colors, errors = [], []
    for name, photo in photos.items():
        target, result = (photo_to_rgb(one)[None] for one in (photo, colorized[name]))
        (_, ab), (_, pred_ab) = rgb_to_lab(target), rgb_to_lab(result)
        colors.append([colorfulness(result).item(), colorfulness(target).item()])
        gray = ab_error(torch.zeros_like(ab), ab).item()
        errors.append([ab_error(pred_ab, ab).item(), gray])
    ours, true = np.mean(colors, axis=0)
    assert 0.6 * true < ours < 1.2 * true
    error, gray = np.mean(errors, axis=0)
    assert error < 0.9 * gray


def test_it_predicts_the_stored_outputs_of_its_release(colorized):
    assert {path.stem for path in RELEASED.iterdir()} == set(colorized)
    for name, photo in colorized.items():
        _, ab = rgb_to_lab(photo_to_rgb(photo))
        _, stored = rgb_to_lab(photo_to_rgb(read_photo(RELEASED / f"{name}.jpg")))
        assert (ab - stored).norm(dim=0).mean() * 110 < 1.5, name  # JPEG is lossy


def test_hints_change_its_colors(colorizer, photos):
    photo = photos["dahlia"]
    x, y = photo.width // 2, photo.height // 2
    around = np.s_[y - 20 : y + 20, x - 20 : x + 20]
    blue, red = (
        np.asarray(colorizer(photo, hints=[(x, y, color)]), int)[around].mean((0, 1))
        for color in ("#3060c0", "#c04030")
    )
    assert blue[2] - blue[0] > red[2] - red[0] + 30


def test_samples_differ_and_the_uncertainty_varies(colorizer, photos):
    samples = colorizer.sample(photos["coffee"], count=3)
    assert len({sample.tobytes() for sample in samples}) == 3
    _, uncertainty = colorizer.predict_uncertainty(photos["coffee"])
    assert np.asarray(uncertainty, int).std() > 5
