"""Metrics, against sums by hand, scikit-image and the papers."""

import math

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorize.io.image import photo_to_rgb
from colorize.metrics.columns import COLUMNS, METRICS, compute_metrics
from colorize.metrics.image import (
    MetricImage,
    ab_error,
    ab_mae,
    bleeding,
    color_cast,
    colorfulness,
    psnr,
)


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


def test_the_ab_mae_is_the_mean_of_both_channels_in_cielab_units():
    target = torch.rand(2, 2, 5, 7) - 0.5
    shift = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1) / 110
    # (|3| + |-4|) / 2, where the distance is 5.
    assert torch.allclose(ab_mae(target + shift, target), torch.full((2,), 3.5), atol=1e-4)
    half = shift.expand(1, 2, 2, 2).clone()
    half[..., 0] = 0  # half the pixels right
    assert ab_mae(half, torch.zeros(1, 2, 2, 2)).item() == pytest.approx(1.75)


def test_psnr_is_scikit_images():
    photos, targets = random_photos(3, seed=1), random_photos(3, seed=2)
    targets[1] = photos[1] // 2
    expected = [
        peak_signal_noise_ratio(target.numpy(), photo.numpy())
        for target, photo in zip(targets, photos, strict=True)
    ]
    assert torch.allclose(psnr(photos, targets), torch.tensor(expected).float(), atol=1e-3)
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


def test_absolute_colorfulness_is_ddcolors(photo):
    # Red beside green: |rg| is 255 and |yb| 127.5 everywhere, nothing deviates.
    half = torch.cat((flat(255, 0, 0), flat(0, 255, 0)), dim=3)
    expected = 0.3 * math.hypot(255, 127.5)
    assert colorfulness(half, absolute=True).item() == pytest.approx(expected)


def test_the_cast_is_one_where_all_is_one_tint_and_zero_where_colors_balance():
    tint = torch.full((1, 2, 4, 4), 0.2)
    assert color_cast(tint).item() == pytest.approx(1)
    assert color_cast(torch.cat((tint, -tint))).item() == pytest.approx(0, abs=1e-6)
    assert color_cast(torch.cat((tint, 0 * tint))).item() == pytest.approx(1)
    quarter = tint.clone()
    quarter[..., 0, :] *= -1  # three rows one way, one the other: (3 - 1) / 4
    assert color_cast(quarter).item() == pytest.approx(0.5)


def edge(at, low, high, side=32):
    """A plane (1, side, side) of two values that meet at a column."""
    plane = torch.full((1, side, side), float(low))
    plane[..., at:] = high
    return plane


def test_colors_that_end_at_lightness_edges_do_not_bleed():
    lightness = edge(16, -0.5, 0.5)
    fitting = torch.cat((edge(16, 0, 0.4), torch.zeros(1, 32, 32)))
    shifted = torch.cat((edge(24, 0, 0.4), torch.zeros(1, 32, 32)))
    assert bleeding(lightness, fitting).item() == 0
    assert bleeding(lightness, shifted).item() == 1
    # Two color edges as strong as each other, one of them on the edge of the lightness.
    both = torch.cat((edge(16, 0, 0.4), edge(24, 0, 0.4)))
    assert bleeding(lightness, both).item() == pytest.approx(0.5)
    # The edges of one color have twice the weight: slopes of 22 and 11 units a pixel, each less 1.
    unequal = torch.cat((edge(16, 0, 0.4), edge(24, 0, 0.2)))
    assert bleeding(lightness, unequal).item() == pytest.approx(10 / (10 + 21))
    # Two pixels beside the edge, and the slope is measured over the pixels around: still covered.
    for moved, share in ((18, 0), (21, 1)):
        near = torch.cat((edge(moved, 0, 0.4), torch.zeros(1, 32, 32)))
        assert bleeding(lightness, near).item() == share
    # An invisible step of the lightness covers nothing; noise of the color is no edge.
    assert bleeding(edge(16, 0, 0.05), fitting).item() == 1
    noise = torch.cat((edge(24, 0, 0.01), torch.zeros(1, 32, 32)))
    assert bleeding(lightness, noise).isnan()


