"""The networks in training: precision, optimizers, gradient accumulation, weight averages."""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from colorize.config import TrainConfig
from colorize.models import ColorizationModel
from colorize.trainers.batchnorm import BatchNormStatistics
from colorize.trainers.ema import ExponentialMovingAverage
from colorize.trainers.errors import DivergedError
from colorize.utils.checkpoint import load_weights
from colorize.utils.device import resolve_dtype
from colorize.utils.distributed import world_size
from colorize.utils.seed import seeded_noise

_MIN_LOSS_SCALE = 2.0**-14  # of a float16 loss; below, nothing is left of it


@dataclass(frozen=True)
class MicroBatch:
    """The photos that a process works on at a time, on the device.

    Attributes:
        lightness: input (N, 1, H, W) in [-1, 1]; degraded where the settings ask for it.
        target_ab: ground truth (N, 2, H, W) in [-1, 1].
        hints: (N, 3, H, W), for a model that supports them.
        index: of the micro-batch in the step, over all processes.
        is_last: whether it is the last one of this process in the step.
        noise_seed: integers by which the networks' noise is seeded (`colorize.utils.seed`).
    """

    lightness: Tensor
    target_ab: Tensor
    hints: Tensor | None = None
    index: int = 0
    is_last: bool = True
    noise_seed: tuple[int, ...] = (0, 0, 0)


