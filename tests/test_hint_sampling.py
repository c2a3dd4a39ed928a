"""Random hints, as the user-guided colorization paper draws them."""

import pytest
import torch

from colorize.color.lab import rgb_to_lab
from colorize.data.dataset import ExampleSettings, make_example
from colorize.data.hint_sampling import sample_hints
from colorize.utils.seed import seeded_generator


def random_rgb(count, height, width):
    generator = seeded_generator(0)
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def drawn():
    rgb, generator = random_rgb(4000, 48, 64), seeded_generator(1)
    return rgb, torch.stack([sample_hints(photo, generator) for photo in rgb])


def test_a_hint_is_the_mean_of_a_patch_and_the_rest_is_zero(drawn):
    rgb, hints = drawn
    mask = hints[:, 2]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not hints[:, :2][(mask == 0).unsqueeze(1).expand(-1, 2, -1, -1)].any()
    given = mask.flatten(1).sum(1)
    checked = 0
    for index in ((given > 0) & (given <= 81)).nonzero().flatten()[:200].tolist():
        rows, columns = mask[index].nonzero().unbind(1)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        if area != given[index]:  # more than one patch
            continue
        patch = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        mean = rgb_to_lab(rgb[index])[1][:, *patch].mean((1, 2))
        colors = hints[index][:2, *patch].flatten(1)
        if (colors == colors[:, :1]).all():
            assert torch.allclose(colors[:, 0], mean, atol=1e-5)
            checked += 1
    assert checked > 20


def test_the_number_of_points_is_geometric(drawn):
    _, hints = drawn
    given = hints[:, 2].flatten(1).sum(1)
    # P(0) = 1/8, less the hundredth of photos whose colors are all given.
    assert (given == 0).float().mean().item() == pytest.approx(0.99 / 8, abs=0.015)
    assert (given == 48 * 64).float().mean().item() == pytest.approx(0.01, abs=0.005)
    # Of 7 points on average, of sides 1 to 9 (mean square 31.7): at most 222 px, less overlaps.
    partial = given[(given > 0) & (given < 48 * 64)]
    assert 120 < partial.mean() < 8 * 31.7


def test_where_all_colors_are_given_they_are_those_of_the_photo(drawn):
    rgb, hints = drawn
    revealed = (hints[:, 2].flatten(1).sum(1) == 48 * 64).nonzero().flatten().tolist()
    for index in revealed:
        assert torch.equal(hints[index, :2], rgb_to_lab(rgb[index])[1])


def test_the_points_lie_around_the_middle(drawn):
    _, hints = drawn
    mask = hints[:, 2][hints[:, 2].flatten(1).sum(1) < 48 * 64].mean(0)
    assert mask[16:32, 21:43].mean() > 2 * mask[:4].mean()
    assert mask[:, :4].mean() > 0


def test_the_same_seed_draws_the_same_and_another_another():
    (rgb,) = random_rgb(1, 48, 64)
    drawn = []
    for seed in (1, 1, 2):
        generator = seeded_generator(seed)
        drawn.append(torch.stack([sample_hints(rgb, generator) for _ in range(20)]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_as_many_photos_as_asked_for_get_no_hint():
    for hint_dropout, expected in ((0.5, 0.5 * 7 / 8), (0.0, 7 / 8), (1.0, 0.0)):
        settings, generator = ExampleSettings(0.0, True, hint_dropout), seeded_generator(0)
        hints = [make_example(rgb, settings, generator).hints for rgb in random_rgb(400, 16, 16)]
        share = torch.stack(hints)[:, 2].flatten(1).any(1).float().mean().item()
        assert share == pytest.approx(expected, abs=0.07 if hint_dropout < 1 else 0)


def test_the_points_lie_around_the_middle_of_a_photo_of_any_shape():
    generator = seeded_generator(0)
    mask = torch.stack([sample_hints(rgb, generator)[2] for rgb in random_rgb(1000, 24, 120)])
    columns = mask[mask.flatten(1).sum(1) < 24 * 120].sum((0, 1))
    middle = (columns * torch.arange(120)).sum() / columns.sum()
    assert middle.item() == pytest.approx(59.5, abs=4)
