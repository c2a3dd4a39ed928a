"""Which photos a folder holds, in which part of the split each lies, and which are of use."""

import csv
import dataclasses
import hashlib
import io
import os
import posixpath
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from colorize.io.grayscale import GRAY_CHROMA, chroma_statistics
from colorize.io.image import PhotoError, photo_size, read_rgb
from colorize.utils.files import atomic_write

SPLITS = ("train", "val", "test")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MANIFEST = "manifest.csv"
INDEX = ".colorize-index-2.csv"

_LOOKED_AT = 256  # px; JPEGs are decoded no smaller than this to see whether they are grey
_MANIFEST_COLUMNS = {
    **{"part": str, "photographer": str, "state": str},
    **{"width": int, "height": int, "mean_chroma": float},
}
_INDEX_TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names can be any bytes
_FACTS = ("file", "bytes", "mtime_ns", "width", "height", "mean_chroma")


@dataclass(frozen=True)
class PhotoRecord:
    """A photo of a data set, not yet read.

    Attributes:
        path: the file.
        id: the name without folder and suffix; in Unsplash's data the photo id.
        part: "train", "val" or "test".
        photographer: who took it, "" if unknown; photos of one person share a part.
        width, height, mean_chroma: None until somebody looked (`PhotoFolder.inspect`).
        state: "good", or by what name `colorize.data.manifest` leaves it out.
        error: why it cannot be read, "" if nothing is known against it.
    """

    path: Path
    id: str
    part: str
    photographer: str = ""
    width: int | None = None
    height: int | None = None
    mean_chroma: float | None = None
    state: str = "good"
    error: str = ""


