"""The folder of a run: settings, checkpoints and log, each complete at any moment."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from colorize.config import TrainConfig
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.checks import check_writable
from colorize.utils.distributed import rank
from colorize.utils.files import atomic_write
from colorize.utils.legacy import rename_run_files

if sys.platform != "win32":
    import fcntl

# What may differ when a run is continued: how long it lasts, and how the machine is used.
_CHECKPOINTS = 4  # at a time: the last, the one before, one being written, and the best weights
_MAY_CHANGE = ("epochs", "patience", "grad_accum_steps", "precision", "compile", "deterministic")


class RunDir:
    """Reads and writes the files of a run. Of several processes only the first one writes.

    The folder holds `config.json`; `log.jsonl` (a line per epoch); `last.pt` and `previous.pt`
    (all that is needed to continue); `best.pt` (the weights of the lowest validation loss);
    `samples/` (predictions of a few validation photos after each epoch, see `SampleImages`); of a
    GAN with phases also `inflection.pt` and `scores.json` (see `InflectionSelector`); and, if asked
    for, `tensorboard/`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name = self.path.name
        self._last, self._previous = self.path / "last.pt", self.path / "previous.pt"

    @property
    def has_run(self) -> bool:
        """Whether the folder holds a run that can be continued."""
        return self._last.exists() or self._previous.exists()

    def check_room(self, checkpoint_bytes: int) -> None:
        """Check that the folder can be written and has room for the checkpoints.

        Raises:
            ValueError: if it cannot, or has not.
        """
        kept = sum(path.exists() for path in (self._last, self._previous))
        needed = (_CHECKPOINTS - kept) * checkpoint_bytes
        free = check_writable(self.path)
        if free < needed:
            raise ValueError(
                f"{self.path}: the checkpoints take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
                "are free: make room, or choose another folder"
            )

    @contextlib.contextmanager
    def lock(self, config: TrainConfig) -> Iterator[None]:
        """Keep other processes out of the folder, and write the settings.

        Temporary files of a killed process are removed.

        Raises:
            ValueError: if another process is training in the folder.
        """
        if rank() != 0:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as lock:
            self._lock(lock)
            for tmp in self.path.glob(".*.part"):
                tmp.unlink(missing_ok=True)
            rename_run_files(self.path)
            config.save(self.path / "config.json")
            try:
                yield
            finally:
                Path(lock.name).unlink(missing_ok=True)

    def _lock(self, file: IO[str]) -> None:
        if sys.platform == "win32":
            return
        try:  # the system releases the lock, however the process ends
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is training in {self.path}: wait for it, or use another folder"
            ) from error

    def check_config(self, config: TrainConfig) -> None:
        """Check whether the run in the folder can be continued with these settings.

        Raises:
            ValueError: if it cannot; the message names all that differs.
        """
        if not (self.path / "config.json").exists():
            raise ValueError(
                f"{self.path} holds a checkpoint but no config.json, so it cannot be continued: "
                "use another folder"
            )
        saved = TrainConfig.load(self.path / "config.json")
        changed = [
            f"{name} {getattr(saved, name)!r}, now {getattr(config, name)!r}"
            for name in vars(saved)
            if name not in _MAY_CHANGE and getattr(saved, name) != getattr(config, name)
        ]
        if changed:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}). It continues "
                f"with the same ones; only {', '.join(_MAY_CHANGE)} may differ. A new run in "
                f"another folder can start from its weights: --init-from {self.path}"
            )

    def load(self) -> dict[str, Any]:
        """Load the last checkpoint, or the previous one where the last is damaged.

        Raises:
            CheckpointError: if both are damaged.
        """
        if not self._last.exists():  # killed between two renames
            return load_checkpoint(self._previous)
        try:
            return load_checkpoint(self._last)
        except CheckpointError as error:
            if not self._previous.exists():
                raise
            state = load_checkpoint(self._previous)
            step = state.get("global_step", state.get("steps"))
            tqdm.write(f"{error}; continuing from {self._previous}, after step {step}")
            if rank() == 0:  # so that it does not replace the good one
                self._last.replace(self.path / "damaged.pt")
            return state

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint to continue from, and keep the one before."""
        if rank() == 0:
            save_checkpoint(self._last, state, keep=self._previous)

    def save_weights(self, name: str, state: dict[str, Any]) -> None:
        """Write a checkpoint to predict with: "best" or "inflection"."""
        if rank() == 0:
            save_checkpoint(self.path / f"{name}.pt", state)

    def write_log(self, history: list[dict[str, Any]]) -> None:
        """Write the records of all epochs, a JSON line each."""
        if rank() == 0:
            with atomic_write(self.path / "log.jsonl") as tmp:
                tmp.write_text("".join(json.dumps(record) + "\n" for record in history))
