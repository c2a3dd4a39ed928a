"""A photo in, the painted photo out: any size, with the photo's own lightness."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from colorize.color.ab_bins import entropy
from colorize.color.curves import to_uint8
from colorize.color.lab import gray_to_lightness, is_grayscale, rgb_to_lightness
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.onnx import load_onnx
from colorize.io.image import composite_on_white, resize, rgb_to_photo, split_alpha, with_alpha
from colorize.models import pretrained
from colorize.models.classifier import predicts_distribution
from colorize.models.hints import Hint, rasterize_hints
from colorize.models.layers import AlwaysOnDropout, check_size, pad_to_multiple, upsample_like
from colorize.utils.device import is_out_of_memory, resolve_device
from colorize.utils.seed import seed_all

_LONGEST = 8  # a photo's long side at the network, in short sides; beyond, it is squashed
_LARGEST = 2048  # px that may be asked for; the networks are trained at some hundred
_MOST_SAMPLES = 100  # of a photo; all are held at once
_AT_ONCE = 8  # photos of one shape in a batch of the network


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a photo, at the network's size.

    Attributes:
        ab: (K, 2, h, w), one for each painting.
        lightness: (1, h, w), as the network saw it.
        uncertainty: (1, h, w) in [0, 1], see `colorize.color.ab_bins.entropy`; None where nobody asked.
    """

    ab: Tensor
    lightness: Tensor
    uncertainty: Tensor | None = None

    def paint(self, rgb: Tensor) -> list[Tensor]:
        """The paintings of a full-size photo (3, H, W), uint8 or uint16; its lightness stays."""
        return [guided_upsample(rgb, ab, self.lightness) for ab in self.ab]

    def map(self, height: int, width: int) -> Image.Image:
        """The uncertainty at a size: black where the network is sure, white where it guesses."""
        unsure = F.interpolate(self.uncertainty.unsqueeze(0), (height, width), mode="bilinear")
        return Image.fromarray(to_uint8(unsure[0, 0]).numpy())


@dataclass(frozen=True)
class ColorizeOptions:
    """What is wished of a painting; each is described at `Colorizer.__call__`."""

    seed: int = 0
    vividness: float | None = None
    size: int | None = None
    hints: Sequence[Hint] = ()
    samples: int | None = None
    uncertainty: bool = False


