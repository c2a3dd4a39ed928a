"""Prepared photos as tar shards in WebDataset's layout, and batches streamed out of them.

Beyond one machine's disk, a photo is no longer a file that is opened at random: shards of a
thousand photos, already mixed, are read from front to back, each by the process that needs it.
Layout: https://github.com/webdataset/webdataset
"""

import hashlib
import io
import itertools
import json
import os
import random
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from colorize.config import TrainConfig
from colorize.data.dataset import read_crop
from colorize.data.folder import MANIFEST, SPLITS
from colorize.data.loaders import make_loader
from colorize.data.manifest import Manifest, ManifestEntry
from colorize.utils.distributed import rank_and_world_size, world_size
from colorize.utils.files import atomic_write, file_sha256
from colorize.utils.seed import derive_seed

SHARD_INDEX = "index.json"

_MIXED = 1000  # photos that a reading process holds, undecoded, to draw the next one from
_TOLD = ("id", "photographer", "part", "width", "height", "sha256")  # of a photo, in its JSON


def write_shards(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    photos_per_shard: int = 1000,
    min_side: int = 1,
    progress: bool = True,
) -> dict[str, list[Path]]:
    """Write the good photos of a prepared folder as tar shards, `train-000000.tar` and so on.

    A photo is `KEY.jpg` and `KEY.json` (id, photographer, part, width, height, sha256), KEY its
    id percent-encoded. The order within a part is that of a hash of the id, so that each shard is
    a fair mixture. The same photos give the same bytes. `index.json`, written last, tells what
    `shard_loader` needs to know of each shard. Stopped in whatever way, the same call goes on.

    Args:
        folder: made by `colorize prepare` or `colorize download`; only read.
        out: folder of the shards.
        photos_per_shard: the last shard of a part holds what remains.
        min_side: smaller photos are left out; crops of this size can be cut from all others.
        progress: whether to draw a bar.

    Returns:
        The shards of each part.

    Raises:
        ValueError: if the folder is not prepared, or not to its end; a photo is not what the
            manifest tells; there is no photo to write; or `out` holds shards of something else.
    """
    folder, out = Path(folder), Path(out)
    if photos_per_shard < 1:
        raise ValueError(f"photos_per_shard must be at least 1, got {photos_per_shard}")
    if not (folder / MANIFEST).is_file():  # looked for first: `Manifest` would make the folder
        raise ValueError(f"{folder} has no {MANIFEST}: make it with `colorize prepare`")
    manifest = Manifest(folder)
    if unsettled := manifest.counts()["new"] + manifest.damaged:
        raise ValueError(
            f"{manifest.path}: {unsettled} photos are not yet judged: run `colorize prepare` or "
            "`colorize download` again, to its end"
        )
    plan = _plan(manifest, photos_per_shard, min_side)
    if not plan:
        raise ValueError(f"{folder} holds no good photo of at least {min_side} px: {manifest}")
    if strangers := sorted({path.name for path in out.glob("*.tar")} - plan.keys()):
        raise ValueError(
            f"{out} holds {len(strangers)} other tar files, such as {strangers[0]}: remove them, "
            "or choose another folder"
        )
    (out / SHARD_INDEX).unlink(missing_ok=True)  # an index is a promise that all is there
    shards: dict[str, list[Path]] = {part: [] for part in SPLITS}
    facts = []
    total = sum(map(len, plan.values()))
    with tqdm(total=total, desc="sharding", unit=" photos", disable=not progress) as bar:
        for name, entries in plan.items():
            path, part = out / name, entries[0].part
            _write_shard(path, entries, folder)
            shards[part].append(path)
            smallest = min(min(entry.width, entry.height) for entry in entries)
            told = {"part": part, "photos": len(entries), "min_side": smallest}
            facts.append({"name": name, **told, "sha256": file_sha256(path)})
            bar.update(len(entries))
    with atomic_write(out / SHARD_INDEX) as beside:
        beside.write_text(json.dumps({"shards": facts}, indent=1) + "\n", encoding="utf-8")
    return shards


