"""What the arena found: its rows, tables and figures."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from colorize.config import TrainConfig
from colorize.evaluation.baselines import BASELINES
from colorize.evaluation.bootstrap import COLUMNS, Summary
from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult
from colorize.evaluation.tables import COLORS, ERRORS, OTHERS, SEEN
from colorize.io.image import read_photo
from colorize.models import model_summary
from colorize.visualization import comparison, error_against_color, loss_curves, save_figure
from reports.pages import read_log
from reports.story import draw_failures

# The rows of every table, in the order of the story.
ATTEMPTS = {"autoencoder": "first attempt", "fcn": "second attempt", "unet_gan": "third attempt"}
LOSSES = {
    "mse": "MSE",
    "l1": "L1",
    "smooth_l1": "smooth L1",
    "classes": "classes",
    "gan_100": "critic + 100 L1",
    "gan_10": "critic + 10 L1",
}
OTHER = {
    "unet": "U-Net alone",
    "least_squares": "least squares",
    "sagan": "SAGAN",
    "nogan": "NoGAN",
    "hints": "hints, none given",
    "degradation_prob": "old photos",
}
SHIPPED = "shipped"  # trained for longer than the others
TITLES = ATTEMPTS | LOSSES | OTHER | {SHIPPED: "the shipped network"}


Rows = EvaluationResult | list[EvaluationResult]


def _several(rows: Rows) -> list[EvaluationResult]:
    return rows if isinstance(rows, list) else [rows]


def _all(found: Iterable[str]) -> str:
    """The different ones, in words."""
    return " or ".join(sorted(set(found)))


class Arena:
    """The results that are kept of the arena's runs.

    Attributes:
        runs: by method, its results of each seed.
        rows: the truth, the methods, and the rows that learned nothing.
    """

    def __init__(self, results: Path):
        self.results = results
        self.runs = {method: self._seeds(method) for method in ATTEMPTS | LOSSES | OTHER}
        self.runs = {method: seeds for method, seeds in self.runs.items() if seeds}
        trivial = {name: self._load("trivial", name) for name in (GROUND_TRUTH, *BASELINES)}
        self.rows = {GROUND_TRUTH: trivial.pop(GROUND_TRUTH)} | self.runs
        shipped = results.parent / "ship" / "arena.json"
        if shipped.exists():
            self.rows[SHIPPED] = EvaluationResult.load(shipped)
        self.rows |= trivial

    def _seeds(self, method: str) -> list[EvaluationResult]:
        folders = sorted(self.results.glob(f"{method}-?"))
        return [self._load(folder.name, folder.name) for folder in folders]

    def _load(self, folder: str, name: str) -> EvaluationResult:
        return EvaluationResult.load(self.results / folder / f"{name}.json")

    def some(self, names: Iterable[str]) -> dict[str, Rows]:
        """The truth, what is there of some methods, and the rows that learned nothing."""
        return {
            name: self.rows[name]
            for name in (GROUND_TRUTH, *names, *BASELINES)
            if name in self.rows
        }

    def at_vividness(self) -> dict[float, list[EvaluationResult]]:
        """The rows of `classes` by vividness, over all its seeds."""
        found: dict[float, list[EvaluationResult]] = {}
        for folder in sorted(self.results.glob("classes-?")):
            for path in folder.glob(f"{folder.name} at *.json"):
                found.setdefault(float(path.stem.split()[-1]), []).append(
                    EvaluationResult.load(path)
                )
        return {vividness: found[vividness] for vividness in sorted(found)}

    def painted(self, method: str) -> dict[str, Image.Image]:
        """The embedded test photos as a method's first seed painted them, by id."""
        folder = self.results / f"{method}-0" / "painted"
        return {path.stem: read_photo(path) for path in sorted(folder.glob("*.jpg"))}

    def config(self, method: str) -> TrainConfig:
        """A method's settings."""
        return TrainConfig.load(self.results / f"{method}-0" / "config.json")

    def tables(self) -> dict[str, str]:
        """By its place in the report, each table."""
        square = Summary(self.rows)
        attempts = Summary(self.some(ATTEMPTS))
        losses = Summary(self.some(LOSSES))
        return {
            "methods": self._methods(),
            "attempts": attempts.table(ERRORS, TITLES, rank="ab_error"),
            "attempts_colors": attempts.table(COLORS, TITLES),
            "brown": attempts.table(("mse", "l1"), TITLES),
            "losses": losses.table(("ab_error", "colorfulness", "colorfulness_error"), TITLES),
            "vividness": self._vividness(),
            "errors": square.table(ERRORS, TITLES, rank="ab_error"),
            "colors": square.table(COLORS, TITLES),
            "seen": square.table(SEEN, TITLES),
            "others": square.table(OTHERS, TITLES),
            "full": Summary(self.rows, "full").table(("ab_error", "bleeding", "ssim"), TITLES),
            "seeds": self._seed_table(),
            "claims": self._claims(square),
            "stamp": self._stamp(),
        }

    def _methods(self) -> str:
        lines = [
            "| | network | million weights | loss | rates | runs |",
            "|---|---|---:|---|---|---:|",
        ]
        for method, seeds in self.runs.items():
            config = self.config(method)
            encoder = ", MobileNetV2" if "encoder_name" in config.model_kwargs else ""
            weights = f"{model_summary(config)[0] / 1e6:.2f}"
            plan = config.plan.split(", ", 1)[1]
            cells = [TITLES[method], f"`{config.model}`{encoder}", weights, config.loss, plan]
            lines.append(f"| {' | '.join([*cells, str(len(seeds))])} |")
        return "\n".join(lines)

    def _claims(self, summary: Summary) -> str:
        """What the source story says, and whether it holds: decided by paired intervals."""
        comparisons = (
            ("A squared error is dull", "autoencoder", GROUND_TRUTH, "colorfulness", -1),
            ("Brown beats random colors", "mean-ab", "random", "mse", -1),
            ("The first attempt beats one brown for all", "autoencoder", "mean-ab", "ab_error", -1),
            ("Every level of the network helps", "fcn", "autoencoder", "ab_error", -1),
            ("A critic makes it colorful", "unet_gan", "autoencoder", "colorfulness", 1),
            ("... and the critic does it, not the U-Net", "unet_gan", "unet", "colorfulness", 1),
            ("... also with another network", "gan_10", "l1", "colorfulness", 1),
            ("The more critic, the more color", "gan_10", "gan_100", "colorfulness", 1),
            ("A critic costs error", "gan_10", "l1", "ab_error", 1),
            ("L1 is more colorful than MSE", "l1", "mse", "colorfulness", 1),
            ("Rebalanced classes are colorful", "classes", "mse", "colorfulness", 1),
            ("... nearer to each photo's own", "classes", "mse", "colorfulness_error", -1),
            ("To learn beats to memorize", "l1", "nearest", "ab_error", -1),
            ("... the shipped one more so", SHIPPED, "l1", "colorfulness_error", -1),
            ("Grey has a better PSNR than color that is bold", "grey", "classes", "psnr", 1),
        )  # fmt: skip
        lines = ["| claim | measured as | difference | |", "|---|---|---:|---|"]
        for claim, row, other, column, sign in comparisons:
            if row not in self.rows or other not in self.rows:
                continue
            found = summary.difference(row, other, column)
            low, high = sorted((found.low * sign, found.high * sign))
            verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
            apart = {d * sign > 0 for d in self._between_seeds(row, other, column)}
            if verdict != "undecided" and len(apart) == 2:
                verdict = "undecided: its seeds disagree"
            names = f"{COLUMNS[column][0]}, {TITLES.get(row, row)} less {TITLES.get(other, other)}"
            digits = 3 if column == "mse" else 1
            span = f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"
            lines.append(f"| {claim} | {names} | {span} | **{verdict}** |")
        return "\n".join(lines)

    def _between_seeds(self, row: str, other: str, column: str) -> list[float]:
        """The mean difference of each run of one row and each of another."""
        ours, theirs = (
            [np.nanmean(np.array(run.square[column], float)) for run in _several(self.rows[name])]
            for name in (row, other)
        )
        return [one - two for one in ours for two in theirs]

    def _vividness(self) -> str:
        """The classes' rows at every vividness."""
        rows = {GROUND_TRUTH: self.rows[GROUND_TRUTH]} | {
            f"{1 - v:g}": row for v, row in self.at_vividness().items()
        }
        if len(rows) == 1:
            return "Not run yet."
        columns = ("ab_error", "delta_e", "colorfulness", "colorfulness_error")
        titles = {name: f"T = {name}" for name in rows if name != GROUND_TRUTH}
        return Summary(rows).table(columns, titles)

    def _seed_table(self) -> str:
        """How far apart runs are that differ in their seed alone."""
        lines = ["| | runs | ab error | colorfulness |", "|---|---:|---:|---:|"]
        for method, seeds in self.runs.items():
            if len(seeds) < 2:
                continue
            cells = [TITLES[method], str(len(seeds))]
            for column in ("ab_error", "colorfulness"):
                means = [sum(run.square[column]) / len(run.photos) for run in seeds]
                cells.append(f"{min(means):.2f} to {max(means):.2f}")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) if len(lines) > 2 else "No method has run with a second seed yet."

    def _stamp(self) -> str:
        told = self.rows[GROUND_TRUTH].stamp
        rows = [row for rows in self.rows.values() for row in _several(rows)]
        stamps = [row.stamp for row in rows]
        versions = ", ".join(
            f"{name} {_all(stamp['versions'][name] for stamp in stamps)}"
            for name in told["versions"]
        )
        commits = [stamp["commit"] for stamp in stamps]
        judged = ", ".join(f"{commits.count(one)} by `{one}`" for one in dict.fromkeys(commits))
        missing = [TITLES[name] for name in TITLES if name not in (*self.runs, SHIPPED)]
        waiting = f" Not run yet: {', '.join(missing)}." if missing else ""
        return (
            f"{told['photos']} test photos, squares of {told['size']} px ({told['crop']}), "
            f"filter: {told['filter']}; Python {_all(stamp['python'] for stamp in stamps)}, "
            f"{versions}. EvaluationResult by the code of these commits: {judged}.{waiting}"
        )

    def draw(self, report: Path, truths: Mapping[str, Image.Image]) -> None:
        """Draw the arena's figures."""
        painted = {method: self.painted(method) for method in self.runs}
        for name, methods in {"losses": LOSSES, "others": OTHER}.items():
            columns = {
                title: [painted[method][key] for key in truths]
                for method, title in methods.items()
                if method in painted
            }
            if columns:
                save_figure(comparison(columns, list(truths.values())), report / f"{name}.jpg")
        save_figure(self._loss_figure(), report / "losses.png")
        histories = {
            TITLES[method]: read_log(self.results / f"{method}-0")
            for method in ATTEMPTS
            if method in self.runs
        }
        save_figure(loss_curves(histories), report / "val_loss.png")
        for part, methods in {"attempts": ATTEMPTS, "losses": LOSSES, "others": OTHER}.items():
            some = {method: painted[method] for method in methods if method in painted}
            if some:
                draw_failures(some, TITLES, truths, report / f"failures_{part}.jpg")

    def _loss_figure(self):
        names = [name for name in LOSSES if name in self.rows]
        curve = {f"{1 - v:g}": row for v, row in self.at_vividness().items()}
        rows = {**self.some(names), **curve}
        summary = Summary(rows)

        def at(name: str):
            return tuple(summary.estimate(name, key) for key in ("ab_error", "colorfulness"))

        shown = [name for name in (*names, "grey", "mean-ab", "nearest") if name != "classes"]
        return error_against_color(
            {TITLES.get(name, name): at(name) for name in shown},
            {f"classes, T = {name}": at(name) for name in curve},
            summary.estimate(GROUND_TRUTH, "colorfulness").value,
        )


def as_json(arena: Arena) -> str:
    """Every number of the report's tables, for programs."""
    found = {part: Summary(arena.rows, part).as_dict() for part in ("square", "full")}
    return json.dumps({"stamp": arena.rows[GROUND_TRUTH].stamp, **_rounded(found)}, indent=1) + "\n"


def _rounded(found):
    """The same with 9 digits of each number: the last ones depend on the machine."""
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return float(f"{found:.9g}") if isinstance(found, float) else found
