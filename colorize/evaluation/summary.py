"""Means with intervals, paired differences, ranks and tables of what was judged."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colorize.evaluation.features import EXTRACTORS, LPIPS, columns
from colorize.evaluation.judge import TRUTH, Judged
from colorize.metrics import NO_COLOR
from colorize.runtime import written_beside

_DRAWS = 2000  # of the bootstrap
_PSNR_PEAK = 255**2

# What a table's columns are called, and in which direction they are better: -1 lower, 1 higher,
# 0 the nearer to the truth's.
COLUMNS = {
    "ab_error": ("ab error", -1),
    "worst_ab_error": ("ab error, worst tenth", -1),
    "delta_e": ("ΔE2000", -1),
    "colorfulness_error": ("Δ colorfulness", -1),
    "colorfulness_absolute_error": ("Δ colorfulness (absolute)", -1),
    "colorfulness": ("colorfulness", 0),
    "colorfulness_absolute": ("colorfulness (absolute)", 0),
    "pooled_colorfulness_error": ("pooled Δ colorfulness", -1),
    "cast": ("cast", 0),
    "pooled_cast": ("pooled cast", 0),
    "bleeding": ("bleeding", 0),
    "ssim": ("SSIM", 1),
    LPIPS: (LPIPS, -1),
    "mse": ("MSE", -1),
    "l1": ("L1", -1),
    "smooth_l1": ("smooth L1", -1),
    "pooled_psnr": ("pooled PSNR dB", 1),
    "psnr": ("PSNR dB", 1),
    **{column: (column, -1) for name in EXTRACTORS for column in columns(name)},
}
ERRORS = ("ab_error", "delta_e", "colorfulness_error", "ssim")
COLORS = ("colorfulness", "colorfulness_absolute", "pooled_colorfulness_error", "pooled_cast")
SEEN = (LPIPS, *(column for name in EXTRACTORS for column in columns(name)))
OTHERS = ("worst_ab_error", "bleeding", "pooled_psnr", "psnr")


@dataclass(frozen=True)
class Estimate:
    """A mean over the photos, with its 95 % interval."""

    value: float
    low: float
    high: float


def merged(name: str, seeds: Sequence[Judged]) -> Judged:
    """A method's runs of several seeds as one row: the mean over them, photo by photo.

    Raises:
        ValueError: if they are not of the same photos.
    """
    first = seeds[0]
    if any(run.photos != first.photos for run in seeds):
        raise ValueError(f"{name}: its runs were judged by other photos than each other")

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def photo_by_photo(part: str) -> dict[str, list[float | None]]:
        found = [getattr(run, part) for run in seeds]
        return {
            measure: [mean(values) for values in zip(*(one[measure] for one in found), strict=True)]
            for measure in found[0]
        }

    features = {}
    for column, told in first.features.items():
        features[column] = told
        if isinstance(told, dict):
            found = [run.features[column] for run in seeds]
            features[column] = {
                key: np.mean([one[key] for one in found], axis=0).tolist() for key in told
            }
    stamp = first.stamp | {"seeds": len(seeds)}
    return Judged(
        name, stamp, first.photos, photo_by_photo("square"), photo_by_photo("full"), features
    )


class Summary:
    """The rows of a table, estimated from the same photos drawn again and again.

    The bootstrap (Efron 1979) draws as many photos as there are, with replacement, 2,000 times;
    of each row the same photos, so that differences between rows are paired.

    Attributes:
        rows: names in their order, the truth first.
    """

    def __init__(self, judged: Mapping[str, Judged], part: str = "square", seed: int = 0):
        """Take the rows, and of each what was measured at a size.

        Args:
            judged: by name; all of the same photos, `truth` among them.
            part: "square" or "full".
            seed: of the bootstrap.

        Raises:
            ValueError: if the rows are not of the same photos.
        """
        truth = judged[TRUTH]
        strangers = [name for name, row in judged.items() if row.photos != truth.photos]
        if strangers:
            raise ValueError(f"{', '.join(strangers)}: not of the same photos as the truth")
        self.rows = [TRUTH, *(name for name in judged if name != TRUTH)]
        self.photos = len(truth.photos)
        generator = np.random.default_rng(seed)
        shares = np.full(self.photos, 1 / self.photos)
        # The first draw is each photo once: the estimate itself.
        draws = generator.multinomial(self.photos, shares, _DRAWS)
        self._weights = np.vstack((np.ones(self.photos), draws)).astype(float)
        features = {name: row.features for name, row in judged.items()}
        self._features = features if part == "square" else {name: {} for name in judged}
        self._values = {name: self._drawn(judged[name], part) for name in self.rows}
        mean = {name: values["colorfulness"] for name, values in self._values.items()}
        for name, values in self._values.items():
            values["pooled_colorfulness_error"] = np.abs(mean[name] - mean[TRUTH])

    def _drawn(self, row: Judged, part: str) -> dict[str, np.ndarray]:
        """Each measure's mean over the photos of each draw; NaN where there is none."""
        measures = dict(getattr(row, part))
        told = self._features[row.name].get(LPIPS)
        if isinstance(told, dict):
            measures[LPIPS] = told["values"]
        found = {name: self._means(values) for name, values in measures.items()}
        mse = [None if v is None else _PSNR_PEAK / 10 ** (v / 10) for v in measures["psnr"]]
        found["pooled_psnr"] = 10 * np.log10(_PSNR_PEAK / self._means(mse))
        found["worst_ab_error"] = self._worst(np.array(measures["ab_error"]))
        length = np.hypot(found["mean_a"], found["mean_b"])
        chroma = np.where(found["chroma"] < NO_COLOR, math.nan, found["chroma"])
        found["pooled_cast"] = length / chroma
        return found

    def _means(self, values: Sequence[float | None]) -> np.ndarray:
        array = np.array([math.nan if value is None else value for value in values])
        known = ~np.isnan(array)
        if not known.any():
            return np.full(len(self._weights), math.nan)
        counts = self._weights[:, known]
        return counts @ array[known] / np.maximum(counts.sum(1), 1e-9)

    def _worst(self, values: np.ndarray, share: float = 0.1) -> np.ndarray:
        """The mean of the largest values, a share of the photos of each draw."""
        order = np.argsort(-values)
        times = self._weights[:, order]
        wanted = share * self.photos
        before = times.cumsum(1) - times
        taken = np.clip(wanted - before, 0, times)  # of the last one maybe a part
        return taken @ values[order] / wanted

    @property
    def has_features(self) -> bool:
        """Whether networks were asked."""
        return bool(self._features[TRUTH])

    def estimate(self, row: str, column: str) -> Estimate | str | None:
        """A row's value in a column; a line where it was skipped, None where there is none."""
        told = self._features[row].get(column)
        if isinstance(told, str):
            return told
        if isinstance(told, dict) and "value" in told:
            reach = 1.96 * told.get("error", math.nan)
            return Estimate(told["value"], told["value"] - reach, told["value"] + reach)
        values = self._values[row].get(column)
        return None if values is None or np.isnan(values[0]) else _estimate(values)

    def difference(self, row: str, other: str, column: str) -> Estimate | None:
        """How much more a row has than another, photo by photo; None where one has nothing."""
        values = [self._values[name].get(column) for name in (row, other)]
        if any(found is None or np.isnan(found[0]) for found in values):
            return None
        return _estimate(values[0] - values[1])

    def ranks(self, column: str) -> dict[str, int]:
        """By row, but the truth: 1 and the number of rows that are better beyond doubt.

        Beyond doubt is a paired difference whose interval leaves 0 out; rows between which there
        is doubt may share a rank.
        """
        sign = COLUMNS[column][1]
        if sign == 0:
            raise ValueError(f"{column} has no better and worse")
        rows = [
            row
            for row in self.rows
            if row != TRUTH and isinstance(self.estimate(row, column), Estimate)
        ]
        ranks = {}
        for row in rows:
            differences = [self.difference(other, row, column) for other in rows if other != row]
            ranks[row] = 1 + sum(
                d is not None and (d.low > 0 if sign > 0 else d.high < 0) for d in differences
            )
        return ranks

    def table(
        self,
        columns: Sequence[str],
        titles: Mapping[str, str] | None = None,
        rank: str | None = None,
    ) -> str:
        """Some columns as a Markdown table, each value with its interval.

        Args:
            columns: names in `COLUMNS`; one that no row has is left out.
            titles: of the rows; left out, their names.
            rank: the column by which rows are ranked and ordered; None leaves them as they are.
        """
        skipped = self._skipped(columns)
        columns = [
            column
            for column in columns
            if any(isinstance(self.estimate(row, column), Estimate) for row in self.rows)
        ]
        arrows = {-1: " ↓", 0: "", 1: " ↑"}
        heads = [COLUMNS[column][0] + arrows[COLUMNS[column][1]] for column in columns]
        ranks = self.ranks(rank) if rank else {}
        order = sorted(self.rows, key=lambda row: (ranks.get(row, 0), self._at(row, rank)))
        first = ["", "rank"] if rank else [""]
        lines = [
            "| " + " | ".join([*first, *heads]) + " |",
            "|---|" + "---:|" * (len(heads) + len(first) - 1),
        ]
        for row in order if rank else self.rows:
            cells = [(titles or {}).get(row, row)]
            if rank:
                cells.append(str(ranks.get(row, "")))
            for column in columns:
                known = row != TRUTH or COLUMNS[column][1] == 0  # the truth has no errors
                cells.append(_cell(self.estimate(row, column), column) if known else "")
            lines.append("| " + " | ".join(cells) + " |")
        notes = "".join(f"\n\n{COLUMNS[name][0]}: {line}." for name, line in skipped.items())
        return ("\n".join(lines) if columns else "") + notes

    def _at(self, row: str, column: str | None) -> float:
        found = self.estimate(row, column) if column else None
        return found.value * -COLUMNS[column][1] if isinstance(found, Estimate) else 0.0

    def _skipped(self, columns: Sequence[str]) -> dict[str, str]:
        """Why columns are empty, of those that are."""
        told = {column: self._features[TRUTH].get(column) for column in columns}
        return {column: line for column, line in told.items() if isinstance(line, str)}

    def as_dict(self, against: str = "mean-ab") -> dict[str, dict]:
        """Every estimate, and every difference to one row, for JSON."""
        found: dict[str, dict] = {}
        for row in self.rows:
            cells, differences = {}, {}
            for column in COLUMNS:
                estimate = self.estimate(row, column)
                cells[column] = vars(estimate) if isinstance(estimate, Estimate) else estimate
                if against in self.rows and row not in (against, TRUTH):
                    difference = self.difference(row, against, column)
                    differences[column] = None if difference is None else vars(difference)
            found[row] = {"estimates": cells}
            if differences:
                found[row][f"less {against}"] = differences
        return found


