"""BatchNorm statistics of a step that is split into micro-batches and processes."""

import torch
from torch import nn

from colorize.utils.distributed import all_reduce_sum


class BatchNormStatistics:
    """Keeps a network's running statistics independent of how a step is split.

    Each micro-batch starts from the statistics before the step; after the step they are the mean
    over all micro-batches of all processes.
    """

    def __init__(self, network: nn.Module, micro_batches: int):
        """Take the statistics of a network.

        Args:
            network: its floating-point buffers are its statistics.
            micro_batches: of a step, over all processes; with one, nothing has to be done.
        """
        self.micro_batches = micro_batches
        self.buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        if micro_batches == 1:
            self.buffers = []
        self.start_step()

    def start_step(self) -> None:
        """Remember the statistics before a step."""
        self.before = [buffer.clone() for buffer in self.buffers]
        self.sums = [torch.zeros_like(buffer) for buffer in self.buffers]

    def end_micro_batch(self) -> None:
        """Take and reset the statistics after forward and backward, which both need them."""
        for buffer, before, total in zip(self.buffers, self.before, self.sums, strict=True):
            total.add_(buffer)
            buffer.copy_(before)

    def end_step(self) -> None:
        """Set the statistics to the mean over the micro-batches."""
        if not self.buffers:
            return
        # In one message: there are a hundred buffers, and each message has its latency.
        flat = torch.cat([total.flatten() for total in self.sums])
        means = (all_reduce_sum(flat) / self.micro_batches).split([b.numel() for b in self.buffers])
        for buffer, mean in zip(self.buffers, means, strict=True):
            buffer.copy_(mean.view_as(buffer))
        self.start_step()
