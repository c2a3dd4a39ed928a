"""Colorize photos of any size with a trained model, keeping their lightness."""

import copy
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, Unpack, cast, overload

import torch
from PIL import Image
from torch import Tensor

from colorize.inference.onnx import load_onnx
from colorize.inference.options import DEFAULT_OPTIONS, CallOptions, ColorizeOptions
from colorize.inference.prediction import Prediction, predict
from colorize.io.image import composite_on_white, rgb_to_photo, with_alpha
from colorize.io.inputs import PhotoInput, is_photo_input, photo_tensors
from colorize.models import pretrained
from colorize.models.base import ColorizationModel
from colorize.models.layers import check_size
from colorize.utils.device import is_out_of_memory, resolve_device

_BATCH_SIZE = 8


class Colorizer:
    """Colorizes photos with a trained model.

    The model sees the photo's lightness, resized to the short side that it was trained at. The
    predicted colors are upsampled to the photo's size along the edges of its lightness, and
    combined with its full-size lightness.

    Calls may run in several threads at once, and leave torch's global generators and modes alone.

    Attributes:
        network: the model, in evaluation mode.
        size: short side in pixels at which the model sees photos.
        name: of the model, for people.
        digest: of the weights, which tells models of the same name apart; "" if unknown.
        predicts_distribution: whether vividness, samples and uncertainty are supported.
        supports_hints: whether color hints are supported.
        is_stochastic: whether every prediction depends on the seed.

    Example:
        >>> colorizer = Colorizer.from_pretrained(device="cpu")
        >>> photo = Image.linear_gradient("L")
        >>> colorized = colorizer(photo, hints=[(128, 128, "teal")])
        >>> colorized.mode, colorized.size
        ('RGB', (256, 256))
        >>> len(colorizer.sample(photo, count=2, vividness=0.5))
        2
    """

    def __init__(
        self,
        network: ColorizationModel,
        size: int,
        device: str = "auto",
        name: str = "unnamed network",
        digest: str = "",
    ):
        """Wrap a copy of a trained model; the given one stays as it is, and may be trained on.

        Args:
            network: a trained model of `colorize.models`; its number format is kept (`.half()`).
            size: short side in pixels at which the model sees photos.
            device: "auto", "cpu", "cuda", ...
            name: of the model, for people.
            digest: of its file of weights, if there is one.

        Raises:
            ValueError: if the size is not divisible as the model needs it, or `network` is no such
                model.
        """
        if not isinstance(network, ColorizationModel):
            raise ValueError(
                f"network must be a model of colorize.models, got {type(network).__name__}; of a "
                "wrapper, such as a compiled or distributed one, pass the model inside"
            )
        check_size(size, network.size_divisibility)
        self.device = resolve_device(device)
        network = copy.deepcopy(network).to(self.device).eval()
        self.network = network.to(memory_format=torch.channels_last)
        self.size, self.name, self.digest = int(size), name, digest
        self.predicts_distribution = network.predicts_distribution
        self.supports_hints = network.supports_hints
        self.is_stochastic = network.is_stochastic

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike | None = None,
        device: str = "auto",
        weights: str | None = None,
    ) -> Self:
        """Load a trained model.

        Args:
            source: None for the bundled model; the folder of a run, or of a model that
                `colorize export` wrote; an ONNX file; or OWNER/NAME on the Hugging Face hub.
            device: "auto", "cpu", "cuda", ...
            weights: which checkpoint of a run, see `colorize.models.pretrained.load`.

        Raises:
            FileNotFoundError: if there is no such model.
            ValueError: if `weights` is given for anything but a run.
            ImportError: if a package that the source needs is not installed.
            CheckpointError: if the weights are missing, damaged, or of another model.
        """
        if source is not None and Path(source).suffix == ".onnx":
            if weights is not None:
                raise ValueError(f"{source} has one set of weights, {weights!r} is of a run")
            loaded = load_onnx(source)
        else:
            loaded = pretrained.load(source, weights)
        return cls(loaded.network, loaded.size, device, loaded.name, loaded.digest)

    @overload  # a path is text, which is iterable too
    def __call__(  # type: ignore[overload-overlap]
        self, photo: PhotoInput, **options: Unpack[CallOptions]
    ) -> Image.Image: ...

    @overload
    def __call__(
        self, photo: Iterable[PhotoInput], **options: Unpack[CallOptions]
    ) -> list[Image.Image]: ...

    def __call__(
        self, photo: PhotoInput | Iterable[PhotoInput], **options: Unpack[CallOptions]
    ) -> Image.Image | list[Image.Image]:
        """Colorize a photo, or several photos.

        Args:
            photo: an image of Pillow's, of any mode and size; a path or an open file; or a uint8
                array (H, W) or (H, W, 3). Its own colors, if any, are ignored, and its EXIF
                orientation is applied.
            **options: seed, vividness, size, hints, views; see `ColorizeOptions`.

        Returns:
            The colorized photo at the same size, of mode RGB, or RGBA if the photo is transparent;
            a list for several photos.

        Raises:
            ValueError: if the model does not support an option, a value is out of range, or a photo
                cannot be read.
        """
        checked = _from_keywords(options)
        if is_photo_input(photo) or not isinstance(photo, Iterable):
            return self._colorize([photo], checked)[0][0]
        photos = list(cast(Iterable[PhotoInput], photo))
        return [samples[0] for samples in self._colorize(photos, checked)]

    def sample(
        self, photo: PhotoInput, count: int = 3, **options: Unpack[CallOptions]
    ) -> list[Image.Image]:
        """Colorize a photo several times, with samples from the predicted distribution.

        Args:
            photo: as of `__call__`.
            count: number of samples, from 1 to 100.
            **options: as of `__call__`; vividness makes samples more alike.

        Raises:
            ValueError: as `__call__`, and if the model does not predict a distribution.
        """
        (samples,) = self._colorize([photo], _from_keywords(options, samples=count))
        return samples

    def predict_uncertainty(
        self, photo: PhotoInput, **options: Unpack[CallOptions]
    ) -> tuple[Image.Image, Image.Image]:
        """Colorize a photo and map where the model is uncertain.

        Args:
            photo: as of `__call__`.
            **options: as of `__call__`.

        Returns:
            The colorized photo, and the uncertainty, mode L at the same size: white where all
            colors are equally likely.

        Raises:
            ValueError: as `__call__`, and if the model does not predict a distribution.
        """
        return self._colorize_with_map(photo, options, Prediction.uncertainty_image)

    def predict_disagreement(
        self, photo: PhotoInput, **options: Unpack[CallOptions]
    ) -> tuple[Image.Image, Image.Image]:
        """Colorize a photo and map where several views of it disagree.

        Args:
            photo: as of `__call__`.
            **options: as of `__call__`.

        Returns:
            The colorized photo, and the map, mode L at the same size: white where the colors of the
            views are 40 CIELAB units or more away from the final ones, in the mean.

        Raises:
            ValueError: as `predict_uncertainty`, and if there is one view.
        """
        return self._colorize_with_map(photo, options, Prediction.disagreement_image)

    def _colorize_with_map(
        self,
        photo: PhotoInput,
        options: CallOptions,
        draw: Callable[[Prediction, int, int], Image.Image],
    ) -> tuple[Image.Image, Image.Image]:
        rgb, alpha = photo_tensors(photo)
        (prediction,) = self.predict(
            [composite_on_white(rgb, alpha)], _from_keywords(options, uncertainty=True)
        )
        (colorized,) = prediction.apply_to(rgb)
        height, width = rgb.shape[1:]
        return with_alpha(rgb_to_photo(colorized), alpha), draw(prediction, height, width)

    def _colorize(
        self, photos: Sequence[PhotoInput], options: ColorizeOptions
    ) -> list[list[Image.Image]]:
        """Colorize photos; returns the samples of each, or a single image of each."""
        split = [photo_tensors(photo) for photo in photos]
        predictions = self.predict([composite_on_white(*parts) for parts in split], options)
        return [
            [with_alpha(rgb_to_photo(colorized), alpha) for colorized in prediction.apply_to(rgb)]
            for (rgb, alpha), prediction in zip(split, predictions, strict=True)
        ]

    def predict(
        self,
        photos: Sequence[Tensor],
        options: ColorizeOptions = DEFAULT_OPTIONS,
    ) -> list[Prediction]:
        """Predict colors at the model's resolution.

        If the device runs out of memory, the batches are made smaller, and at last the photo, with
        a warning.

        Args:
            photos: uint8 (3, H, W) each.
            options: of all photos.

        Raises:
            ValueError: see `validate`.
        """
        self.validate(options, len(photos))
        options = replace(options, views=self.views(options))
        size = self.size if options.size is None else options.size
        batch_size = 1 if self.is_stochastic else _BATCH_SIZE
        divisibility = self.network.size_divisibility
        while True:
            try:
                return predict(self.network, photos, size, options, batch_size, self.device)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = size // 2 // divisibility * divisibility
                batch_size = min(batch_size, len(photos)) // 2
                if not batch_size and not smaller:
                    raise
            if batch_size:
                continue
            batch_size = 1
            warnings.warn(
                f"out of memory: the model sees the photo at {smaller} px instead of {size}; "
                "the output keeps the photo's size",
                stacklevel=2,
            )
            size = smaller

    def views(self, options: ColorizeOptions) -> int:
        """Return how often the model sees a photo."""
        default = 2 if self.predicts_distribution else 1
        return default if options.views is None else options.views

    def describe(self, options: ColorizeOptions) -> str:
        """Describe how this model colorizes; equal descriptions mean equal outputs.

        The text is stored in the EXIF of outputs: an output of another description is not up to
        date, so that its words must not change.
        """
        size = self.size if options.size is None else options.size
        settings = [f"seed {options.seed}", f"{size} px"]
        if options.vividness is not None:
            settings.append(f"vividness {options.vividness:g}")
        if options.samples is not None:
            settings.append("a sample")
        if self.views(options) > 1:
            settings.append(f"{self.views(options)} views")
        settings += [f"hint {x:g},{y:g},{color}" for x, y, color in options.hints]
        name = f"{self.name} ({self.digest})" if self.digest else self.name
        return f"the colors are invented by {name}, {', '.join(settings)}"

    def validate(self, options: ColorizeOptions, photo_count: int = 1) -> None:
        """Check that the model supports the options.

        Args:
            options: the options.
            photo_count: number of photos that they are for.

        Raises:
            ValueError: if an option is not supported.
        """
        needs_distribution = (
            options.vividness is not None or options.samples is not None or options.uncertainty
        )
        if needs_distribution and not self.predicts_distribution:
            raise ValueError(
                "vividness, samples and uncertainty need a model that predicts a distribution, "
                f"such as the preset zhang2016; {self.name} does not"
            )
        if options.size is not None:
            check_size(options.size, self.network.size_divisibility)
        if options.hints and not self.supports_hints:
            raise ValueError(
                "hints need a model that was trained with them, such as the preset hint_guided; "
                f"{self.name} was not"
            )
        if options.hints and photo_count != 1:
            raise ValueError(f"hints are for one photo, got {photo_count}")


def _from_keywords(
    options: CallOptions, samples: int | None = None, *, uncertainty: bool = False
) -> ColorizeOptions:
    if "samples" in options or "uncertainty" in options:
        raise TypeError(
            "call Colorizer.sample(photo, count) for samples and "
            "Colorizer.predict_uncertainty(photo) for the uncertainty"
        )
    return ColorizeOptions(**options, samples=samples, uncertainty=uncertainty)
