"""Checkpoints: written atomically, and loaded without executing code in them."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from colorize.utils.files import atomic_write

# What torch.load raises on damaged files.
_DAMAGE_ERRORS = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(RuntimeError):
    """A file that does not hold what it should, or cannot be written; the message names it."""


def save_checkpoint(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Write a state of tensors, numbers, strings, and lists and dicts of them.

    Args:
        path: the file; its old content stays until the new state is complete.
        state: the state.
        keep: path to which the old file is renamed.

    Raises:
        CheckpointError: if it cannot be written, for example because the disk is full.
    """
    try:
        with atomic_write(path) as tmp:
            torch.save(state, tmp)
            if keep is not None and path.exists():
                path.replace(keep)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be written, is the disk full? ({reason}) The last checkpoint is kept"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `save_checkpoint` onto the CPU; code in the file is not executed.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds more than plain data.
    """
    try:
        if zipfile.is_zipfile(path):  # torch does not verify the checksums in its files
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise CheckpointError(f"{path} is damaged: the checksum of {broken} differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint {path}: has the run finished an epoch?") from error
    except pickle.UnpicklingError as error:  # torch's own message advises to open it anyway
        raise CheckpointError(
            f"{path} is damaged or holds more than weights; an unknown pickle is not opened"
        ) from error
    except _DAMAGE_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not the state of a run")
    return state


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state dict into a network.

    Raises:
        CheckpointError: if it is of another network; the message says in a line how both differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # lists every key
        own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        given = {name: tuple(value.shape) for name, value in weights.items()}
        groups = {
            "missing": own.keys() - given.keys(),
            "unknown": given.keys() - own.keys(),
            "of another shape": {
                name for name in own.keys() & given.keys() if own[name] != given[name]
            },
        }
        differences = [
            f"{len(names)} {kind}, such as {min(names)}" for kind, names in groups.items() if names
        ]
        raise CheckpointError(f"weights of another network: {'; '.join(differences)}") from error
