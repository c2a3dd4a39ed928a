"""The ab bins, against arithmetic by hand and the paper's definitions."""

import math

import pytest
import torch
import torch.nn.functional as F
from emulated_cuda import emulated_cuda

from colorize.color.ab_bins import _candidate_bins, bin_centers, decode, entropy, soft_encode
from colorize.color.lab import rgb_to_lab
from colorize.losses.classification import count_bins, rebalanced_cross_entropy, rebalancing_weights
from colorize.models import create_model

CENTERS = bin_centers() * 110


def number_of(a, b):
    (number,) = ((CENTERS - torch.tensor([a, b])).abs().amax(1) < 1e-3).nonzero().flatten()
    return int(number)


def pixel(a, b):
    return torch.tensor([a, b]).view(1, 2, 1, 1) / 110


def test_every_8_bit_color_falls_into_a_bin_and_every_bin_holds_one():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (3, 1, 2_000_000), dtype=torch.uint8, generator=generator)
    corners = torch.cartesian_prod(*[torch.tensor([0, 255], dtype=torch.uint8)] * 3)
    rgb = torch.cat((rgb, corners.T.unsqueeze(1)), dim=2)
    filled = (rgb_to_lab(rgb)[1].squeeze(1) * 11).round().long().T.unique(dim=0)
    bins = {tuple(row) for row in (CENTERS / 10).round().long().tolist()}
    assert len(bins) == len(CENTERS) == 261
    assert {tuple(row) for row in filled.tolist()} <= bins
    assert len(bins) - len(filled) < 10  # bins that only a few colors reach