@dataclass(frozen=True)
class Selection:
    """The photos of one part that a run can use, and those left out by reason."""

    part: str
    photos: tuple[PhotoRecord, ...]
    left_out: dict[str, tuple[PhotoRecord, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = [f"{len(photos)} {reason}" for reason, photos in self.left_out.items() if photos]
        note = f" (left out: {', '.join(reasons)})" if reasons else ""
        return f"{len(self.photos)} {self.part} photos{note}"


class PhotoFolder:
    """All photos below a folder, sorted by path, each with its part. Opens no photo.

    The part of a photo is decided by, in this order:

    1. a subfolder `train/`, `val/` or `test/` directly below the folder;
    2. the column `part` of `manifest.csv` in the folder. Its column `file` (or `name`) holds the
       path below the folder, as spelled there; `photographer`, `width`, `height` and
       `mean_chroma` are read where they stand there, and then need not be found out; a photo
       with another `state` than good is left out;
    3. a stable hash of the photographer, else of the photo's id: 60 / 20 / 20, the same on
       every machine, whatever else lies in the folder.
    """

    def __init__(self, root: str | os.PathLike):
        """Find the photos.

        Raises:
            FileNotFoundError: if the folder does not exist.
            ValueError: if it holds no photo, or its manifest is not understood.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"no such folder of photos: {self.root}")
        rows = read_manifest(self.root / MANIFEST)
        names = find_names(self.root, PHOTO_SUFFIXES)
        # Where the manifest tells states, a photo without one has not been judged: a download or
        # preparation was killed, and will look at it again.
        unknown = {"state": "new"} if any("state" in told for told in rows.values()) else {}
        self.photos = tuple(_photo(self.root, name, unknown | rows.get(name, {})) for name in names)
        if not self.photos:
            kinds = ", ".join(sorted(s[1:] for s in PHOTO_SUFFIXES))
            raise ValueError(f"no photos ({kinds}) below {self.root}")
        strangers = sorted(rows.keys() - set(names))
        if strangers:
            message = (
                f"{self.root / MANIFEST}: {len(strangers)} of {len(rows)} rows are of no photo "
                f"below the folder, such as {strangers[0]!r}"
            )
            if len(strangers) == len(rows):
                raise ValueError(f"{message}; write paths below it, such as {names[0]!r}")
            warnings.warn(message, stacklevel=2)

    def inspect(self, progress: bool = True) -> None:
        """Find out every photo's size and chroma.

        Decodes, small, only what neither the manifest nor an earlier look tells. The result is
        kept beside the photos, in `.colorize-index.csv`, where that folder can be written; what
        could not be read is tried again the next time.
        """
        index = _read_index(self.root / INDEX)
        photos = [
            photo
            if _is_known(photo)
            else dataclasses.replace(photo, **index.get(_key(self.root, photo), {}))
            for photo in self.photos
        ]
        todo = [i for i, photo in enumerate(photos) if not _is_known(photo)]
        if todo:
            bar = tqdm(total=len(todo), desc="looking at photos", disable=not progress)
            try:
                with bar, ThreadPoolExecutor() as pool:
                    looks = pool.map(_look, [photos[i] for i in todo])
                    for i, photo in zip(todo, looks, strict=True):
                        photos[i] = photo
                        bar.update()
            finally:  # stopped half-way, the half that is known is kept
                _write_index(
                    self.root, [photo for photo in photos if photo.mean_chroma is not None]
                )
        self.photos = tuple(photos)

    def select(self, part: str, min_side: int = 1) -> Selection:
        """The photos of a part that are readable, in color, and large enough.

        Args:
            part: "train", "val" or "test"; or "all".
            min_side: the smallest height and width in pixels.

        Raises:
            ValueError: if the part is unknown, or no photo is left.
        """
        if part not in (*SPLITS, "all"):
            raise ValueError(f"part must be one of {', '.join(SPLITS)} and all, got {part!r}")
        if not all(map(_is_known, self.photos)):
            self.inspect()
        small = f"smaller than {min_side} px"
        reasons: dict[str, list[PhotoRecord]] = {"unreadable": [], "grey": [], small: []}
        good = []
        for photo in self.photos:
            if part not in ("all", photo.part):
                continue
            if photo.state != "good":
                reasons.setdefault(photo.state, []).append(photo)
            elif photo.error:
                reasons["unreadable"].append(photo)
            elif photo.mean_chroma < GRAY_CHROMA:
                reasons["grey"].append(photo)
            elif min(photo.width, photo.height) < min_side:
                reasons[small].append(photo)
            else:
                good.append(photo)
        left_out = {reason: tuple(photos) for reason, photos in reasons.items()}
        selection = Selection(part, tuple(good), left_out)
        if not good:
            raise ValueError(
                f"{self.root}: {selection}. Put photos into {self.root / part}, or name their "
                f"part in {self.root / MANIFEST}, or use a smaller size (--size)"
            )
        return selection


def load_samples() -> PhotoFolder:
    """The embedded demonstration photos; authors and licences: `samples/manifest.csv`.

    Example:
        >>> print(load_samples().select("test"))
        9 test photos
    """
    return PhotoFolder(Path(__file__).parent / "samples")


def split_of(key: str) -> str:
    """The part that a photographer or photo id falls into: 60 / 20 / 20 by SHA-256."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if fraction < 0.6 else "val" if fraction < 0.8 else "test"


def find_names(root: Path, endings: tuple[str, ...]) -> list[str]:
    """Paths of the files below root that end so, with forward slashes, sorted; no hidden ones."""
    names, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [
            Path(folder, name).relative_to(root).as_posix()
            for name in files
            if not name.startswith(".") and name.lower().endswith(endings)
        ]
    return sorted(names)


def _photo(root: Path, name: str, told: dict) -> PhotoRecord:
    path = root / name
    top = name.split("/")[0]
    decided = {"part": top} if top in SPLITS and "/" in name else {}
    by_hash = {"part": split_of(told.get("photographer") or path.stem)}
    return PhotoRecord(path=path, id=path.stem, **(by_hash | told | decided))


def read_manifest(path: Path) -> dict[str, dict]:
    """What the manifest tells by file name, as arguments of `Photo`; nothing if there is none."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins UTF-8 with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    key = next((column for column in ("file", "name") if column in columns), None)
    if key is None:
        raise ValueError(f"{path}: no column `file` or `name` among {', '.join(columns)}")
    rows = {}
    for row in reader:
        try:
            told = _told_by(row)
            if not row[key]:  # of a photo that is not there
                continue
            name = posixpath.normpath(row[key].strip())
            if rows.setdefault(name, told) != told:
                raise ValueError(f"{name} stands there twice, with different values")
        except ValueError as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _told_by(row: dict[str, str]) -> dict:
    if row.get("part") and row["part"] not in SPLITS:
        raise ValueError(f"part {row['part']!r} is none of {', '.join(SPLITS)}")
    return {name: kind(row[name]) for name, kind in _MANIFEST_COLUMNS.items() if row.get(name)}


def _is_known(photo: PhotoRecord) -> bool:
    return bool(photo.error or photo.state != "good") or None not in (
        photo.width,
        photo.height,
        photo.mean_chroma,
    )


def _look(photo: PhotoRecord) -> PhotoRecord:
    """Decode a photo small and note its size and chroma, or why that failed."""
    try:
        width, height = photo_size(photo.path)
        chroma, _ = chroma_statistics(read_rgb(photo.path, min_side=_LOOKED_AT))
    except PhotoError as error:
        return dataclasses.replace(photo, error=str(error))
    return dataclasses.replace(photo, width=width, height=height, mean_chroma=round(chroma, 3))


def _key(root: Path, photo: PhotoRecord) -> tuple[str, str, str]:
    """What must be unchanged for an earlier look to count: name, size and time of the file."""
    name = photo.path.relative_to(root).as_posix()
    try:
        status = photo.path.stat()
    except FileNotFoundError:  # a link to nowhere, or removed since it was found
        return name, "", ""
    return name, str(status.st_size), str(status.st_mtime_ns)


def _read_index(path: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """Facts by `_key`, as arguments of `Photo`."""
    if not path.exists():
        return {}
    index = {}
    with path.open(newline="", **_INDEX_TEXT) as file:
        for row in csv.reader(file):
            try:
                name, size, time, width, height, chroma = row
                facts = {"width": int(width), "height": int(height), "mean_chroma": float(chroma)}
            except ValueError:  # the heading, or a damaged line: that photo is looked at again
                continue
            index[name, size, time] = facts
    return index


def _write_index(root: Path, photos: Sequence[PhotoRecord]) -> None:
    try:
        with (
            atomic_write(root / INDEX) as part,
            part.open("w", newline="", **_INDEX_TEXT) as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_FACTS)
            for photo in photos:
                facts = (photo.width, photo.height, photo.mean_chroma)
                writer.writerow((*_key(root, photo), *facts))
    except OSError as error:  # a read-only folder is fine, it only costs the next run this time
        tqdm.write(f"not kept for the next run, {root} cannot be written: {error}")
