"""Photos on the device: the same examples as from files."""

import pytest
import torch
from conftest import make_folder

from colorize.color import rgb_to_lab
from colorize.data.dataset import ExampleSettings
from colorize.data.device_photos import DeviceLoader, DevicePhotos, hints_on_device
from colorize.data.folder import PhotoFolder
from colorize.data.hint_sampling import HintPatches, draw_patches, fill_patches
from colorize.data.loaders import train_loader
from colorize.utils.seed import seeded_generator

CPU = torch.device("cpu")
SETTINGS = ExampleSettings(degradation_prob=0.5, hints=True, hint_dropout=0.2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = make_folder(tmp_path_factory.mktemp("photos"), train=11)
    return PhotoFolder(root).select("train", min_side=32).photos


@pytest.mark.parametrize("settings", [SETTINGS, ExampleSettings()])
def test_the_device_gives_the_examples_of_the_files(photos, settings):
    decoded = DevicePhotos(photos, CPU)
    ours = DeviceLoader(photos, decoded, 32, 4, seed=3, settings=settings)
    theirs = train_loader(photos, 32, 4, seed=3, settings=settings)
    assert ours.fingerprint == theirs.fingerprint and len(ours) == len(theirs)
    for epoch, start in ((0, 0), (1, 1)):
        for loader in (ours, theirs):
            loader.set_epoch(epoch, start)
        assert ours.describe(0) == theirs.describe(0)
        pairs = list(zip(ours, theirs, strict=True))
        assert len(pairs) == len(theirs) - start
        for our, their in pairs:
            assert (our.rgb.int() - their.rgb.int()).abs().max() <= 1
            assert (our.lightness is None) == (their.lightness is None)
            if our.lightness is not None:
                assert (our.lightness - their.lightness).abs().max() < 0.05
                assert torch.equal(our.hints[:, 2], their.hints[:, 2])  # the places of the hints
                assert (our.hints - their.hints).abs().max() < 0.03


def test_hints_of_a_batch_are_those_of_each_photo():
    generator = seeded_generator(0)
    rgb = torch.randint(0, 256, (60, 3, 24, 40), dtype=torch.uint8, generator=generator)
    patches = [draw_patches(24, 40, generator) for _ in range(59)]
    patches.append(HintPatches([], reveals_all=True))
    expected = torch.stack([fill_patches(photo, p) for photo, p in zip(rgb, patches, strict=True)])
    _, ab = rgb_to_lab(rgb)
    ours = hints_on_device(ab, [p.boxes for p in patches], [p.reveals_all for p in patches])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_photos_that_do_not_fit_are_refused(photos, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    with pytest.raises(ValueError, match=r"GB free.*leave out --data-on-device"):
        DevicePhotos(photos, torch.device("cuda"))