class TrainState:
    """The networks that are trained, by name, and all that changes with them.

    A training step calls it in this order: for each micro-batch, within `accumulate`, `forward`
    and `backward`; then `optimizer_step`; then `update_ema`.

    Attributes:
        model: the whole model; the networks are parts of it, or itself.
        parallel: the networks as a step calls them, compiled and distributed.
        optimizers: one for each network.
        ema: average of the model's weights; None where the settings do not ask for it.
        dtype: of the networks' arithmetic.
    """

    def __init__(
        self,
        model: ColorizationModel,
        networks: dict[str, nn.Module],
        config: TrainConfig,
        device: torch.device,
    ):
        """Create the optimizers, and what else the settings ask for.

        Args:
            model: on the device.
            networks: what is trained of it, by name; a "discriminator" has its own learning rate.
            config: the settings.
            device: where they are trained.

        Raises:
            ValueError: if the device cannot train in that precision.
        """
        self.model, self.config, self._networks, self._device = model, config, networks, device
        self.dtype = resolve_dtype(config.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.optimizers = {
            name: _create_optimizer(name, network, config) for name, network in networks.items()
        }
        self.ema = (
            None if config.ema_decay is None else ExponentialMovingAverage(model, config.ema_decay)
        )
        micro_batches = world_size() * config.grad_accum_steps
        self._statistics = {
            name: BatchNormStatistics(network, micro_batches) for name, network in networks.items()
        }
        self.parallel: dict[str, nn.Module] = {}

    @property
    def eval_model(self) -> ColorizationModel:
        """The model to predict with: of averaged weights where the settings ask for them."""
        if self.ema is None:
            return self.model
        return cast(ColorizationModel, self.ema.module)  # a copy of it

    def wrap(self) -> None:
        """Compile and distribute the networks; a checkpoint must be loaded before."""
        for statistics in self._statistics.values():
            statistics.start_step()
        self.parallel = {name: self._wrapped(network) for name, network in self._networks.items()}

    def autocast(self) -> torch.autocast:
        """Return the context of the networks' precision."""
        is_mixed = self.dtype != torch.float32
        return torch.autocast(self._device.type, self.dtype, enabled=is_mixed)

    def set_lr_factor(self, factor: float) -> None:
        """Set all learning rates to a multiple of the settings'."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    @contextlib.contextmanager
    def accumulate(self, micro_batch: MicroBatch) -> Iterator[None]:
        """Seed the noise of a micro-batch; its gradients are exchanged after the last one only."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(seeded_noise(*micro_batch.noise_seed))
            for network in self.parallel.values():
                if isinstance(network, DistributedDataParallel) and not micro_batch.is_last:
                    stack.enter_context(network.no_sync())
            yield
        for statistics in self._statistics.values():
            statistics.end_micro_batch()

    def forward(self, name: str, micro_batch: MicroBatch) -> Tensor:
        """Return a network's output, ab or logits, in float32."""
        with self.autocast():
            return self.parallel[name](micro_batch.lightness, micro_batch.hints).float()

    def backward(self, loss: Tensor, name: str, *, retain_graph: bool = False) -> None:
        """Accumulate the gradients of a micro-batch's loss in one network, in no other.

        Over the micro-batches of a step and the processes they add up to those of the mean loss.
        """
        scaled_loss = self.scaler.scale(loss / self.config.grad_accum_steps)
        scaled_loss.backward(inputs=self._parameters(name), retain_graph=retain_graph)

    def optimizer_step(self, *names: str) -> None:
        """Update networks by their accumulated gradients: clip, step, reset.

        Raises:
            DivergedError: if a gradient is not finite: then no network is changed; or if float16
                gradients overflow at every scale of the loss.
        """
        for name in names:
            self.scaler.unscale_(self.optimizers[name])
            parameters = self._parameters(name)
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if self.config.grad_clip is not None:
                nn.utils.clip_grads_with_norm_(parameters, self.config.grad_clip, norm)
            # A scaler skips such a step by itself, and scales less the next time.
            if not self.scaler.is_enabled() and not torch.isfinite(norm):
                raise DivergedError(f"the gradient of the {name} is {norm.item()}")
        for name in names:
            self.scaler.step(self.optimizers[name])
            self.optimizers[name].zero_grad(set_to_none=True)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < _MIN_LOSS_SCALE:
            raise DivergedError("the gradients overflow at every loss scale; use precision bf16")
        for name, statistics in self._statistics.items():
            statistics.end_step() if name in names else statistics.start_step()

    def update_ema(self) -> None:
        """Take the weights into their average."""
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    @torch.no_grad()
    def predict(self, lightness: Tensor) -> Tensor:
        """Predict ab (N, 2, H, W) in float32 by the model to predict with."""
        with self.autocast():
            return self.eval_model(lightness).float()

    def checkpoint_bytes(self) -> int:
        """Estimate the size of a checkpoint: the weights, Adam's two means, and the average."""
        copies = 3 if self.ema is None else 4
        return copies * sum(p.numel() * p.element_size() for p in self.model.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Return what a continued run needs.

        Raises:
            DivergedError: if a weight is not finite.
        """
        for name, value in self.model.state_dict().items():
            if value.is_floating_point() and not value.isfinite().all():
                raise DivergedError(f"{name} is not finite")
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, before `wrap`."""
        load_weights(self.model, state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return [p for group in self.optimizers[name].param_groups for p in group["params"]]

    def _wrapped(self, network: nn.Module) -> nn.Module:
        if self.config.compile:
            network = cast(nn.Module, torch.compile(network))  # typed as a function
        if world_size() == 1:
            return network
        # `BatchNormStatistics` keeps running statistics equal, so buffers are not broadcast.
        if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:
            return DistributedDataParallel(network, forward_sync_buffers=False)  # torch 2.15
        return DistributedDataParallel(network, broadcast_buffers=False)


def _create_optimizer(name: str, network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Create a network's Adam, in which a pretrained encoder has a learning rate of its own."""
    lr = config.lr
    if name == "discriminator" and config.discriminator_lr:
        lr = config.discriminator_lr
    has_pretrained_encoder = config.init_from or config.model_kwargs.get("encoder_weights")
    encoder_lr = config.lr * (config.encoder_lr_mult if has_pretrained_encoder else 1)
    encoder = []
    if isinstance(network, ColorizationModel):
        encoder = list(network.encoder_parameters())
    encoder_ids = set(map(id, encoder))
    rest = [parameter for parameter in network.parameters() if id(parameter) not in encoder_ids]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": lr}]
    if encoder:
        groups.insert(0, {"params": encoder, "lr": encoder_lr})
    optimizer = torch.optim.Adam(groups, betas=config.betas, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
