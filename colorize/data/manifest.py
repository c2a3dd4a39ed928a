"""The manifest of a prepared folder: what became of every photo.

Every processed photo appends a line to `manifest.csv`, with the state `new`. At the end,
`finalize` classifies all new photos together, assigns each good one its permanent split, and
rewrites the file.
"""

import csv
import hashlib
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import fcntl

from colorize.data.duplicates import near_duplicates, perceptual_hash
from colorize.data.splits import MANIFEST, SPLITS, hash_fraction, modern_state, split_of
from colorize.io.grayscale import chroma_statistics, classify_tone
from colorize.io.image import photo_to_rgb
from colorize.io.photo import read_photo
from colorize.utils.files import atomic_write

PHOTOS = "photos"  # the folder of the photos, below the prepared folder
STATES = ("good", "gray", "toned", "duplicate", "gone", "bad", "failed", "new")

_VAL_FRACTION = 0.1  # of the photos named train, if none is named val
_KEEP_ORDER = ("test", "val", "train")  # of near-duplicates the first is kept


class PhotoFacts(NamedTuple):
    """What the manifest says about a photo file."""

    width: int  # in pixels
    height: int
    bytes: int  # of the file, as its SHA-256
    sha256: str
    mean_chroma: float  # in CIELAB units
    color_spread: float  # see `colorize.io.grayscale.color_spread`
    phash: str  # 64 bits in hexadecimal, see `colorize.data.duplicates.perceptual_hash`


NO_FACTS = PhotoFacts(0, 0, 0, "", 0.0, 0.0, "")  # of an entry without a file


@dataclass(frozen=True)
class ManifestEntry:
    """A line of the manifest.

    Its state is "new", not yet classified; "good"; "gray", "toned" or "duplicate", kept but in no
    split; "gone" or "bad", permanently unavailable; "failed", to be tried again.
    """

    id: str  # of the photo, unique
    photographer: str = ""  # if known; photos of one photographer share a split
    file: str = ""  # path below the folder, "" if there is no file
    facts: PhotoFacts = NO_FACTS
    split: str = ""  # of a good photo; of a new one the split that its name requests
    state: str = "new"
    reason: str = ""  # why it is not good


COLUMNS = ("id", "photographer", "file", *PhotoFacts._fields, "split", "state", "reason")
_OLD_COLUMNS = tuple("part" if name == "split" else name for name in COLUMNS)  # version 0.1


class Manifest:
    """The entries of a prepared folder.

    Attributes:
        folder: where the photos and `manifest.csv` are.
        entries: by id.
        damaged: number of lines that cannot be parsed; their photos are processed again.
    """

    def __init__(self, folder: str | os.PathLike):
        """Read the folder's manifest, if it has one.

        Raises:
            ValueError: if `manifest.csv` is not the manifest of a prepared folder.
        """
        self.folder = Path(folder)
        self.path = self.folder / MANIFEST
        self.entries: dict[str, ManifestEntry] = {}
        self.damaged = 0
        data = self.path.read_bytes() if self.path.exists() else b""
        text = data[: data.rfind(b"\n") + 1].decode("utf-8-sig", "replace")
        heading, *lines = text.splitlines() or [",".join(COLUMNS)]
        if tuple(heading.split(",")) not in (COLUMNS, _OLD_COLUMNS):
            raise ValueError(
                f"{self.path} is no manifest of a prepared folder (its first line is "
                f"{heading[:60]!r}): choose another folder"
            )
        for line in lines:
            try:
                entry = _parse_entry(line)
                self.entries[entry.id] = entry
            except (ValueError, csv.Error):
                self.damaged += 1

    def has_file(self, entry: ManifestEntry) -> bool:
        """Whether the entry's file exists in full length."""
        path = self.folder / entry.file
        return bool(entry.file) and path.is_file() and path.stat().st_size == entry.facts.bytes

    def is_done(self, photo_id: str, *, retry: bool = False) -> bool:
        """Whether a photo has its file or, unless it is to be retried, never will."""
        entry = self.entries.get(photo_id)
        if entry is None:
            return False
        return self.has_file(entry) or (entry.state in ("gone", "bad") and not retry)

    def counts(self) -> Counter[str]:
        """Count the photos of each state."""
        return Counter(entry.state for entry in self.entries.values())

    def __str__(self) -> str:
        counts = self.counts()
        splits = Counter(entry.split for entry in self.entries.values() if entry.state == "good")
        good = ", ".join(f"{splits[split]} {split}" for split in SPLITS)
        others = [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
        return "; ".join([f"{counts['good']} good ({good})", *others])


class ManifestWriter(Manifest):
    """A manifest open for writing, by one process at a time; what `add` wrote survives a kill."""

    def __init__(self, folder: str | os.PathLike):
        """Lock the manifest, and remove what a killed process left half-written.

        Raises:
            BlockingIOError: if another process is writing to this folder.
            ValueError: as of `Manifest`.
        """
        super().__init__(folder)  # refuses another kind of manifest before anything is written
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)
        if sys.platform != "win32":  # released by the system when the process ends, however it does
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                raise BlockingIOError(
                    f"another process is filling {self.folder}; wait for it, or stop it"
                ) from error
        for stale in (*self.folder.glob(".*.part"), *(self.folder / PHOTOS).rglob(".*.part")):
            stale.unlink()
        complete = self.path.read_bytes().rfind(b"\n") + 1
        os.truncate(self.path, complete)  # a line cut short
        if not complete:
            self._file.write(_format_line(COLUMNS))
        super().__init__(folder)  # again: another process may have added entries before the lock

    def __enter__(self) -> "ManifestWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, entry: ManifestEntry) -> None:
        """Append an entry, in one write; the last line of an id counts.

        A photo that had a split keeps it, even if its file was lost and made again.
        """
        earlier = self.entries.get(entry.id)
        if earlier and earlier.split and entry.state == "new":
            entry = replace(entry, split=earlier.split)
        self._file.write(_format_entry(entry))
        self.entries[entry.id] = entry

    def finalize(self) -> None:
        """Classify the new photos, assign splits to the good ones, and rewrite the file.

        The split of a photo is permanent. A split that a photo's name requests is respected, but
        if photos are named train and none is named val, a tenth of them becomes val, by the hash
        of their photographer or id. All others: `colorize.data.splits.split_of`, except that none
        becomes test if other photos are named test.
        Of near-duplicates one is kept: one that already has a split, else one for testing, else
        the first by id.
        """
        new = [entry for entry in self.entries.values() if entry.state == "new"]
        old = [entry for entry in self.entries.values() if entry.state == "good"]
        needs_val = "val" not in {entry.split for entry in (*old, *new)}
        has_test = any(entry.split == "test" for entry in new)
        classified = [_classify(entry, needs_val, has_test) for entry in new]
        good = [entry for entry in classified if entry.state == "good"]
        good.sort(key=lambda entry: (_KEEP_ORDER.index(entry.split), entry.id))
        candidates = [*old, *good]
        originals = near_duplicates([entry.facts.phash for entry in candidates], start=len(old))
        duplicates = [
            replace(candidates[i], split="", state="duplicate", reason=f"of {candidates[j].id}")
            for i, j in originals.items()
        ]
        self.entries |= {entry.id: entry for entry in (*classified, *duplicates)}
        with atomic_write(self.path) as tmp:
            lines = [_format_entry(entry) for _, entry in sorted(self.entries.items())]
            tmp.write_bytes(b"".join([_format_line(COLUMNS), *lines]))


