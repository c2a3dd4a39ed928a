"""The commands `evaluate` and `blindtest`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import colorize
from colorize.cli.options import add_device, count, number, positive

if TYPE_CHECKING:
    from colorize.data.folder import PhotoRecord
    from colorize.evaluation.predictors import Predictor


def add(commands: argparse._SubParsersAction) -> None:
    """Make the commands known."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure runs, or folders of painted pictures, against the true photos",
        description=(
            "Measure runs, and folders of pictures painted by whatever program, against the true "
            "photos. The same command again goes on where it was stopped."
        ),
    )
    evaluate.add_argument(
        "painters",
        nargs="+",
        metavar="[NAME=]PATH",
        help="a run's folder, or a folder of paintings that are named as their photos",
    )
    _add_photos(evaluate)
    evaluate.add_argument(
        "--train",
        metavar="DIR",
        help="training photos, for the rows mean-ab and nearest (the part train of the photos)",
    )
    evaluate.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    evaluate.add_argument(
        "--size", type=positive, default=256, metavar="N", help="side of the squares (256)"
    )
    evaluate.add_argument(
        "--vividness",
        type=number(float, 0, most=1),
        nargs="+",
        default=[],
        metavar="X",
        help="of networks with classes, more rows at these",
    )
    evaluate.add_argument(
        "--against",
        default="mean-ab",
        metavar="NAME",
        help="the row from which summary.json tells every row's paired differences (mean-ab)",
    )
    evaluate.add_argument(
        "--no-features", action="store_true", help="without FID, KID and LPIPS, which take long"
    )
    evaluate.add_argument(
        "--no-full", action="store_true", help="the squares alone, not the full sizes"
    )
    add_device(evaluate)
    evaluate.set_defaults(command=_evaluate)

    blind = commands.add_parser(
        "blindtest",
        help="make a page on which people tell painted photos from true ones",
        description=(
            "Write one HTML page, for any browser and without a network, that shows true and "
            "painted photos side by side for a second and counts how often people are fooled."
        ),
    )
    blind.add_argument("painter", metavar="PATH", help="a run's folder, or one of paintings")
    _add_photos(blind)
    blind.add_argument("-o", "--output", required=True, metavar="PAGE.html", type=Path)
    blind.add_argument(
        "--count", type=positive, default=30, metavar="N", help="photos, drawn by lot (30)"
    )
    blind.add_argument("--seed", type=count, default=0, metavar="N", help="of the lot (0)")
    blind.add_argument(
        "--seconds", type=number(float, 0.1), default=1.0, metavar="X", help="shown for (1)"
    )
    add_device(blind)
    blind.add_argument("--overwrite", action="store_true", help="replace a page that is there")
    blind.set_defaults(command=_blindtest)


def _add_photos(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--photos",
        required=True,
        metavar="DIR",
        help="the true photos; `samples`: the embedded set",
    )
    command.add_argument(
        "--part",
        default="test",
        choices=("train", "val", "test", "all"),
        help="of the photos (test); all: a folder that has no parts",
    )


def _evaluate(args: argparse.Namespace) -> int:
    from colorize.evaluation.baselines import BASELINES, TrainingReference, baselines
    from colorize.evaluation.evaluator import evaluate
    from colorize.evaluation.predictors import ModelPredictor
    from colorize.evaluation.tables import write_summary

    if args.train is None and args.part == "all":
        raise ValueError("the rows mean-ab and nearest need training photos: --train DIR")
    photos = _photos(args.photos, args.part, args.size)
    training = _photos(args.train or args.photos, "train" if args.train is None else "all", 1)
    shared = {photo.path.resolve() for photo in photos} & {p.path.resolve() for p in training}
    if shared:
        raise ValueError(
            f"{len(shared)} photos would be both judged by and known by heart (--train), such as "
            f"{min(shared)}"
        )
    rows: dict[str, Predictor] = {}
    for painter in args.painters:
        name, row = _row(painter, args.device)
        new = {name: row}
        if isinstance(row, ModelPredictor) and row.colorizer.predicts_distribution:
            new |= {f"{name} at {v:g}": row.at(v) for v in args.vividness}
        taken = rows.keys() & new.keys()
        if taken:
            raise ValueError(f"two rows named {min(taken)}: give one another name, NAME={painter}")
        rows |= new
    if args.vividness and not any(" at " in name for name in rows):
        raise ValueError("--vividness needs a run with classes, such as the preset zhang2016's")
    taken = rows.keys() & {"truth", *BASELINES}
    if taken:
        raise ValueError(f"{min(taken)} is the name of a row of every table: use NAME=PATH")
    if args.against not in (*rows, *BASELINES):
        known = ", ".join((*rows, *BASELINES))
        raise ValueError(f"--against must be one of the rows {known}, got {args.against!r}")
    args.output.mkdir(parents=True, exist_ok=True)
    judged = evaluate(
        rows | baselines(TrainingReference(training, args.output / "training.pt")),
        photos,
        args.size,
        args.output,
        features=not args.no_features,
        full=not args.no_full,
    )
    print(write_summary(judged, args.output, args.against))
    return 0


def _blindtest(args: argparse.Namespace) -> int:
    import random

    from tqdm import tqdm

    from colorize.evaluation.evaluator import check_names
    from colorize.evaluation.predictors import ImageFolderPredictor
    from colorize.evaluation.realism_test import write_realism_test

    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{args.output}: the page needs a name that ends in .html")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} is there already; --overwrite replaces it")
    _, row = _row(args.painter, args.device)
    photos = _photos(args.photos, args.part, 1)
    check_names(photos)
    drawn = random.Random(args.seed).sample(photos, min(args.count, len(photos)))
    if isinstance(row, ImageFolderPredictor):
        row.check(drawn)
    truths = {photo.id: colorize.read_photo(photo.path) for photo in drawn}
    bar = tqdm(truths.items(), desc="painting", unit="photo")
    painted = {key: row(key, truth) for key, truth in bar}
    path = write_realism_test(truths, painted, args.output, args.seed, args.seconds)
    print(f"{path}: {len(truths)} pairs; open it in a browser")
    return 0


def _row(painter: str, device: str) -> "tuple[str, Predictor]":
    """[NAME=]PATH as a name and a row."""
    from colorize.evaluation.predictors import ImageFolderPredictor, ModelPredictor
    from colorize.models.pretrained import bundled

    name, equals, path = painter.partition("=")
    if not equals or Path(painter).exists():  # there are folders with = in their names
        path, name = painter, Path(painter).resolve().name
    if Path(path, "config.json").is_file() or path in bundled() or path.endswith(".onnx"):
        return name, ModelPredictor(path, device=device)
    return name, ImageFolderPredictor(path)


def _photos(folder: str, part: str, size: int) -> "tuple[PhotoRecord, ...]":
    """The photos of a part, none smaller than `size`; what is left out is said."""
    photos = colorize.load_samples() if folder == "samples" else colorize.PhotoFolder(folder)
    selection = photos.select(part, min_side=size)
    if any(selection.left_out.values()):
        print(f"{folder}: {selection}")
    return tuple(sorted(selection.photos, key=lambda photo: photo.path))
