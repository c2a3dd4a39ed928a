"""Predict colors at the model's resolution: from photos to its input, and from its output to ab."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize.color.ab_bins import entropy
from colorize.color.curves import to_uint8
from colorize.color.lab import gray_to_lightness, is_grayscale, rgb_to_lightness
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.options import ColorizeOptions
from colorize.io.image import resize
from colorize.models.base import ColorizationModel, DistributionModel
from colorize.models.hints import rasterize_hints
from colorize.models.layers import pad_to_multiple, upsample_like
from colorize.utils.seed import seed_all

_MAX_ASPECT = 8  # of the model's input; the long side of longer photos is squashed


@dataclass(frozen=True)
class Prediction:
    """The colors that a model predicts for a photo, at the model's resolution.

    Attributes:
        ab: (K, 2, h, w) in [-1, 1], of each sample; K is 1 unless samples are requested.
        lightness: (1, h, w) in [-1, 1], the model's input.
        uncertainty: (1, h, w) in [0, 1], see `colorize.color.ab_bins.entropy`; None unless
            requested.
    """

    ab: Tensor
    lightness: Tensor
    uncertainty: Tensor | None = None

    def apply_to(self, rgb: Tensor) -> list[Tensor]:
        """Colorize the photo (3, H, W), uint8 or uint16, at full size, once for each sample."""
        return [guided_upsample(rgb, ab, self.lightness) for ab in self.ab]

    def uncertainty_image(self, height: int, width: int) -> Image.Image:
        """Draw the uncertainty, mode L: black is certain, white means all colors equally likely.

        Raises:
            ValueError: if the uncertainty was not requested.
        """
        if self.uncertainty is None:
            raise ValueError("predict with ColorizeOptions(uncertainty=True) to get an uncertainty")
        resized = F.interpolate(self.uncertainty.unsqueeze(0), (height, width), mode="bilinear")
        return Image.fromarray(to_uint8(resized[0, 0]).numpy())


@torch.no_grad()
def predict(
    network: ColorizationModel,
    photos: Sequence[Tensor],
    size: int,
    options: ColorizeOptions,
    batch_size: int,
    device: torch.device,
) -> list[Prediction]:
    """Predict the colors of photos.

    Args:
        network: the model, in evaluation mode.
        photos: uint8 (3, H, W) each; a single one if there are hints.
        size: short side in pixels at which the model sees them.
        options: valid ones, see `Colorizer.validate`.
        batch_size: number of photos that the model sees at a time, at most.
        device: of the model.
    """
    inputs = [_network_lightness(rgb, size) for rgb in photos]
    predictions: dict[int, Prediction] = {}
    for indices in _batches_of_one_shape(inputs, batch_size):
        lightness = torch.stack([inputs[index] for index in indices])
        hints = None
        if options.hints:
            (rgb,) = photos
            hints = rasterize_hints(options.hints, rgb.shape[1:], lightness.shape[-2:])[None]
        seed_all(options.seed)
        outputs, padded = _forward(network, lightness, hints, device)
        for index, output, padded_input in zip(indices, outputs, padded, strict=True):
            predictions[index] = _decode(
                network, output[None], padded_input[None], inputs[index], options
            )
    return [predictions[index] for index in range(len(photos))]


def _forward(
    network: ColorizationModel, lightness: Tensor, hints: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pad to the size that the model needs, and run it.

    Args:
        network: the model.
        lightness: (N, 1, h, w).
        hints: (N, 3, h, w), or None.
        device: of the model.

    Returns:
        The logits, or the ab of a model without a distribution, on the CPU, at the padded size or
        a fraction of it; and the padded lightness (N, 1, h', w').
    """
    padded = pad_to_multiple(lightness, network.size_divisibility)
    if hints is not None:
        (height, width), (padded_height, padded_width) = hints.shape[-2:], padded.shape[-2:]
        hints = F.pad(hints, (0, padded_width - width, 0, padded_height - height)).to(device)
    run = network.logits if isinstance(network, DistributionModel) else network
    return run(padded.to(device), hints).float().cpu(), padded


def _decode(
    network: ColorizationModel,
    output: Tensor,
    padded: Tensor,
    lightness: Tensor,
    options: ColorizeOptions,
) -> Prediction:
    """Decode the output of one photo.

    Args:
        network: the model.
        output: its logits or ab, (1, C, h", w").
        padded: the lightness that it saw, (1, 1, h', w').
        lightness: (1, h, w), the same without padding.
        options: how to decode.
    """
    height, width = lightness.shape[-2:]

    def to_input_size(x: Tensor) -> Tensor:
        return upsample_like(x, padded)[..., :height, :width]

    if not isinstance(network, DistributionModel):
        return Prediction(to_input_size(output), lightness)
    temperature = None if options.vividness is None else 1 - options.vividness
    seed_all(options.seed)
    decoded = [
        network.decode(output, temperature, sample=options.samples is not None)
        for _ in range(options.samples or 1)
    ]
    uncertainty = None
    if options.uncertainty:
        uncertainty = to_input_size(entropy(output).unsqueeze(1))[0]
    return Prediction(to_input_size(torch.cat(decoded)), lightness, uncertainty)


def _network_lightness(rgb: Tensor, size: int) -> Tensor:
    """Return the lightness (1, h, w) of a photo whose shorter side is resized to `size`."""
    photo_height, photo_width = rgb.shape[1:]
    k = size / min(photo_height, photo_width)
    height = min(max(round(photo_height * k), size), _MAX_ASPECT * size)
    width = min(max(round(photo_width * k), size), _MAX_ASPECT * size)
    if is_grayscale(rgb):
        return gray_to_lightness(resize(rgb[:1], height, width))
    return rgb_to_lightness(resize(rgb, height, width))


def _batches_of_one_shape(inputs: Sequence[Tensor], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of inputs in batches of one shape."""
    indices_by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, lightness in enumerate(inputs):
        indices_by_shape.setdefault(tuple(lightness.shape), []).append(index)
    for indices in indices_by_shape.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
