"""Predictions of a generator that does not change, kept on disk while its discriminator learns."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.distributed import rank


class GeneratorCache:
    """Stores predicted ab by a key, quantized to 8 bits.

    The quantized values are used from the first time on, so it makes no difference in which epoch
    a prediction was made.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def load(self, key: str, shape: torch.Size) -> Tensor | None:
        """Return the ab stored under a key; None if there are none of that shape."""
        try:
            stored = load_checkpoint(self._path(key))["ab"]
        except CheckpointError:  # not there yet, or damaged
            return None
        # Another shape: the step was divided into other micro-batches then.
        return _dequantize(stored) if stored.shape == shape else None

    def save(self, key: str, pred_ab: Tensor) -> Tensor:
        """Store ab in [-1, 1] under a key, and return what `load` will."""
        quantized = (pred_ab * 127).round().to(torch.int8).cpu()
        save_checkpoint(self._path(key), {"ab": quantized})
        return _dequantize(quantized)

    def clear(self) -> None:
        """Remove all predictions."""
        if rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"


def _dequantize(quantized: Tensor) -> Tensor:
    return quantized.float() / 127
