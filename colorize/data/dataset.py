"""Photos as tensors: square crops in RGB, and the LAB pairs that networks learn from."""

import math
import os
from collections.abc import Sequence
from typing import BinaryIO

import torch
from torch import Tensor
from torch.utils.data import Dataset

from colorize.color.lab import rgb_to_lab
from colorize.data.folder import PhotoRecord
from colorize.io.image import photo_size, read_rgb, resize
from colorize.utils.seed import derive_seed

MIN_CROP = 0.5  # a random crop's side is at least this part of the photo's short side


def read_crop(
    file: str | os.PathLike | BinaryIO,
    width: int,
    height: int,
    size: int,
    augment: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One square crop of a photo, uint8 (3, size, size), decoded no larger than it needs.

    Args:
        file: a path, or a file opened in binary mode.
        width: of the upright photo.
        height: likewise.
        size: of the crop.
        augment: random side, place and mirroring; else the largest centered square.
        generator: what random crops are drawn from; None takes torch's global one.

    Raises:
        PhotoError: if the file cannot be read.
        ValueError: if the photo is smaller than the crop.
    """
    u = torch.rand(4, generator=generator).tolist() if augment else (1.0, 0.5, 0.5, 1.0)
    short = min(width, height)
    smallest = max(MIN_CROP * short, size)
    share = (smallest + u[0] * (short - smallest)) / short

    rgb = read_rgb(file, min_side=math.ceil(size / share))
    height, width = rgb.shape[-2:]  # of what was decoded, maybe smaller than the photo
    side = round(share * min(height, width))
    if side < size:
        raise ValueError(f"{file} is {width}x{height}, too small for a crop of {size} px")
    left, top = round(u[1] * (width - side)), round(u[2] * (height - side))
    crop = resize(rgb[:, top : top + side, left : left + side], size, size)
    return crop.flip(-1) if u[3] < 0.5 else crop


class RgbDataset(Dataset):
    """Square uint8 crops (3, size, size) of photos; never squashed, never upsample_like.

    Augmented, a crop's side and place are random and every second one is mirrored; else it is
    the photo's largest centered square. The index may be a number, with torch's global
    generator deciding, or (epoch, number): then the crop follows from (seed, epoch, number)
    alone, in whatever process it is made.

    Nothing is opened before it is asked for.
    """

    def __init__(
        self, photos: Sequence[PhotoRecord], size: int, augment: bool = False, seed: int = 0
    ):
        """Take the photos, for example `PhotoFolder(...).select("train", min_side=size).photos`.

        Raises:
            ValueError: if a photo marked test is to be augmented, that is, trained on.
        """
        tested = [photo for photo in photos if photo.part == "test"]
        if augment and tested:
            raise ValueError(
                f"{len(tested)} photos are marked test and must not be trained on: {tested[0].path}"
            )
        self.photos, self.size, self.augment, self.seed = tuple(photos), size, augment, seed

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int | tuple[int, int]) -> Tensor:
        """Read one crop.

        Raises:
            PhotoError: if the file cannot be read.
            ValueError: if the photo is smaller than the crop.
        """
        generator = None
        if isinstance(index, tuple):
            epoch, index = index
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, index))
        photo = self.photos[index]
        width, height = photo.width, photo.height
        if width is None or height is None:
            width, height = photo_size(photo.path)
        return read_crop(photo.path, width, height, self.size, self.augment, generator)


class LabDataset(RgbDataset):
    """The same crops as pairs: lightness (1, size, size) and ab (2, size, size), in [-1, 1].

    For your own loops. The trainers take uint8 batches from `RgbDataset` and convert them on
    the device, through the same function.
    """

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        return rgb_to_lab(super().__getitem__(index))
