"""Damaged and odd files through `colorize photo`: python scripts/fuzz.py --count 2000.

Each becomes a painting that is right (upright size, lightness of the photo within a level where it
is stored without loss, transparency kept), or is refused in words that name it; no crash, no hang,
no file left half-written, no photo touched. Ends with a table and fails loudly.
"""

import argparse
import hashlib
import io
import json
import random
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image
from tqdm import tqdm

from colorize.color.lab import rgb_to_lightness
from colorize.data.folder import load_samples
from colorize.io.image import PhotoError, read_photo
from colorize.io.image_file import read_image_file
from colorize.models import create_model
from colorize.models.pretrained import Pretrained, save
from colorize.utils.files import atomic_write

_AT_ONCE = 200  # files in a call, so that a crash is soon found
_SECONDS = 1200  # for a call
_BIG = 20_000

Make = Callable[[random.Random, Image.Image], tuple[str, bytes]]


def _saved(photo: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def _any(lot: random.Random, photo: Image.Image) -> tuple[str, bytes]:
    """A whole file of some kind."""
    suffix, kind = lot.choice(
        [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"), ("avif", "AVIF")]
    )
    return suffix, _saved(photo.convert("L" if suffix != "avif" else "RGB"), kind)


def whole(lot, photo):
    """JPEG, PNG, WebP, TIFF, AVIF as they should be."""
    return _any(lot, photo)


def flipped(lot, photo):
    """1 to 20 bits flipped."""
    suffix, data = _any(lot, photo)
    data = bytearray(data)
    for _ in range(lot.randint(1, 20)):
        data[lot.randrange(len(data))] ^= 1 << lot.randrange(8)
    return suffix, bytes(data)


def flipped_head(lot, photo):
    """Bits flipped among the first 200 bytes."""
    suffix, data = _any(lot, photo)
    data = bytearray(data)
    for _ in range(lot.randint(1, 8)):
        data[lot.randrange(min(200, len(data)))] ^= 1 << lot.randrange(8)
    return suffix, bytes(data)


def cut(lot, photo):
    """Cut off somewhere."""
    suffix, data = _any(lot, photo)
    return suffix, data[: lot.randrange(len(data))]


def misnamed(lot, photo):
    """A picture by the suffix of another kind."""
    _, data = _any(lot, photo)
    return lot.choice(["jpg", "png", "webp", "tif", "avif", "bmp", "gif"]), data


def zeros(lot, photo):
    """Nothing but zero bytes, or no bytes."""
    return lot.choice(["jpg", "png", "tif"]), bytes(lot.choice([0, 1, 1000]))


def spliced(lot, photo):
    """A run of bytes overwritten by others."""
    suffix, data = _any(lot, photo)
    begin = lot.randrange(len(data))
    return suffix, data[:begin] + lot.randbytes(lot.randint(1, 300)) + data[begin + 200 :]


def tiny(lot, photo):
    """1x1 and other sizes of few pixels."""
    size = lot.choice([(1, 1), (1, 2), (3, 1), (2, 2), (1, 9)])
    return "png", _saved(photo.convert("L").resize(size), "PNG")


def long(lot, photo):
    """1 x 20,000 and 20,000 x 1."""
    size = lot.choice([(1, _BIG), (_BIG, 1), (3, _BIG), (_BIG, 2)])
    return lot.choice([("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF")])[0], _saved(
        photo.convert("L").resize(size), "PNG"
    )


def palette(lot, photo):
    """Palettes of grey, with and without transparency."""
    photo = photo.convert("L").convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    options = {"transparency": 3} if lot.random() < 0.5 else {}
    suffix, kind = lot.choice([("png", "PNG"), ("gif", "GIF")])
    return suffix, _saved(photo, kind, **options)


def one_bit(lot, photo):
    """1 bit per pixel."""
    suffix, kind = lot.choice([("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("pbm", "PPM")])
    return suffix, _saved(photo.convert("1"), kind)


def cmyk(lot, photo):
    """CMYK, with and without Adobe's marker."""
    data = _saved(photo.convert("L").convert("RGB").convert("CMYK"), "JPEG")
    if lot.random() < 0.5:
        at = data.index(b"Adobe")
        length = int.from_bytes(data[at - 2 : at])
        data = data[: at - 4] + data[at - 2 + length :]
    return "jpg", data


def transparent(lot, photo):
    """Transparency of 8 and 16 bits."""
    grey = np.asarray(photo.convert("L"))
    alpha = np.random.default_rng(lot.randrange(999)).integers(0, 256, grey.shape, dtype=np.uint8)
    values = np.dstack((grey, alpha))
    if lot.random() < 0.5:
        return "png", imagecodecs.png_encode(values.astype(np.uint16) * 257)
    return "webp", _saved(Image.fromarray(values, "LA"), "WEBP", lossless=True)


def deep(lot, photo):
    """16 bits, grey and RGB, PNG and TIFF, packed in several ways."""
    values = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    if lot.random() < 0.5:
        values = np.repeat(values[..., None], 3, axis=2)
    if lot.random() < 0.4:
        return "png", imagecodecs.png_encode(np.ascontiguousarray(values))
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values,
        photometric="rgb" if values.ndim == 3 else lot.choice(["minisblack", "miniswhite"]),
        compression=lot.choice([None, "lzw", "adobe_deflate", "packbits"]),
        byteorder=lot.choice("<>"),
        bigtiff=lot.random() < 0.3,
        tile=(32, 32) if lot.random() < 0.3 else None,
    )
    return "tif", file.getvalue()


def numbers(lot, photo):
    """floating, 32-bit and signed TIFFs, some with NaN."""
    values = np.asarray(photo.convert("L")).astype(np.float32) / 255
    if lot.random() < 0.3:
        values[0, 0] = lot.choice([np.nan, np.inf, -np.inf])
    kind = lot.choice(["f2", "f4", "f8", "u4", "i2", "i4"])
    if kind[0] != "f":
        values = np.nan_to_num(values, posinf=1, neginf=0) * np.iinfo(kind).max * 0.999
    file = io.BytesIO()
    tifffile.imwrite(file, values.astype(kind), photometric="minisblack")
    return "tif", file.getvalue()


def damaged_deep(lot, photo):
    """16 bits and numbers, with bits flipped or cut off."""
    suffix, data = lot.choice([deep, numbers])(lot, photo)
    data = bytearray(data[: lot.randint(len(data) // 2, len(data))])
    for _ in range(lot.randint(1, 20)):
        data[lot.randrange(len(data))] ^= 1 << lot.randrange(8)
    return suffix, bytes(data)


def animated(lot, photo):
    """Animations and TIFFs of several pages."""
    grey = photo.convert("L")
    frames = [grey.rotate(90 * i) for i in range(1, 4)]
    suffix, kind = lot.choice(
        [("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF"), ("avif", "AVIF")]
    )
    return suffix, _saved(grey, kind, save_all=True, append_images=frames)


def bomb(lot, photo):
    """Files that unpack to gigapixels."""
    size = lot.choice([(30_000, 30_000), (2**31 - 1, 1), (65_500, 65_500)])
    data = bytearray(_saved(photo.convert("L"), "PNG"))
    data[16:24] = size[0].to_bytes(4) + size[1].to_bytes(4)
    return "png", bytes(data)


def turned(lot, photo):
    """EXIF orientations, some that there are not."""
    exif = Image.Exif()
    exif[0x0112] = lot.choice([1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 77])
    suffix, kind = lot.choice([("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")])
    return suffix, _saved(photo.convert("L"), kind, exif=exif)


def torn_exif(lot, photo):
    """EXIF and color profiles of random bytes."""
    exif = b"Exif\0\0" + lot.choice([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""])
    profile = lot.randbytes(lot.randint(0, 300))
    return "jpg", _saved(
        photo.convert("L"), "JPEG", exif=exif + lot.randbytes(60), icc_profile=profile or None
    )


KINDS: tuple[Make, ...] = (
    *(whole, flipped, flipped_head, cut, misnamed, zeros, spliced, tiny, long, palette, one_bit),
    *(cmyk, transparent, deep, numbers, damaged_deep, animated, bomb, turned, torn_exif),
)


def make(folder: Path, count: int, seed: int) -> dict[Path, str]:
    """Files of every kind in turn, and of which kind each is."""
    photos = [read_photo(photo.path) for photo in load_samples().photos]
    made = {}
    for number in range(count):
        lot = random.Random(seed * 1_000_003 + number)
        photo = lot.choice(photos)
        photo = photo.resize((lot.randint(20, 90), lot.randint(20, 90)), Image.Resampling.BICUBIC)
        kind = KINDS[number % len(KINDS)]
        suffix, data = kind(lot, photo)
        path = folder / f"{number // _AT_ONCE:04}" / f"{number:05}-{kind.__name__}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        made[path] = kind.__name__
    return made


def fuzz(count: int, seed: int, progress: bool = True) -> dict[str, Counter]:
    """Make files, color them, look at everything that came of it.

    Raises:
        AssertionError: at the first thing that is wrong; the message names the file.
    """
    table = {kind.__name__: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory() as place:
        model = Path(place, "model")
        arguments = {"depth": 4, "base_channels": 4}
        network = create_model("unet", **arguments)
        torch.nn.init.normal_(network.head[0].weight, std=0.3)
        save(Pretrained(network, "unet", arguments, 32, "fuzz"), model, "")
        made = make(Path(place, "files"), count, seed)
        before = {path: hashlib.sha256(path.read_bytes()).digest() for path in made}
        for folder in tqdm(sorted(Path(place, "files").iterdir()), disable=not progress):
            out = Path(place, "out", folder.name)
            for report in _color(folder, model, out):
                source = Path(report["source"])
                _look(report, source)
                table[made[source]][report["state"]] += 1
            left = list(out.rglob(".*"))
            assert not left, f"left behind: {left}"
        for path, digest in before.items():
            assert hashlib.sha256(path.read_bytes()).digest() == digest, f"{path} was touched"
    seen = sum(sum(row.values()) for row in table.values())
    assert seen == count, f"{count} files, {seen} reports"
    return table


def _color(folder: Path, model: Path, out: Path) -> list[dict]:
    command = [sys.executable, "-m", "colorize", "photo", folder, "-o", out, "--model", model]
    command += ["--json", "--force", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise AssertionError(f"{folder}: status {done.returncode}\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _look(report: dict, source: Path) -> None:
    """See that a report is true, and the painting right."""
    if report["state"] == "failed":
        assert source.name in report["reason"] and "\n" not in report["reason"], report
        try:
            read_photo(source)
        except PhotoError:
            return
        # What Pillow reads may still be refused, where more than its 8 bits is broken.
        assert "damaged or cut short" in report["reason"], report
        return
    (painting,) = map(Path, report["paintings"])
    original, painted = read_image_file(source), read_image_file(painting)
    assert painted.rgb.shape == original.rgb.shape, report
    with Image.open(painting) as image:
        is_exact = image.format in ("PNG", "TIFF")
    if not is_exact:
        return
    assert painted.rgb.dtype == original.rgb.dtype, report
    assert (painted.alpha is None) == (original.alpha is None), report
    if painted.alpha is not None:
        assert torch.equal(painted.alpha, original.alpha), report
    lightness = [rgb_to_lightness(_fraction(one.rgb)) for one in (painted, original)]
    off = (lightness[0] - lightness[1]).abs().max().item() * 50
    assert off <= 100 / 255, f"lightness is off by {off} L*: {report}"


def _fraction(rgb: torch.Tensor) -> torch.Tensor:
    return rgb.float() / (255 if rgb.dtype == torch.uint8 else 65535)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="of files (2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of their making (0)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the readers, who look at the files once more
    table = fuzz(args.count, args.seed)
    rows = [{"files": kind.__doc__.rstrip("."), **table[kind.__name__]} for kind in KINDS]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if args.json:
        with atomic_write(args.json) as part:
            part.write_text(json.dumps({"seed": args.seed, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
