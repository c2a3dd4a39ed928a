"""The manifest of a prepared folder: what became of every photo, kept whatever happens.

While photos come in, each adds a line to `manifest.csv` and is `new`. In the end `settle` judges
all the new ones together, gives each good one its part for ever, and writes the file anew.
"""

import csv
import dataclasses
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

from colorize.data.folder import MANIFEST, SPLITS, split_of
from colorize.io.grayscale import chroma_statistics, classify_tone
from colorize.io.image import photo_to_rgb, read_photo
from colorize.utils.files import atomic_write

# Of 2 million pairs of different photos none was nearer than 11 of the 64 bits; of copies saved
# again at 3/4 of the size 99 % were within 4.
DUPLICATE_BITS = 6

PHOTOS = "photos"  # the folder of the photos, below the prepared folder
STATES = ("good", "grey", "toned", "duplicate", "gone", "bad", "failed", "new")

_VAL_SHARE = 0.1  # of photos that are named train, where none is named val
_SMALL_SIDE = 64  # pixels of the short side at which colors are judged
_WAVES = np.cos(np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1))  # of the DCT-II
_MIRRORED = np.uint64(int.from_bytes(b"\x55" * 8, "big"))  # columns of odd frequency


@dataclass(frozen=True)
class ManifestEntry:
    """A line of the manifest.

    Attributes:
        id: of the photo, unique.
        photographer: "" if unknown; photos of one person share a part.
        file: path below the folder, "" if there is no file.
        width, height, bytes, sha256: of the file.
        mean_chroma: mean CIELAB chroma.
        color_spread: see `colorize.io.grayscale.color_spread`.
        phash: 64 bits in hexadecimal, see `perceptual_hash`.
        part: "train", "val" or "test" of a good photo; of a new one what its name asks for.
        state: "new", not yet judged; "good"; "grey", "toned" or "duplicate", there but in no
            part; "gone" or "bad", never to be had; "failed", to be tried again.
        reason: why it is not good.
    """

    id: str
    photographer: str = ""
    file: str = ""
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str = ""
    mean_chroma: float | None = None
    color_spread: float | None = None
    phash: str = ""
    part: str = ""
    state: str = "new"
    reason: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(ManifestEntry))
_NUMBERS = {
    **dict.fromkeys(("width", "height", "bytes"), int),
    **dict.fromkeys(("mean_chroma", "color_spread"), float),
}


