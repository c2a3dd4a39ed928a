"""The exponential moving average of a model's weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class ExponentialMovingAverage(AveragedModel):
    """Averages a model's weights with a decay that is lower in the first steps.

    In step n the decay is at most (1 + n) / (10 + n), as in TensorFlow's
    ExponentialMovingAverage, so the random initial weights are soon forgotten. The running
    statistics of BatchNorm are averaged in the same way: those of the last step belong to other
    weights. All other buffers are copied.
    """

    def __init__(self, model: nn.Module, decay: float):
        """Start with a model's weights as they are."""
        super().__init__(model)
        self.decay = decay

    @property
    def step_decay(self) -> float:
        """The weight of the past in the next average."""
        count = int(self.n_averaged)  # stays on the CPU, so no GPU is waited for
        return min(self.decay, (1 + count) / (10 + count))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        if not self.n_averaged:
            super().update_parameters(model)  # copies everything
            return
        averaged, copied = _split_tensors(self.module)
        new_averaged, new_copied = _split_tensors(model)
        get_ema_multi_avg_fn(self.step_decay)(averaged, new_averaged, None)  # few kernels for all
        for tensor, new in zip(copied, new_copied, strict=True):
            tensor.copy_(new)
        self.n_averaged += 1


def _split_tensors(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights and running statistics, which are averaged, and all other buffers."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    # A discriminator's BatchNorm has no running statistics.
    statistics = [t for n in norms for t in (n.running_mean, n.running_var) if t is not None]
    ids = set(map(id, statistics))
    return [*model.parameters(), *statistics], [b for b in model.buffers() if id(b) not in ids]
