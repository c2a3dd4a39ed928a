"""What happens beside training: progress, sample images, TensorBoard, early stopping."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import TrainConfig
from colorize.io.image import photo_to_rgb, rgb_to_photo, write_photo
from colorize.io.photo import read_photo
from colorize.trainers.run_dir import RunDir
from colorize.trainers.train_state import TrainState
from colorize.utils.seed import seeded_noise

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Record = dict[str, Any]  # of an epoch, as `log.jsonl` holds it

_SAMPLE_PHOTOS = 4  # validation photos that are colorized after each epoch
_PROGRESS_ROWS = 24  # epochs in the progress image, at most
_REFRESH_STEPS = 10  # steps after which a bar shows the losses again


class Training(Protocol):
    """What a callback may know of the trainer; it may set `should_stop`."""

    config: TrainConfig
    run: RunDir
    train_state: TrainState
    device: torch.device
    history: list[Record]
    steps_per_epoch: int
    epoch_step: int
    should_stop: bool

    def mean_losses_so_far(self) -> Mapping[str, float]:
        """Return the mean losses of the current epoch, of this process."""


class Callback:
    """Base class: follows a training. Epochs are counted from 0."""

    def on_fit_start(self, training: Training) -> None:
        """Begin, before the first step."""

    def on_epoch_start(self, training: Training, epoch: int) -> None:
        """Prepare for an epoch, which is trained unless `should_stop` is set."""

    def on_step_end(self, training: Training) -> None:
        """Follow a step."""

    def on_save(self, training: Training) -> None:
        """Follow a checkpoint that was written inside an epoch."""

    def on_validation_batch(self, training: Training, rgb: Tensor) -> None:
        """See a batch of validation photos, uint8 (N, 3, H, W)."""

    def on_epoch_end(self, training: Training, record: Record) -> None:
        """Follow an epoch that has been validated and saved."""

    def on_fit_end(self, training: Training) -> None:
        """Clean up, also after an error."""


class EarlyStopping(Callback):
    """Stops after `patience` epochs in a row without a lower validation loss."""

    def __init__(self, patience: int, *, verbose: bool = False):
        self.patience, self.verbose = patience, verbose

    def on_epoch_start(self, training: Training, epoch: int) -> None:
        """Look at the epochs before; so a stopped run that is started again stays stopped."""
        losses = [record["val"]["loss"] for record in training.history]
        if not losses or len(losses) - 1 - losses.index(min(losses)) < self.patience:
            return
        training.should_stop = True
        if self.verbose:
            tqdm.write(
                f"{training.run.name}: stopped after epoch {epoch}, no lower validation loss for "
                f"{self.patience} epochs"
            )


class ProgressBars(Callback):
    """Bars on a terminal or in a notebook: one of the epochs, one of the photos in an epoch."""

    def __init__(self) -> None:
        self.epochs: tqdm | None = None
        self.photos: tqdm | None = None

    def on_fit_start(self, training: Training) -> None:
        """Draw the bar of the epochs."""
        self.epochs = tqdm(
            initial=len(training.history), total=training.config.epochs, desc=training.run.name
        )

    def on_epoch_start(self, training: Training, epoch: int) -> None:
        """Draw the bar of the photos, without the ones before a resumed step."""
        if training.should_stop:
            return
        size = training.config.batch_size
        self.photos = tqdm(
            desc=f"epoch {epoch + 1}",
            total=training.steps_per_epoch * size,
            initial=training.epoch_step * size,
            unit="photo",
            leave=False,
        )

    def on_step_end(self, training: Training) -> None:
        """Advance by a batch."""
        if self.photos is None:
            return
        self.photos.update(training.config.batch_size)
        if training.epoch_step % _REFRESH_STEPS == 0:
            losses = _format_losses(training.mean_losses_so_far())
            self.photos.set_postfix_str(losses, refresh=False)
        if training.epoch_step == training.steps_per_epoch:
            self.photos.close()

    def on_epoch_end(self, training: Training, record: Record) -> None:
        """Advance by an epoch."""
        if self.epochs is not None:
            self.epochs.set_postfix_str(_format_record(record))
            self.epochs.update()

    def on_fit_end(self, training: Training) -> None:
        """Close both bars."""
        for bar in (self.photos, self.epochs):
            if bar is not None:
                bar.close()


class ProgressLines(Callback):
    """A line per epoch, and per checkpoint inside an epoch; for output that is not a terminal."""

    def on_save(self, training: Training) -> None:
        """Print where the run stands."""
        self._print(
            training,
            f"epoch {len(training.history) + 1}, {training.epoch_step} steps, saved; "
            f"{_format_losses(training.mean_losses_so_far())}",
        )

    def on_epoch_end(self, training: Training, record: Record) -> None:
        """Print the speed and the validation loss."""
        epochs = training.config.epochs
        self._print(training, f"epoch {record['epoch']} of {epochs}, {_format_record(record)}")

    def _print(self, training: Training, line: str) -> None:
        print(f"{training.run.name}: {line}", flush=True)


class SampleImages(Callback):
    """Colorizes the first validation photos after each epoch, as images in `samples/`.

    `epoch-0001.jpg` is a row of predictions; `progress.jpg` shows the rows of all epochs, of 24 at
    most, above each other, and the ground truth below.
    """

    def __init__(self) -> None:
        self._batches: list[Tensor] = []

    def on_epoch_start(self, training: Training, epoch: int) -> None:
        """Forget the photos of the last epoch."""
        self._batches = []

    def on_validation_batch(self, training: Training, rgb: Tensor) -> None:
        """Keep the first photos."""
        if sum(map(len, self._batches)) < _SAMPLE_PHOTOS:
            self._batches.append(rgb)

    def on_epoch_end(self, training: Training, record: Record) -> None:
        """Predict their colors, and write both images."""
        if not self._batches:  # nothing was validated
            return
        target = torch.cat(self._batches)[:_SAMPLE_PHOTOS]
        lightness, _ = rgb_to_lab(target.to(training.device))
        training.train_state.eval_model.eval()
        with seeded_noise(training.config.seed):
            pred_ab = training.train_state.predict(lightness)
        colorized = to_uint8(lab_to_rgb(lightness, pred_ab)).cpu()
        path = sample_path(training.run, record["epoch"])
        write_photo(rgb_to_photo(torch.cat([*colorized], dim=2)), path)
        _write_progress(path.parent, torch.cat([*target], dim=2))


def sample_path(run: RunDir, epoch: int) -> Path:
    """Return the file of an epoch's sample image, counted from 1."""
    return run.path / "samples" / f"epoch-{epoch:04}.jpg"


