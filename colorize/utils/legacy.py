"""Settings, models and checkpoints written by version 0.1, under the names of today."""

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


def _with_model_names(settings: dict[str, Any]) -> dict[str, Any]:
    if "model" in settings:
        settings["model"] = _MODELS.get(settings["model"], settings["model"])
    if isinstance(settings.get("model_kwargs"), dict):
        settings["model_kwargs"] = _renamed(settings["model_kwargs"], _MODEL_KWARGS)
    return settings


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}
