"""BatchNorm statistics of a step that is cut into micro-batches and processes."""

import torch
from torch import nn

from colorize.utils.distributed import all_reduce_sum


class BatchNormStatistics:
    """Running statistics of a network's normalization over the micro-batches of a step.

    Each micro-batch starts from those of the step's beginning; those after the step are the mean
    over all micro-batches of all processes, however they are shared out.
    """

    def __init__(self, network: nn.Module, pieces: int):
        """Watch a network.

        Args:
            network: its floating buffers are its statistics.
            pieces: micro-batches in a step, over all processes; with one there is nothing to do.
        """
        self.pieces = pieces
        self.buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        if pieces == 1:
            self.buffers = []
        self.begin()

    def begin(self) -> None:
        """Before a step."""
        self.first = [buffer.clone() for buffer in self.buffers]
        self.total = [torch.zeros_like(buffer) for buffer in self.buffers]

    def collect(self) -> None:
        """After forward and backward of a micro-batch; not between them, backward needs them."""
        for buffer, first, total in zip(self.buffers, self.first, self.total, strict=True):
            total.add_(buffer)
            buffer.copy_(first)

    def settle(self) -> None:
        """After the step."""
        if not self.buffers:
            return
        # In one message: there are a hundred buffers, and each message has its latency.
        totals = all_reduce_sum(torch.cat([total.flatten() for total in self.total])) / self.pieces
        parts = totals.split([buffer.numel() for buffer in self.buffers])
        for buffer, part in zip(self.buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))
        self.begin()
