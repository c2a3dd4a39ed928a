"""The loop that every method shares: steps, epochs, validation, checkpoints, resuming."""

import contextlib
import hashlib
import inspect
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from colorize.aging import age
from colorize.checkpoint import CheckpointError
from colorize.color import lab_to_rgb, rgb_to_lab, to_uint8
from colorize.config import TrainConfig
from colorize.hints import draw_hints
from colorize.losses import DISTANCES, PERCEPTUAL
from colorize.metrics import ab_error, colorfulness
from colorize.models.layers import check_size, parameter_groups
from colorize.models.perceptual import PerceptualDistance
from colorize.runtime import (
    add_up,
    pick_device,
    pick_precision,
    rank,
    seed_all,
    wait_for_all,
    world_size,
)
from colorize.trainers.run import RunFolder
from colorize.trainers.statistics import MovingAverage, RunningStatistics

_SHOWN = 4  # validation photos that are painted after each epoch
_TOLD = 10  # steps after which the bar tells the losses again
_AGREE = 8  # steps after which processes on GPUs agree whether to save or stop
_LEAST_SCALE = 2.0**-14  # of a float16 loss; below, nothing is left of it
_ADVICE = "The last checkpoint is kept. Start anew in another folder with a lower lr, or clip."

TERMINATED = 143  # exit status after SIGTERM, as shells count: 128 + 15


class DivergedError(ArithmeticError):
    """A loss or gradient that is no number any more; the message names the photos."""


@dataclass(frozen=True)
class Batch:
    """A micro-batch on the device: what a process works on at a time.

    Attributes:
        lightness: (N, 1, H, W); of aged photos, where the settings ask for them.
        ab: (N, 2, H, W).
        hints: (N, 3, H, W), for a network that takes some.
        number: of the micro-batch in the step, over all processes; noise follows from it.
        last: whether it is this process's last one of the step.
    """

    lightness: Tensor
    ab: Tensor
    number: int
    last: bool
    hints: Tensor | None = None


