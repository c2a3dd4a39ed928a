"""Batches of photos, in an order that follows from the seed."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from colorize.config import TrainConfig
from colorize.data.dataset import (
    PLAIN,
    Example,
    ExampleSettings,
    RgbDataset,
    TrainingDataset,
    collate_examples,
)
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.utils.checks import counted
from colorize.utils.distributed import rank, world_size
from colorize.utils.seed import seeded_generator

Item = TypeVar("Item")


class EpochLoader(Protocol):
    """What a trainer asks of its training photos: micro-batches, epoch by epoch.

    Iterating yields the micro-batches of this process, `grad_accum_steps` of them for each step.
    """

    @property
    def fingerprint(self) -> str | None:
        """A digest of the photos, by which a continued run knows them; None if unknown."""

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the steps to skip in it."""

    def describe(self, step: int) -> list[str]:
        """Return the names of the photos in a step of the chosen epoch; empty if unknown."""

    def __len__(self) -> int:
        """Return the micro-batches of this process in an epoch."""

    def __iter__(self) -> Iterator[Example]: ...


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) of this process's photos, in an order that follows from (seed, epoch).

    The order is cut into batches, an incomplete one at the end is dropped, and each process takes
    its share of every batch: the photos of a batch do not depend on the number of processes.
    """

    def __init__(self, length: int, seed: int, batch_size: int = 1):
        self.length, self.seed, self.batch_size = length, seed, batch_size
        self.share = batch_size // world_size()
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the batches to skip in it."""
        self.epoch, self.start = epoch, start

    def batch(self, number: int) -> list[int]:
        """Return the photos of a batch of the epoch, over all processes."""
        return self._order()[number * self.batch_size :][: self.batch_size].tolist()

    def __len__(self) -> int:
        return self.length // self.batch_size * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self._order()[: self.length // self.batch_size * self.batch_size]
        batches = order.view(-1, world_size(), self.share)
        indices = batches[self.start :, rank()].flatten().tolist()
        return iter([(self.epoch, index) for index in indices])

    def _order(self) -> Tensor:
        return torch.randperm(self.length, generator=seeded_generator(self.seed, self.epoch))


class PhotoLoader:
    """Micro-batches of random crops of photo files, see `EpochLoader`."""

    def __init__(self, photos: Sequence[PhotoRecord], sampler: EpochSampler, loader: DataLoader):
        self.photos, self.sampler, self._loader = tuple(photos), sampler, loader

    @property
    def fingerprint(self) -> str:
        """A digest of the photos' ids, whatever folder they are in."""
        digest = hashlib.sha256()
        for photo in self.photos:  # names may be any bytes
            digest.update(photo.id.encode("utf-8", "surrogateescape") + b"\n")
        return f"{counted(len(self.photos), 'photo')}, ids {digest.hexdigest()[:16]}"

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the steps to skip in it."""
        self.sampler.set_epoch(epoch, start)

    def describe(self, step: int) -> list[str]:
        """Return the files of the photos in a step of the chosen epoch, over all processes."""
        return [str(self.photos[index].path) for index in self.sampler.batch(step)]

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._loader)


def train_loader(
    photos: Sequence[PhotoRecord],
    size: int,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    grad_accum_steps: int = 1,
    settings: ExampleSettings = PLAIN,
) -> PhotoLoader:
    """Load shuffled micro-batches of random crops.

    Args:
        photos: none of them marked test.
        size: side of the crops in pixels.
        batch_size: photos in a step over all processes; an incomplete batch is dropped.
        seed: of the order and of everything random in an example.
        workers: processes that read photos.
        grad_accum_steps: micro-batches per step and process; a micro-batch has `batch_size` photos
            over them and over the number of processes.
        settings: what the examples hold beside their crops.

    Raises:
        ValueError: if the photos do not fill one batch, or one is marked test.
    """
    check_batch(len(photos), batch_size)
    dataset = TrainingDataset(photos, size, seed=seed, settings=settings)
    sampler = EpochSampler(len(photos), seed, batch_size)
    loader = make_loader(
        dataset,
        sampler.share // grad_accum_steps,
        workers,
        sampler=sampler,
        drop_last=True,
        collate=collate_examples,
    )
    return PhotoLoader(photos, sampler, loader)


def eval_loader(
    photos: Sequence[PhotoRecord], size: int, batch_size: int, workers: int = 0
) -> DataLoader[Tensor]:
    """Load centered squares in the photos' order, each photo once over all processes.

    Yields:
        uint8 (n, 3, size, size), n at most `batch_size`.
    """
    first, last = (len(photos) * n // world_size() for n in (rank(), rank() + 1))
    return make_loader(RgbDataset(photos[first:last], size), batch_size, workers)


def run_loaders(
    folder: PhotoFolder, config: TrainConfig, workers: int = 0
) -> tuple[PhotoLoader, DataLoader[Tensor]]:
    """Load the training and the validation photos of a folder, by the settings of a run.

    Args:
        folder: with photos for training and validation.
        config: the settings.
        workers: processes that read photos, for each of both.

    Returns:
        Micro-batches of training `Example`s, and uint8 batches (n, 3, size, size) for validation.

    Raises:
        ValueError: if a split has no photo that is large enough, or too few for a batch.
    """
    train, val = select_splits(folder, config)
    loader = train_loader(
        train,
        config.crop_size,
        config.batch_size,
        seed=config.seed,
        workers=workers,
        grad_accum_steps=config.grad_accum_steps,
        settings=ExampleSettings.from_config(config),
    )
    return loader, eval_loader(val, config.crop_size, micro_batch_size(config), workers)


def select_splits(
    folder: PhotoFolder, config: TrainConfig
) -> tuple[Sequence[PhotoRecord], Sequence[PhotoRecord]]:
    """Select the photos for training and for validation that are large enough for the crops."""
    train = folder.select("train", min_side=config.crop_size).photos
    return train, folder.select("val", min_side=config.crop_size).photos


def micro_batch_size(config: TrainConfig) -> int:
    """Return the photos of a micro-batch, in this process."""
    return config.batch_size // config.grad_accum_steps // world_size()


def check_batch(photos: int, batch_size: int) -> None:
    """Raise ValueError if the photos do not fill one batch."""
    if photos < batch_size:
        raise ValueError(
            f"{counted(photos, 'training photo')} cannot fill a batch of {batch_size}: use a batch "
            f"size of at most {photos}"
        )


def make_loader(
    dataset: Dataset[Item],
    batch_size: int,
    workers: int,
    *,
    sampler: Sampler | None = None,
    drop_last: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
) -> DataLoader[Item]:
    """Create a DataLoader whose worker processes live on from epoch to epoch."""
    workers = min(workers, os.cpu_count() or 1)
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        drop_last=drop_last,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else an iteration would draw from torch's global one
        worker_init_fn=_leave_process_group,
    )


def _leave_process_group(worker: int) -> None:
    """Leave signals to the whole process group (Ctrl-C, torchrun's SIGTERM) to the trainer."""
    if hasattr(os, "setpgid"):  # not on Windows
        os.setpgid(0, 0)
