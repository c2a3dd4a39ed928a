"""Draw the report's figures and tables from the small results kept in `report/results/`.

    python scripts/report.py                               draw report/
    python scripts/report.py collect RUN NAME --data DIR   paint, measure and keep a run as NAME
    python scripts/report.py figures RUN                   a run of yours: figures into RUN/figures

All pictures are of the embedded test photos, all of them, chosen by nobody.
"""

import argparse
import json
import random
import re
import shutil
from pathlib import Path

from PIL import Image

from colorize import Colorizer, PhotoFolder, load_samples, read_photo
from colorize.config import TrainConfig
from colorize.data.folder import Photo
from colorize.data.loaders import eval_loader
from colorize.figures import (
    comparison,
    loss_curves,
    photo_grid,
    save_figure,
    save_pictures,
    turn_curve,
)
from colorize.figures import triptychs as draw_triptychs
from colorize.metrics import as_table, baselines, evaluate, mean_ab
from colorize.runtime import written_beside

REPORT = Path(__file__).parents[1] / "report"
RESULTS = REPORT / "results"
# Names of the results in the order of the story, and of their folders in the report.
ATTEMPTS = {"autoencoder": "autoencoder", "fcn": "fcn", "unet_gan": "gan"}
BATCH = 16


def collect(run: Path, name: str, data: Path, note: str) -> None:
    """Keep a run: its settings and log, its measures, its paintings of the embedded photos."""
    result = RESULTS / name
    colorizer = Colorizer.from_pretrained(run)
    size = TrainConfig.load(run / "config.json").size
    folder = PhotoFolder(data)
    photos = {part: folder.select(part, size).photos for part in ("train", "val", "test")}
    levels = baselines(mean_ab(eval_loader(photos["train"], size, BATCH)))
    painters = {name: colorizer.network} | levels
    samples = sample_photos()
    metrics = {
        "data": note,
        "photos": {part: len(found) for part, found in photos.items()},
        "size": size,
        "validation": evaluate(levels, eval_loader(photos["val"], size, BATCH)),
        "test": evaluate(painters, eval_loader(photos["test"], size, BATCH)),
        "samples": evaluate(painters, eval_loader(samples, size, BATCH)),
        "by_photo": {
            photo.id: evaluate({name: colorizer.network}, eval_loader([photo], size, 1))[name]
            for photo in samples
        },
    }
    result.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "log.jsonl"):
        shutil.copyfile(run / file, result / file)
    with written_beside(result / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")
    paintings = {photo.id: colorizer(read_photo(photo.path)) for photo in samples}
    save_pictures(paintings, result / "painted")
    print(f"kept {run} as {result}")


def draw() -> None:
    """Draw every figure of the report, and write its tables into its text."""
    metrics = {name: read_json(RESULTS / name / "metrics.json") for name in ATTEMPTS}
    samples = sample_photos()
    truths = {photo.id: read_photo(photo.path) for photo in samples}
    painted = {
        name: {photo.id: read_photo(RESULTS / name / "painted" / f"{photo.id}.jpg")
               for photo in samples}
        for name in ATTEMPTS
    }  # fmt: skip
    for name, folder in ATTEMPTS.items():
        figure = draw_triptychs(list(painted[name].values()), list(truths.values()))
        save_figure(figure, REPORT / f"{folder}_result.jpg")
        pictures = {f"{key}_painted": picture for key, picture in painted[name].items()}
        pictures |= {f"{key}_truth": picture for key, picture in truths.items()}
        save_pictures(pictures, REPORT / folder)

    order = ("first attempt", "second attempt", "third attempt")
    rows = {
        title: list(painted[name].values()) for title, name in zip(order, ATTEMPTS, strict=True)
    }
    save_figure(comparison(rows, list(truths.values())), REPORT / "comparison.jpg")

    by_photo = {name: metrics[name]["by_photo"] for name in ATTEMPTS}
    gain = {
        key: by_photo["autoencoder"][key]["ab_error"] - by_photo["fcn"][key]["ab_error"]
        for key in truths
    }
    chosen = [max(gain, key=gain.get), min(gain, key=gain.get)]
    columns = {
        "first attempt": [painted["autoencoder"][key] for key in chosen],
        "second attempt": [painted["fcn"][key] for key in chosen],
    }
    figure = comparison(columns, [truths[key] for key in chosen])
    save_figure(figure, REPORT / "two_attempts.jpg")

    error = {key: row["ab_error"] for key, row in by_photo["unet_gan"].items()}
    ranked = sorted(error, key=error.get)
    quiz = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    answer = draw_quiz(quiz, painted["unet_gan"], truths)

    histories = {folder: read_log(RESULTS / name) for name, folder in ATTEMPTS.items()}
    references = {
        folder: levels_of(metrics[name]["validation"], RESULTS / name)
        for name, folder in ATTEMPTS.items()
    }
    save_figure(loss_curves(histories, references), REPORT / "val_loss.png")

    fill_in(REPORT / "training.md", speed_tables(read_json(RESULTS / "bench_train.json")))
    save_figure(turn_curve(read_json(RESULTS / "nogan_quick_scores.json")), REPORT / "turn.png")
    fill_in(REPORT / "methods.md", {"overfit": overfit_table(read_json(RESULTS / "overfit.json"))})
    fill_in(REPORT / "README.md", {
        "samples": table(metrics, "samples"),
        "test": table(metrics, "test"),
        "losses": as_table(metrics["autoencoder"]["test"], columns=("mse", "l1")),
        "settings": settings(metrics),
        "chosen": f"Most helped: {chosen[0]}. Least helped: {chosen[1]}.",
        "answer": answer,
    })  # fmt: skip
    print(f"drew {REPORT}")


def figures(run: Path) -> None:
    """Figures of any run, on the embedded test photos, into the run's own folder."""
    colorizer = Colorizer.from_pretrained(run)
    truths = [read_photo(photo.path) for photo in sample_photos()]
    paintings = [colorizer(truth) for truth in truths]
    save_figure(draw_triptychs(paintings, truths), run / "figures" / "painted.jpg")
    history = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    save_figure(loss_curves({run.name: history}), run / "figures" / "val_loss.png")
    print(f"drew {run / 'figures'}")


def draw_quiz(
    keys: list[str], painted: dict[str, Image.Image], truths: dict[str, Image.Image]
) -> str:
    """Truth or painted? Pairs in an order drawn by lot; returns the answer."""
    lot = random.Random(0)
    rows, answers = [], []
    for key in keys:
        pair = [("truth", truths[key]), ("painted", painted[key])]
        lot.shuffle(pair)
        rows.append([picture for _, picture in pair])
        answers.append(f"{key}: the {'left' if pair[0][0] == 'truth' else 'right'} one is true")
    save_figure(photo_grid(rows, ["?", "?"]), REPORT / "truth_or_painted.jpg")
    return "; ".join(answers) + "."


def sample_photos() -> tuple[Photo, ...]:
    return load_samples().select("test").photos


def levels_of(rows: dict, result: Path) -> dict[str, float]:
    distance = TrainConfig.load(result / "config.json").distance
    return {name: rows[name][distance] for name in ("grey", "mean-ab")}


def table(metrics: dict, part: str) -> str:
    """All attempts on the same photos, below them the rows that look at nothing."""
    rows = {"truth": metrics["autoencoder"][part]["truth"]}
    rows |= {folder: metrics[name][part][name] for name, folder in ATTEMPTS.items()}
    rows |= {name: metrics["autoencoder"][part][name] for name in ("grey", "mean-ab", "random")}
    return as_table(rows)


def settings(metrics: dict) -> str:
    """What each run was, as a Markdown table."""
    lines = [
        "| | network | photos | size | epochs | loss |",
        "|---|---|---|---|---|---|",
    ]
    for name, folder in ATTEMPTS.items():
        config = TrainConfig.load(RESULTS / name / "config.json")
        history = read_log(RESULTS / name)
        loss = config.distance
        if config.adversarial:
            loss = f"{config.distance_weight:g} {loss} + {config.adversarial} GAN"
        args = ", ".join(f"{key}={value}" for key, value in config.model_args.items())
        cells = (
            *(folder, f"{config.model}({args})", metrics[name]["photos"]["train"]),
            *(f"{config.size} px", f"{len(history)} of {config.epochs}", loss),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def speed_tables(bench: dict) -> dict[str, str]:
    """What `scripts/bench.py train` measured, as Markdown tables."""
    rows = {row["name"]: row for row in bench["rows"]}
    steps = [
        "| step | plain, ms/photo | ours, ms/photo | times as fast | GFLOP/photo | share of peak | "
        "at the full peak |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    ends = [
        "| data and step | photos/s | step alone / both | reading costs | the whole preset |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f}"
        if "hours" in row:
            cells = [f"{row['photos_per_second']:.1f}", ratio, f"{row['idle_share']:.0%}"]
            ends.append(f"| {' | '.join([f'`{name}`', *cells, _span(row['hours'])])} |")
            continue
        cells = [f"{row['plain']:.0f}", f"{row['ours']:.0f}", ratio, f"{row['gflop']:.1f}"]
        cells += [f"{row['share']:.0%}", f"{row['ratio_at_peak']:.1f}"]
        steps.append(f"| {' | '.join([f'`{name}`', *cells])} |")
    step = next(row for row in rows.values() if "precision" in row)
    machine = (
        f"torch {bench['torch']}, {bench['gpu'] or 'CPU'}, {bench['threads']} threads, "
        f"{step['precision']}; fastest convolution {step['peak_gflops']:.0f} GFLOP/s."
    )
    return {"machine": machine, "steps": "\n".join(steps), "end_to_end": "\n".join(ends)}


def overfit_table(found: dict) -> str:
    """What `scripts/overfit.py` measured, as a Markdown table."""
    rows = {row["preset"].removesuffix("_quick"): row for row in found["rows"]}
    lines = [
        f"| after {found['steps']} steps | ab error | ms a step | times the U-Net's |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        times = row["ms_per_step"] / rows["unet"]["ms_per_step"]
        error, step = f"{row['ab_error']:.1f}", f"{row['ms_per_step']:.0f}"
        lines.append(f"| {name} | {error} | {step} | {times:.1f} |")
    return "\n".join([*lines, f"| grey | {rows['unet']['grey']:.1f} | | |"])


def _span(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def fill_in(path: Path, texts: dict[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page."""
    page = path.read_text()
    for name, text in texts.items():
        page, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, text=text: f"{match[1]}{text}\n{match[2]}",
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{path} has {count} places for {name}, not one")
    with written_beside(path) as part:
        part.write_text(page)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def read_log(result: Path) -> list[dict]:
    return [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    commands = parser.add_subparsers(dest="command")
    keep = commands.add_parser("collect")
    keep.add_argument("run", type=Path)
    keep.add_argument("name", choices=ATTEMPTS)
    keep.add_argument("--data", type=Path, required=True, help="the photos it was trained on")
    keep.add_argument("--note", required=True, help="what those photos are, for the report")
    own = commands.add_parser("figures")
    own.add_argument("run", type=Path)
    args = parser.parse_args()
    if args.command == "collect":
        collect(args.run, args.name, args.data, args.note)
    elif args.command == "figures":
        figures(args.run)
    else:
        draw()


if __name__ == "__main__":
    main()
