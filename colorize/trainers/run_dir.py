"""The folder of a run: its settings, checkpoints, log and pictures, each whole at any moment."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from colorize.config import TrainConfig
from colorize.io.image import photo_to_rgb, read_photo, rgb_to_photo, write_photo
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.distributed import rank
from colorize.utils.files import atomic_write

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# What may differ when a run is continued: how long it goes on, and how the machine is used.
_MAY_CHANGE = ("epochs", "patience", "grad_accum_steps", "precision", "compile", "deterministic")

_STRIP = 24  # epochs on the strip of paintings, at most


class RunDir:
    """What a run writes and reads again. Of many processes the first one writes.

    It holds `config.json`, `log.jsonl` (a line per epoch), `last.pt` and `previous.pt` (all that
    is needed to go on), `best.pt` (the network at its lowest validation loss), `paintings/` (a
    few validation photos after each epoch); of a GAN with phases also `turn.pt` and
    `scores.json` (see `GANTrainer`); and, if asked for, `tensorboard/`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.name = self.path.name
        self._last, self._previous = self.path / "last.pt", self.path / "previous.pt"

    @property
    def has_run(self) -> bool:
        """Whether a run was begun here."""
        return self._last.exists() or self._previous.exists()

    @contextlib.contextmanager
    def opened(self, config: TrainConfig) -> Iterator[None]:
        """Write the settings, and keep other processes out of the folder meanwhile.

        What a killed process left half-written is removed.

        Raises:
            ValueError: if another process is training in the folder.
        """
        if rank() != 0:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as lock:
            if fcntl is not None:  # the system takes it back when the process ends in any way
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise ValueError(
                        f"another process is training in {self.path}: wait for it, or use "
                        "another folder"
                    ) from error
            for left in self.path.glob(".*.part"):
                left.unlink(missing_ok=True)
            if not self.has_run:  # of a run that was killed before it was saved
                self.drop_generator_cache()
            config.save(self.path / "config.json")
            try:
                yield
            finally:
                Path(lock.name).unlink(missing_ok=True)

    def check_config(self, config: TrainConfig) -> None:
        """See whether the run that was begun here can go on with these settings.

        Raises:
            ValueError: if it cannot; all that differs is named.
        """
        if not (self.path / "config.json").exists():
            raise ValueError(
                f"{self.path} holds a checkpoint but no config.json, so it cannot be continued: "
                "use another folder"
            )
        started = TrainConfig.load(self.path / "config.json")
        changed = [
            f"{name} {getattr(started, name)!r}, now {getattr(config, name)!r}"
            for name in vars(started)
            if name not in _MAY_CHANGE and getattr(started, name) != getattr(config, name)
        ]
        if changed:
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}): use the same "
                "ones to continue it, or another folder"
            )

    def load(self) -> dict[str, Any]:
        """The last checkpoint, or the one before where that is damaged.

        Raises:
            CheckpointError: if both are.
        """
        if not self._last.exists():  # killed between two renamings
            return load_checkpoint(self._previous)
        try:
            return load_checkpoint(self._last)
        except CheckpointError as error:
            if not self._previous.exists():
                raise
            state = load_checkpoint(self._previous)
            tqdm.write(f"{error}; going on from {self._previous}, after step {state['steps']}")
            if rank() == 0:  # lest it take the place of the good one
                self._last.replace(self.path / "damaged.pt")
            return state

    def save(self, state: dict[str, Any]) -> None:
        """Keep all that is needed to go on, and what was kept before."""
        if rank() == 0:
            save_checkpoint(self._last, state, keep=self._previous)

    def save_best(self, state: dict[str, Any]) -> None:
        """Keep the network to paint with."""
        if rank() == 0:
            save_checkpoint(self.path / "best.pt", state)

    @property
    def generator_cache(self) -> Path:
        """Where a critic that learns alone finds the generator's paintings."""
        return self.path / "paintings.critic"

    def drop_generator_cache(self) -> None:
        """Remove them, when their phase is over."""
        if rank() == 0 and self.generator_cache.is_dir():
            shutil.rmtree(self.generator_cache)

    def save_inflection(self, state: dict[str, Any]) -> None:
        """Keep the network of a joint phase's lowest score."""
        if rank() == 0:
            save_checkpoint(self.path / "turn.pt", state)

    def write_scores(self, scores: list[dict[str, float]]) -> None:
        """The scores of the joint phases, by which the turn was found."""
        if rank() == 0:
            with atomic_write(self.path / "scores.json") as part:
                part.write_text(json.dumps(scores, indent=1) + "\n")

    def write_log(self, history: list[dict[str, Any]]) -> None:
        """A JSON line for each epoch."""
        if rank() == 0:
            with atomic_write(self.path / "log.jsonl") as part:
                part.write_text("".join(json.dumps(record) + "\n" for record in history))

    def show(self, epoch: int, painted: Tensor, truth: Tensor) -> None:
        """Write an epoch's paintings, and the strip of all epochs' below each other.

        Args:
            epoch: counted from 1.
            painted: uint8 (N, 3, H, W).
            truth: the same photos; the strip's last row.
        """
        if rank() != 0:
            return
        row = torch.cat([*painted.cpu()], dim=2)
        write_photo(rgb_to_photo(row), self._painting(epoch))
        folder = self.path / "paintings"
        rows = sorted(folder.glob("epoch-*.jpg"))
        some = {round(k * (len(rows) - 1) / (_STRIP - 1)) for k in range(_STRIP)}
        strip = [photo_to_rgb(read_photo(rows[i])) for i in sorted(some)]
        strip.append(torch.cat([*truth], dim=2))
        strip = [row for row in strip if row.shape == strip[-1].shape]  # of the same photos
        write_photo(rgb_to_photo(torch.cat(strip, dim=1)), folder / "strip.jpg")

    def tensorboard_writer(self) -> "SummaryWriter":
        """A writer for TensorBoard, which the extra brings.

        Raises:
            ValueError: if TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                f"TensorBoard is not installed ({error}): pip install 'colorize-photos"
                "[tensorboard]', or train without it; log.jsonl holds the same numbers"
            ) from error
        return SummaryWriter(self.path / "tensorboard")

    def log_tensorboard(self, board: "SummaryWriter", record: dict[str, Any]) -> None:
        """An epoch's numbers and paintings for TensorBoard."""
        epoch = record["epoch"]
        for part in ("train", "val"):
            for name, value in record[part].items():
                board.add_scalar(f"{part}/{name}", value, epoch)
        for name in ("lr", "photos_per_second"):
            board.add_scalar(name, record[name], epoch)
        painting = self._painting(epoch)
        if painting.exists():
            board.add_image("paintings", photo_to_rgb(read_photo(painting)), epoch)
        board.flush()

    def _painting(self, epoch: int) -> Path:
        return self.path / "paintings" / f"epoch-{epoch:04}.jpg"
