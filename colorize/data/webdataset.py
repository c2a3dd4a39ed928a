"""Batches streamed out of tar shards, which `colorize.data.shard_writer` writes."""

import io
import itertools
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from colorize.config import TrainConfig
from colorize.data.dataset import (
    Example,
    ExampleSettings,
    collate_examples,
    make_example,
    read_crop,
)
from colorize.data.loaders import make_loader
from colorize.data.shard_writer import SHARD_INDEX, id_digest
from colorize.utils.distributed import rank_and_world_size, world_size
from colorize.utils.seed import derive_seed, seeded_generator

_SHUFFLE_BUFFER = 1000  # photos that a worker holds, undecoded, to draw the next one from

Item = TypeVar("Item")
Sample = dict[str, Any]  # of webdataset: the bytes `jpg` and `json`, and the address `__url__`


class ShardDataset(IterableDataset[Item]):
    """The share of one process in the photos of a split.

    All photos form one line, shard after shard. A process takes a piece of the line, and each of
    its workers a piece of that, in whole batches, whatever the number of shards. Where two pieces
    meet within a shard, both processes read it.

    Processes are those of torch.distributed, or of `RANK` and `WORLD_SIZE` in the environment.
    Iterating raises PhotoError if a photo cannot be read, and ValueError if a shard holds fewer
    photos than the index lists.
    """

    def __init__(self, shards: str | os.PathLike, split: str, size: int, batch_size: int):
        """Read the index and compute this process's share; the photos are not read.

        Args:
            shards: the folder that `write_shards` wrote, or its URL, such as https://host/folder,
                which curl must be able to read. An `index.json` above several such folders can
                list the shards of all; the names in it are paths below its own folder.
            split: "train", "val" or "test".
            size: side of the crops in pixels.
            batch_size: of each process.

        Raises:
            ImportError: if the library webdataset is not installed.
            ValueError: if the index cannot be read; there is no such split; a photo is smaller
                than the crops; or the photos do not fill a batch.
        """
        self.size, self.batch_size = size, batch_size
        self.shards = _read_index(shards, split, size)
        self.total = sum(photos for _, photos in self.shards)
        self.rank, self.world_size = rank_and_world_size()
        self.first, self.last = map(self._begin_of, (self.rank, self.rank + 1))

    def __len__(self) -> int:
        """Return the photos of this process in an epoch, for the length of a DataLoader."""
        return self.last - self.first

    def _begin_of(self, rank: int) -> int:
        return self.total * rank // self.world_size

    def _share_out(self) -> tuple[int, list[int]]:
        """Share out the photos, in whole batches: this worker, and the ends of all their pieces."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        batches = -(-len(self) // self.batch_size)
        ends = (batches * k // workers for k in range(workers + 1))
        return worker, [min(self.first + end * self.batch_size, self.last) for end in ends]

    def _crop(
        self, sample: Sample, augment: bool = False, generator: torch.Generator | None = None
    ) -> Tensor:
        facts = json.loads(sample["json"])
        file = io.BytesIO(sample["jpg"])
        file.name = f"{facts['id']} in {sample['__url__']}"  # for the errors of `read_photo`
        return read_crop(file, facts["width"], facts["height"], self.size, augment, generator)


class EvalShards(ShardDataset[Tensor]):
    """The largest centered squares in the order of the shards, uint8 (3, size, size).

    Each photo comes exactly once over all processes and workers. Processes may get different
    numbers of photos and batches: exchange sums at the end, not after every batch.
    """

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the crops of this worker."""
        worker, bounds = self._share_out()
        return map(self._crop, _read_photos(self.shards, *bounds[worker : worker + 2]))


