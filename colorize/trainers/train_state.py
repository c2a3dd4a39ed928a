"""The networks that learn: in what precision, by which optimizers, and what is averaged."""

import contextlib
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colorize.config import TrainConfig
from colorize.models.layers import parameter_groups
from colorize.trainers.batchnorm import BatchNormStatistics
from colorize.trainers.ema import ExponentialMovingAverage
from colorize.utils.device import resolve_dtype
from colorize.utils.distributed import world_size

_LEAST_SCALE = 2.0**-14  # of a float16 loss; below, nothing is left of it


class DivergedError(ArithmeticError):
    """A loss, a gradient or a weight that is no number any more."""


@dataclass(frozen=True)
class MicroBatch:
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


class TrainState:
    """Networks that learn by name, each with an optimizer of its own.

    Attributes:
        model: all of them as one; used as one, it paints.
        parallel: the networks as steps call them; those in the model are for checkpoints and use.
        optimizers: by the network's name.
        average: of the model's weights; None where the settings do not ask for it.
        precision: of the networks' arithmetic.
        autocast: makes the context in which they are called.
    """

    def __init__(
        self, model: nn.Module, networks: dict[str, nn.Module], config: TrainConfig, device
    ):
        """Make the optimizers, and what else the settings ask for.

        Args:
            model: on the device.
            networks: parts of it, by name; a "discriminator" has a learning rate of its own.
            config: the settings.
            device: torch's.

        Raises:
            ValueError: if the device cannot train in that precision.
        """
        self.model, self.config, self._networks = model, config, networks
        self.precision = resolve_dtype(config.precision, device)
        self.autocast = lambda: torch.autocast(
            device.type, self.precision, enabled=self.precision != torch.float32
        )
        half = self.precision == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        start = config.init_from or config.model_kwargs.get("encoder_weights")
        encoder_lr = config.lr * (1 if start is None else config.encoder_lr_mult)
        self.optimizers = {}
        for name, network in networks.items():
            lr = (
                config.discriminator_lr
                if name == "discriminator" and config.discriminator_lr
                else config.lr
            )
            groups = list(parameter_groups(network, lr, encoder_lr))
            self.optimizers[name] = torch.optim.Adam(groups, betas=config.betas, fused=True)
            for group in self.optimizers[name].param_groups:
                group["initial_lr"] = group["lr"]
        self.average = (
            None if config.ema_decay is None else ExponentialMovingAverage(model, config.ema_decay)
        )
        pieces = world_size() * config.grad_accum_steps
        self._statistics = {
            name: BatchNormStatistics(network, pieces) for name, network in networks.items()
        }
        self.parallel: dict[str, nn.Module] = {}

    @property
    def painter(self) -> nn.Module:
        """The network to paint with: of averaged weights where the settings ask for them."""
        return self.model if self.average is None else self.average.module

    def begin(self) -> None:
        """Compile and share out the networks; what is loaded is loaded by now."""
        for statistics in self._statistics.values():
            statistics.begin()
        self.parallel = {name: self._shared(network) for name, network in self._networks.items()}

    def set_rate(self, factor: float) -> None:
        """Set all learning rates to a multiple of the settings'."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    @contextlib.contextmanager
    def learning(self, batch: MicroBatch) -> Iterator[None]:
        """Forward and backward of a micro-batch; after the last one gradients are shared."""
        with contextlib.ExitStack() as stack:
            for network in self.parallel.values():
                if isinstance(network, DistributedDataParallel) and not batch.last:
                    stack.enter_context(network.no_sync())
            yield
        for statistics in self._statistics.values():
            statistics.collect()

    def paint(self, name: str, batch: MicroBatch) -> Tensor:
        """What a network answers to a micro-batch, ab or logits, in float32."""
        with self.autocast():
            return self.parallel[name](batch.lightness, batch.hints).float()

    @torch.no_grad()
    def painting(self, lightness: Tensor) -> Tensor:
        """What the network in use paints: ab in float32."""
        with self.autocast():
            return self.painter(lightness).float()

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
            norm = nn.utils.clip_grad_norm_(self._weights(name), self.config.grad_clip or math.inf)
            # A scaler skips such a step by itself, and scales less the next time.
            if not self.scaler.is_enabled() and not torch.isfinite(norm):
                raise DivergedError(f"the gradient of the {name} is {norm.item()}")
        for name in names:
            self.scaler.step(self.optimizers[name])
            self.optimizers[name].zero_grad(set_to_none=True)
        for name, statistics in self._statistics.items():
            statistics.settle() if name in names else statistics.begin()

    def settle(self) -> None:
        """After a step: the scale of the next one, and the average of the weights.

        Raises:
            DivergedError: if gradients overflow at whatever scale.
        """
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            raise DivergedError("the gradients overflow at whatever scale; use precision bf16")
        if self.average is not None:
            self.average.update_parameters(self.model)

    def state(self) -> dict[str, Any]:
        """What a continued run needs of them.

        Raises:
            DivergedError: if a weight is no number.
        """
        for name, value in self.model.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise DivergedError(f"{name} is no number any more")
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` said, before `begin`."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _weights(self, name: str) -> list[nn.Parameter]:
        return [w for group in self.optimizers[name].param_groups for w in group["params"]]

    def _shared(self, network: nn.Module) -> nn.Module:
        if self.config.compile:
            network = torch.compile(network)
        if world_size() == 1:
            return network
        # Running statistics are ours to keep (`BatchNormStatistics`), so buffers are not sent around.
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(network, **{name: False})  # renamed in torch 2.15
