import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from colorize.color.curves import to_uint8
from colorize.color.lab import (
    gray_to_lightness,
    lab_to_rgb,
    lab_to_rgb_uint8,
    lightness_to_gray,
    mean_chroma,
    rgb_to_lab,
    rgb_to_lightness,
)

# Both ends, both sides of the gamma's knee (0.04045 * 255 = 10.3) and of the cube root's.
CORNER_VALUES = (0, 1, 2, 3, 10, 11, 128, 254, 255)
COLORS = 2**24
CHUNK = 2**18


def numbered_colors(start=0, stop=COLORS, step=1):
    """The 8-bit colors with those numbers, uint8 (3, 1, N)."""
    number = torch.arange(start, stop, step)
    return torch.stack((number >> 16, number >> 8 & 255, number & 255)).to(torch.uint8)[:, None]


def sampled_colors():
    """Every 997th color (997 is prime, so all channels vary) and the corners of the cube."""
    corners = torch.tensor(list(itertools.product(CORNER_VALUES, repeat=3)), dtype=torch.uint8)
    return torch.cat((numbered_colors(step=997), corners.T[:, None]), dim=-1)


def stars(lightness, ab):
    """L*, a*, b* in float64, (3, H, W), undone by hand."""
    return torch.cat(((lightness.double() + 1) * 50, ab.double() * 110))


def reference_stars(rgb):
    """L*, a*, b* by scikit-image in float64, of uint8 (3, H, W)."""
    return torch.from_numpy(rgb2lab(rgb.numpy().transpose(1, 2, 0) / 255.0)).permute(2, 0, 1)


def random_lab(count=20_000):
    """Lightness (1, 1, N) and ab (2, 1, N) all over the models' range, mostly out of gamut."""
    return torch.rand(1, 1, count) * 2 - 1, torch.rand(2, 1, count) * 2 - 1


def assert_equals_scikit_image(rgb, lab):
    torch.testing.assert_close(stars(*lab), reference_stars(rgb), rtol=0, atol=1e-3)


def assert_comes_back(rgb, lab, gamut):
    assert torch.equal(to_uint8(lab_to_rgb(*lab, gamut=gamut)), rgb)


def test_lab_equals_scikit_image_for_every_997th_color():
    rgb = sampled_colors()
    assert_equals_scikit_image(rgb, rgb_to_lab(rgb))


@pytest.mark.parametrize("gamut", ["chroma", "clip"])
def test_8_bit_colors_survive_there_and_back(gamut):
    rgb = sampled_colors()
    assert_comes_back(rgb, rgb_to_lab(rgb), gamut)


@pytest.mark.slow
def test_all_colors_equal_scikit_image_and_survive_there_and_back():
    def check(start):
        rgb = numbered_colors(start, start + CHUNK)
        lab = rgb_to_lab(rgb)
        assert_equals_scikit_image(rgb, lab)
        for gamut in ("chroma", "clip"):
            assert_comes_back(rgb, lab, gamut)
        return rgb.shape[-1]

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # torch and numpy let each other work
        assert sum(threads.map(check, range(0, COLORS, CHUNK))) == COLORS


def test_bytes_and_fractions_give_the_same_lab():
    rgb = sampled_colors()
    for kind in (torch.float32, torch.float64):
        for ours, other in zip(rgb_to_lab(rgb.to(kind) / 255), rgb_to_lab(rgb), strict=True):
            torch.testing.assert_close(ours, other, rtol=0, atol=2e-6)


def test_gray_is_as_light_as_the_formulas_say():
    gray = torch.full((3, 1, 1), 0.5)
    luminance = ((0.5 + 0.055) / 1.055) ** 2.4  # IEC 61966-2-1
    star = 116 * luminance ** (1 / 3) - 16  # CIE 15
    lightness, ab = rgb_to_lab(gray)
    assert lightness.item() == pytest.approx(star / 50 - 1, abs=1e-6)
    assert ab.abs().max() * 110 < 0.02  # the rounded white point is not quite the matrix' sum


