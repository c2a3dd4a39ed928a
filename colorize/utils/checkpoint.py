"""State of a run in one file, never half-written, loadable without trusting it."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from colorize.utils.files import atomic_write

# What torch.load raises on damaged files.
_DAMAGES = (
    *(RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
)


class CheckpointError(RuntimeError):
    """A file that does not hold what it should; the message names it."""


def save_checkpoint(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Write tensors, numbers, strings, lists and dicts of them.

    Args:
        path: the file; what it held stays until the new state is whole.
        state: what to write.
        keep: name under which the earlier state stays.

    Raises:
        CheckpointError: if it cannot be written, for example because the disk is full.
    """
    try:
        with atomic_write(path) as part:
            torch.save(state, part)
            if keep is not None and path.exists():
                path.replace(keep)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the second
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be written, is the disk full? ({reason}) What was saved before is kept"
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU; code in the file is not executed.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds more than plain data.
    """
    try:
        if zipfile.is_zipfile(path):  # torch itself does not look at the sums in its files
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise CheckpointError(f"{path} is damaged: the checksum of {broken} is another")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint {path}: has the run finished an epoch?") from error
    except pickle.UnpicklingError as error:  # torch's own words advise to open it all the same
        raise CheckpointError(
            f"{path} is damaged or holds more than weights; an unknown pickle is not opened"
        ) from error
    except _DAMAGES as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not the state of a run")
    return state
