"""Draw the report's figures and tables from the small results kept in `report/results/`.

    python scripts/report.py               draw report/
    python scripts/report.py figures RUN   a run of yours: figures into RUN/figures

All pictures are of the embedded test photos, all of them, chosen by nobody.
"""

import argparse
import json
from pathlib import Path

from reports import story
from reports.arena import Arena, as_json
from reports.pages import REPORT, fill_in, read_json, sample_photos
from reports.shipped import card_table, shipped_tables
from reports.speed import film_tables, infer_tables, overfit_table, speed_tables

from colorize import Colorizer, read_photo
from colorize.models.pretrained import BUNDLED, CARD, DEFAULT
from colorize.utils.files import atomic_write
from colorize.visualization import inflection_curve, loss_curves, save_figure, triptychs


def draw(report: Path = REPORT, card: Path = BUNDLED / DEFAULT / CARD) -> None:
    """Draw every figure of the report, and write its tables into its text and into the card."""
    print(f"drawing {report}, about a minute", flush=True)
    results, truths = report / "results", sample_photos()
    arena = Arena(results / "arena")
    arena.draw(report, truths)
    painted = {name: arena.painted(name) for name in story.FOLDERS if name in arena.runs}
    best = {key: read_photo(results / "ship" / "painted" / f"{key}.jpg") for key in truths}
    chosen = story.draw(painted, best, truths, report)
    fill_in(report / "README.md", arena.tables() | chosen | shipped_tables(results / "ship"))
    fill_in(card, {"measures": card_table(results / "ship")})
    with atomic_write(report / "arena.json") as part:
        part.write_text(as_json(arena))
    fill_in(report / "training.md", speed_tables(read_json(results / "bench_train.json")))
    bench, fuzz = (read_json(results / f"{name}.json") for name in ("bench_infer", "fuzz"))
    fill_in(report / "photos.md", infer_tables(bench, fuzz))
    fill_in(report / "films.md", film_tables(read_json(results / "bench_film.json")))
    save_figure(
        inflection_curve(read_json(results / "nogan_quick_scores.json")), report / "turn.png"
    )
    fill_in(report / "methods.md", {"overfit": overfit_table(read_json(results / "overfit.json"))})
    print("drawn")


def figures(run: Path) -> None:
    """Figures of any run, on the embedded test photos, into the run's own folder."""
    colorizer = Colorizer.from_pretrained(run)
    truths = list(sample_photos().values())
    paintings = [colorizer(truth) for truth in truths]
    save_figure(triptychs(paintings, truths), run / "figures" / "painted.jpg")
    history = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    save_figure(loss_curves({run.name: history}), run / "figures" / "val_loss.png")
    print(f"drew {run / 'figures'}")


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    commands = parser.add_subparsers(dest="command")
    own = commands.add_parser("figures")
    own.add_argument("run", type=Path)
    args = parser.parse_args()
    if args.command == "figures":
        figures(args.run)
    else:
        draw()


if __name__ == "__main__":
    main()
