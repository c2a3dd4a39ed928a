"""The Unsplash catalog: a row for each photo, in an archive or a folder."""

import csv
import io
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from colorize.utils.files import atomic_write

_CATALOG = re.compile(r"photos\.[ct]sv\d*")
_REQUIRED = ("photo_id", "photo_image_url", "photographer_username")
_LARGEST_CATALOG = 4 * 2**30  # bytes, unpacked; Lite's has some 15 million


class CatalogError(ValueError):
    """An invalid catalog or archive; the message says what to do."""


@dataclass(frozen=True)
class CatalogPhoto:
    """A row of the catalog: what is needed to fetch a photo and to credit it."""

    id: str
    url: str
    photographer: str
    name: str
    page: str
    width: int | None
    height: int | None


def read_catalog(source: Path) -> tuple[list[CatalogPhoto], list[str]]:
    """Read a catalog.

    Args:
        source: the data set's archive (zip), its unpacked folder, or one of its `photos` files.

    Returns:
        The photos, each id once, and warnings about skipped rows.

    Raises:
        CatalogError: if there is no catalog, a column is missing, or it is truncated.
    """
    if not source.exists():
        raise CatalogError(f"no such archive or folder: {source}")
    photos: dict[str, CatalogPhoto] = {}
    problems: Counter[str] = Counter()
    name = ""
    for name, file in _open_catalogs(source):
        for photo in _parse(f"{source}: {name}", file):
            if photo is None:
                problems["have another number of columns"] += 1
            elif photos.setdefault(photo.id, photo) is not photo:
                problems["repeat an id"] += 1
    if not name:
        raise CatalogError(
            f"{source}: no photos.tsv or photos.csv in it; is it the Lite data set's archive?"
        )
    if not photos:
        raise CatalogError(f"{source}: the catalog is empty")
    return list(photos.values()), [f"{count} rows {text}" for text, count in problems.items()]


def unpack_catalog(archive: Path, folder: Path) -> None:
    """Copy the catalog's files out of an archive; `folder` appears once all are complete."""
    read_catalog(archive)
    new = folder.with_name(f".{folder.name}.new")
    for number, (name, file) in enumerate(_open_catalogs(archive)):
        suffix = name.rsplit(".", 1)[-1].rstrip("0123456789")
        with atomic_write(new / f"photos.{suffix}{number:03}") as tmp, tmp.open("wb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
    new.rename(folder)


def _open_catalogs(source: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Open the catalog's files, sorted by name, wherever they are in an archive or folder."""
    if source.is_dir() or _CATALOG.fullmatch(source.name):
        paths = sorted(source.rglob("photos.*")) if source.is_dir() else [source]
        for path in filter(lambda path: _CATALOG.fullmatch(path.name), paths):
            with path.open("rb") as file:
                yield path.name, file
        return
    try:
        with zipfile.ZipFile(source) as archive:
            members = [
                member
                for member in sorted(archive.infolist(), key=lambda member: member.filename)
                if _CATALOG.fullmatch(member.filename.rsplit("/", 1)[-1])
            ]
            if sum(member.file_size for member in members) > _LARGEST_CATALOG:
                raise CatalogError(
                    f"{source}: its catalog would unpack to more than {_LARGEST_CATALOG >> 30} "
                    "GB, which it never has"
                )
            for member in members:
                with archive.open(member) as file:
                    yield member.filename, file
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise CatalogError(
            f"{source}: a damaged zip archive ({error}); remove it and fetch it again"
        ) from error


def _parse(name: str, file: IO[bytes]) -> Iterator[CatalogPhoto | None]:
    """Parse the rows of one file; None for one with another number of columns."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    csv.field_size_limit(2**24)
    try:
        heading = text.readline()
        delimiter = "\t" if "\t" in heading else ","
        columns = next(csv.reader([heading], delimiter=delimiter), [])
        missing = [column for column in _REQUIRED if column not in columns]
        if missing:
            raise CatalogError(
                f"{name}: no column {', '.join(missing)} in its heading; there are "
                f"{', '.join(columns)[:300] or 'none'}"
            )
        row: dict[str | Any, str | Any] = {}  # None: cells that are too many, or missing
        for row in csv.DictReader(text, columns, delimiter=delimiter):
            yield None if None in row or None in row.values() else _photo(row)
        if None in row.values():
            raise CatalogError(f"{name}: ends in the middle of a row; fetch it again")
    except csv.Error as error:
        raise CatalogError(f"{name}: ends or breaks in the middle of a row ({error})") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{name}: not UTF-8 text ({error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CatalogError(f"{name}: damaged in its zip archive ({error})") from error
    finally:
        text.detach()


def _photo(row: Mapping[str, str]) -> CatalogPhoto:
    names = (row.get("photographer_first_name"), row.get("photographer_last_name"))
    return CatalogPhoto(
        id=row["photo_id"],
        url=row["photo_image_url"],
        photographer=row["photographer_username"],
        name=" ".join(filter(None, names)) or row["photographer_username"],
        page=row.get("photo_url", ""),
        width=_number(row.get("photo_width")),
        height=_number(row.get("photo_height")),
    )


def _number(text: str | None) -> int | None:
    try:
        return int(float(text or ""))
    except ValueError:
        return None