def tables(summary: Summary, titles: Mapping[str, str] | None = None) -> str:
    """The columns that matter, in tables narrow enough for a small screen."""
    told = [
        summary.table(ERRORS, titles, rank="ab_error"),
        summary.table(COLORS, titles),
        summary.table(OTHERS, titles),
    ]
    if summary.has_features:
        told.insert(2, summary.table(SEEN, titles))
    return "\n\n".join(told)


def write_summary(judged: Mapping[str, Judged], out: str | os.PathLike) -> str:
    """Write `summary.json` and `summary.md` into a folder; returns the Markdown."""
    parts = {"square": f"On squares of {judged[TRUTH].stamp['size']} px"}
    if judged[TRUTH].full:
        parts["full"] = "In full size"
    summaries = {part: Summary(judged, part) for part in parts}
    told = {
        "stamp": judged[TRUTH].stamp | {"bootstrap": {"draws": _DRAWS, "seed": 0}},
        "rows": {name: row.stamp["row"] for name, row in judged.items()},
        **{part: summary.as_dict() for part, summary in summaries.items()},
    }
    with written_beside(Path(out, "summary.json")) as part:
        part.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    text = "\n\n".join(
        f"{title}, {summaries[part].photos} photos, with 95 % intervals:\n\n"
        + tables(summaries[part])
        for part, title in parts.items()
    )
    with written_beside(Path(out, "summary.md")) as part:
        part.write_text(text + "\n")
    return text


def _estimate(values: np.ndarray) -> Estimate:
    low, high = np.nanquantile(values[1:], (0.025, 0.975))
    return Estimate(float(values[0]), float(low), float(high))


# Digits after the point, of the columns that are small numbers.
_DIGITS = {"cast": 2, "pooled_cast": 2, "bleeding": 3, "ssim": 3, LPIPS: 3, "mse": 4, "l1": 4}
_DIGITS |= {"smooth_l1": 4} | {columns(name)[0]: 3 for name in EXTRACTORS}


def _cell(found: Estimate | str | None, column: str) -> str:
    if found is None:
        return ""
    if isinstance(found, str):
        return "skipped"
    digits = _DIGITS.get(column, 1)
    if math.isnan(found.low):
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f}–{found.high:.{digits}f})"
