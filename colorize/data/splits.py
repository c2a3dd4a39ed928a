"""The splits of a data set: by manifest, or by a stable hash."""

import csv
import hashlib
import io
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class ManifestRow:
    """What a manifest says about one photo; "" or None where it says nothing."""

    split: str = ""
    photographer: str = ""
    state: str = ""
    width: int | None = None
    height: int | None = None
    mean_chroma: float | None = None


def hash_fraction(key: str) -> float:
    """Map a text to a number in [0, 1) by SHA-256, the same on every machine."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(key: str) -> str:
    """Return the split of a photographer or photo id: 60 / 20 / 20 by SHA-256."""
    fraction = hash_fraction(key)
    return "train" if fraction < 0.6 else "val" if fraction < 0.8 else "test"


def photo_ids(names: Sequence[str]) -> dict[str, str]:
    """Return the id of each photo of a folder, which its split follows from.

    It is the name of the file without folders and suffix. Photos that share one, such as
    `day1/DSC_0001.JPG` and `day2/DSC_0001.JPG`, have their path below the folder instead: never the
    folder's own name, so that a data set may be moved.

    Args:
        names: paths below the folder.
    """
    stems = {name: posixpath.splitext(posixpath.basename(name))[0] for name in names}
    counts = Counter(stems.values())
    paths = {name for name, stem in stems.items() if counts[stem] > 1}
    return {name: name if name in paths or stem in paths else stem for name, stem in stems.items()}


def read_manifest(path: Path) -> dict[str, ManifestRow]:
    """Read a manifest by file name; empty if there is none.

    Raises:
        ValueError: if it is not UTF-8, has no column of file names, or a row is invalid.
    """
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel starts UTF-8 with a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    key = next((column for column in ("file", "name") if column in columns), None)
    if key is None:
        raise ValueError(f"{path}: no column `file` or `name` among {', '.join(columns)}")
    rows: dict[str, ManifestRow] = {}
    for cells in reader:
        try:
            row = _parse_row(cells)
            if not cells[key]:  # a photo that was never downloaded
                continue
            name = posixpath.normpath(cells[key].strip())
            if rows.setdefault(name, row) != row:
                raise ValueError(f"{name} is listed twice, with different values")
        except ValueError as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _parse_row(cells: Mapping[str, str]) -> ManifestRow:
    split = cells.get("split") or cells.get("part") or ""  # `part` in version 0.1
    if split and split not in SPLITS:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    width, height, chroma = (cells.get(name) for name in ("width", "height", "mean_chroma"))
    return ManifestRow(
        split=split,
        photographer=cells.get("photographer") or "",
        state=modern_state(cells.get("state") or ""),
        width=int(width) if width else None,
        height=int(height) if height else None,
        mean_chroma=float(chroma) if chroma else None,
    )


def modern_state(state: str) -> str:
    """Translate a manifest state of version 0.1, which spelled "grey"."""
    return "gray" if state == "grey" else state
