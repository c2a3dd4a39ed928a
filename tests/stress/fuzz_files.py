"""Run damaged and unusual files through `colorize photo`: fuzz_files.py --count 2000.

Each must become a correct output (upright size, lightness of the photo within a level where it is
stored without loss, transparency kept), or be refused with an error that names it; no crash, no
hang, no half-written file, no modified photo. Prints a table, and fails at the first mistake.
"""

import argparse
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image
from tqdm import tqdm

from colorize.color.lab import rgb_to_lightness
from colorize.data.folder import load_samples
from colorize.io.containers import (
    APP1,
    APP13,
    COMMENT,
    EXIF_HEADER,
    IPTC,
    PHOTOSHOP_HEADER,
    XMP_HEADER,
    Block,
    Resource,
    encode_resources,
    insert_chunks,
    insert_segments,
)
from colorize.io.exif import Exif, Tag, add_tags
from colorize.io.image import PhotoError
from colorize.io.image_file import read_image_file
from colorize.io.photo import read_photo
from colorize.io.xmp import mark_colorized
from colorize.models import create_model
from colorize.models.pretrained import Pretrained, save
from colorize.utils.files import atomic_write, file_sha256

_BATCH_SIZE = 200  # files per command, so that a crash is found soon
_TIMEOUT = 1200  # seconds per command
_LONG_SIDE = 20_000  # px

File = tuple[str, bytes]  # suffix and content
Maker = Callable[[random.Random, Image.Image], File]


def _encode(photo: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, image_format, **options)
    return file.getvalue()


def _any_file(rng: random.Random, photo: Image.Image) -> File:
    """An intact file of a random format."""
    suffix, image_format = rng.choice(
        [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"), ("avif", "AVIF")]
    )
    return suffix, _encode(photo.convert("L" if suffix != "avif" else "RGB"), image_format)


def whole(rng: random.Random, photo: Image.Image) -> File:
    """Intact JPEG, PNG, WebP, TIFF, AVIF."""
    return _any_file(rng, photo)


def flipped(rng: random.Random, photo: Image.Image) -> File:
    """1 to 20 bits flipped."""
    suffix, data = _any_file(rng, photo)
    data = bytearray(data)
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return suffix, bytes(data)


def flipped_head(rng: random.Random, photo: Image.Image) -> File:
    """Bits flipped among the first 200 bytes."""
    suffix, data = _any_file(rng, photo)
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(min(200, len(data)))] ^= 1 << rng.randrange(8)
    return suffix, bytes(data)


def cut(rng: random.Random, photo: Image.Image) -> File:
    """Truncated somewhere."""
    suffix, data = _any_file(rng, photo)
    return suffix, data[: rng.randrange(len(data))]


def misnamed(rng: random.Random, photo: Image.Image) -> File:
    """An image with the suffix of another format."""
    _, data = _any_file(rng, photo)
    return rng.choice(["jpg", "png", "webp", "tif", "avif", "bmp", "gif"]), data


def zeros(rng: random.Random, photo: Image.Image) -> File:
    """Zero bytes only, or no bytes."""
    return rng.choice(["jpg", "png", "tif"]), bytes(rng.choice([0, 1, 1000]))


def spliced(rng: random.Random, photo: Image.Image) -> File:
    """A run of bytes overwritten by others."""
    suffix, data = _any_file(rng, photo)
    begin = rng.randrange(len(data))
    return suffix, data[:begin] + rng.randbytes(rng.randint(1, 300)) + data[begin + 200 :]


def tiny(rng: random.Random, photo: Image.Image) -> File:
    """1x1 and other sizes of few pixels."""
    size = rng.choice([(1, 1), (1, 2), (3, 1), (2, 2), (1, 9)])
    return "png", _encode(photo.convert("L").resize(size), "PNG")


def elongated(rng: random.Random, photo: Image.Image) -> File:
    """1 x 20,000 and 20,000 x 1."""
    size = rng.choice([(1, _LONG_SIDE), (_LONG_SIDE, 1), (3, _LONG_SIDE), (_LONG_SIDE, 2)])
    return rng.choice([("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF")])[0], _encode(
        photo.convert("L").resize(size), "PNG"
    )


def palette(rng: random.Random, photo: Image.Image) -> File:
    """Palettes of gray, with and without transparency."""
    photo = photo.convert("L").convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    options = {"transparency": 3} if rng.random() < 0.5 else {}
    suffix, image_format = rng.choice([("png", "PNG"), ("gif", "GIF")])
    return suffix, _encode(photo, image_format, **options)