class Trainer:
    """Trains a network on batches of uint8 photos, into a run folder.

    A subclass says which networks learn (`learners`) and what one step is (`step`).

    A trainer made for a folder with a run in it (see `RunFolder`) continues that run from its
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
        precision: of the networks' arithmetic.
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
        check_size(config.size, model.multiple)
        pieces = world_size() * config.accumulate
        if config.batch_size % pieces:
            raise ValueError(
                f"a batch of {config.batch_size} cannot be cut into {pieces} equal micro-batches "
                f"({world_size()} processes x accumulate {config.accumulate}): use a batch size "
                f"of {config.batch_size // pieces * pieces or pieces}"
            )
        self.device = pick_device(device)
        self.precision = pick_precision(config.precision, self.device)
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        # Channels last: 1.4 times as fast for the ResNets on a CPU, and the layout of tensor cores.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.config, self.run = config, RunFolder(out)
        self.distance = self._distance()
        self.autocast = lambda: torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32
        )
        half = self.precision == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        networks = self.learners()
        start = config.start or config.model_args.get("backbone_weights")
        encoder_lr = config.lr * (1 if start is None else config.encoder_lr_scale)
        self.optimizers = {}
        for name, network in networks.items():
            lr = config.critic_lr if name == "discriminator" and config.critic_lr else config.lr
            groups = list(parameter_groups(network, lr, encoder_lr))
            self.optimizers[name] = torch.optim.Adam(groups, betas=config.betas, fused=True)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.average = None if config.ema is None else MovingAverage(self.model, config.ema)
        self.statistics = {
            name: RunningStatistics(network, pieces) for name, network in networks.items()
        }
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        self.done = 0  # steps of the epoch under way
        self.sums: dict[str, Tensor] = {}  # of its losses
        self.scores: list[dict[str, float]] = []  # of a joint phase, see `GANTrainer`
        self.bars = self.lines = False  # on a terminal, in a file
        self._photos: str | None = None  # a digest of which photos it trains on
        if self.run.has_run:
            self._resume()
        # The networks as the steps call them; those above are for checkpoints and for use.
        self.parallel = {name: self._parallel(network) for name, network in networks.items()}
        self._stop_signal, self._interrupted = threading.Event(), False
        self._shown: Tensor | None = None  # the validation photos that are painted each epoch

    @property
    def painter(self) -> nn.Module:
        """The network to paint with: of averaged weights where the settings ask for them."""
        return self.model if self.average is None else self.average.module

    def learners(self) -> dict[str, nn.Module]:
        """The networks that learn, by name; each gets an optimizer of its own."""
        raise NotImplementedError

    def step(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
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
        painted = self._painted(lightness)
        return self.distance(lightness, painted, ab), painted

    @contextlib.contextmanager
    def learning(self, batch: Batch) -> Iterator[None]:
        """Forward and backward of a micro-batch: seeds its noise; the last one is shared."""
        seed_all(self.config.seed, self.steps, batch.number)
        with contextlib.ExitStack() as stack:
            for network in self.parallel.values():
                if isinstance(network, DistributedDataParallel) and not batch.last:
                    stack.enter_context(network.no_sync())
            yield
        for statistics in self.statistics.values():
            statistics.collect()

    def paint(self, name: str, batch: Batch) -> Tensor:
        """What a network paints for a micro-batch, ab in float32."""
        with self.autocast():
            return self.parallel[name](batch.lightness, batch.hints).float()

    def backward(self, loss: Tensor, name: str, retain_graph: bool = False) -> None:
        """Add a loss's gradients to one network; no other's are computed."""
        self.scaler.scale(loss).backward(inputs=self._weights(name), retain_graph=retain_graph)

    def update(self, *names: str) -> None:
        """Let networks take a step down their gradients.

        Raises:
            DivergedError: if one's are no numbers; all networks are left as they were.
        """
        for name in names:
            self.scaler.unscale_(self.optimizers[name])
            norm = nn.utils.clip_grad_norm_(self._weights(name), self.config.clip or math.inf)
            # A scaler skips such a step by itself, and scales less the next time.
            if not self.scaler.is_enabled() and not torch.isfinite(norm):
                raise DivergedError(f"the gradient of the {name} is {norm.item()}")
        for name in names:
            self.scaler.step(self.optimizers[name])
            self.optimizers[name].zero_grad(set_to_none=True)
        for name, statistics in self.statistics.items():
            statistics.settle() if name in names else statistics.begin()

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
                board = stack.enter_context(self.run.open_board())
            stack.enter_context(self._catching_signals())
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
                    self.run.write_board(board, record)
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
        self.painter.eval()
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
            sums = add_up(sums.to(self.device))
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

    def _weights(self, name: str) -> list[nn.Parameter]:
        return [w for group in self.optimizers[name].param_groups for w in group["params"]]

    def has_stalled(self) -> bool:
        """Whether the last `patience` epochs all failed to better the validation loss."""
        losses = [record["val"]["loss"] for record in self.history]
        patience = self.config.patience
        return patience is not None and len(losses) - 1 - _argmin(losses) >= patience

    def _parallel(self, network: nn.Module) -> nn.Module:
        if self.config.compile:
            network = torch.compile(network)
        if world_size() == 1:
            return network
        # Running statistics are ours to keep (`RunningStatistics`), so buffers are not sent around.
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(network, **{name: False})  # renamed in torch 2.15

    def _steps_of(self, loader: DataLoader) -> range:
        return range(len(loader) // self.config.accumulate)

    def _train_epoch(self, loader: DataLoader, epoch: int, factor: float) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
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
        count = self.config.accumulate
        pieces = []
        for i in range(count):
            rgb = next(batches).to(self.device, non_blocking=True)
            number = rank() * count + i
            pieces.append(self._batch(rgb, number, last=i == count - 1))
        try:
            with self._enough_memory(len(pieces[0].ab)):
                losses = self.step(pieces)
        except DivergedError as error:
            names = ", ".join(_names(loader, self.done))
            raise DivergedError(
                f"{self.run.name}, step {self.steps + 1}: {error}. {_ADVICE} The photos of the "
                f"batch: {names}"
            ) from error
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise DivergedError(
                f"{self.run.name}, step {self.steps + 1}: the gradients overflow at whatever "
                f"scale. {_ADVICE} Or use precision bf16"
            )
        if self.average is not None:
            self.average.update_parameters(self.model)
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0) + loss

    @contextlib.contextmanager
    def _enough_memory(self, at_a_time: int) -> Iterator[None]:
        """Say what to set when the device's memory does not suffice."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            smaller = [n for n in range(1, at_a_time) if at_a_time % n == 0]
            pieces = self.config.accumulate * at_a_time // smaller[-1] if smaller else None
            raise ValueError(
                f"out of memory with {at_a_time} photos of {self.config.size} px at a time: set "
                + (f"accumulate {pieces}, or " if smaller else "")
                + "a smaller size or batch size"
            ) from error

    def _batch(self, rgb: Tensor, number: int, last: bool) -> Batch:
        """Photos as input and truth; what is drawn by lot follows from the crops and number."""
        lightness, ab = rgb_to_lab(rgb)
        seed_all(self.config.seed, self.crops, self.done, number)
        if self.config.old_photos > 0:
            lightness = age(rgb, self.config.old_photos)
        hints = draw_hints(ab, self.config.without_hints) if self.model.takes_hints else None
        return Batch(lightness, ab, number, last, hints)

    def _all_sums(self) -> dict[str, Tensor]:
        """The losses of the epoch so far, added up, of each process."""
        found = {}
        for name, total in self.sums.items():
            found[name] = torch.zeros(world_size(), device=self.device)
            found[name][rank()] = total
            add_up(found[name])
        return found

    def _save_if_asked(self) -> None:
        """After a step: save when it is time, and end when the system asks for it."""
        due = time.monotonic() - self._saved >= self._save_every
        stop, save = self._stop_signal.is_set(), due
        if world_size() > 1:
            if self.device.type == "cuda" and self.steps % _AGREE and self.done > 0:
                return  # agreeing makes the GPUs wait for each other
            asked = torch.tensor([stop, due and rank() == 0], device=self.device)
            stop, save = add_up(asked.float()).tolist()
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
            wait_for_all()
            if self._interrupted:
                raise KeyboardInterrupt
            raise SystemExit(TERMINATED)

    def _keep(self, record: dict[str, Any]) -> None:
        """Write what this epoch brought: first what to paint with, last the line in the log."""
        self.history.append(record)
        losses = [entry["val"]["loss"] for entry in self.history]
        if _argmin(losses) == len(losses) - 1:
            self.run.save_best({"epoch": record["epoch"], "model": self.painter.state_dict()})
        self._save()
        self.run.write_log(self.history)
        if rank() == 0:
            self._show()
        wait_for_all()

    def _save(self) -> None:
        self._saved = time.monotonic()
        for name, value in self.model.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise DivergedError(
                    f"{self.run.name}: after step {self.steps} {name} is no number any more. "
                    f"{_ADVICE}"
                )
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        progress = {"epoch": len(self.history), "steps": self.steps, "done": self.done}
        state = progress | {
            "history": self.history,
            "sums": self._all_sums(),
            "photos": self._photos,
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": optimizers,
            "scaler": self.scaler.state_dict(),
            "scores": self.scores,
        }
        self.run.save(state)

    @torch.no_grad()
    def _painted(self, lightness: Tensor) -> Tensor:
        """What the network in use paints: ab in float32."""
        with self.autocast():
            return self.painter(lightness).float()

    def _distance(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The distance that the settings name, of (lightness, painted ab, true ab)."""
        name = self.config.distance
        if name in DISTANCES:
            return lambda lightness, painted, ab: DISTANCES[name](painted, ab)
        if name == PERCEPTUAL:
            return PerceptualDistance(self.config.perceptual_weights).to(self.device)
        return _no_distance

    def _show(self) -> None:
        """Paint the same few photos after each epoch."""
        if self._shown is None:  # nothing was validated
            return
        lightness, _ = rgb_to_lab(self._shown.to(self.device))
        self.painter.eval()
        seed_all(self.config.seed)
        painted = lab_to_rgb(lightness, self._painted(lightness))
        self.run.show(len(self.history), to_uint8(painted), self._shown)

    @contextlib.contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C let the step under way end and the run be saved."""
        if threading.current_thread() is not threading.main_thread():  # it may not
            yield
            return

        def stop(number: int, frame: object) -> None:
            self._interrupted = number == signal.SIGINT
            if self._interrupted:  # a second one ends it at once
                signal.signal(signal.SIGINT, signal.default_int_handler)
            self._stop_signal.set()

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _resume(self) -> None:
        self.run.check_config(self.config)
        state = self.run.load()
        try:
            self.model.load_state_dict(state["model"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            if self.scaler.is_enabled() and state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
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
        for statistics in self.statistics.values():
            statistics.begin()
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
