"""Means with intervals, paired differences, ranks and tables of what was judged."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from colorize.evaluation.bootstrap import DRAWS, Summary
from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult
from colorize.metrics.features import EXTRACTORS, LPIPS, column_names
from colorize.utils.files import atomic_write

ERRORS = ("ab_error", "delta_e", "colorfulness_error", "ssim")
COLORS = ("colorfulness", "colorfulness_absolute", "pooled_colorfulness_error", "pooled_cast")
SEEN = (LPIPS, *(column for name in EXTRACTORS for column in column_names(name)))
OTHERS = ("ab_error_worst_decile", "bleeding", "pooled_psnr", "psnr")


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


_LEGEND = """\
rank: the places that a row may have, as the intervals of its paired differences to the others leave
them open. colorfulness, cast, bleeding: the nearer to the truth's the better. cast: 1 where all is
one tint. bleeding: the share of color edges away from any edge of the lightness. absolute: by
DDColor's formula, else Hasler and Süsstrunk's. pooled: over all photos at once, where too dull and
too glaring ones cancel. Runs paint the squares by themselves; those of a folder are cut out of its
whole paintings. An interval knows the luck of the photos, not that of the training."""


def write_summary(
    judged: Mapping[str, EvaluationResult], out: str | os.PathLike, against: str = "mean-ab"
) -> str:
    """Write `summary.json` and `summary.md` into a folder; returns the Markdown.

    In the JSON stand each row's paired differences from the row `against`.
    """
    parts = {"square": f"On squares of {judged[GROUND_TRUTH].stamp['size']} px"}
    if judged[GROUND_TRUTH].full:
        parts["full"] = "In full size"
    summaries = {part: Summary(judged, part) for part in parts}
    told = {
        "stamp": judged[GROUND_TRUTH].stamp | {"bootstrap": {"draws": DRAWS, "seed": 0}},
        "rows": {name: row.stamp["row"] for name, row in judged.items()},
        **{part: summary.as_dict(against) for part, summary in summaries.items()},
    }
    with atomic_write(Path(out, "summary.json")) as part:
        part.write_text(json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    text = "\n\n".join(
        f"{title}, {summaries[part].photos} photos, with 95 % intervals:\n\n"
        + tables(summaries[part])
        for part, title in parts.items()
    )
    text += f"\n\n{_LEGEND}"
    with atomic_write(Path(out, "summary.md")) as part:
        part.write_text(text + "\n")
    return text
