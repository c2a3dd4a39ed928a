"""The loop that every method shares: epochs, validation, checkpoints, resuming."""

import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from colorize.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.color import lab_to_rgb, rgb_to_lab, to_uint8
from colorize.config import TrainConfig
from colorize.losses import DISTANCES
from colorize.metrics import ab_error, colorfulness
from colorize.models.layers import check_size, parameter_groups
from colorize.runtime import pick_device, seed_all, written_beside

# What may differ when a run is continued: how long it goes on.
_MAY_CHANGE = ("epochs", "patience")


class Trainer:
    """Trains a network on batches of uint8 photos, into a run folder.

    A subclass says which networks learn (`learners`) and what one step is (`step`).

    The run folder holds `config.json`, `log.jsonl` (a line per epoch), `last.pt` (all that is
    needed to go on) and `best.pt` (the network at its lowest validation distance). A trainer
    made for a folder with a run in it continues that run; each step's randomness is seeded by
    its number, so the continued run equals the uninterrupted one, bitwise on a CPU (some of
    torch's CUDA operations add in an order of their own each time).

    Attributes:
        model: the network; used as one, it paints.
        history: what `log.jsonl` holds.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, out: str | os.PathLike, device: str = "auto"
    ):
        """Take the network, or continue the run in `out`.

        Raises:
            ValueError: if the network cannot carry the crops' size, or the run in `out` was
                started with other settings.
            CheckpointError: if its checkpoint is damaged.
        """
        check_size(config.size, model.multiple)
        self.device = pick_device(device)
        # Channels last: 1.4 times as fast for the ResNets on a CPU, and the layout of tensor cores.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.config, self.out = config, Path(out)
        self.distance = DISTANCES[config.distance]
        pretrained = config.model_args.get("backbone_weights") is not None
        encoder_lr = config.lr * (config.encoder_lr_scale if pretrained else 1)
        self.optimizers = {
            name: torch.optim.Adam(
                list(parameter_groups(network, config.lr, encoder_lr)),
                betas=config.betas,
                fused=True,
            )
            for name, network in self.learners().items()
        }
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.history: list[dict[str, Any]] = []
        self.steps = 0
        if (self.out / "last.pt").exists():  # else nothing is lost
            self._resume()

    def learners(self) -> dict[str, nn.Module]:
        """The networks that learn, by name; each gets an optimizer of its own."""
        raise NotImplementedError

    def step(self, lightness: Tensor, ab: Tensor) -> dict[str, Tensor]:
        """Learn from one batch; returns the losses by name, detached."""
        raise NotImplementedError

    def update(self, name: str, loss: Tensor) -> None:
        """Let one network take a step down the slope of its loss."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def fit(self, train: DataLoader, val: DataLoader, progress: bool = True) -> list[dict]:
        """Train until the epochs are done or validation has stopped improving.

        Args:
            train: from `colorize.data.loaders.train_loader`.
            val: from `colorize.data.loaders.eval_loader`.
            progress: whether to draw bars.

        Returns:
            The history: a dict per epoch with `epoch` (from 1), `steps`, `lr`, `seconds`,
            `train` (mean losses) and `val` (`loss`: the distance; `ab_error`; `colorfulness`).
        """
        self.config.save(self.out / "config.json")
        epochs = tqdm(
            range(len(self.history), self.config.epochs),
            initial=len(self.history),
            total=self.config.epochs,
            desc=self.out.name,
            disable=not progress,
        )
        for epoch in epochs:
            if self.has_stalled():
                tqdm.write(
                    f"{self.out.name}: stopped after epoch {epoch}, no better validation loss "
                    f"for {self.config.patience} epochs"
                )
                break
            start = time.perf_counter()
            factor = self.config.lr_factor(epoch)
            record = {
                "epoch": epoch + 1,
                "lr": self.config.lr * factor,
                "train": self._train_epoch(train, epoch, factor, progress),
                "steps": self.steps,
                "val": self.validate(val),
            }
            record["seconds"] = round(time.perf_counter() - start, 1)
            self._keep(record)
            epochs.set_postfix_str(f"val loss {record['val']['loss']:.4f}")
        return self.history

    @torch.no_grad()
    def validate(self, batches: Iterable[Tensor]) -> dict[str, float]:
        """Means over the photos of uint8 batches: the distance, ab error, colorfulness."""
        self.model.eval()
        seed_all(self.config.seed)  # networks with noise see the same one each time
        sums, count = {"loss": 0.0, "ab_error": 0.0, "colorfulness": 0.0}, 0
        for batch in batches:
            lightness, ab = rgb_to_lab(batch.to(self.device))
            painted = self.model(lightness)
            rgb = to_uint8(lab_to_rgb(lightness, painted))
            sums["loss"] += self.distance(painted, ab).item() * len(batch)
            sums["ab_error"] += ab_error(painted, ab).sum().item()
            sums["colorfulness"] += colorfulness(rgb).sum().item()
            count += len(batch)
        return {name: total / count for name, total in sums.items()}

    def has_stalled(self) -> bool:
        """Whether the last `patience` epochs all failed to better the validation loss."""
        losses = [record["val"]["loss"] for record in self.history]
        patience = self.config.patience
        return patience is not None and len(losses) - 1 - _argmin(losses) >= patience

    def _train_epoch(
        self, loader: DataLoader, epoch: int, factor: float, progress: bool
    ) -> dict[str, float]:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        self.model.train()
        loader.sampler.set_epoch(epoch)
        sums: dict[str, Tensor] = {}
        for batch in tqdm(loader, f"epoch {epoch + 1}", leave=False, disable=not progress):
            seed_all(self.config.seed, self.steps)
            lightness, ab = rgb_to_lab(batch.to(self.device, non_blocking=True))
            for name, loss in self.step(lightness, ab).items():
                sums[name] = sums.get(name, 0) + loss
            self.steps += 1
        return {name: total.item() / len(loader) for name, total in sums.items()}

    def _keep(self, record: dict[str, Any]) -> None:
        """Write what this epoch brought: first what to paint with, last the line in the log."""
        self.history.append(record)
        losses = [entry["val"]["loss"] for entry in self.history]
        model = self.model.state_dict()
        if _argmin(losses) == len(losses) - 1:
            save_checkpoint(self.out / "best.pt", {"epoch": record["epoch"], "model": model})
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        state = {"epoch": record["epoch"], "steps": self.steps, "history": self.history}
        save_checkpoint(self.out / "last.pt", state | {"model": model, "optimizers": optimizers})
        self._write_log()

    def _write_log(self) -> None:
        with written_beside(self.out / "log.jsonl") as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in self.history))

    def _resume(self) -> None:
        started = TrainConfig.load(self.out / "config.json")
        changed = [
            f"{name} {getattr(started, name)!r}, now {getattr(self.config, name)!r}"
            for name in vars(started)
            if name not in _MAY_CHANGE and getattr(started, name) != getattr(self.config, name)
        ]
        if changed:
            raise ValueError(
                f"{self.out} holds a run with other settings ({'; '.join(changed)}): use the same "
                "ones to continue it, or another folder"
            )
        state = load_checkpoint(self.out / "last.pt")
        try:
            self.model.load_state_dict(state["model"])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            self.steps, self.history = state["steps"], state["history"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{self.out / 'last.pt'} is of another run: {error}") from error
        self._write_log()


def _argmin(values: list[float]) -> int:
    """Index of the first lowest value; NaN is no value. -1 for none."""
    best = -1
    for i, value in enumerate(values):
        if not math.isnan(value) and (best < 0 or value < values[best]):
            best = i
    return best