def photo_facts(data: bytes) -> PhotoFacts:
    """Decode a whole photo file and describe it.

    Raises:
        PhotoError: if the bytes are not a complete photo.
    """
    photo = read_photo(io.BytesIO(data))
    chroma, spread = chroma_statistics(photo_to_rgb(photo))
    return PhotoFacts(
        width=photo.width,
        height=photo.height,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mean_chroma=round(chroma, 3),
        color_spread=round(spread, 3),
        phash=perceptual_hash(photo),
    )


def _classify(entry: ManifestEntry, needs_val: bool, has_test: bool) -> ManifestEntry:
    """Give a new photo its state, and a good one its permanent split."""
    chroma, spread = entry.facts.mean_chroma, entry.facts.color_spread
    tone = classify_tone(chroma, spread)
    if tone != "color":
        reason = f"mean chroma {chroma:.1f}"
        if tone == "toned":
            reason = f"spread {spread:.1f} at {reason}"
        return replace(entry, split="", state=tone, reason=reason)
    key = entry.photographer or entry.id
    split = entry.split or split_of(key)
    if entry.split == "train" and needs_val and hash_fraction(f"val {key}") < _VAL_FRACTION:
        split = "val"
    elif not entry.split and split == "test" and has_test:
        split = "train"
    return replace(entry, split=split, state="good")


def _format_entry(entry: ManifestEntry) -> bytes:
    facts = ("",) * len(NO_FACTS) if entry.facts == NO_FACTS else entry.facts
    before = (entry.id, entry.photographer, entry.file)
    return _format_line((*before, *facts, entry.split, entry.state, entry.reason))


def _format_line(cells: Iterable[object]) -> bytes:
    """Format a line of CSV; line breaks in cells become spaces, so that a photo is one line."""
    text = io.StringIO()
    row = [" ".join(str(cell).splitlines()) for cell in cells]
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _parse_entry(line: str) -> ManifestEntry:
    """Parse a line of the manifest.

    Raises:
        ValueError, csv.Error: if it is damaged.
    """
    (cells,) = csv.reader([line], strict=True)
    photo_id, photographer, file, *values, split, state, reason = cells
    state, facts = modern_state(state), NO_FACTS
    if any(values) or len(values) != len(NO_FACTS):
        kinds = PhotoFacts.__annotations__.values()
        facts = PhotoFacts._make(kind(value) for kind, value in zip(kinds, values, strict=True))
        if not re.fullmatch("[0-9a-f]{16}", facts.phash):
            raise ValueError(f"{facts.phash!r} is not a perceptual hash")
    elif state in ("new", "good"):
        raise ValueError(f"a photo that is {state} has a file")
    if state not in STATES or split not in ("", *SPLITS):
        raise ValueError(f"{state!r} is no state, or {split!r} is no split")
    return ManifestEntry(photo_id, photographer, file, facts, split, state, reason)
