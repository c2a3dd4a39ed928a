"""Tables, claims and figures of the benchmark."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from colorize.config import TrainConfig
from colorize.evaluation.baselines import BASELINES, GROUND_TRUTH
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.result import EvaluationResult
from colorize.evaluation.tables import (
    COLOR_COLUMNS,
    ERROR_COLUMNS,
    OTHER_COLUMNS,
    PERCEPTUAL_COLUMNS,
    as_json,
    table,
)
from colorize.io.photo import read_photo
from colorize.metrics.columns import COLUMNS
from colorize.models import model_summary
from colorize.visualization import comparison, error_vs_colorfulness, loss_curves, save_figure
from reports.pages import read_log
from reports.source_project import draw_failures

# The rows of every table, in order.
SOURCE_METHODS = {
    "autoencoder": "autoencoder (MSE)",
    "fcn": "FCN (MSE)",
    "unet_gan": "pix2pix U-Net (L1 + GAN)",
}
LOSSES = {
    "mse": "MSE",
    "l1": "L1",
    "smooth_l1": "smooth L1",
    "classification": "classification (Zhang 2016)",
    "gan_100": "L1 + GAN (λ = 100)",
    "gan_10": "L1 + GAN (λ = 10)",
}
OTHERS = {
    "unet": "U-Net (L1)",
    "lsgan": "LSGAN",
    "sagan": "SAGAN",
    "nogan": "NoGAN",
    "hint_guided": "hint-guided, no hints",
    "degraded": "degraded inputs",
}
RELEASED = "released"  # trained for longer than the others
TITLES = SOURCE_METHODS | LOSSES | OTHERS | {RELEASED: "released model"}

Results = EvaluationResult | list[EvaluationResult]  # one, or one per seed


def _as_list(results: Results) -> list[EvaluationResult]:
    return results if isinstance(results, list) else [results]


def _alternatives(values: Iterable[str]) -> str:
    return " or ".join(sorted(set(values)))


class Benchmark:
    """The stored results of the benchmark.

    Attributes:
        runs: by method, its results of each seed.
        results: of the ground truth, the methods, the released model, and the baselines.
    """

    def __init__(self, folder: Path):
        """Read the results; methods that have not run yet are left out."""
        self.folder = folder
        runs = {name: self._seeds(name) for name in SOURCE_METHODS | LOSSES | OTHERS}
        self.runs = {method: seeds for method, seeds in runs.items() if seeds}
        self.results: dict[str, Results] = {
            GROUND_TRUTH: self._load("baselines", GROUND_TRUTH),
            **self.runs,
        }
        released = folder.parent / "release" / "benchmark.json.xz"
        if released.exists():
            self.results[RELEASED] = EvaluationResult.load(released)
        self.results |= {name: self._load("baselines", name) for name in BASELINES}

    def _seeds(self, method: str) -> list[EvaluationResult]:
        folders = sorted(self.folder.glob(f"{method}-?"))
        return [self._load(folder.name, folder.name) for folder in folders]

    def _load(self, folder: str, name: str) -> EvaluationResult:
        return EvaluationResult.load(self.folder / folder / f"{name}.json.xz")

    def select(self, methods: Iterable[str]) -> dict[str, Results]:
        """Return the ground truth, the available ones of some methods, and the baselines."""
        names = (GROUND_TRUTH, *methods, *BASELINES)
        return {name: self.results[name] for name in names if name in self.results}

    def by_vividness(self) -> dict[float, list[EvaluationResult]]:
        """Return the results of the classification by vividness, each of all seeds."""
        results: dict[float, list[EvaluationResult]] = {}
        for folder in sorted(self.folder.glob("classification-?")):
            for path in folder.glob(f"{folder.name} at *.json.xz"):
                vividness = float(path.name.removesuffix(".json.xz").split()[-1])
                results.setdefault(vividness, []).append(EvaluationResult.load(path))
        return {vividness: results[vividness] for vividness in sorted(results)}

    def by_temperature(self) -> dict[str, list[EvaluationResult]]:
        """Return the same by the temperature of the annealed mean, from 1 down."""
        return {f"{1 - vividness:g}": r for vividness, r in self.by_vividness().items()}

    def colorized(self, method: str) -> dict[str, Image.Image]:
        """Read the embedded test photos as colorized by a method's first seed, by id."""
        folder = self.folder / f"{method}-0" / "colorized"
        return {path.stem: read_photo(path) for path in sorted(folder.glob("*.jpg"))}

    def tables(self) -> dict[str, str]:
        """Format each table of the report, by its place in the text."""
        crops = Summary(self.results)
        full_size = Summary(self.results, full_size=True)
        source = Summary(self.select(SOURCE_METHODS))
        losses = Summary(self.select(LOSSES))
        return {
            "methods": self._method_table(),
            "source_errors": table(source, ERROR_COLUMNS, TITLES, rank_by="ab_error"),
            "source_colors": table(source, COLOR_COLUMNS, TITLES),
            "squared_error": table(source, ("mse", "l1"), TITLES),
            "losses": table(losses, ("ab_error", "colorfulness", "colorfulness_error"), TITLES),
            "vividness": self._vividness_table(),
            "errors": table(crops, ERROR_COLUMNS, TITLES, rank_by="ab_error"),
            "colors": table(crops, COLOR_COLUMNS, TITLES),
            "perceptual": table(crops, PERCEPTUAL_COLUMNS, TITLES),
            "others": table(crops, OTHER_COLUMNS, TITLES),
            "full_size": table(full_size, ("ab_error", "bleeding", "ssim"), TITLES),
            "seeds": self._seed_table(),
            "claims": claim_table(self.results, crops),
            "provenance": self._provenance(),
        }

    def _method_table(self) -> str:
        lines = [
            "| | model | parameters (M) | loss | learning rate | runs |",
            "|---|---|---:|---|---|---:|",
        ]
        for method, seeds in self.runs.items():
            config = TrainConfig.load(self.folder / f"{method}-0" / "config.json")
            encoder = ", MobileNetV2" if "encoder_name" in config.model_kwargs else ""
            parameters, _ = model_summary(config.model, config.model_kwargs, config.crop_size)
            cells = [
                TITLES[method],
                f"`{config.model}`{encoder}",
                f"{parameters / 1e6:.2f}",
                _loss(config),
                _schedule(config),
                str(len(seeds)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def _vividness_table(self) -> str:
        """Format the metrics of the classification at each temperature."""
        by_temperature = self.by_temperature()
        if not by_temperature:
            return "Not run yet."
        columns = ("ab_error", "delta_e", "colorfulness", "colorfulness_error")
        results = {GROUND_TRUTH: self.results[GROUND_TRUTH], **by_temperature}
        return table(Summary(results), columns, {name: f"T = {name}" for name in by_temperature})

    def _seed_table(self) -> str:
        """Format the range over runs that differ in their seed only."""
        lines = ["| | runs | mean ab distance | colorfulness |", "|---|---:|---:|---:|"]
        for method, seeds in self.runs.items():
            if len(seeds) < 2:
                continue
            cells = [TITLES[method], str(len(seeds))]
            for column in ("ab_error", "colorfulness"):
                means = [sum(run.crop_metrics[column]) / len(run.photos) for run in seeds]
                cells.append(f"{min(means):.2f} to {max(means):.2f}")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) if len(lines) > 2 else "No method has run with a second seed yet."

    def _provenance(self) -> str:
        records = [r.provenance for results in self.results.values() for r in _as_list(results)]
        first = records[0]
        versions = ", ".join(
            f"{name} {_alternatives(record['versions'][name] for record in records)}"
            for name in first["versions"]
        )
        commits = [record["commit"] for record in records]
        counts = ", ".join(f"{commits.count(c)} with `{c}`" for c in dict.fromkeys(commits))
        missing = [TITLES[name] for name in TITLES if name not in self.results]
        waiting = f" Not run yet: {', '.join(missing)}." if missing else ""
        python = _alternatives(record["python"] for record in records)
        return (
            f"{first['photos']} test photos, squares of {first['size']} px ({first['crop']}), "
            f"filter: {first['filter']}; Python {python}, {versions}. Evaluated with the code of "
            f"these commits: {counts}.{waiting}"
        )

    def draw(self, report: Path, targets: Mapping[str, Image.Image]) -> None:
        """Draw the benchmark's figures."""
        colorized = {method: self.colorized(method) for method in self.runs}
        for name, methods in {"losses": LOSSES, "others": OTHERS}.items():
            columns = {
                title: [colorized[method][key] for key in targets]
                for method, title in methods.items()
                if method in colorized
            }
            if columns:
                save_figure(comparison(columns, list(targets.values())), report / f"{name}.jpg")
        save_figure(self._loss_figure(), report / "losses.png")
        histories = {
            title: read_log(self.folder / f"{method}-0")
            for method, title in SOURCE_METHODS.items()
            if method in self.runs
        }
        save_figure(loss_curves(histories), report / "val_loss.png")
        groups = {"source": SOURCE_METHODS, "losses": LOSSES, "others": OTHERS}
        for group, methods in groups.items():
            drawn = {method: colorized[method] for method in methods if method in colorized}
            if drawn:
                draw_failures(drawn, TITLES, targets, report / f"failures_{group}.jpg")

    def _loss_figure(self) -> Figure:
        names = [name for name in LOSSES if name in self.results]
        by_temperature = self.by_temperature()
        summary = Summary({**self.select(names), **by_temperature})

        def point(name: str):
            return tuple(summary.estimate(name, key) for key in ("ab_error", "colorfulness"))

        single = [n for n in (*names, "gray", "mean-ab", "nearest") if n != "classification"]
        return error_vs_colorfulness(
            {TITLES.get(name, name): point(name) for name in single},
            {f"classification, T = {name}": point(name) for name in by_temperature},
            summary.estimate(GROUND_TRUTH, "colorfulness").value,
        )


def _loss(config: TrainConfig) -> str:
    """Describe a loss, such as 100·L1 + vanilla GAN."""
    names = {
        "mse": "MSE",
        "l1": "L1",
        "smooth_l1": "smooth L1",
        "rebalanced_cross_entropy": "rebalanced cross-entropy",
    }
    loss = names[config.reconstruction_loss]
    if config.gan_loss is None:
        return loss
    gan = config.gan_loss.replace("_", "-")
    return f"{config.reconstruction_weight:g}·{loss} + {gan} GAN"


def _schedule(config: TrainConfig) -> str:
    """Describe learning rates, their schedule, the average of the weights, and phases."""
    rate = f"{config.lr:g}"
    if config.discriminator_lr is not None:
        rate += f" (discriminator {config.discriminator_lr:g})"
    words = [rate, config.lr_schedule]
    if config.ema_decay is not None:
        words.append(f"EMA {config.ema_decay:g}")
    for name, epochs, factor in config.phases or ():
        words.append(f"{name} {epochs}" + (f" at {factor:g} lr" if factor != 1 else ""))
    return ", ".join(words)


# What the source project says: claim, predictor, compared with, metric, and the claimed sign.
CLAIMS = (
    ("A squared error gives dull colors", "autoencoder", GROUND_TRUTH, "colorfulness", -1),
    ("Brown beats random colors", "mean-ab", "random", "mse", -1),
    ("The autoencoder beats one mean color", "autoencoder", "mean-ab", "ab_error", -1),
    ("Features from every level help", "fcn", "autoencoder", "ab_error", -1),
    ("A discriminator makes it colorful", "unet_gan", "autoencoder", "colorfulness", 1),
    ("... and it is the discriminator, not the U-Net", "unet_gan", "unet", "colorfulness", 1),
    ("... also with another generator", "gan_10", "l1", "colorfulness", 1),
    ("The more adversarial loss, the more color", "gan_10", "gan_100", "colorfulness", 1),
    ("The adversarial loss costs error", "gan_10", "l1", "ab_error", 1),
    ("L1 is more colorful than MSE", "l1", "mse", "colorfulness", 1),
    ("Rebalanced classification is colorful", "classification", "mse", "colorfulness", 1),
    ("... nearer to each photo's own", "classification", "mse", "colorfulness_error", -1),
    ("Learning beats memorization", "l1", "nearest", "ab_error", -1),
    ("... the released model more so", RELEASED, "l1", "colorfulness_error", -1),
    ("Gray has a better PSNR than bold colors", "gray", "classification", "psnr", 1),
)


def claim_table(results: Mapping[str, Results], summary: Summary) -> str:
    """Test the claims by the intervals of paired differences, and format the verdicts.

    If the runs of different seeds disagree about the sign, a claim is undecided.
    """
    lines = ["| claim | measured as | difference | |", "|---|---|---:|---|"]
    for claim, name, other, column, sign in CLAIMS:
        if name not in results or other not in results:
            continue
        difference = summary.difference(name, other, column)
        low, high = sorted((difference.low * sign, difference.high * sign))
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
        seeds = _seed_differences(_as_list(results[name]), _as_list(results[other]), column)
        if verdict != "undecided" and len({d * sign > 0 for d in seeds}) == 2:
            verdict = "undecided: its seeds disagree"
        title = f"{COLUMNS[column].title}, {TITLES.get(name, name)} − {TITLES.get(other, other)}"
        digits = 3 if column == "mse" else 1
        value, low, high = (
            f"{number:.{digits}f}" for number in (difference.value, difference.low, difference.high)
        )
        lines.append(f"| {claim} | {title} | {value} ({low} to {high}) | **{verdict}** |")
    return "\n".join(lines)


def _seed_differences(
    runs: list[EvaluationResult], others: list[EvaluationResult], column: str
) -> list[float]:
    """Compute the mean difference of each run of one method and each of another."""
    means, other_means = (
        [np.nanmean(np.array(run.crop_metrics[column], float)) for run in rs]
        for rs in (runs, others)
    )
    return [mean - other for mean in means for other in other_means]


def benchmark_json(benchmark: Benchmark) -> str:
    """Collect every number of the report's tables, for programs."""
    provenance = _as_list(benchmark.results[GROUND_TRUTH])[0].provenance
    parts = {
        "crops": as_json(Summary(benchmark.results)),
        "full_size": as_json(Summary(benchmark.results, full_size=True)),
    }
    return json.dumps({"provenance": provenance, **_rounded(parts)}, indent=1) + "\n"


def _rounded(value: Any) -> Any:
    """Round all numbers to 9 digits: the last ones depend on the machine."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.9g}") if isinstance(value, float) else value
