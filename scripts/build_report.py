"""Build the report's figures and tables from the results in `report/results/`.

    python scripts/build_report.py               build report/
    python scripts/build_report.py figures RUN   figures of your own run, into RUN/figures

All images are of the embedded test photos, all of them; none is hand-picked.
"""

import argparse
from pathlib import Path

from reports import source_project
from reports.benchmark import Benchmark, benchmark_json
from reports.metadata import metadata_table
from reports.pages import REPORT, fill_in, read_json, read_log, sample_photos
from reports.release import card_table, release_tables
from reports.speed import (
    inference_tables,
    overfit_table,
    speed_tables,
    tone_table,
    video_tables,
)

from colorize import Colorizer, read_photo
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT
from colorize.utils.files import atomic_write
from colorize.visualization import inflection_curve, loss_curves, save_figure, triptychs


def build(
    report: Path = REPORT,
    card: Path = BUNDLED / DEFAULT / CARD,
    readme: Path = REPORT.parent / "README.md",
) -> None:
    """Draw every figure, and write the tables into the report, the model card and the README."""
    print(f"building {report}, about a minute", flush=True)
    results, targets = report / "results", sample_photos()
    benchmark = Benchmark(results / "benchmark")
    benchmark.draw(report, targets)
    colorized = {
        method: benchmark.colorized(method)
        for method in source_project.FOLDERS
        if method in benchmark.runs
    }
    released = {key: read_photo(results / "release/colorized" / f"{key}.jpg") for key in targets}
    texts = source_project.draw(colorized, released, targets, report)
    fill_in(report / "README.md", benchmark.tables() | texts | release_tables(results / "release"))
    for page in (card, readme):
        fill_in(page, {"measures": card_table(results / "release")})
    with atomic_write(report / "benchmark.json") as tmp:
        tmp.write_text(benchmark_json(benchmark))
    fill_in(report / "training.md", speed_tables(read_json(results / "bench_train.json")))
    bench, fuzz = (read_json(results / f"{name}.json") for name in ("bench_infer", "fuzz"))
    tables = inference_tables(bench, fuzz) | {
        "metadata": metadata_table(),
        "tones": tone_table(read_json(results / "tones.json")),
    }
    fill_in(report / "inference.md", tables)
    fill_in(report / "video.md", video_tables(read_json(results / "bench_video.json")))
    scores = read_json(results / "nogan_quick_scores.json")
    save_figure(inflection_curve(scores), report / "inflection.png")
    fill_in(report / "methods.md", {"overfit": overfit_table(read_json(results / "overfit.json"))})
    print("built")


def draw_run(run: Path) -> None:
    """Draw figures of any run, on the embedded test photos, into the run's folder."""
    colorizer = Colorizer.from_pretrained(run)
    targets = list(sample_photos().values())
    colorized = [colorizer(target) for target in targets]
    save_figure(triptychs(colorized, targets), run / "figures" / "colorized.jpg")
    save_figure(loss_curves({run.name: read_log(run)}), run / "figures" / "val_loss.png")
    print(f"drew {run / 'figures'}")


def main() -> None:
    """Run the command."""
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    commands = parser.add_subparsers(dest="command")
    figures = commands.add_parser("figures", help="draw figures of a run")
    figures.add_argument("run", type=Path, help="the run's folder")
    args = parser.parse_args()
    if args.command == "figures":
        draw_run(args.run)
    else:
        build()


if __name__ == "__main__":
    main()
