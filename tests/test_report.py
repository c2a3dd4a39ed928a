"""The report says what its results say, and shows what its rules choose."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from colorize import load_samples
from colorize.config import TrainConfig

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "report"
FOLDERS = {"autoencoder": "autoencoder", "fcn": "fcn", "unet_gan": "gan"}
NAMES = [photo.id for photo in load_samples().photos if photo.part == "test"]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """scripts/report.py, drawing into a copy that has only the text and the results."""
    spec = importlib.util.spec_from_file_location("report", ROOT / "scripts" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    copy = tmp_path / "report"
    shutil.copytree(REPORT / "results", copy / "results")
    for page in ("README.md", "training.md", "methods.md"):
        shutil.copy(REPORT / page, copy)
    monkeypatch.setattr(module, "REPORT", copy)
    monkeypatch.setattr(module, "RESULTS", copy / "results")
    return module


def test_drawing_again_gives_the_text_that_is_there_and_every_figure(script):
    script.draw()
    for page in ("README.md", "training.md", "methods.md"):
        assert (script.REPORT / page).read_text() == (REPORT / page).read_text()
    pictures = ("*.jpg", "*.png", "*/*.jpg")
    drawn = {
        path.relative_to(script.REPORT)
        for pattern in pictures
        for path in script.REPORT.glob(pattern)
    }
    stored = {path.relative_to(REPORT) for pattern in pictures for path in REPORT.glob(pattern)}
    assert drawn == stored
    for folder in FOLDERS.values():
        assert Path(f"{folder}_result.jpg") in drawn
        assert {Path(folder, f"{name}_painted.jpg") for name in NAMES} <= drawn


def test_a_table_without_a_place_in_the_text_is_refused(script):
    with pytest.raises(ValueError, match="0 places for nothing"):
        script.fill_in(REPORT / "README.md", {"nothing": "x"})


@pytest.mark.parametrize("name", FOLDERS)
def test_every_result_has_settings_log_measures_and_all_paintings(name):
    result = REPORT / "results" / name
    config = TrainConfig.load(result / "config.json")
    log = [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == list(range(1, len(log) + 1))
    assert len(log) <= config.epochs
    metrics = json.loads((result / "metrics.json").read_text())
    for part in ("test", "samples"):
        assert {name, "truth", "grey", "mean-ab", "random"} == metrics[part].keys()
    # One network on one photo at a time, or on all of them: the mean is the same but for noise.
    mean = sum(row["ab_error"] for row in metrics["by_photo"].values()) / len(NAMES)
    assert mean == pytest.approx(metrics["samples"][name]["ab_error"], rel=0.05)
    assert sorted(path.stem for path in (result / "painted").glob("*")) == sorted(NAMES)


def test_paintings_have_the_photos_own_size(script):
    for photo in load_samples().photos:
        if photo.part == "test":
            with Image.open(REPORT / "results" / "fcn" / "painted" / f"{photo.id}.jpg") as painted:
                assert painted.size == (photo.width, photo.height)


def test_the_same_runs_were_compared():
    metrics = [json.loads((REPORT / "results" / n / "metrics.json").read_text()) for n in FOLDERS]
    assert len({json.dumps(row["photos"]) for row in metrics}) == 1
    # The rows that look at nothing agree, so the photos, sizes and code did.
    for part in ("test", "samples"):
        assert len({json.dumps(row[part]["mean-ab"]) for row in metrics}) == 1
