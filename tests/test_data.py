import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import (
    ExampleSettings,
    LabDataset,
    RgbDataset,
    TrainingDataset,
    collate_examples,
)
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.data.loaders import EpochSampler, eval_loader, run_loaders, train_loader
from colorize.io.image import PhotoError, write_photo


def ramp(width, height):
    """Red is the column, green the row: a crop tells where it was taken."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(rgb)


def noise(width, height, block=1):
    """Blocks of random colors, as sharp as can be."""
    shape = (-(-height // block), -(-width // block), 3)
    rgb = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(rgb.repeat(block, 0).repeat(block, 1)[:height, :width])


def of(path, split="train"):
    return [PhotoRecord(path, path.stem, split)]


# Photos as tensors.


def test_constructing_opens_no_photo(folder, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("a photo was opened")

    monkeypatch.setattr(Image, "open", forbidden)
    photos = [photo for photo in PhotoFolder(folder).photos if photo.split == "train"]
    for kind in (RgbDataset, LabDataset):
        assert len(kind(photos, size=32, augment=True)) == 6
    train_loader(photos, size=32, batch_size=2), eval_loader(photos, size=32, batch_size=2)
    with pytest.raises(AssertionError, match="a photo was opened"):
        RgbDataset(photos, size=32)[0]


def test_a_lab_pair_is_made_of_the_rgb_crop(folder):
    photos = PhotoFolder(folder).select("train").photos
    for augment in (False, True):
        rgb = RgbDataset(photos, 32, augment=augment, seed=3)[1, 2]
        assert (rgb.dtype, rgb.shape) == (torch.uint8, (3, 32, 32))
        lightness, ab = LabDataset(photos, 32, augment=augment, seed=3)[1, 2]
        assert (lightness.shape, ab.shape) == ((1, 32, 32), (2, 32, 32))
        for ours, expected in zip((lightness, ab), rgb_to_lab(rgb), strict=True):
            assert ours.dtype == torch.float32
            assert ours.abs().max() <= 1
            assert torch.equal(ours, expected)


def test_a_crop_follows_from_seed_epoch_and_number(folder):
    photos = PhotoFolder(folder).select("train").photos
    crops = [
        RgbDataset(photos, 32, augment=True, seed=seed)[epoch, index]
        for seed, epoch, index in ((0, 0, 1), (0, 0, 1), (0, 1, 1), (1, 0, 1))
    ]
    assert torch.equal(crops[0], crops[1])
    assert not any(torch.equal(crops[0], other) for other in crops[2:])
    twins = RgbDataset(photos[:1] * 2, 32, augment=True)
    assert not torch.equal(twins[0, 0], twins[0, 1])


def test_without_an_epoch_torchs_generator_decides(folder):
    dataset = RgbDataset(PhotoFolder(folder).select("train").photos, 32, augment=True)
    torch.manual_seed(5)
    first, second = dataset[0], dataset[0]
    torch.manual_seed(5)
    assert torch.equal(dataset[0], first)
    assert not torch.equal(first, second)


def test_a_square_is_cut_from_the_middle_else(tmp_path):
    wide, tall = noise(120, 60), noise(60, 120)
    for name, photo, box in (("w", wide, (30, 0, 90, 60)), ("t", tall, (0, 30, 60, 90))):
        photos = of(write_photo(photo, tmp_path / f"{name}.png"), "test")
        middle = np.asarray(photo.crop(box))
        assert np.array_equal(RgbDataset(photos, 60)[0].permute(1, 2, 0), middle)


@pytest.mark.parametrize("size", [48, 40, 30])
def test_shrinking_averages_what_a_pixel_covers_and_moves_nothing(tmp_path, size):
    checks = np.indices((60, 60)).sum(axis=0) % 2 * 255
    slope = np.tile(np.arange(60) * 4, (60, 1))
    for name, values in (("checks", checks), ("slope", slope)):
        picture = Image.fromarray(values.astype(np.uint8)).convert("RGB")
        photos = of(write_photo(picture, tmp_path / f"{name}.png"), "test")
        shrunk = RgbDataset(photos, size)[7, 0][0].numpy().astype(float)
        inner = shrunk[2:-2, 2:-2]
        if name == "slope":  # its value at the middle of each pixel, rounded to a whole number
            middles = ((np.arange(size) + 0.5) * 60 / size - 0.5) * 4
            assert np.abs(inner - middles[2:-2]).max() <= 0.5
        elif size == 30:  # two by two
            assert np.abs(inner - 127.5).max() <= 1


def test_random_crops_use_all_of_the_photo_and_at_least_half_its_short_side(tmp_path):
    photos = of(write_photo(ramp(240, 200), tmp_path / "ramp.png"))
    dataset = RgbDataset(photos, 64, augment=True)
    sides, lefts, tops, mirrored = [], [], [], 0
    for epoch in range(200):
        red, green = dataset[epoch, 0][:2].float()
        mirrored += bool(red[0, 0] > red[0, -1])
        width, height = ((line.max() - line.min()).item() * 64 / 63 for line in (red, green))
        assert width == pytest.approx(height, abs=2.1)  # never squashed
        sides.append(width)
        lefts.append((red.min() - width / 128).item())
        tops.append((green.min() - width / 128).item())
    assert min(sides) == pytest.approx(100, abs=5)
    assert max(sides) == pytest.approx(200, abs=5)
    assert np.mean(sides) == pytest.approx(150, abs=10)
    assert (min(lefts), max(lefts)) == pytest.approx((0, 140), abs=25)
    assert (min(tops), max(tops)) == pytest.approx((0, 100), abs=25)
    assert 80 <= mirrored <= 120  # half of 200, three standard deviations


@pytest.mark.parametrize("augment", [False, True])
def test_a_circle_stays_a_circle(tmp_path, augment):
    photo = Image.new("RGB", (960, 640))
    ImageDraw.Draw(photo).ellipse((400, 240, 560, 400), fill="white")
    dataset = RgbDataset(of(write_photo(photo, tmp_path / "circle.jpg")), 96, augment=augment)
    measured = 0
    for epoch in range(20):
        white = dataset[epoch, 0][0] > 128
        edges = white[0].any() | white[-1].any() | white[:, 0].any() | white[:, -1].any()
        if not edges and white.any():
            assert abs(white.any(0).sum() - white.any(1).sum()) <= 1
            measured += 1
    assert measured > 5


def test_crops_of_a_jpeg_decoded_small_lie_where_they_should(tmp_path):
    large = noise(640, 512, block=64)
    kinds = [of(write_photo(large, tmp_path / f"large.{kind}")) for kind in ("jpg", "png")]
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    large.transpose(Image.Transpose.ROTATE_90).save(turned, quality=95, subsampling=0, exif=exif)
    for augment in (False, True):
        jpeg, png, upright = (
            torch.stack(
                [RgbDataset(photos, 64, augment=augment)[epoch, 0].float() for epoch in range(10)]
            )
            for photos in (*kinds, of(turned))
        )
        # A decoder's averages of whole blocks are a little sharper than ours.
        assert (jpeg - png).abs().mean() < 6
        assert (upright - png).abs().mean() < 6


def test_nothing_is_enlarged(tmp_path, photo):
    photos = of(write_photo(photo, tmp_path / "a.png"))  # 80 x 60
    with pytest.raises(ValueError, match=r"a\.png is 80x60, too small for a crop of 61 px"):
        RgbDataset(photos, 61)[0]
    ramps = of(write_photo(ramp(80, 60), tmp_path / "ramp.png"))
    for epoch in range(20):
        red = RgbDataset(ramps, 58, augment=True)[epoch, 0][0].float()
        assert red.max() - red.min() >= 57 - 0.5


def test_a_jpeg_is_decoded_no_smaller_than_the_crop(tmp_path, monkeypatch):
    # A crop of 0.901 of the short side: at half the size, 58 px, it would have 52.3 px.
    monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.tensor([0.802, 0.5, 0.5, 1]))
    photos = of(write_photo(noise(130, 116, block=8), tmp_path / "a.jpg"))
    assert RgbDataset(photos, 53, augment=True)[0].shape == (3, 53, 53)


def test_test_photos_are_refused_in_training(folder):
    photos = PhotoFolder(folder).photos
    tested = [photo for photo in photos if photo.split == "test"]
    for make in (
        lambda: RgbDataset(photos, 32, augment=True),
        lambda: LabDataset(tested, 32, augment=True),
        lambda: train_loader(photos, 32, batch_size=2),
    ):
        with pytest.raises(ValueError, match=r"2 photos are marked test .*test0"):
            make()
    assert len(RgbDataset(tested, 32)) == 2


def test_a_photo_that_breaks_later_is_named(folder):
    photos = PhotoFolder(folder).select("train").photos
    photos[0].path.write_bytes(photos[0].path.read_bytes()[:700])
    with pytest.raises(PhotoError, match="train0"):
        RgbDataset(photos, 32)[0]


# Batches.


def test_each_epoch_is_another_order_of_all_photos():
    sampler = EpochSampler(50, seed=1)
    first = list(sampler)
    assert len(sampler) == 50
    assert first == list(sampler)
    assert sorted(first) == [(0, index) for index in range(50)]
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(second) == [(1, index) for index in range(50)]
    orders = [[index for _, index in order] for order in (first, second, EpochSampler(50, seed=2))]
    assert len({tuple(order) for order in (*orders, range(50))}) == 4


RANDOM_INPUTS = ExampleSettings(degradation_prob=0.8, hints=True, hint_dropout=0.1)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12, on forks
@pytest.mark.parametrize("settings", [ExampleSettings(), RANDOM_INPUTS])
def test_worker_processes_change_no_batch(folder, settings):
    photos = PhotoFolder(folder).select("train").photos
    for epoch in (0, 1):
        epochs = []
        for workers in (0, 2):
            loader = train_loader(photos, 32, 2, seed=4, workers=workers, settings=settings)
            loader.set_epoch(epoch)
            epochs.append(list(loader))
        for alone, read in zip(*epochs, strict=True):
            assert alone.rgb.shape == (2, 3, 32, 32) and torch.equal(alone.rgb, read.rgb)
            if settings is RANDOM_INPUTS:
                assert torch.equal(alone.lightness, read.lightness)
                assert torch.equal(alone.hints, read.hints)
            else:
                assert read.lightness is read.hints is None


def test_random_inputs_follow_from_seed_epoch_and_number_and_leave_the_crop_as_it_is(folder):
    photos = PhotoFolder(folder).select("train").photos[:1] * 20
    kinds = {
        "first": (TrainingDataset(photos, 32, seed=0, settings=RANDOM_INPUTS), 0),
        "again": (TrainingDataset(photos, 32, seed=0, settings=RANDOM_INPUTS), 0),
        "other epoch": (TrainingDataset(photos, 32, seed=0, settings=RANDOM_INPUTS), 1),
        "other seed": (TrainingDataset(photos, 32, seed=1, settings=RANDOM_INPUTS), 0),
        "plain": (TrainingDataset(photos, 32, seed=0), 0),
    }
    examples = {
        name: collate_examples([dataset[epoch, index] for index in range(20)])
        for name, (dataset, epoch) in kinds.items()
    }
    first, plain = examples["first"], examples["plain"]
    assert first.lightness.shape == (20, 1, 32, 32) and first.hints.shape == (20, 3, 32, 32)
    assert torch.equal(first.rgb, plain.rgb)
    assert torch.equal(first.lightness, examples["again"].lightness)
    assert torch.equal(first.hints, examples["again"].hints)
    for name in ("other epoch", "other seed"):
        assert not torch.equal(first.lightness, examples[name].lightness)
        assert not torch.equal(first.hints, examples[name].hints)
    assert len({hints.numpy().tobytes() for hints in first.hints if hints.any()}) > 10


def test_the_seed_of_a_loader_decides_the_crops_too(folder):
    photos = PhotoFolder(folder).select("train").photos[:1]
    first, again, other = (
        next(iter(train_loader(photos, 32, batch_size=1, seed=seed))).rgb for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_training_epoch_drops_the_rest_and_needs_one_whole_batch(folder):
    photos = PhotoFolder(folder).select("train").photos
    for batch_size, batches in ((2, 3), (4, 1), (6, 1)):
        assert len(list(train_loader(photos, 32, batch_size))) == batches
    with pytest.raises(ValueError, match=r"6 training photos .* a batch of 7: .*at most 6"):
        train_loader(photos, 32, batch_size=7)


def test_evaluation_sees_each_photo_once_in_order(folder):
    photos = PhotoFolder(folder).select("train").photos
    batches = list(eval_loader(photos, 32, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 2]
    assert torch.equal(torch.cat(batches), torch.stack(list(RgbDataset(photos, 32))))


def test_a_loader_describes_its_batches_and_knows_its_photos(folder):
    photos = PhotoFolder(folder).select("train").photos
    loader = train_loader(photos, 32, 2, seed=3)
    loader.set_epoch(1, 2)
    (last,) = loader
    crops = RgbDataset(photos, 32, augment=True, seed=3)
    indices = [[str(photo.path) for photo in photos].index(name) for name in loader.describe(2)]
    assert torch.equal(last.rgb, torch.stack([crops[1, index] for index in indices]))
    assert loader.fingerprint == train_loader(photos, 32, 3).fingerprint
    assert loader.fingerprint != train_loader(photos[1:], 32, 2).fingerprint
    assert loader.fingerprint.startswith("6 photos, ")


def test_the_photos_of_a_batch_are_those_that_the_loader_gives():
    sampler = EpochSampler(11, seed=3, batch_size=4)
    sampler.set_epoch(2)
    order = [index for _, index in sampler]
    assert [sampler.batch(0), sampler.batch(1)] == [order[:4], order[4:]]


def test_photos_are_validated_as_many_at_a_time_as_are_learned_from(folder):
    config = TrainConfig("unet", crop_size=32, batch_size=4, grad_accum_steps=2)
    train, val = run_loaders(PhotoFolder(folder), config)
    assert [len(example.rgb) for example in train] == [2, 2] and [len(batch) for batch in val] == [
        2,
        1,
    ]
