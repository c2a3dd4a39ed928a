"""The data road: prepared photos and originals to batches, and a download."""

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
from loopback import Loopback
from PIL import Image, ImageOps
from skimage.color import rgb2lab
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop

from colorize.color.lab import rgb_to_lab
from colorize.data.folder import PhotoFolder, load_samples
from colorize.data.loaders import train_loader
from colorize.data.manifest import Manifest
from colorize.data.prepare import prepare
from colorize.data.unsplash.download import Hosts, UnsplashLite


class PlainPairs(Dataset):
    """The plain way to (lightness, ab): Pillow, torchvision on Pillow, scikit-image in float64."""

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


def prepared() -> dict:
    """A prepared folder (320 px) to batches of (lightness, ab) at 256 px, on the CPU.

    Plain: `PlainPairs` on the photos of 1080 px that were prepared, since the plain way has no
    such step; DataLoader without workers, batch 8. Ours: as the trainers do it, `train_loader`
    with 2 workers, batch 16, and `rgb_to_lab` of each batch in 1 thread.
    """
    return _bench_folder(originals_folder(), prepared_folder(), rgb_to_lab)


def prepared_u8() -> dict:
    """A prepared folder (320 px) to cropped and flipped uint8 batches at 256 px.

    Plain: as for `prepared`. Ours: `train_loader` with 2 workers, batch 16.
    """
    return _bench_folder(originals_folder(), prepared_folder(), lambda batch: (batch,))


def prepared_same() -> dict:
    """As `prepared`, but the plain way reads the prepared files too."""
    return _bench_folder(prepared_folder(), prepared_folder(), rgb_to_lab)


def originals() -> dict:
    """Photos of 1080 px to batches of (lightness, ab) at 256 px, their index known.

    Plain and ours: as for `prepared`, both on the photos of 1080 px.
    """
    return _bench_folder(originals_folder(), originals_folder(), rgb_to_lab)


def download() -> dict:
    """Photos a second from a server on loopback that takes 50 ms, 8 at a time: a download of 600.

    Plain: 8 threads and `requests.get`, each body kept in memory, nothing looked at. Ours: the
    whole of `UnsplashLite.download`: decoded, judged, hashed, written, noted.
    """
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    count = 600
    twin = Loopback(count)  # knows the catalogue; a process of its own serves
    command = [sys.executable, Path(__file__).parents[1] / "loopback.py", str(count), "0.05"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        twin.origin = server.stdout.readline().decode().strip()
        hosts = Hosts("", (), twin.origin)
        urls = [
            f"{twin.origin}/photo-{name}?w={480 if number % 3 else 320}"
            for number, name in enumerate(twin.ids)
        ]
        for _ in range(3):
            start = time.perf_counter()
            with ThreadPoolExecutor(8) as pool:
                bodies = list(pool.map(lambda url: requests.get(url, timeout=10).content, urls))
            times["plain"].append(time.perf_counter() - start)
            with tempfile.TemporaryDirectory() as folder:
                lite = UnsplashLite(folder, hosts=hosts)
                lite.accept_terms()
                source = Path(folder, "photos.tsv000")
                source.write_text(twin.catalogue(), encoding="utf-8")
                start = time.perf_counter()
                manifest = lite.download(source=source, progress=False)
                times["ours"].append(time.perf_counter() - start)
            if len(bodies) != count or manifest.counts() != {"good": count}:
                raise AssertionError(f"not all photos came: {manifest}")
        server.stdin.close()
    plain, ours = (count / statistics.median(taken) for taken in times.values())
    # A rate: here more is better, and the ratio is ours over plain.
    return {"plain": plain, "ours": ours, "unit": "photos/s", "ratio": ours / plain}


ROWS = {row.__name__: row for row in (prepared, prepared_u8, prepared_same, originals, download)}


def _bench_folder(theirs: Path, mine: Path, convert: Callable) -> dict:
    """Epochs of both ways in turn; the first of each warms up."""
    paths = sorted(theirs.rglob("*.jpg")) * 16
    photos = PhotoFolder(mine).select("train", min_side=256).photos * 16
    plain = DataLoader(PlainPairs(paths, 256), 8, shuffle=True)
    torch.set_num_threads(1)  # beside two workers on two cores
    ours = train_loader(photos, 256, 16, workers=2)
    times: dict[DataLoader, list[float]] = {plain: [], ours: []}
    for epoch in range(4):
        for batches, taken in times.items():
            start = time.perf_counter()
            if batches is ours:
                ours.sampler.set_epoch(epoch)
                seen = sum(len(convert(batch)[0]) for batch in batches)
            else:  # a sixth is enough to time it
                some = itertools.islice(batches, max(1, len(batches) // 6))
                seen = sum(len(lightness) for lightness, _ in some)
            taken.append((time.perf_counter() - start) * 1000 / seen)
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
    """The same photos as a download would give them: short side 320, quality 85."""
    small = _folder("small")
    small.mkdir(parents=True)
    for path in sorted(originals_folder().rglob("*.jpg")):
        with Image.open(path) as photo:
            photo.resize((480, 320), Image.Resampling.LANCZOS).save(small / path.name, quality=85)
    folder = _folder("prepared")
    prepare([small], folder, part="train", progress=False)
    manifest = Manifest(folder)  # all of them in one part, for the clock's sake
    text = manifest.path.read_text()
    manifest.path.write_text(text.replace(",val,good,", ",train,good,"))
    return folder
