"""Count how often old prints and color photos are mistaken for each other.

    python scripts/measure_tones.py PHOTOS --seed 1 --json report/results/tones.json

The color photos of a folder are classified as they are, and others of them as old prints that are
made of them, see `benches/old_prints.py`.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.old_prints import COLOR_KINDS, GRAY_KINDS, make_case
from PIL import Image
from tqdm import tqdm

from colorize.io.image import photo_to_rgb
from colorize.io.pages import draw_outlines
from colorize.io.photo import read_photo
from colorize.io.prints import PhotoTone, analyze_tone
from colorize.utils.files import atomic_write

_SIDE = 400  # px; short side of the photos of which prints are made


def measure(photos: list[Path], color_photos: int, cases: int, seed: int) -> list[dict[str, Any]]:
    """Classify photos and made cases; returns a row for each kind of them.

    Args:
        photos: in color.
        color_photos: how many of them are classified as they are; prints are made of the others.
        cases: how many are made of each kind.
        seed: of the choice of the photos and of the cases.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    chosen = [photos[index] for index in order]
    sources = chosen[color_photos:]
    if len(sources) < 4:
        raise ValueError(f"needs more than {color_photos + 3} photos, got {len(photos)}")
    plain = ((read_photo(path), None) for path in chosen[:color_photos])
    rows = [_count("color photos", plain, color_photos)]
    for number, kind in enumerate(GRAY_KINDS | COLOR_KINDS):
        made = (_make(kind, sources, (seed, number, index)) for index in range(cases))
        rows.append(_count(kind, made, cases))
    return rows


def _make(
    kind: str, sources: list[Path], seed: tuple[int, int, int]
) -> tuple[Image.Image, Image.Image]:
    rng = np.random.default_rng(seed)
    photos = []
    for index in rng.choice(len(sources), 4, replace=False):
        photo = read_photo(sources[index])
        scale = _SIDE / min(photo.size)
        photos.append(photo.resize((round(photo.width * scale), round(photo.height * scale))))
    case = make_case(kind, photos[0], photos[1:], rng)
    return case.image, case.prints


def _count(
    kind: str, cases: Iterable[tuple[Image.Image, Image.Image | None]], total: int
) -> dict[str, Any]:
    """Count the tones of cases, and measure how well their prints are outlined."""
    tones: Counter[str] = Counter()
    overlaps = []
    for image, prints in tqdm(cases, kind, total, leave=False):
        photo_tone = analyze_tone(photo_to_rgb(image))
        tones[photo_tone.tone] += 1
        if photo_tone.prints and prints is not None:
            overlaps.append(_overlap(photo_tone, prints))
    row = {
        "kind": kind,
        "is_old": kind in GRAY_KINDS,  # gray or toned: to be colorized
        "cases": total,
        **tones,
    }
    if overlaps:
        row |= {"outlined": len(overlaps), "overlap": round(float(np.median(overlaps)), 3)}
    return row


def _overlap(photo_tone: PhotoTone, prints: Image.Image) -> float:
    """Divide the intersection of the outlined and the true prints by their union."""
    outlines = [outline * prints.size for outline in photo_tone.prints]
    outlined = np.asarray(draw_outlines(outlines, prints.height, prints.width)) > 127
    true = np.asarray(prints) > 127
    return float((outlined & true).sum() / (outlined | true).sum())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder of color photos")
    parser.add_argument("--names", type=Path, help="a file with the names to take, one a line")
    parser.add_argument("--color-photos", type=int, default=500, help="(default: 500)")
    parser.add_argument("--cases", type=int, default=30, help="of each kind (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the photos are small
    photos = sorted(path for path in args.photos.rglob("*") if path.is_file())
    if args.names is not None:
        names = set(args.names.read_text().split())
        photos = [path for path in photos if path.name in names]
    rows = measure(photos, args.color_photos, args.cases, args.seed)
    for row in rows:
        print(row)
    if args.json is not None:
        with atomic_write(args.json) as tmp:
            tmp.write_text(json.dumps({"seed": args.seed, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