def shard_loader(
    shards: str | os.PathLike,
    part: str,
    size: int,
    batch_size: int,
    augment: bool = False,
    seed: int = 0,
    workers: int = 0,
    accumulate: int = 1,
) -> DataLoader:
    """Batches of square uint8 crops (N, 3, size, size), streamed out of shards.

    The photos are shared out evenly over the processes of torch.distributed, or of `RANK` and
    `WORLD_SIZE` in the environment, and within each over its reading processes, whatever the
    number of shards; where two shares meet within a shard, both read it.

    Augmented, for training: shards and photos are in another order in each epoch, which
    `loader.sampler.set_epoch` sets; crops are random and follow from (seed, epoch, id). Every
    process gets equally many full batches, as processes that learn together must; the rest, fewer
    photos than a batch of each process, is dropped, another one in each epoch. No photo is seen
    twice; where there is no rest, each is seen exactly once.

    Else, for evaluation: the largest centered squares in the order of the shards, each photo
    exactly once over all processes and reading processes. Processes may get different numbers of
    photos and batches: exchange sums at the end, not at every batch.

    Args:
        shards: the folder that `write_shards` wrote, or the URL where it lies, such as
            https://host/folder, which curl must be able to read. Of several such folders, one
            `index.json` above them can tell: the names in it are paths below its own folder.
        part: "train", "val" or "test".
        size: of the crops.
        batch_size: of each process.
        augment: whether to train on the photos.
        seed: of orders and crops.
        workers: reading processes; the order of the photos depends on their number.
        accumulate: batches in a step, as of the run's settings.

    Raises:
        ImportError: if the library webdataset is not installed.
        ValueError: if photos marked test are to be trained on; the index cannot be read; there is
            no such part; a photo is smaller than the crops; or the photos do not fill a batch.
    """
    dataset = ShardDataset(shards, part, size, batch_size, augment, seed, accumulate)
    loader = make_loader(dataset, batch_size, workers)
    # Trainers ask the sampler for an epoch; torch gives a stream one that knows of none.
    loader.sampler.set_epoch = dataset.set_epoch
    return loader


def run_shard_loaders(
    shards: str | os.PathLike, config: TrainConfig, workers: int = 0
) -> tuple[DataLoader, DataLoader]:
    """The training and the validation batches out of shards that some settings ask for.

    As `colorize.data.loaders.run_loaders` makes them of a folder.

    Raises:
        ImportError, ValueError: as of `shard_loader`.
    """
    each = config.batch_size // config.grad_accum_steps // world_size()
    how = {"seed": config.seed, "workers": workers, "accumulate": config.grad_accum_steps}
    return (
        shard_loader(shards, "train", config.crop_size, each, augment=True, **how),
        shard_loader(shards, "val", config.crop_size, each, workers=workers),
    )


def has_shards(place: str | os.PathLike) -> bool:
    """Whether shards lie there: a URL, or a folder whose `index.json` tells of some."""
    if "://" in str(place):
        return True
    index = Path(place, SHARD_INDEX)
    try:
        told = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else None
    except ValueError:  # of something else
        return False
    return isinstance(told, dict) and "shards" in told