def one_bit(rng: random.Random, photo: Image.Image) -> File:
    """1 bit per pixel."""
    suffix, image_format = rng.choice(
        [("png", "PNG"), ("tif", "TIFF"), ("bmp", "BMP"), ("pbm", "PPM")]
    )
    return suffix, _encode(photo.convert("1"), image_format)


def cmyk(rng: random.Random, photo: Image.Image) -> File:
    """CMYK, with and without Adobe's marker."""
    data = _encode(photo.convert("L").convert("RGB").convert("CMYK"), "JPEG")
    if rng.random() < 0.5:
        at = data.index(b"Adobe")
        length = int.from_bytes(data[at - 2 : at])
        data = data[: at - 4] + data[at - 2 + length :]
    return "jpg", data


def transparent(rng: random.Random, photo: Image.Image) -> File:
    """Transparency of 8 and 16 bits."""
    gray = np.asarray(photo.convert("L"))
    alpha = np.random.default_rng(rng.randrange(999)).integers(0, 256, gray.shape, dtype=np.uint8)
    values = np.dstack((gray, alpha))
    if rng.random() < 0.5:
        return "png", imagecodecs.png_encode(values.astype(np.uint16) * 257)
    return "webp", _encode(Image.fromarray(values, "LA"), "WEBP", lossless=True)


def high_bit(rng: random.Random, photo: Image.Image) -> File:
    """16 bits, gray and RGB, PNG and TIFF, with several compressions and layouts."""
    values = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    if rng.random() < 0.5:
        values = np.repeat(values[..., None], 3, axis=2)
    if rng.random() < 0.4:
        return "png", imagecodecs.png_encode(np.ascontiguousarray(values))
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values,
        photometric="rgb" if values.ndim == 3 else rng.choice(["minisblack", "miniswhite"]),
        compression=rng.choice([None, "lzw", "adobe_deflate", "packbits"]),
        byteorder=rng.choice("<>"),
        bigtiff=rng.random() < 0.3,
        tile=(32, 32) if rng.random() < 0.3 else None,
    )
    return "tif", file.getvalue()


def numbers(rng: random.Random, photo: Image.Image) -> File:
    """Float, 32-bit and signed TIFFs, some with NaN."""
    values = np.asarray(photo.convert("L")).astype(np.float32) / 255
    if rng.random() < 0.3:
        values[0, 0] = rng.choice([np.nan, np.inf, -np.inf])
    kind = rng.choice(["f2", "f4", "f8", "u4", "i2", "i4"])
    if kind[0] != "f":
        values = np.nan_to_num(values, posinf=1, neginf=0) * np.iinfo(kind).max * 0.999
    file = io.BytesIO()
    tifffile.imwrite(file, values.astype(kind), photometric="minisblack")
    return "tif", file.getvalue()


