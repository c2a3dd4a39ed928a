"""The command `colorize`: train, photo, presets."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import colorize

_NUMBERS = {"epochs": int, "size": int, "batch_size": int, "lr": float, "seed": int}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 some photos failed, 2 not possible."""
    args = _parser().parse_args(argv)
    from colorize.checkpoint import CheckpointError
    from colorize.models.layers import WeightsError
    from colorize.photos import PhotoError

    try:
        return args.command(args)
    except PhotoError as error:
        # Out of a reading process it comes with that one's traceback; the last line says it all.
        reason = str(error).strip().splitlines()[-1].removeprefix("colorize.photos.PhotoError: ")
        print(f"colorize: {reason}", file=sys.stderr)
        return 2
    except (ValueError, OSError, CheckpointError, WeightsError) as error:
        print(f"colorize: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncolorize: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorize", description=colorize.__doc__)
    parser.add_argument("--version", action="version", version=colorize.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    presets = commands.add_parser("presets", help="list the presets with their settings")
    presets.set_defaults(command=_presets)

    train = commands.add_parser(
        "train",
        help="train a preset on a folder of photos; the same command again goes on",
        description="Train a preset. Options left out mean the preset's value.",
    )
    train.add_argument("preset", metavar="PRESET", help="a name from `colorize presets`")
    train.add_argument(
        "--data", required=True, metavar="DIR", help="folder of photos; `samples`: the embedded set"
    )
    train.add_argument("--out", required=True, metavar="RUN", help="the run's folder")
    for name, kind in _NUMBERS.items():
        train.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N")
    train.add_argument(
        "--patience", type=_count_or_none, metavar="N", help="epochs without improvement, or `none`"
    )
    train.add_argument(
        "--backbone-weights", metavar="NAME|FILE", help="ImageNet weights, or `none`"
    )
    train.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another argument of the network, such as base_channels=32",
    )
    train.add_argument(
        "--workers", type=_count, default=2, metavar="N", help="reading processes (2)"
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    train.set_defaults(command=_train)

    photo = commands.add_parser("photo", help="color photos")
    photo.add_argument("files", nargs="+", metavar="FILE")
    photo.add_argument("--model", required=True, metavar="RUN", help="a run's folder")
    photo.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    photo.add_argument("--seed", type=int, default=0, help="for networks with noise (0)")
    photo.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    photo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    photo.set_defaults(command=_photo)
    return parser


def _count(text: str) -> int:
    """A whole number from 0 up; argparse's own message names the option."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"needs a whole number from 0 up, got {text!r}")
    return int(text)


def _count_or_none(text: str) -> int | str:
    return text if text == "none" else _count(text)


def _presets(args: argparse.Namespace) -> int:
    for name, config in colorize.PRESETS.items():
        print(name)
        for key, value in dataclasses.asdict(config).items():
            print(f"    {key:<18} {json.dumps(value)}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from colorize.data.loaders import eval_loader, run_loaders
    from colorize.metrics import as_table, baselines, evaluate, mean_ab

    config = _configure(args)
    folder = colorize.load_samples() if args.data == "samples" else colorize.PhotoFolder(args.data)
    trainer = colorize.open_run(config, args.out, args.device)  # first what fails fast
    for part in ("train", "val"):
        print(folder.select(part, min_side=config.size))
    train, val = run_loaders(folder, config, args.workers)
    trainer.fit(train, val)

    colorizer = colorize.Colorizer.from_pretrained(args.out, args.device)
    photos = train.dataset.photos
    mean = mean_ab(eval_loader(photos, config.size, config.batch_size, args.workers))
    painters = {args.preset: colorizer.network, **baselines(mean)}
    rows = evaluate(painters, val, colorizer.device)
    print(f"\n{args.out}, weights `{config.weights_name}`, on the validation photos:\n")
    print(as_table(rows))
    return 0


def _configure(args: argparse.Namespace) -> "colorize.TrainConfig":
    """The preset with what the command line sets."""
    if args.preset not in colorize.PRESETS:
        known = ", ".join(colorize.PRESETS)
        raise ValueError(f"no preset {args.preset!r}; there are {known}")
    preset = colorize.PRESETS[args.preset]
    changes = {name: getattr(args, name) for name in _NUMBERS if getattr(args, name) is not None}
    if args.patience is not None:
        changes["patience"] = None if args.patience == "none" else args.patience
    model_args = dict(preset.model_args)
    if args.backbone_weights is not None:
        none = args.backbone_weights == "none"
        model_args["backbone_weights"] = None if none else args.backbone_weights
    for item in args.model_arg:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--model-arg needs KEY=VALUE, got {item!r}")
        try:
            model_args[key] = json.loads(value)
        except json.JSONDecodeError:  # a word is a string
            model_args[key] = value
    return dataclasses.replace(preset, model_args=model_args, **changes)


def _photo(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from colorize.photos import PhotoError, output_path

    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"-o needs a folder, {args.output} is a file")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    failed = 0
    sources: dict[Path, str] = {}
    for file in tqdm(args.files, desc="coloring", disable=len(args.files) == 1):
        path = output_path(file, args.output)
        try:
            if path in sources:
                raise PhotoError(f"{file}: {path} is the painting of {sources[path]} already")
            if path.exists() and Path(file).exists() and path.samefile(file):
                raise PhotoError(f"{file}: would replace itself; choose another folder")
            if path.exists() and not args.overwrite:
                raise PhotoError(f"{file}: {path} is there already; --overwrite replaces it")
            colorize.write_photo(colorizer(colorize.read_photo(file), seed=args.seed), path)
            sources[path] = file
            tqdm.write(str(path))
        except (PhotoError, OSError) as error:
            failed += 1
            tqdm.write(f"colorize: {error}", file=sys.stderr)
    if len(args.files) > 1:
        print(f"{len(args.files) - failed} colored, {failed} failed")
    return 1 if failed else 0
