"""Coloring as classification: a distribution over colors for every place.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016.
"""

import torch
from torch import Tensor, nn

from colorize.color import ab_bins as bins
from colorize.models.layers import upsample_like


def predicts_distribution(network: nn.Module) -> bool:
    """Whether a network can say how likely each color bin is: it has `logits` and `decode`."""
    return hasattr(network, "logits")


class ColorClassifier(nn.Module):
    """A network of logits over the color bins, and the ways to choose a color from them.

    Attributes:
        network: lightness to logits (N, bins, h, w).
        weights: of the bins in the loss, from the training photos; part of the state.
        temperature: at which it paints; settable from 0 to 1.
        prior_strength: how much the loss's preference for rare colors counts when it paints.
        multiple: heights and widths must be multiples of it.
        supports_hints: whether the network was built for color hints.
    """

    def __init__(self, network: nn.Module, temperature: float = 0.38, prior_strength: float = 1.0):
        """Take a network of as many channels as there are bins.

        Args:
            network: such as a `EncoderUNet` with `bins`.
            temperature: of the annealed mean; the paper's 0.38.
            prior_strength: 1 paints as the paper does, from the distribution of a world in which rare
                colors are more frequent; 0 from that of the photos, duller and with less error
                (Menon et al.: Long-Tail Learning via Logit Adjustment, ICLR 2021, equation 9).

        Raises:
            ValueError: if the temperature or the prior_strength is not from 0 to 1.
        """
        super().__init__()
        if not 0 <= temperature <= 1:
            raise ValueError(f"temperature must be from 0 (mode) to 1 (mean), got {temperature}")
        if not 0 <= prior_strength <= 1:
            raise ValueError(f"prior_strength must be from 0 to 1, got {prior_strength}")
        self.network, self.temperature, self.prior_strength = network, temperature, prior_strength
        self.size_divisibility, self.supports_hints = (
            network.size_divisibility,
            network.supports_hints,
        )
        self.register_buffer("weights", torch.ones(len(bins.bin_centers())))

    @property
    def encoder(self) -> nn.Module:
        """The pretrained part, which may learn at a rate of its own."""
        return self.network.encoder

    def logits(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W) to logits (N, bins, h, w), at the network's own resolution."""
        logits = self.network(lightness, hints)
        if self.prior_strength == 1:
            return logits
        return logits - (1 - self.prior_strength) * self.weights.log().view(-1, 1, 1)

    def decode(
        self, logits: Tensor, temperature: float | None = None, sample: bool = False
    ) -> Tensor:
        """Logits (N, bins, h, w) to ab (N, 2, h, w).

        Args:
            logits: of `logits`.
            temperature: 1 the mean, 0 the mode, between them the annealed mean; None the model's.
            sample: whether to draw one painting from torch's generator, see `bins.decode`.

        Raises:
            ValueError: if the temperature is not from 0 to 1.
        """
        noise = None
        if sample:
            uniform = torch.rand(*logits.shape[:2], 1, 1).clamp(min=1e-20)
            noise = -torch.log(-torch.log(uniform)).to(logits.device)
        temperature = self.temperature if temperature is None else temperature
        return bins.decode(logits, temperature, noise)

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W) in [-1, 1], at the model's temperature."""
        return upsample_like(self.decode(self.logits(lightness, hints)), lightness)