def damaged_high_bit(rng: random.Random, photo: Image.Image) -> File:
    """16-bit, 32-bit and float files with bits flipped or truncated."""
    suffix, data = rng.choice([high_bit, numbers])(rng, photo)
    data = bytearray(data[: rng.randint(len(data) // 2, len(data))])
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return suffix, bytes(data)


def animated(rng: random.Random, photo: Image.Image) -> File:
    """Animations and TIFFs of several pages."""
    gray = photo.convert("L")
    frames = [gray.rotate(90 * i) for i in range(1, 4)]
    suffix, image_format = rng.choice(
        [("gif", "GIF"), ("webp", "WEBP"), ("png", "PNG"), ("tif", "TIFF"), ("avif", "AVIF")]
    )
    return suffix, _encode(gray, image_format, save_all=True, append_images=frames)


def bomb(rng: random.Random, photo: Image.Image) -> File:
    """Files that unpack to gigapixels."""
    size = rng.choice([(30_000, 30_000), (2**31 - 1, 1), (65_500, 65_500)])
    data = bytearray(_encode(photo.convert("L"), "PNG"))
    data[16:24] = size[0].to_bytes(4) + size[1].to_bytes(4)
    return "png", bytes(data)


def rotated(rng: random.Random, photo: Image.Image) -> File:
    """EXIF orientations, some of them invalid."""
    exif = Image.Exif()
    exif[0x0112] = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 77])
    suffix, image_format = rng.choice(
        [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")]
    )
    return suffix, _encode(photo.convert("L"), image_format, exif=exif)


def torn_exif(rng: random.Random, photo: Image.Image) -> File:
    """EXIF and color profiles of random bytes."""
    exif = b"Exif\0\0" + rng.choice([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""])
    profile = rng.randbytes(rng.randint(0, 300))
    return "jpg", _encode(
        photo.convert("L"), "JPEG", exif=exif + rng.randbytes(60), icc_profile=profile or None
    )


def torn_metadata(rng: random.Random, photo: Image.Image) -> File:
    """EXIF, XMP, IPTC and text blocks with bits flipped, cut or repeated; the pixels intact."""
    blocks = [
        (APP1, EXIF_HEADER + _tags().to_block()),
        (APP1, XMP_HEADER + mark_colorized(b"")),
        (APP13, PHOTOSHOP_HEADER + encode_resources([Resource(IPTC, b"", rng.randbytes(40))])),
        (COMMENT, rng.randbytes(30)),
    ]
    torn = [(marker, _torn(rng, data)) for marker, data in rng.choices(blocks, k=rng.randint(1, 5))]
    gray = photo.convert("L")
    if rng.random() < 0.6:
        segments = [Block(marker, data) for marker, data in torn]
        return "jpg", insert_segments(_encode(gray, "JPEG"), segments)
    names = (b"eXIf", b"iTXt", b"zTXt", b"tEXt", b"gAMA", b"cHRM", b"pHYs", b"iCCP", b"tRNS")
    chunks = [Block(rng.choice(names), data[6:]) for _, data in torn]
    return "png", insert_chunks(_encode(gray, "PNG"), chunks)


def torn_tags(rng: random.Random, photo: Image.Image) -> File:
    """TIFFs whose tags have another value, type or count, or are repeated."""
    values = np.asarray(photo.convert(rng.choice(["L", "RGB"])))
    if rng.random() < 0.5:
        values = values.astype(np.uint16) * 257
    file = io.BytesIO()
    options = {"subfiletype": 1} if rng.random() < 0.3 else {}
    with tifffile.TiffWriter(file, byteorder=rng.choice("<>")) as tiff:
        for _ in range(rng.randint(1, 2)):
            tiff.write(values, compression=rng.choice([None, "zlib", "lzw"]), **options)
            options = {}
    data = bytearray(add_tags(file.getvalue(), _tags(file.getvalue()[:2])))
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    for _ in range(rng.randint(1, 3)):
        entry = first + 2 + 12 * rng.randrange(count)
        place, code = rng.choice([(0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I")])
        number = rng.choice([0, 1, 2, 3, 6, 255, 65535, rng.randrange(2**16)])
        struct.pack_into(order + code, data, entry + place, number)
    return "tif", bytes(data)


def torn_boxes(rng: random.Random, photo: Image.Image) -> File:
    """JPEG 2000, WebP and AVIF with bytes changed in their boxes before the pixels."""
    suffix, image_format = rng.choice([("jp2", "JPEG2000"), ("webp", "WEBP"), ("avif", "AVIF")])
    data = bytearray(_encode(photo.convert("RGB"), image_format))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(8, min(120, len(data)))] = rng.choice([0, 1, 2, 127, 255])
    return suffix, bytes(data)


def _tags(order: bytes = b"II") -> Exif:
    exif = Exif("<" if order == b"II" else ">")
    exif.image = {0x010E: Tag(2, b"a caption\0"), 0x0132: Tag(2, b"1931:05:01 00:00:00\0")}
    exif.camera = {0x9286: Tag(7, bytes(20)), 0x927C: Tag(7, bytes(30))}
    exif.gps = {1: Tag(2, b"N\0")}
    return exif


def _torn(rng: random.Random, data: bytes) -> bytes:
    torn = bytearray(data[: rng.randint(len(data) // 2, len(data))])
    for _ in range(rng.randint(0, 6)):
        torn[rng.randrange(6, len(torn))] ^= 1 << rng.randrange(8)
    return bytes(torn)


MAKERS: tuple[Maker, ...] = (
    whole,
    flipped,
    flipped_head,
    cut,
    misnamed,
    zeros,
    spliced,
    tiny,
    elongated,
    palette,
    one_bit,
    cmyk,
    transparent,
    high_bit,
    numbers,
    damaged_high_bit,
    animated,
    bomb,
    rotated,
    torn_exif,
    torn_metadata,
    torn_tags,
    torn_boxes,
)


def make_files(folder: Path, count: int, seed: int) -> dict[Path, str]:
    """Write files by all makers in turn; returns the maker's name of each."""
    photos = [read_photo(photo.path) for photo in load_samples().photos]
    files = {}
    for number in range(count):
        rng = random.Random(seed * 1_000_003 + number)
        photo = rng.choice(photos)
        photo = photo.resize((rng.randint(20, 90), rng.randint(20, 90)), Image.Resampling.BICUBIC)
        maker = MAKERS[number % len(MAKERS)]
        suffix, data = maker(rng, photo)
        path = folder / f"{number // _BATCH_SIZE:04}" / f"{number:05}-{maker.__name__}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[path] = maker.__name__
    return files


def fuzz(count: int, seed: int, *, progress: bool = True) -> dict[str, Counter]:
    """Make files, colorize them, and check everything that results.

    Returns:
        For each maker's name how many files ended in which state.

    Raises:
        AssertionError: at the first mistake; the message names the file.
    """
    table: dict[str, Counter] = {maker.__name__: Counter() for maker in MAKERS}
    with tempfile.TemporaryDirectory() as directory:
        model = _save_model(Path(directory, "model"))
        files = make_files(Path(directory, "files"), count, seed)
        digests = {path: file_sha256(path) for path in files}
        for folder in tqdm(sorted(Path(directory, "files").iterdir()), disable=not progress):
            out = Path(directory, "out", folder.name)
            for result in _colorize(folder, model, out):
                source = Path(result["source"])
                _check(result, source)
                table[files[source]][result["state"]] += 1
            leftovers = list(out.rglob(".*"))
            assert not leftovers, f"left behind: {leftovers}"
        for path, digest in digests.items():
            assert file_sha256(path) == digest, f"{path} was modified"
    total = sum(sum(states.values()) for states in table.values())
    assert total == count, f"{count} files, {total} results"
    return table


def _save_model(folder: Path) -> Path:
    """Save a tiny model of random weights, with strong colors."""
    kwargs = {"depth": 4, "base_channels": 4}
    network = create_model("unet", **kwargs)
    torch.nn.init.normal_(network.head[0].weight, std=0.3)
    save(Pretrained(network, "unet", kwargs, 32, "fuzz"), folder, "")
    return folder


def _colorize(folder: Path, model: Path, out: Path) -> list[dict[str, Any]]:
    """Run the command on a folder; returns its JSON lines."""
    command = [sys.executable, "-m", "colorize", "photo", folder, "-o", out, "--model", model]
    command += ["--json", "--force", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise AssertionError(f"{folder}: status {done.returncode}\n{done.stderr[-3000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _check(result: dict[str, Any], source: Path) -> None:
    """Check that a result is true, and its output correct."""
    if result["state"] == "failed":
        assert source.name in result["reason"] and "\n" not in result["reason"], result
        try:
            read_photo(source)
        except PhotoError:
            return
        # A file may be refused though Pillow reads it: where more than its 8 bits are broken.
        assert "damaged or truncated" in result["reason"], result
        return
    (output,) = map(Path, result["outputs"])
    before, after = read_image_file(source), read_image_file(output)
    assert after.rgb.shape == before.rgb.shape, result
    with Image.open(output) as image:
        is_lossless = image.format in ("PNG", "TIFF")
    if not is_lossless:
        return
    assert after.rgb.dtype == before.rgb.dtype, result
    assert (after.alpha is None) == (before.alpha is None), result
    if after.alpha is not None:
        assert torch.equal(after.alpha, before.alpha), result
    error = (_lightness(after.rgb) - _lightness(before.rgb)).abs().max().item() * 50
    assert error <= 100 / 255, f"lightness is off by {error} L*: {result}"


def _lightness(rgb: torch.Tensor) -> torch.Tensor:
    return rgb_to_lightness(rgb.float() / (255 if rgb.dtype == torch.uint8 else 65535))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--count", type=int, default=2000, metavar="N", help="number of files (default: 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to FILE")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of reading the files once more
    table = fuzz(args.count, args.seed)
    rows = [{"files": maker.__doc__.rstrip("."), **table[maker.__name__]} for maker in MAKERS]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if args.json:
        with atomic_write(args.json) as tmp:
            tmp.write_text(json.dumps({"seed": args.seed, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
