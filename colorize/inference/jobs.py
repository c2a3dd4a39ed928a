"""Plan which photo is colorized into which file."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError, format_of
from colorize.io.photo_files import READABLE_SUFFIXES, list_photos, refusal_of

_COMPARISONS = Path("compared")  # the folder of comparisons, below the output
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """A photo to be colorized.

    Attributes:
        source: the photo.
        target: the colorized photo.
        comparison: both side by side, if requested.
        refusal: why the file is left out and never opened; "" for a photo.
    """

    source: Path
    target: Path
    comparison: Path
    refusal: str = ""


def plan_jobs(paths: Iterable[str | os.PathLike], output: str | os.PathLike) -> list[Job]:
    """Plan where the colorized version of each photo goes.

    Args:
        paths: files; folders, whose tree is kept below `output`; patterns such as "scans/*.jpg",
            for shells that do not expand them.
        output: a folder; or, for a single photo, a file with a suffix of `FORMAT_BY_SUFFIX`. With
            a slash at its end it is a folder.

    Returns:
        A job for each photo, and for each other image, which is left out. The target has the
        photo's name; with ".png" appended if its format cannot be written, and with a number if
        another photo has the same name.

    Raises:
        ValueError: if a path is a URL, if a folder holds no photos or is the output itself, or if
            `output` is a file where a folder is needed, or a file of an unknown format.
    """
    is_folder = os.fspath(output).endswith((os.sep, os.altsep or os.sep))
    output = Path(output)
    files = _find_files(paths, output)
    photo_count = sum(not file.refusal for file in files)
    if not is_folder and _is_file_name(output, photo_count):
        return _plan_single(files, photo_count, output)
    if output.exists() and not output.is_dir():
        needed = "the slash at its end asks for" if is_folder else "several outputs need"
        raise ValueError(f"{output} is a file; {needed} a folder")
    taken: set[str] = set()
    places = [_reserve(_with_writable_suffix(file.place), taken) for file in files]
    return [
        Job(file.path, output / place, output / _reserve(_COMPARISONS / place, taken), file.refusal)
        for file, place in zip(files, places, strict=True)
    ]


def expand_pattern(path_or_pattern: str | os.PathLike) -> list[Path]:
    """Return the file or folder of that name, or all that match the pattern; at least one path.

    Brackets in the name of a folder that exists are no pattern. A path that does not exist is
    returned too: the error is raised when it is read.

    Raises:
        ValueError: if it is empty, or a URL.
    """
    if not os.fspath(path_or_pattern):
        raise ValueError('a path is empty (""); name a photo, or a folder, . for the current one')
    if _URL.match(os.fspath(path_or_pattern)):
        raise ValueError(
            f"{os.fspath(path_or_pattern)} is a URL; photos are read from files: download it first"
        )
    path = Path(path_or_pattern)
    if os.path.lexists(path):
        return [path]
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    pattern = Path(glob.escape(os.fspath(folder)), path.relative_to(folder))
    # Path.glob takes no absolute patterns.
    names = sorted(glob.glob(os.fspath(pattern), recursive=True))  # noqa: PTH207
    return [Path(name) for name in names] or [path]


@dataclass(frozen=True)
class _File:
    """A file, its place relative to the output, and why it is left out."""

    path: Path
    place: Path
    refusal: str = ""


def _find_files(paths: Iterable[str | os.PathLike], output: Path) -> list[_File]:
    """Return each photo once, and the files that are left out."""
    files: dict[Path, _File] = {}
    for path_or_pattern in paths:
        for path in expand_pattern(path_or_pattern):
            for file in _files_of(path, output):
                files.setdefault(Path(os.path.abspath(file.path)), file)  # noqa: PTH100
    return list(files.values())


def _files_of(path: Path, output: Path) -> list[_File]:
    """Return the file, or those of a folder."""
    if not path.is_dir():
        return [_File(path, Path(path.name), refusal_of(path))]
    if os.path.realpath(path) == os.path.realpath(output):
        raise ValueError(f"{output} holds the photos themselves; choose another folder")
    listing = list_photos(path, follow_links=False, output=output)
    if not listing.photos and not listing.left_out:
        raise ValueError(f"no photos in {path}: it has no {', '.join(READABLE_SUFFIXES)}")
    photos = [_File(photo, photo.relative_to(path)) for photo in listing.photos]
    # The folder itself is left out if it cannot be read; its place is its name.
    left_out = ((file, path.parent if file == path else path) for file in listing.left_out)
    return photos + [
        _File(file, file.relative_to(base), listing.left_out[file]) for file, base in left_out
    ]


def _is_file_name(output: Path, photo_count: int) -> bool:
    """Tell whether an output is the name of a file and not that of a folder."""
    if output.is_dir():
        return False
    suffix = output.suffix.lower()
    looks_like_file = bool(re.fullmatch(r"\.[a-z]{3,5}", suffix)) and not output.exists()
    return suffix in READABLE_SUFFIXES or (looks_like_file and photo_count == 1)


def _plan_single(files: list[_File], photo_count: int, output: Path) -> list[Job]:
    """Plan the job of a single photo with a named output file."""
    if photo_count > 1:
        raise ValueError(f"{output} is a single file; {photo_count} photos need a folder")
    try:
        format_of(output)
    except PhotoError as error:
        raise ValueError(f"{error}, or a folder") from error
    comparison = output.with_name(f"{output.stem}-compared{output.suffix}")
    return [Job(file.path, output, comparison, file.refusal) for file in files]


def _with_writable_suffix(place: Path) -> Path:
    is_written = place.suffix.lower() in FORMAT_BY_SUFFIX
    return place if is_written else place.with_name(f"{place.name}.png")


def _reserve(place: Path, taken: set[str]) -> Path:
    """Return a place that is not taken, numbered if need be, and take it."""
    number, free = 1, place
    while str(free).casefold() in taken:
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    taken.add(str(free).casefold())
    return free
