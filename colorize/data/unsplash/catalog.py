"""The Unsplash catalogue: a row for each photo, in an archive or a folder."""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from colorize.utils.files import atomic_write

_CATALOG = re.compile(r"photos\.[ct]sv\d*")
_NEEDED = ("photo_id", "photo_image_url", "photographer_username")
_LARGEST_CATALOG = 4 * 2**30  # bytes, unpacked; Lite's has some 15 million


class CatalogError(ValueError):
    """A catalogue or archive that is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class CatalogPhoto:
    """A row of the catalogue: what is needed to fetch a photo and to credit it."""

    id: str
    url: str
    photographer: str
    name: str
    page: str
    width: int | None
    height: int | None


def read_catalog(source: Path) -> tuple[list[CatalogPhoto], list[str]]:
    """The photos of a catalogue, each id once, and notes on rows that were passed over.

    Args:
        source: the data set's archive (zip), its unpacked folder, or one of its `photos` files.

    Raises:
        CatalogError: if there is no catalogue, a column is missing, or it ends half-way.
    """
    if not source.exists():
        raise CatalogError(f"no such archive or folder: {source}")
    rows: dict[str, CatalogPhoto] = {}
    twice = broken = 0
    for name, file in _open_catalogs(source):
        for row in _rows(f"{source}: {name}", file):
            if row is None:
                broken += 1
            elif rows.setdefault(row.id, row) is not row:
                twice += 1
    notes = [f"{twice} rows repeat an id"] * bool(twice)
    notes += [f"{broken} rows have another number of columns"] * bool(broken)
    if not rows:
        raise CatalogError(f"{source}: the catalogue is empty")
    return list(rows.values()), notes


def unpack_catalog(archive: Path, place: Path) -> None:
    """Copy the catalogue's parts out; the folder gets its name when all are there."""
    read_catalog(archive)
    new = place.with_name(f".{place.name}.new")
    for number, (name, file) in enumerate(_open_catalogs(archive)):
        ending = name.rsplit(".", 1)[-1].rstrip("0123456789")
        with (
            atomic_write(new / f"photos.{ending}{number:03}") as part,
            part.open("wb") as copy,
        ):
            for chunk in iter(lambda file=file: file.read(2**20), b""):
                copy.write(chunk)
    new.rename(place)


def _open_catalogs(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The catalogue's parts, sorted by name, wherever they lie in an archive or folder."""
    missing = CatalogError(
        f"{source}: no photos.tsv or photos.csv in it; is it the Lite data set's archive?"
    )
    if source.is_dir():
        paths = [path for path in source.rglob("photos.*") if _CATALOG.fullmatch(path.name)]
        if not paths:
            raise missing
        for path in sorted(paths):
            with path.open("rb") as file:
                yield path.name, file
    elif _CATALOG.fullmatch(source.name):
        with source.open("rb") as file:
            yield source.name, file
    else:
        try:
            with zipfile.ZipFile(source) as archive:
                members = [
                    info
                    for info in archive.infolist()
                    if _CATALOG.fullmatch(info.filename.rsplit("/", 1)[-1])
                ]
                if not members:
                    raise missing
                if sum(info.file_size for info in members) > _LARGEST_CATALOG:
                    raise CatalogError(
                        f"{source}: its catalogue would unpack to more than "
                        f"{_LARGEST_CATALOG >> 30} GB, which it never has"
                    )
                for info in sorted(members, key=lambda info: info.filename):
                    with archive.open(info) as file:
                        yield info.filename, file
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
            raise CatalogError(
                f"{source}: a damaged zip archive ({error}); remove it and fetch it again"
            ) from error


def _rows(name: str, file: BinaryIO) -> Iterator[CatalogPhoto | None]:
    """The rows of one part; None for one with another number of columns."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    csv.field_size_limit(2**24)
    try:
        heading = text.readline()
        reader = csv.reader(text, delimiter="\t" if "\t" in heading else ",")
        columns = next(csv.reader([heading], delimiter=reader.dialect.delimiter), [])
        lacking = [column for column in _NEEDED if column not in columns]
        if lacking:
            raise CatalogError(
                f"{name}: no column {', '.join(lacking)} in its heading; there are "
                f"{', '.join(columns)[:300] or 'none'}"
            )
        cells: list[str] = columns
        for cells in filter(None, reader):
            told = dict(zip(columns, cells, strict=False))
            yield _photo(told) if len(cells) == len(columns) else None
        if len(cells) < len(columns):
            raise CatalogError(f"{name}: ends in the middle of a row; fetch it again")
    except csv.Error as error:
        raise CatalogError(f"{name}: ends or breaks in the middle of a row ({error})") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{name}: not UTF-8 text ({error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CatalogError(f"{name}: damaged in its zip archive ({error})") from error
    finally:
        text.detach()


def _photo(told: dict[str, str]) -> CatalogPhoto:
    names = (told.get(f"photographer_{which}_name", "") for which in ("first", "last"))
    return CatalogPhoto(
        id=told["photo_id"],
        url=told["photo_image_url"],
        photographer=told["photographer_username"],
        name=" ".join(filter(None, names)) or told["photographer_username"],
        page=told.get("photo_url", ""),
        width=_number(told.get("photo_width")),
        height=_number(told.get("photo_height")),
    )


def _number(text: str | None) -> int | None:
    try:
        return int(float(text or ""))
    except ValueError:
        return None
