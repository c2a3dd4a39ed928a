"""The command `train`."""

import argparse
import dataclasses
import json
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType

import colorize
from colorize.cli.options import BUILTIN, add_device, count, number
from colorize.cli.presets import find_preset
from colorize.config import Bounds, TrainConfig
from colorize.presets import PRESETS

if typing.TYPE_CHECKING:
    import torch

    from colorize.data.loaders import EpochLoader

# Photos, at most, of the table after training: validation photos, and those of the baselines.
_EVALUATED, _REFERENCE = 100, 1000
_PHASES_EXAMPLE = "generator:20,discriminator:4,joint:2:0.1"


def _parse_betas(text: str) -> tuple[float, float]:
    try:
        first, second = (float(number) for number in text.split(","))
    except ValueError as error:
        message = f"needs two numbers such as 0.5,0.999, got {text!r}"
        raise argparse.ArgumentTypeError(message) from error
    return first, second


def _parse_phases(text: str) -> object:
    """Parse name:epochs or name:epochs:rate, separated by commas; `none` is returned as it is."""
    if text == "none":
        return text
    phases = []
    for phase in text.split(","):
        name, _, numbers = phase.partition(":")
        epochs, _, rate = numbers.partition(":")
        try:
            phases.append((name, int(epochs), float(rate or 1)))
        except ValueError as error:
            message = f"needs phases such as {_PHASES_EXAMPLE}, got {phase!r}"
            raise argparse.ArgumentTypeError(message) from error
    return tuple(phases)


def add(commands: argparse._SubParsersAction, argv: Sequence[str]) -> None:
    """Add the command; --help shows the values of the preset that `argv` names."""
    train = commands.add_parser(
        "train",
        help="train a preset on a folder of photos; running it again continues the run",
        description="Train a preset. Options that are left out have the preset's value.",
    )
    train.add_argument("preset", metavar="PRESET", help="a name from `colorize presets`")
    train.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help=f"folder of photos; folder or URL of shards; `{BUILTIN}`: the demo photos of the "
        "package",
    )
    train.add_argument("-o", "--output", required=True, metavar="RUN", help="folder of the run")
    _add_settings(train, next((PRESETS[word] for word in argv if word in PRESETS), None))
    train.add_argument(
        "--encoder-weights", metavar="NAME|FILE", help="ImageNet weights of the encoder, or `none`"
    )
    train.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another argument of the model, such as base_channels=32; may be repeated",
    )
    train.add_argument(
        "--workers",
        type=count,
        default=2,
        metavar="N",
        help="number of processes that read photos (default: 2)",
    )
    train.add_argument(
        "--data-on-device",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="decode the training photos once into the memory of the device (default: no)",
    )
    train.add_argument(
        "--save-minutes",
        type=number(float, 0),
        default=10,
        metavar="X",
        help="minutes between two checkpoints inside an epoch (default: 10)",
    )
    train.add_argument(
        "--tensorboard", action="store_true", help="log for TensorBoard too, in RUN/tensorboard"
    )
    add_device(train)
    train.set_defaults(command=_train)


def _add_settings(parser: argparse.ArgumentParser, preset: TrainConfig | None) -> None:
    """Add an option for each described setting; --help shows the value of the preset."""
    group = parser.add_argument_group(
        "settings", "`colorize train PRESET --help` shows the defaults of a preset"
    )
    types = typing.get_type_hints(TrainConfig)
    for setting in _settings():
        default = getattr(TrainConfig if preset is None else preset, setting.name)
        text = f"{setting.metadata['help']} (default: {_format(default)})"
        option = f"--{setting.name.replace('_', '-')}"
        if types[setting.name] is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        else:
            option_type = _option_type(setting, types[setting.name])
            group.add_argument(option, type=option_type, metavar="X", help=text)


def _settings() -> list[dataclasses.Field[typing.Any]]:
    return [field for field in dataclasses.fields(TrainConfig) if "help" in field.metadata]


def _option_type(
    setting: dataclasses.Field[typing.Any], annotation: object
) -> Callable[[str], object]:
    """Return the function that parses a setting's option."""
    if setting.name == "betas":
        return _parse_betas
    if setting.name == "phases":
        return _parse_phases
    bounds = setting.metadata["bounds"] or Bounds(0)
    alternatives = typing.get_args(annotation) or (annotation,)
    for kind in (int, float):
        if kind in alternatives:
            none = NoneType in alternatives
            return number(kind, bounds.low, none=none, most=bounds.high)
    return str


