"""Tables about the model that is released with the package."""

from pathlib import Path

from colorize.evaluation.baselines import BASELINES, GROUND_TRUTH
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.result import EvaluationResult
from colorize.evaluation.tables import table
from colorize.metrics.columns import COLUMNS
from reports.pages import read_json

_COLUMNS = (
    "ab_error",
    "delta_e",
    "colorfulness",
    "colorfulness_error",
    "dataset_colorfulness_error",
    "KID efficientnet-lite0",
)


def release_tables(results: Path) -> dict[str, str]:
    """Format how the model was tuned, and its metrics on the test photos."""
    return {"tuning": _tuning(results / "tuning.json"), "released": _metrics(results / "test")}


def card_table(results: Path) -> str:
    """Format the metrics of the model card: of the model as released, and of two baselines."""
    stored = _load(results / "test")
    names = {GROUND_TRUTH: GROUND_TRUTH, "released model": "released"}
    names |= {"gray": "gray", "mean-ab": "mean-ab"}
    shown = {title: stored[name] for title, name in names.items()}
    photos = len(shown[GROUND_TRUTH].photos)
    head = f"On {photos} test photos, in squares of 256 px, with 95 % intervals:"
    return f"{head}\n\n{table(Summary(shown), _COLUMNS)}"


def _tuning(path: Path) -> str:
    tuning = read_json(path)
    settings: dict[str, dict[str, list[float]]] = {}
    for name, metrics in tuning.items():
        setting, separator, vividness = name.partition(" at ")
        if separator:
            settings.setdefault(setting, {})[vividness] = metrics
    columns = list(next(iter(settings.values())))
    lines = [
        f"| input size, prior strength \\ vividness | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for setting, by_vividness in settings.items():
        cells = (f"{error:.1f} / {color:.0f}" for error, color in by_vividness.values())
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    target, gray = tuning[GROUND_TRUTH][1], tuning["gray"][0]
    footnote = (
        f"Colorfulness of the ground truth: {target:.0f}. Mean ab distance of gray: {gray:.1f}."
    )
    return "\n".join(lines) + f"\n\n{footnote}"


def _metrics(folder: Path) -> str:
    if not folder.exists():
        return "Not evaluated yet: the test photos are used once, when its training has ended."
    results = _load(folder)
    released = sorted(name for name in results if name.startswith("released"))
    names = [name for name in (GROUND_TRUTH, *released, *BASELINES) if name in results]
    summary = Summary({name: results[name] for name in names})
    differences = []
    for column in ("ab_error", "delta_e"):
        difference = summary.difference("released", "mean-ab", column)
        differences.append(
            f"{COLUMNS[column].title} {difference.value:.2f} "
            f"({difference.low:.2f} to {difference.high:.2f})"
        )
    footnote = f"Paired difference from `mean-ab`: {', '.join(differences)}."
    return f"{table(summary, _COLUMNS)}\n\n{footnote}"


def _load(folder: Path) -> dict[str, EvaluationResult]:
    paths = sorted(folder.glob("*.json.xz"))
    return {path.name.removesuffix(".json.xz"): EvaluationResult.load(path) for path in paths}