class ShardDataset(IterableDataset):
    """The share of one process in the crops of a part; see `shard_loader`.

    All photos stand in one line, shard after shard. A process takes a piece of it, and each of
    its reading processes a piece of that, of whole batches.
    """

    def __init__(
        self,
        shards: str | os.PathLike,
        part: str,
        size: int,
        batch_size: int,
        augment: bool = False,
        seed: int = 0,
        accumulate: int = 1,
    ):
        """Read the index and find this process's share; the photos are not touched."""
        if augment and part == "test":
            raise ValueError("photos marked test must not be trained on: use the part train")
        self.size, self.batch_size, self.augment, self.seed = size, batch_size, augment, seed
        self.accumulate = accumulate
        self.shards = _read_index(shards, part, size)
        # Shared with reading processes, which live on from epoch to epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._start = torch.zeros((), dtype=torch.int64).share_memory_()
        self.total = sum(photos for _, photos in self.shards)
        self.rank, world = rank_and_world_size()
        if augment:
            share = self.total // (world * batch_size) * batch_size
            if not share:
                raise ValueError(
                    f"{self.total} training photos do not fill a batch of {batch_size} in each of "
                    f"{world} processes: use a batch size of at most {self.total // world}"
                )
            self.first, self.last = self.rank * share, (self.rank + 1) * share
        else:
            self.first, self.last = (self.total * k // world for k in (self.rank, self.rank + 1))

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The epoch of the next iteration, counted from 0, and how many steps are behind it."""
        self._epoch.fill_(epoch)
        self._start.fill_(start * self.accumulate)

    def __len__(self) -> int:
        """Photos of this process in an epoch, for the length of a DataLoader."""
        return self.last - self.first

    def __iter__(self) -> Iterator[Tensor]:
        """The crops of this reading process.

        Raises:
            PhotoError: if a photo cannot be read.
            ValueError: if a shard holds fewer photos than the index tells.
        """
        epoch = int(self._epoch)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        batches = -(-len(self) // self.batch_size)
        ends = [batches * k // workers for k in range(workers + 1)]
        seen, turn = _behind(int(self._start), [b - a for a, b in itertools.pairwise(ends)])
        # Batches are asked of the readers in turn: who goes on begins with the one that is next.
        worker = (worker + turn) % workers
        first, last = (
            min(self.first + end * self.batch_size, self.last) for end in ends[worker : worker + 2]
        )
        samples = self._samples(first, last, epoch)
        if self.augment:
            rng = random.Random(derive_seed(self.seed, epoch, self.rank, worker))
            samples = _webdataset().filters.shuffle(_MIXED, initial=_MIXED, rng=rng)(samples)
        rest = itertools.islice(samples, seen[worker] * self.batch_size, None)
        return (self._crop(sample, epoch) for sample in rest)

    def _samples(self, first: int, last: int, epoch: int) -> Iterator[dict]:
        """The photos from the first to before the last of an epoch's line."""
        line, at = list(self.shards), 0
        if self.augment:
            rng = random.Random(derive_seed(self.seed, epoch))
            rng.shuffle(line)
            # The line is closed to a circle and opened anywhere, lest the rest that is dropped be
            # the end of a shard each time.
            at = -rng.randrange(self.total)
        for url, photos in line * 2:
            begin, end = max(first - at, 0), min(last - at, photos)
            if begin < end:
                yield from _read_shard(url, begin, end)
            at += photos

    def _crop(self, sample: dict, epoch: int) -> Tensor:
        told = json.loads(sample["json"])
        generator = None
        if self.augment:
            number = int.from_bytes(_hash(told["id"])[:8], "big")
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, number))
        file = io.BytesIO(sample["jpg"])
        file.name = f"{told['id']} in {sample['__url__']}"  # for what `read_photo` may have to say
        return read_crop(file, told["width"], told["height"], self.size, self.augment, generator)


def _behind(start: int, shares: Sequence[int]) -> tuple[list[int], int]:
    """How many batches each reader has given when `start` are behind, and whose turn it is."""
    given, turn = [0] * len(shares), 0
    for _ in range(min(start, sum(shares))):
        while given[turn] == shares[turn]:
            turn = (turn + 1) % len(shares)
        given[turn] += 1
        turn = (turn + 1) % len(shares)
    return given, turn


def _plan(
    manifest: Manifest, photos_per_shard: int, min_side: int
) -> dict[str, list[ManifestEntry]]:
    """The photos of each shard, by its name."""
    plan = {}
    for part in SPLITS:
        entries = [
            entry
            for entry in manifest.entries.values()
            if (entry.state, entry.part) == ("good", part)
            and min(entry.width, entry.height) >= min_side
        ]
        entries.sort(key=lambda entry: _hash(entry.id))
        for first in range(0, len(entries), photos_per_shard):
            name = f"{part}-{first // photos_per_shard:06d}.tar"
            plan[name] = entries[first : first + photos_per_shard]
    return plan


