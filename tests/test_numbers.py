"""Numbers in prose agree with the code and with the stored results."""

import inspect
import json
import re
from pathlib import Path

import benchmark
import numpy as np
import pytest

from colorize import load_samples
from colorize.color.ab_bins import bin_centers
from colorize.data.unsplash.download import UnsplashLite
from colorize.evaluation.bootstrap import DRAWS
from colorize.evaluation.result import EvaluationResult
from colorize.inference.batch import _PANEL_SIDE
from colorize.io.image import SAVE_OPTIONS
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT, load
from colorize.trainers.save_policy import TERMINATED
from colorize.trainers.trainer import Trainer

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "report" / "results"
README, REPORT = ROOT / "README.md", ROOT / "report" / "README.md"
DATA, INFERENCE, TRAINING = (
    ROOT / "colorize" / folder / "README.md" for folder in ("data", "inference", "trainers")
)
THE_CARD = BUNDLED / DEFAULT / CARD
WORDS = {"five": 5, "six": 6, "nine": 9, "ten": 10}


def default(function, name):
    return inspect.signature(function).parameters[name].default


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def stored(*place):
    return EvaluationResult.load(RESULTS.joinpath(*place))


def mean(result, metric):
    return np.nanmean(np.array(result.crop_metrics[metric], float))


def crops(stage):
    return lines(RESULTS / "release" / "runs" / f"stage-{stage}.jsonl")[-1]["steps"] * 32


def choice():
    return json.loads((RESULTS / "release" / "choice" / "summary.json").read_text())


def is_near(text, value, share):
    return value == pytest.approx(float(text.replace(",", "")), rel=share)


SAMPLES = load_samples()
GROUND_TRUTH = ("benchmark", "baselines", "ground-truth.json.xz")
LOG = RESULTS / "benchmark" / "mse-0" / "log.jsonl"


def times_as_colorful():
    ours, theirs = (
        stored("release", "test", f"{name}.json.xz") for name in ("released", "mean-ab")
    )
    return mean(ours, "colorfulness") / mean(theirs, "colorfulness")


FACTS = [
    (README, r"shows all (\w+) embedded test photos", lambda: len(SAMPLES.select("test").photos)),
    (README, r"(\d+) photographs under CC0", lambda: len(SAMPLES.photos)),
    (README, r"a distribution over (\d+) colors", lambda: len(bin_centers())),
    (TRAINING, r"colors as (\d+) classes", lambda: len(bin_centers())),
    (INFERENCE, r"written with quality (\d+),", lambda: SAVE_OPTIONS["JPEG"]["quality"]),
    (INFERENCE, r"written with quality (\d+),", lambda: SAVE_OPTIONS["WEBP"]["quality"]),
    (INFERENCE, r"AVIF with (\d+), chroma at full", lambda: SAVE_OPTIONS["AVIF"]["quality"]),
    (TRAINING, r"exits with status (\d+),", lambda: TERMINATED),
    (TRAINING, r"and every (\w+) minutes; SIGTERM", lambda: default(Trainer.fit, "save_minutes")),
    (DATA, r"(\d+) at a time, with backoff", lambda: default(UnsplashLite, "workers")),
    (REPORT, r"(\d+) for the test, with near-dup", lambda: len(stored(*GROUND_TRUTH).photos)),
    (REPORT, r"are \*\*small\*\*: (\d+) px", lambda: benchmark.SIZE),
    (REPORT, r"px, (\w+) epochs, about", lambda: benchmark.EPOCHS),
    (REPORT, r"([\d,]+) bootstrap draws", lambda: DRAWS),
    (REPORT, r"compared on (\d+) validation photos",
     lambda: choice()["provenance"]["photos"]),
    (REPORT, r"budgets of (\w+) epochs", lambda: benchmark.EPOCHS),
    (REPORT, r"vividness (0\.\d): of the settings within",
     lambda: 1 - load().model_kwargs["temperature"]),
    (REPORT, r"model has a prior strength of (0\.\d)",
     lambda: load().model_kwargs["prior_strength"]),
    (THE_CARD, r"over (\d+)\s+colors", lambda: len(bin_centers())),
    (THE_CARD, r"\(`prior_strength` (0\.\d)\)", lambda: load().model_kwargs["prior_strength"]),
    (THE_CARD, r"short side at (\d+) px", lambda: load().size),
    (THE_CARD, r"at a vividness of (0\.\d)", lambda: 1 - load().model_kwargs["temperature"]),
]  # fmt: skip
# And those that are rounded, with the share by which they may be off.
ROUNDED = [
    (REPORT, r"about ([\d,]+) crops seen", 0.01,
     lambda: lines(LOG)[-1]["steps"] * benchmark.BATCH_SIZE),
    (REPORT, r"on ([\d,]+) photographs", 0.003,
     lambda: lines(LOG)[0]["steps"] * benchmark.BATCH_SIZE),
    (REPORT, r"is (\w+) times as colorful as the mean color", 0.1, times_as_colorful),
    (REPORT, r"of validation \((\d+) against", 0.02,
     lambda: mean(stored("release", "test", "ground-truth.json.xz"), "colorfulness")),
    (THE_CARD, r"\(([\d.]+) million weights", 0.02,
     lambda: sum(w.numel() for w in load().network.parameters()) / 1e6),
    (THE_CARD, r"weights, ([\d.]+) MB in fp16", 0.02,
     lambda: (BUNDLED / DEFAULT / "model.safetensors").stat().st_size / 1e6),
    (THE_CARD, r"then ([\d,]+) of 128 px", 0.02, lambda: crops(2)),
    (THE_CARD, r"and ([\d,]+) of 160 px", 0.02, lambda: crops(3)),
]  # fmt: skip


def number_in(page, pattern):
    match = re.search(pattern, " ".join(page.read_text().split()))
    assert match, f"{page.name} does not say {pattern}"
    return str(WORDS.get(match[1], match[1]))


@pytest.mark.parametrize(("page", "pattern", "value"), FACTS, ids=[fact[1] for fact in FACTS])
def test_a_number_in_the_text_is_that_of_the_code_or_the_result(page, pattern, value):
    assert float(number_in(page, pattern).replace(",", "")) == pytest.approx(value(), rel=1e-9)


@pytest.mark.parametrize(
    ("page", "pattern", "share", "value"), ROUNDED, ids=[f[1] for f in ROUNDED]
)
def test_a_rounded_number_in_the_text_is_near(page, pattern, share, value):
    assert is_near(number_in(page, pattern), value(), share)


def test_the_limit_of_comparisons_is_the_one_that_is_told():
    help_text = (ROOT / "colorize" / "cli" / "photo.py").read_text()
    assert f"at most {_PANEL_SIDE} px" in help_text
