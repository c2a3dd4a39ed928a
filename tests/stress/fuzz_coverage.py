"""Fuzz reading and writing image files, guided by coverage: fuzz_coverage.py --minutes 60.

Needs atheris (pip install atheris), which sees Python lines only: those of colorize.io, of tifffile
and of Pillow's Python code are instrumented; decoders in C are exercised but guide nothing.

An input is a file. It must be refused with a PhotoError, or be read and written in a format that
the input chooses, and that output must be readable, with its provenance. Anything else is a
finding, and so is the refusal of what Pillow reads (TIFF and GIF aside). Findings are stored with
their tracebacks in --out, and fuzzing goes on.
"""

import argparse
import hashlib
import io
import json
import logging
import re
import sys
import time
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["colorize.io", "tifffile", "PIL"]):
    import imagecodecs
    import numpy as np
    import tifffile
    from PIL import Image

    from colorize.io.exif import TIFF_SIGNATURES
    from colorize.io.image import PhotoError
    from colorize.io.image_file import read_image_file
    from colorize.io.image_writer import encode_image_file

_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")
_CASES = Path(__file__).parents[1] / "data" / "cases"
_SECONDS = 10  # of an input at most
_MAX_PIXELS = 250_000


class Findings:
    """Counts inputs, and keeps one input for each place where something went wrong."""

    def __init__(self, out: Path, minutes: float):
        self.out, self.minutes = out, minutes
        self.counts = {"inputs": 0, "read": 0, "refused": 0, "findings": 0}
        self.places: set[str] = set()

    def run(self, data: bytes) -> None:
        """Try an input."""
        self.counts["inputs"] += 1
        start = time.perf_counter()
        try:
            _round_trip(data)
            self.counts["read"] += 1
        except PhotoError as error:
            self.counts["refused"] += 1
            if not data.startswith((*TIFF_SIGNATURES, b"GIF")) and _pillow_reads(data):
                reason = re.sub(r"\d+", "N", str(error))
                self._keep(data, f'File "{reason}"\nPillow reads it\n')
        except Exception:  # of every kind
            self._keep(data, traceback.format_exc())
        if time.perf_counter() - start > _SECONDS:
            self._keep(data, f"slower than {_SECONDS} s\n")
        if self.counts["inputs"] % 500 == 0:
            self.save()

    def save(self) -> None:
        """Write the counts."""
        record = self.counts | {"minutes": self.minutes, "seeds": len(seeds())}
        (self.out / "counts.json").write_text(json.dumps(record, indent=1) + "\n")

    def _keep(self, data: bytes, text: str) -> None:
        lines = [line for line in text.splitlines() if line.lstrip().startswith("File")]
        place = "\n".join(lines[-2:])
        if place in self.places:
            return
        self.places.add(place)
        self.counts["findings"] += 1
        name = hashlib.sha256(data).hexdigest()[:12]
        (self.out / name).write_bytes(data)
        (self.out / f"{name}.txt").write_text(text)


def _round_trip(data: bytes) -> None:
    image = read_image_file(io.BytesIO(data))
    if image.rgb.shape[1] * image.rgb.shape[2] > _MAX_PIXELS:
        return
    image.metadata.write_provenance("a fuzzer")
    image_format = _FORMATS[len(data) % len(_FORMATS)]
    image.losses(image_format)
    written = read_image_file(io.BytesIO(encode_image_file(image, image.rgb, image_format)))
    assert written.rgb.shape == image.rgb.shape
    if not any("EXIF tag" in name for name in image.metadata.left_out(image_format)):
        assert written.metadata.provenance == "a fuzzer"


def _pillow_reads(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:  # of every kind
        return False
    return True


def seeds() -> list[bytes]:
    """Return small files of many kinds."""
    rng = np.random.default_rng(0)
    files = [path.read_bytes() for path in sorted(_CASES.iterdir()) if path.stat().st_size < 30000]
    eight = rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    for image_format in (*_FORMATS, "GIF", "BMP", "PPM", "TGA", "JPEG2000"):
        for mode in ("L", "RGB"):
            file = io.BytesIO()
            Image.fromarray(eight[..., :3]).convert(mode).save(file, image_format)
            files.append(file.getvalue())
    sixteen = eight.astype(np.uint16) * 257
    files += [
        bytes(imagecodecs.png_encode(np.ascontiguousarray(sixteen[..., :channels])))
        for channels in (3, 4)
    ]
    for compression in (None, "zlib", "lzw", "jpeg", "packbits"):
        for values in (eight[..., 0], eight[..., :3], sixteen[..., 0], sixteen):
            if compression == "jpeg" and values.dtype != np.uint8:
                continue
            file = io.BytesIO()
            tifffile.imwrite(file, values, compression=compression)
            files.append(file.getvalue())
    return files


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of corpus and findings")
    args = parser.parse_args()
    corpus = args.out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds():
        (corpus / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    warnings.simplefilter("ignore")
    logging.disable()
    findings = Findings(args.out, args.minutes)
    options = [f"-max_total_time={round(60 * args.minutes)}", f"-seed={args.seed}"]
    options += [
        "-max_len=40000",
        "-rss_limit_mb=6000",
        "-timeout=120",
        f"-artifact_prefix={args.out}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], findings.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
