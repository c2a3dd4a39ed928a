"""Settings, models and checkpoints written by version 0.1, under the names of today."""

import shutil
from pathlib import Path
from typing import Any

_SETTINGS = {
    "model_args": "model_kwargs",
    "start": "init_from",
    "size": "crop_size",
    "accumulate": "grad_accum_steps",
    "encoder_lr_scale": "encoder_lr_mult",
    "schedule": "lr_schedule",
    "clip": "grad_clip",
    "ema": "ema_decay",
    "distance": "reconstruction_loss",
    "adversarial": "gan_loss",
    "distance_weight": "reconstruction_weight",
    "critic_lr": "discriminator_lr",
    "score_every": "selection_interval",
    "old_photos": "degradation_prob",
    "without_hints": "hint_dropout",
}
_MODELS = {"backbone_unet": "encoder_unet", "backbone_gan": "encoder_unet_gan"}
_MODEL_KWARGS = {
    "backbone": "encoder_name",
    "backbone_weights": "encoder_weights",
    "balance": "prior_strength",
    "critic_channels": "discriminator_channels",
    "critic_attention": "discriminator_attention",
}
_PHASES = {"critic": "discriminator", "both": "joint"}
_CHECKPOINT = {
    "steps": "global_step",
    "done": "epoch_step",
    "sums": "loss_sums",
    "photos": "fingerprint",
    "average": "ema",
}
_LOSSES = {
    "distance": "loss_G_rec",
    "adversarial": "loss_G_gan",
    "discriminator": "loss_D",
    "real": "real_prob",
    "fake": "fake_prob",
}
_RUN_FILES = {
    "turn.pt": "inflection.pt",
    "turn.png": "inflection.png",
    "paintings": "samples",
    "samples/strip.jpg": "samples/progress.jpg",
}


def upgrade_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Rename what an older `config.json` of a run calls otherwise; today's pass unchanged."""
    settings = _renamed(settings, _SETTINGS)
    if settings.get("phases") is not None:
        settings["phases"] = [
            (_PHASES.get(name, name), *numbers) for name, *numbers in settings["phases"]
        ]
    return _with_model_names(settings)


def upgrade_model_config(config: dict[str, Any]) -> dict[str, Any]:
    """Rename what an older `config.json` of an exported model calls otherwise."""
    return _with_model_names(_renamed(config, {"model_args": "model_kwargs"}))


def upgrade_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """Rename what an older checkpoint of a run calls otherwise; today's pass unchanged."""
    if "steps" not in state:
        return state
    state = _renamed(state, _CHECKPOINT)
    state["loss_sums"] = _renamed(state["loss_sums"], _LOSSES)
    for record in state["history"]:
        record["train"] = _renamed(record["train"], _LOSSES)
    state["extra"] = {"scores": state.pop("scores", [])}
    return state


def same_photos(stored: str, fingerprint: str) -> bool:
    """Whether a run's stored fingerprint of its photos is of those with today's fingerprint.

    Of an older one only the count is compared: its digest contains the name of the data folder.
    """
    if ", ids " in stored:
        return stored == fingerprint
    return stored.split()[0] == fingerprint.split()[0]


def rename_run_files(run: Path) -> None:
    """Rename the files of an older run that is continued; its cached predictions are removed."""
    for old, new in _RUN_FILES.items():
        if (run / old).exists() and not (run / new).exists():
            (run / old).rename(run / new)
    shutil.rmtree(run / "paintings.critic", ignore_errors=True)


def weights_path(run: Path, name: str) -> Path:
    """Return the file of a run's weights "best", "last" or "inflection", under its old name too."""
    path = run / f"{name}.pt"
    if name == "inflection" and not path.exists() and (run / "turn.pt").exists():
        return run / "turn.pt"
    return path


def _with_model_names(settings: dict[str, Any]) -> dict[str, Any]:
    if "model" in settings:
        settings["model"] = _MODELS.get(settings["model"], settings["model"])
    if isinstance(settings.get("model_kwargs"), dict):
        settings["model_kwargs"] = _renamed(settings["model_kwargs"], _MODEL_KWARGS)
    return settings


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def upgrade_class_weights(
    module: object, state_dict: dict[str, Any], prefix: str, *_: object
) -> None:
    """Rename a buffer of `ColorClassifier` in a state dict, in place; a pre-hook of loading."""
    old = f"{prefix}weights"
    if old in state_dict:
        state_dict[f"{prefix}class_weights"] = state_dict.pop(old)


def upgrade_onnx_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Rename what an older ONNX file's metadata calls otherwise; today's pass unchanged."""
    names = {"multiple": "size_divisibility", "takes_hints": "supports_hints"}
    return _renamed(metadata, names)
