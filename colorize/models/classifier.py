"""Colorization as classification: a distribution over the ab bins for every position.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from colorize.color import ab_bins
from colorize.models.base import ColorizationModel, DistributionModel
from colorize.models.layers import upsample_like
from colorize.utils.legacy import upgrade_class_weights


class ColorClassifier(DistributionModel):
    """A network of logits over the ab bins, and the ways to decode ab from them.

    Attributes:
        network: maps lightness to logits (N, bins, h, w).
        class_weights: weights of the bins in the loss, computed from the training photos; part of
            the state dict.
        temperature: of the decoding; settable from 0 to 1.
        prior_strength: how much the rebalancing of the loss counts in the predictions.
    """

    def __init__(
        self, network: ColorizationModel, temperature: float = 0.38, prior_strength: float = 1.0
    ):
        """Wrap a network that has as many output channels as there are bins.

        Args:
            network: such as an `EncoderUNet` with `bins`.
            temperature: of the annealed mean; the paper's is 0.38.
            prior_strength: 1 predicts as the paper does, from the distribution of a world in which
                rare colors are more frequent; 0 from that of the photos, less colorful and with
                less error (Menon et al.: Long-Tail Learning via Logit Adjustment, ICLR 2021,
                equation 9).

        Raises:
            ValueError: if the temperature or the prior strength is not from 0 to 1.
        """
        super().__init__()
        if not 0 <= temperature <= 1:
            raise ValueError(f"temperature must be from 0 (mode) to 1 (mean), got {temperature}")
        if not 0 <= prior_strength <= 1:
            raise ValueError(f"prior_strength must be from 0 to 1, got {prior_strength}")
        self.network, self.temperature, self.prior_strength = network, temperature, prior_strength
        self.size_divisibility = network.size_divisibility
        self.supports_hints = network.supports_hints
        self.register_buffer("class_weights", torch.ones(len(ab_bins.bin_centers())))
        self.register_load_state_dict_pre_hook(upgrade_class_weights)

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the network's pretrained encoder."""
        return self.network.encoder_parameters()

    def logits(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict logits (N, bins, h, w), at the network's own resolution."""
        logits = self.network(lightness, hints)
        if self.prior_strength == 1:
            return logits
        return logits - (1 - self.prior_strength) * self.class_weights.log().view(-1, 1, 1)

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
            sample: draw one sample instead, see `ab_bins.decode`.
            generator: source of the sample, on the CPU; None takes torch's global one.

        Raises:
            ValueError: if the temperature is not from 0 to 1.
        """
        noise = None
        if sample:
            uniform = torch.rand(*logits.shape[:2], 1, 1, generator=generator).clamp(min=1e-20)
            noise = -torch.log(-torch.log(uniform)).to(logits.device)
        temperature = self.temperature if temperature is None else temperature
        return ab_bins.decode(logits, temperature, noise)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W) in [-1, 1], at the model's temperature."""
        return upsample_like(self.decode(self.logits(lightness, hints)), lightness)
