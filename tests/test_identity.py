"""Which photo is which: by the path below the data folder, wherever that is."""

import json
import os
import shutil
from collections import Counter

import pytest
import torch
from conftest import make_photo
from test_cli import TINY, fails, train

import colorize
from colorize.cli import main
from colorize.data.folder import PhotoFolder
from colorize.data.splits import photo_ids, split_of
from colorize.evaluation import ImageFolderPredictor
from colorize.io.image import write_photo
from colorize.utils.legacy import same_photos


def touched(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def splits(root):
    return {photo.id: photo.split for photo in PhotoFolder(root).photos}


def test_an_id_is_the_name_or_of_photos_that_share_it_the_path():
    names = ["day1/DSC_1.JPG", "day2/DSC_1.JPG", "day2/b.jpg", "c.jpg", "c.png", "c.jpg.webp"]
    assert photo_ids([*names, "d.old.jpg", "e.webp"]) == {
        "day1/DSC_1.JPG": "day1/DSC_1.JPG",
        "day2/DSC_1.JPG": "day2/DSC_1.JPG",
        "day2/b.jpg": "b",
        "c.jpg": "c.jpg",
        "c.png": "c.png",
        "c.jpg.webp": "c.jpg.webp",  # its name is the path of another photo
        "d.old.jpg": "d.old",
        "e.webp": "e",
    }


def test_photos_of_one_camera_name_fall_into_all_splits_and_others_stay(tmp_path):
    days = [f"day{i}/DSC_0001.JPG" for i in range(200)]
    nested = [f"trip/photo{i}.jpg" for i in range(50)]
    result = splits(touched(tmp_path, *days, *nested))
    assert len(result) == 250
    counts = Counter(result[name] for name in days)
    assert counts["train"] / 200 == pytest.approx(0.6, abs=0.1) and len(counts) == 3
    assert all(result[f"photo{i}"] == split_of(f"photo{i}") for i in range(50))  # as ever


@pytest.mark.parametrize("link", [False, True])
def test_ids_and_splits_do_not_depend_on_the_folders_place_or_name(tmp_path, monkeypatch, link):
    names = ["a/img.jpg", "b/img.jpg", "c.jpg", *(f"{i}.jpg" for i in range(20))]
    before = splits(touched(tmp_path / "photos", *names))
    if link:
        (tmp_path / "other").symlink_to(tmp_path / "photos")
    else:
        (tmp_path / "photos").rename(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    assert splits("../other") == splits(".") == splits(tmp_path / "other" / "a" / "..") == before


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Folders of photos of one name, and a run that was trained on them."""
    place = tmp_path_factory.mktemp("twins")
    for split, count in {"train": 4, "val": 2, "test": 2}.items():
        for i in range(count):
            photo = make_photo(seed=10 * len(split) + i)
            write_photo(photo, place / "photos" / split / f"day{i}" / "img.jpg")
    assert train(place / "photos", place / "run") == 0
    return place


def test_two_folders_that_hold_one_name_are_trained_and_evaluated_on(twins, tmp_path, capsys):
    photos, here = twins / "photos", ["--device", "cpu"]
    command = ["evaluate", twins / "run", "--data", photos, "-o", tmp_path / "out", "--no-fid"]
    assert main([str(word) for word in [*command, "--size", "32", *here]]) == 0
    stored = json.loads((tmp_path / "out" / "gray.json").read_text())
    assert stored["photos"] == ["test/day0/img.jpg", "test/day1/img.jpg"]
    page = tmp_path / "page.html"
    command = ["realism-test", twins / "run", "--data", photos, "-o", page]
    assert main([str(word) for word in [*command, *here]]) == 0
    assert "2 pairs" in capsys.readouterr().out


def test_images_of_photos_of_one_name_are_found_by_their_folders(twins, tmp_path):
    photos = PhotoFolder(twins / "photos").select("test").photos
    out = tmp_path / "out"
    for i in range(2):
        write_photo(make_photo(seed=50 + i), out / f"test/day{i}/img.png")
    predictor = ImageFolderPredictor(out)
    predictor.check(photos)
    images = [predictor(photo.id, make_photo()) for photo in photos]
    assert images[0].tobytes() == make_photo(seed=50).tobytes()
    assert images[1].tobytes() == make_photo(seed=51).tobytes()
    assert predictor.fingerprint(photos[0].id) != predictor.fingerprint(photos[1].id)
    (out / "test/day1/img.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 photos have no .* 'test/day1/img\.jpg'"):
        ImageFolderPredictor(out).check(photos)


def test_a_run_goes_on_when_its_data_folder_has_moved(twins, tmp_path, capsys):
    run = shutil.copytree(twins / "run", tmp_path / "run")
    moved = shutil.copytree(twins / "photos", tmp_path / "elsewhere" / "renamed")
    assert train(moved, run, "--epochs", "2") == 0
    assert len((run / "log.jsonl").read_text().splitlines()) == 2
    (moved / "train/day0/img.jpg").rename(moved / "train/day0/other.jpg")
    command = ["train", "unet_gan", "--data", moved, "-o", run, *TINY, "--epochs", "3"]
    error = fails(capsys, [*command, "--workers", "0", "--device", "cpu"])
    assert "was trained on other photos (4 photos, ids " in error


def test_a_run_with_an_older_fingerprint_goes_on(twins, tmp_path):
    run = shutil.copytree(twins / "run", tmp_path / "run")
    state = torch.load(run / "last.pt", weights_only=True)
    new = state["fingerprint"]
    state["fingerprint"] = "4 photos, 0123456789abcdef"
    torch.save(state, run / "last.pt")
    assert train(twins / "photos", run, "--epochs", "2") == 0
    assert torch.load(run / "last.pt", weights_only=True)["fingerprint"] == new
    assert not same_photos("5 photos, 0123456789abcdef", new)
    assert same_photos("1 photos, 0123456789abcdef", "1 photo, ids 0")


def test_a_run_among_the_photos_is_refused_however_it_is_written(
    twins, tmp_path, monkeypatch, capsys
):
    photos = shutil.copytree(twins / "photos", tmp_path / "M1")
    monkeypatch.chdir(photos)
    (tmp_path / "link").symlink_to(photos)
    options = [*TINY, "--epochs", "1", "--workers", "0", "--device", "cpu"]
    for data, run in (("../M1", "run"), (".", "run"), (photos, "../link/run"), (".", "../M1/a/b")):
        command = ["train", "unet_gan", "--data", data, "-o", run, *options]
        assert "would lie among the photos" in fails(capsys, command)
    assert train(".", "../run") == 0 and (tmp_path / "run" / "last.pt").exists()
    os.chdir(tmp_path)  # the folder of photos still holds photos alone
    assert len(colorize.PhotoFolder(photos).photos) == 8
