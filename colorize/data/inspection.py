"""Inspection of photo files: size and chroma, kept in an index beside the photos."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from colorize.io.grayscale import chroma_statistics
from colorize.io.photo import photo_size, read_rgb
from colorize.utils.files import atomic_write
from colorize.utils.terminal import printable

INDEX = ".colorize-index-2.csv"

_MIN_SIDE = 256  # px; JPEGs are decoded no smaller than this to measure their chroma


class Inspection(NamedTuple):
    """Size of the upright photo in pixels, and its mean CIELAB chroma."""

    width: int
    height: int
    mean_chroma: float


def inspect_file(path: Path) -> Inspection:
    """Measure a photo, decoded at a reduced size.

    Raises:
        PhotoError: if it cannot be read.
    """
    width, height = photo_size(path)
    chroma, _ = chroma_statistics(read_rgb(path, min_side=_MIN_SIDE))
    return Inspection(width, height, round(chroma, 3))


def read_index(root: Path, paths: Iterable[Path]) -> dict[Path, Inspection]:
    """Look up earlier inspections; only files of unchanged name, size and time have one."""
    index = {}
    if (root / INDEX).exists():
        # File names may be any bytes.
        with (root / INDEX).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.reader(file):
                try:
                    name, size, time, width, height, chroma = row
                    index[name, size, time] = Inspection(int(width), int(height), float(chroma))
                except ValueError:  # the heading, or a damaged line: the photo is inspected again
                    continue
    keys = {path: _key(root, path) for path in paths} if index else {}
    return {path: index[key] for path, key in keys.items() if key in index}


def write_index(root: Path, inspections: Mapping[Path, Inspection]) -> None:
    """Write the index; a read-only folder only costs the next run the same time again."""
    try:
        with (
            atomic_write(root / INDEX) as tmp,
            tmp.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(("file", "bytes", "mtime_ns", *Inspection._fields))
            writer.writerows((*_key(root, path), *values) for path, values in inspections.items())
    except OSError as error:
        tqdm.write(printable(f"{root} cannot be written, so the next run inspects again: {error}"))


def _key(root: Path, path: Path) -> tuple[str, str, str]:
    """Name, size and time of a file, by which the index knows it."""
    name = path.relative_to(root).as_posix()
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere, or removed since it was listed
        return name, "", ""
    return name, str(status.st_size), str(status.st_mtime_ns)
