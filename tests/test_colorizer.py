"""From a photo to the colorized photo: size, lightness, place of the colors."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Fake
from PIL import Image
from skimage.color import rgb2lab
from torch import nn

from colorize.color.lab import rgb_to_lab, rgb_to_lightness
from colorize.inference import guided_upsampling as upsampling
from colorize.inference.colorizer import Colorizer
from colorize.inference.options import ColorizeOptions
from colorize.io.image import photo_to_rgb, resize, rgb_to_photo
from colorize.metrics.image import bleeding
from colorize.models import create_model
from colorize.models.layers import pad_to_multiple
from colorize.presets import PRESETS
from colorize.utils.checkpoint import CheckpointError, save_checkpoint


def noise_photo(width, height, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(values[..., :3]).convert(mode)


def star(photo):
    """L* of a photo, by scikit-image."""
    return rgb2lab(np.asarray(photo.convert("RGB")))[..., 0]


STRONG = torch.tensor([0.6, -0.7]).view(1, 2, 1, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (37, 53), (200, 130), (3, 4)])
def test_a_photo_of_any_size_comes_back_in_its_size(size):
    colorized = Colorizer(Fake(lambda _: STRONG), 16, "cpu")(noise_photo(*size))
    assert colorized.size == size and colorized.mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_a_photo_of_any_mode_is_colorized(mode):
    colorized = Colorizer(Fake(lambda _: STRONG), 16, "cpu")(noise_photo(20, 30, "L").convert(mode))
    assert colorized.size == (20, 30)
    assert colorized.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


def test_transparency_is_kept_and_the_network_sees_the_photo_on_white():
    values = np.zeros((16, 16, 4), np.uint8)  # black, the right half transparent
    values[:, :8, 3] = 255
    fake = Fake(lambda _: STRONG)
    colorized = Colorizer(fake, 16, "cpu")(Image.fromarray(values))
    assert colorized.getchannel("A").tobytes() == values[..., 3].tobytes()
    (seen,) = fake.seen
    assert (seen[..., :8] < -0.999).all() and (seen[..., 8:] > 0.999).all()


@pytest.mark.parametrize("size", [(37, 53), (150, 90)])
@pytest.mark.parametrize("ab", [STRONG, -STRONG, STRONG.flip(1)])
def test_the_output_has_the_full_size_lightness_of_the_photo(size, ab):
    photo = noise_photo(*size)  # details that no small network input could carry
    colorized = Colorizer(Fake(lambda _: ab), 16, "cpu")(photo)
    assert np.abs(star(colorized) - star(photo)).max() * 255 / 100 <= 1  # one of 8 bits' levels
    assert np.abs(np.asarray(colorized, float) - np.asarray(photo, float)).max() > 50


def test_a_model_that_predicts_gray_gives_the_photo_in_gray():
    colorized = np.asarray(Colorizer(Fake(), 16, "cpu")(noise_photo(40, 30)), int)
    assert np.abs(colorized - colorized[..., :1]).max() <= 1


def test_the_photos_own_colors_are_ignored():
    red = Image.new("RGB", (32, 32), (200, 30, 30))
    gray = Image.new("RGB", (32, 32), (round(star(red).mean() * 2.55),) * 3)
    fake = Fake()
    for photo in (red, gray):
        Colorizer(fake, 16, "cpu")(photo)
    assert all(seen.shape[1] == 1 for seen in fake.seen)
    assert fake.seen[0].std() < 1e-6 and abs(fake.seen[0].mean() * 50 + 50 - star(red).mean()) < 0.3


def test_colors_land_where_they_were_predicted():
    def rule(lightness):
        ab = torch.zeros(1, 2, *lightness.shape[-2:])
        half = lightness.shape[-1] // 2
        ab[:, 0, :, :half], ab[:, 1, :, half:] = 0.5, -0.5  # left red, right blue
        return ab

    photo = Image.new("L", (96, 48), 128)
    colorized = np.asarray(Colorizer(Fake(rule), 16, "cpu")(photo), float)
    r, _, b = colorized.transpose(2, 0, 1)
    assert (r > b + 50)[:, :45].all() and (b > r + 50)[:, 51:].all()


def test_the_network_sees_the_photo_by_area_at_its_own_size_and_shape(photo):
    fake = Fake()
    Colorizer(fake, 16, "cpu")(photo.resize((80, 64)))
    (seen,) = fake.seen
    assert seen.shape == (1, 1, 16, 24)  # 20 wide, and padded to a multiple of 8
    small = photo_to_rgb(photo.resize((80, 64)).resize((20, 16), Image.Resampling.BILINEAR))
    assert torch.allclose(seen[0, :, :, :20], rgb_to_lab(small)[0], atol=0.01)  # of one level


def test_indivisible_sizes_are_padded_by_reflection_and_cropped():
    fake = Fake(lambda lightness: lightness)
    (colors,) = Colorizer(fake, 16, "cpu").predict([photo_to_rgb(noise_photo(21, 16))])
    (seen,) = fake.seen
    assert seen.shape == (1, 1, 16, 24) and colors.lightness.shape == (1, 16, 21)
    reflected = np.pad(colors.lightness[0], ((0, 0), (0, 3)), mode="reflect")
    assert np.array_equal(seen[0, 0], reflected)
    assert torch.equal(colors.ab, colors.lightness.expand(1, 2, 16, 21))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (2, 3), (4, 4), (5, 8), (8, 16), (9, 15), (33, 7)]
)
def test_padding_reflects_as_often_as_needed(size):
    x = torch.rand(2, 3, *size)
    below, right = (-side % 8 for side in size)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")
    assert np.array_equal(pad_to_multiple(x, 8), expected)


def test_the_predicted_colors_are_upsampled_bilinearly_where_the_lightness_is_flat():
    # White noise in ab on mid gray, weak enough for every color to exist.
    small = (torch.rand(1, 2, 16, 16) - 0.5) * 0.2
    colorized = Colorizer(Fake(lambda _: small), 16, "cpu")(Image.new("L", (64, 64), 128))
    expected = F.interpolate(small, (64, 64), mode="bilinear")[0] * 110
    lab = rgb2lab(np.asarray(colorized))[..., 1:].transpose(2, 0, 1)
    assert np.abs(lab - expected.numpy()).max() < 1.5  # of 8 bits


def test_a_very_long_photo_does_not_become_a_huge_input():
    fake = Fake()
    Colorizer(fake, 16, "cpu")(noise_photo(2, 900))
    assert fake.seen[0].shape == (1, 1, 8 * 16, 16)


def test_working_in_strips_changes_nothing(monkeypatch):
    photo, ab = photo_to_rgb(noise_photo(37, 53)), torch.rand(2, 5, 7) * 2 - 1
    guide = torch.rand(1, 5, 7) * 2 - 1
    whole = upsampling.guided_upsample(photo, ab, guide)
    monkeypatch.setattr(upsampling, "_STRIP_PIXELS", 100)
    assert torch.equal(upsampling.guided_upsample(photo, ab, guide), whole)


def test_colors_end_where_the_photo_does_not_where_a_small_pixel_does():
    # Dark left, light right; the border at 37 of 96 lies inside a small pixel, 36 to 39.
    photo = Image.fromarray(
        np.where(np.arange(96) < 37, 60, 190).astype(np.uint8)[None].repeat(48, 0)
    )
    rgb = photo_to_rgb(photo)
    full, _ = rgb_to_lab(rgb)
    guide, _ = rgb_to_lab(resize(rgb, 16, 32))
    small = torch.cat((guide * 0.5, -guide * 0.5))  # colors that go with the lightness
    expected = torch.cat((full * 0.5, -full * 0.5)) * 110
    ways = {
        "along edges": upsampling.guided_upsample(rgb, small, guide),
        "across": upsampling.guided_upsample(rgb, small),
    }
    off = {
        name: (rgb_to_lab(colorized)[1] * 110 - expected).norm(dim=0).mean().item()
        for name, colorized in ways.items()
    }
    assert off["along edges"] < 0.6 < 1 < off["across"]
    bled = {name: bleeding(full, rgb_to_lab(p)[1]).item() for name, p in ways.items()}
    assert bled["along edges"] == 0 < bled["across"]


def test_a_photo_is_colorized_along_its_own_edges():
    # As above: the border lies inside a small pixel, and the colors go with the lightness.
    values = np.where(np.arange(96) < 37, 60, 190).astype(np.uint8)[None].repeat(48, 0)
    fake = Fake(lambda lightness: torch.cat((lightness, -lightness), dim=1) * 0.5)
    colorized = photo_to_rgb(Colorizer(fake, 16, "cpu")(Image.fromarray(values)))
    full, ab = rgb_to_lab(colorized)
    assert ((ab - torch.cat((full, -full)) * 0.5) * 110).norm(dim=0).mean() < 0.6


def test_coarse_colors_stay_where_they_were_though_the_photo_was_padded():
    class Coarse(Fake):
        def forward(self, lightness, hints=None):
            self.seen.append(lightness)
            return F.avg_pool2d(lightness, 4).expand(-1, 2, -1, -1)

    network = Coarse()
    (colors,) = Colorizer(network, 16, "cpu").predict([photo_to_rgb(noise_photo(21, 16))])
    padded = F.interpolate(F.avg_pool2d(network.seen[0], 4), (16, 24), mode="bilinear")
    torch.testing.assert_close(colors.ab[:, :1], padded[..., :21])


def test_the_network_is_used_in_eval_mode_and_a_wrong_size_is_named():
    fake = Fake().train()
    assert not Colorizer(fake, 16, "cpu").network.training
    with pytest.raises(ValueError, match="multiple of 8 for this network: 16 or 24, not 20"):
        Colorizer(fake, 20, "cpu")


def test_several_photos_are_colorized_as_one_by_one_in_batches_of_one_shape():
    network = create_model("encoder_unet", encoder_name="mobilenet_v2", width=16).eval()
    nn.init.normal_(network.head[0].weight, std=0.5)
    colorizer = Colorizer(network, 32, "cpu")
    photos = [noise_photo(*size) for size in ((40, 30), (33, 60), (80, 60))]
    together = colorizer(photos)
    assert [one.size for one in together] == [one.size for one in photos]
    for photo, colorized in zip(photos, together, strict=True):
        alone = np.asarray(colorizer(photo), int)
        assert np.abs(alone - np.asarray(colorized, int)).max() <= 1  # of the order of sums
    fake = Fake()
    Colorizer(fake, 16, "cpu")(photos)
    assert [len(seen) for seen in fake.seen] == [2, 1]


def test_the_network_sees_a_photo_at_the_requested_size():
    fake = Fake()
    colorizer = Colorizer(fake, 16, "cpu")
    assert colorizer(noise_photo(90, 60), size=32).size == (90, 60)
    assert fake.seen[0].shape == (1, 1, 32, 48)
    with pytest.raises(ValueError, match="multiple of 8 for this network: 24 or 32, not 30"):
        colorizer(noise_photo(90, 60), size=30)
    with pytest.raises(ValueError, match="whole number from 1 to 2048, got 8000"):
        colorizer(noise_photo(90, 60), size=8000)


class Greedy(Fake):
    """A network that has not enough memory for photos above a size."""

    def __init__(self, most, error):
        super().__init__(lambda _: STRONG)
        self.most, self.error = most, error

    def forward(self, lightness, hints=None):
        if lightness.shape[-1] > self.most:
            raise self.error
        return super().forward(lightness)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_out_of_memory_the_network_sees_the_photo_smaller_with_a_warning(error):
    photo = noise_photo(50, 50)
    with pytest.warns(UserWarning, match="out of memory: .* at 16 px instead of 32"):
        colorized = Colorizer(Greedy(16, error), 32, "cpu")(photo)
    assert colorized.size == (50, 50)
    expected = Colorizer(Fake(lambda _: STRONG), 16, "cpu")(photo)
    assert colorized.tobytes() == expected.tobytes()
    with pytest.warns(UserWarning, match="at 8 px instead of 24"):  # which the network carries
        Colorizer(Greedy(8, error), 24, "cpu")(photo)
    with pytest.warns(UserWarning), pytest.raises(type(error)):  # not even at the smallest
        Colorizer(Greedy(4, error), 16, "cpu")(photo)
    with pytest.raises(RuntimeError, match="another matter"):
        Colorizer(Greedy(4, RuntimeError("another matter")), 16, "cpu")(photo)


def test_out_of_memory_for_many_the_network_sees_fewer_at_a_time(recwarn):
    def rule(lightness):
        if len(lightness) > 2:
            raise torch.OutOfMemoryError("CUDA")
        return 0.1

    network = Fake(rule)
    colorized = Colorizer(network, 32, "cpu")([noise_photo(40, 40)] * 6)
    assert len(colorized) == 6 and not recwarn
    assert [len(seen) for seen in network.seen] == [6, 3, 1, 1, 1, 1, 1, 1]
    assert {seen.shape[-1] for seen in network.seen} == {32}


@pytest.fixture
def classes():
    """A colorizer with classes and hints whose colors differ from place to place."""
    network = create_model("color_classifier", encoder_name="mobilenet_v2", width=16, hints=True)
    nn.init.normal_(network.network.head.weight, std=3)
    return Colorizer(network, 32, "cpu", "tiny")


def test_hints_reach_the_network_where_they_were_given(classes):
    seen = []
    forward = classes.network.network.forward
    classes.network.network.forward = lambda x, hints=None: (seen.append(hints), forward(x, hints))[
        1
    ]
    photo = noise_photo(160, 80)
    plain = classes(photo)
    led = classes(photo, hints=[(120, 20, "#aa3311"), (159, 79, (0, 0, 255))])
    assert seen[:2] == [None, None] and led.size == plain.size  # of both views
    hints, mirrored = seen[2:]
    assert torch.equal(mirrored, hints.flip(-1))
    assert hints.shape == (1, 3, 32, 64)
    assert sorted(hints[0, 2].unique().tolist()) == [0, 1] and hints[0, 2].sum() == 2 * 25
    ab = rgb2lab(np.array([[[0xAA, 0x33, 0x11]]], np.uint8))[0, 0, 1:] / 110
    assert np.abs(hints[0, :2, 8, 48].numpy() - ab).max() < 1e-3  # at 120 / 160 and 20 / 80
    assert hints[0, 1, 31, 63] < -0.9  # blue, in the corner


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        ((50, 80, "red"), "outside the photo"),
        ((1, 1, "no"), "'no' is no color"),
        ((1, 1, (1, 2, 300)), "is no color"),
        ((1, 1, (1, 2)), "is no color"),
    ],
)
def test_a_hint_that_makes_no_sense_is_named(classes, hint, message):
    with pytest.raises(ValueError, match=message):
        classes(noise_photo(50, 80), hints=[hint])


def test_samples_and_uncertainty(classes):
    photo = noise_photo(50, 40)
    colorized, uncertainty = classes.predict_uncertainty(photo)
    assert colorized.tobytes() == classes(photo).tobytes()
    assert uncertainty.mode == "L" and uncertainty.size == photo.size
    samples = classes.sample(photo, count=3, seed=1)
    assert len({sample.tobytes() for sample in samples}) == 3
    repeated = classes.sample(photo, count=3, seed=1)
    assert [sample.tobytes() for sample in repeated] == [sample.tobytes() for sample in samples]
    rgb = photo_to_rgb(photo)
    options = ColorizeOptions(samples=2, uncertainty=True)
    for prediction in classes.predict([rgb, rgb], options):
        assert len(prediction.apply_to(rgb)) == 2 and prediction.uncertainty.shape[0] == 1


def test_samples_and_uncertainty_have_methods_of_their_own(classes, photo):
    for option in ("samples", "uncertainty", "return_uncertainty"):
        with pytest.raises(TypeError):
            classes(photo, **{option: 1})
    (prediction,) = classes.predict([photo_to_rgb(photo)])
    with pytest.raises(ValueError, match=r"ColorizeOptions\(uncertainty=True\)"):
        prediction.uncertainty_image(8, 8)


def test_the_seed_applies_to_each_of_several_photos(classes):
    photos = [noise_photo(50, 40), noise_photo(50, 40).rotate(180)]
    noisy = create_model("unet", depth=3, base_channels=4)
    for weights in noisy.parameters():
        nn.init.normal_(weights, std=0.3)  # for colors that differ by more than rounding
    rgbs = [photo_to_rgb(photo) for photo in photos]
    for colorizer, samples in ((classes, 1), (Colorizer(noisy, 16, "cpu"), None)):
        options = ColorizeOptions(seed=3, samples=samples)
        for rgb, together in zip(rgbs, colorizer.predict(rgbs, options), strict=True):
            (alone,) = colorizer.predict([rgb], options)
            pair = [prediction.apply_to(rgb)[0].int() for prediction in (together, alone)]
            assert (pair[0] - pair[1]).abs().max() <= 1  # the order of sums differs


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"vividness": 1.5}, "vividness must be from 0 to 1, got 1.5"),
        ({"samples": 0}, "samples must be a whole number from 1 to 100, got 0"),
        ({"samples": 101}, "samples must be a whole number from 1 to 100, got 101"),
    ],
)
def test_options_out_of_range_are_named(classes, photo, option, message):
    with pytest.raises(ValueError, match=message):
        classes.predict([photo_to_rgb(photo)], ColorizeOptions(**option))
    with pytest.raises(ValueError, match="hints are for one photo, got 2"):
        classes([photo, photo], hints=[(1, 1, "red")])


@pytest.mark.parametrize("option", [{"vividness": 0.5}, {"samples": 2}, {"uncertainty": True}])
def test_unsupported_options_are_named(photo, option):
    plain = Colorizer(Fake(), 16, "cpu", "plain")
    with pytest.raises(
        ValueError, match=r"need a model that predicts a distribution.*plain does n"
    ):
        plain.predict([photo_to_rgb(photo)], ColorizeOptions(**option))
    with pytest.raises(ValueError, match=r"hints need a model .*plain was not"):
        plain(photo, hints=[(1, 1, "red")])


@pytest.fixture
def run(tmp_path):
    """A run of a tiny pix2pix and its network; `best.pt` is another one."""
    config = dataclasses.replace(
        PRESETS["unet_gan"], crop_size=16, model_kwargs={"depth": 3, "base_channels": 4}
    )
    config.save(tmp_path / "run" / "config.json")
    networks = {}
    for seed, name in enumerate(("last", "best")):
        networks[name] = create_model("unet_gan", seed=seed, **config.model_kwargs)
        nn.init.normal_(networks[name].generator.head[0].weight, std=0.3)  # colors to see
        state = {"epoch": 1, "model": networks[name].state_dict()}
        save_checkpoint(tmp_path / "run" / f"{name}.pt", state)
    return tmp_path / "run", networks


def test_a_colorizer_from_a_run_predicts_as_its_network_does(run, photo):
    folder, networks = run
    loaded = Colorizer.from_pretrained(folder, "cpu")
    in_memory = Colorizer(networks["last"], 16, "cpu")  # a GAN is shown as it ended
    assert loaded.size == 16 and not hasattr(loaded.network, "discriminator")
    assert loaded(photo).tobytes() == in_memory(photo).tobytes()
    best = Colorizer.from_pretrained(folder, "cpu", weights="best")
    assert best(photo).tobytes() == Colorizer(networks["best"], 16, "cpu")(photo).tobytes()
    assert best(photo).tobytes() != loaded(photo).tobytes()


def test_the_same_seed_gives_the_same_output_and_another_seed_another(run, photo):
    predict = Colorizer.from_pretrained(run[0], "cpu")
    one, again, other = (predict(photo, seed=seed).tobytes() for seed in (1, 1, 2))
    assert one == again != other


def test_a_run_with_pretrained_weights_is_loaded_without_looking_for_them(tmp_path, photo):
    args = {"encoder_name": "resnet18", "encoder_weights": "gone.pth"}
    config = dataclasses.replace(PRESETS["autoencoder"], crop_size=16, model_kwargs=args)
    config.save(tmp_path / "config.json")
    network = create_model("resnet_autoencoder", encoder_name="resnet18")
    save_checkpoint(tmp_path / "best.pt", {"epoch": 1, "model": network.state_dict()})
    colorized = Colorizer.from_pretrained(tmp_path, "cpu")(photo)
    assert colorized.tobytes() == Colorizer(network, 16, "cpu")(photo).tobytes()


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*nowhere.*config\.json"):
        Colorizer.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", ["missing", "half", "another network", "a tensor", "no model"])
def test_weights_that_cannot_be_used_are_named(run, damage):
    folder, _ = run
    last = folder / "last.pt"
    data = last.read_bytes()
    if damage == "missing":
        last.unlink()
    elif damage == "half":
        last.write_bytes(data[: len(data) // 2])
    else:
        another = create_model("resnet_autoencoder", encoder_name="resnet18").state_dict()
        states = {"another network": {"model": another}, "a tensor": torch.zeros(3), "no model": {}}
        torch.save(states[damage], last)
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        Colorizer.from_pretrained(folder, "cpu")


def test_the_slope_is_covariance_over_variance_of_what_lies_around_a_pixel():
    guide, ab = torch.rand(1, 6, 7) * 0.1, torch.rand(2, 6, 7) * 0.1
    result = upsampling._slope(ab, guide)
    for y, x in ((0, 0), (2, 3), (5, 6), (0, 4)):
        window = (slice(max(y - 1, 0), y + 2), slice(max(x - 1, 0), x + 2))
        light, colors = guide[0][window].numpy(), ab[0][window].numpy()
        both = np.cov(light.ravel(), colors.ravel(), bias=True)
        assert result[0, y, x].item() == pytest.approx(both[0, 1] / (both[0, 0] + 0.001), abs=1e-4)


@pytest.mark.parametrize("equal", [(0, 1), (1, 2), (0, 2)])
def test_a_photo_is_gray_only_where_all_its_channels_are_alike(equal):
    rgb = photo_to_rgb(noise_photo(30, 20))
    rgb[equal[0]] = rgb[equal[1]]
    colorized = upsampling.guided_upsample(rgb, torch.zeros(2, 1, 1))
    assert np.abs(star(rgb_to_photo(colorized)) - star(rgb_to_photo(rgb))).max() < 0.4
    assert (colorized.int() - colorized[:1].int()).abs().max() <= 1


def test_views_of_a_mirrored_photo_give_the_mirrored_colors(classes):
    photo = noise_photo(75, 50)  # not divisible: the views are padded on different sides
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for views in (2, 6):
        prediction, other = (
            classes.predict([photo_to_rgb(p)], ColorizeOptions(views=views))[0].ab
            for p in (photo, mirrored)
        )
        inner = slice(4, -4)  # at the border a view's padding shines through
        difference = (prediction - other.flip(-1))[..., inner, inner]
        assert difference.abs().max() < 0.1 * prediction.abs().max()


def test_the_output_of_views_is_the_mean_of_their_logits(classes):
    rgb = photo_to_rgb(noise_photo(64, 64))
    lightness = rgb_to_lightness(resize(rgb, 32, 32))[None]
    with torch.no_grad():
        logits = classes.network.logits(lightness)
        mirrored = classes.network.logits(lightness.flip(-1)).flip(-1)
        expected = classes.network.decode((logits + mirrored) / 2)
    expected = F.interpolate(expected, (32, 32), mode="bilinear")
    ours = classes.predict([rgb], ColorizeOptions(views=2, size=32))[0].ab
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    one = classes.predict([rgb], ColorizeOptions(views=1, size=32))[0].ab
    assert not torch.allclose(one, ours)


def test_the_disagreement_of_views_is_mapped(classes):
    options = ColorizeOptions(views=2, uncertainty=True)
    half = photo_to_rgb(noise_photo(32, 64))
    symmetric = torch.cat((half, half.flip(-1)), dim=-1)
    noise = classes.predict([photo_to_rgb(noise_photo(64, 64))], options)[0]
    assert noise.disagreement.shape == (1, 32, 32) and noise.disagreement.max() <= 1
    assert noise.disagreement.mean() > 0
    # The mirror image of a symmetric photo is the photo: its two views differ by their flip alone.
    (prediction,) = classes.predict([symmetric], options)
    assert (prediction.disagreement - prediction.disagreement.flip(-1)).abs().max() < 1e-4
    (alone,) = classes.predict([symmetric], ColorizeOptions(views=1, uncertainty=True))
    assert alone.disagreement is None
    result, image = classes.predict_disagreement(noise_photo(40, 30), views=2)
    assert result.size == image.size == (40, 30) and image.mode == "L"
    with pytest.raises(ValueError, match="views=2"):
        classes.predict_disagreement(noise_photo(40, 30), views=1)


def test_other_numbers_of_views_are_refused(classes):
    with pytest.raises(ValueError, match="views must be one of 1, 2, 6, got 3"):
        classes(noise_photo(40, 30), views=3)
