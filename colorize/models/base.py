"""The contract that all models share.

A model maps lightness (N, 1, H, W) in [-1, 1], and color hints (N, 3, H, W) where it supports them,
to ab (N, 2, H, W) in [-1, 1].
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from colorize.models.layers import AlwaysOnDropout, nearest_sizes


class ColorizationModel(nn.Module):
    """Base class of everything that predicts ab from lightness.

    Attributes:
        size_divisibility: heights and widths of the input must be multiples of it.
        supports_hints: whether the model was built for color hints.
        predicts_distribution: whether it is a `DistributionModel`.
    """

    size_divisibility: int
    supports_hints: bool = False
    predicts_distribution: bool = False

    __call__: Callable[..., Tensor]  # nn.Module's returns Any

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab.

        Args:
            lightness: (N, 1, H, W) in [-1, 1].
            hints: (N, 3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there.

        Returns:
            ab (N, 2, H, W) in [-1, 1].
        """
        raise NotImplementedError

    @property
    def is_stochastic(self) -> bool:
        """Whether two predictions of the same input differ, outside of `seeded_noise`."""
        return any(isinstance(module, AlwaysOnDropout) for module in self.modules())

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights, which inputs must have."""
        return next((p.dtype for p in self.parameters()), torch.float32)

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the pretrained encoder, if there is one.

        They may learn at a rate of their own (`TrainConfig.encoder_lr_mult`).
        """
        return ()

    def check_input(self, lightness: Tensor, hints: Tensor | None) -> None:
        """Check an input against the contract.

        Raises:
            ValueError: if lightness is not (N, 1, H, W), or of another number format than the
                weights, outside of autocast; if its height or width is no multiple of
                `size_divisibility` (the message names the nearest ones; padding is the caller's
                task); if the model does not support the given hints, or they are not (N, 3, H, W).
        """
        if lightness.dim() != 4 or lightness.shape[1] != 1:
            raise ValueError(f"lightness must be (N, 1, H, W), got {tuple(lightness.shape)}")
        if lightness.dtype != self.dtype and not torch.is_autocast_enabled(lightness.device.type):
            raise ValueError(
                f"lightness is {lightness.dtype} and the weights are {self.dtype}: convert one of "
                "them, or use torch.autocast"
            )
        height, width = lightness.shape[-2:]
        multiple = self.size_divisibility
        if height % multiple or width % multiple:
            nearest = nearest_sizes(height, width, multiple)
            raise ValueError(
                f"this model needs heights and widths that are multiples of {multiple}, got "
                f"{height}x{width}; pad or resize to {' or '.join(f'{h}x{w}' for h, w in nearest)}"
            )
        if hints is None:
            return
        if not self.supports_hints:
            raise ValueError(
                "this model does not support color hints: pass hints=None, or build it with "
                "hints=True"
            )
        expected = (lightness.shape[0], 3, height, width)  # len() would fix the size of an export
        if hints.shape != expected:
            raise ValueError(f"hints must be {expected} (a, b, mask), got {tuple(hints.shape)}")


class DistributionModel(ColorizationModel):
    """A model that predicts a distribution over the ab bins and decodes ab from it.

    Attributes:
        temperature: of the decoding, from 0 (mode) to 1 (mean).
        class_weights: weights of the bins in the loss, (bins,); a buffer.
    """

    predicts_distribution = True
    temperature: float
    class_weights: Tensor

    def logits(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict logits (N, bins, h, w), possibly at a lower resolution than the input's."""
        raise NotImplementedError

    def decode(
        self,
        logits: Tensor,
        temperature: float | None = None,
        *,
        sample: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Choose ab (N, 2, h, w) by logits (N, bins, h, w).

        Args:
            logits: as `logits` returns them.
            temperature: 1 for the mean, 0 for the mode, the annealed mean between them; None for
                the model's own.
            sample: draw from the distribution instead.
            generator: source of the sample, on the CPU; None takes torch's global one.
        """
        raise NotImplementedError
