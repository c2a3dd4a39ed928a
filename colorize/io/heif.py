"""HEIF, in which phones save photos: Pillow reads and writes it with the package pillow-heif."""

import functools
import importlib.util

HEIF_SUFFIXES = (".heic", ".heif", ".hif")
INSTALL_HEIF = "HEIF needs the package pillow-heif: pip install 'colorize-photos[heif]'"


@functools.cache
def has_heif() -> bool:
    """Tell whether the package is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def register_heif() -> None:
    """Let Pillow read and write HEIF; the package must be installed."""
    import pillow_heif

    pillow_heif.register_heif_opener()
