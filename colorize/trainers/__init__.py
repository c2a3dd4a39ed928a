"""Trainers: one loop (`trainer`), and a training step for each way of learning."""

import json
import os

from colorize.config import CROSS_ENTROPY, TrainConfig
from colorize.models import (
    ColorizationModel,
    create_model,
    extract_generator,
    without_encoder_weights,
)
from colorize.models.pretrained import load
from colorize.trainers.callbacks import Callback
from colorize.trainers.classification import ClassificationTrainer
from colorize.trainers.gan import GANTrainer
from colorize.trainers.regression import RegressionTrainer
from colorize.trainers.run_dir import RunDir
from colorize.trainers.trainer import Trainer
from colorize.utils.checkpoint import CheckpointError

__all__ = [
    "Callback",
    "ClassificationTrainer",
    "GANTrainer",
    "RegressionTrainer",
    "RunDir",
    "Trainer",
    "create_trainer",
    "open_run",
]


def create_trainer(
    model: ColorizationModel, config: TrainConfig, out: str | os.PathLike, device: str = "auto"
) -> Trainer:
    """Create the trainer that the settings ask for.

    Args:
        model: with all its weights.
        config: the settings.
        out: folder of the run; one that is there is continued.
        device: "auto", or a device of torch's.

    Returns:
        A `GANTrainer`, `ClassificationTrainer` or `RegressionTrainer`.
    """
    if config.gan_loss is not None:
        return GANTrainer(model, config, out, device)
    if config.reconstruction_loss == CROSS_ENTROPY:
        return ClassificationTrainer(model, config, out, device)
    return RegressionTrainer(model, config, out, device)


def open_run(config: TrainConfig, out: str | os.PathLike, device: str = "auto") -> Trainer:
    """Build the model that the settings name, and its trainer; continue the run in `out`.

    Args:
        config: the settings.
        out: folder of the run.
        device: "auto", or a device of torch's.

    Returns:
        The trainer; `fit` starts it.

    Raises:
        ValueError: if the run in `out` has other settings.
        FileNotFoundError: if there is no model at `init_from`.
        CheckpointError: if that model has other weights than this one.
        WeightsError: if pretrained weights are asked for and cannot be loaded.

    Example:
        >>> import dataclasses, colorize
        >>> config = dataclasses.replace(colorize.PRESETS["unet_gan_quick"], epochs=1)
        >>> trainer = open_run(config, "runs/mine", device="cpu")
        >>> loaders = colorize.run_loaders(colorize.load_samples(), config)
        >>> [record["epoch"] for record in trainer.fit(*loaders, progress=False)]
        [1]
    """
    model_kwargs = dict(config.model_kwargs)
    has_run = RunDir(out).has_run  # whose checkpoint holds all weights
    if "encoder_weights" in model_kwargs and (has_run or config.init_from is not None):
        model_kwargs["encoder_weights"] = None
    model = create_model(config.model, seed=config.seed, **model_kwargs)
    if config.init_from is not None and not has_run:
        _init_from(model, config)
    return create_trainer(model, config, out, device)


def _init_from(model: ColorizationModel, config: TrainConfig) -> None:
    """Load the weights of the model at `init_from` into a model, into a GAN's generator."""
    trained = load(config.init_from)
    target, name, kwargs = extract_generator(model, config.model, dict(config.model_kwargs))
    try:
        target.load_state_dict(trained.network.state_dict())
    except RuntimeError as error:
        theirs, ours = (
            f"{model_name} with {json.dumps(without_encoder_weights(model_kwargs))}"
            for model_name, model_kwargs in ((trained.model, trained.model_kwargs), (name, kwargs))
        )
        raise CheckpointError(
            f"cannot start from {config.init_from}, it is another model: {theirs}, and this one is "
            f"{ours}. Use its architecture, or start from random weights (init_from none)"
        ) from error
