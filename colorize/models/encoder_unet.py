"""A U-Net whose encoder is a pretrained classifier, and its two heads.

Ronneberger, Fischer, Brox: U-Net, MICCAI 2015; with a pretrained encoder as in DeOldify (Antic,
2018) and fastai's DynamicUnet.
"""

import os
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.models.base import ColorizationModel
from colorize.models.encoders import Encoder
from colorize.models.layers import (
    SelfAttention,
    apply_spectral_norm,
    concat_hints,
    upsample_like,
)


class UNetFeatures(nn.Module):
    """Encoder and decoder: features at a chosen resolution, with the whole photo as context.

    The decoder upsamples bilinearly and then convolves: a transposed convolution whose kernel is
    no multiple of its stride leaves a checkerboard (Odena, Dumoulin, Olah: Deconvolution and
    Checkerboard Artifacts, Distill 2016).

    Attributes:
        channels: of the features.
        strides: of the decoder's blocks, in order.
        size_divisibility: heights and widths must be multiples of it.
    """

    def __init__(
        self,
        encoder: Encoder,
        width: int = 256,
        to_stride: int = 1,
        attention: int | None = None,
        *,
        spectral_norm: bool = False,
        hints: bool = False,
    ):
        """Build the decoder of an encoder.

        Args:
            encoder: returns the features of every stage.
            width: channels of the decoder's deepest block; they halve at each doubling of the size,
                down to an eighth.
            to_stride: stride at which the decoder ends; 1 is the photo's own size.
            attention: stride at which the decoder has self-attention; None for nowhere.
            spectral_norm: whether the decoder's convolutions are spectrally normalized, instead
                of BatchNorm.
            hints: whether each block of the decoder also takes the color hints, at its size. (The
                encoder does not: it is a classifier of lightness, and learns slowly.)

        Raises:
            ValueError: if the decoder has no such stride.
        """
        super().__init__()
        self.size_divisibility = stride = encoder.strides[-1]
        supported = [2**k for k in range(stride.bit_length() - 1)]
        if to_stride not in supported:
            raise ValueError(f"to_stride must be one of {supported}, got {to_stride}")
        self.encoder = encoder
        skip_channels = dict(zip(encoder.strides[:-1], encoder.channels[:-1], strict=True))
        channels = encoder.channels[-1]
        self.blocks = nn.ModuleList()
        self.strides: list[int] = []
        while stride > to_stride:
            stride //= 2
            out = max(width >> len(self.blocks), width // 8)
            block = _DecoderBlock(
                channels + skip_channels.get(stride, 0) + (3 if hints else 0),
                out,
                spectral_norm=spectral_norm,
                hints=hints,
                attention=stride == attention,
            )
            self.strides.append(stride)
            self.blocks.append(block)
            channels = out
        if attention is not None and attention not in self.strides:
            raise ValueError(
                f"attention must be at one of the decoder's strides {self.strides}, got {attention}"
            )
        self.channels = channels

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Compute features (N, channels, H / to_stride, W / to_stride)."""
        features = self.encoder(lightness)
        skips = dict(zip(self.encoder.strides, features, strict=True))
        x = features[-1]
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = block(x, skips.get(stride), hints)
        return x


class _DecoderBlock(nn.Module):
    """Upsampling by 2, concatenation with the encoder's features of that size, two convolutions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        spectral_norm: bool,
        hints: bool,
        attention: bool,
    ):
        super().__init__()
        self.supports_hints = hints
        self.first = _conv_norm_act(in_channels, out_channels, spectral_norm=spectral_norm)
        self.second = _conv_norm_act(out_channels, out_channels, spectral_norm=spectral_norm)
        self.attention = (
            SelfAttention(out_channels, spectral=spectral_norm) if attention else nn.Identity()
        )

    def forward(self, x: Tensor, skip: Tensor | None, hints: Tensor | None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        if self.supports_hints:
            x = concat_hints(x, hints)
        return self.attention(self.second(self.first(x)))


def _conv_norm_act(channels: int, out_channels: int, *, spectral_norm: bool) -> nn.Module:
    conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=spectral_norm)
    if spectral_norm:
        return nn.Sequential(apply_spectral_norm(conv), nn.ReLU(inplace=True))
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class RegressionHead(nn.Sequential):
    """Map features to ab (N, 2, H, W) in [-1, 1]."""

    def __init__(self, channels: int):
        super().__init__(nn.Conv2d(channels, 2, 3, padding=1), nn.Tanh())


class ClassificationHead(nn.Conv2d):
    """Map features to a logit for each ab bin, (N, bins, h, w)."""

    def __init__(self, channels: int, bins: int):
        super().__init__(channels, bins, 1)


class EncoderUNet(ColorizationModel):
    """`UNetFeatures` with a head: ab by regression, or logits of the ab bins."""

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
            encoder_name: torchvision's name, as in `Encoder`.
            encoder_weights: name or file of its weights, as in `Encoder`.
            padding: "symmetric" or "same", as in `Encoder`.
            frozen_norm: whether the encoder's BatchNorm is frozen, as in `Encoder`.
            width: of the decoder, as in `UNetFeatures`.
            attention: stride of self-attention, as in `UNetFeatures`.
            spectral_norm: of the decoder, as in `UNetFeatures`.
            hints: whether it takes color hints, as in `UNetFeatures`.
            bins: number of ab bins whose logits the head predicts, at the decoder's size; None for
                a head that predicts ab at the photo's size.
            to_stride: stride at which the decoder ends, as in `UNetFeatures`; None is 1, and 4 with
                bins. Human vision resolves colors coarsely: a decoder that ends at 4 costs less,
                and its ab are upsampled.
        """
        super().__init__()
        self.supports_hints = hints
        encoder = Encoder(encoder_name, encoder_weights, padding, frozen_norm)
        if to_stride is None:
            to_stride = 1 if bins is None else 4
        self.body = UNetFeatures(
            encoder, width, to_stride, attention, spectral_norm=spectral_norm, hints=hints
        )
        channels = self.body.channels
        self.head = RegressionHead(channels) if bins is None else ClassificationHead(channels, bins)
        self.size_divisibility, self.has_bins = self.body.size_divisibility, bins is not None

    @property
    def encoder(self) -> Encoder:
        """The pretrained encoder."""
        return self.body.encoder

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the pretrained encoder."""
        return self.encoder.parameters()

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Predict ab (N, 2, H, W), or with bins logits (N, bins, h, w)."""
        self.check_input(lightness, hints)
        x = self.head(self.body(lightness, hints))
        return x if self.has_bins else upsample_like(x, lightness)
