"""Datasets of photos: plain RGB crops, LAB pairs, and the examples that trainers learn from."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.degradations import degrade
from colorize.data.folder import InspectedPhoto, PhotoRecord
from colorize.data.hint_sampling import HintPatches, draw_patches, fill_patches
from colorize.io.image import resize
from colorize.io.photo import photo_size, read_rgb
from colorize.utils.seed import seeded_generator

MIN_CROP = 0.5  # the side of a random crop, at least, relative to the short side of the photo

Index = int | tuple[int, int]  # of a photo, or (epoch, index of a photo)
Item = TypeVar("Item", covariant=True)


class Example(NamedTuple):
    """What a network is trained on: a crop and its random inputs, of one photo or of a batch.

    Attributes:
        rgb: uint8 (3, size, size), or (N, 3, size, size) of a batch; input and target follow
            from it.
        lightness: (1, size, size) in [-1, 1], where the settings ask for degraded inputs: it
            replaces the lightness of `rgb`.
        hints: (3, size, size), where the settings ask for color hints: ab and mask.
    """

    rgb: Tensor
    lightness: Tensor | None = None
    hints: Tensor | None = None


@dataclass(frozen=True)
class ExampleSettings:
    """What an example holds beside its crop.

    Attributes:
        degradation_prob: probability that the input of a photo is degraded.
        hints: whether color hints are drawn.
        hint_dropout: probability that a photo gets no hints, beside the one in eight that has none.
    """

    degradation_prob: float = 0.0
    hints: bool = False
    hint_dropout: float = 0.0

    @classmethod
    def from_config(cls, config: TrainConfig) -> "ExampleSettings":
        """Take over the settings of a run."""
        has_hints = bool(config.model_kwargs.get("hints", False))
        return cls(config.degradation_prob, has_hints, config.hint_dropout)


PLAIN = ExampleSettings()  # crops alone


class InputPlan(NamedTuple):
    """What is random about the inputs of a crop, drawn before its pixels are known.

    Attributes:
        is_degraded: whether the input is degraded.
        patches: where color hints are given; None where the settings ask for none.
    """

    is_degraded: bool
    patches: HintPatches | None


def draw_inputs(
    size: int, settings: ExampleSettings, generator: torch.Generator | None = None
) -> InputPlan:
    """Draw what is random about the inputs of a crop of `size` px, but the degradations' own."""
    is_degraded = False
    if settings.degradation_prob > 0:
        is_degraded = bool(torch.rand((), generator=generator) < settings.degradation_prob)
    patches = None
    if settings.hints:
        patches = draw_patches(size, size, generator)
        if torch.rand((), generator=generator) < settings.hint_dropout:
            patches = HintPatches([])
    return InputPlan(is_degraded, patches)


def make_example(
    rgb: Tensor, settings: ExampleSettings, generator: torch.Generator | None = None
) -> Example:
    """Draw and compute the inputs of a crop, for files and shards alike.

    Args:
        rgb: uint8 (3, size, size).
        settings: what is drawn.
        generator: source of the random numbers; None takes torch's global one.
    """
    plan = draw_inputs(rgb.shape[-1], settings, generator)
    lightness = None
    if settings.degradation_prob > 0:
        lightness = degrade(rgb, generator) if plan.is_degraded else rgb_to_lab(rgb)[0]
    hints = None if plan.patches is None else fill_patches(rgb, plan.patches)
    return Example(rgb, lightness, hints)


def collate_examples(examples: Sequence[Example]) -> Example:
    """Stack examples of the same settings to a batch."""
    lightness = [example.lightness for example in examples if example.lightness is not None]
    hints = [example.hints for example in examples if example.hints is not None]
    return Example(
        rgb=default_collate([example.rgb for example in examples]),
        lightness=default_collate(lightness) if lightness else None,
        hints=default_collate(hints) if hints else None,
    )


class Crop(NamedTuple):
    """A square crop, relative to the photo, whatever the size it is decoded at.

    Attributes:
        relative_side: its side, relative to the short side of the photo.
        x, y: its position in [0, 1] between the left or upper and the opposite border.
        is_mirrored: whether it is flipped horizontally.
    """

    relative_side: float
    x: float
    y: float
    is_mirrored: bool

    def box(self, height: int, width: int) -> tuple[int, int, int]:
        """Return top, left and side in the pixels of a photo of that size."""
        side = round(self.relative_side * min(height, width))
        return round(self.y * (height - side)), round(self.x * (width - side)), side


