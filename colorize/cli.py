"""The command `colorize`: download, prepare, shard, train, photo, presets."""

import argparse
import dataclasses
import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import colorize


def _number(kind: type, least: float, none: bool = False) -> Callable[[str], object]:
    """A reader of an option's number; what it refuses it says, argparse adds the option's name."""
    name = "a whole number" if kind is int else "a number"
    wanted = f"{name} from {least} up" + (", or none" if none else "")

    def read(text: str) -> object:
        if none and text == "none":
            return text
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not number >= least:
            raise argparse.ArgumentTypeError(f"needs {wanted}, got {text!r}")
        return number

    return read


def _betas(text: str) -> tuple[float, ...]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        message = f"needs two numbers such as 0.5,0.999, got {text!r}"
        raise argparse.ArgumentTypeError(message) from error
    return first, second


def _phases(text: str) -> object:
    """name:epochs or name:epochs:rate, with commas between; `none` for none."""
    if text == "none":
        return text
    phases = []
    for part in text.split(","):
        name, _, numbers = part.partition(":")
        epochs, _, rate = numbers.partition(":")
        try:
            phases.append((name, int(epochs), float(rate or 1)))
        except ValueError as error:
            message = f"needs phases such as generator:20,critic:4,both:2:0.1, got {part!r}"
            raise argparse.ArgumentTypeError(message) from error
    return tuple(phases)


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"needs yes or no, got {text!r}")
    return text == "yes"


_count = _number(int, 0)
_positive = _number(int, 1)

