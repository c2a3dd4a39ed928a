"""Averages over a run: of normalization's statistics over a step, of weights over the steps."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel


class ExponentialMovingAverage(AveragedModel):
    """An average of a network's weights that forgets by `decay` a step, faster in the beginning.

    The n-th step forgets by at most (1 + n) / (10 + n), as in TensorFlow's
    ExponentialMovingAverage; the random weights of the beginning are soon gone. The running
    statistics of normalization are averaged alike: those of the last step belong to other weights.
    """

    def __init__(self, model: nn.Module, decay: float):
        """Begin with a network's weights as they are."""
        super().__init__(
            model, avg_fn=lambda mean, weights, _: torch.lerp(weights, mean, self.keep)
        )
        self.decay = decay

    @property
    def keep(self) -> float:
        """The share of the past in the next average."""
        count = int(self.n_averaged)  # on the CPU, so that no GPU is waited for
        return min(self.decay, (1 + count) / (10 + count))

    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        first, keep = not self.n_averaged, self.keep
        past = [statistic.clone() for statistic in self._statistics()]
        super().update_parameters(model)  # which takes over the statistics
        if not first:
            for now, before in zip(self._statistics(), past, strict=True):
                now.lerp_(before, keep)

    def _statistics(self) -> list[Tensor]:
        norms = (module for module in self.module.modules() if isinstance(module, _BatchNorm))
        found = (statistic for norm in norms for statistic in (norm.running_mean, norm.running_var))
        return [statistic for statistic in found if statistic is not None]  # None: a critic's norm
