"""The command `presets`."""

import argparse
import dataclasses
import json

from colorize.config import TrainConfig
from colorize.presets import PRESETS, method_of


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser("presets", help="list the methods: models, losses, papers")
    parser.add_argument("preset", nargs="?", metavar="NAME", help="show all settings of this one")
    parser.set_defaults(command=_presets)


def find_preset(name: str) -> TrainConfig:
    """Return a preset.

    Raises:
        ValueError: if there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def describe_loss(config: TrainConfig) -> str:
    """Describe the loss, such as "100 l1 + vanilla GAN"."""
    if config.gan_loss is None:
        return config.reconstruction_loss
    return f"{config.reconstruction_weight:g} {config.reconstruction_loss} + {config.gan_loss} GAN"


def describe_schedule(config: TrainConfig) -> str:
    """Describe epochs, learning rates and phases, such as "100 epochs of 16, lr 0.0002"."""
    rates = f"lr {config.lr:g}"
    if config.discriminator_lr is not None:
        rates += f" (discriminator {config.discriminator_lr:g})"
    items = [f"{config.epochs} epochs of {config.batch_size}", rates, config.lr_schedule]
    if config.ema_decay is not None:
        items.append(f"EMA {config.ema_decay:g}")
    for name, epochs, rate in config.phases or ():
        items.append(f"{name} {epochs}" + ("" if rate == 1 else f" at {rate:g} lr"))
    return ", ".join(items)


def _presets(args: argparse.Namespace) -> int:
    """Print what each preset is and costs; of one preset, every setting."""
    if args.preset is not None:
        for key, value in dataclasses.asdict(find_preset(args.preset)).items():
            print(f"{key:<21} {json.dumps(value)}")
        return 0
    for name, config in PRESETS.items():
        print(f"{name}\n{_describe(name, config)}\n")
    print("`colorize presets NAME` shows every setting of one.")
    return 0


def _describe(name: str, config: TrainConfig) -> str:
    from colorize.models import model_summary

    method = method_of(name)
    parameters, macs = model_summary(config.model, config.model_kwargs, config.crop_size)
    model_kwargs = ", ".join(f"{key}={value}" for key, value in config.model_kwargs.items())
    lines = {
        "method": method.title,
        "architecture": f"{config.model}({model_kwargs}), {config.crop_size} px",
        "loss": describe_loss(config),
        "schedule": describe_schedule(config),
        "size": f"{parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} GMAC per photo",
        "source": method.paper,
    }
    return "\n".join(f"    {key:<13} {text}" for key, text in lines.items())
