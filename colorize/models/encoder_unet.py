"""A U-Net whose encoder is a pretrained classifier, and what may stand on it.

Ronneberger, Fischer, Brox: U-Net, MICCAI 2015; with a pretrained encoder as in DeOldify (Antic,
2018) and fastai's DynamicUnet.
"""

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.encoders import Encoder
from colorize.models.layers import (
    SelfAttention,
    apply_spectral_norm,
    check_input,
    concat_hints,
    upsample_like,
)


class UNetFeatures(nn.Module):
    """Encoder and decoder: features at a chosen resolution, which know the whole photo.

    The decoder is upsampled bilinearly and then convolved: a transposed convolution, whose
    kernel is no multiple of its stride, leaves a checkerboard (Odena, Dumoulin, Olah:
    Deconvolution and Checkerboard Artifacts, Distill 2016).

    Attributes:
        channels: of the features.
        multiple: heights and widths must be multiples of it.
    """

    def __init__(
        self,
        encoder: Encoder,
        width: int = 256,
        to_stride: int = 1,
        attention: int | None = None,
        spectral_norm: bool = False,
        hints: bool = False,
    ):
        """Build the decoder of an encoder.

        Args:
            encoder: gives the features of every stage.
            width: channels of the decoder's deepest block; they halve at each doubling, down to
                an eighth.
            to_stride: at which the decoder ends; 1 is the photo's own size.
            attention: stride at which the decoder has self-attention; None nowhere.
            spectral_norm: whether the decoder's convolutions are spectrally normalized, instead
                of BatchNorm.
            hints: whether each block of the decoder also takes the color hints, at its size. (The
                encoder does not: it is a classifier of lightness, and learns slowly.)

        Raises:
            ValueError: if the decoder has no such stride.
        """
        super().__init__()
        deepest = encoder.strides[-1]
        known = [2**k for k in range(deepest.bit_length() - 1)]
        if to_stride not in known:
            raise ValueError(f"to_stride must be one of {known}, got {to_stride}")
        self.encoder = encoder
        self.size_divisibility = encoder.strides[-1]
        skips = dict(zip(encoder.strides[:-1], encoder.channels[:-1], strict=True))
        channels, stride = encoder.channels[-1], encoder.strides[-1]
        self.blocks = nn.ModuleList()
        strides = []
        while stride > to_stride:
            stride //= 2
            strides.append(stride)
            out = max(width >> len(self.blocks), width // 8)
            joined = skips.get(stride, 0) + (3 if hints else 0)
            block = _DecoderBlock(channels, joined, out, spectral_norm, hints)
            if stride == attention:
                block.attention = SelfAttention(out, spectral_norm)
            self.blocks.append(block)
            channels = out
        if attention is not None and attention not in strides:
            raise ValueError(
                f"attention must be at one of the decoder's strides {strides}, got {attention}"
            )
        self.strides, self.channels = strides, channels

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness, and hints, to features (N, channels, H / to_stride, W / to_stride)."""
        features = self.encoder(lightness)
        skips = dict(zip(self.encoder.strides, features, strict=True))
        x = features[-1]
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = block(x, skips.get(stride), hints)
        return x


class _DecoderBlock(nn.Module):
    """Twice the size, joined with the encoder's features of that size, convolved twice."""

    def __init__(self, channels: int, joined: int, out: int, spectral: bool, supports_hints: bool):
        super().__init__()
        self.supports_hints = supports_hints
        self.first = _convolved(channels + joined, out, spectral)
        self.second = _convolved(out, out, spectral)
        self.attention = nn.Identity()

    def forward(self, x: Tensor, skip: Tensor | None, hints: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        if self.supports_hints:
            x = concat_hints(x, hints)
        return self.attention(self.second(self.first(x)))


def _convolved(channels: int, out: int, spectral: bool) -> nn.Module:
    conv = nn.Conv2d(channels, out, 3, padding=1, bias=spectral)
    if spectral:
        return nn.Sequential(apply_spectral_norm(conv), nn.ReLU(inplace=True))
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class RegressionHead(nn.Sequential):
    """Features to ab (N, 2, H, W) in [-1, 1]."""

    def __init__(self, channels: int):
        super().__init__(nn.Conv2d(channels, 2, 3, padding=1), nn.Tanh())


class ClassificationHead(nn.Conv2d):
    """Features to a logit for each color bin, (N, bins, h, w)."""

    def __init__(self, channels: int, bins: int):
        super().__init__(channels, bins, 1)


class EncoderUNet(nn.Module):
    """A body and a head; with the regression head it paints.

    Attributes:
        multiple: heights and widths must be multiples of it.
        supports_hints: whether it was built for color hints.
    """

    def __init__(
        self,
        encoder_name: str = "resnet34",
        encoder_weights: str | os.PathLike | None = None,
        padding: str = "symmetric",
        frozen_norm: bool | None = None,
        width: int = 256,
        attention: int | None = None,
        spectral_norm: bool = False,
        hints: bool = False,
        bins: int | None = None,
        to_stride: int | None = None,
    ):
        """Build the network.

        Args:
            encoder_name: a name in torchvision, as of `Backbone`.
            encoder_weights: names or a file, as of `Backbone`.
            padding: as of `Backbone`.
            frozen_norm: as of `Backbone`.
            width: of the decoder, as of `UNetFeatures`.
            attention: the stride of self-attention, as of `UNetFeatures`.
            spectral_norm: of the decoder, as of `UNetFeatures`.
            hints: whether it takes color hints, as of `UNetFeatures`.
            bins: with this many color bins its head gives logits, of the decoder's size; None
                gives ab of the photo's own.
            to_stride: at which the decoder ends, as of `UNetFeatures`; None is 1, and with bins 4. The
                eye sees colors coarsely: a decoder that ends at 4 costs less, its ab are upsampled.
        """
        super().__init__()
        self.supports_hints = hints
        encoder = Encoder(encoder_name, encoder_weights, padding, frozen_norm)
        if to_stride is None:
            to_stride = 1 if bins is None else 4
        self.body = UNetFeatures(encoder, width, to_stride, attention, spectral_norm, hints)
        channels = self.body.channels
        self.head = RegressionHead(channels) if bins is None else ClassificationHead(channels, bins)
        self.size_divisibility, self.has_bins = self.body.size_divisibility, bins is not None

    @property
    def encoder(self) -> nn.Module:
        """The pretrained part, which may learn at a rate of its own."""
        return self.body.encoder

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W), and hints (N, 3, H, W), to the head's output."""
        check_input(lightness, hints, self.size_divisibility, self.supports_hints)
        x = self.head(self.body(lightness, hints))
        return x if self.has_bins else upsample_like(x, lightness)