def test_lightness_and_ab_stay_in_their_ranges_and_use_them():
    lightness, ab = rgb_to_lab(sampled_colors())
    assert lightness.min().item() == pytest.approx(-1, abs=1e-6)
    assert lightness.max().item() == pytest.approx(1, abs=1e-6)
    # The blue corner has the smallest b*, -107.86; the magenta corner the largest a*, 98.23.
    assert ab.min().item() == pytest.approx(-107.86 / 110, abs=1e-4)
    assert ab.max().item() == pytest.approx(98.23 / 110, abs=1e-4)


@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (0,)])
def test_any_leading_dimensions_are_kept(leading):
    rgb = torch.rand(*leading, 3, 5, 7)
    lightness, ab = rgb_to_lab(rgb)
    assert lightness.shape == (*leading, 1, 5, 7)
    assert ab.shape == (*leading, 2, 5, 7)
    torch.testing.assert_close(lab_to_rgb(lightness, ab), rgb, rtol=0, atol=1e-3)
    assert mean_chroma(ab).shape == leading


def test_a_batch_equals_its_photos_one_by_one():
    batch = torch.randint(256, (2, 3, 5, 7), dtype=torch.uint8)
    alone = [rgb_to_lab(rgb) for rgb in batch]
    for whole, parts in zip(rgb_to_lab(batch), zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.stack(parts), rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_the_same_colors():
    rgb = sampled_colors()
    lightness, ab = rgb_to_lab(rgb.cuda())
    torch.testing.assert_close(
        stars(lightness.cpu(), ab.cpu()), reference_stars(rgb), rtol=0, atol=1e-3
    )
    assert torch.equal(to_uint8(lab_to_rgb(lightness, ab)).cpu(), rgb)


def test_gradients_are_finite_at_every_corner_of_the_rgb_cube():
    inside = sampled_colors().float() / 255
    rgb = torch.cat((inside, inside * 1.4 - 0.2), dim=-1).requires_grad_()  # and somewhat beyond
    lightness, ab = rgb_to_lab(rgb)
    (lightness.sum() + ab.pow(2).sum()).backward()
    assert rgb.grad.isfinite().all()


@pytest.mark.parametrize("gamut", ["chroma", "clip"])
def test_gradients_are_finite_for_every_predicted_color(gamut):
    lightness, ab = rgb_to_lab(sampled_colors())
    wild_lightness, wild_ab = random_lab()
    wild_lightness[..., :300], wild_lightness[..., 300:600] = -1, 1
    wild_ab[..., 200:400] = 0
    lightness = torch.cat((lightness, wild_lightness), dim=-1).requires_grad_()
    ab = torch.cat((ab, wild_ab), dim=-1).requires_grad_()
    lab_to_rgb(lightness, ab, gamut).pow(2).sum().backward()
    assert lightness.grad.isfinite().all()
    assert ab.grad.isfinite().all()


def test_gradients_of_a_lightness_shown_as_gray_are_finite():
    lightness = torch.linspace(-1, 1, 101).requires_grad_()
    lightness_to_gray(lightness).sum().backward()
    assert lightness.grad.isfinite().all()


def test_the_gradient_is_the_slope_of_scikit_images_lightness():
    value, step = torch.tensor([0.01, 0.2, 0.5, 0.9]), 1e-4
    rgb = value.expand(3, 1, 4).clone().requires_grad_()
    rgb_to_lab(rgb)[0].sum().backward()
    gray = value.double().expand(3, 1, 4).permute(1, 2, 0).numpy()
    slope = (rgb2lab(gray + step) - rgb2lab(gray - step))[0, :, 0] / (2 * step) / 50
    np.testing.assert_allclose(rgb.grad.sum(dim=(0, 1)), slope, rtol=1e-3)


def test_autocast_changes_nothing():
    rgb = sampled_colors()
    plain = rgb_to_lab(rgb), rgb_to_lab(rgb / 255), lab_to_rgb(*rgb_to_lab(rgb))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = rgb_to_lab(rgb), rgb_to_lab(rgb / 255), lab_to_rgb(*rgb_to_lab(rgb))
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)
    assert {tensor.dtype for tensor in (*mixed[0], *mixed[1], mixed[2])} == {torch.float32}