def test_a_color_is_spread_over_its_five_nearest_bins_by_a_gaussian():
    bins, weights = soft_encode(pixel(3.0, -1.0))
    near = {(0, 0): 10, (10, 0): 50, (0, -10): 90, (0, 10): 130, (10, -10): 130}
    # Squares of distances: 9+1, 49+1, 9+81, 9+121, 49+81; of the last two and (-10, 0) with 170
    # the nearest five are taken.
    assert [tuple(CENTERS[i].round().int().tolist()) for i in bins.flatten()[:3]] == list(near)[:3]
    assert {tuple(CENTERS[i].round().int().tolist()) for i in bins.flatten()} == set(near)
    by_hand = [math.exp(-square / (2 * 5**2)) for square in near.values()]
    expected = [weight / sum(by_hand) for weight in by_hand]
    assert weights.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def _awkward_colors():
    """Colors for which a table of candidate bins could be wrong: (N, 2), in CIELAB units."""
    generator = torch.Generator().manual_seed(0)
    everywhere = (torch.rand(100_000, 2, generator=generator, dtype=torch.float64) - 0.5) * 220
    axis = torch.arange(-110, 110.1, 2.5, dtype=torch.float64)
    corners = torch.cartesian_prod(axis, axis)  # of bins, with ties, and of the table's cells
    noise = torch.rand(4 * len(corners), 2, generator=generator, dtype=torch.float64) - 0.5
    beside = corners.repeat(4, 1) + noise / 1e3
    angle = torch.rand(2000, 1, generator=generator, dtype=torch.float64) * 2 * math.pi
    radius = torch.logspace(2, 3.5, 2000, dtype=torch.float64).unsqueeze(1)
    outside = torch.cat((angle.cos(), angle.sin()), dim=1) * radius
    return torch.cat((everywhere, corners, beside, outside))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_five_bins_are_the_nearest_of_all(device):
    colors = _awkward_colors()
    colors = (colors[torch.randperm(len(colors))[: len(colors) // 6 * 6]] / 110).float()
    ab = colors.view(3, -1, 2, 2).permute(0, 3, 1, 2)
    with emulated_cuda() as waits:  # only what is moved to "cuda" is there
        bins, shares = (t.cpu() for t in soft_encode(ab.to(device)))
    assert device == "cpu" or waits.places == ["to cpu", "to cpu"]
    bins, shares = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (bins, shares))
    distances = torch.cdist(
        colors.double() * 110, CENTERS.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    expected = distances.topk(5, largest=False).values
    assert (bins.sort(dim=1).values.diff(dim=1) > 0).all()  # none of them twice
    # By distance: of bins equally far any may be taken.
    torch.testing.assert_close(distances.gather(1, bins), expected, rtol=1e-6, atol=1e-4)
    expected_shares = torch.softmax(-expected.square() / 50, dim=1).float()
    close = (colors.abs() <= 1).all(1)
    torch.testing.assert_close(shares[close], expected_shares[close], rtol=0, atol=1e-4)
    # Far away float32 resolves the squares of the distances less well.
    torch.testing.assert_close(shares, expected_shares, rtol=0, atol=2e-2)


def test_few_bins_are_candidates():
    assert _candidate_bins().shape[1] <= 13  # more would make the table useless


def test_a_color_beyond_all_bins_still_has_weights():
    _, weights = soft_encode(torch.full((1, 2, 1, 1), 5.0))
    assert weights.sum().item() == pytest.approx(1) and weights.isfinite().all()


def test_the_weights_have_the_mean_one_under_the_prior_and_rare_colors_weigh_more():
    ab = torch.zeros(1, 2, 10, 10)
    ab[0, 0, :2, :5] = 60 / 110
    counts = count_bins(ab)
    assert counts.sum().item() == pytest.approx(100)
    weights = rebalancing_weights(counts).double()
    # By hand: smooth the prior, mix it with the uniform one, invert, normalize.
    squares = (CENTERS[:, None] - CENTERS[None]).square().sum(-1).double()
    kernel = torch.exp(-squares / 50)
    prior = sum(
        counts[i] / 100 * kernel[i] / kernel[i].sum() for i in range(len(counts)) if counts[i] > 0
    )
    assert prior.sum().item() == pytest.approx(1)
    expected = 1 / (0.5 * prior + 0.5 / 261)
    expected /= (prior * expected).sum()
    assert torch.allclose(weights, expected, rtol=1e-4)
    assert (prior * weights).sum().item() == pytest.approx(1, rel=1e-4)
    gray, red, unseen = (weights[number_of(*ab)] for ab in ((0, 0), (60, 0), (0, 90)))
    assert gray < red < unseen
    with pytest.raises(ValueError, match="no training photos"):
        rebalancing_weights(torch.zeros(261))


def test_the_loss_is_the_papers_sum_over_soft_targets():
    torch.manual_seed(0)
    logits, ab = torch.randn(2, 261, 3, 4), torch.rand(2, 2, 3, 4) * 0.8 - 0.4
    weights = torch.rand(261)
    total = 0
    for n in range(2):
        for y in range(3):
            for x in range(4):
                squares = (CENTERS - ab[n, :, y, x] * 110).square().sum(1)
                nearest = squares.argsort()[:5]
                z = torch.exp(-squares[nearest] / 50)
                log = logits[n, :, y, x].log_softmax(0)[nearest]
                total -= weights[nearest[0]] * (z / z.sum() * log).sum()
    ours = rebalanced_cross_entropy(logits, ab, weights)
    assert ours.item() == pytest.approx(total.item() / 24, rel=1e-4)
    channels_last = logits.to(memory_format=torch.channels_last)
    assert rebalanced_cross_entropy(channels_last, ab, weights).item() == pytest.approx(ours.item())
    larger = F.interpolate(ab, scale_factor=4, mode="nearest")
    assert rebalanced_cross_entropy(logits, larger, weights).item() == pytest.approx(ours.item())


def test_the_annealed_mean_lies_between_mean_and_mode():
    logits = torch.full((1, 261, 1, 1), -50.0)
    first, second = number_of(40, 0), number_of(-40, 0)
    logits[0, first], logits[0, second] = math.log(0.75), math.log(0.25)
    a = {t: decode(logits, t)[0, 0].item() * 110 for t in (1.0, 0.38, 0.0)}
    assert a[1.0] == pytest.approx(0.75 * 40 - 0.25 * 40, abs=1e-3)
    sharp = 0.75 ** (1 / 0.38) / (0.75 ** (1 / 0.38) + 0.25 ** (1 / 0.38))  # equation 5
    assert a[0.38] == pytest.approx(40 * (2 * sharp - 1), abs=1e-3)
    assert a[0.0] == pytest.approx(40)
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"from 0 .* got {wrong}"):
            decode(logits, wrong)


def test_samples_follow_the_distribution_and_are_consistent():
    network = create_model("color_classifier", encoder_name="resnet18", width=16)
    logits = torch.full((1, 261, 2, 2), -50.0)
    logits[0, number_of(40, 0)], logits[0, number_of(-40, 0)] = math.log(0.75), math.log(0.25)
    torch.manual_seed(0)
    drawn = [network.decode(logits, temperature=1.0, sample=True) for _ in range(2000)]
    for ab in drawn:
        assert (ab == ab[..., :1, :1]).all()  # alike places get the same color
    first = torch.stack(drawn)[:, 0, 0, 0, 0] * 110
    assert set(first.round().int().tolist()) == {40, -40}
    assert (first > 0).float().mean().item() == pytest.approx(0.75, abs=0.04)
    torch.manual_seed(0)
    assert torch.equal(network.decode(logits, 1.0, sample=True), drawn[0])


def test_the_entropy_is_0_for_one_bin_and_1_for_all_alike():
    sure = torch.full((1, 261, 1, 1), -1000.0)
    sure[0, 3] = 0
    assert entropy(sure).item() == 0
    assert entropy(torch.zeros(1, 261, 1, 1)).item() == pytest.approx(1)
    half = torch.full((1, 261, 1, 1), -1000.0)
    half[0, :2] = 0
    assert entropy(half).item() == pytest.approx(math.log(2) / math.log(261), rel=1e-5)


@torch.no_grad()
def test_prior_strength_0_undoes_the_rebalancing_of_the_loss():
    """By Bayes: the distribution learned under `class_weights`, divided by these."""
    args = {"encoder_name": "mobilenet_v2", "width": 16}
    network = create_model("color_classifier", **args).eval()
    network.class_weights.copy_(torch.rand(261) * 5 + 0.1)
    lightness = torch.rand(1, 1, 32, 32)
    rebalanced = network.logits(lightness).softmax(1)
    network.prior_strength = 0.0
    expected = rebalanced / network.class_weights.view(1, -1, 1, 1)
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(network.logits(lightness).softmax(1), expected)
    with pytest.raises(ValueError, match=r"prior_strength must be from 0 to 1, got 1\.1"):
        create_model("color_classifier", prior_strength=1.1, **args)


@pytest.mark.parametrize(("temperature", "share"), [(0.5, 0.9), (0.0, 1.0)])
def test_samples_are_of_the_distribution_that_the_temperature_sharpens(temperature, share):
    # 0.75 ** 2 / (0.75 ** 2 + 0.25 ** 2) is 0.9.
    network = create_model("color_classifier", encoder_name="resnet18", width=16)
    logits = torch.full((2000, 261, 1, 1), -50.0)
    logits[:, number_of(40, 0)], logits[:, number_of(-40, 0)] = math.log(0.75), math.log(0.25)
    torch.manual_seed(0)
    drawn = network.decode(logits, temperature, sample=True)[:, 0]
    assert (drawn > 0).float().mean().item() == pytest.approx(share, abs=0.03)


def test_samples_follow_the_distribution_over_many_bins():
    """With two bins alone, noise of the wrong sign would pass too."""
    network = create_model("color_classifier", encoder_name="resnet18", width=16)
    logits = torch.full((2000, 261, 1, 1), math.log(0.5 / 260))
    logits[:, number_of(40, 0)] = math.log(0.5)
    torch.manual_seed(0)
    drawn = network.decode(logits, 1.0, sample=True).flatten(1) * 110
    share = ((drawn - torch.tensor([40.0, 0.0])).abs() < 1).all(1).float().mean()
    assert share.item() == pytest.approx(0.5, abs=0.04)
