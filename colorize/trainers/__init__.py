"""The trainers: one loop, a step for each way of learning."""

import os

from torch import nn

from colorize.config import CROSS_ENTROPY, TrainConfig
from colorize.models import create_model
from colorize.models.pretrained import load
from colorize.trainers.classification import ClassificationTrainer
from colorize.trainers.gan import GANTrainer
from colorize.trainers.regression import RegressionTrainer
from colorize.trainers.run_dir import RunDir
from colorize.trainers.trainer import Trainer
from colorize.utils.checkpoint import CheckpointError

__all__ = [
    "ClassificationTrainer",
    "GANTrainer",
    "RegressionTrainer",
    "RunDir",
    "Trainer",
    "create_trainer",
    "open_run",
]


def create_trainer(
    model: nn.Module, config: TrainConfig, out: str | os.PathLike, device: str = "auto"
) -> Trainer:
    """The trainer that the settings ask for: of a game, of classes, or of a distance alone."""
    if config.gan_loss is not None:
        return GANTrainer(model, config, out, device)
    if config.reconstruction_loss == CROSS_ENTROPY:
        return ClassificationTrainer(model, config, out, device)
    return RegressionTrainer(model, config, out, device)


def open_run(config: TrainConfig, out: str | os.PathLike, device: str = "auto") -> Trainer:
    """Build the network of some settings and its trainer; a run already in `out` is continued.

    Raises:
        ValueError: if the run in `out` has other settings.
        FileNotFoundError: if there is no network to start from.
        CheckpointError: if that network is another one.
        WeightsError: if pretrained weights are asked for and cannot be had.

    Example:
        >>> import dataclasses, colorize
        >>> config = dataclasses.replace(colorize.PRESETS["unet_gan_quick"], epochs=1)
        >>> trainer = open_run(config, "runs/mine", device="cpu")
        >>> loaders = colorize.run_loaders(colorize.load_samples(), config)
        >>> [record["epoch"] for record in trainer.fit(*loaders, progress=False)]
        [1]
    """
    args = dict(config.model_kwargs)
    has_run = RunDir(out).has_run  # with weights of its own by now
    if "encoder_weights" in args and (has_run or config.init_from is not None):
        args["encoder_weights"] = None
    model = create_model(config.model, seed=config.seed, **args)
    if config.init_from is not None and not has_run:
        _begin_with(model, config.init_from)
    return create_trainer(model, config, out, device)


def _begin_with(model: nn.Module, start: str) -> None:
    trained = load(start).network
    if hasattr(model, "generator"):
        model = model.generator
    try:
        model.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise CheckpointError(
            f"cannot start from {start}, it is another network: {error}"
        ) from error
