"""Color black-and-white photos: every classic method, trained, measured and shown alike."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded when first used, so that `import colorize` and `colorize --help` are quick.
_HOMES = {
    "Colorizer": "colorize.colorizer",
    "LabDataset": "colorize.data.dataset",
    "PRESETS": "colorize.presets",
    "PhotoFolder": "colorize.data.folder",
    "TrainConfig": "colorize.config",
    "create_model": "colorize.models",
    "lab_to_rgb": "colorize.color",
    "load_samples": "colorize.data.folder",
    "open_run": "colorize.trainers",
    "read_photo": "colorize.photos",
    "rgb_to_lab": "colorize.color",
    "run_loaders": "colorize.data.loaders",
    "write_photo": "colorize.photos",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'colorize' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