def _write_progress(folder: Path, target: Tensor) -> None:
    paths = sorted(folder.glob("epoch-*.jpg"))
    shown = {round(k * (len(paths) - 1) / (_PROGRESS_ROWS - 1)) for k in range(_PROGRESS_ROWS)}
    rows = [photo_to_rgb(read_photo(paths[index])) for index in sorted(shown)]
    rows = [row for row in [*rows, target] if row.shape == target.shape]  # of the same photos
    write_photo(rgb_to_photo(torch.cat(rows, dim=1)), folder / "progress.jpg")


def import_tensorboard() -> "type[SummaryWriter]":
    """Import TensorBoard's writer.

    Raises:
        ValueError: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"TensorBoard is not installed ({error}): pip install 'colorize-photos[tensorboard]', "
            "or train without it; log.jsonl holds the same numbers"
        ) from error
    return SummaryWriter


class TensorBoard(Callback):
    """Writes the records and the sample images to `tensorboard/`; stands after `SampleImages`."""

    def __init__(self) -> None:
        self._writer: SummaryWriter | None = None

    def on_fit_start(self, training: Training) -> None:
        """Open the writer; errors as of `import_tensorboard`."""
        self._writer = import_tensorboard()(training.run.path / "tensorboard")

    def on_epoch_end(self, training: Training, record: Record) -> None:
        """Write an epoch."""
        if self._writer is None:
            return
        epoch = record["epoch"]
        for group in ("train", "val"):
            for name, value in record[group].items():
                self._writer.add_scalar(f"{group}/{name}", value, epoch)
        for name in ("lr", "photos_per_second"):
            self._writer.add_scalar(name, record[name], epoch)
        image = sample_path(training.run, epoch)
        if image.exists():
            self._writer.add_image("samples", photo_to_rgb(read_photo(image)), epoch)
        self._writer.flush()

    def on_fit_end(self, training: Training) -> None:
        """Close the writer."""
        if self._writer is not None:
            self._writer.close()


def default_callbacks(
    config: TrainConfig, *, progress: bool, tensorboard: bool, is_main: bool
) -> list[Callback]:
    """Return the callbacks of a training; those that write are for the main process only.

    Args:
        config: its settings.
        progress: bars on a terminal and in a notebook, lines elsewhere.
        tensorboard: log for TensorBoard too.
        is_main: whether this is the first process.
    """
    callbacks: list[Callback] = []
    if config.patience is not None:
        callbacks.append(EarlyStopping(config.patience, verbose=progress and is_main))
    if is_main:
        callbacks.append(SampleImages())
        if tensorboard:
            callbacks.append(TensorBoard())
        if progress:
            callbacks.append(ProgressBars() if shows_bars() else ProgressLines())
    return callbacks


def shows_bars() -> bool:
    """Whether the output can show bars: a terminal, or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _format_losses(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in losses.items())


def _format_record(record: Record) -> str:
    return f"{record['photos_per_second']:.1f} photos/s, val loss {record['val']['loss']:.4f}"
