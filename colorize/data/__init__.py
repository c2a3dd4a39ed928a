"""Data for training: folders and their splits, datasets and loaders, downloads, preparation.

Names are imported on first use, so that reading a folder does not load what only a download
needs.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colorize.data.dataset import LabDataset as LabDataset
    from colorize.data.dataset import RgbDataset as RgbDataset
    from colorize.data.folder import PhotoFolder as PhotoFolder
    from colorize.data.folder import load_samples as load_samples
    from colorize.data.loaders import run_loaders as run_loaders
    from colorize.data.unsplash.download import UnsplashLite as UnsplashLite

_MODULES = {
    "LabDataset": "colorize.data.dataset",
    "PhotoFolder": "colorize.data.folder",
    "RgbDataset": "colorize.data.dataset",
    "UnsplashLite": "colorize.data.unsplash.download",
    "load_samples": "colorize.data.folder",
    "run_loaders": "colorize.data.loaders",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'colorize.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
