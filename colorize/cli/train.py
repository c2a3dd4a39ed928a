"""The commands `presets` and `train`."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import colorize
from colorize.cli.options import add_device, count, number


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
            message = f"needs phases such as generator:20,discriminator:4,joint:2:0.1, got {part!r}"
            raise argparse.ArgumentTypeError(message) from error
    return tuple(phases)


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"needs yes or no, got {text!r}")
    return text == "yes"


_JUDGED, _REMEMBERED = 100, 1000  # photos, at most, for the table after training

# The fields of TrainConfig but the network: how to read each, what it is, and its value where a
# preset says nothing. Written out, since importing them would make --help wait for torch; a test
# holds both together.
_SETTINGS = {
    "init_from": (str, "a trained network to start from: a run, a folder, a name", "none"),
    "crop_size": (number(int, 1), "side of the square crops in pixels", "224"),
    "epochs": (number(int, 1), "passes through the training photos, at most", "20"),
    "batch_size": (number(int, 1), "photos per step, over all processes", "16"),
    "grad_accum_steps": (number(int, 1), "micro-batches per step and process; saves memory", "1"),
    "lr": (number(float, 0), "Adam's learning rate", "0.001"),
    "betas": (_betas, "Adam's decay rates", "0.9,0.999"),
    "encoder_lr_mult": (number(float, 0), "of a pretrained encoder, times lr", "1.0"),
    "lr_schedule": (str, "constant, linear or cosine", "constant"),
    "grad_clip": (number(float, 0, none=True), "largest norm of a gradient", "none"),
    "ema_decay": (number(float, 0, none=True), "decay of averaged weights, such as 0.999", "none"),
    "reconstruction_loss": (
        str,
        "mse, l1, smooth_l1, perceptual or rebalanced_cross_entropy",
        "mse",
    ),
    "perceptual_weights": (str, "of VGG16-bn: a name in torchvision or a file", "IMAGENET1K_V1"),
    "gan_loss": (str, "vanilla, least_squares or hinge; none: no critic", "none"),
    "reconstruction_weight": (number(float, 0), "of the distance beside the critic", "1.0"),
    "discriminator_lr": (
        number(float, 0, none=True),
        "the critic's learning rate; none: lr",
        "none",
    ),
    "phases": (
        _phases,
        "epochs and rates, such as generator:20,discriminator:4,joint:2:0.1",
        "none",
    ),
    "selection_interval": (number(int, 1, none=True), "steps between looks for the turn", "none"),
    "degradation_prob": (number(float, 0, most=1), "share of photos whose input is aged", "0.0"),
    "hint_dropout": (number(float, 0, most=1), "share of photos that get no hint", "0.0"),
    "patience": (number(int, 1, none=True), "epochs without improvement", "none"),
    "seed": (count, "of weights, order, crops, dropout", "0"),
    "precision": (str, "auto, fp32, bf16 or fp16", "auto"),
    "compile": (_switch, "yes: let torch compile the networks", "no"),
    "deterministic": (_switch, "yes: repeatable on CUDA too, and slower", "no"),
}


def add(commands: argparse._SubParsersAction, argv: Sequence[str]) -> None:
    """Make the commands known; `argv` tells of which preset --help shows the values."""
    defaults = _defaults(argv)
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
        "--data",
        required=True,
        metavar="DIR",
        help="folder of photos; folder or URL of shards; `samples`: the embedded set",
    )
    train.add_argument("--out", required=True, metavar="RUN", help="the run's folder")
    settings = train.add_argument_group(
        "settings",
        "each left out: the preset's, which `colorize train PRESET --help` shows in brackets",
    )
    for name, (kind, text, _) in _SETTINGS.items():
        option = f"--{name.replace('_', '-')}"
        settings.add_argument(option, type=kind, metavar="X", help=f"{text} ({defaults[name]})")
    train.add_argument("--encoder-weights", metavar="NAME|FILE", help="ImageNet weights, or `none`")
    train.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another argument of the network, such as base_channels=32",
    )
    train.add_argument(
        "--workers", type=count, default=2, metavar="N", help="reading processes (2)"
    )
    train.add_argument(
        "--save-minutes",
        type=number(float, 0),
        default=10,
        metavar="X",
        help="how often to save inside an epoch (10)",
    )
    train.add_argument(
        "--tensorboard", action="store_true", help="log for TensorBoard too, in RUN/tensorboard"
    )
    add_device(train)
    train.set_defaults(command=_train)


def _defaults(argv: Sequence[str]) -> dict[str, str]:
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


def _presets(args: argparse.Namespace) -> int:
    """What each preset is and costs; of one preset, every setting."""
    from colorize.models import model_summary
    from colorize.presets import PAPERS

    if args.preset is not None:
        for key, value in dataclasses.asdict(_preset(args.preset)).items():
            print(f"{key:<18} {json.dumps(value)}")
        return 0
    for name, config in colorize.PRESETS.items():
        method, paper = PAPERS[name.removesuffix("_quick")]
        parameters, macs = model_summary(config)
        network = ", ".join(f"{key}={value}" for key, value in config.model_kwargs.items())
        print(f"{name}\n    method        {method}")
        print(f"    architecture  {config.model}({network}), {config.crop_size} px")
        print(f"    loss          {config.loss}")
        print(f"    schedule      {config.plan}")
        print(
            f"    size          {parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} GMAC a photo"
        )
        print(f"    source        {paper}\n")
    print("`colorize presets NAME` shows every setting of one.")
    return 0


def _train(args: argparse.Namespace) -> int:
    from colorize.data.loaders import run_loaders
    from colorize.data.webdataset import has_shards, run_shard_loaders
    from colorize.utils.distributed import barrier, distributed_context, rank

    config = _configure(args)
    data, out = Path(args.data).absolute(), Path(args.out).absolute()
    if "://" not in args.data and (data == out or data in out.parents):
        raise ValueError(
            f"the run {args.out} would lie among the photos, and its paintings be trained on: "
            f"choose a folder outside {args.data}"
        )
    folder = None  # of shards there is none
    if args.data == "samples":
        folder = colorize.load_samples()
    elif not has_shards(args.data):
        folder = colorize.PhotoFolder(args.data)
    with distributed_context(args.device) as device:
        trainer = colorize.open_run(config, args.out, device)  # first what fails fast
        if folder is None:
            train, val = run_shard_loaders(args.data, config, args.workers)
        else:
            if rank() == 0:  # looks at the photos; the others read what it found
                for part in ("train", "val"):
                    print(folder.select(part, min_side=config.crop_size), flush=True)
            barrier()
            train, val = run_loaders(folder, config, args.workers)
        trainer.fit(train, val, save_minutes=args.save_minutes, tensorboard=args.tensorboard)
        alone = rank() == 0
    if not alone:
        return 0
    if folder is None:
        judging = f"{args.out} --photos PREPARED --size {config.crop_size} -o DIR"
        print(f"`colorize evaluate {judging}` judges it by test photos")
    else:
        _judge(args, config, folder, device)
    if trainer.scores:
        from colorize.visualization import inflection_curve, save_figure

        turn = min(trainer.scores, key=lambda entry: entry["score"])
        path = save_figure(inflection_curve(trainer.scores), Path(args.out, "turn.png"))
        print(f"\nThe turn was found at step {turn['step']}: {path}")
    return 0


def _judge(
    args: argparse.Namespace,
    config: "colorize.TrainConfig",
    folder: "colorize.PhotoFolder",
    device: str,
) -> None:
    """Print how the run does on some validation photos, beside rows that learned nothing."""
    from colorize.evaluation.baselines import TrainingReference, baselines
    from colorize.evaluation.bootstrap import Summary
    from colorize.evaluation.evaluator import evaluate
    from colorize.evaluation.predictors import ModelPredictor
    from colorize.evaluation.tables import ERRORS

    train, val = (
        folder.select(part, min_side=config.crop_size).photos for part in ("train", "val")
    )
    some = val[:: -(-len(val) // _JUDGED)]
    rows = {args.preset: ModelPredictor(args.out, device)}
    rows |= baselines(TrainingReference(train[:: -(-len(train) // _REMEMBERED)], progress=False))
    out = Path(args.out, "validation")
    judged = evaluate(rows, some, config.crop_size, out, features=False, full=False)
    print(
        f"\n{args.out}, weights `{config.eval_checkpoint}`, on {len(some)} of {len(val)} validation "
        f"photos, with 95 % intervals:\n\n{Summary(judged).table((*ERRORS, 'colorfulness'))}\n\n"
        f"`colorize evaluate {args.out} --photos {args.data} --size {config.crop_size} -o DIR` judges "
        "by all test photos"
    )


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
    model_kwargs = dict(preset.model_kwargs)
    if args.encoder_weights is not None:
        none = args.encoder_weights == "none"
        model_kwargs["encoder_weights"] = None if none else args.encoder_weights
    for item in args.model_arg:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--model-arg needs KEY=VALUE, got {item!r}")
        try:
            model_kwargs[key] = json.loads(value)
        except json.JSONDecodeError:  # a word is a string
            model_kwargs[key] = value
    return dataclasses.replace(preset, model_kwargs=model_kwargs, **changes)
