"""The loop that every method shares: steps, epochs, validation, checkpoints, resuming."""

import contextlib
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import PERCEPTUAL, TrainConfig
from colorize.data.degradations import degrade
from colorize.losses.perceptual import PerceptualLoss
from colorize.losses.pixel import PIXEL_LOSSES
from colorize.metrics.image import ab_error, colorfulness
from colorize.models.hints import sample_hints
from colorize.models.layers import check_size
from colorize.trainers.run_dir import RunDir
from colorize.trainers.train_state import DivergedError, MicroBatch, TrainState
from colorize.utils.checkpoint import CheckpointError
from colorize.utils.device import resolve_device
from colorize.utils.distributed import all_reduce_sum, barrier, rank, world_size
from colorize.utils.seed import seed_all
from colorize.utils.signals import GracefulStop

_SHOWN = 4  # validation photos that are painted after each epoch
_TOLD = 10  # steps after which the bar tells the losses again
_AGREE = 8  # steps after which processes on GPUs agree whether to save or stop
_ADVICE = "The last checkpoint is kept. Start anew in another folder with a lower lr, or clip."

TERMINATED = 143  # exit status after SIGTERM, as shells count: 128 + 15


class Trainer:
    """Trains a network on batches of uint8 photos, into a run folder.

    A subclass says which networks learn (`networks`) and what one step is (`step`).

    A trainer made for a folder with a run in it (see `RunDir`) continues that run from its
    last checkpoint, also inside an epoch. Each step's randomness is seeded by its number, so the
    continued run equals the uninterrupted one, bitwise on a CPU (some of torch's CUDA operations
    add in an order of their own each time; `deterministic` takes others where there are some).

    In several processes (torchrun) each works on its share of every batch; the photos of a batch
    are the same whatever their number, and so are the weights, up to the rounding of sums in
    another order (2e-4 in the tests; biases before BatchNorm, which change nothing, aside).
    Normalization is per micro-batch; running statistics advance once per step, by the mean over
    all micro-batches of all processes.

    Attributes:
        model: the network; used as one, it paints.
        train_state: its networks as they learn.
        history: what `log.jsonl` holds.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, out: str | os.PathLike, device: str = "auto"
    ):
        """Take the network, or continue the run in `out`.

        Raises:
            ValueError: if the network cannot carry the crops' size, the batch cannot be shared
                out, the device not train in that precision, or the run in `out` was started with
                other settings.
            CheckpointError: if its checkpoints are damaged.
        """
        check_size(config.crop_size, model.size_divisibility)
        pieces = world_size() * config.grad_accum_steps
        if config.batch_size % pieces:
            raise ValueError(
                f"a batch of {config.batch_size} cannot be cut into {pieces} equal micro-batches "
                f"({world_size()} processes x accumulate {config.grad_accum_steps}): use a batch size "
                f"of {config.batch_size // pieces * pieces or pieces}"
            )
        self.device = resolve_device(device)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        # Channels last: 1.4 times as fast for the ResNets on a CPU, and the layout of tensor cores.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.config, self.run = config, RunDir(out)
        self.distance = self._distance()
        self.train_state = TrainState(self.model, self.networks(), config, self.device)
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        self.done = 0  # steps of the epoch under way
        self.sums: dict[str, Tensor] = {}  # of its losses
        self.scores: list[dict[str, float]] = []  # of a joint phase, see `GANTrainer`
        self.bars = self.lines = False  # on a terminal, in a file
        self._photos: str | None = None  # a digest of which photos it trains on
        if self.run.has_run:
            self._resume()
        self.train_state.begin()
        self._stopping = GracefulStop()
        self._shown: Tensor | None = None  # the validation photos that are painted each epoch

    def networks(self) -> dict[str, nn.Module]:
        """The networks that learn, by name; each gets an optimizer of its own."""
        raise NotImplementedError

    def step(self, batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """Learn from one batch, cut into micro-batches; returns the mean losses, detached."""
        raise NotImplementedError

    def begin(self, train: DataLoader, val: DataLoader) -> None:
        """What a method needs to know of its photos, before the first step or when going on."""

    def begin_epoch(self, epoch: int) -> None:
        """What changes with the epochs, counted from 0."""

    def crops_of(self, epoch: int) -> int:
        """The epoch whose crops are seen in an epoch."""
        return epoch

    def after_step(self) -> None:
        """What a method wants to see on its way."""

    def judge(self, lightness: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
        """What a batch's paintings cost in validation, and the paintings."""
        painted = self.train_state.painting(lightness)
        return self.distance(lightness, painted, ab), painted

    @contextlib.contextmanager
    def learning(self, batch: MicroBatch) -> Iterator[None]:
        """Forward and backward of a micro-batch, whose noise follows from the step."""
        seed_all(self.config.seed, self.steps, batch.number)
        with self.train_state.learning(batch):
            yield

    def fit(
        self,
        train: DataLoader,
        val: DataLoader,
        progress: bool = True,
        save_minutes: float = 10,
        tensorboard: bool = False,
    ) -> list[dict]:
        """Train until the epochs are done or validation has stopped improving.

        SIGTERM ends it after the step under way (on many GPUs after at most 8), with all saved,
        by SystemExit(143); Ctrl-C likewise, by KeyboardInterrupt, and a second one at once.

        Args:
            train: from `colorize.data.loaders.train_loader`.
            val: from `colorize.data.loaders.eval_loader`.
            progress: bars on a terminal and in a notebook, elsewhere a line per epoch; or nothing.
            save_minutes: how often to save inside an epoch.
            tensorboard: whether to write the log and the paintings for TensorBoard too.

        Returns:
            The history: a dict per epoch with `epoch` (from 1), `steps`, `lr`, `seconds`,
            `photos_per_second`, `train` (mean losses) and `val` (`loss`: the distance;
            `ab_error`; `colorfulness`).

        Raises:
            DivergedError: if a loss is no number any more; the last checkpoint is kept.
            CheckpointError: if a checkpoint cannot be written.
            ValueError: if TensorBoard is asked for and not installed, another process is
                training in the run's folder, or its run was begun with other photos.
        """
        progress = progress and rank() == 0
        if len(self.history) >= self.config.epochs:  # and what the run says of itself stays true
            if progress:
                tqdm.write(
                    f"{self.run.name}: nothing to train, {len(self.history)} epochs are done and "
                    f"{self.config.epochs} are asked for"
                )
            return self.history
        self.bars = progress and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self.lines = progress and not self.bars
        epochs = tqdm(
            range(len(self.history), self.config.epochs),
            initial=len(self.history),
            total=self.config.epochs,
            desc=self.run.name,
            disable=not self.bars,
        )
        self._save_every, self._saved = 60 * save_minutes, time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.run.opened(self.config))
            board = None
            if tensorboard and rank() == 0:
                board = stack.enter_context(self.run.tensorboard_writer())
            stack.enter_context(self._stopping.noted())
            stack.enter_context(epochs)
            self._check_photos(train)
            self.begin(train, val)
            for epoch in epochs:
                if self.has_stalled():
                    if progress:
                        tqdm.write(
                            f"{self.run.name}: stopped after epoch {epoch}, no better validation "
                            f"loss for {self.config.patience} epochs"
                        )
                    break
                start = time.perf_counter()
                factor = self.config.lr_factor(epoch)
                skipped = self.done
                losses = self._train_epoch(train, epoch, factor)
                photos = (len(self._steps_of(train)) - skipped) * self.config.batch_size
                rate = photos / (time.perf_counter() - start)
                record = {
                    "epoch": epoch + 1,
                    "lr": self.config.lr * factor,
                    "train": losses,
                    "steps": self.steps,
                    "val": self._validated(val),
                }
                record["photos_per_second"] = round(rate, 1)
                record["seconds"] = round(time.perf_counter() - start, 1)
                self._keep(record)
                if board is not None:
                    self.run.log_tensorboard(board, record)
                self._save_if_asked()
                line = f"{rate:.1f} photos/s, val loss {record['val']['loss']:.4f}"
                epochs.set_postfix_str(line)
                if self.lines:
                    line = f"epoch {epoch + 1} of {self.config.epochs}, {line}"
                    print(f"{self.run.name}: {line}", flush=True)
        return self.history

    def _validated(self, val: DataLoader) -> dict[str, float]:
        measures = self.validate(val)
        if not math.isfinite(measures["loss"]):
            raise DivergedError(
                f"{self.run.name}: after step {self.steps} the validation loss is "
                f"{measures['loss']}. {_ADVICE}"
            )
        return measures

    @torch.no_grad()
    def validate(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """Means over the photos of uint8 batches: the distance, ab error, colorfulness."""
        self.train_state.painter.eval()
        batches = iter(batches)  # before seeding: a loader draws a number when it begins
        seed_all(self.config.seed)  # networks with noise see the same one each time
        names = ("loss", "ab_error", "colorfulness")
        sums = torch.zeros(len(names) + 1, dtype=torch.float64)
        shown: list[Tensor] = []
        for batch in batches:
            if sum(map(len, shown)) < _SHOWN:
                shown.append(batch)
            lightness, ab = rgb_to_lab(batch.to(self.device))
            with self._enough_memory(len(batch)):
                loss, painted = self.judge(lightness, ab)
            sums[0] += loss.item() * len(batch)
            sums[1] += ab_error(painted, ab).sum().item()
            sums[2] += colorfulness(to_uint8(lab_to_rgb(lightness, painted))).sum().item()
            sums[3] += len(batch)
        if shown:
            self._shown = torch.cat(shown)[:_SHOWN]
        if world_size() > 1:
            sums = all_reduce_sum(sums.to(self.device))
        *totals, count = sums.tolist()
        return {name: total / count for name, total in zip(names, totals, strict=True)}

    def _check_photos(self, loader: DataLoader) -> None:
        """See whether a run goes on with the photos that it began with.

        Raises:
            ValueError: if they are others.
        """
        photos = getattr(loader.dataset, "photos", None) if hasattr(loader, "dataset") else None
        if photos is None:  # streamed, or made by hand
            return
        names = "\n".join(f"{photo.path.parent.name}/{photo.path.name}" for photo in photos)
        found = f"{len(photos)} photos, {hashlib.sha256(names.encode()).hexdigest()[:16]}"
        if self._photos is not None and found != self._photos:
            raise ValueError(
                f"{self.run.path} was begun with other training photos ({self._photos}; now "
                f"{found}): use the same ones to continue it, or another folder"
            )
        self._photos = found

    def has_stalled(self) -> bool:
        """Whether the last `patience` epochs all failed to better the validation loss."""
        losses = [record["val"]["loss"] for record in self.history]
        patience = self.config.patience
        return patience is not None and len(losses) - 1 - _argmin(losses) >= patience

    def _steps_of(self, loader: DataLoader) -> range:
        return range(len(loader) // self.config.grad_accum_steps)

    def _train_epoch(self, loader: DataLoader, epoch: int, factor: float) -> dict[str, float]:
        self.train_state.set_rate(factor)
        self.begin_epoch(epoch)
        self.model.train()
        self.crops = self.crops_of(epoch)
        loader.sampler.set_epoch(self.crops, self.done)
        steps = self._steps_of(loader)
        self.epoch_steps = len(steps)
        batches = iter(loader)
        size = self.config.batch_size
        bar = tqdm(
            *(None, f"epoch {epoch + 1}"),
            **{"total": len(steps) * size, "initial": self.done * size, "unit": "photo"},
            **{"leave": False, "disable": not self.bars},
        )
        with bar:
            for _ in steps[self.done :]:
                self._learn(batches, loader)
                self.steps, self.done = self.steps + 1, self.done + 1
                self.after_step()
                bar.update(self.config.batch_size)
                if self.bars and self.done % _TOLD == 0:
                    bar.set_postfix_str(self._losses_so_far(), refresh=False)
                self._save_if_asked()
        means = {name: sums.mean().item() / len(steps) for name, sums in self._all_sums().items()}
        self.done, self.sums = 0, {}
        return means

    def _losses_so_far(self) -> str:
        """The epoch's mean losses, of this process."""
        done = max(self.done, 1)
        return ", ".join(f"{name} {s.item() / done:.3f}" for name, s in self.sums.items())

    def _learn(self, batches: Iterator[Tensor], loader: DataLoader) -> None:
        """One step, from the next micro-batches."""
        count = self.config.grad_accum_steps
        pieces = []
        for i in range(count):
            rgb = next(batches).to(self.device, non_blocking=True)
            number = rank() * count + i
            pieces.append(self.batch(rgb, number, last=i == count - 1))
        try:
            with self._enough_memory(len(pieces[0].ab)):
                losses = self.step(pieces)
            self.train_state.settle()
        except DivergedError as error:
            names = ", ".join(_names(loader, self.done))
            raise DivergedError(
                f"{self.run.name}, step {self.steps + 1}: {error}. {_ADVICE} The photos of the "
                f"batch: {names}"
            ) from error
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0) + loss

    @contextlib.contextmanager
    def _enough_memory(self, at_a_time: int) -> Iterator[None]:
        """Say what to set when the device's memory does not suffice."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            smaller = [n for n in range(1, at_a_time) if at_a_time % n == 0]
            pieces = self.config.grad_accum_steps * at_a_time // smaller[-1] if smaller else None
            raise ValueError(
                f"out of memory with {at_a_time} photos of {self.config.crop_size} px at a time: set "
                + (f"accumulate {pieces}, or " if smaller else "")
                + "a smaller size or batch size"
            ) from error

    def batch(self, rgb: Tensor, number: int, last: bool) -> MicroBatch:
        """Photos as input and truth; what is drawn by lot follows from the crops and number."""
        lightness, ab = rgb_to_lab(rgb)
        seed_all(self.config.seed, self.crops, self.done, number)
        if self.config.degradation_prob > 0:
            lightness = degrade(rgb, self.config.degradation_prob)
        hints = sample_hints(ab, self.config.hint_dropout) if self.model.supports_hints else None
        return MicroBatch(lightness, ab, number, last, hints)

    def _all_sums(self) -> dict[str, Tensor]:
        """The losses of the epoch so far, added up, of each process."""
        found = {}
        for name, total in self.sums.items():
            found[name] = torch.zeros(world_size(), device=self.device)
            found[name][rank()] = total
            all_reduce_sum(found[name])
        return found

    def _save_if_asked(self) -> None:
        """After a step: save when it is time, and end when the system asks for it."""
        due = time.monotonic() - self._saved >= self._save_every
        stop, save = self._stopping.asked, due
        if world_size() > 1:
            if self.device.type == "cuda" and self.steps % _AGREE and self.done > 0:
                return  # agreeing makes the GPUs wait for each other
            asked = torch.tensor([stop, due and rank() == 0], device=self.device)
            stop, save = all_reduce_sum(asked.float()).tolist()
        if stop or save:
            self._save()
        if save and self.lines:
            name = f"{self.run.name}: epoch {len(self.history) + 1}, {self.done} steps"
            print(f"{name}, saved; {self._losses_so_far()}", flush=True)
        if stop:
            if rank() == 0:
                tqdm.write(
                    f"{self.run.name}: asked to stop, saved after step {self.steps}; the same "
                    "command goes on from here",
                    file=sys.stderr,
                )
            barrier()
            if self._stopping.interrupted:
                raise KeyboardInterrupt
            raise SystemExit(TERMINATED)

    def _keep(self, record: dict[str, Any]) -> None:
        """Write what this epoch brought: first what to paint with, last the line in the log."""
        self.history.append(record)
        losses = [entry["val"]["loss"] for entry in self.history]
        if _argmin(losses) == len(losses) - 1:
            self.run.save_best(
                {"epoch": record["epoch"], "model": self.train_state.painter.state_dict()}
            )
        self._save()
        self.run.write_log(self.history)
        if rank() == 0:
            self._show()
        barrier()

    def _save(self) -> None:
        self._saved = time.monotonic()
        try:
            learned = self.train_state.state()
        except DivergedError as error:
            where = f"{self.run.name}: after step {self.steps}"
            raise DivergedError(f"{where} {error}. {_ADVICE}") from error
        progress = {"epoch": len(self.history), "steps": self.steps, "done": self.done}
        state = progress | {
            "history": self.history,
            "sums": self._all_sums(),
            "photos": self._photos,
            "scores": self.scores,
        }
        self.run.save(state | learned)

    def _distance(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The distance that the settings name, of (lightness, painted ab, true ab)."""
        name = self.config.reconstruction_loss
        if name in PIXEL_LOSSES:
            return lambda lightness, painted, ab: PIXEL_LOSSES[name](painted, ab)
        if name == PERCEPTUAL:
            return PerceptualLoss(self.config.perceptual_weights).to(self.device)
        return _no_distance

    def _show(self) -> None:
        """Paint the same few photos after each epoch."""
        if self._shown is None:  # nothing was validated
            return
        lightness, _ = rgb_to_lab(self._shown.to(self.device))
        self.train_state.painter.eval()
        seed_all(self.config.seed)
        painted = lab_to_rgb(lightness, self.train_state.painting(lightness))
        self.run.show(len(self.history), to_uint8(painted), self._shown)

    def _resume(self) -> None:
        self.run.check_config(self.config)
        state = self.run.load()
        try:
            self.train_state.load(state)
            self.steps, self.done, self.history = state["steps"], state["done"], state["history"]
            for name, sums in state["sums"].items():
                mine = sums[rank()] if len(sums) == world_size() else sums.mean()
                self.sums[name] = mine.to(self.device)
            self._photos = state["photos"]
            self.scores = state["scores"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint in {self.run.path} is of another run: {error}"
            ) from error
        self.run.write_log(self.history)


def _no_distance(lightness: Tensor, painted: Tensor, ab: Tensor) -> Tensor:
    raise ValueError("this loss is of logits over the color bins, not of colors")


def _names(loader: DataLoader, step: int) -> list[str]:
    """The files of a step's photos, where the loader knows them."""
    if not hasattr(loader.sampler, "batch"):
        return ["unknown"]
    return [str(loader.dataset.photos[index].path) for index in loader.sampler.batch(step)]


def _argmin(values: list[float]) -> int:
    """Index of the first lowest value; -1 for none."""
    return values.index(min(values)) if values else -1
