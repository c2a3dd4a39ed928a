"""Batches of photos, in an order that follows from the seed."""

import os
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Sampler

from colorize.config import TrainConfig
from colorize.data.dataset import RgbDataset
from colorize.data.folder import Photo, PhotoFolder
from colorize.runtime import mix_seed


class EpochSampler(Sampler):
    """(epoch, index) of every photo, shuffled anew in each epoch by (seed, epoch)."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(mix_seed(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        return iter([(self.epoch, index) for index in order])


def train_loader(
    photos: Sequence[Photo], size: int, batch_size: int, seed: int = 0, workers: int = 0
) -> DataLoader:
    """Shuffled batches of random crops, uint8 (batch_size, 3, size, size); a rest is dropped.

    Raises:
        ValueError: if the photos do not fill one batch, or one is marked test.
    """
    if len(photos) < batch_size:
        raise ValueError(
            f"{len(photos)} training photos do not fill a batch of {batch_size}: "
            f"use a batch size of at most {len(photos)}"
        )
    dataset = RgbDataset(photos, size, augment=True, seed=seed)
    sampler = EpochSampler(len(photos), seed)
    return _loader(dataset, batch_size, workers, sampler=sampler, drop_last=True)


def eval_loader(
    photos: Sequence[Photo], size: int, batch_size: int, workers: int = 0
) -> DataLoader:
    """Batches of centered squares in the photos' order, every photo once."""
    return _loader(RgbDataset(photos, size), batch_size, workers)


def run_loaders(
    folder: PhotoFolder, config: TrainConfig, workers: int = 0
) -> tuple[DataLoader, DataLoader]:
    """The training and the validation batches of a folder that some settings ask for.

    Raises:
        ValueError: if a part has no photo that is large enough, or too few for a batch.
    """
    train, val = (folder.select(part, min_side=config.size).photos for part in ("train", "val"))
    return (
        train_loader(train, config.size, config.batch_size, config.seed, workers),
        eval_loader(val, config.size, config.batch_size, workers),
    )


def _loader(dataset: RgbDataset, batch_size: int, workers: int, **options) -> DataLoader:
    workers = min(workers, os.cpu_count() or 1)
    pin = torch.cuda.is_available()
    keep = workers > 0  # from epoch to epoch
    return DataLoader(
        dataset,
        batch_size,
        num_workers=workers,
        persistent_workers=keep,
        pin_memory=pin,
        **options,
    )