def _format(value: object) -> str:
    """Format a setting as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
    return "none" if value is None else str(value)


def _train(args: argparse.Namespace) -> int:
    from colorize.evaluation.evaluator import MIN_SIZE
    from colorize.trainers import GANTrainer
    from colorize.trainers.callbacks import import_tensorboard
    from colorize.utils.distributed import distributed_context, rank

    config = _configure(args)
    _check_output(args)
    if args.tensorboard:
        import_tensorboard()
    folder = _open_folder(args.data)
    with distributed_context(args.device) as device:
        trainer = colorize.open_run(config, args.output, device)  # before the photos: fails fast
        train, val = _create_loaders(args, config, folder, trainer.device)
        trainer.fit(train, val, save_minutes=args.save_minutes, tensorboard=args.tensorboard)
        is_first = rank() == 0
    if not is_first:
        return 0
    size = max(config.crop_size, MIN_SIZE)
    if size > config.crop_size:
        print(f"\nThere is no table: metrics need at least {MIN_SIZE} px")
    elif folder is not None:
        _evaluate(args, config, folder, device)
    data = "PREPARED" if folder is None else args.data
    command = f"colorize evaluate {args.output} --data {data} --size {size}"
    print(f"\n`{command} -o DIR` evaluates the run on all test photos")
    if isinstance(trainer, GANTrainer) and trainer.inflection.scores:
        _plot_inflection(trainer.inflection.scores, args.output)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Raise ValueError if the run would be inside the folder of photos."""
    data, output = Path(args.data).resolve(), Path(args.output).resolve()
    if "://" not in args.data and (data == output or data in output.parents):
        raise ValueError(
            f"the run {args.output} would lie among the photos, and its samples be trained on: "
            f"choose a folder outside {args.data}"
        )


def _open_folder(data: str) -> "colorize.PhotoFolder | None":
    """Open a folder of photos; shards have none."""
    from colorize.data.webdataset import has_shards

    if data == BUILTIN:
        return colorize.load_samples()
    return None if has_shards(data) else colorize.PhotoFolder(data)


def _create_loaders(
    args: argparse.Namespace,
    config: TrainConfig,
    folder: "colorize.PhotoFolder | None",
    device: "torch.device",
) -> "tuple[EpochLoader, typing.Any]":
    from colorize.data.device_photos import device_loaders
    from colorize.data.loaders import run_loaders
    from colorize.data.webdataset import run_shard_loaders
    from colorize.utils.distributed import barrier, rank

    if folder is None:
        if args.data_on_device:
            raise ValueError(f"--data-on-device needs a folder of photos; {args.data} are shards")
        return run_shard_loaders(args.data, config, args.workers)
    if rank() == 0:  # inspects the photos; the others read what it found
        for split in ("train", "val"):
            print(folder.select(split, min_side=config.crop_size), flush=True)
    barrier()
    if args.data_on_device:
        return device_loaders(folder, config, device, args.workers, progress=rank() == 0)
    return run_loaders(folder, config, args.workers)


def _evaluate(
    args: argparse.Namespace, config: TrainConfig, folder: "colorize.PhotoFolder", device: str
) -> None:
    """Print the metrics of the run on some validation photos, beside the baselines."""
    from colorize.evaluation.baselines import TrainingReference, baselines
    from colorize.evaluation.bootstrap import Summary
    from colorize.evaluation.evaluator import evaluate
    from colorize.evaluation.predictors import ModelPredictor
    from colorize.evaluation.tables import ERROR_COLUMNS, photo_count, table

    train = folder.select("train", min_side=config.crop_size).photos
    val = folder.select("val", min_side=config.crop_size).photos
    chosen = val[:: -(-len(val) // _EVALUATED)]
    reference = TrainingReference(train[:: -(-len(train) // _REFERENCE)], progress=False)
    predictors = [ModelPredictor(args.output, device, args.preset), *baselines(reference)]
    results = evaluate(
        predictors,
        chosen,
        config.crop_size,
        Path(args.output, "validation"),
        perceptual=False,
        full_size=False,
    )
    summary = Summary(results)
    print(
        f"\n{args.output}, weights `{config.eval_checkpoint}`, on validation photos "
        f"({photo_count(summary)}):\n\n"
        f"{table(summary, (*ERROR_COLUMNS, 'colorfulness'))}"
    )


def _plot_inflection(scores: Sequence[dict[str, float]], output: str) -> None:
    from colorize.visualization import inflection_curve, save_figure

    best = min(scores, key=lambda entry: entry["score"])
    path = save_figure(inflection_curve(scores), Path(output, "inflection.png"))
    print(f"\nThe inflection point was found at step {best['step']}: {path}")


def _configure(args: argparse.Namespace) -> TrainConfig:
    """Return the preset with the settings of the command line."""
    preset = find_preset(args.preset)
    options = {setting.name: getattr(args, setting.name) for setting in _settings()}
    changes: dict[str, typing.Any] = {
        name: None if value == "none" else value
        for name, value in options.items()
        if value is not None
    }
    if changes.get("phases") is not None:
        changes.setdefault("epochs", sum(epochs for _, epochs, _ in changes["phases"]))
    return dataclasses.replace(preset, model_kwargs=_model_kwargs(args, preset), **changes)


def _model_kwargs(args: argparse.Namespace, preset: TrainConfig) -> dict[str, typing.Any]:
    model_kwargs = dict(preset.model_kwargs)
    if args.encoder_weights is not None:
        has_none = args.encoder_weights == "none"
        model_kwargs["encoder_weights"] = None if has_none else args.encoder_weights
    for item in args.model_arg:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--model-arg needs KEY=VALUE, got {item!r}")
        try:
            model_kwargs[key] = json.loads(value)
        except json.JSONDecodeError:  # a word is a string
            model_kwargs[key] = value
    return model_kwargs
