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

from colorize.runtime import written_beside

_CATALOGUE = re.compile(r"photos\.[ct]sv\d*")
_NEEDED = ("photo_id", "photo_image_url", "photographer_username")
_LARGEST_CATALOGUE = 4 * 2**30  # bytes, unpacked; Lite's has some 15 million


class CatalogueError(ValueError):
    """A catalogue or archive that is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class CataloguePhoto:
    """A row of the catalogue: what is needed to fetch a photo and to credit it."""

    id: str
    url: str
    photographer: str
    name: str
    page: str
    width: int | None
    height: int | None


def read_catalogue(source: Path) -> tuple[list[CataloguePhoto], list[str]]:
    """The photos of a catalogue, each id once, and notes on rows that were passed over.

    Args:
        source: the data set's archive (zip), its unpacked folder, or one of its `photos` files.

    Raises:
        CatalogueError: if there is no catalogue, a column is missing, or it ends half-way.
    """
    if not source.exists():
        raise CatalogueError(f"no such archive or folder: {source}")
    rows: dict[str, CataloguePhoto] = {}
    twice = broken = 0
    for name, file in _open_catalogues(source):
        for row in _rows(f"{source}: {name}", file):
            if row is None:
                broken += 1
            elif rows.setdefault(row.id, row) is not row:
                twice += 1
    notes = [f"{twice} rows repeat an id"] * bool(twice)
    notes += [f"{broken} rows have another number of columns"] * bool(broken)
    if not rows:
        raise CatalogueError(f"{source}: the catalogue is empty")
    return list(rows.values()), notes


def unpack_catalogue(archive: Path, place: Path) -> None:
    """Copy the catalogue's parts out; the folder gets its name when all are there."""
    read_catalogue(archive)
    new = place.with_name(f".{place.name}.new")
    for number, (name, file) in enumerate(_open_catalogues(archive)):
        ending = name.rsplit(".", 1)[-1].rstrip("0123456789")
        with (
            written_beside(new / f"photos.{ending}{number:03}") as part,
            part.open("wb") as copy,
        ):
            for chunk in iter(lambda file=file: file.read(2**20), b""):
                copy.write(chunk)
    new.rename(place)


def _open_catalogues(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The catalogue's parts, sorted by name, wherever they lie in an archive or folder."""
    missing = CatalogueError(
        f"{source}: no photos.tsv or photos.csv in it; is it the Lite data set's archive?"
    )
    if source.is_dir():
        paths = [path for path in source.rglob("photos.*") if _CATALOGUE.fullmatch(path.name)]
        if not paths:
            raise missing
        for path in sorted(paths):
            with path.open("rb") as file:
                yield path.name, file
    elif _CATALOGUE.fullmatch(source.name):
        with source.open("rb") as file:
            yield source.name, file
    else:
        try:
            with zipfile.ZipFile(source) as archive:
                members = [
                    info
                    for info in archive.infolist()
                    if _CATALOGUE.fullmatch(info.filename.rsplit("/", 1)[-1])
                ]
                if not members:
                    raise missing
                if sum(info.file_size for info in members) > _LARGEST_CATALOGUE:
                    raise CatalogueError(
                        f"{source}: its catalogue would unpack to more than "
                        f"{_LARGEST_CATALOGUE >> 30} GB, which it never has"
                    )
                for info in sorted(members, key=lambda info: info.filename):
                    with archive.open(info) as file:
                        yield info.filename, file
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
            raise CatalogueError(
                f"{source}: a damaged zip archive ({error}); remove it and fetch it again"
            ) from error


def _rows(name: str, file: BinaryIO) -> Iterator[CataloguePhoto | None]:
    """The rows of one part; None for one with another number of columns."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    csv.field_size_limit(2**24)
    try:
        heading = text.readline()
        reader = csv.reader(text, delimiter="\t" if "\t" in heading else ",")
        columns = next(csv.reader([heading], delimiter=reader.dialect.delimiter), [])
        lacking = [column for column in _NEEDED if column not in columns]
        if lacking:
            raise CatalogueError(
                f"{name}: no column {', '.join(lacking)} in its heading; there are "
                f"{', '.join(columns)[:300] or 'none'}"
            )
        cells: list[str] = columns
        for cells in filter(None, reader):
            told = dict(zip(columns, cells, strict=False))
            yield _photo(told) if len(cells) == len(columns) else None
        if len(cells) < len(columns):
            raise CatalogueError(f"{name}: ends in the middle of a row; fetch it again")
    except csv.Error as error:
        raise CatalogueError(f"{name}: ends or breaks in the middle of a row ({error})") from error
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{name}: not UTF-8 text ({error})") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CatalogueError(f"{name}: damaged in its zip archive ({error})") from error
    finally:
        text.detach()


def _photo(told: dict[str, str]) -> CataloguePhoto:
    names = (told.get(f"photographer_{which}_name", "") for which in ("first", "last"))
    return CataloguePhoto(
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