class Manifest:
    """The entries of a prepared folder by id; `add` survives the process being killed.

    Attributes:
        folder: where the photos and `manifest.csv` are.
        entries: by id.
        damaged: lines that were not understood; their photos are looked at again.
    """

    def __init__(self, folder: str | os.PathLike):
        """Read the folder's manifest, if it has one."""
        self.folder = Path(folder)
        self.path = self.folder / MANIFEST
        self.entries: dict[str, ManifestEntry] = {}
        self.damaged = 0
        self._file = None
        if self.path.exists():
            self._read(self.path.read_bytes())

    def __enter__(self) -> "Manifest":
        """Open the file for `add`, alone, and clear away what a killed process left half-written.

        The entries are read again, since another process may have added some.

        Raises:
            BlockingIOError: if another process is adding to this folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        if fcntl is not None:  # the system lets go of it when the process ends, in whatever way
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                message = f"another process is filling {self.folder}; wait for it, or stop it"
                raise BlockingIOError(message) from error
        for stale in (*self.folder.glob(".*.part"), *(self.folder / PHOTOS).rglob(".*.part")):
            stale.unlink()
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):  # a line cut short
            os.truncate(self.path, whole)
        if not whole:
            self._file.write(_line(COLUMNS))
        self.entries, self.damaged = {}, 0
        self._read(text)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        self._file.close()
        self._file = None

    def add(self, entry: ManifestEntry) -> None:
        """Keep what is known of a photo now, in one write; the last line of an id counts.

        A photo that had a part keeps it, also when its file was lost and came again.
        """
        earlier = self.entries.get(entry.id)
        if earlier and earlier.part and entry.state == "new":
            entry = dataclasses.replace(entry, part=earlier.part)
        self._file.write(_line(_cells(entry)))
        self.entries[entry.id] = entry

    def has_file(self, entry: ManifestEntry) -> bool:
        """Whether the entry's file is there, in full length."""
        path = self.folder / entry.file
        return bool(entry.file) and path.is_file() and path.stat().st_size == entry.bytes

    def settle(self) -> None:
        """Judge the new photos, give the good ones their parts, and write the file anew.

        A photo keeps its part for ever. A part that a photo's name asks for is respected, but
        where photos are named train and none is named val, a tenth of them, by the hash of
        their photographer or id, becomes val. All others: `colorize.data.folder.split_part`, but
        none becomes test beside photos that are named so.
        Of near-duplicates one stays: that in a part already, else that for testing, else the
        first by id.
        """
        new = [entry for entry in self.entries.values() if entry.state == "new"]
        judged = [self._judge_colors(entry) for entry in new]
        old = [entry for entry in self.entries.values() if entry.state == "good"]
        parts = {entry.part for entry in (*old, *new)}
        keep_some = "val" not in parts
        tested = any(entry.part == "test" for entry in new)
        judged = [
            dataclasses.replace(entry, part=_part(entry, keep_some, tested))
            for entry in judged
            if entry.state == "good"
        ] + [dataclasses.replace(entry, part="") for entry in judged if entry.state != "good"]
        good = [entry for entry in judged if entry.state == "good"]
        order = ("test", "val", "train")
        good.sort(key=lambda entry: (order.index(entry.part), entry.id))
        originals = near_duplicates([entry.phash for entry in (*old, *good)], known=len(old))
        everyone = [*old, *good]
        for i, original in originals.items():
            reason = f"of {everyone[original].id}"
            judged.append(
                dataclasses.replace(everyone[i], part="", state="duplicate", reason=reason)
            )
        self.entries |= {entry.id: entry for entry in judged}
        with atomic_write(self.path) as part:
            lines = [_line(_cells(entry)) for _, entry in sorted(self.entries.items())]
            part.write_bytes(b"".join([_line(COLUMNS), *lines]))

    def counts(self) -> Counter:
        """How many photos are in each state."""
        return Counter(entry.state for entry in self.entries.values())

    def parts(self) -> Counter:
        """How many good photos are in each part."""
        return Counter(entry.part for entry in self.entries.values() if entry.state == "good")

    def __str__(self) -> str:
        counts, parts = self.counts(), self.parts()
        good = ", ".join(f"{parts[part]} {part}" for part in ("train", "val", "test"))
        others = [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
        return "; ".join([f"{counts['good']} good ({good})", *others])

    @staticmethod
    def _judge_colors(entry: ManifestEntry) -> ManifestEntry:
        found = classify_tone(entry.mean_chroma, entry.color_spread)
        if found == "color":
            return dataclasses.replace(entry, state="good")
        reason = f"mean chroma {entry.mean_chroma:.1f}"
        if found == "toned":
            reason = f"spread {entry.color_spread:.1f} at {reason}"
        return dataclasses.replace(entry, state=found, reason=reason)

    def _read(self, data: bytes) -> None:
        text = data[: data.rfind(b"\n") + 1].decode("utf-8-sig", "replace")
        if not text:
            return
        heading, *lines = text.splitlines()
        if tuple(heading.split(",")) != COLUMNS:
            raise ValueError(
                f"{self.path} is no manifest of a prepared folder (its first line is "
                f"{heading[:60]!r}): choose another folder"
            )
        for line in lines:
            entry = _entry(line)
            if entry is None:
                self.damaged += 1
            else:
                self.entries[entry.id] = entry


def photo_facts(data: bytes) -> dict[str, Any]:
    """What the manifest tells of a photo's file, as arguments of `Entry`. Decodes all of it.

    Raises:
        PhotoError: if the bytes are no whole photo.
    """
    photo = read_photo(io.BytesIO(data))
    chroma, spread = chroma_statistics(photo_to_rgb(photo))
    return {
        "width": photo.width,
        "height": photo.height,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "mean_chroma": round(chroma, 3),
        "color_spread": round(spread, 3),
        "phash": perceptual_hash(photo),
    }


def perceptual_hash(photo: Image.Image) -> str:
    """64 bits, in hexadecimal, that hardly change when a photo is resized or saved again.

    The signs of the 8x8 lowest frequencies (DCT-II) of the photo in grey at 32x32.
    """
    grey = np.asarray(photo.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    return np.packbits(_WAVES @ grey @ _WAVES.T > 0).tobytes().hex()


def near_duplicates(hashes: Sequence[str], known: int = 0) -> dict[int, int]:
    """Which photos are near-duplicates of an earlier one: {number: number of the original}.

    Mirrored copies count: mirroring turns the signs of the odd horizontal frequencies.

    Args:
        hashes: of `perceptual_hash`.
        known: so many at the beginning are not compared with each other.
    """
    bits = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    found: dict[int, int] = {}
    for i in range(known, len(bits)):
        gap = bits[:i] ^ bits[i]
        near = np.minimum(np.bitwise_count(gap), np.bitwise_count(gap ^ _MIRRORED))
        for j in np.flatnonzero(near <= DUPLICATE_BITS):
            if int(j) not in found:
                found[i] = int(j)
                break
    return found


def _part(entry: ManifestEntry, keep_some: bool, tested: bool) -> str:
    key = entry.photographer or entry.id
    if entry.part == "train" and keep_some:
        digest = hashlib.sha256(f"val {key}".encode("utf-8", "surrogateescape")).digest()
        return "val" if int.from_bytes(digest[:8], "big") / 2**64 < _VAL_SHARE else "train"
    if entry.part:
        return entry.part
    part = split_of(key)
    return "train" if part == "test" and tested else part


def _cells(entry: ManifestEntry) -> Iterator[str]:
    for name in COLUMNS:
        value = getattr(entry, name)
        yield "" if value is None else str(value)


def _line(cells: Iterable[str]) -> bytes:
    """A line of CSV. Every other line break in a cell becomes a space: a photo is one line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([" ".join(cell.splitlines()) for cell in cells])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _entry(line: str) -> ManifestEntry | None:
    try:
        (cells,) = csv.reader([line], strict=True)
        told = dict(zip(COLUMNS, cells, strict=True))
        numbers = {name: kind(told[name]) for name, kind in _NUMBERS.items() if told[name]}
        nothing = {name: None for name in _NUMBERS if not told[name]}
    except (ValueError, csv.Error):
        return None
    entry = ManifestEntry(**(told | numbers | nothing))
    judged = entry.state not in ("new", "good") or None not in (
        *(entry.width, entry.height, entry.bytes),
        *(entry.mean_chroma, entry.color_spread, re.fullmatch("[0-9a-f]{16}", entry.phash)),
    )
    return entry if judged and entry.state in STATES and entry.part in ("", *SPLITS) else None
