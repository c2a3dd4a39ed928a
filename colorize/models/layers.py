"""What the networks share: their contract, attention, spectral norm, first weights."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_HINT_STEPS = 11  # ab / 110 in steps of 10 CIELAB units


def check_size(size: int, multiple: int) -> None:
    """Refuse a side of training crops that a network cannot carry.

    Raises:
        ValueError: if `size` is no multiple of `multiple`; the nearest good ones are named.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be a whole number of pixels, got {size!r}")
    if size % multiple:
        good = " or ".join(str(side) for side, _ in _nearest(size, size, multiple))
        raise ValueError(
            f"size must be a multiple of {multiple} for this network: {good}, not {size}"
        )


def check_input(
    lightness: Tensor, hints: Tensor | None, multiple: int, supports_hints: bool = False
) -> None:
    """Hold a network's input to the contract that all models share.

    Raises:
        ValueError: if lightness is not (N, 1, H, W), its height or width is no multiple of
            `multiple` (the nearest good ones are named; padding is the caller's), hints are given
            to a network that takes none, or they are not (N, 3, H, W).
    """
    if lightness.dim() != 4 or lightness.shape[1] != 1:
        raise ValueError(f"lightness must be (N, 1, H, W), got {tuple(lightness.shape)}")
    height, width = lightness.shape[-2:]
    if height % multiple or width % multiple:
        good = " or ".join(f"{h}x{w}" for h, w in _nearest(height, width, multiple))
        raise ValueError(
            f"this network carries heights and widths that are multiples of {multiple}, got "
            f"{height}x{width}; pad or resize to {good}"
        )
    if hints is None:
        return
    if not supports_hints:
        raise ValueError(
            "this network takes no color hints; pass hints=None, or build it with hints=True"
        )
    wanted = (lightness.shape[0], 3, height, width)  # len() would fix the size of an export
    if hints.shape != wanted:
        raise ValueError(f"hints must be {wanted} (a, b, mask), got {tuple(hints.shape)}")


def _nearest(height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    down = [max(side // multiple, 1) * multiple for side in (height, width)]
    up = [-(-side // multiple) * multiple for side in (height, width)]
    return sorted({tuple(down), tuple(up)})


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) by reflection, to the right and below, to multiples a network carries."""
    height, width = x.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    # A reflection cannot be wider than the photo; there the border is repeated.
    mode = "reflect" if right < width and bottom < height else "replicate"
    return F.pad(x, (0, right, 0, bottom), mode=mode)


def concat_hints(x: Tensor, hints: Tensor | None) -> Tensor:
    """Features (N, C, h, w) with the hints of each place as three channels more.

    Args:
        x: the features.
        hints: (N, 3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there. Of a
            place of `x`, the mean of those given in it, in steps of 10 CIELAB units: as large as
            features are, not lost among them. None is no hints at all.
    """
    given = x.new_zeros(x.shape[0], 3, *x.shape[-2:])
    if hints is not None:
        mean = F.adaptive_avg_pool2d(hints, x.shape[-2:])
        given = mean / mean[:, 2:].clamp(min=1e-6)
        given = torch.cat((given[:, :2] * _HINT_STEPS, given[:, 2:]), dim=1).to(x.dtype)
    return torch.cat((x, given), dim=1)


class SelfAttention(nn.Module):
    """Every place looks at all others; switched in by a gate that begins at 0.

    Zhang, Goodfellow, Metaxas, Odena: Self-Attention Generative GANLoss Networks, ICML 2019,
    equations 1 to 3: y = x + gamma * o, o_j = sum_i softmax_i(f(x_i)^T g(x_j)) h(x_i), where f
    and g have an eighth of the channels.
    """

    def __init__(self, channels: int, spectral: bool = False):
        """Build the layer.

        Args:
            channels: of the features, at least 8.
            spectral: whether its convolutions are spectrally normalized, as in the paper.
        """
        super().__init__()
        inner = max(1, channels // 8)
        convs = (nn.Conv2d(channels, out, 1, bias=False) for out in (inner, inner, channels))
        self.key, self.query, self.value = (spectral_norm(c) if spectral else c for c in convs)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, H, W) to the same shape; at gamma 0 they are unchanged."""
        key, query, value = (
            conv(x).flatten(2).transpose(1, 2).unsqueeze(1)  # one head
            for conv in (self.key, self.query, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gamma * seen.transpose(2, 3).reshape(x.shape)


def apply_spectral_norm(network: nn.Module) -> nn.Module:
    """Divide each convolution's weight by its largest singular value, in place.

    Miyato, Kataoka, Koyama, Yoshida: Spectral Normalization for Generative GANLoss Networks,
    ICLR 2018, algorithm 1; torch's own, one power iteration for each forward in training.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not hasattr(
            module, "parametrizations"
        ):
            spectral_norm(module, dim=1 if isinstance(module, nn.ConvTranspose2d) else 0)
    return network


class AlwaysOnDropout(nn.Dropout):
    """Dropout that stays on when the network is used, as pix2pix's only source of chance.

    Isola et al. 2017, section 3.1: "we provide noise only in the form of dropout, applied on
    several layers of our generator at both training and test time".
    """

    def forward(self, x: Tensor) -> Tensor:
        """Dropout, whether the network is in training mode or not."""
        return F.dropout(x, self.p, training=True)


def init_normal(module: nn.Module) -> None:
    """pix2pix's initial weights: convolutions N(0, 0.02), BatchNorm N(1, 0.02), biases 0.

    Isola et al. 2017, appendix 6.2. For `module.apply`.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def parameter_groups(
    network: nn.Module, lr: float, encoder_lr: float
) -> Iterator[dict[str, object]]:
    """Optimizer groups: a network's `encoder`, if it has one, learns at its own rate."""
    encoder = list(getattr(network, "encoder", nn.Module()).parameters())
    known = set(map(id, encoder))
    rest = [parameter for parameter in network.parameters() if id(parameter) not in known]
    if encoder:
        yield {"params": encoder, "lr": encoder_lr}
    yield {"params": rest, "lr": lr}


def upsample_like(x: Tensor, lightness: Tensor) -> Tensor:
    """Bring what is smaller than the lightness (N, 1, H, W) to its size."""
    if x.shape[-2:] == lightness.shape[-2:]:
        return x
    return F.interpolate(x, lightness.shape[-2:], mode="bilinear", align_corners=False)
