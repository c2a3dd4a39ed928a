"""Means with bootstrap intervals, paired differences and ranks of evaluation results."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colorize.evaluation.baselines import GROUND_TRUTH
from colorize.evaluation.result import EvaluationResult
from colorize.metrics.columns import COLUMNS
from colorize.metrics.features import LPIPS, Score
from colorize.metrics.image import NO_COLOR

DRAWS = 2000  # of the bootstrap
# Photos, at least, for intervals and ranks. Of 4 photos there are 35 different draws, fewer than
# the 40 that two tails of 2.5 % need; of 5 there are 126.
MIN_PHOTOS = 5
SEED = 0
_PSNR_PEAK = 255**2
_WORST_SHARE = 0.1

Values = dict[str, np.ndarray]  # by metric


@dataclass(frozen=True)
class Estimate:
    """A mean over photos with its 95 % interval, NaN of fewer than `MIN_PHOTOS` photos."""

    value: float
    low: float
    high: float


class Summary:
    """Estimates of every metric for several predictors, from the same resampled photos.

    The bootstrap (Efron 1979) draws as many photos as there are, with replacement, 2,000 times.
    All predictors share the draws, so that differences between them are paired.

    Attributes:
        names: of the predictors, in order, the ground truth first.
        photos: how many there are.
    """

    def __init__(
        self,
        results: Mapping[str, EvaluationResult | Sequence[EvaluationResult]],
        *,
        full_size: bool = False,
        seed: int = SEED,
    ):
        """Resample the photos, and compute the metrics of each draw.

        Args:
            results: by name, all of the same photos, `ground-truth` among them. Given several
                runs of one method that differ in their seed, each metric is computed per run,
                dataset metrics too, and then averaged.
            full_size: use the metrics of full-size photos instead of those of the crops.
            seed: of the bootstrap.

        Raises:
            ValueError: if the results are not of the same photos.
        """
        runs = {
            name: [result] if isinstance(result, EvaluationResult) else list(result)
            for name, result in results.items()
        }
        photos = runs[GROUND_TRUTH][0].photos
        others = [name for name, rs in runs.items() if any(r.photos != photos for r in rs)]
        if others:
            raise ValueError(f"{', '.join(others)}: not of the same photos as the ground truth")
        self.names = [GROUND_TRUTH, *(name for name in results if name != GROUND_TRUTH)]
        self.photos = len(photos)
        self._counts = _draw_counts(self.photos, seed)
        self._perceptual: dict[str, dict[str, Score | str]] = {
            name: {} if full_size else _mean_scores([run.perceptual for run in rs])
            for name, rs in runs.items()
        }
        self._per_photo = {
            name: [_photo_values(run, full_size) for run in rs] for name, rs in runs.items()
        }
        target = self._per_photo[GROUND_TRUTH][0]
        target_means = {
            name: self._means(target[name]) for name in ("colorfulness", "colorfulness_absolute")
        }
        self._values: dict[str, Values] = {}
        for name, per_run in self._per_photo.items():
            draws = [self._draw_values(values, target_means) for values in per_run]
            self._values[name] = {key: np.mean([d[key] for d in draws], axis=0) for key in draws[0]}

    def _draw_values(self, values: Values, target_means: Values) -> Values:
        """Compute each metric's mean over the photos of each draw, and the dataset metrics."""
        draws = {name: self._means(per_photo) for name, per_photo in values.items()}
        # PSNR is undefined where it is infinite: such a prediction has no error.
        mse = np.nan_to_num(_PSNR_PEAK / 10 ** (values["psnr"] / 10))
        with np.errstate(divide="ignore"):
            draws["dataset_psnr"] = 10 * np.log10(_PSNR_PEAK / self._means(mse))
        draws["ab_error_worst_decile"] = self._worst_means(values["ab_error"])
        for name, target in target_means.items():
            draws[f"dataset_{name}_error"] = np.abs(draws[name] - target)
        length = np.hypot(draws["mean_a"], draws["mean_b"])
        chroma = np.where(draws["chroma"] < NO_COLOR, math.nan, draws["chroma"])
        draws["dataset_color_cast"] = length / chroma
        return draws

    def _means(self, values: np.ndarray) -> np.ndarray:
        """Average over the photos of each draw that have a value; NaN where none has."""
        is_defined = ~np.isnan(values)
        counts = self._counts[:, is_defined]
        total = counts.sum(1)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, counts @ values[is_defined] / total, math.nan)

    def _worst_means(self, values: np.ndarray) -> np.ndarray:
        """Average over the largest tenth of the values of each draw."""
        order = np.argsort(-values)
        counts = self._counts[:, order]
        wanted = _WORST_SHARE * self.photos
        before = counts.cumsum(1) - counts
        taken = np.clip(wanted - before, 0, counts)  # of the last photo maybe a fraction
        return taken @ values[order] / wanted

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough photos for intervals and ranks."""
        return self.photos >= MIN_PHOTOS

    @property
    def has_perceptual(self) -> bool:
        """Whether perceptual metrics were requested."""
        return any(self._perceptual.values())

    def skip_reason(self, column: str, name: str | None = None) -> str | None:
        """Return why a perceptual metric was skipped, for one or any predictor; None if not."""
        names = self.names if name is None else [name]
        scores = [self._perceptual[name].get(column) for name in names]
        return next((score for score in scores if isinstance(score, str)), None)

    def estimate(self, name: str, column: str) -> Estimate | None:
        """Return a predictor's value of a metric; None if it has none."""
        score = self._perceptual[name].get(column)
        if isinstance(score, dict) and "value" in score:
            reach = 1.96 * score.get("error", math.nan) if self.has_intervals else math.nan
            return Estimate(score["value"], score["value"] - reach, score["value"] + reach)
        draws = self._values[name].get(column)
        if draws is None or np.isnan(draws[0]):
            return None
        defined = [_count_defined(run[column]) for run in self._per_photo[name] if column in run]
        return _interval(draws, min(defined, default=self.photos))

    def difference(self, name: str, other: str, column: str) -> Estimate | None:
        """Return the paired difference of two predictors; None if one has no value.

        A metric that is undefined for some photos is compared on those where both have it.
        """
        runs, other_runs = self._per_photo[name], self._per_photo[other]
        if all(column in values for values in (*runs, *other_runs)):
            ours, theirs = (
                np.mean([values[column] for values in rs], axis=0) for rs in (runs, other_runs)
            )
            draws, photos = self._means(ours - theirs), _count_defined(ours - theirs)
        elif column in self._values[name] and column in self._values[other]:
            draws, photos = self._values[name][column] - self._values[other][column], self.photos
        else:
            return None
        return None if np.isnan(draws[0]) else _interval(draws, photos)

    def ranks(self, column: str) -> dict[str, tuple[int, int]]:
        """Return the best and the worst rank that each predictor may have, without the truth.

        There are none of fewer than `MIN_PHOTOS` photos.

        A predictor ranks behind all that are significantly better, and before all that are
        significantly worse: those whose paired difference has an interval without 0. Intervals
        are of one comparison each; among many comparisons some are significant by chance.

        Raises:
            ValueError: if the metric has no direction.
        """
        higher_is_better = COLUMNS[column].higher_is_better
        if higher_is_better is None:
            raise ValueError(f"{column} has no better and worse")
        if not self.has_intervals:
            return {}
        sign = 1 if higher_is_better else -1
        names = [n for n in self.names if n != GROUND_TRUTH and self.estimate(n, column)]
        ranks = {}
        for name in names:
            better = worse = 0
            for other in names:
                difference = None if other == name else self.difference(other, name, column)
                if difference is not None:
                    low, high = sorted((difference.low * sign, difference.high * sign))
                    better, worse = better + (low > 0), worse + (high < 0)
            ranks[name] = (1 + better, len(names) - worse)
        return ranks