def _write_shard(path: Path, entries: Sequence[ManifestEntry], folder: Path) -> None:
    """Write a shard, unless it is there already."""
    told = [json.dumps({name: getattr(entry, name) for name in _TOLD}) for entry in entries]
    # All that is in a shard follows from these lines; their hash stands in its first header.
    recipe = hashlib.sha256("\n".join(told).encode()).hexdigest()
    if _recipe_of(path) == recipe:
        return
    header = {"format": tarfile.PAX_FORMAT, "pax_headers": {"comment": recipe}}
    with atomic_write(path) as beside, tarfile.open(beside, "w", **header) as tar:
        for entry, line in zip(entries, told, strict=True):
            # WebDataset takes what follows the first dot for the kind of file.
            key = quote(entry.id, safe="").replace(".", "%2E")
            for kind, data in (("jpg", _photo(folder, entry)), ("json", line.encode())):
                member = tarfile.TarInfo(f"{key}.{kind}")  # nobody's, mode 644, of time 0
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _recipe_of(path: Path) -> str | None:
    try:
        with tarfile.open(path) as tar:
            return tar.pax_headers.get("comment")
    except (FileNotFoundError, tarfile.ReadError):
        return None


def _photo(folder: Path, entry: ManifestEntry) -> bytes:
    path = folder / entry.file
    data = path.read_bytes() if path.is_file() else None
    if data is None or hashlib.sha256(data).hexdigest() != entry.sha256:
        found = "missing" if data is None else f"another file, of {len(data)} bytes"
        raise ValueError(
            f"{path} is {found}; the manifest tells of {entry.bytes} bytes. Bring it back, or take "
            f"the line of {entry.id} out of {folder / MANIFEST}, and run `colorize prepare` or "
            "`colorize download` again"
        )
    return data


def _read_index(shards: str | os.PathLike, part: str, size: int) -> list[tuple[str, int]]:
    """The address and the number of photos of each shard of a part."""
    root = str(shards)
    if "://" not in root:
        root = Path(shards).absolute().as_uri()  # Windows' C: would be taken for a scheme
    index = f"{root.rstrip('/')}/{SHARD_INDEX}"
    try:
        with _webdataset().gopen(index) as file:
            told = [row for row in json.load(file)["shards"] if row["part"] == part]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{index} cannot be read ({error}): name a folder that `colorize shard` has written"
        ) from error
    if not told:
        raise ValueError(f"{index}: no photos of the part {part!r}")
    smallest = min(row["min_side"] for row in told)
    if smallest < size:
        raise ValueError(
            f"{index}: a photo of part {part} has a side of {smallest} px, too small for a crop of "
            f"{size} px: write the shards anew with `colorize shard --min-side {size}` (Python: "
            "min_side), or use a smaller size"
        )
    return [(f"{root.rstrip('/')}/{row['name']}", row["photos"]) for row in told]


def _read_shard(url: str, begin: int, end: int) -> Iterator[dict]:
    """Some photos of a shard: dicts with the bytes `jpg` and `json`."""
    webdataset = _webdataset()
    found = 0
    with webdataset.gopen(url) as stream:
        files = webdataset.tariterators.tar_file_expander([{"url": url, "stream": stream}])
        for found, sample in enumerate(webdataset.tariterators.group_by_keys(files), 1):
            if found > begin:
                yield sample
            if found == end:
                break
    if found < end:  # unnoticed, processes that learn together would wait for each other for ever
        raise ValueError(f"{url} holds {found} photos, fewer than {SHARD_INDEX} tells")


def _webdataset() -> ModuleType:
    try:
        import webdataset
    except ImportError as error:
        raise ImportError(
            f"shards are read by a library ({error}): pip install 'colorize-photos[shards]'"
        ) from error
    return webdataset


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