def test_predictions_in_bfloat16_are_converted_in_float32():
    lightness, ab = (tensor.bfloat16() for tensor in random_lab())
    rgb = lab_to_rgb(lightness, ab)
    assert rgb.dtype == torch.float32
    assert torch.equal(rgb, lab_to_rgb(lightness.float(), ab.float()))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 4), (4, 4, 3), (2, 4, 8, 8)])
def test_rgb_without_three_channels_is_refused_by_its_shape(shape):
    with pytest.raises(ValueError, match="rgb must have the shape") as caught:
        rgb_to_lab(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool])
def test_rgb_of_another_dtype_is_refused(kind):
    with pytest.raises(ValueError, match=str(kind)):
        rgb_to_lab(torch.zeros(3, 2, 2, dtype=kind))


def test_lightness_and_ab_in_each_others_place_are_refused():
    lightness, ab = torch.zeros(1, 2, 2), torch.zeros(2, 2, 2)
    with pytest.raises(ValueError, match="lightness must have the shape"):
        lab_to_rgb(ab, lightness)
    with pytest.raises(ValueError, match="ab must have the shape"):
        lab_to_rgb(lightness, lightness)
    with pytest.raises(ValueError, match="ab must have the shape"):
        mean_chroma(lightness)


def test_an_unknown_gamut_is_refused_by_name():
    with pytest.raises(ValueError, match="'wide'"):
        lab_to_rgb(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2), gamut="wide")


def test_predicted_colors_keep_their_lightness_and_hue():
    lightness, ab = random_lab()
    rgb = lab_to_rgb(lightness, ab)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    star, a, b = stars(*rgb_to_lab(rgb))
    assert (star - (lightness[0].double() + 1) * 50).abs().max() < 0.01
    shift = torch.atan2(b, a) - torch.atan2(ab[1], ab[0])
    shift = torch.atan2(shift.sin(), shift.cos()).abs()
    vivid = torch.hypot(a, b) > 10
    assert vivid.float().mean() > 0.5
    assert shift[vivid].max() < math.radians(0.1)


def test_predicted_colors_lose_no_more_chroma_than_they_must():
    lightness, ab = random_lab()
    rgb = lab_to_rgb(lightness, ab)
    outside = (rgb - lab_to_rgb(lightness, ab, "clip")).abs().amax(0) > 1e-3
    assert outside.float().mean() > 0.5
    # A color that was pulled in stands on the surface of the RGB cube.
    gap = torch.minimum(rgb, 1 - rgb).amin(0)
    assert gap[outside].max() < 2e-3


def test_colors_that_exist_are_left_alone():
    rgb = sampled_colors()
    assert torch.equal(
        lab_to_rgb(*rgb_to_lab(rgb)).mul(255).round(),
        lab_to_rgb(*rgb_to_lab(rgb), gamut="clip").mul(255).round(),
    )
    inner = torch.rand(3, 50, 50) * 0.98 + 0.01
    torch.testing.assert_close(lab_to_rgb(*rgb_to_lab(inner)), inner, rtol=0, atol=1e-5)


def test_lightness_alone_is_that_of_lab():
    for rgb in (sampled_colors(), torch.rand(3, 9, 9), torch.randint(0, 256, (2, 3, 4, 5)).byte()):
        expected, _ = rgb_to_lab(rgb)
        assert torch.allclose(rgb_to_lightness(rgb), expected, atol=1e-6)
    gray = torch.arange(256, dtype=torch.uint8)
    expected, _ = rgb_to_lab(gray.expand(3, 1, -1))
    assert torch.equal(gray_to_lightness(gray), expected.flatten())


