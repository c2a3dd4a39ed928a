"""The benchmark: one split, one budget, every run evaluated once."""

import dataclasses
import json
import shutil

import benchmark
import pytest
from reports.benchmark import RELEASED, TITLES, Benchmark

from colorize.evaluation.baselines import BASELINES, GROUND_TRUTH
from colorize.evaluation.result import EvaluationResult
from colorize.models import model_arguments
from colorize.presets import PRESETS

TINY = {"depth": 3, "base_channels": 4}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """One method, on 32 px, for an epoch; results into a folder of its own."""
    config = dataclasses.replace(
        PRESETS["unet"], model_kwargs=TINY, crop_size=32, batch_size=2, epochs=1, precision="fp32"
    )
    classification = dataclasses.replace(
        config,
        model="color_classifier",
        reconstruction_loss="rebalanced_cross_entropy",
        model_kwargs={"encoder_name": "mobilenet_v2", "width": 16, "to_stride": 4},
    )
    monkeypatch.setattr(benchmark, "METHODS", {"unet": config, "classification": classification})
    monkeypatch.setattr(benchmark, "SIZE", 32)
    monkeypatch.setattr(benchmark, "BATCH_SIZE", 2)
    monkeypatch.setattr("colorize.evaluation.perceptual.PERCEPTUAL_METRICS", ())
    return tmp_path


def test_every_method_of_the_table_is_one_of_the_benchmark():
    assert TITLES.keys() == benchmark.METHODS.keys() | {RELEASED}
    methods = {method for method, _ in benchmark.runs()}
    assert methods == benchmark.METHODS.keys()
    seeds = {m: sorted(s for name, s in benchmark.runs() if name == m) for m in methods}
    for method, own in seeds.items():
        many = method in benchmark.SOURCE_METHODS or method in benchmark.LOSSES
        assert own == ([0, 1, 2] if many else [0])
    assert [seed for _, seed in benchmark.runs()] == sorted(seed for _, seed in benchmark.runs())


def test_every_method_sees_as_many_photos_of_one_size():
    budgets = {
        (c.crop_size, c.batch_size, c.epochs, c.patience) for c in benchmark.METHODS.values()
    }
    assert budgets == {(96, 16, 6, None)}


def test_the_losses_differ_in_nothing_but_the_loss():
    loss = {
        *("reconstruction_loss", "reconstruction_weight", "gan_loss"),
        *("model", "model_kwargs"),
    }
    kept = [
        {key: value for key, value in dataclasses.asdict(config).items() if key not in loss}
        for config in benchmark.LOSSES.values()
    ]
    assert all(settings == kept[0] for settings in kept)
    bodies = [
        {k: v for k, v in config.model_kwargs.items() if k != "discriminator_channels"}
        for config in benchmark.LOSSES.values()
    ]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["to_stride"] == 4  # where the classification's logits are


@pytest.mark.parametrize("method", benchmark.METHODS)
def test_weights_are_given_to_methods_with_a_free_encoder(method):
    config = benchmark.settings(method, 2, "file.pth")
    assert config.seed == 2
    free = "encoder_name" in model_arguments(config.model)
    assert config.model_kwargs.get("encoder_weights") == ("file.pth" if free else None)
    if free:
        assert config.model_kwargs["encoder_name"] == "mobilenet_v2"


def test_the_split_takes_validation_from_training_and_leaves_the_test_alone(folder, monkeypatch):
    monkeypatch.setattr(benchmark, "SIZE", 32)
    for path in (folder / "val").glob("*"):
        path.unlink()
    splits = benchmark.split_photos(folder)
    ids = {split: {photo.id for photo in photos} for split, photos in splits.items()}
    assert ids["train"] | ids["val"] == {f"train{i}" for i in range(6)}
    assert not ids["train"] & ids["val"]
    assert ids["test"] == {"test0", "test1"}
    # It follows from a photo's own name: fewer photos, the same part for each.
    (folder / "train" / "train0.jpg").unlink()
    (folder / ".colorize-index.csv").unlink(missing_ok=True)
    again = {
        split: {photo.id for photo in photos}
        for split, photos in benchmark.split_photos(folder).items()
    }
    assert all(again[split] == ids[split] - {"train0"} for split in ids)


def test_a_run_is_trained_and_evaluated_once_and_its_small_results_are_stored(folder, tiny):
    results = tiny / "results"
    for method in ("unet", "classification"):
        assert not benchmark.is_evaluated(method, 0, folder, None, results)
        benchmark.train(method, 0, folder, None, tiny / "runs")
        benchmark.evaluate_run(method, 0, folder, tiny / "runs", results)
    benchmark.evaluate_baselines(folder, tiny / "runs", results)
    result = results / "unet-0"
    assert {path.name for path in result.iterdir()} == {
        *("config.json", "log.jsonl", "colorized", "unet-0.json.xz"),
    }
    stored = EvaluationResult.load(result / "unet-0.json.xz")
    assert stored.photos == ["test0", "test1"]
    assert stored.provenance["predictor"]["run"] == "unet-0"
    assert len(stored.full_size_metrics["ab_error"]) == 2
    variants = {path.name for path in (results / "classification-0").glob("* at *.json.xz")}
    assert variants == {f"classification-0 at {v:g}.json.xz" for v in benchmark.VIVIDNESS}
    stored = Benchmark(results)
    assert list(stored.results) == [GROUND_TRUTH, "classification", "unet", *BASELINES]
    assert list(stored.by_vividness()) == list(benchmark.VIVIDNESS)
    # Evaluated once: a stored result needs neither the run nor its weights.
    shutil.rmtree(tiny / "runs" / "unet-0")
    assert benchmark.is_evaluated("unet", 0, folder, None, results)
    # But a result of other photos or settings is refused.
    config = json.loads((result / "config.json").read_text())
    (result / "config.json").write_text(json.dumps(config | {"lr": 0.5}))
    with pytest.raises(ValueError, match="of other settings"):
        benchmark.is_evaluated("unet", 0, folder, None, results)
    (folder / "test" / "test0.jpg").rename(folder / "test" / "new.jpg")
    with pytest.raises(ValueError, match="of other test photos"):
        benchmark.is_evaluated("unet", 0, folder, None, results)
    with pytest.raises(ValueError, match="of other test photos"):
        benchmark.evaluate_baselines(folder, tiny / "runs", results)


def test_the_stored_settings_hold_no_path_of_a_machine(tiny):
    config = dataclasses.replace(
        benchmark.METHODS["classification"],
        model_kwargs=benchmark.METHODS["classification"].model_kwargs
        | {"encoder_weights": "/some/where/w.pth"},
    )
    kept = benchmark.without_paths(config)
    assert kept["model_kwargs"]["encoder_weights"] == "w.pth"
    assert "/some" not in json.dumps(kept)
