"""Benchmarks of the data pipeline: photo files to batches, and a download."""

import functools
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
import torch
from PIL import Image, ImageOps
from skimage.color import rgb2lab
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop

from benches.timing import Row, sized
from colorize.color.lab import rgb_to_lab
from colorize.data.folder import PhotoFolder, load_samples
from colorize.data.loaders import train_loader
from colorize.data.manifest import Manifest
from colorize.data.prepare import prepare
from colorize.data.unsplash.download import Hosts, UnsplashLite

TESTS = Path(__file__).parents[2] / "tests"
sys.path.append(str(TESTS))  # for the fake server
from fake_unsplash import FakeUnsplash  # noqa: E402


class PlainPairs(Dataset):
    """The baseline to (lightness, ab): Pillow, torchvision on Pillow, scikit-image in float64."""

    def __init__(self, paths: Sequence[Path], size: int):
        self.paths = paths
        crop = RandomResizedCrop(size, scale=(0.25, 1), ratio=(1, 1))
        self.transform = Compose([crop, RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.paths[index]) as photo:
            crop = self.transform(photo.convert("RGB"))
        lab = rgb2lab(np.asarray(crop) / 255).transpose(2, 0, 1)
        lab = torch.from_numpy(lab / [[[50]], [[110]], [[110]]] - [[[1]], [[0]], [[0]]]).float()
        return lab[:1], lab[1:]


def prepared() -> Row:
    """A prepared folder (320 px) to batches of (lightness, ab) at 256 px, on the CPU.

    Plain: `PlainPairs` on the photos of 1080 px that were prepared, since the plain pipeline has
    no such step; DataLoader without workers, batch 8. Ours: as the trainers do it, `train_loader`
    with 2 workers, batch 16, and `rgb_to_lab` of each batch in 1 thread.
    """
    return _bench_folder(originals_folder(), prepared_folder(), rgb_to_lab)


def prepared_u8() -> Row:
    """A prepared folder (320 px) to cropped and flipped uint8 batches at 256 px.

    Plain: as for `prepared`. Ours: `train_loader` with 2 workers, batch 16.
    """
    return _bench_folder(originals_folder(), prepared_folder(), lambda batch: (batch,))


def prepared_same() -> Row:
    """As `prepared`, but the plain pipeline reads the prepared files too."""
    return _bench_folder(prepared_folder(), prepared_folder(), rgb_to_lab)


def originals() -> Row:
    """Photos of 1080 px to batches of (lightness, ab) at 256 px, with an index.

    Plain and ours: as for `prepared`, both on the photos of 1080 px.
    """
    return _bench_folder(originals_folder(), originals_folder(), rgb_to_lab)


def download() -> Row:
    """Photos per second of a download of 600, 8 at a time, from a local server that takes 50 ms.

    Plain: 8 threads and `requests.get`, each body kept in memory, nothing decoded. Ours: the
    whole of `UnsplashLite.download`: decoded, classified, hashed, and written with a manifest.
    """
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    count = sized(600, 8)
    fake = FakeUnsplash(count)  # for its catalog; another process serves
    command = [sys.executable, TESTS / "fake_unsplash.py", str(count), "0.05"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        fake.origin = server.stdout.readline().decode().strip()
        hosts = Hosts("", (), fake.origin)
        urls = [
            f"{fake.origin}/photo-{name}?w={480 if number % 3 else 320}"
            for number, name in enumerate(fake.ids)
        ]
        for _ in range(sized(3, 1)):
            start = time.perf_counter()
            with ThreadPoolExecutor(8) as pool:
                bodies = list(pool.map(lambda url: requests.get(url, timeout=10).content, urls))
            times["plain"].append(time.perf_counter() - start)
            with tempfile.TemporaryDirectory() as folder:
                lite = UnsplashLite(folder, hosts=hosts)
                lite.accept_terms()
                source = Path(folder, "photos.tsv000")
                source.write_text(fake.catalog(), encoding="utf-8")
                start = time.perf_counter()
                manifest = lite.download(source=source, progress=False)
                times["ours"].append(time.perf_counter() - start)
            if len(bodies) != count or manifest.counts() != {"good": count}:
                raise AssertionError(f"photos are missing: {manifest}")
        server.stdin.close()
    plain, ours = (count / statistics.median(seconds) for seconds in times.values())
    # A rate: here more is better, and the ratio is ours over plain.
    return {"plain": plain, "ours": ours, "unit": "photos/s", "ratio": ours / plain}


ROWS = {row.__name__: row for row in (prepared, prepared_u8, prepared_same, originals, download)}


def _bench_folder(theirs: Path, mine: Path, convert: Callable) -> Row:
    """Epochs of both ways in turn; the first of each warms up."""
    paths = sorted(theirs.rglob("*.jpg")) * sized(16, 1)
    photos = PhotoFolder(mine).select("train", min_side=256).photos * sized(16, 1)
    plain = DataLoader(PlainPairs(paths, 256), 8, shuffle=True)
    torch.set_num_threads(1)  # beside two workers on two cores
    ours = train_loader(photos, 256, 16, workers=2)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for epoch in range(sized(4, 2)):
        start = time.perf_counter()
        # A sixth is enough to time it.
        count = sum(len(pair[0]) for pair in itertools.islice(plain, max(1, len(plain) // 6)))
        times["plain"].append((time.perf_counter() - start) * 1000 / count)
        ours.set_epoch(epoch)
        start = time.perf_counter()
        count = sum(len(convert(example.rgb)[0]) for example in ours)
        times["ours"].append((time.perf_counter() - start) * 1000 / count)
    slow, fast = (statistics.median(taken[1:]) for taken in times.values())  # one to warm up
    return {"plain": slow, "ours": fast, "unit": "ms/photo", "ratio": slow / fast}


@functools.cache
def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"colorize-bench-{name}-"), name)


@functools.cache
def originals_folder() -> Path:
    """Photos of 1080 px and about 1 bit per pixel: the embedded ones side by side."""
    folder = _folder("originals")
    photos = [Image.open(photo.path).convert("RGB") for photo in load_samples().photos]
    (folder / "train").mkdir(parents=True)
    for i in range(len(photos)):
        sheet = Image.new("RGB", (1620, 1080))
        for n in range(6):
            tile = ImageOps.fit(photos[(i + n) % len(photos)], (540, 540))
            sheet.paste(tile, (n % 3 * 540, n // 3 * 540))
        sheet.save(folder / "train" / f"{i}.jpg", quality=76)
    PhotoFolder(folder).inspect(progress=False)
    return folder


@functools.cache
def prepared_folder() -> Path:
    """The same photos as a download provides them: short side 320, quality 85."""
    small = _folder("small")
    small.mkdir(parents=True)
    for path in sorted(originals_folder().rglob("*.jpg")):
        with Image.open(path) as photo:
            photo.resize((480, 320), Image.Resampling.LANCZOS).save(small / path.name, quality=85)
    folder = _folder("prepared")
    prepare([small], folder, split="train", progress=False)
    manifest = Manifest(folder)  # all of them in one split, so that both sides read the same
    text = manifest.path.read_text()
    manifest.path.write_text(text.replace(",val,good,", ",train,good,"))
    return folder
