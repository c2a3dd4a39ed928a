"""Colorize black-and-white photos: classic methods, trained and evaluated alike."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colorize.color.lab import lab_to_rgb as lab_to_rgb
    from colorize.color.lab import rgb_to_lab as rgb_to_lab
    from colorize.config import TrainConfig as TrainConfig
    from colorize.data.dataset import LabDataset as LabDataset
    from colorize.data.folder import PhotoFolder as PhotoFolder
    from colorize.data.folder import load_samples as load_samples
    from colorize.data.loaders import run_loaders as run_loaders
    from colorize.inference.colorizer import Colorizer as Colorizer
    from colorize.io.image import write_photo as write_photo
    from colorize.io.photo import read_photo as read_photo
    from colorize.models import create_model as create_model
    from colorize.presets import PRESETS as PRESETS
    from colorize.trainers import open_run as open_run

__version__ = "0.2.0"

# Imported on first use, so that `import colorize` and `colorize --help` are quick.
_MODULES = {
    "Colorizer": "colorize.inference.colorizer",
    "LabDataset": "colorize.data.dataset",
    "PRESETS": "colorize.presets",
    "PhotoFolder": "colorize.data.folder",
    "TrainConfig": "colorize.config",
    "create_model": "colorize.models",
    "lab_to_rgb": "colorize.color.lab",
    "load_samples": "colorize.data.folder",
    "open_run": "colorize.trainers",
    "read_photo": "colorize.io.photo",
    "rgb_to_lab": "colorize.color.lab",
    "run_loaders": "colorize.data.loaders",
    "write_photo": "colorize.io.image",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'colorize' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
