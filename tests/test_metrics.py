"""The measures, against sums by hand, scikit-image and the paper."""

import math

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorize.io.image import photo_to_rgb
from colorize.metrics.image import (
    METRICS,
    MetricImage,
    ab_error,
    bleeding,
    color_cast,
    colorfulness,
    compute_metrics,
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


def test_colors_that_end_where_the_lightness_does_do_not_bleed():
    lightness = edge(16, -0.5, 0.5)
    fitting = torch.cat((edge(16, 0, 0.4), torch.zeros(1, 32, 32)))
    shifted = torch.cat((edge(24, 0, 0.4), torch.zeros(1, 32, 32)))
    assert bleeding(lightness, fitting).item() == 0
    assert bleeding(lightness, shifted).item() == 1
    # Two color edges as strong as each other, one of them on the edge of the lightness.
    both = torch.cat((edge(16, 0, 0.4), edge(24, 0, 0.4)))
    assert bleeding(lightness, both).item() == pytest.approx(0.5)
    # The edges of the one color weigh twice: slopes of 22 and 11 units a pixel, each less 1.
    unequal = torch.cat((edge(16, 0, 0.4), edge(24, 0, 0.2)))
    assert bleeding(lightness, unequal).item() == pytest.approx(10 / (10 + 21))
    # Two pixels beside the edge, and the slope is measured over the pixels around: still covered.
    for moved, share in ((18, 0), (21, 1)):
        near = torch.cat((edge(moved, 0, 0.4), torch.zeros(1, 32, 32)))
        assert bleeding(lightness, near).item() == share
    # A step of the lightness that nobody sees covers nothing; noise of the color is no edge.
    assert bleeding(edge(16, 0, 0.05), fitting).item() == 1
    noise = torch.cat((edge(24, 0, 0.01), torch.zeros(1, 32, 32)))
    assert bleeding(lightness, noise).isnan()


def test_what_is_measured_of_a_painting_agrees_with_scikit_image(photo):
    truth = photo_to_rgb(photo)
    painted = truth.roll(1, dims=0)
    found = compute_metrics(MetricImage(painted), MetricImage(truth))
    arrays = [rgb.permute(1, 2, 0).numpy() for rgb in (painted, truth)]
    ours, true = (rgb2lab(array) for array in arrays)
    assert found["delta_e"] == pytest.approx(deltaE_ciede2000(ours, true).mean(), rel=1e-3)
    assert found["ssim"] == pytest.approx(structural_similarity(*arrays, channel_axis=2), rel=1e-4)
    ab = ours[..., 1:]
    assert found["ab_error"] == pytest.approx(
        np.linalg.norm(ab - true[..., 1:], axis=2).mean(), rel=1e-3
    )
    assert found["mean_a"] == pytest.approx(ab[..., 0].mean(), abs=1e-2)
    assert found["mean_b"] == pytest.approx(ab[..., 1].mean(), abs=1e-2)
    assert found["chroma"] == pytest.approx(np.linalg.norm(ab, axis=2).mean(), rel=1e-3)
    assert found["mse"] == pytest.approx(np.square((ab - true[..., 1:]) / 110).mean(), rel=1e-3)
    assert found["l1"] == pytest.approx(np.abs((ab - true[..., 1:]) / 110).mean(), rel=1e-3)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(*arrays), rel=1e-4)
    own, theirs = (hasler_suesstrunk(rgb.numpy()) for rgb in (painted, truth))
    assert found["colorfulness"] == pytest.approx(own, rel=1e-4)
    assert found["colorfulness_error"] == pytest.approx(abs(own - theirs), rel=1e-3)
    assert found.keys() == METRICS.keys()


def test_what_a_painting_does_not_have_is_none(photo):
    truth = MetricImage(photo_to_rgb(photo))
    itself = compute_metrics(truth, truth)
    assert itself["psnr"] is None
    assert itself["ab_error"] == itself["delta_e"] == itself["colorfulness_error"] == 0
    assert itself["ssim"] == pytest.approx(1)
    grey = compute_metrics(MetricImage(photo_to_rgb(photo.convert("L").convert("RGB"))), truth)
    assert grey["cast"] is None and grey["bleeding"] is None
    with pytest.raises(ValueError, match=r"painting of \(30, 40\) .* photo of \(60, 80\)"):
        compute_metrics(MetricImage(truth.rgb[:, :30, :40]), truth)


def picture(*colors):
    """A picture of stripes of these colors, for what is measured of a painting."""
    stripes = [torch.tensor(c, dtype=torch.uint8).view(3, 1, 1).repeat(1, 12, 9) for c in colors]
    return MetricImage(torch.cat(stripes, dim=2))


def test_both_kinds_of_colorfulness_and_their_errors_by_hand():
    # Red and green: R-G is 200 and -200, (R+G)/2-B is 100 all over.
    found = compute_metrics(picture((200, 0, 0), (0, 200, 0)), picture((90, 90, 90), (90, 90, 90)))
    signed = 200 + 0.3 * 100
    absolute = 0 + 0.3 * math.hypot(200, 100)  # the signs gone, nothing deviates
    assert found["colorfulness"] == found["colorfulness_error"] == pytest.approx(signed)
    assert found["colorfulness_absolute"] == pytest.approx(absolute)
    assert found["colorfulness_absolute_error"] == pytest.approx(absolute)


def test_what_has_next_to_no_color_has_no_cast():
    red = picture((200, 20, 20))
    tinted, grey = picture((100, 100, 101), (100, 100, 100)), picture((100, 100, 100))
    assert 0.1 < tinted.chroma < 0.5  # the rounding of 8 bits, all in one direction
    assert (
        compute_metrics(tinted, tinted)["cast"] is None
        and compute_metrics(grey, grey)["cast"] is None
    )
    assert compute_metrics(red, red)["cast"] == pytest.approx(1, abs=1e-3)


def test_colors_bleed_where_the_true_photo_has_no_edge():
    stripes, plain = ((60, 60, 60), (190, 190, 190)), ((120, 120, 120), (120, 120, 120))
    red_and_green = picture((150, 110, 110), (96, 130, 96))  # of nearly one lightness
    assert compute_metrics(red_and_green, picture(*stripes))["bleeding"] == 0
    assert compute_metrics(red_and_green, picture(*plain))["bleeding"] == 1
