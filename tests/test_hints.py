"""Random hints, as the user-guided colorization paper draws them."""

import pytest
import torch

from colorize.models.hints import sample_hints


@pytest.fixture(scope="module")
def drawn():
    torch.manual_seed(0)
    ab = torch.rand(4000, 2, 48, 64) * 2 - 1
    return ab, sample_hints(ab)


def test_what_is_given_is_the_mean_of_a_patch_and_the_rest_is_zero(drawn):
    ab, hints = drawn
    mask = hints[:, 2]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not hints[:, :2][(mask == 0).unsqueeze(1).expand(-1, 2, -1, -1)].any()
    given = mask.flatten(1).sum(1)
    for number in ((given > 0) & (given <= 81)).nonzero().flatten()[:200].tolist():
        rows, columns = mask[number].nonzero().unbind(1)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        if area != given[number]:  # more than one patch
            continue
        patch = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        mean = ab[number][:, *patch].mean((1, 2))
        found = hints[number][:2, *patch].flatten(1)
        if (found == found[:, :1]).all():
            assert torch.allclose(found[:, 0], mean, atol=1e-5)


def test_the_number_of_points_is_geometric(drawn):
    _, hints = drawn
    given = hints[:, 2].flatten(1).sum(1)
    # P(0) = 1/8, less the hundredth of photos whose colors are all given.
    assert (given == 0).float().mean().item() == pytest.approx(0.99 / 8, abs=0.015)
    assert (given == 48 * 64).float().mean().item() == pytest.approx(0.01, abs=0.005)
    # Of 7 points on average, of sides 1 to 9 (mean square 31.7): at most 222 px, less overlaps.
    some = given[(given > 0) & (given < 48 * 64)]
    assert 120 < some.mean() < 8 * 31.7


def test_the_points_lie_around_the_middle(drawn):
    _, hints = drawn
    mask = hints[:, 2][hints[:, 2].flatten(1).sum(1) < 48 * 64].mean(0)
    assert mask[16:32, 21:43].mean() > 2 * mask[:4].mean()
    assert mask[:, :4].mean() > 0


def test_the_same_seed_draws_the_same_and_another_another():
    ab, drawn = torch.rand(100, 2, 48, 64) * 2 - 1, []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(sample_hints(ab))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_as_many_photos_as_asked_for_get_no_hint():
    ab = torch.rand(400, 2, 16, 16)
    torch.manual_seed(0)
    given = sample_hints(ab, without=0.5)[:, 2].flatten(1).any(1)
    assert given.float().mean() == pytest.approx(0.5 * 7 / 8, abs=0.07)
    assert not sample_hints(ab, without=1.0).any()


def test_the_points_lie_around_the_middle_of_a_photo_of_any_shape():
    torch.manual_seed(0)
    mask = sample_hints(torch.rand(1000, 2, 24, 120))[:, 2]
    columns = mask[mask.flatten(1).sum(1) < 24 * 120].sum((0, 1))
    middle = (columns * torch.arange(120)).sum() / columns.sum()
    assert middle.item() == pytest.approx(59.5, abs=4)
