"""Time our ways against the plain ones, in one run: python scripts/bench.py NAME --json FILE.

Both are warmed up, checked to agree where they are the same function, and timed in turn; the
medians and their ratio count. The machine's load moves the times, and much less the ratio.
"""

import argparse
import functools
import itertools
import json
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
from skimage.color import lab2rgb, rgb2lab
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop

from colorize.color import lab_to_rgb, rgb_to_lab, to_uint8
from colorize.colorizer import join
from colorize.data.dataset import LabDataset
from colorize.data.folder import PhotoFolder, load_samples
from colorize.data.loaders import train_loader
from colorize.data.manifest import Manifest
from colorize.data.prepare import prepare
from colorize.data.unsplash import Hosts, UnsplashLite
from colorize.runtime import written_beside


def bench_lab() -> dict:
    """RGB to LAB, 16 photos of 256x256, uint8, 1 thread.

    Plain: for each photo `skimage.color.rgb2lab(photo / 255)` in float64, scaled, to float32.
    """
    torch.set_num_threads(1)
    photos = torch.randint(0, 256, (16, 3, 256, 256), dtype=torch.uint8)
    arrays = photos.permute(0, 2, 3, 1).numpy()

    def plain():
        labs = np.stack([rgb2lab(array / 255) for array in arrays])
        return (labs / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def ours():
        return torch.cat(rgb_to_lab(photos), dim=1).permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=16, unit="ms/photo", tolerance=1e-5)


def bench_rgb() -> dict:
    """LAB to RGB, 16 photos of 256x256, channels clipped, rounded to uint8, 1 thread.

    Plain: for each photo `skimage.color.lab2rgb` in float64 and rounding.
    """
    torch.set_num_threads(1)
    lightness, ab = rgb_to_lab(torch.randint(0, 256, (16, 3, 256, 256), dtype=torch.uint8))
    labs = torch.cat(((lightness + 1) * 50, ab * 110), dim=1).permute(0, 2, 3, 1).double().numpy()

    def plain():
        return np.stack([np.round(lab2rgb(lab) * 255).astype(np.uint8) for lab in labs])

    def ours():
        rgb = to_uint8(lab_to_rgb(lightness, ab, gamut="clip"))
        return rgb.permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=16, unit="ms/photo", tolerance=0)


def bench_pair() -> dict:
    """From a file to (lightness, ab), the embedded photos, centered squares of 256x256, 1 thread.

    Plain: Pillow decodes, crops, shrinks by BILINEAR; scikit-image converts in float64.
    """
    torch.set_num_threads(1)
    photos = load_samples().photos
    dataset = LabDataset(photos, 256)

    def plain_one(path):
        photo = Image.open(path).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) / 2, (photo.height - side) / 2
        box = (left, top, left + side, top + side)
        lab = rgb2lab(np.asarray(photo.resize((256, 256), Image.Resampling.BILINEAR, box)) / 255)
        return (lab / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def plain():
        return np.stack([plain_one(photo.path) for photo in photos])

    def ours():
        pairs = [torch.cat(dataset[i]) for i in range(len(dataset))]
        return torch.stack(pairs).permute(0, 2, 3, 1).numpy()

    # Of the resized photo's bytes some differ by one level.
    return compare(plain, ours, per=len(photos), unit="ms/photo", tolerance=0.03)


def bench_join() -> dict:
    """A 4000x3000 photo and 192x256 ab to the painted photo, all threads of torch.

    Plain: `torch.nn.functional.interpolate`, scikit-image in float64 on the whole photo; both
    ways bring chroma outside sRGB back by clipping, so that they are the same function.
    """
    rgb = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8).repeat_interleave(10, 1)
    rgb = rgb.repeat_interleave(10, 2)
    ab = torch.rand(2, 192, 256) * 0.2 - 0.1

    def plain():
        lab = rgb2lab(rgb.permute(1, 2, 0).numpy() / 255)
        wide = torch.nn.functional.interpolate(ab[None], rgb.shape[1:], mode="bilinear")[0]
        lab[..., 1:] = wide.permute(1, 2, 0).double().numpy() * 110
        return np.round(lab2rgb(lab) * 255).astype(np.uint8)

    def ours():
        return join(rgb, ab, gamut="clip").permute(1, 2, 0).numpy()

    return compare(plain, ours, per=1, unit="ms", tolerance=1, repeats=3)


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