class Colorizer:
    """Paints photos with a trained network.

    The network sees the photo's lightness with its short side brought to the size it was
    trained at; the colors it answers with are brought to the photo's full size, along the edges
    of its lightness, and joined with the photo's own full-size lightness.

    Attributes:
        size: short side in pixels at which the network sees photos.
        name: of the network, for people.
        digest: of its weights, by which they are told from others of that name.
        predicts_distribution: whether vividness, samples and uncertainty are to be had.
        supports_hints: whether color hints are.
        is_stochastic: whether the seed decides something of every painting.

    Example:
        >>> colorizer = Colorizer.from_pretrained(device="cpu")
        >>> photo = Image.linear_gradient("L")
        >>> painted = colorizer(photo, hints=[(128, 128, "teal")])
        >>> painted.mode, painted.size
        ('RGB', (256, 256))
    """

    def __init__(
        self,
        network: nn.Module,
        size: int,
        device: str = "auto",
        name: str = "unnamed network",
        digest: str = "",
    ):
        """Take a network.

        Args:
            network: one of `colorize.models`, trained.
            size: short side in pixels at which the network sees photos.
            device: "auto", "cpu", "cuda", ...
            name: of the network, for people.
            digest: of its weights, if they lie in a file.

        Raises:
            ValueError: if the network cannot carry that size.
        """
        check_size(size, network.size_divisibility)
        self.device = resolve_device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.size, self.name, self.digest = size, name, digest
        self.predicts_distribution = predicts_distribution(network)
        self.supports_hints = network.supports_hints
        self.is_stochastic = any(
            isinstance(module, AlwaysOnDropout) for module in network.modules()
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike | None = None,
        device: str = "auto",
        weights: str | None = None,
    ) -> "Colorizer":
        """Load a trained network.

        Args:
            source: None for the bundled network; the folder of a run, or of a network as
                `colorize export` writes it; an ONNX file; or OWNER/NAME on the Hugging Face hub.
            device: "auto", "cpu", "cuda", ...
            weights: of a run "best", "last" or "turn"; None takes what suits the method.

        Raises:
            FileNotFoundError: if there is no such network.
            ValueError: if weights of an ONNX file are asked for, which has one set.
            ImportError: if a package is missing that the source needs.
            CheckpointError: if its weights are missing, damaged, or of another network.
        """
        if source is not None and Path(source).suffix == ".onnx":
            if weights is not None:
                raise ValueError(f"{source} has one set of weights, {weights!r} is of a run")
            found = load_onnx(source)
        else:
            found = pretrained.load(source, weights)
        return cls(found.network, found.size, device, found.name, found.digest)

    def __call__(
        self,
        photo: Image.Image | Sequence[Image.Image],
        seed: int = 0,
        vividness: float | None = None,
        size: int | None = None,
        hints: Sequence[Hint] = (),
        samples: int | None = None,
        return_uncertainty: bool = False,
    ):
        """Paint a photo, or each of several.

        Args:
            photo: of any mode and size; its own colors, if it has any, are not looked at.
            seed: for networks with noise, and for samples; the same seed gives the same painting.
            vividness: of a network with classes, from 0 (the mean color, dull) to 1 (the
                likeliest, vivid and spotty); None is its own.
            size: short side in pixels at which the network sees the photo, at most 2048; None is
                its own.
            hints: color hints (x, y, color) for one photo: where, in pixels of the photo, and a
                color that Pillow knows, such as "#aa3311", or (r, g, b).
            samples: of a network with classes, that many paintings of each photo, drawn from its
                distribution; vividness makes them alike.
            return_uncertainty: whether to say where a network with classes does not know.

        Returns:
            The painted photo, mode RGB, or RGBA where the photo is transparent, of the same size;
            with `samples` a list of them. With `return_uncertainty` a pair of that and a map of
            mode L, white where all colors are alike to the network. For several photos a list.

        Raises:
            ValueError: if something is asked of a network that does not have it, or a value is
                out of range.
        """
        options = ColorizeOptions(seed, vividness, size, hints, samples, return_uncertainty)
        photos = [photo] if isinstance(photo, Image.Image) else list(photo)
        for some in photos:
            if not isinstance(some, Image.Image):
                raise ValueError(
                    f"a photo is a PIL image, such as colorize.read_photo gives, not {type(some)}"
                )
        parts = [split_alpha(some) for some in photos]
        found = self.predict([composite_on_white(rgb, alpha) for rgb, alpha in parts], options)
        answers = []
        for (rgb, alpha), colors in zip(parts, found, strict=True):
            painted = [with_alpha(rgb_to_photo(one), alpha) for one in colors.paint(rgb)]
            answer = painted[0] if samples is None else painted
            answers.append((answer, colors.map(*rgb.shape[1:])) if return_uncertainty else answer)
        return answers[0] if isinstance(photo, Image.Image) else answers

    def predict(
        self,
        photos: Sequence[Tensor],
        options: ColorizeOptions = ColorizeOptions(),
    ) -> list[Prediction]:
        """The colors of photos at the network's size.

        Where the device's memory does not suffice, the network sees fewer photos at a time, at
        last a single one smaller, and a warning says so.

        Args:
            photos: uint8 (3, H, W) each.
            options: what is wished; errors as of painting.
        """
        self.check(options, len(photos))
        size = self.size if options.size is None else options.size
        at_once = 1 if self.is_stochastic else _AT_ONCE
        while True:
            try:
                return self._predict(photos, size, options, at_once)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = (
                    size // 2 // self.network.size_divisibility * self.network.size_divisibility
                )
                at_once = min(at_once, len(photos)) // 2
                if not at_once and not smaller:
                    raise
            if at_once:
                continue
            at_once = 1
            warnings.warn(
                f"out of memory: the network sees the photo at {smaller} px instead of {size}; "
                "the painting keeps the photo's size",
                stacklevel=2,
            )
            size = smaller

    @torch.no_grad()
    def _predict(
        self, photos: Sequence[Tensor], size: int, options: ColorizeOptions, at_once: int
    ) -> list[Prediction]:
        seen = [self._seen(rgb, size) for rgb in photos]
        found: list[Prediction | None] = [None] * len(photos)
        for batch in _batches([one.shape for one in seen], at_once):
            lightness = torch.stack([seen[index] for index in batch])
            hints = self._placed(options.hints, photos[batch[0]], lightness)
            seed_all(options.seed)
            answers = self._answers(lightness, hints)
            for index, answer in zip(batch, answers, strict=True):
                found[index] = self._decoded(answer, seen[index], options)
        return found

    def wish(self, options: ColorizeOptions) -> str:
        """What is asked of this network, in words; the same words mean the same painting."""
        size = self.size if options.size is None else options.size
        asked = [f"seed {options.seed}", f"{size} px"]
        if options.vividness is not None:
            asked.append(f"vividness {options.vividness:g}")
        if options.samples is not None:
            asked.append("a sample")
        asked += [f"hint {x:g},{y:g},{color}" for x, y, color in options.hints]
        name = f"{self.name} ({self.digest})" if self.digest else self.name
        return f"the colors are invented by {name}, {', '.join(asked)}"

    def check(self, options: ColorizeOptions, count: int = 1) -> None:
        """Refuse what this network does not have.

        Args:
            options: what is wished.
            count: of photos.

        Raises:
            ValueError: for each of these.
        """
        vividness, samples = options.vividness, options.samples
        wants_classes = vividness is not None or samples is not None or options.uncertainty
        if wants_classes and not self.predicts_distribution:
            raise ValueError(
                "vividness, samples and uncertainty need a network with classes, such as the "
                f"preset zhang2016 has; {self.name} has none"
            )
        if vividness is not None and not 0 <= vividness <= 1:
            raise ValueError(f"vividness must be from 0 to 1, got {vividness}")
        if samples is not None and (
            not isinstance(samples, int) or not 1 <= samples <= _MOST_SAMPLES
        ):
            raise ValueError(
                f"samples must be a whole number from 1 to {_MOST_SAMPLES}, got {samples}"
            )
        for hint in options.hints:
            if not isinstance(hint, (tuple, list)) or len(hint) != 3:
                raise ValueError(f"a hint is (x, y, color), got {hint!r}")
        if options.size is not None:
            check_size(options.size, self.network.size_divisibility)
            if options.size > _LARGEST:
                raise ValueError(f"size must be at most {_LARGEST} px, got {options.size}")
        if options.hints and not self.supports_hints:
            raise ValueError(
                "hints need a network that was trained with them, such as the preset hint_guided; "
                f"{self.name} was not"
            )
        if options.hints and count != 1:
            raise ValueError(f"hints are for one photo, got {count}")

    def _seen(self, rgb: Tensor, size: int) -> Tensor:
        """The lightness (1, h, w) of a photo as the network sees it."""
        sides = self._network_size(rgb.shape[1:], size)
        if is_grayscale(rgb):
            return gray_to_lightness(resize(rgb[:1], *sides))
        return rgb_to_lightness(resize(rgb, *sides))

    def _placed(self, hints: Sequence[Hint], rgb: Tensor, lightness: Tensor) -> Tensor | None:
        """Hints at the network's size, padded as the lightness is."""
        if not hints:
            return None
        placed = rasterize_hints(hints, rgb.shape[1:], lightness.shape[-2:])
        height, width = pad_to_multiple(lightness, self.network.size_divisibility).shape[-2:]
        bottom, right = height - placed.shape[-2], width - placed.shape[-1]
        return F.pad(placed, (0, right, 0, bottom)).unsqueeze(0).to(self.device)

    def _answers(self, lightness: Tensor, hints: Tensor | None) -> Tensor:
        """The network's logits, or its ab, on the CPU; of the padded size."""
        padded = pad_to_multiple(lightness, self.network.size_divisibility).to(self.device)
        network = self.network.logits if self.predicts_distribution else self.network
        return network(padded, hints).float().cpu()

    def _decoded(self, answer: Tensor, lightness: Tensor, options: ColorizeOptions) -> Prediction:
        """The paintings of one photo from the network's answer (C, h', w')."""
        if not self.predicts_distribution:
            return Prediction(self._cut(answer.unsqueeze(0), lightness), lightness)
        logits = answer.unsqueeze(0)
        temperature = None if options.vividness is None else 1 - options.vividness
        seed_all(options.seed)
        drawn = [
            self.network.decode(logits, temperature, sample=options.samples is not None)
            for _ in range(options.samples or 1)
        ]
        unsure = None
        if options.uncertainty:
            unsure = self._cut(entropy(logits).unsqueeze(1), lightness)[0]
        return Prediction(self._cut(torch.cat(drawn), lightness), lightness, unsure)

    def _cut(self, coarse: Tensor, lightness: Tensor) -> Tensor:
        """What the network made of the padded lightness, at the size of the lightness."""
        height, width = lightness.shape[-2:]
        padded = pad_to_multiple(lightness.unsqueeze(0), self.network.size_divisibility)
        return upsample_like(coarse, padded)[..., :height, :width]

    @staticmethod
    def _network_size(sides: Sequence[int], size: int) -> list[int]:
        """The height and width at which the network sees a photo; the smaller one is `size`."""
        k = size / min(sides)
        return [min(max(round(side * k), size), _LONGEST * size) for side in sides]


def _batches(shapes: Sequence[tuple[int, ...]], at_once: int) -> list[list[int]]:
    """The numbers of photos that may go through the network together: those of one shape."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        alike.setdefault(tuple(shape), []).append(index)
    return [
        some[begin : begin + at_once]
        for some in alike.values()
        for begin in range(0, len(some), at_once)
    ]
