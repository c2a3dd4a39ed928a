"""Photo folders: which photos a folder holds, the split of each, and which are usable."""

import dataclasses
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from colorize.data.inspection import Inspection, inspect_file, read_index, write_index
from colorize.data.splits import (
    MANIFEST,
    SPLITS,
    ManifestRow,
    photo_ids,
    read_manifest,
    split_of,
)
from colorize.io.grayscale import GRAY_CHROMA
from colorize.io.image import PhotoError
from colorize.io.photo_files import TRAINING_SUFFIXES, list_photos, warn_of_left_out
from colorize.utils.checks import counted
from colorize.utils.terminal import printable

_NAMED = 3  # unreadable photos, of those that an inspection reports


@dataclass(frozen=True)
class PhotoRecord:
    """A photo of a data set, not yet read.

    Attributes:
        path: the file.
        id: unique in the folder, see `photo_ids`: mostly the name without folders and suffix; in
            Unsplash's data the photo id.
        split: "train", "val" or "test".
        photographer: "" if unknown; photos of one photographer share a split.
        state: "good", or why `colorize.data.manifest` excludes it.
        error: why the file cannot be read, "" if no error is known.
    """

    path: Path
    id: str
    split: str
    photographer: str = ""
    state: str = "good"
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class InspectedPhoto(PhotoRecord):
    """A readable photo: its size in pixels, when upright, and its mean CIELAB chroma are known."""

    width: int
    height: int
    mean_chroma: float


@dataclass(frozen=True)
class Selection:
    """The usable photos of one split, and the excluded ones by reason."""

    split: str
    photos: tuple[InspectedPhoto, ...]
    left_out: Mapping[str, Sequence[PhotoRecord]] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = [f"{len(photos)} {reason}" for reason, photos in self.left_out.items() if photos]
        suffix = f" (left out: {', '.join(reasons)})" if reasons else ""
        return f"{counted(len(self.photos), f'{self.split} photo')}{suffix}"