def test_the_metrics_of_a_prediction_agree_with_scikit_image(photo):
    target = photo_to_rgb(photo)
    pred = target.roll(1, dims=0)
    values = compute_metrics(MetricImage(pred), MetricImage(target))
    arrays = [rgb.permute(1, 2, 0).numpy() for rgb in (pred, target)]
    ours, true = (rgb2lab(array) for array in arrays)
    assert values["delta_e"] == pytest.approx(deltaE_ciede2000(ours, true).mean(), rel=1e-3)
    assert values["ssim"] == pytest.approx(structural_similarity(*arrays, channel_axis=2), rel=1e-4)
    ab = ours[..., 1:]
    assert values["ab_error"] == pytest.approx(
        np.linalg.norm(ab - true[..., 1:], axis=2).mean(), rel=1e-3
    )
    mae = np.abs(ab - true[..., 1:]).mean()
    assert values["ab_mae"] == pytest.approx(mae, rel=1e-3)
    assert values["ab_mae"] == pytest.approx(110 * values["l1"], rel=1e-6)
    assert values["mean_a"] == pytest.approx(ab[..., 0].mean(), abs=1e-2)
    assert values["mean_b"] == pytest.approx(ab[..., 1].mean(), abs=1e-2)
    assert values["chroma"] == pytest.approx(np.linalg.norm(ab, axis=2).mean(), rel=1e-3)
    assert values["mse"] == pytest.approx(np.square((ab - true[..., 1:]) / 110).mean(), rel=1e-3)
    assert values["l1"] == pytest.approx(np.abs((ab - true[..., 1:]) / 110).mean(), rel=1e-3)
    assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(*arrays), rel=1e-4)
    own, theirs = (hasler_suesstrunk(rgb.numpy()) for rgb in (pred, target))
    assert values["colorfulness"] == pytest.approx(own, rel=1e-4)
    assert values["colorfulness_error"] == pytest.approx(abs(own - theirs), rel=1e-3)
    assert values.keys() == METRICS.keys()


def test_undefined_metrics_are_none(photo):
    target = MetricImage(photo_to_rgb(photo))
    itself = compute_metrics(target, target)
    assert itself["psnr"] is None
    assert itself["ab_error"] == itself["delta_e"] == itself["colorfulness_error"] == 0
    assert itself["ssim"] == pytest.approx(1)
    gray = compute_metrics(MetricImage(photo_to_rgb(photo.convert("L").convert("RGB"))), target)
    assert gray["color_cast"] is None and gray["bleeding"] is None
    with pytest.raises(ValueError, match=r"prediction of \(30, 40\) .* photo of \(60, 80\)"):
        compute_metrics(MetricImage(target.rgb[:, :30, :40]), target)


def striped(*colors):
    """An image of stripes of these colors."""
    stripes = [torch.tensor(c, dtype=torch.uint8).view(3, 1, 1).repeat(1, 12, 9) for c in colors]
    return MetricImage(torch.cat(stripes, dim=2))


def test_both_kinds_of_colorfulness_and_their_errors_by_hand():
    # Red and green: R-G is 200 and -200, (R+G)/2-B is 100 all over.
    values = compute_metrics(striped((200, 0, 0), (0, 200, 0)), striped((90, 90, 90), (90, 90, 90)))
    signed = 200 + 0.3 * 100
    absolute = 0 + 0.3 * math.hypot(200, 100)  # the signs gone, nothing deviates
    assert values["colorfulness"] == values["colorfulness_error"] == pytest.approx(signed)
    assert values["colorfulness_absolute"] == pytest.approx(absolute)
    assert values["colorfulness_absolute_error"] == pytest.approx(absolute)


def test_images_with_next_to_no_color_have_no_cast():
    red = striped((200, 20, 20))
    tinted, gray = striped((100, 100, 101), (100, 100, 100)), striped((100, 100, 100))
    assert 0.1 < tinted.chroma < 0.5  # the rounding of 8 bits, all in one direction
    assert (
        compute_metrics(tinted, tinted)["color_cast"] is None
        and compute_metrics(gray, gray)["color_cast"] is None
    )
    assert compute_metrics(red, red)["color_cast"] == pytest.approx(1, abs=1e-3)


def test_colors_bleed_where_the_ground_truth_has_no_edge():
    stripes, plain = ((60, 60, 60), (190, 190, 190)), ((120, 120, 120), (120, 120, 120))
    red_and_green = striped((150, 110, 110), (96, 130, 96))  # of nearly one lightness
    assert compute_metrics(red_and_green, striped(*stripes))["bleeding"] == 0
    assert compute_metrics(red_and_green, striped(*plain))["bleeding"] == 1


def test_each_metric_knows_its_direction():
    near_ground_truth = {
        *("colorfulness", "colorfulness_absolute", "color_cast", "dataset_color_cast", "bleeding"),
        *("mean_a", "mean_b", "chroma"),
    }
    higher = {"ssim", "psnr", "dataset_psnr"}
    directions = {name: column.higher_is_better for name, column in COLUMNS.items()}
    assert {name for name, better in directions.items() if better is None} == near_ground_truth
    assert {name for name, better in directions.items() if better} == higher
