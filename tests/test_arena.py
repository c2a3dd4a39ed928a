"""The arena: one split, one budget, every run judged once."""

import dataclasses
import json
import shutil

import arena
import pytest
from reports.arena import BASELINES, SHIPPED, TITLES, Arena

from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult
from colorize.models import model_arguments
from colorize.presets import PRESETS

TINY = {"depth": 3, "base_channels": 4}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """One method, on 32 px, for an epoch; results into a folder of its own."""
    config = dataclasses.replace(
        PRESETS["unet"], model_kwargs=TINY, crop_size=32, batch_size=2, epochs=1, precision="fp32"
    )
    classes = dataclasses.replace(
        config,
        model="color_classifier",
        reconstruction_loss="rebalanced_cross_entropy",
        model_kwargs={"encoder_name": "mobilenet_v2", "width": 16, "to_stride": 4},
    )
    monkeypatch.setattr(arena, "METHODS", {"unet": config, "classes": classes})
    monkeypatch.setattr(arena, "SIZE", 32)
    monkeypatch.setattr(arena, "BATCH", 2)
    monkeypatch.setattr("colorize.evaluation.evaluator.EXTRACTORS", {})
    return tmp_path


def test_every_method_of_the_table_is_one_of_the_arena():
    assert TITLES.keys() == arena.METHODS.keys() | {SHIPPED}
    methods = {method for method, _ in arena.runs()}
    assert methods == arena.METHODS.keys()
    seeds = {m: sorted(s for name, s in arena.runs() if name == m) for m in methods}
    for method, found in seeds.items():
        many = method in arena.ATTEMPTS or method in arena.LOSSES
        assert found == ([0, 1, 2] if many else [0])
    assert [seed for _, seed in arena.runs()] == sorted(seed for _, seed in arena.runs())


def test_every_method_sees_as_many_photos_of_one_size():
    budgets = {(c.size, c.batch_size, c.epochs, c.patience) for c in arena.METHODS.values()}
    assert budgets == {(96, 16, 6, None)}


def test_of_the_losses_nothing_but_the_loss_differs():
    may = {"distance", "reconstruction_weight", "adversarial", "model", "model_kwargs"}
    kept = [
        {key: value for key, value in dataclasses.asdict(config).items() if key not in may}
        for config in arena.LOSSES.values()
    ]
    assert all(settings == kept[0] for settings in kept)
    bodies = [
        {k: v for k, v in config.model_kwargs.items() if k != "discriminator_channels"}
        for config in arena.LOSSES.values()
    ]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["to_stride"] == 4  # where the classes' logits are


@pytest.mark.parametrize("method", arena.METHODS)
def test_weights_are_given_to_whoever_has_a_free_encoder(method):
    config = arena.settings(method, 2, "file.pth")
    assert config.seed == 2
    free = "encoder_name" in model_arguments(config.model)
    assert config.model_kwargs.get("encoder_weights") == ("file.pth" if free else None)
    if free:
        assert config.model_kwargs["encoder_name"] == "mobilenet_v2"


def test_the_split_takes_validation_from_training_and_leaves_the_test_alone(folder, monkeypatch):
    monkeypatch.setattr(arena, "SIZE", 32)
    for path in (folder / "val").glob("*"):
        path.unlink()
    parts = arena.split(folder)
    ids = {part: {photo.id for photo in photos} for part, photos in parts.items()}
    assert ids["train"] | ids["val"] == {f"train{i}" for i in range(6)}
    assert not ids["train"] & ids["val"]
    assert ids["test"] == {"test0", "test1"}
    # It follows from a photo's own name: fewer photos, the same part for each.
    (folder / "train" / "train0.jpg").unlink()
    (folder / ".colorize-index.csv").unlink(missing_ok=True)
    again = {part: {photo.id for photo in photos} for part, photos in arena.split(folder).items()}
    assert all(again[part] == ids[part] - {"train0"} for part in ids)


def test_a_run_is_trained_and_judged_once_and_what_is_small_of_it_kept(folder, tiny):
    results = tiny / "results"
    for method in ("unet", "classes"):
        assert not arena.is_scored(method, 0, folder, None, results)
        arena.train(method, 0, folder, None, tiny / "runs")
        arena.score(method, 0, folder, tiny / "runs", results)
    arena.score_trivial(folder, tiny / "runs", results)
    result = results / "unet-0"
    assert {path.name for path in result.iterdir()} == {
        *("config.json", "log.jsonl", "painted", "unet-0.json"),
    }
    row = EvaluationResult.load(result / "unet-0.json")
    assert row.photos == ["test0", "test1"] and row.stamp["row"]["run"] == "unet-0"
    assert len(row.full["ab_error"]) == 2
    at = {path.stem for path in (results / "classes-0").glob("* at *.json")}
    assert at == {f"classes-0 at {v:g}" for v in arena.VIVIDNESS}
    found = Arena(results)
    assert list(found.rows) == [GROUND_TRUTH, "classes", "unet", *BASELINES]
    assert list(found.at_vividness()) == list(arena.VIVIDNESS)
    # EvaluationResult once: what is there needs neither the run nor its weights.
    shutil.rmtree(tiny / "runs" / "unet-0")
    assert arena.is_scored("unet", 0, folder, None, results)
    # But what is there of other photos or settings is not taken for it.
    config = json.loads((result / "config.json").read_text())
    (result / "config.json").write_text(json.dumps(config | {"lr": 0.5}))
    with pytest.raises(ValueError, match="of other settings"):
        arena.is_scored("unet", 0, folder, None, results)
    (folder / "test" / "test0.jpg").rename(folder / "test" / "new.jpg")
    with pytest.raises(ValueError, match="of other test photos"):
        arena.is_scored("unet", 0, folder, None, results)
    with pytest.raises(ValueError, match="of other test photos"):
        arena.score_trivial(folder, tiny / "runs", results)


def test_the_stored_settings_name_no_place_of_a_machine(tiny):
    config = dataclasses.replace(
        arena.METHODS["classes"],
        model_kwargs=arena.METHODS["classes"].model_kwargs
        | {"encoder_weights": "/some/where/w.pth"},
    )
    kept = arena.without_places(config)
    assert kept["model_kwargs"]["encoder_weights"] == "w.pth"
    assert "/some" not in json.dumps(kept)
