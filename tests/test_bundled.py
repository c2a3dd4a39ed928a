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

PAINTED = Path(__file__).parents[1] / "report" / "results" / "ship" / "painted"


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def photos():
    return {photo.id: read_photo(photo.path) for photo in load_samples().select("test").photos}


@pytest.fixture(scope="module")
def painted(colorizer, photos):
    return {name: colorizer(photo) for name, photo in photos.items()}


def test_it_is_small_known_by_its_digest_and_has_a_card_and_a_licence():
    weights = BUNDLED / DEFAULT / WEIGHTS
    assert weights.stat().st_size <= 20e6
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (BUNDLED / "SHA256SUMS").read_text() == f"{digest}  {DEFAULT}/{WEIGHTS}\n"
    card = (BUNDLED / DEFAULT / CARD).read_text()
    assert "license_name: LICENSE-WEIGHTS" in card
    assert "ImageNet" in (BUNDLED / "LICENSE-WEIGHTS").read_text()


def test_it_has_a_vividness_doubts_and_takes_hints(colorizer):
    assert colorizer.name == DEFAULT
    assert (
        colorizer.predicts_distribution and colorizer.supports_hints and not colorizer.is_stochastic
    )


def test_its_paintings_keep_the_lightness(photos, painted):
    for name, photo in photos.items():
        before, _ = rgb_to_lab(photo_to_rgb(photo))
        after, _ = rgb_to_lab(photo_to_rgb(painted[name]))
        assert (after - before).abs().max() * 50 < 0.5, name  # a level is 0.4 L* and more


def test_its_paintings_are_colorful_and_nearer_to_the_truth_than_grey(photos, painted):
    colors, errors = [], []
    for name, photo in photos.items():
        truth, found = (photo_to_rgb(one)[None] for one in (photo, painted[name]))
        (_, ab), (_, painted_ab) = rgb_to_lab(truth), rgb_to_lab(found)
        colors.append([colorfulness(found).item(), colorfulness(truth).item()])
        grey = ab_error(torch.zeros_like(ab), ab).item()
        errors.append([ab_error(painted_ab, ab).item(), grey])
    ours, true = np.mean(colors, axis=0)
    assert 0.6 * true < ours < 1.2 * true
    error, grey = np.mean(errors, axis=0)
    assert error < 0.9 * grey


def test_it_paints_here_what_it_painted_where_it_was_packed(painted):
    assert {path.stem for path in PAINTED.iterdir()} == set(painted)
    for name, photo in painted.items():
        _, ab = rgb_to_lab(photo_to_rgb(photo))
        _, stored = rgb_to_lab(photo_to_rgb(read_photo(PAINTED / f"{name}.jpg")))
        assert (ab - stored).norm(dim=0).mean() * 110 < 1.5, name  # JPEG is lossy


def test_a_hint_leads_it(colorizer, photos):
    photo = photos["dahlia"]
    x, y = photo.width // 2, photo.height // 2
    around = np.s_[y - 20 : y + 20, x - 20 : x + 20]
    blue, red = (
        np.asarray(colorizer(photo, hints=[(x, y, color)]), int)[around].mean((0, 1))
        for color in ("#3060c0", "#c04030")
    )
    assert blue[2] - blue[0] > red[2] - red[0] + 30


def test_samples_differ_and_doubt_is_not_the_same_everywhere(colorizer, photos):
    some, doubt = colorizer(photos["coffee"], samples=3, return_uncertainty=True)
    assert len({one.tobytes() for one in some}) == 3
    assert np.asarray(doubt, int).std() > 5
