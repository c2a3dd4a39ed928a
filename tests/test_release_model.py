"""How the released model is made, on tiny photos."""

import dataclasses
import json
import math
import shutil

import pytest
import release_model
import torch
from torchvision.models import mobilenet_v2

from colorize.models import model_summary
from colorize.models.pretrained import load
from colorize.presets import PRESETS


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Every run on 32 px for an epoch or two, narrow; results into a folder of their own."""

    def shrunk(stage):
        narrow = stage.model_kwargs | {"width": 16}
        if "discriminator_channels" in narrow:
            narrow["discriminator_channels"] = 4
        epochs = 2 if stage.phases else 1
        more = {"crop_size": 32, "batch_size": 2, "precision": "fp32"}
        return dataclasses.replace(stage, model_kwargs=narrow, epochs=epochs, **more)

    candidates = {
        name: tuple(map(shrunk, stages)) for name, stages in release_model.CANDIDATES.items()
    }
    monkeypatch.setattr(release_model, "CANDIDATES", candidates)
    monkeypatch.setattr(release_model, "STAGES", tuple(map(shrunk, release_model.STAGES[:2])))
    monkeypatch.setattr(release_model, "EVALUATION_SIZE", 32)
    monkeypatch.setattr(release_model, "SIZE", 32)
    monkeypatch.setattr(release_model, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(release_model, "COPY", tmp_path / "copy")
    (tmp_path / "validation.txt").write_text("val0.jpg\nval1.jpg\ntrain0.jpg\n")
    monkeypatch.setattr(release_model, "VALIDATION", tmp_path / "validation.txt")
    monkeypatch.setattr("benchmark.SIZE", 32)
    monkeypatch.setattr("colorize.evaluation.perceptual.PERCEPTUAL_METRICS", ())
    return tmp_path


def test_all_candidates_see_as_many_photos_of_one_size():
    for stages in release_model.CANDIDATES.values():
        assert sum(stage.epochs for stage in stages) == 6
        assert {(stage.crop_size, stage.batch_size) for stage in stages} == {(96, 16)}


def test_the_released_model_takes_hints_and_is_a_small_and_fast_classification():
    stage = release_model.STAGES[-1]
    parameters, macs = model_summary(stage.model, stage.model_kwargs, 256)
    assert parameters * 2 < 20e6 and macs < 2e9
    assert stage.model_kwargs["hints"]
    assert release_model.STAGES[0].model == PRESETS["zhang2016"].model


def test_the_listed_photos_are_for_validation_and_all_must_exist(folder, small):
    photos = release_model.release_split(folder)
    names = {split: {photo.path.name for photo in photos[split]} for split in photos}
    assert names["val"] == {"val0.jpg", "val1.jpg", "train0.jpg"}
    assert names["train"] == {"val2.jpg", *(f"train{i}.jpg" for i in range(1, 6))}
    (folder / "val" / "val0.jpg").unlink()
    with pytest.raises(ValueError, match="holds 2 of the 3 photos in"):
        release_model.release_split(folder)


@pytest.mark.parametrize(("number", "epochs"), [(1, 0), (1, 20), (2, 26), (3, 17)])
def test_a_restart_trains_what_remains_at_the_rate_that_was_reached(number, epochs):
    stages = release_model.remaining_stages(number, epochs)
    stage = release_model.STAGES[number - 1]
    if epochs == stage.epochs:
        assert stages == release_model.STAGES[number:]
        return
    warm_up, rest, *later = stages
    assert tuple(later) == release_model.STAGES[number:]
    assert rest.epochs == stage.epochs - epochs and warm_up.epochs == 1
    # Half a cosine from lr at the first epoch to 0 after the last, by hand.
    reached = stage.lr * (1 + math.cos(math.pi * epochs / stage.epochs)) / 2
    assert rest.lr * rest.lr_factor(0) == pytest.approx(reached)
    assert warm_up.lr * warm_up.lr_factor(0) == pytest.approx(reached / 10)


@pytest.mark.slow
def test_choosing_training_and_evaluating_from_end_to_end(folder, small, monkeypatch):
    weights, runs = small / "mobilenet.pth", small / "runs"
    torch.save(mobilenet_v2().state_dict(), weights)

    def call(command, *words):
        words = [command, "--data", folder, "--weights", weights, "--output", runs, *words]
        monkeypatch.setattr("sys.argv", ["release_model.py", *map(str, words)])
        assert release_model.main() == 0

    call("choose")
    names = json.loads((small / "results" / "choice" / "summary.json").read_text())["crops"]
    assert names.keys() >= {
        *("l1", "classification", "classification_nogan"),
        *("classification_nogan at 0.9", "mean-ab"),
    }
    call("train")
    trained = load(runs / "shipped-2")
    assert trained.network.supports_hints and trained.model == "color_classifier"
    call("copy")
    shutil.rmtree(runs / "shipped-1")
    shutil.rmtree(runs / "shipped-2")
    progress = small / "copy" / "progress.json"
    progress.write_text('{"stage": 1, "epochs": 0, "seed": 0}')
    call("train", "--restart")
    assert {path.name for path in runs.glob("shipped-*")} == {
        f"shipped-restarted-{number}" for number in (1, 2, 3)
    }
    call("evaluate", "--model", runs / "shipped-restarted-3")
    assert (small / "results" / "test" / "released at 0.5.json.xz").exists()
