"""The report agrees with its stored results, and shows what its rules select."""

import json
import shutil
from pathlib import Path

import build_report
import numpy as np
import pytest
from PIL import Image
from reports import pages, source_project
from reports.benchmark import TITLES, Benchmark, claim_table
from reports.metadata import metadata_table

from colorize import load_samples
from colorize.config import TrainConfig
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.result import EvaluationResult
from colorize.metrics.columns import METRICS
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT

REPORT = Path(__file__).parents[1] / "report"
RESULTS = REPORT / "results" / "benchmark"
BUNDLED_CARD = BUNDLED / DEFAULT / CARD
PAGES = ("README.md", "training.md", "methods.md", "inference.md", "video.md")
NAMES = sorted(photo.id for photo in load_samples().photos if photo.split == "test")
RUNS = sorted(path.parent for path in RESULTS.glob("*/config.json"))


@pytest.fixture
def copy(tmp_path):
    """A report with nothing but its text, its results, and the figure of scripts/overfit.py."""
    shutil.copytree(REPORT / "results", tmp_path / "report" / "results")
    for page in PAGES:
        shutil.copy(REPORT / page, tmp_path / "report")
    shutil.copy(REPORT / "overfit.jpg", tmp_path / "report")
    shutil.copy(BUNDLED_CARD, tmp_path / "card.md")
    return tmp_path / "report"


@pytest.mark.slow
def test_building_again_gives_the_same_text_and_every_figure(copy):
    build_report.build(copy, copy.parent / "card.md")
    assert (copy.parent / "card.md").read_text() == BUNDLED_CARD.read_text()
    for page in (*PAGES, "benchmark.json"):
        assert (copy / page).read_text() == (REPORT / page).read_text()
    patterns = ("*.jpg", "*.png", "*/*.jpg")
    drawn, stored = (
        {path.relative_to(root) for pattern in patterns for path in root.glob(pattern)}
        for root in (copy, REPORT)
    )
    assert drawn == stored
    for folder in source_project.FOLDERS.values():
        assert Path(f"{folder}_result.jpg") in drawn
        assert {Path(folder, f"{name}_colorized.jpg") for name in NAMES} <= drawn
    shown = {line.split("](")[1][:-1] for line in (REPORT / "README.md").read_text().splitlines()
             if line.startswith("![")}  # fmt: skip
    assert all((copy / name).is_file() for name in shown)


def test_a_table_without_a_place_in_the_text_is_refused():
    with pytest.raises(ValueError, match="0 places for nothing"):
        pages.fill_in(REPORT / "README.md", {"nothing": "x"})


@pytest.mark.parametrize("result", RUNS, ids=lambda path: path.name)
def test_every_result_has_settings_log_metrics_and_the_photos_of_the_first_seed(result):
    config = TrainConfig.load(result / "config.json")
    assert result.name == f"{result.name.rpartition('-')[0]}-{config.seed}"
    log = [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == list(range(1, config.epochs + 1))
    stored = EvaluationResult.load(result / f"{result.name}.json.xz")
    provenance = stored.provenance
    assert provenance["photos"] == len(stored.photos) == 570
    assert provenance["size"] == config.crop_size == provenance["predictor"]["model_size"]
    assert stored.crop_metrics.keys() == stored.full_size_metrics.keys() == METRICS.keys()
    assert "/" not in str(config.model_kwargs.get("encoder_weights"))
    colorized = sorted(path.stem for path in (result / "colorized").glob("*"))
    assert colorized == (NAMES if config.seed == 0 else [])


def test_all_runs_were_evaluated_on_the_same_photos_in_the_same_way():
    benchmark = Benchmark(RESULTS)
    assert set(benchmark.runs) >= set(source_project.FOLDERS)
    runs = [
        run
        for results in benchmark.results.values()
        for run in (results if type(results) is list else [results])
    ]
    conditions = {
        json.dumps({key: run.provenance[key] for key in ("crop", "filter", "size", "photos")})
        for run in runs
    }
    assert len(conditions) == 1
    assert len({tuple(run.photos) for run in runs}) == 1


def test_the_source_projects_methods_have_photos_in_their_own_size():
    for photo in load_samples().select("test").photos:
        with Image.open(RESULTS / "fcn-0" / "colorized" / f"{photo.id}.jpg") as colorized:
            assert colorized.size == (photo.width, photo.height)


def test_the_stored_results_are_small():
    files = [path for path in (REPORT / "results").rglob("*") if path.is_file()]
    copied = [path for path in files if "copy" in path.parts]  # it leaves with the final model
    assert sum(map(_size, files)) - sum(map(_size, copied)) < 5e6
    assert sum(map(_size, copied)) < 8e6


def _size(path):
    return path.stat().st_size


def test_old_prints_and_color_photos_are_rarely_mistaken_for_each_other():
    rows = pages.read_json(REPORT / "results" / "tones.json")["rows"]
    old = [row for row in rows if row["is_old"]]
    assert sum(row["cases"] for row in old) == 300
    assert sum(row.get("tinted", 0) + row.get("color", 0) for row in old) <= 6
    (color,) = (row for row in rows if row["kind"] == "color photos")
    assert color["cases"] == 500
    assert color.get("gray", 0) + color.get("toned", 0) <= 10


def test_a_claim_holds_or_not_or_is_undecided():
    noise = np.random.default_rng(0).normal(20, 3, 100)

    def result(name, colorfulness):
        values = colorfulness.tolist()
        photos = [str(index) for index in range(100)]
        return EvaluationResult(name, {}, photos, dict.fromkeys(METRICS, values), {})

    def verdicts(results):
        lines = claim_table(results, Summary(results)).split("\n")
        return {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines}

    colorfulness = {
        "ground-truth": noise + 10,
        "autoencoder": noise,
        "unet_gan": noise - 1,
        "unet": noise - 1,
    }
    results = {name: result(name, values) for name, values in colorfulness.items()}
    claims = verdicts(results)
    assert claims["A squared error gives dull colors"] == "**holds**"
    assert claims["A discriminator makes it colorful"] == "**does not hold**"
    assert claims["... and it is the discriminator, not the U-Net"] == "**undecided**"
    assert "Rebalanced classification is colorful" not in claims  # not run here
    results["unet_gan"] = [result("unet_gan", noise - 5), result("unet_gan", noise + 1)]
    verdict = verdicts(results)["A discriminator makes it colorful"]
    assert verdict == "**undecided: its seeds disagree**"
    assert all(name in TITLES for name in ("autoencoder", "unet_gan", "unet"))


def test_no_metadata_is_lost_in_silence():
    assert metadata_table() in (REPORT / "inference.md").read_text()
