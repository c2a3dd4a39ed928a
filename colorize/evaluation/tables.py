"""Markdown tables and JSON of evaluation results."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colorize.evaluation.baselines import GROUND_TRUTH
from colorize.evaluation.bootstrap import DRAWS, MIN_PHOTOS, SEED, Estimate, Summary
from colorize.evaluation.result import EvaluationResult
from colorize.metrics.columns import COLUMNS
from colorize.metrics.features import PERCEPTUAL_METRICS
from colorize.utils.checks import counted
from colorize.utils.files import atomic_write

ERROR_COLUMNS = ("ab_error", "ab_mae", "delta_e", "colorfulness_error", "ssim")
COLOR_COLUMNS = (
    "colorfulness",
    "colorfulness_absolute",
    "dataset_colorfulness_error",
    "dataset_color_cast",
)
PERCEPTUAL_COLUMNS = tuple(column for metric in PERCEPTUAL_METRICS for column in metric.columns)
OTHER_COLUMNS = ("ab_error_worst_decile", "bleeding", "dataset_psnr", "psnr")
_TOO_FEW = f"There are no intervals and no ranks: these need at least {MIN_PHOTOS} photos."
_ARROWS = {None: "", True: " ↑", False: " ↓"}


def table(
    summary: Summary,
    columns: Sequence[str],
    titles: Mapping[str, str] | None = None,
    rank_by: str | None = None,
) -> str:
    """Format some metrics as a Markdown table, each value with its interval.

    Of fewer than 5 photos there are no intervals and no ranks, which a note says.

    Args:
        summary: the estimates.
        columns: keys of `COLUMNS`; one for which no predictor has a value is left out.
        titles: of the predictors (default: their names).
        rank_by: the metric by which predictors are sorted; a column with their ranks is added.
    """
    text = _table(summary, columns, titles, rank_by)
    return text if summary.has_intervals else f"{text}\n\n{_TOO_FEW}"


def _table(
    summary: Summary,
    columns: Sequence[str],
    titles: Mapping[str, str] | None = None,
    rank_by: str | None = None,
) -> str:
    filled = [c for c in columns if any(summary.estimate(name, c) for name in summary.names)]
    heads = [COLUMNS[c].title + _ARROWS[COLUMNS[c].higher_is_better] for c in filled]
    ranks = summary.ranks(rank_by) if rank_by else {}
    first = ["", "rank"] if ranks else [""]
    lines = [
        "| " + " | ".join([*first, *heads]) + " |",
        "|---|" + "---:|" * (len(heads) + len(first) - 1),
    ]
    for name in _sorted_names(summary, rank_by) if rank_by else summary.names:
        cells = [(titles or {}).get(name, name)]
        if ranks:
            cells.append("–".join(map(str, sorted(set(ranks.get(name, ()))))))
        for column in filled:
            is_error = COLUMNS[column].higher_is_better is not None
            blank = name == GROUND_TRUTH and is_error  # the ground truth has no errors
            cells.append("" if blank else _cell(summary.estimate(name, column), column))
        lines.append("| " + " | ".join(cells) + " |")
    reasons = {column: summary.skip_reason(column) for column in columns}
    notes = "".join(f"\n\n{COLUMNS[c].title}: {text}." for c, text in reasons.items() if text)
    return ("\n".join(lines) if filled else "") + notes


def _sorted_names(summary: Summary, column: str) -> list[str]:
    """Sort the predictors from best to worst, the ground truth first."""
    sign = -1 if COLUMNS[column].higher_is_better else 1

    def key(name: str) -> tuple[bool, float]:
        estimate = summary.estimate(name, column)
        return name != GROUND_TRUTH, estimate.value * sign if estimate else 0.0

    return sorted(summary.names, key=key)


def _cell(estimate: Estimate | None, column: str) -> str:
    if estimate is None:
        return ""
    digits = COLUMNS[column].digits
    if math.isnan(estimate.low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"


def tables(summary: Summary, titles: Mapping[str, str] | None = None) -> str:
    """Format the main metrics in several tables, each narrow enough for a small screen."""
    texts = [
        _table(summary, ERROR_COLUMNS, titles, rank_by="ab_error"),
        _table(summary, COLOR_COLUMNS, titles),
    ]
    if summary.has_perceptual:
        texts.append(_table(summary, PERCEPTUAL_COLUMNS, titles))
    texts.append(_table(summary, OTHER_COLUMNS, titles))
    return "\n\n".join(texts if summary.has_intervals else [*texts, _TOO_FEW])


def photo_count(summary: Summary) -> str:
    """Say of how many photos the estimates are, and whether with intervals."""
    photos = counted(summary.photos, "photo")
    return f"{photos}, with 95 % intervals" if summary.has_intervals else photos


def as_json(summary: Summary, baseline: str = "mean-ab") -> dict[str, dict[str, Any]]:
    """Collect every estimate, and every paired difference from a baseline, for JSON."""
    ranks = summary.ranks("ab_error")
    records: dict[str, dict[str, Any]] = {}
    for name in summary.names:
        records[name] = {
            "estimates": {
                column: _json_value(
                    summary.estimate(name, column), summary.skip_reason(column, name)
                )
                for column in COLUMNS
            },
            "ranks": ranks.get(name),
        }
        if baseline in summary.names and name not in (baseline, GROUND_TRUTH):
            records[name][f"difference from {baseline}"] = {
                column: _json_value(summary.difference(name, baseline, column))
                for column in COLUMNS
            }
    return records


def _json_value(
    estimate: Estimate | None, reason: str | None = None
) -> dict[str, float | None] | str | None:
    """Return an estimate for JSON, which has no NaN; or why there is none."""
    if estimate is None:
        return reason
    return {key: value if math.isfinite(value) else None for key, value in vars(estimate).items()}


# Names may be any bytes; what is not UTF-8 becomes an escape, which is that of JSON too.
_ESCAPED = "backslashreplace"
_LEGEND = """\
rank: the ranks that the intervals of the paired differences leave open. colorfulness, color cast,
bleeding: best near the values of the ground truth. color cast: 1 if all color is one tint.
bleeding: share of color edges away from any lightness edge. absolute: by DDColor's formula,
otherwise Hasler and Süsstrunk's. dataset: over all photos at once, so that too dull and too vivid
photos cancel. Models predict the square crops as such; crops of image folders are cut out of the
full-size images. Intervals cover the sampling variance of the photos, not that of training."""


def write_summary(
    results: Mapping[str, EvaluationResult], out: str | os.PathLike, baseline: str = "mean-ab"
) -> str:
    """Write `summary.json` and `summary.md` into a folder.

    Args:
        results: by predictor, the ground truth among them.
        out: the folder.
        baseline: the JSON holds the paired differences of every predictor from this one.

    Returns:
        The Markdown.
    """
    provenance = results[GROUND_TRUTH].provenance
    titles = {"crops": f"Square crops of {provenance['size']} px"}
    summaries = {"crops": Summary(results)}
    if results[GROUND_TRUTH].full_size_metrics:
        titles["full_size"] = "Full size"
        summaries["full_size"] = Summary(results, full_size=True)
    record = {
        "provenance": provenance | {"bootstrap": {"draws": DRAWS, "seed": SEED}},
        "predictors": {name: result.provenance["predictor"] for name, result in results.items()},
        **{view: as_json(summary, baseline) for view, summary in summaries.items()},
    }
    with atomic_write(Path(out, "summary.json")) as tmp:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        tmp.write_text(text, encoding="utf-8", errors=_ESCAPED)
    text = "\n\n".join(
        f"{titles[view]}, {photo_count(summary)}:\n\n{tables(summary)}"
        for view, summary in summaries.items()
    )
    text += f"\n\n{_LEGEND}"
    with atomic_write(Path(out, "summary.md")) as tmp:
        tmp.write_text(text + "\n", encoding="utf-8", errors=_ESCAPED)
    return text