def _draw_counts(photos: int, seed: int) -> np.ndarray:
    """Count how often each draw contains each photo: (1 + DRAWS, photos)."""
    shares = np.full(photos, 1 / photos)
    draws = np.random.default_rng(seed).multinomial(photos, shares, DRAWS)
    # The first row contains each photo once: the estimate itself.
    return np.vstack((np.ones(photos), draws)).astype(float)


def _photo_values(result: EvaluationResult, full_size: bool) -> Values:
    """Return the metrics of each photo, NaN where undefined."""
    metrics = dict(result.full_size_metrics if full_size else result.crop_metrics)
    score = result.perceptual.get(LPIPS)
    if not full_size and isinstance(score, dict):
        metrics[LPIPS] = list(score["values"])
    return {
        name: np.array([math.nan if value is None else value for value in values])
        for name, values in metrics.items()
    }


def _mean_scores(runs: Sequence[Mapping[str, Score | str]]) -> dict[str, Score | str]:
    """Average the perceptual metrics of several seeds; a skipped one stays skipped."""
    means: dict[str, Score | str] = {}
    for column in runs[0]:
        scores = [run[column] for run in runs]
        reasons = [score for score in scores if isinstance(score, str)]
        if reasons:
            means[column] = reasons[0]
            continue
        numbers = [score for score in scores if isinstance(score, dict)]
        mean = Score()
        if "value" in numbers[0]:
            mean["value"] = float(np.mean([score["value"] for score in numbers]))
        if "error" in numbers[0]:
            mean["error"] = float(np.mean([score["error"] for score in numbers]))
        means[column] = mean
    return means


def _count_defined(values: np.ndarray) -> int:
    return int(np.count_nonzero(~np.isnan(values)))


def _interval(values: np.ndarray, photos: int) -> Estimate:
    """Return the first value, of so many photos, with the central 95 % of the others."""
    draws = values[1:][~np.isnan(values[1:])]
    low = high = math.nan
    if len(draws) and np.isfinite(values[0]) and photos >= MIN_PHOTOS:
        low, high = np.quantile(draws, (0.025, 0.975), method="inverted_cdf")
    return Estimate(float(values[0]), float(low), float(high))
