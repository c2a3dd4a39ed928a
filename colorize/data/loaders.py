"""Batches of photos, in an order that follows from the seed."""

import os
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from colorize.config import TrainConfig
from colorize.data.dataset import RgbDataset
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.utils.distributed import rank, world_size
from colorize.utils.seed import derive_seed


class EpochSampler(Sampler):
    """(epoch, index) of the photos of this process, shuffled anew in each epoch by (seed, epoch).

    The order is cut into batches, a rest is dropped, and each process takes its share of every
    batch: which photos make a batch does not depend on the number of processes.
    """

    def __init__(self, length: int, seed: int, batch_size: int = 1):
        self.length, self.seed, self.batch_size = length, seed, batch_size
        self.share = batch_size // world_size()
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The epoch of the next iteration, counted from 0, and how many batches are behind it."""
        self.epoch, self.start = epoch, start

    def batch(self, number: int) -> list[int]:
        """The photos of a batch of the epoch, over all processes."""
        return self._order()[number * self.batch_size :][: self.batch_size].tolist()

    def __len__(self) -> int:
        return self.length // self.batch_size * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        batches = self._order()[: self.length // self.batch_size * self.batch_size].view(
            -1, world_size(), self.share
        )
        mine = batches[self.start :, rank()].flatten().tolist()
        return iter([(self.epoch, index) for index in mine])

    def _order(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        return torch.randperm(self.length, generator=generator)


def train_loader(
    photos: Sequence[PhotoRecord],
    size: int,
    batch_size: int,
    seed: int = 0,
    workers: int = 0,
    accumulate: int = 1,
) -> DataLoader:
    """Shuffled micro-batches of random crops, uint8 (n, 3, size, size).

    Args:
        photos: none of them marked test.
        size: of the crops.
        batch_size: photos in a step over all processes; a rest of the epoch is dropped.
        seed: of order and crops.
        workers: reading processes.
        accumulate: micro-batches per step and process: n is batch_size over them and over the
            number of processes.

    Raises:
        ValueError: if the photos do not fill one batch, or one is marked test.
    """
    if len(photos) < batch_size:
        raise ValueError(
            f"{len(photos)} training photos do not fill a batch of {batch_size}: "
            f"use a batch size of at most {len(photos)}"
        )
    dataset = RgbDataset(photos, size, augment=True, seed=seed)
    sampler = EpochSampler(len(photos), seed, batch_size)
    return make_loader(
        dataset, sampler.share // accumulate, workers, sampler=sampler, drop_last=True
    )


def eval_loader(
    photos: Sequence[PhotoRecord], size: int, batch_size: int, workers: int = 0
) -> DataLoader:
    """Batches of centered squares in the photos' order; every photo once over all processes."""
    begin, end = (len(photos) * n // world_size() for n in (rank(), rank() + 1))
    return make_loader(RgbDataset(photos[begin:end], size), batch_size, workers)


def run_loaders(
    folder: PhotoFolder, config: TrainConfig, workers: int = 0
) -> tuple[DataLoader, DataLoader]:
    """The training and the validation batches of a folder that some settings ask for.

    Raises:
        ValueError: if a part has no photo that is large enough, or too few for a batch.
    """
    train, val = (
        folder.select(part, min_side=config.crop_size).photos for part in ("train", "val")
    )
    return (
        train_loader(
            train,
            config.crop_size,
            config.batch_size,
            seed=config.seed,
            workers=workers,
            accumulate=config.grad_accum_steps,
        ),
        eval_loader(
            val,
            config.crop_size,
            config.batch_size // config.grad_accum_steps // world_size(),
            workers,
        ),
    )


def make_loader(dataset: Dataset, batch_size: int, workers: int, **options) -> DataLoader:
    """Batches of a dataset, read by processes that live on from epoch to epoch."""
    workers = min(workers, os.cpu_count() or 1)
    return DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_group,
        **options,
    )


def _leave_group(worker: int) -> None:
    """What is sent to the whole process group (Ctrl-C, torchrun's SIGTERM) is the trainer's."""
    if hasattr(os, "setpgid"):  # not on Windows
        os.setpgid(0, 0)
