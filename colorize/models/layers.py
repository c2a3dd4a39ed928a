"""Building blocks of the networks: sizes, hints, attention, spectral norm, initialization."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from colorize.utils.checks import whole_number
from colorize.utils.seed import noise_generator

_HINT_SCALE = 11  # from ab / 110 to units of 10 in CIELAB


def check_size(size: int, multiple: int) -> None:
    """Check the side of training crops, or of the images at inference.

    Raises:
        ValueError: if `size` is no multiple of `multiple`; the message names the nearest ones.
    """
    if whole_number("size", size, 1) % multiple:
        nearest = " or ".join(str(side) for side, _ in nearest_sizes(size, size, multiple))
        raise ValueError(
            f"size must be a multiple of {multiple} for this network: {nearest}, not {size}"
        )


def nearest_sizes(height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    """Return the nearest sizes below and above whose sides are multiples of `multiple`."""
    below = (max(height // multiple, 1) * multiple, max(width // multiple, 1) * multiple)
    above = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
    return sorted({below, above})


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) at the right and the bottom, by reflection, to multiples of `multiple`.

    A padding wider than the photo is reflected again and again: one rule without a branch, which an
    export would fix at the size that it was traced with.
    """
    for dim in (-2, -1):
        side = x.shape[dim]
        forth = torch.arange(side, device=x.device)
        period = torch.cat((forth, forth[1:-1].flip(0)))
        index = period.repeat(multiple)[: side + -side % multiple]
        x = x.index_select(dim, index)
    return x


def concat_hints(x: Tensor, hints: Tensor | None) -> Tensor:
    """Append color hints to features, as three more channels.

    Each position of `x` gets the mean of the colors given inside it, in units of 10 CIELAB units:
    as large as features are, so that the hints are not lost among them.

    Args:
        x: features (N, C, h, w).
        hints: (N, 3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there; None
            is the same as no hints at all.

    Returns:
        (N, C + 3, h, w).
    """
    if hints is None:
        return F.pad(x, (0, 0, 0, 0, 0, 3))  # keeps the memory layout of `x`
    mean = F.adaptive_avg_pool2d(hints, (x.shape[-2], x.shape[-1]))
    mean = mean / mean[:, 2:].clamp(min=1e-6)
    channels = torch.cat((mean[:, :2] * _HINT_SCALE, mean[:, 2:]), dim=1).to(x.dtype)
    return torch.cat((x, channels), dim=1)


class SelfAttention(nn.Module):
    """Attention of every position to all others, with a gate that is initialized to 0.

    Zhang, Goodfellow, Metaxas, Odena: Self-Attention Generative Adversarial Networks, ICML 2019,
    equations 1 to 3: y = x + gamma * o, o_j = sum_i softmax_i(f(x_i)^T g(x_j)) h(x_i), where f
    and g have an eighth of the channels.
    """

    def __init__(self, channels: int, *, spectral: bool = False):
        """Build the layer.

        Args:
            channels: of the features, at least 8.
            spectral: whether its convolutions are spectrally normalized, as in the paper.
        """
        super().__init__()
        inner = max(1, channels // 8)
        self.key = _conv1x1(channels, inner, spectral=spectral)
        self.query = _conv1x1(channels, inner, spectral=spectral)
        self.value = _conv1x1(channels, channels, spectral=spectral)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the positions of features (N, C, H, W); at gamma 0 they are unchanged."""
        key, query, value = (
            conv(x).flatten(2).transpose(1, 2).unsqueeze(1)  # one head
            for conv in (self.key, self.query, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gamma * attended.transpose(2, 3).reshape(x.shape)


def _conv1x1(channels: int, out_channels: int, *, spectral: bool) -> nn.Module:
    conv = nn.Conv2d(channels, out_channels, 1, bias=False)
    return spectral_norm(conv) if spectral else conv


def apply_spectral_norm(network: nn.Module) -> nn.Module:
    """Divide each convolution's weight by its largest singular value, in place.

    Miyato, Kataoka, Koyama, Yoshida: Spectral Normalization for Generative Adversarial Networks,
    ICLR 2018, algorithm 1; torch's own, one power iteration for each forward in training.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not is_parametrized(module):
            spectral_norm(module, dim=1 if isinstance(module, nn.ConvTranspose2d) else 0)
    return network


class AlwaysOnDropout(nn.Dropout):
    """Dropout that stays on at inference, as pix2pix's only source of noise.

    Isola et al. 2017, section 3.1: "we provide noise only in the form of dropout, applied on
    several layers of our generator at both training and test time".
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply dropout, in training mode and in evaluation mode; see `seeded_noise`."""
        return x * _dropout_mask(x.detach(), self.p) if self.p else x


# An operation of its own, so that compiled and exported networks take the generator of each call.
@torch.library.custom_op(
    "colorize::dropout_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
def _dropout_mask(x: Tensor, p: float) -> Tensor:
    mask = torch.empty_like(x).bernoulli_(1 - p, generator=noise_generator(x.device))
    return mask.div_((1 - p) or 1)


@_dropout_mask.register_fake
def _(x: Tensor, p: float) -> Tensor:
    return torch.empty_like(x)


class StochasticDepth(nn.Module):
    """Stochastic depth, per photo: torchvision's, except that `seeded_noise` repeats it.

    Huang et al.: Deep Networks with Stochastic Depth, ECCV 2016.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop the features of some photos in training mode, and scale those of the others."""
        if not (self.training and self.p):
            return x
        return x * _dropout_mask(x.detach()[:, :1, :1, :1], self.p)


def init_normal(module: nn.Module) -> None:
    """Initialize as pix2pix does: convolutions N(0, 0.02), BatchNorm N(1, 0.02), biases 0.

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


def upsample_like(x: Tensor, lightness: Tensor) -> Tensor:
    """Upsample (N, C, h, w) bilinearly to the size of the lightness (N, 1, H, W)."""
    height, width = lightness.shape[-2:]
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)
