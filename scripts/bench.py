"""Time our ways against the plain ones, in one run: python scripts/bench.py NAME --json FILE.

Both are warmed up, checked to agree where they are the same function, and timed in turn; the
medians and their ratio count. The machine's load moves the times, and much less the ratio.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from colorize.color import lab_to_rgb, rgb_to_lab, to_uint8
from colorize.colorizer import join
from colorize.data.dataset import LabDataset
from colorize.data.folder import load_samples
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


BENCHES = {"lab": bench_lab, "rgb": bench_rgb, "pair": bench_pair, "join": bench_join}


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
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    threads = torch.get_num_threads()
    rows = []
    for name in args.names or BENCHES:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        row = {"name": name} | BENCHES[name]()
        rows.append(row)
        print(
            f"{name:<6} plain {row['plain']:9.2f}  ours {row['ours']:9.2f} {row['unit']:<9}"
            f" ratio {row['ratio']:5.1f}   {BENCHES[name].__doc__.splitlines()[0]}"
        )
    if args.json:
        with written_beside(args.json) as part:
            part.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
