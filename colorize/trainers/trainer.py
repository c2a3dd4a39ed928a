"""The training loop that all methods share: steps, epochs, validation, checkpoints, resuming."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import Example
from colorize.data.loaders import EpochLoader
from colorize.metrics.image import ab_error, colorfulness
from colorize.models import ColorizationModel
from colorize.models.layers import check_size
from colorize.trainers.callbacks import Callback, Record, default_callbacks, shows_bars
from colorize.trainers.checks import check_batch_norm, check_batch_size
from colorize.trainers.epoch_losses import EpochLosses
from colorize.trainers.errors import DIVERGED_ADVICE, DivergedError, explained_memory
from colorize.trainers.run_dir import RunDir
from colorize.trainers.save_policy import SavePolicy
from colorize.trainers.train_state import MicroBatch, TrainState
from colorize.utils.checkpoint import CheckpointError
from colorize.utils.checks import counted
from colorize.utils.device import resolve_device
from colorize.utils.distributed import all_reduce_sum, barrier, rank, world_size
from colorize.utils.legacy import same_photos, upgrade_checkpoint
from colorize.utils.seed import deterministic_algorithms, seeded_noise


class Trainer:
    """Trains a model on a folder's photos; a subclass is a method.

    A subclass names the networks that are trained (`networks`), and defines a training step
    (`training_step`) and what is measured in validation (`validation_step`). The other methods
    without an underscore are hooks.

    A trainer made for a folder with a run in it (see `RunDir`) continues that run from its last
    checkpoint, also inside an epoch. Everything random follows from the settings and the step (see
    `colorize.utils.seed`), so a continued run equals the uninterrupted one, bitwise on a CPU. (Some
    of torch's CUDA operations add in a varying order; `deterministic` avoids most of them.)

    In several processes (torchrun) each works on its share of every batch. The photos of a batch
    are the same whatever the number of processes, and so are the weights, up to the rounding of
    sums in another order (2e-4 in the tests, except biases before BatchNorm, which have no effect).
    BatchNorm normalizes by the micro-batch; its running statistics advance once per step, by the
    mean over all micro-batches of all processes.

    Attributes:
        model: the whole model.
        run: its folder.
        train_state: the networks in training, with their optimizers.
        history: a record per epoch, as in `log.jsonl`.
        global_step: steps since the beginning of the run.
        epoch_step: steps since the beginning of the epoch.
        steps_per_epoch: of the training photos that `fit` was given.
        should_stop: ends the training before the next epoch; callbacks may set it.
        show_bars: whether progress is shown by bars.
    """

    def __init__(
        self,
        model: ColorizationModel,
        config: TrainConfig,
        out: str | os.PathLike,
        device: str = "auto",
    ):
        """Take the model, which is trained in place, and continue the run in `out` if there is one.

        Whatever can be known before the first step is checked here.

        Args:
            model: with all its weights, in float32.
            config: the settings.
            out: folder of the run.
            device: "auto", or a device of torch's.

        Raises:
            ValueError: if the model does not suit the method or the crop size, the batch cannot be
                divided into equal micro-batches or is too small for BatchNorm, the device cannot
                train in that precision, `out` cannot be written or has no room, or the run in it
                has other settings.
            CheckpointError: if its checkpoints are damaged or of another model.
        """
        self.check_model(model, config)
        check_size(config.crop_size, model.size_divisibility)
        check_batch_size(config)
        check_batch_norm(model, config)
        self.device = resolve_device(device)
        if config.deterministic:  # read when CUDA starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.model = model.to(self.device)
        # Channels last: 1.4 times as fast for the ResNets on a CPU, and the layout of tensor cores.
        self.model.to(memory_format=torch.channels_last)
        self.config, self.run = config, RunDir(out)
        self.train_state = TrainState(self.model, self.networks(), config, self.device)
        self.history: list[Record] = []
        self.global_step = self.epoch_step = self.steps_per_epoch = 0
        self.should_stop = self.show_bars = False
        self._callbacks: list[Callback] = []
        self._epoch_losses = EpochLosses(self.device)
        self._fingerprint: str | None = None  # of the training photos
        self._save_policy = SavePolicy()
        self.set_up()
        self._start_or_resume()

    # What a method defines.

    @classmethod
    def check_model(cls, model: ColorizationModel, config: TrainConfig) -> None:
        """Check that the method can train the model with these settings.

        Raises:
            ValueError: if it cannot.
        """

    def set_up(self) -> None:
        """Create what the method needs, at the end of `__init__`."""

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that are trained, by name; each gets an optimizer of its own."""
        raise NotImplementedError

    def training_step(self, micro_batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Update the networks by one batch, and return its mean losses, detached.

        Args:
            micro_batches: the share of this process.
        """
        raise NotImplementedError

    def validation_step(self, lightness: Tensor, target_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Predict without hints, and return the mean loss and the predicted ab (N, 2, H, W).

        Args:
            lightness: (N, 1, H, W) in [-1, 1].
            target_ab: ground truth (N, 2, H, W) in [-1, 1].
        """
        raise NotImplementedError

    def on_fit_start(self, train: EpochLoader, val: Iterable[Tensor]) -> None:
        """Prepare for the training photos, before the first step and when a run is continued."""

    def on_epoch_start(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0."""

    def augmentation_epoch(self, epoch: int) -> int:
        """Return the epoch by which crops and order are seeded in an epoch."""
        return epoch

    def on_step_end(self) -> None:
        """Follow a training step."""

    def extra_state(self) -> dict[str, Any]:
        """Return what a continued run of this method needs beside the networks."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over what `extra_state` returned."""

    # The loop.

    def fit(
        self,
        train: EpochLoader,
        val: Iterable[Tensor],
        *,
        progress: bool = True,
        save_minutes: float = 10,
        tensorboard: bool = False,
        callbacks: Sequence[Callback] = (),
    ) -> list[Record]:
        """Train until all epochs are done, or validation has stopped improving.

        SIGTERM ends it after the current step (on several GPUs after at most 8), with everything
        saved, by SystemExit(143); Ctrl-C likewise, by KeyboardInterrupt, and a second one at once.

        Args:
            train: from `colorize.data.loaders.train_loader`.
            val: uint8 batches (N, 3, H, W), from `colorize.data.loaders.eval_loader`.
            progress: show bars on a terminal and in a notebook, elsewhere a line per epoch.
            save_minutes: how often to save inside an epoch.
            tensorboard: log for TensorBoard too.
            callbacks: more of them.

        Returns:
            The history: a record per epoch with `epoch` (from 1), `steps`, `lr`, `seconds`,
            `photos_per_second`, `train` (mean losses) and `val` (`loss`, `ab_error` and
            `colorfulness`).

        Raises:
            DivergedError: if a loss is not finite; the last checkpoint is kept.
            CheckpointError: if a checkpoint cannot be written.
            ValueError: if TensorBoard is asked for and not installed, another process is training
                in the folder, or its run was trained on other photos.
        """
        is_main = rank() == 0
        if len(self.history) >= self.config.epochs:
            if progress and is_main:
                done = counted(len(self.history), "epoch")
                tqdm.write(
                    f"{self.run.name}: nothing to train, {done} done of the {self.config.epochs} "
                    "that are asked for"
                )
            return self.history
        self.show_bars = progress and is_main and shows_bars()
        self._callbacks = [
            *default_callbacks(
                self.config, progress=progress, tensorboard=tensorboard, is_main=is_main
            ),
            *callbacks,
        ]
        self._save_policy.interval = 60 * save_minutes
        self._save_policy.mark_saved()
        self.steps_per_epoch = len(train) // self.config.grad_accum_steps
        self.should_stop = False
        with (
            self.run.lock(self.config),
            deterministic_algorithms(self.config.deterministic),
            self._save_policy.listening(),
            self._ending_callbacks(),
        ):
            for callback in self._callbacks:
                callback.on_fit_start(self)
            self._check_photos(train)
            self.on_fit_start(train, val)
            for epoch in range(len(self.history), self.config.epochs):
                for callback in self._callbacks:
                    callback.on_epoch_start(self, epoch)
                if self.should_stop:
                    break
                self._run_epoch(train, val, epoch)
        return self.history

    def _run_epoch(self, train: EpochLoader, val: Iterable[Tensor], epoch: int) -> None:
        """Train and validate an epoch, and save what came of it."""
        start = time.perf_counter()
        photos = (self.steps_per_epoch - self.epoch_step) * self.config.batch_size
        losses = self.train_one_epoch(train, epoch)
        photos_per_second = photos / (time.perf_counter() - start)
        record: Record = {
            "epoch": epoch + 1,
            "lr": self.config.lr * self.config.lr_factor(epoch),
            "train": losses,
            "steps": self.global_step,
            "val": self.validate(val),
            "photos_per_second": round(photos_per_second, 1),
            "seconds": round(time.perf_counter() - start, 1),
        }
        self._check_finite(record["val"]["loss"])
        self._save_epoch(record)
        for callback in self._callbacks:
            callback.on_epoch_end(self, record)
        barrier()  # callbacks of the first process may take a while
        self._save_or_stop()

    def train_one_epoch(self, loader: EpochLoader, epoch: int) -> dict[str, float]:
        """Train the rest of an epoch, step by step, and return its mean losses.

        Args:
            loader: the training photos.
            epoch: counted from 0.
        """
        self.train_state.set_lr_factor(self.config.lr_factor(epoch))
        self.on_epoch_start(epoch)
        self.model.train()
        loader.set_epoch(self.augmentation_epoch(epoch), self.epoch_step)
        examples = iter(loader)
        while self.epoch_step < self.steps_per_epoch:
            # Take this process's share of the batch.
            micro_batches = [
                self.make_micro_batch(next(examples), i)
                for i in range(self.config.grad_accum_steps)
            ]

            # Forward, loss, backward, optimizer step, EMA: see the subclass.
            with self._explained_errors(loader, len(micro_batches[0].lightness)):
                losses = self.training_step(micro_batches)

            # Count.
            self._epoch_losses.add(losses)
            self.global_step += 1
            self.epoch_step += 1

            # Score, show, save, stop.
            self.on_step_end()
            for callback in self._callbacks:
                callback.on_step_end(self)
            self._save_or_stop()
        means = self._epoch_losses.means(self.steps_per_epoch)
        self._epoch_losses.reset()
        self.epoch_step = 0
        return means

    def make_micro_batch(self, example: Example, i: int = 0) -> MicroBatch:
        """Move a batch of examples to the device, and convert it to LAB.

        Args:
            example: of N photos.
            i: number of the micro-batch in the step, in this process.

        Raises:
            ValueError: if it does not hold the inputs that the settings ask for.
        """
        has_inputs = (example.lightness is not None, example.hints is not None)
        if has_inputs != (self.config.degradation_prob > 0, self.model.supports_hints):
            raise ValueError(
                "the training photos do not come with the degraded inputs or hints of the "
                "settings: use run_loaders, or pass settings=ExampleSettings.from_config(config)"
            )
        count = self.config.grad_accum_steps
        index = rank() * count + i
        lightness, target_ab = rgb_to_lab(example.rgb.to(self.device, non_blocking=True))
        if example.lightness is not None:
            lightness = example.lightness.to(self.device, non_blocking=True)
        hints = example.hints
        if hints is not None:
            hints = hints.to(self.device, non_blocking=True)
        return MicroBatch(
            lightness,
            target_ab,
            hints,
            index=index,
            is_last=i == count - 1,
            noise_seed=(self.config.seed, self.global_step, index),
        )

    @torch.no_grad()
    def validate(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """Return means over validation photos: the loss, the ab error, the colorfulness.

        Networks with noise get the same one each time.

        Args:
            batches: uint8 (N, 3, H, W).
        """
        self.train_state.eval_model.eval()
        names = ("loss", "ab_error", "colorfulness")
        with seeded_noise(self.config.seed):
            sums = self._validation_sums(batches)
        if world_size() > 1:
            sums = all_reduce_sum(sums.to(self.device))
        *totals, count = sums.tolist()
        return {name: total / count for name, total in zip(names, totals, strict=True)}

    def _validation_sums(self, batches: Iterable[Tensor]) -> Tensor:
        """Add up the loss, the ab error and the colorfulness of photos, and count them."""
        sums = torch.zeros(4, dtype=torch.float64)
        for rgb in batches:
            for callback in self._callbacks:
                callback.on_validation_batch(self, rgb)
            lightness, target_ab = rgb_to_lab(rgb.to(self.device))
            with explained_memory(self.config, len(rgb)):
                loss, pred_ab = self.validation_step(lightness, target_ab)
            colorized = to_uint8(lab_to_rgb(lightness, pred_ab))
            sums[0] += loss.item() * len(rgb)
            sums[1] += ab_error(pred_ab, target_ab).sum().item()
            sums[2] += colorfulness(colorized).sum().item()
            sums[3] += len(rgb)
        return sums

    def mean_losses_so_far(self) -> dict[str, float]:
        """Return the mean losses of the current epoch, of this process."""
        return self._epoch_losses.local_means(self.epoch_step)

    # Checkpoints.

    def _start_or_resume(self) -> None:
        """Continue the run in the folder, if there is one."""
        self.run.check_room(self.train_state.checkpoint_bytes())
        if self.run.has_run:
            self.run.check_config(self.config)
            state = self.run.load()
            try:
                self._load_state_dict(state)
            except (KeyError, RuntimeError, ValueError, TypeError) as error:
                raise CheckpointError(
                    f"the checkpoint in {self.run.path} is of another run: {error}"
                ) from error
            self.run.write_log(self.history)
        self.train_state.wrap()

    def _state_dict(self) -> dict[str, Any]:
        return {
            "epoch": len(self.history),
            "global_step": self.global_step,
            "epoch_step": self.epoch_step,
            "history": self.history,
            "loss_sums": self._epoch_losses.gather(),
            "fingerprint": self._fingerprint,
            "extra": self.extra_state(),
            **self.train_state.state_dict(),
        }

    def _load_state_dict(self, state: dict[str, Any]) -> None:
        state = upgrade_checkpoint(state)
        self.train_state.load_state_dict(state)
        self.global_step, self.epoch_step = state["global_step"], state["epoch_step"]
        self.history, self._fingerprint = state["history"], state["fingerprint"]
        self._epoch_losses.load(state["loss_sums"])
        self.load_extra_state(state["extra"])

    def _save(self) -> None:
        self._save_policy.mark_saved()
        try:
            state = self._state_dict()
        except DivergedError as error:
            raise DivergedError(
                f"{self.run.name}: after step {self.global_step} {error}. {DIVERGED_ADVICE}"
            ) from error
        self.run.save(state)

    def _save_epoch(self, record: Record) -> None:
        """Write the weights if they are the best, the checkpoint, and last the log."""
        self.history.append(record)
        losses = [entry["val"]["loss"] for entry in self.history]
        if losses.index(min(losses)) == len(losses) - 1:
            weights = self.train_state.eval_model.state_dict()
            self.run.save_weights("best", {"epoch": record["epoch"], "model": weights})
        self._save()
        self.run.write_log(self.history)

    def _save_or_stop(self) -> None:
        """Save when it is time; save and stop when a signal asks for it."""
        stop, save = self._save_policy.decide(
            self.device, self.global_step, between_epochs=self.epoch_step == 0
        )
        if stop or save:
            self._save()
        if save:
            for callback in self._callbacks:
                callback.on_save(self)
        if stop:
            self._stop()

    def _stop(self) -> None:
        if rank() == 0:
            tqdm.write(
                f"{self.run.name}: asked to stop, saved after step {self.global_step}; run the "
                "same command to continue",
                file=sys.stderr,
            )
        barrier()
        self._save_policy.stop()

    # Errors.

    def _check_photos(self, loader: EpochLoader) -> None:
        """Check that a run is continued with the photos that it was started with."""
        fingerprint = loader.fingerprint
        if fingerprint is None:
            return
        if self._fingerprint is not None and not same_photos(self._fingerprint, fingerprint):
            raise ValueError(
                f"{self.run.path} was trained on other photos ({self._fingerprint}; now "
                f"{fingerprint}): use the same ones to continue it, or another folder"
            )
        self._fingerprint = fingerprint

    def _check_finite(self, val_loss: float) -> None:
        if not math.isfinite(val_loss):
            raise DivergedError(
                f"{self.run.name}: after step {self.global_step} the validation loss is "
                f"{val_loss}. {DIVERGED_ADVICE}"
            )

    @contextlib.contextmanager
    def _explained_errors(self, loader: EpochLoader, photos: int) -> Iterator[None]:
        """Say at which step and on which photos the training diverged, or memory ran out."""
        try:
            with explained_memory(self.config, photos):
                yield
        except DivergedError as error:
            names = ", ".join(loader.describe(self.epoch_step)) or "unknown"
            raise DivergedError(
                f"{self.run.name}, step {self.global_step + 1}: {error}. {DIVERGED_ADVICE} The "
                f"photos of the batch: {names}"
            ) from error

    @contextlib.contextmanager
    def _ending_callbacks(self) -> Iterator[None]:
        try:
            yield
        finally:
            for callback in self._callbacks:
                callback.on_fit_end(self)