class TrainingShards(ShardDataset[Example]):
    """Random crops as `Example`s; shards and photos come in another order in each epoch.

    Everything random follows from (seed, epoch, id). Every process gets equally many full batches,
    as distributed training requires. The rest, fewer photos than a batch of each process, is
    dropped, another one in each epoch. No photo comes twice in an epoch.
    """

    def __init__(
        self,
        shards: str | os.PathLike,
        size: int,
        batch_size: int,
        *,
        split: str = "train",
        seed: int = 0,
        grad_accum_steps: int = 1,
        settings: ExampleSettings = ExampleSettings(),  # noqa: B008 - it is frozen
    ):
        """Read the index, as `ShardDataset` does.

        Args:
            shards: likewise.
            size: likewise.
            batch_size: of a micro-batch of each process.
            split: not "test".
            seed: of orders, crops and random inputs.
            grad_accum_steps: micro-batches in a step.
            settings: what the examples hold beside their crops.
        """
        if split == "test":
            raise ValueError("photos marked test must not be trained on: use the split train")
        super().__init__(shards, split, size, batch_size)
        self.seed, self.grad_accum_steps, self.settings = seed, grad_accum_steps, settings
        # Shared with workers, which live on from epoch to epoch.
        self._epoch, self._start = torch.zeros(2, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the steps to skip in it."""
        self._epoch.fill_(epoch)
        self._start.fill_(start * self.grad_accum_steps)

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples of this worker."""
        epoch = int(self._epoch)
        worker, bounds = self._share_out()
        shares = [(end - begin) // self.batch_size for begin, end in itertools.pairwise(bounds)]
        # A DataLoader takes batches from its workers in turn, from the first one on: that one must
        # continue the piece whose batch is next.
        turns = [k for batch in range(max(shares)) for k, n in enumerate(shares) if batch < n]
        start = int(self._start)
        worker = (worker + next(iter(turns[start:]), 0)) % len(shares)
        skipped = turns[:start].count(worker) * self.batch_size
        first, last = bounds[worker : worker + 2]
        rng = random.Random(derive_seed(self.seed, epoch, self.rank, worker))
        shuffle = _webdataset().filters.shuffle(_SHUFFLE_BUFFER, initial=_SHUFFLE_BUFFER, rng=rng)
        samples = shuffle(self._read_epoch(first, last, epoch))
        return (self._example(sample, epoch) for sample in itertools.islice(samples, skipped, None))

    def _begin_of(self, rank: int) -> int:
        share = self.total // (self.world_size * self.batch_size) * self.batch_size
        if not share:
            raise ValueError(
                f"{self.total} training photos do not fill a batch of {self.batch_size} in each of "
                f"{self.world_size} processes: use a batch size of at most "
                f"{self.total // self.world_size}"
            )
        return rank * share

    def _read_epoch(self, first: int, last: int, epoch: int) -> Iterator[Sample]:
        """Read a range of photos from an epoch's line of shuffled shards."""
        line = list(self.shards)
        rng = random.Random(derive_seed(self.seed, epoch))
        rng.shuffle(line)
        # The line is closed to a circle and cut at random, lest the rest that is dropped be the
        # end of a shard each time.
        offset = rng.randrange(self.total)
        return _read_photos(line * 2, first + offset, last + offset)

    def _example(self, sample: Sample, epoch: int) -> Example:
        number = int.from_bytes(id_digest(json.loads(sample["json"])["id"])[:8], "big")
        generator = seeded_generator(self.seed, epoch, number)
        rgb = self._crop(sample, augment=True, generator=generator)
        return make_example(rgb, self.settings, generator)


class ShardLoader:
    """Micro-batches of random crops from shards, see `colorize.data.loaders.EpochLoader`."""

    fingerprint: str | None = None  # the index does not list the photos

    def __init__(self, dataset: TrainingShards, workers: int = 0):
        self.dataset = dataset
        self._loader = make_loader(dataset, dataset.batch_size, workers, collate=collate_examples)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next iteration, counted from 0, and the steps to skip in it."""
        self.dataset.set_epoch(epoch, start)

    def describe(self, step: int) -> list[str]:
        """Return nothing: the photos of a step are not known before they are read."""
        return []

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Example]:
        return iter(self._loader)


def shard_eval_loader(
    shards: str | os.PathLike, split: str, size: int, batch_size: int, workers: int = 0
) -> DataLoader[Tensor]:
    """Load batches of `EvalShards`, uint8 (n, 3, size, size), with so many worker processes."""
    return make_loader(EvalShards(shards, split, size, batch_size), batch_size, workers)


def run_shard_loaders(
    shards: str | os.PathLike, config: TrainConfig, workers: int = 0
) -> tuple[ShardLoader, DataLoader[Tensor]]:
    """Load shards by the settings of a run, as `colorize.data.loaders.run_loaders` a folder.

    Raises:
        ImportError, ValueError: as of `ShardDataset`.
    """
    batch_size = config.batch_size // config.grad_accum_steps // world_size()
    dataset = TrainingShards(
        shards,
        config.crop_size,
        batch_size,
        seed=config.seed,
        grad_accum_steps=config.grad_accum_steps,
        settings=ExampleSettings.from_config(config),
    )
    val = shard_eval_loader(shards, "val", config.crop_size, batch_size, workers)
    return ShardLoader(dataset, workers), val


def has_shards(location: str | os.PathLike) -> bool:
    """Whether shards are to be read: from a URL, or a folder whose `index.json` lists some."""
    if "://" in str(location):
        return True
    index = Path(location, SHARD_INDEX)
    try:
        content = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else None
    except ValueError:  # of something else
        return False
    return isinstance(content, dict) and "shards" in content


def _read_index(shards: str | os.PathLike, split: str, size: int) -> list[tuple[str, int]]:
    """Read the address and the number of photos of each shard of a split."""
    root = str(shards).rstrip("/")
    if "://" not in root:
        root = Path(shards).absolute().as_uri()  # Windows' C: would be taken for a scheme
    index = f"{root}/{SHARD_INDEX}"
    try:
        with _webdataset().gopen(index) as file:
            rows = json.load(file)["shards"]
        # Indices of version 0.1 have `part` for `split`.
        rows = [row for row in rows if (row.get("split") or row["part"]) == split]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index} cannot be read ({error}): name a folder that `colorize shard` has written"
        ) from error
    if not rows:
        raise ValueError(f"{index}: no photos of the split {split!r}")
    min_side = min(row["min_side"] for row in rows)
    if min_side < size:
        raise ValueError(
            f"{index}: a photo of split {split} has a side of {min_side} px, too small for a crop "
            f"of {size} px: write the shards anew with `colorize shard --min-side {size}` (Python: "
            "min_side), or use a smaller size"
        )
    return [(f"{root}/{row['name']}", row["photos"]) for row in rows]


def _read_photos(line: Sequence[tuple[str, int]], first: int, last: int) -> Iterator[Sample]:
    """Read the photos from `first` to before `last` of a line of shards."""
    position = 0
    for url, photos in line:
        begin, end = max(first - position, 0), min(last - position, photos)
        if begin < end:
            yield from _read_shard(url, begin, end)
        position += photos


def _read_shard(url: str, begin: int, end: int) -> Iterator[Sample]:
    webdataset = _webdataset()
    count = 0
    with webdataset.gopen(url) as stream:
        files = webdataset.tariterators.tar_file_expander([{"url": url, "stream": stream}])
        for count, sample in enumerate(webdataset.tariterators.group_by_keys(files), 1):
            if count > begin:
                yield sample
            if count == end:
                break
    if count < end:  # unnoticed, the processes of a training would wait for each other for ever
        raise ValueError(f"{url} holds {count} photos, fewer than {SHARD_INDEX} lists")


def _webdataset() -> ModuleType:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError(
            f"shards are read by a library ({error}): pip install 'colorize-photos[shards]'"
        ) from error
    return webdataset
