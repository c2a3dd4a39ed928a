"""Losses averaged over the micro-batches of a step, and over the steps of an epoch."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from colorize.utils.distributed import all_reduce_sum, rank, world_size


def mean_losses(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Average the losses of the micro-batches of a step, detached."""
    return {
        name: torch.stack([terms[name].detach() for terms in losses]).mean() for name in losses[0]
    }


class EpochLosses:
    """Sums the losses of an epoch's steps, in this process, without waiting for a GPU."""

    def __init__(self, device: torch.device):
        self.device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of a step."""
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + loss

    def reset(self) -> None:
        """Start an epoch."""
        self._sums = {}

    def local_means(self, steps: int) -> dict[str, float]:
        """Return the means over the steps so far, of this process."""
        return {name: total.item() / max(steps, 1) for name, total in self._sums.items()}

    def means(self, steps: int) -> dict[str, float]:
        """Return the means over the steps, of all processes."""
        return {name: sums.mean().item() / steps for name, sums in self.gather().items()}

    def gather(self) -> dict[str, Tensor]:
        """Return the sums of each process, (processes,), for a checkpoint."""
        gathered = {}
        for name, total in self._sums.items():
            sums = torch.zeros(world_size(), device=self.device)
            sums[rank()] = total
            gathered[name] = all_reduce_sum(sums)
        return gathered

    def load(self, gathered: Mapping[str, Tensor]) -> None:
        """Take over what `gather` returned, maybe in another number of processes."""
        for name, sums in gathered.items():
            own = sums[rank()] if len(sums) == world_size() else sums.mean()
            self._sums[name] = own.to(self.device)
