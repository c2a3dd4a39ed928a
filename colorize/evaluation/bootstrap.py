"""Bootstrap intervals over photos, and paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult
from colorize.metrics.features import EXTRACTORS, LPIPS, column_names
from colorize.metrics.image import NO_COLOR

DRAWS = 2000  # of the bootstrap
_PSNR_PEAK = 255**2


# What a table's columns are called, and in which direction they are better: -1 lower, 1 higher,
# 0 the nearer to the truth's.
COLUMNS = {
    "ab_error": ("ab error", -1),
    "ab_error_worst_decile": ("ab error, worst tenth", -1),
    "delta_e": ("ΔE2000", -1),
    "colorfulness_error": ("Δ colorfulness", -1),
    "colorfulness_absolute_error": ("Δ colorfulness (absolute)", -1),
    "colorfulness": ("colorfulness", 0),
    "colorfulness_absolute": ("colorfulness (absolute)", 0),
    "pooled_colorfulness_error": ("pooled Δ colorfulness", -1),
    "cast": ("cast", 0),
    "pooled_colorfulness_absolute_error": ("pooled Δ colorfulness (absolute)", -1),
    "pooled_cast": ("pooled cast", 0),
    "bleeding": ("bleeding", 0),
    "ssim": ("SSIM", 1),
    LPIPS: (LPIPS, -1),
    "mse": ("MSE", -1),
    "l1": ("L1", -1),
    "smooth_l1": ("smooth L1", -1),
    "pooled_psnr": ("pooled PSNR dB", 1),
    "psnr": ("PSNR dB", 1),
    **{column: (column, -1) for name in EXTRACTORS for column in column_names(name)},
}


@dataclass(frozen=True)
class Estimate:
    """A mean over the photos, with its 95 % interval."""

    value: float
    low: float
    high: float


class Summary:
    """The rows of a table, estimated from the same photos drawn again and again.

    The bootstrap (Efron 1979) draws as many photos as there are, with replacement, 2,000 times;
    of each row the same photos, so that differences between rows are paired.

    Attributes:
        rows: names in their order, the truth first.
    """

    def __init__(
        self,
        judged: Mapping[str, EvaluationResult | Sequence[EvaluationResult]],
        part: str = "square",
        seed: int = 0,
    ):
        """Take the rows, and of each what was measured at a size.

        Args:
            judged: by name; all of the same photos, `truth` among them. Of several runs of one
                method, which differ in their seed, every number is worked out apart, what is
                pooled too, and then the mean taken.
            part: "square" or "full".
            seed: of the bootstrap.

        Raises:
            ValueError: if the rows are not of the same photos.
        """
        runs = {
            name: [found] if isinstance(found, EvaluationResult) else list(found)
            for name, found in judged.items()
        }
        truth = runs[GROUND_TRUTH][0]
        strangers = [n for n, some in runs.items() if any(r.photos != truth.photos for r in some)]
        if strangers:
            raise ValueError(f"{', '.join(strangers)}: not of the same photos as the truth")
        self.rows = [GROUND_TRUTH, *(name for name in judged if name != GROUND_TRUTH)]
        self.photos = len(truth.photos)
        generator = np.random.default_rng(seed)
        shares = np.full(self.photos, 1 / self.photos)
        # The first draw is each photo once: the estimate itself.
        draws = generator.multinomial(self.photos, shares, DRAWS)
        self._weights = np.vstack((np.ones(self.photos), draws)).astype(float)
        self._features = {
            name: _together([run.features for run in some]) if part == "square" else {}
            for name, some in runs.items()
        }
        self._per_photo = {
            name: [_measures(run, part) for run in some] for name, some in runs.items()
        }
        truth_colors = self._means(self._per_photo[GROUND_TRUTH][0]["colorfulness"])
        truth_absolute = self._means(self._per_photo[GROUND_TRUTH][0]["colorfulness_absolute"])
        self._values = {}
        for name, some in self._per_photo.items():
            drawn = [self._drawn(one, truth_colors, truth_absolute) for one in some]
            self._values[name] = {key: np.mean([d[key] for d in drawn], axis=0) for key in drawn[0]}

    def _drawn(
        self, measures: Mapping[str, np.ndarray], truth: np.ndarray, absolute: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Of each draw: each measure's mean over its photos, and what is pooled over them."""
        found = {name: self._means(values) for name, values in measures.items()}
        # Where the PSNR is not a number it is infinite: such a painting has no error.
        mse = np.nan_to_num(_PSNR_PEAK / 10 ** (measures["psnr"] / 10))
        with np.errstate(divide="ignore"):
            found["pooled_psnr"] = 10 * np.log10(_PSNR_PEAK / self._means(mse))
        found["ab_error_worst_decile"] = self._worst(measures["ab_error"])
        found["pooled_colorfulness_error"] = np.abs(found["colorfulness"] - truth)
        found["pooled_colorfulness_absolute_error"] = np.abs(
            found["colorfulness_absolute"] - absolute
        )
        length = np.hypot(found["mean_a"], found["mean_b"])
        found["pooled_cast"] = length / np.where(
            found["chroma"] < NO_COLOR, math.nan, found["chroma"]
        )
        return found

    def _means(self, values: np.ndarray) -> np.ndarray:
        """Over the photos of each draw that have a value; NaN where none has."""
        known = ~np.isnan(values)
        counts = self._weights[:, known]
        total = counts.sum(1)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, counts @ values[known] / total, math.nan)

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
        return bool(self._features[GROUND_TRUTH])

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
        """How much more a row has than another, photo by photo; None where one has nothing.

        Of a measure that some photos lack, over the photos where both rows have it.
        """
        both = [self._per_photo[name] for name in (row, other)]
        if all(column in one for some in both for one in some):
            seeds = [np.mean([one[column] for one in some], axis=0) for some in both]
            drawn = self._means(seeds[0] - seeds[1])
        elif all(column in self._values[name] for name in (row, other)):
            drawn = self._values[row][column] - self._values[other][column]
        else:
            return None
        return None if np.isnan(drawn[0]) else _estimate(drawn)

    def ranks(self, column: str) -> dict[str, tuple[int, int]]:
        """By row, but the truth: the best and the worst place that it may have.

        As many rows are before it as are better beyond doubt, and as many behind it as are worse.
        Beyond doubt is a paired difference whose interval leaves 0 out. The intervals are of one
        comparison each: among many, some will be beyond doubt by luck.
        """
        sign = COLUMNS[column][1]
        if sign == 0:
            raise ValueError(f"{column} has no better and worse")
        rows = [
            row
            for row in self.rows
            if row != GROUND_TRUTH and isinstance(self.estimate(row, column), Estimate)
        ]
        ranks = {}
        for row in rows:
            before = behind = 0
            for other in rows:
                found = None if other == row else self.difference(other, row, column)
                if found is not None:
                    low, high = sorted((found.low * sign, found.high * sign))
                    before, behind = before + (low > 0), behind + (high < 0)
            ranks[row] = (1 + before, len(rows) - behind)
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
            rank: the column by which rows are ordered, with the places that each may have; None
                leaves them as they are.
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
        order = sorted(self.rows, key=lambda row: (row != GROUND_TRUTH, self._at(row, rank)))
        first = ["", "rank"] if rank else [""]
        lines = [
            "| " + " | ".join([*first, *heads]) + " |",
            "|---|" + "---:|" * (len(heads) + len(first) - 1),
        ]
        for row in order if rank else self.rows:
            cells = [(titles or {}).get(row, row)]
            if rank:
                places = sorted(set(ranks.get(row, ())))
                cells.append("–".join(map(str, places)))
            for column in columns:
                known = row != GROUND_TRUTH or COLUMNS[column][1] == 0  # the truth has no errors
                cells.append(_cell(self.estimate(row, column), column) if known else "")
            lines.append("| " + " | ".join(cells) + " |")
        notes = "".join(f"\n\n{COLUMNS[name][0]}: {line}." for name, line in skipped.items())
        return ("\n".join(lines) if columns else "") + notes

    def _at(self, row: str, column: str | None) -> float:
        found = self.estimate(row, column) if column else None
        return found.value * -COLUMNS[column][1] if isinstance(found, Estimate) else 0.0

    def _skipped(self, columns: Sequence[str]) -> dict[str, str]:
        """Why columns are empty, of those that are."""
        told = {column: self._features[GROUND_TRUTH].get(column) for column in columns}
        return {column: line for column, line in told.items() if isinstance(line, str)}

    def as_dict(self, against: str = "mean-ab") -> dict[str, dict]:
        """Every estimate, and every difference to one row, for JSON."""
        found: dict[str, dict] = {}
        places = self.ranks("ab_error")
        for row in self.rows:
            cells, differences = {}, {}
            for column in COLUMNS:
                estimate = self.estimate(row, column)
                cells[column] = _told(estimate)
                if against in self.rows and row not in (against, GROUND_TRUTH):
                    difference = self.difference(row, against, column)
                    differences[column] = _told(difference)
            found[row] = {"estimates": cells, "places": places.get(row)}
            if differences:
                found[row][f"less {against}"] = differences
        return found