class PhotoFolder:
    """All photos below a folder, sorted by path, each with its split. Opens no photo.

    JPEG, PNG and WebP are photos. A warning names other images, which are left out.

    The split of a photo is decided by, in this order:

    1. a subfolder `train/`, `val/` or `test/` directly below the folder;
    2. the column `split` (or `part`, its name in version 0.1) of `manifest.csv` in the folder.
       The column `file` (or `name`) holds the path below the folder. The columns `photographer`,
       `width`, `height` and `mean_chroma` are optional and save the inspection of the photo;
       a photo with a `state` other than good is excluded;
    3. a stable hash of the photographer, or else of the photo's id: 60 / 20 / 20, the same on
       every machine. It moves a photo only when another one of its name is added.
    """

    def __init__(self, root: str | os.PathLike):
        """List the photos.

        Raises:
            FileNotFoundError: if the folder does not exist.
            ValueError: if it holds no photo, or its manifest is invalid.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"no such folder of photos: {self.root}")
        rows = read_manifest(self.root / MANIFEST)
        listing = list_photos(self.root, TRAINING_SUFFIXES)
        warn_of_left_out(listing.left_out)
        names = sorted(path.relative_to(self.root).as_posix() for path in listing.photos)
        if not names:
            kinds = ", ".join(sorted(suffix[1:] for suffix in TRAINING_SUFFIXES))
            raise ValueError(f"no photos ({kinds}) below {self.root}")
        if unmatched := sorted(rows.keys() - set(names)):
            message = (
                f"{self.root / MANIFEST}: {len(unmatched)} of {len(rows)} rows match no photo "
                f"below the folder, such as {unmatched[0]!r}"
            )
            if len(unmatched) == len(rows):
                raise ValueError(f"{message}; write paths below it, such as {names[0]!r}")
            warnings.warn(message, stacklevel=2)
        # If the manifest has states, a photo without one was never classified: a download or
        # preparation was killed and will process it on the next call.
        state = "new" if any(row.state for row in rows.values()) else "good"
        self.photos = tuple(
            _record(self.root / name, name, photo_id, rows.get(name, ManifestRow()), state)
            for name, photo_id in photo_ids(names).items()
        )

    def inspect(self, progress: bool = True) -> None:
        """Measure the size and chroma of every photo.

        Photos are decoded at a reduced size, and only if neither the manifest nor the index of an
        earlier inspection covers them. The index is written to `.colorize-index-2.csv` in the
        folder if that is writable. Unreadable photos are tried again by the next inspection.
        """
        pending = [photo.path for photo in self.photos if not _is_settled(photo)]
        index = read_index(self.root, pending)
        photos = [
            _with_inspection(photo, index[photo.path]) if photo.path in index else photo
            for photo in self.photos
        ]
        todo = [i for i, photo in enumerate(photos) if not _is_settled(photo)]
        if todo:
            bar = tqdm(total=len(todo), desc="inspecting photos", disable=not progress)
            try:
                with bar, ThreadPoolExecutor() as pool:
                    results = pool.map(_inspect, [photos[i] for i in todo])
                    for i, photo in zip(todo, results, strict=True):
                        photos[i] = photo
                        bar.update()
            finally:  # an interrupted inspection keeps its results
                inspections = {
                    photo.path: Inspection(photo.width, photo.height, photo.mean_chroma)
                    for photo in photos
                    if isinstance(photo, InspectedPhoto)
                }
                write_index(self.root, inspections)
        self.photos = tuple(photos)
        if progress:
            self._report_unreadable([photos[i] for i in todo if photos[i].error])

    def _report_unreadable(self, photos: Sequence[PhotoRecord]) -> None:
        """Print why the first unreadable photos cannot be read."""
        for photo in photos[:_NAMED]:
            tqdm.write(f"unreadable: {printable(photo.error)}", file=sys.stderr)
        if len(photos) > _NAMED:
            tqdm.write(f"unreadable: {len(photos) - _NAMED} more", file=sys.stderr)

    def select(self, split: str, min_side: int = 1) -> Selection:
        """Select the photos of a split that are readable, in color, and large enough.

        Args:
            split: "train", "val" or "test"; or "all".
            min_side: the smallest height and width in pixels.

        Raises:
            ValueError: if the split is unknown, or no photo is left.
        """
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split must be one of {', '.join(SPLITS)} and all, got {split!r}")
        if not all(map(_is_settled, self.photos)):
            self.inspect()
        small = f"smaller than {min_side} px"
        excluded: dict[str, list[PhotoRecord]] = {"unreadable": [], "gray": [], small: []}
        usable = []
        for photo in self.photos:
            if split not in ("all", photo.split):
                continue
            if photo.state != "good":
                excluded.setdefault(photo.state, []).append(photo)
            elif not isinstance(photo, InspectedPhoto):
                excluded["unreadable"].append(photo)
            elif photo.mean_chroma < GRAY_CHROMA:
                excluded["gray"].append(photo)
            elif min(photo.width, photo.height) < min_side:
                excluded[small].append(photo)
            else:
                usable.append(photo)
        selection = Selection(split, tuple(usable), excluded)
        if not usable:
            raise ValueError(
                f"{self.root}: {selection}. Put photos into {self.root / split}, or name their "
                f"split in {self.root / MANIFEST}, or use a smaller size (--size)"
            )
        return selection


def load_samples() -> PhotoFolder:
    """Open the embedded demo photos; authors and licenses: `samples/manifest.csv`.

    Example:
        >>> print(load_samples().select("test"))
        9 test photos
    """
    return PhotoFolder(Path(__file__).parent / "samples")


def _record(
    path: Path, name: str, photo_id: str, row: ManifestRow, default_state: str
) -> PhotoRecord:
    folder = name.split("/")[0]
    split = folder if folder in SPLITS and "/" in name else row.split
    record = PhotoRecord(
        path=path,
        id=photo_id,
        split=split or split_of(row.photographer or photo_id),
        photographer=row.photographer,
        state=row.state or default_state,
    )
    if row.width is None or row.height is None or row.mean_chroma is None:
        return record
    return _with_inspection(record, Inspection(row.width, row.height, row.mean_chroma))


def _is_settled(photo: PhotoRecord) -> bool:
    """Whether it is decided if the photo is usable, without opening it."""
    return isinstance(photo, InspectedPhoto) or bool(photo.error) or photo.state != "good"


def _inspect(photo: PhotoRecord) -> PhotoRecord:
    try:
        return _with_inspection(photo, inspect_file(photo.path))
    except PhotoError as error:
        return dataclasses.replace(photo, error=str(error))


def _with_inspection(photo: PhotoRecord, inspection: Inspection) -> InspectedPhoto:
    return InspectedPhoto(**vars(photo), **inspection._asdict())
