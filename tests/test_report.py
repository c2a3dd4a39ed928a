"""The report says what its results say, and shows what its rules choose."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reports import pages, story
from reports.arena import TITLES, Arena

import report as script
from colorize import load_samples
from colorize.config import TrainConfig
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.evaluator import EvaluationResult
from colorize.metrics.image import METRICS
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT

REPORT = Path(__file__).parents[1] / "report"
RESULTS = REPORT / "results" / "arena"
BUNDLED_CARD = BUNDLED / DEFAULT / CARD
PAGES = ("README.md", "training.md", "methods.md", "photos.md", "films.md")
NAMES = sorted(photo.id for photo in load_samples().photos if photo.part == "test")
RUNS = sorted(path.parent for path in RESULTS.glob("*/config.json"))


@pytest.fixture
def copy(tmp_path):
    """A report that has only the text and the results."""
    shutil.copytree(REPORT / "results", tmp_path / "report" / "results")
    for page in PAGES:
        shutil.copy(REPORT / page, tmp_path / "report")
    shutil.copy(BUNDLED_CARD, tmp_path / "card.md")
    return tmp_path / "report"


def test_drawing_again_gives_the_text_that_is_there_and_every_figure(copy):
    script.draw(copy, copy.parent / "card.md")
    assert (copy.parent / "card.md").read_text() == BUNDLED_CARD.read_text()
    for page in (*PAGES, "arena.json"):
        assert (copy / page).read_text() == (REPORT / page).read_text()
    patterns = ("*.jpg", "*.png", "*/*.jpg")
    drawn, stored = (
        {path.relative_to(root) for pattern in patterns for path in root.glob(pattern)}
        for root in (copy, REPORT)
    )
    assert drawn == stored
    for folder in story.FOLDERS.values():
        assert Path(f"{folder}_result.jpg") in drawn
        assert {Path(folder, f"{name}_painted.jpg") for name in NAMES} <= drawn
    shown = {line.split("](")[1][:-1] for line in (REPORT / "README.md").read_text().splitlines()
             if line.startswith("![")}  # fmt: skip
    assert all((copy / name).is_file() for name in shown)


def test_a_table_without_a_place_in_the_text_is_refused():
    with pytest.raises(ValueError, match="0 places for nothing"):
        pages.fill_in(REPORT / "README.md", {"nothing": "x"})


@pytest.mark.parametrize("result", RUNS, ids=lambda path: path.name)
def test_every_result_has_settings_log_measures_and_of_the_first_seed_all_paintings(result):
    config = TrainConfig.load(result / "config.json")
    assert result.name == f"{result.name.rpartition('-')[0]}-{config.seed}"
    log = [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == list(range(1, config.epochs + 1))
    row = EvaluationResult.load(result / f"{result.name}.json")
    assert row.stamp["photos"] == len(row.photos) == 570
    assert row.stamp["size"] == config.crop_size == row.stamp["row"]["network_size"]
    assert row.square.keys() == row.full.keys() == METRICS.keys()
    assert "/" not in str(config.model_kwargs.get("encoder_weights"))
    painted = sorted(path.stem for path in (result / "painted").glob("*"))
    assert painted == (NAMES if config.seed == 0 else [])


def test_all_runs_were_judged_by_the_same_photos_in_the_same_way():
    arena = Arena(RESULTS)
    assert set(arena.runs) >= set(story.FOLDERS)
    found = [run for row in arena.rows.values() for run in (row if type(row) is list else [row])]
    stamps = {
        json.dumps({key: run.stamp[key] for key in ("crop", "filter", "size", "photos")})
        for run in found
    }
    assert len(stamps) == 1
    assert len({tuple(run.photos) for run in found}) == 1


def test_paintings_have_the_photos_own_size():
    for photo in load_samples().select("test").photos:
        with Image.open(RESULTS / "fcn-0" / "painted" / f"{photo.id}.jpg") as painted:
            assert painted.size == (photo.width, photo.height)


def test_a_claim_holds_or_not_or_is_undecided():
    noise = np.random.default_rng(0).normal(20, 3, 100)

    def row(name, colorfulness):
        values = colorfulness.tolist()
        return EvaluationResult(
            name, {}, [str(i) for i in range(100)], dict.fromkeys(METRICS, values), {}
        )

    arena = Arena.__new__(Arena)
    rows = {"truth": noise + 10, "autoencoder": noise, "unet_gan": noise - 1, "unet": noise - 1}
    arena.rows = {name: row(name, values) for name, values in rows.items()}
    text = arena._claims(Summary(arena.rows))
    verdicts = {
        line.split("|")[1].strip(): line.split("|")[-2].strip() for line in text.split("\n")
    }
    assert verdicts["A squared error is dull"] == "**holds**"
    assert verdicts["A critic makes it colorful"] == "**does not hold**"
    assert verdicts["... and the critic does it, not the U-Net"] == "**undecided**"
    assert "Rebalanced classes are colorful" not in verdicts  # not run here
    arena.rows["unet_gan"] = [row("unet_gan", noise - 5), row("unet_gan", noise + 1)]
    (line,) = [
        line
        for line in arena._claims(Summary(arena.rows)).split("\n")
        if "A critic makes it colorful" in line
    ]
    assert line.endswith("| **undecided: its seeds disagree** |")
    assert all(name in TITLES for name in ("autoencoder", "unet_gan", "unet"))
