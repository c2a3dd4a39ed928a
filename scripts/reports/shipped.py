"""What is known of the network that comes with the package."""

from pathlib import Path

from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult
from colorize.metrics.features import column_names
from reports.arena import BASELINES
from reports.pages import read_json

_PAIRS = (("ab error", "ab_error"), ("ΔE2000", "delta_e"))
_COLUMNS = (
    *("ab_error", "delta_e", "colorfulness", "colorfulness_error", "pooled_colorfulness_error"),
    *column_names("efficientnet-lite0")[:1],
)


def shipped_tables(results: Path) -> dict[str, str]:
    """How it was tuned, and how it fares by the test photos, as Markdown tables."""
    return {"tuning": _tuning(results / "tuning.json"), "shipped": _scores(results / "test")}


def card_table(results: Path) -> str:
    """The measures on its card: as it is shipped, and what looks at nothing."""
    rows = _test(results / "test")
    shown = {"truth": GROUND_TRUTH, "the network": "shipped", "grey": "grey", "mean-ab": "mean-ab"}
    found = {title: rows[name] for title, name in shown.items()}
    told = (
        f"By {len(found['truth'].photos)} test photos, in squares of 256 px, with 95 % intervals:"
    )
    return f"{told}\n\n{Summary(found).table(_COLUMNS)}"


def _tuning(path: Path) -> str:
    found = read_json(path)
    rows: dict[str, dict[str, list[float]]] = {}
    for row, measures in found.items():
        size, _, vividness = row.partition(" at ")
        rows.setdefault(size, {})[vividness] = measures
    column_names = list(next(part for row, part in rows.items() if " px" in row))
    lines = [
        f"| seen at, vividness | {' | '.join(column_names)} |",
        f"|---|{'---:|' * len(column_names)}",
    ]
    for size in rows:
        if size not in (GROUND_TRUTH, "grey"):
            cells = (f"{error:.1f} / {color:.0f}" for error, color in rows[size].values())
            lines.append(f"| {size} | {' | '.join(cells)} |")
    true, grey = found[GROUND_TRUTH][1], found["grey"][0]
    return "\n".join(lines) + f"\n\nTrue colorfulness: {true:.0f}. Error of grey: {grey:.1f}."


def _scores(folder: Path) -> str:
    if not folder.exists():
        return "Not scored yet: the test photos are looked at once, when its training has ended."
    rows = _test(folder)
    shipped = sorted(name for name in rows if name.startswith("shipped"))
    names = [name for name in (GROUND_TRUTH, *shipped, *BASELINES) if name in rows]
    summary = Summary({name: rows[name] for name in names})
    found = [(title, summary.difference("shipped", "mean-ab", column)) for title, column in _PAIRS]
    told = (f"{title} {one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for title, one in found)
    return f"{summary.table(_COLUMNS)}\n\nLess `mean-ab`, photo by photo: {', '.join(told)}."


def _test(folder: Path) -> dict[str, EvaluationResult]:
    found = (path for path in sorted(folder.glob("*.json")) if path.stem != "summary")
    return {path.stem: EvaluationResult.load(path) for path in found}