def test_the_table_of_the_gamut_keeps_lightness_and_hue_and_nearly_all_chroma():
    lightness, ab = random_lab(200_000)
    l_star, a, b = stars(*rgb_to_lab(lab_to_rgb(lightness, ab, gamut="table"))).unbind(0)
    assert (l_star - (lightness * 50 + 50)[0]).abs().max() < 0.2
    _, exact_a, exact_b = stars(*rgb_to_lab(lab_to_rgb(lightness, ab))).unbind(0)
    lost = torch.hypot(exact_a, exact_b) - torch.hypot(a, b)
    assert lost.mean() < 0.3 and lost.flatten().quantile(0.98) < 2
    # Colors well inside are left alone.
    ab = ab * 0.1
    inside = (lab_to_rgb(lightness, ab, gamut="clip"), lab_to_rgb(lightness, ab, gamut="table"))
    middle = lightness[0].abs() < 0.4
    assert torch.equal(inside[0][:, middle], inside[1][:, middle])


def test_the_fast_way_to_8_bits_is_the_table_rounded():
    lightness, ab = random_lab()
    exact = lab_to_rgb(lightness, ab, gamut="table") * 255
    fast = lab_to_rgb_uint8(lightness, ab)
    assert fast.dtype == torch.uint8
    assert (fast - exact).abs().max() < 0.53  # of a level; rounding alone is 0.5


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")  # negative Z, as scikit-image says
def test_clipping_equals_scikit_image():
    lightness, ab = random_lab()
    expected = lab2rgb(stars(lightness, ab).permute(1, 2, 0).numpy()).clip(0, 1)
    ours = lab_to_rgb(lightness, ab, gamut="clip").permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_black_and_white_have_no_color_whatever_ab_is_predicted():
    ab = random_lab()[1]
    black, white = torch.full_like(ab[:1], -1), torch.full_like(ab[:1], 1)
    assert (to_uint8(lab_to_rgb(black, ab)) == 0).all()
    assert (to_uint8(lab_to_rgb(white, ab)) == 255).all()
    assert (lab_to_rgb_uint8(black, ab) == 0).all() and (lab_to_rgb_uint8(white, ab) == 255).all()


def test_lightness_beyond_its_range_is_clamped():
    ab = torch.zeros(2, 1, 1)
    for beyond, end in ((-1.5, -1.0), (1.5, 1.0)):
        for gamut in ("chroma", "clip"):
            ours = lab_to_rgb(torch.full((1, 1, 1), beyond), ab, gamut)
            assert torch.equal(ours, lab_to_rgb(torch.full((1, 1, 1), end), ab, gamut))


def test_lightness_stands_for_the_gray_of_scikit_image():
    gray = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    back = lightness_to_gray(rgb_to_lab(gray)[0])
    assert back.shape == (1, 1, 256)
    assert torch.equal(to_uint8(back), gray[:1])
    star = np.linspace(0, 100, 1001)
    neutral = lab2rgb(np.stack((star, 0 * star, 0 * star), axis=-1)[None])[0, :, 1]
    ours = lightness_to_gray(torch.from_numpy(star / 50 - 1).float())
    np.testing.assert_allclose(ours, neutral, rtol=0, atol=1e-4)


def test_mean_chroma_is_the_mean_length_of_a_and_b():
    ab = torch.tensor([[[3.0, 0.0]], [[4.0, 1.0]]]) / 110  # lengths 5 and 1
    assert mean_chroma(ab).item() == pytest.approx(3, abs=1e-5)
    assert mean_chroma(torch.stack((ab, 2 * ab))).tolist() == pytest.approx([3, 6], abs=1e-5)


def test_bytes_are_rounded_not_cut():
    rgb = torch.tensor([0, 0.49, 0.51, 99.6, 254.4, 254.6, 300, -5]) / 255
    assert to_uint8(rgb).tolist() == [0, 0, 1, 100, 254, 255, 255, 0]
    assert to_uint8(rgb).dtype == torch.uint8