def draw_crop(
    width: int,
    height: int,
    size: int,
    augment: bool = True,
    generator: torch.Generator | None = None,
) -> Crop:
    """Draw a random crop of a photo, or take the largest centered one; arguments of `read_crop`."""
    u = torch.rand(4, generator=generator).tolist() if augment else (1.0, 0.5, 0.5, 1.0)
    short = min(width, height)
    min_side = max(MIN_CROP * short, size)
    return Crop((min_side + u[0] * (short - min_side)) / short, u[1], u[2], u[3] < 0.5)


def read_crop(
    file: str | os.PathLike | BinaryIO,
    width: int,
    height: int,
    size: int,
    augment: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Read a square crop of a photo, decoded no larger than needed.

    Args:
        file: a path, or a file opened in binary mode.
        width: of the upright photo in pixels.
        height: likewise.
        size: side of the crop in pixels.
        augment: draw side, position and mirroring; else take the largest centered square.
        generator: source of the random numbers; None takes torch's global one.

    Returns:
        uint8 (3, size, size).

    Raises:
        PhotoError: if the file cannot be read.
        ValueError: if the photo is smaller than the crop.
    """
    crop = draw_crop(width, height, size, augment, generator)
    rgb = read_rgb(file, min_side=math.ceil(size / crop.relative_side))
    height, width = rgb.shape[-2:]  # as decoded, possibly smaller than the photo
    top, left, side = crop.box(height, width)
    if side < size:
        raise ValueError(f"{file} is {width}x{height}, too small for a crop of {size} px")
    rgb = resize(rgb[:, top : top + side, left : left + side], size, size)
    return rgb.flip(-1) if crop.is_mirrored else rgb


class _CropDataset(Dataset[Item]):
    """Square crops of photos, never distorted and never enlarged; a subclass says as what.

    With `augment` the side and the position of a crop are random and every second one is mirrored,
    else it is the largest centered square. The index is a number, and torch's global generator
    decides; or (epoch, number), and everything random follows from (seed, epoch, number) alone, in
    whatever process the crop is made.

    No file is opened before its crop is asked for.
    """

    def __init__(
        self, photos: Sequence[PhotoRecord], size: int, *, augment: bool = False, seed: int = 0
    ):
        """Take the photos.

        Args:
            photos: for example `PhotoFolder(...).select("train", min_side=size).photos`.
            size: side of the crops in pixels.
            augment: draw random crops, for training.
            seed: of everything random.

        Raises:
            ValueError: if photos marked test are to be augmented, that is, trained on.
        """
        tested = [photo for photo in photos if photo.split == "test"]
        if augment and tested:
            raise ValueError(
                f"{len(tested)} photos are marked test and must not be trained on: {tested[0].path}"
            )
        self.photos, self.size, self.augment, self.seed = tuple(photos), size, augment, seed

    def __len__(self) -> int:
        return len(self.photos)

    def _crop(self, index: Index) -> tuple[Tensor, torch.Generator | None]:
        """Read a crop, uint8 (3, size, size); with the generator for what else is drawn.

        Raises:
            PhotoError: if the file cannot be read.
            ValueError: if the photo is smaller than the crop.
        """
        generator = None
        if isinstance(index, tuple):
            epoch, index = index
            generator = seeded_generator(self.seed, epoch, index)
        photo = self.photos[index]
        if isinstance(photo, InspectedPhoto):
            width, height = photo.width, photo.height
        else:
            width, height = photo_size(photo.path)
        crop = read_crop(photo.path, width, height, self.size, self.augment, generator)
        return crop, generator


class RgbDataset(_CropDataset[Tensor]):
    """Square crops of photos as uint8 tensors (3, size, size), in RGB."""

    def __getitem__(self, index: Index) -> Tensor:
        return self._crop(index)[0]


class LabDataset(_CropDataset[tuple[Tensor, Tensor]]):
    """The same crops as pairs: lightness (1, size, size) and ab (2, size, size), in [-1, 1].

    For training loops of your own. The trainers take uint8 batches and convert them on the device,
    by the same function.
    """

    def __getitem__(self, index: Index) -> tuple[Tensor, Tensor]:
        return rgb_to_lab(self._crop(index)[0])


class TrainingDataset(_CropDataset[Example]):
    """Augmented crops with their degraded inputs and color hints, as `Example`s."""

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        size: int,
        *,
        seed: int = 0,
        settings: ExampleSettings = PLAIN,
    ):
        """Take the photos, none of them marked test, and the settings of the examples."""
        super().__init__(photos, size, augment=True, seed=seed)
        self.settings = settings

    def __getitem__(self, index: Index) -> Example:
        rgb, generator = self._crop(index)
        return make_example(rgb, self.settings, generator)
