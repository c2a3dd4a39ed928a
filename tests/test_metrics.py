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
    stains,
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


def ramp(slope, side=32):
    """A plane (1, 1, side, side) that grows from column to column."""
    return (slope * torch.arange(side).float()).expand(1, 1, side, side)


def test_one_color_has_no_stains_and_a_ramp_of_colors_its_slope():
    gray, zero = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    assert stains(gray, torch.full((1, 2, 32, 32), 0.3)).item() == pytest.approx(0, abs=1e-4)
    a, b = ramp(0.6 / 110), ramp(-0.8 / 110)
    assert stains(gray, torch.cat((a, zero), 1)).item() == pytest.approx(0.6, rel=1e-3)
    # Both along one axis, and along different axes: the lengths of (0.6, -0.8) and of (0.6, 0.6).
    assert stains(gray, torch.cat((a, b), 1)).item() == pytest.approx(1, rel=1e-3)
    across = torch.cat((a, a.transpose(2, 3)), 1)
    assert stains(gray, across).item() == pytest.approx(0.6 * math.sqrt(2), rel=1e-3)
    # A changing hue is a stain even at constant chroma: 50 units and an angle of 0.02 per pixel;
    # the mean of nine such pixels is slightly shorter.
    angle = ramp(0.02)
    hues = torch.cat((angle.cos(), angle.sin()), 1) * (50 / 110)
    assert stains(gray, hues).item() == pytest.approx(1, rel=0.01)


def test_stains_average_windows_of_nine_pixels():
    # A color edge counts for its height, however many of the 22 columns its window spreads it over.
    height = 0.2
    ab = torch.zeros(1, 2, 32, 32)
    ab[:, 0, :, 16:] = height
    assert stains(torch.zeros(1, 1, 32, 32), ab).item() == pytest.approx(height * 110 / 22)
    # Colors that repeat every nine pixels have the same mean in every window.
    stripes = (torch.arange(32) % 9 == 0).float().expand(1, 2, 32, 32)
    for ab in (stripes, stripes.transpose(2, 3)):
        assert stains(torch.zeros(1, 1, 32, 32), ab).item() == pytest.approx(0, abs=1e-3)


def test_stains_count_on_plain_surfaces_only():
    colors = torch.cat((ramp(0.5 / 110), torch.zeros(1, 1, 32, 32)), 1)
    checkered = (torch.arange(32).view(-1, 1) + torch.arange(32)) % 2 * 2.0 - 1
    # +-d around the mean: a standard deviation of nearly d, L* being 50 times the lightness.
    faint, strong = (checkered.expand(1, 1, 32, 32) * (d / 50) for d in (0.99, 1.02))
    assert stains(faint, colors).item() == pytest.approx(0.5, rel=1e-3)
    assert stains(strong, colors).isnan()
    # The left half is textured and its colors change, the right half is plain and in one color:
    # only windows across the border see both, one column in ten.
    half = strong * 1.1
    half[..., 16:] = 0
    steep = colors.clone()
    steep[:, 0, :, 16:] = steep[:, 0, :, 15:16]
    assert stains(strong, steep).isnan() and stains(0 * half, steep).item() > 0.2
    assert stains(half, steep).item() < 0.1
    assert stains(half, colors).item() == pytest.approx(0.5, rel=1e-3)
    # A bright surface is as plain as a dark one, and a batch gives the values of single photos.
    batch = torch.cat((faint * 0 + 0.98, half, strong))
    values = stains(batch, torch.cat((colors, steep, colors)))
    assert values[0].item() == pytest.approx(0.5, rel=1e-3)
    assert values[1].item() == pytest.approx(stains(half, steep).item()) and values[2].isnan()


def test_images_that_are_too_small_or_hardly_plain_have_no_stains():
    for height in (4, 10):
        lightness, ab = torch.zeros(2, 1, height, 40), torch.zeros(2, 2, height, 40)
        assert stains(lightness, ab).isnan().all()
    assert stains(torch.zeros(1, 1, 11, 11), torch.zeros(1, 2, 11, 11)).item() == 0
    # Of 54 x 54 pixels with neighbors, a plain square of 11 or 16 leaves 3 x 3 or 8 x 8: 0.3, 2 %.
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    for side, is_plain in ((11, False), (16, True)):
        lightness = noise.clone()
        lightness[..., 20 : 20 + side, 20 : 20 + side] = 0
        assert stains(lightness, torch.zeros(1, 2, 64, 64)).isnan().item() is not is_plain


def test_stains_of_photos_in_8_bits():
    plain = striped((90, 90, 90), (90, 90, 90))
    halves = striped((150, 110, 110), (96, 130, 96))  # of nearly one lightness
    noise = random_photos(1, side=24)

    def stains_of(lightness_of, image):
        return stains(lightness_of.lab[0][None], image.ab).item()

    assert math.isnan(stains_of(MetricImage(noise[0]), MetricImage(noise[0])))
    doubled = MetricImage(plain.rgb.repeat(1, 2, 1))
    assert stains_of(doubled, doubled) == pytest.approx(0, abs=1e-3)
    assert stains_of(doubled, MetricImage(halves.rgb.repeat(1, 2, 1))) > 1


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
