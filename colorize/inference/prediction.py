"""Predict colors at the model's resolution: from photos to its input, and from its output to ab."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize.color.ab_bins import entropy
from colorize.color.curves import AB_SCALE, to_uint8
from colorize.color.lab import gray_to_lightness, is_grayscale, rgb_to_lightness
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.options import VIEWS, ColorizeOptions
from colorize.io.image import resize
from colorize.models.base import ColorizationModel, DistributionModel
from colorize.models.hints import rasterize_hints
from colorize.models.layers import pad_to_multiple, upsample_like
from colorize.utils.seed import seeded_generator, seeded_noise

_FULL_DISAGREEMENT = 40.0  # CIELAB units, drawn white
_MAX_ASPECT = 8  # of the model's input; the long side of longer photos is squashed


@dataclass(frozen=True)
class Prediction:
    """The colors that a model predicts for a photo, at the model's resolution.

    Attributes:
        ab: (K, 2, h, w) in [-1, 1], of each sample; K is 1 unless samples are requested.
        lightness: (1, h, w) in [-1, 1], the model's input.
        uncertainty: (1, h, w) in [0, 1], see `colorize.color.ab_bins.entropy`; None unless
            requested.
        disagreement: (1, h, w) in [0, 1], mean distance in ab between the colors of each view and
            the final ones, in units of 40 CIELAB units; None unless requested with several views.
    """

    ab: Tensor
    lightness: Tensor
    uncertainty: Tensor | None = None
    disagreement: Tensor | None = None

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
        return _gray_image(self.uncertainty, height, width)

    def disagreement_image(self, height: int, width: int) -> Image.Image:
        """Draw where views disagree, mode L: white at a mean distance of 40 CIELAB units.

        Raises:
            ValueError: if it was not requested, or there was one view.
        """
        if self.disagreement is None:
            raise ValueError(
                "predict with ColorizeOptions(uncertainty=True, views=2) or more views to get a "
                "disagreement"
            )
        return _gray_image(self.disagreement, height, width)


def _gray_image(values: Tensor, height: int, width: int) -> Image.Image:
    resized = F.interpolate(values.unsqueeze(0), (height, width), mode="bilinear")
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
    inputs = [network_lightness(rgb, size) for rgb in photos]
    views = VIEWS[1 if options.views is None else options.views]
    predictions: dict[int, Prediction] = {}
    # Of a caller's autocast neither the network nor the decoding, on the CPU, shall notice.
    with torch.autocast("cpu", enabled=False), torch.autocast(device.type, enabled=False):
        for indices in _batches_of_one_shape(inputs, batch_size):
            batch = [photos[index] for index in indices]
            outputs = [
                _forward_view(network, batch, size, scale, mirrored, options, device)
                for scale, mirrored in views
            ]
            for position, index in enumerate(indices):
                predictions[index] = _decode(
                    network, [view.of(position) for view in outputs], inputs[index], options
                )
    return [predictions[index] for index in range(len(photos))]


@dataclass(frozen=True)
class _View:
    """The output of the model for photos as one view shows them.

    Attributes:
        output: logits, or ab, (N, C, h", w"), at the padded size (h', w') or a fraction of it.
        padded: the lightness that the model saw, (N, 1, h', w').
        size: (h, w) of the view without padding.
        is_mirrored: whether the model saw the mirror image.
    """

    output: Tensor
    padded: Tensor
    size: tuple[int, int]
    is_mirrored: bool

    def of(self, position: int) -> "_View":
        """Return the view of one photo."""
        chosen = slice(position, position + 1)
        return _View(self.output[chosen], self.padded[chosen], self.size, self.is_mirrored)

    def on_grid_of(self, other: "_View") -> Tensor:
        """Resample the output to the cells of another view of the same photo."""
        axes = []
        for axis, is_mirrored in ((0, False), (1, self.is_mirrored)):
            cells = other.output.shape[2 + axis]
            # Centers of the other view's cells, relative to the photo; its padding is beyond 1.
            at = (torch.arange(cells) + 0.5) / cells * other.padded.shape[2 + axis]
            at = at / other.size[axis]
            if is_mirrored:
                at = 1 - at
            axes.append(at * self.size[axis] / self.padded.shape[2 + axis] * 2 - 1)
        y, x = torch.meshgrid(*axes, indexing="ij")
        grid = torch.stack((x, y), dim=-1).unsqueeze(0)
        return F.grid_sample(self.output, grid, padding_mode="border", align_corners=False)


def _forward_view(
    network: ColorizationModel,
    photos: Sequence[Tensor],
    size: int,
    scale: float,
    mirrored: bool,
    options: ColorizeOptions,
    device: torch.device,
) -> _View:
    """Run the model on photos of one shape, scaled and mirrored."""
    divisibility = network.size_divisibility
    if scale != 1:
        size = max(round(size * scale / divisibility), 1) * divisibility
    lightness = torch.stack([network_lightness(rgb, size) for rgb in photos])
    hints = None
    if options.hints:
        (rgb,) = photos
        hints = rasterize_hints(options.hints, rgb.shape[1:], lightness.shape[-2:])[None]
    if mirrored:
        lightness, hints = lightness.flip(-1), None if hints is None else hints.flip(-1)
    with seeded_noise(options.seed):
        output, padded = _forward(network, lightness, hints, device)
    return _View(output, padded, (lightness.shape[-2], lightness.shape[-1]), mirrored)


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
        hints = F.pad(hints, (0, padded_width - width, 0, padded_height - height))
        hints = hints.to(device, network.dtype)
    run = network.logits if isinstance(network, DistributionModel) else network
    return run(padded.to(device, network.dtype), hints).float().cpu(), padded


def _decode(
    network: ColorizationModel,
    views: Sequence[_View],
    lightness: Tensor,
    options: ColorizeOptions,
) -> Prediction:
    """Decode the mean of the outputs of one photo.

    The mean of logits is, after the softmax, the normalized geometric mean of the distributions.

    Args:
        network: the model.
        views: of the photo; the first one is at the size of `lightness`.
        lightness: (1, h, w).
        options: how to decode.
    """
    height, width = lightness.shape[-2:]
    first = views[0]

    def to_input_size(x: Tensor) -> Tensor:
        return upsample_like(x, first.padded)[..., :height, :width]

    aligned = [first.output, *(view.on_grid_of(first) for view in views[1:])]
    output = torch.stack(aligned).mean(0)
    if not isinstance(network, DistributionModel):
        return Prediction(to_input_size(output), lightness)
    temperature = None if options.vividness is None else 1 - options.vividness
    is_sample, generator = options.samples is not None, seeded_generator(options.seed)
    decoded = [
        network.decode(output, temperature, sample=is_sample, generator=generator)
        for _ in range(options.samples or 1)
    ]
    uncertainty = disagreement = None
    if options.uncertainty:
        uncertainty = to_input_size(entropy(output).unsqueeze(1))[0]
        if len(views) > 1:
            each = [network.decode(output_of_view, temperature) for output_of_view in aligned]
            mean = network.decode(output, temperature)
            distance = torch.stack([(ab - mean).norm(dim=1) for ab in each]).mean(0)
            share = (distance * (AB_SCALE / _FULL_DISAGREEMENT)).clamp(max=1)
            disagreement = to_input_size(share.unsqueeze(1))[0]
    return Prediction(to_input_size(torch.cat(decoded)), lightness, uncertainty, disagreement)


def network_lightness(rgb: Tensor, size: int) -> Tensor:
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