def _measures(row: EvaluationResult, part: str) -> dict[str, np.ndarray]:
    """What was measured of each photo, NaN where there is nothing."""
    measures = dict(getattr(row, part))
    told = row.features.get(LPIPS)
    if part == "square" and isinstance(told, dict):
        measures[LPIPS] = told["values"]
    return {
        name: np.array([math.nan if value is None else value for value in values])
        for name, values in measures.items()
    }


def _together(features: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What networks say of several seeds: the mean of the numbers, or why there are none."""
    found = {}
    for column, told in features[0].items():
        every = [one[column] for one in features]
        skipped = next((one for one in every if isinstance(one, str)), None)
        found[column] = skipped or {
            key: np.mean([one[key] for one in every], axis=0).tolist() for key in told
        }
    return found


def _estimate(values: np.ndarray) -> Estimate:
    drawn = values[1:][~np.isnan(values[1:])]
    alone = not len(drawn) or not np.isfinite(values[0])
    low, high = (
        (math.nan, math.nan) if alone else np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")
    )
    return Estimate(float(values[0]), float(low), float(high))


def _told(found: Estimate | str | None) -> object:
    """For JSON, which has no NaN."""
    if not isinstance(found, Estimate):
        return found
    return {key: value if math.isfinite(value) else None for key, value in vars(found).items()}


# Digits after the point, of the columns that are small numbers.
_DIGITS = {"cast": 2, "pooled_cast": 2, "bleeding": 3, "ssim": 3, LPIPS: 3, "mse": 4, "l1": 4}
_DIGITS |= {"smooth_l1": 4} | {column_names(name)[0]: 3 for name in EXTRACTORS}


def _cell(found: Estimate | str | None, column: str) -> str:
    if found is None:
        return ""
    if isinstance(found, str):
        return "skipped"
    digits = _DIGITS.get(column, 1)
    if math.isnan(found.low):
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f}–{found.high:.{digits}f})"