# The fields of TrainConfig but the network: how to read each, what it is, and its value where a
# preset says nothing. Written out, since importing them would make --help wait for torch; a test
# holds both together.
_SETTINGS = {
    "size": (_number(int, 1), "side of the square crops in pixels", "224"),
    "epochs": (_number(int, 1), "passes through the training photos, at most", "20"),
    "batch_size": (_number(int, 1), "photos per step, over all processes", "16"),
    "accumulate": (_number(int, 1), "micro-batches per step and process; saves memory", "1"),
    "lr": (_number(float, 0), "Adam's learning rate", "0.001"),
    "betas": (_betas, "Adam's decay rates", "0.9,0.999"),
    "encoder_lr_scale": (_number(float, 0), "of a pretrained encoder, times lr", "1.0"),
    "schedule": (str, "constant, linear or cosine", "constant"),
    "clip": (_number(float, 0, none=True), "largest norm of a gradient", "none"),
    "ema": (_number(float, 0, none=True), "decay of averaged weights, such as 0.999", "none"),
    "distance": (
        str,
        "mse, l1, smooth_l1, perceptual or rebalanced_cross_entropy",
        "mse",
    ),
    "perceptual_weights": (str, "of VGG16-bn: a name in torchvision or a file", "IMAGENET1K_V1"),
    "adversarial": (str, "vanilla, least_squares or hinge; none: no critic", "none"),
    "distance_weight": (_number(float, 0), "of the distance beside the critic", "1.0"),
    "critic_lr": (_number(float, 0, none=True), "the critic's learning rate; none: lr", "none"),
    "phases": (_phases, "epochs and rates, such as generator:20,critic:4,both:2:0.1", "none"),
    "score_every": (_number(int, 1, none=True), "steps between looks for the turn", "none"),
    "old_photos": (_number(float, 0), "share of photos whose input is aged", "0.0"),
    "patience": (_number(int, 1, none=True), "epochs without improvement", "none"),
    "seed": (_count, "of weights, order, crops, dropout", "0"),
    "precision": (str, "auto, fp32, bf16 or fp16", "auto"),
    "compile": (_switch, "yes: let torch compile the networks", "no"),
    "deterministic": (_switch, "yes: repeatable on CUDA too, and slower", "no"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 some photos failed, 2 not possible."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(_defaults(argv)).parse_args(argv)
    from colorize.checkpoint import CheckpointError
    from colorize.models.backbone import WeightsError
    from colorize.photos import PhotoError

    try:
        return args.command(args)
    except PhotoError as error:
        # Out of a reading process it comes with that one's traceback; the last line says it all.
        reason = str(error).strip().splitlines()[-1].removeprefix("colorize.photos.PhotoError: ")
        print(f"colorize: {reason}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ArithmeticError, CheckpointError, WeightsError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "; the disk is full: free some space, the same command goes on" if full else ""
        print(f"colorize: {error}{advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncolorize: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _defaults(argv: list[str]) -> dict[str, str]:
    """What the settings are when they are left out, for `colorize train --help`.

    With a preset's name before --help they are the preset's.
    """
    shown = {name: default for name, (_, _, default) in _SETTINGS.items()}
    if argv[:1] == ["train"] and {"-h", "--help"} & set(argv):
        preset = next((colorize.PRESETS[word] for word in argv if word in colorize.PRESETS), None)
        if preset is not None:
            shown = {name: _as_option(getattr(preset, name)) for name in shown}
    return shown


def _as_option(value: object) -> str:
    """A setting as one would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
    return "none" if value is None else str(value)


def _parser(defaults: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorize", description=colorize.__doc__)
    parser.add_argument("--version", action="version", version=colorize.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    download = commands.add_parser(
        "download",
        help="fetch the Unsplash Lite data set; the same command again goes on",
        description="Fetch the Unsplash Lite data set and make it ready for training.",
    )
    download.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    download.add_argument(
        "--accept-terms", action="store_true", help="accept the terms of use, which are shown"
    )
    download.add_argument("--version", default="latest", help="such as 1.4.1 (latest)")
    download.add_argument(
        "--source", metavar="ZIP|DIR", type=Path, help="the archive, if you have it already"
    )
    download.add_argument(
        "--size", type=_positive, default=320, metavar="N", help="short side to ask for (320)"
    )
    download.add_argument(
        "--limit", type=_positive, metavar="N", help="only the first N photos of the catalogue"
    )
    download.add_argument("--workers", type=_positive, default=8, metavar="N", help="at a time (8)")
    download.add_argument(
        "--retry", action="store_true", help="ask again for photos that were gone or bad"
    )
    download.set_defaults(command=_download)

    prepare = commands.add_parser(
        "prepare",
        help="make folders or tar files of your own photos ready for training",
        description=(
            "Copy photos, shrunk and judged, into a folder made for training. Folders and tar "
            "files named train, val or test decide the parts. The same command again goes on."
        ),
    )
    prepare.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder or tar file")
    prepare.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    prepare.add_argument(
        "--size", type=_positive, default=320, metavar="N", help="short side at most (320)"
    )
    prepare.add_argument(
        "--part",
        default="",
        choices=("train", "val", "test"),
        help="of photos whose path does not say so (by hash: 60 / 20 / 20)",
    )
    prepare.set_defaults(command=_prepare)

    shard = commands.add_parser(
        "shard",
        help="write a prepared folder as tar shards, for data beyond one disk",
        description="Write the good photos of a prepared folder as tar shards (WebDataset).",
    )
    shard.add_argument("folder", metavar="DIR", help="from `colorize download` or `prepare`")
    shard.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the shards")
    shard.add_argument(
        "--photos", type=_positive, default=1000, metavar="N", help="in a shard, at most (1000)"
    )
    shard.add_argument(
        "--min-side", type=_positive, default=1, metavar="N", help="leave smaller photos out"
    )
    shard.set_defaults(command=_shard)

    presets = commands.add_parser("presets", help="list the methods: networks, losses, papers")
    presets.add_argument("preset", nargs="?", metavar="NAME", help="all settings of this one")
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
    settings = train.add_argument_group(
        "settings",
        "each left out: the preset's, which `colorize train PRESET --help` shows in brackets",
    )
    for name, (kind, text, _) in _SETTINGS.items():
        option = f"--{name.replace('_', '-')}"
        settings.add_argument(option, type=kind, metavar="X", help=f"{text} ({defaults[name]})")
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
    train.add_argument(
        "--save-minutes",
        type=_number(float, 0),
        default=10,
        metavar="X",
        help="how often to save inside an epoch (10)",
    )
    train.add_argument(
        "--tensorboard", action="store_true", help="log for TensorBoard too, in RUN/tensorboard"
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    train.set_defaults(command=_train)

    photo = commands.add_parser("photo", help="color photos")
    photo.add_argument("files", nargs="+", metavar="FILE")
    photo.add_argument("--model", required=True, metavar="RUN", help="a run's folder")
    photo.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    photo.add_argument("--seed", type=int, default=0, help="for networks with noise (0)")
    photo.add_argument(
        "--vividness",
        type=_number(float, 0),
        metavar="X",
        help="from 0, dull, to 1, vivid and spotty; of a network with classes (its own)",
    )
    photo.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    photo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    photo.set_defaults(command=_photo)
    return parser


def _presets(args: argparse.Namespace) -> int:
    """What each preset is and costs; of one preset, every setting."""
    from colorize.config import PAPERS
    from colorize.models import cost

    if args.preset is not None:
        for key, value in dataclasses.asdict(_preset(args.preset)).items():
            print(f"{key:<18} {json.dumps(value)}")
        return 0
    for name, config in colorize.PRESETS.items():
        method, paper = PAPERS[name.removesuffix("_quick")]
        parameters, macs = cost(config)
        network = ", ".join(f"{key}={value}" for key, value in config.model_args.items())
        print(f"{name}\n    method        {method}")
        print(f"    architecture  {config.model}({network}), {config.size} px")
        print(f"    loss          {config.loss}")
        print(f"    schedule      {config.plan}")
        print(
            f"    size          {parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} GMAC a photo"
        )
        print(f"    source        {paper}\n")
    print("`colorize presets NAME` shows every setting of one.")
    return 0


def _download(args: argparse.Namespace) -> int:
    from colorize.data.unsplash import TERMS, UnsplashLite

    lite = UnsplashLite(args.output, args.size, args.workers)
    if not lite.has_accepted:
        print(TERMS)
        if not args.accept_terms:
            if not sys.stdin.isatty():
                raise ValueError("accept the terms of use above: --accept-terms")
            if input("Type yes to accept them: ").strip().lower() != "yes":
                raise ValueError("the terms of use were not accepted; nothing was fetched")
        lite.accept_terms()
    manifest = lite.download(args.version, args.source, args.limit, args.retry)
    return _sum_up(manifest)


def _prepare(args: argparse.Namespace) -> int:
    from colorize.data.prepare import prepare

    return _sum_up(prepare(args.sources, args.output, args.size, args.part))


def _shard(args: argparse.Namespace) -> int:
    from colorize.data.shards import write_shards

    shards = write_shards(args.folder, args.output, args.photos, args.min_side)
    counts = ", ".join(f"{len(paths)} {part}" for part, paths in shards.items())
    print(f"{args.output}: {counts} shards")
    return 0


def _sum_up(manifest: "colorize.data.manifest.Manifest") -> int:
    """Print what became of the photos; 1 if some are to be tried again."""
    print(f"{manifest.path}: {manifest}")
    if manifest.damaged:
        print(f"    {manifest.damaged} damaged lines were dropped, their photos looked at again")
    unusable = [entry for entry in manifest.entries.values() if entry.state in ("bad", "failed")]
    for entry in unusable[:5]:
        print(f"    {entry.state}: {entry.id}: {entry.reason}")
    if len(unusable) > 5:
        print(f"    and {len(unusable) - 5} more; the reasons are in the manifest")
    failed = manifest.counts()["failed"]
    if failed:
        print(f"colorize: {failed} photos failed; the same command tries them again")
    return 1 if failed else 0


def _train(args: argparse.Namespace) -> int:
    from colorize.data.loaders import eval_loader, run_loaders
    from colorize.metrics import as_table, baselines, evaluate, mean_ab
    from colorize.runtime import many_processes, rank, wait_for_all

    config = _configure(args)
    folder = colorize.load_samples() if args.data == "samples" else colorize.PhotoFolder(args.data)
    with many_processes(args.device) as device:
        trainer = colorize.open_run(config, args.out, device)  # first what fails fast
        if rank() == 0:  # looks at the photos; the others read what it found
            for part in ("train", "val"):
                print(folder.select(part, min_side=config.size), flush=True)
        wait_for_all()
        train, val = run_loaders(folder, config, args.workers)
        trainer.fit(train, val, save_minutes=args.save_minutes, tensorboard=args.tensorboard)
        alone = rank() == 0
    if not alone:
        return 0
    colorizer = colorize.Colorizer.from_pretrained(args.out, device)
    size, batch_size = config.size, min(config.batch_size, 16)
    photos = {part: folder.select(part, min_side=size).photos for part in ("train", "val")}
    batches = {part: eval_loader(photos[part], size, batch_size, args.workers) for part in photos}
    painters = {args.preset: colorizer.network, **baselines(mean_ab(batches["train"]))}
    rows = evaluate(painters, batches["val"], colorizer.device)
    print(f"\n{args.out}, weights `{config.weights_name}`, on the validation photos:\n")
    print(as_table(rows))
    if trainer.scores:
        from colorize.figures import save_figure, turn_curve

        turn = min(trainer.scores, key=lambda entry: entry["score"])
        path = save_figure(turn_curve(trainer.scores), Path(args.out, "turn.png"))
        print(f"\nThe turn was found at step {turn['step']}: {path}")
    return 0


def _preset(name: str) -> "colorize.TrainConfig":
    if name not in colorize.PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(colorize.PRESETS)}")
    return colorize.PRESETS[name]


def _configure(args: argparse.Namespace) -> "colorize.TrainConfig":
    """The preset with what the command line sets."""
    preset = _preset(args.preset)
    told = {name: getattr(args, name) for name in _SETTINGS}
    changes = {
        name: None if value == "none" else value
        for name, value in told.items()
        if value is not None
    }
    phases = changes.get("phases")
    if phases is not None:
        changes.setdefault("epochs", sum(epochs for _, epochs, _ in phases))
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
            painting = colorizer(colorize.read_photo(file), args.seed, args.vividness)
            colorize.write_photo(painting, path)
            sources[path] = file
            tqdm.write(str(path))
        except (PhotoError, OSError) as error:
            failed += 1
            tqdm.write(f"colorize: {error}", file=sys.stderr)
    if len(args.files) > 1:
        print(f"{len(args.files) - failed} colored, {failed} failed")
    return 1 if failed else 0
