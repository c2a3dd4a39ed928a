"""How the shipped network comes about, on photos of stamp size."""

import dataclasses
import json

import pytest
import ship
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

    candidates = {name: tuple(map(shrunk, stages)) for name, stages in ship.CANDIDATES.items()}
    monkeypatch.setattr(ship, "CANDIDATES", candidates)
    monkeypatch.setattr(ship, "STAGES", tuple(map(shrunk, ship.STAGES[:2])))
    monkeypatch.setattr(ship, "SCORED", 32)
    monkeypatch.setattr(ship, "SIZE", 32)
    monkeypatch.setattr(ship, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("arena.SIZE", 32)
    monkeypatch.setattr("colorize.evaluation.evaluator.EXTRACTORS", {})
    return tmp_path


def test_all_candidates_see_as_many_photos_of_one_size():
    for stages in ship.CANDIDATES.values():
        assert sum(stage.epochs for stage in stages) == 6
        assert {(stage.crop_size, stage.batch_size) for stage in stages} == {(96, 16)}


def test_the_shipped_network_takes_hints_and_has_classes_small_and_fast_enough():
    parameters, macs = model_summary(dataclasses.replace(ship.STAGES[-1], crop_size=256))
    assert parameters * 2 < 20e6 and macs < 2e9
    assert ship.STAGES[-1].model_kwargs["hints"]
    assert ship.STAGES[0].model == PRESETS["zhang2016"].model


@pytest.mark.slow
def test_choosing_training_and_scoring_from_end_to_end(folder, small, monkeypatch):
    weights, runs = small / "mobilenet.pth", small / "runs"
    torch.save(mobilenet_v2().state_dict(), weights)

    def call(what, *words):
        words = [what, "--data", folder, "--weights", weights, "--out", runs, *words]
        monkeypatch.setattr("sys.argv", ["ship.py", *map(str, words)])
        assert ship.main() == 0

    call("choose")
    rows = json.loads((small / "results" / "choice" / "summary.json").read_text())["square"]
    assert {"l1", "classes", "classes_nogan", "classes_nogan at 0.9", "mean-ab"} <= rows.keys()
    call("train")
    found = load(runs / "shipped-2")
    assert found.network.supports_hints and found.model == "color_classifier"
    call("score", "--model", runs / "shipped-2")
    assert (small / "results" / "test" / "shipped at 0.5.json").exists()
