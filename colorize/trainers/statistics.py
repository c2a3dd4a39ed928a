"""Averages over a run: of normalization's statistics over a step, of weights over the steps."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from colorize.runtime import add_up


class RunningStatistics:
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
        for buffer, total in zip(self.buffers, self.total, strict=True):
            buffer.copy_(add_up(total) / self.pieces)
        self.begin()


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An average of a network's weights that forgets by `decay` a step, faster in the beginning.

    The n-th step forgets by at most (1 + n) / (10 + n), as in TensorFlow's
    ExponentialMovingAverage; the random weights of the beginning are soon gone.
    """

    def mix(mean: Tensor, weights: Tensor, _: Tensor) -> Tensor:
        count = int(average.n_averaged)  # on the CPU, so that no GPU is waited for
        return torch.lerp(weights, mean, min(decay, (1 + count) / (10 + count)))

    average = AveragedModel(model, avg_fn=mix)
    return average
