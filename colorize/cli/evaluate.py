"""The commands `evaluate` and `realism-test`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import colorize
from colorize.cli.options import BUILTIN, add_device, count, number, positive
from colorize.utils.checks import check_writable

if TYPE_CHECKING:
    from colorize.data.folder import PhotoRecord
    from colorize.evaluation.predictors import ImageFolderPredictor, ModelPredictor, Predictor


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    _add_evaluate(commands)
    _add_realism_test(commands)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="compare models, or folders of colorized images, with the ground truth",
        description=(
            "Compare models, and folders of images that any program colorized, with the ground "
            "truth. Running the same command again continues a stopped evaluation."
        ),
    )
    parser.add_argument(
        "predictors",
        nargs="+",
        metavar="[NAME=]PATH",
        help="a run, a model, or a folder of colorized images named after their photos",
    )
    _add_data(parser)
    parser.add_argument(
        "--train-data",
        metavar="DIR",
        help="training photos of the baselines mean-ab and nearest (default: the split train of "
        "--data)",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", type=Path, help="folder of the results"
    )
    parser.add_argument(
        "--size",
        type=positive,
        default=256,
        metavar="N",
        help="side of the square crops in pixels (default: 256)",
    )
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 2, 6),
        default=1,
        metavar="N",
        help="how often models see a photo, as of `colorize photo` (default: 1)",
    )
    parser.add_argument(
        "--vividness",
        type=number(float, 0, most=1),
        nargs="+",
        default=[],
        metavar="X",
        help="evaluate classification models at these values of vividness too",
    )
    parser.add_argument(
        "--baseline",
        default="mean-ab",
        metavar="NAME",
        help="the predictor from which summary.json holds the paired differences of all others "
        "(default: mean-ab)",
    )
    parser.add_argument(
        "--no-fid",
        dest="fid",
        action="store_false",
        help="skip FID, KID and LPIPS, which take long",
    )
    parser.add_argument("--crops-only", action="store_true", help="skip the photos in full size")
    add_device(parser)
    parser.set_defaults(command=_evaluate)


def _add_realism_test(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "realism-test",
        help="make a page on which people tell colorized photos from real ones",
        description=(
            "Write one HTML page, which works offline in any browser, that shows original and "
            "colorized photos side by side for a second and counts how often people are fooled."
        ),
    )
    parser.add_argument(
        "predictor", metavar="PATH", help="a run, a model, or a folder of colorized images"
    )
    _add_data(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="PAGE.html", type=Path, help="the page"
    )
    parser.add_argument(
        "--count",
        type=positive,
        default=30,
        metavar="N",
        help="number of photos, sampled at random (default: 30)",
    )
    parser.add_argument(
        "--seed", type=count, default=0, metavar="N", help="random seed (default: 0)"
    )
    parser.add_argument(
        "--seconds",
        type=number(float, 0.1),
        default=1.0,
        metavar="X",
        help="how long a pair is shown (default: 1)",
    )
    add_device(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing page")
    parser.set_defaults(command=_realism_test)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help=f"folder of the original photos; `{BUILTIN}`: the demo photos of the package",
    )
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "val", "test", "all"),
        help="which of the photos; all: of a folder without splits (default: test)",
    )


def _evaluate(args: argparse.Namespace) -> int:
    from colorize.evaluation.baselines import BASELINES, TrainingReference, baselines
    from colorize.evaluation.evaluator import check_inputs, evaluate
    from colorize.evaluation.tables import write_summary

    check_writable(args.output)
    predictors = _load_predictors(args)
    names = [*(predictor.name for predictor in predictors), *BASELINES]
    if args.baseline not in names:
        raise ValueError(f"--baseline must be one of {', '.join(names)}, got {args.baseline!r}")
    photos, training = _load_data(args)
    check_inputs(predictors, photos, args.size)
    args.output.mkdir(parents=True, exist_ok=True)
    results = evaluate(
        predictors + baselines(TrainingReference(training, args.output / "training.pt")),
        photos,
        args.size,
        args.output,
        perceptual=args.fid,
        full_size=not args.crops_only,
    )
    print(write_summary(results, args.output, args.baseline))
    return 0


def _load_data(
    args: argparse.Namespace,
) -> "tuple[tuple[PhotoRecord, ...], tuple[PhotoRecord, ...]]":
    """Select the photos to evaluate on, and those of the baselines; they must not overlap."""
    if args.train_data is None and args.split == "all":
        raise ValueError("the baselines mean-ab and nearest need training photos: --train-data DIR")
    photos = _select(args.data, args.split, args.size)
    if args.train_data is None:
        training = _select(args.data, "train", 1)
    else:
        training = _select(args.train_data, "all", 1)
    shared = {photo.path.resolve() for photo in photos} & {p.path.resolve() for p in training}
    if shared:
        raise ValueError(
            f"{len(shared)} photos are both evaluated on and known to the baselines "
            f"(--train-data), such as {min(shared)}"
        )
    return photos, training


def _load_predictors(args: argparse.Namespace) -> "list[Predictor]":
    """Load what is evaluated; classification models once more at each --vividness.

    Raises:
        ValueError: if names are not unique, or no model has a vividness.
    """
    from colorize.evaluation.baselines import BASELINES, GROUND_TRUTH
    from colorize.evaluation.predictors import ModelPredictor

    predictors: list[Predictor] = []
    has_vividness = False
    for word in args.predictors:
        predictor = _load_predictor(word, args.device, args.views)
        variants: list[Predictor] = [predictor]
        if isinstance(predictor, ModelPredictor) and predictor.colorizer.predicts_distribution:
            variants += [predictor.with_vividness(v) for v in args.vividness]
            has_vividness = True
        taken = {p.name for p in predictors} & {p.name for p in variants}
        if taken:
            raise ValueError(f"two predictors are named {min(taken)}: rename one by NAME={word}")
        predictors += variants
    if args.vividness and not has_vividness:
        raise ValueError(
            "--vividness needs a classification model, such as a run of the preset zhang2016"
        )
    taken = {p.name for p in predictors} & {GROUND_TRUTH, *BASELINES}
    if taken:
        raise ValueError(f"{min(taken)} is the name of a baseline: use NAME=PATH")
    return predictors


def _realism_test(args: argparse.Namespace) -> int:
    import random

    from tqdm import tqdm

    from colorize.evaluation.evaluator import check_unique_ids
    from colorize.evaluation.realism_test import write_realism_test

    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{args.output}: the name of the page must end in .html")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} exists; replace it with --overwrite")
    check_writable(args.output.parent)
    predictor = _load_predictor(args.predictor, args.device)
    photos = _select(args.data, args.split, 1)
    check_unique_ids(photos)
    sample = random.Random(args.seed).sample(photos, min(args.count, len(photos)))
    predictor.check(sample)
    targets = {photo.id: colorize.read_photo(photo.path) for photo in sample}
    bar = tqdm(targets.items(), desc="colorizing", unit="photo")
    colorized = {photo_id: predictor(photo_id, target) for photo_id, target in bar}
    path = write_realism_test(targets, colorized, args.output, args.seed, args.seconds)
    print(f"{path}: {len(targets)} pairs; open it in a browser")
    return 0


def _load_predictor(
    word: str, device: str, views: int = 1
) -> "ModelPredictor | ImageFolderPredictor":
    """Load [NAME=]PATH."""
    from colorize.evaluation.predictors import ImageFolderPredictor, ModelPredictor
    from colorize.models.pretrained import bundled

    name, equals, path = word.partition("=")
    if not equals or Path(word).exists():  # names of folders may contain =
        path, name = word, Path(word).resolve().name
    if Path(path, "config.json").is_file() or path in bundled() or path.endswith(".onnx"):
        return ModelPredictor(path, device, name, views=views)
    return ImageFolderPredictor(path, name)


def _select(folder: str, split: str, size: int) -> "tuple[PhotoRecord, ...]":
    """Select the photos of a split that are at least `size` px; print what is left out."""
    photos = colorize.load_samples() if folder == BUILTIN else colorize.PhotoFolder(folder)
    selection = photos.select(split, min_side=size)
    if any(selection.left_out.values()):
        print(f"{folder}: {selection}")
    return tuple(sorted(selection.photos, key=lambda photo: photo.path))
