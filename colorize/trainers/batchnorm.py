"""BatchNorm statistics of a step that is split into micro-batches and processes."""

import torch
from torch import Tensor, nn

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
        if self.buffers:
            self.before = self._flattened()
            self.sums = torch.zeros_like(self.before)

    def end_micro_batch(self) -> None:
        """Take and reset the statistics after forward and backward, which both need them."""
        if self.buffers:
            self.sums += self._flattened()
            self._set(self.before)

    def end_step(self) -> None:
        """Set the statistics to the mean over the micro-batches."""
        if self.buffers:
            self._set(all_reduce_sum(self.sums) / self.micro_batches)
            self.start_step()

    # In one tensor: there are a hundred buffers, and each operation and message has its latency.

    def _flattened(self) -> Tensor:
        return torch.cat([buffer.flatten() for buffer in self.buffers])

    def _set(self, values: Tensor) -> None:
        chunks = values.split([buffer.numel() for buffer in self.buffers])
        for buffer, chunk in zip(self.buffers, chunks, strict=True):
            buffer.copy_(chunk.view_as(buffer))
