"""The measures, against sums by hand, scikit-image and the paper."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from colorize.color import rgb_to_lab
from colorize.metrics import (
    ab_error,
    as_table,
    baselines,
    colorfulness,
    evaluate,
    mean_ab,
    psnr,
)
from colorize.photos import photo_to_rgb


def random_photos(count, side=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def flat(*rgb, side=4):
    """A batch of one photo in one color."""
    return torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, side, side)


def test_the_ab_error_of_a_constant_shift_is_its_length_in_cielab_units():
    ab = torch.rand(3, 2, 5, 7) - 0.5
    shift = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1) / 110
    assert torch.allclose(ab_error(ab + shift, ab), torch.full((3,), 5.0), atol=1e-4)
    half = shift.expand(1, 2, 2, 2).clone()
    half[..., 0] = 0  # half the pixels right, half off by 5
    assert ab_error(half, torch.zeros(1, 2, 2, 2)).item() == pytest.approx(2.5)


def test_psnr_is_scikit_images():
    photos, truths = random_photos(3, seed=1), random_photos(3, seed=2)
    truths[1] = photos[1] // 2
    expected = [
        peak_signal_noise_ratio(truth.numpy(), photo.numpy())
        for truth, photo in zip(truths, photos, strict=True)
    ]
    assert torch.allclose(psnr(photos, truths), torch.tensor(expected).float(), atol=1e-3)
    assert psnr(photos, photos).isinf().all()


def hasler_suesstrunk(rgb):
    """Equations 1 to 3 and M3 of the paper, in numpy, for one (3, H, W) photo."""
    r, g, b = rgb.astype(np.float64)
    rg, yb = r - g, 0.5 * (r + g) - b
    sigma = math.sqrt(np.var(rg) + np.var(yb))
    mu = math.sqrt(np.mean(rg) ** 2 + np.mean(yb) ** 2)
    return sigma + 0.3 * mu


def test_colorfulness_is_hasler_and_suesstrunks(photo):
    photos = torch.cat((photo_to_rgb(photo)[None, :, :16, :16], random_photos(2)))
    expected = torch.tensor([hasler_suesstrunk(rgb) for rgb in photos.numpy()]).float()
    assert torch.allclose(colorfulness(photos), expected, rtol=1e-5)
    assert colorfulness(flat(90, 90, 90)).item() == 0
    # Pure red: rg = 255, yb = 127.5 everywhere.
    assert colorfulness(flat(255, 0, 0)).item() == pytest.approx(0.3 * math.hypot(255, 127.5))
    # Red beside green: rg is 255 and -255, yb 127.5 in both; absolute values would give 85.5.
    half = torch.cat((flat(255, 0, 0), flat(0, 255, 0)), dim=3)
    assert colorfulness(half).item() == pytest.approx(255 + 0.3 * 127.5)


def test_the_mean_color_weighs_every_photo_alike_whatever_the_batches():
    photos = torch.cat((flat(255, 0, 0), flat(0, 0, 255), flat(128, 128, 128)))
    # CIELAB of sRGB red and blue (Lindbloom, D65): (80.09, 67.20) and (79.19, -107.86).
    expected = torch.tensor([(80.09 + 79.19) / 3, (67.20 - 107.86) / 3]) / 110
    for batches in (photos.split(1), photos.split(2), [photos]):
        assert mean_ab(batches).shape == (2, 1, 1)
        assert torch.allclose(mean_ab(batches).flatten(), expected, atol=2e-3)


def test_the_baselines_look_at_nothing():
    lightness = torch.rand(2, 1, 4, 6)
    mean = torch.tensor([0.25, -0.5]).view(2, 1, 1)
    painted = {name: paint(lightness) for name, paint in baselines(mean).items()}
    assert list(painted) == ["grey", "mean-ab", "random"]
    assert all(ab.shape == (2, 2, 4, 6) for ab in painted.values())
    assert not painted["grey"].any()
    assert (painted["mean-ab"] == mean).all()
    noise = baselines(mean)["random"](torch.zeros(4, 1, 64, 64))
    assert noise.min() < -0.99 and noise.max() > 0.99 and abs(noise.mean()) < 0.02
    assert torch.equal(noise, baselines(mean)["random"](torch.zeros(4, 1, 64, 64)))


def test_evaluate_gives_the_truth_each_painter_and_the_three_baselines():
    photos = random_photos(5, seed=3)
    truth = rgb_to_lab(photos)[1]
    painters = {"off": lambda lightness: lightness.new_full((len(lightness), 2, 16, 16), 0.3)}
    rows = evaluate(painters | baselines(mean_ab([photos])), photos.split(2))  # 2 + 2 + 1 photos
    assert list(rows) == ["truth", "off", "grey", "mean-ab", "random"]
    # Means over photos, not over batches, of which the last is smaller.
    assert rows["truth"]["colorfulness"] == pytest.approx(colorfulness(photos).mean().item())
    assert rows["grey"]["mse"] == pytest.approx(truth.square().mean().item(), rel=1e-5)
    assert rows["grey"]["l1"] == pytest.approx(truth.abs().mean().item(), rel=1e-5)
    assert rows["grey"]["ab_error"] == pytest.approx(
        ab_error(torch.zeros_like(truth), truth).mean().item(), rel=1e-5
    )
    assert rows["grey"]["colorfulness"] < 1
    assert rows["off"]["mse"] == pytest.approx((truth - 0.3).square().mean().item(), rel=1e-5)


def test_brown_is_cheap_and_random_colors_cost_much_more(photo):
    photos = photo_to_rgb(photo).unsqueeze(0)
    rows = evaluate(baselines(mean_ab([photos])), [photos])
    assert rows["mean-ab"]["mse"] < rows["grey"]["mse"] < rows["random"]["mse"] / 2
    assert rows["mean-ab"]["ab_error"] < rows["random"]["ab_error"] / 1.5
    assert rows["random"]["colorfulness"] > rows["mean-ab"]["colorfulness"]


def test_the_true_colors_make_no_error():
    photos = random_photos(1)
    rows = evaluate({"oracle": lambda lightness: rgb_to_lab(photos)[1]}, [photos])
    assert rows["oracle"]["ab_error"] < 1e-3 and rows["oracle"]["psnr"] == math.inf


def test_painters_with_noise_are_measured_alike_each_time():
    photos = random_photos(2)
    noisy = {"noisy": lambda lightness: torch.rand(len(lightness), 2, 16, 16)}
    assert evaluate(noisy, [photos]) == evaluate(noisy, [photos])


def test_no_photos_are_an_error():
    with pytest.raises(ValueError, match="no photos"):
        evaluate({}, [])


def test_the_table_is_markdown_with_a_row_for_each_painter():
    rows = {"truth": {"colorfulness": 41.0}, "grey": {"ab_error": 1.5, "psnr": 24.123, "mse": 1.0}}
    header, line, truth, grey = as_table(rows).splitlines()
    assert header.count("|") == line.count("|") == truth.count("|") == grey.count("|")
    assert set(line) == set("|-:")
    assert [cell.strip() for cell in truth.split("|")[1:-1]] == ["truth", "", "41.00", ""]
    assert [cell.strip() for cell in grey.split("|")[1:-1]] == ["grey", "1.50", "", "24.12"]
    *_, losses = as_table({"grey": {"mse": 0.01234}}, ["mse", "l1"]).splitlines()
    assert [cell.strip() for cell in losses.split("|")[1:-1]] == ["grey", "0.0123", ""]