def bench_prepared() -> dict:
    """A prepared folder (320 px) to batches of (lightness, ab) at 256 px, on the CPU.

    Plain: `PlainPairs` on the photos of 1080 px that were prepared, since the plain way has no
    such step; DataLoader without workers, batch 8. Ours: as the trainers do it, `train_loader`
    with 2 workers, batch 16, and `rgb_to_lab` of each batch in 1 thread.
    """
    return _bench_folder(_originals(), _prepared(), rgb_to_lab)


def bench_prepared_u8() -> dict:
    """A prepared folder (320 px) to cropped and flipped uint8 batches at 256 px.

    Plain: as for `prepared`. Ours: `train_loader` with 2 workers, batch 16.
    """
    return _bench_folder(_originals(), _prepared(), lambda batch: (batch,))


def bench_prepared_same() -> dict:
    """As `prepared`, but the plain way reads the prepared files too."""
    return _bench_folder(_prepared(), _prepared(), rgb_to_lab)


def bench_originals() -> dict:
    """Photos of 1080 px to batches of (lightness, ab) at 256 px, their index known.

    Plain and ours: as for `prepared`, both on the photos of 1080 px.
    """
    return _bench_folder(_originals(), _originals(), rgb_to_lab)


def bench_download() -> dict:
    """Photos a second from a server on loopback that takes 50 ms, 8 at a time: a download of 600.

    Plain: 8 threads and `requests.get`, each body kept in memory, nothing looked at. Ours: the
    whole of `UnsplashLite.download`: decoded, judged, hashed, written, noted.
    """
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    count = 600
    twin = Loopback(count)  # knows the catalogue; a process of its own serves
    command = [sys.executable, Path(__file__).with_name("loopback.py"), str(count), "0.05"]
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
def _originals() -> Path:
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
def _prepared() -> Path:
    """The same photos as a download would give them: short side 320, quality 85."""
    small = _folder("small")
    small.mkdir(parents=True)
    for path in sorted(_originals().rglob("*.jpg")):
        with Image.open(path) as photo:
            photo.resize((480, 320), Image.Resampling.LANCZOS).save(small / path.name, quality=85)
    folder = _folder("prepared")
    prepare([small], folder, part="train", progress=False)
    manifest = Manifest(folder)  # all of them in one part, for the clock's sake
    text = manifest.path.read_text()
    manifest.path.write_text(text.replace(",val,good,", ",train,good,"))
    return folder


BENCHES = {
    **{"lab": bench_lab, "rgb": bench_rgb, "pair": bench_pair, "join": bench_join},
    **{"prepared": bench_prepared, "prepared_u8": bench_prepared_u8},
    **{"prepared_same": bench_prepared_same, "originals": bench_originals},
    **{"download": bench_download},
}
GROUPS = {"data": ("prepared", "prepared_u8", "prepared_same", "originals", "download")}


def compare(
    plain: Callable, ours: Callable, per: int, unit: str, tolerance: float, repeats: int = 7
) -> dict:
    """Check that both agree within `tolerance`, time them in turn, divide by `per`."""
    gap = np.abs(plain().astype(np.float64) - ours().astype(np.float64)).max()
    if gap > tolerance:
        raise AssertionError(f"the two ways differ by {gap}, more than {tolerance}")
    times: dict[Callable, list[float]] = {plain: [], ours: []}
    for _ in range(repeats):
        for way, taken in times.items():
            start = time.perf_counter()
            way()
            taken.append((time.perf_counter() - start) * 1000 / per)
    slow, fast = (statistics.median(taken) for taken in times.values())
    return {"plain": slow, "ours": fast, "unit": unit, "ratio": slow / fast}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ", ".join((*GROUPS, *BENCHES))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known}; all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    names = [one for name in args.names for one in GROUPS.get(name, (name,))]
    unknown = set(names) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {known}")
    threads = torch.get_num_threads()
    rows = []
    for name in names or BENCHES:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        row = {"name": name} | BENCHES[name]()
        rows.append(row)
        print(
            f"{name:<13} plain {row['plain']:9.2f}  ours {row['ours']:9.2f} {row['unit']:<9}"
            f" ratio {row['ratio']:5.1f}   {BENCHES[name].__doc__.splitlines()[0]}"
        )
    if args.json:
        with written_beside(args.json) as part:
            part.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
