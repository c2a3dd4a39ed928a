"""Plan which photo is colorized into which file."""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError, format_of

# The files of a folder that are photos; a file that is named itself may have any name.
READABLE_SUFFIXES = (
    *FORMAT_BY_SUFFIX,
    *[".bmp", ".gif", ".jp2", ".j2k", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"],
)
_COMPARISONS = Path("compared")  # the folder of comparisons, below the output


@dataclass(frozen=True)
class Job:
    """A photo to be colorized.

    Attributes:
        source: the photo.
        target: the colorized photo.
        comparison: both side by side, if requested.
    """

    source: Path
    target: Path
    comparison: Path


def plan_jobs(paths: Iterable[str | os.PathLike], output: str | os.PathLike) -> list[Job]:
    """Plan where the colorized version of each photo goes.

    Args:
        paths: files; folders, whose tree is kept below `output`; patterns such as "scans/*.jpg",
            for shells that do not expand them.
        output: a folder; or, for a single photo, a file with a suffix of `FORMAT_BY_SUFFIX`.

    Returns:
        A job for each photo. The target has the photo's name; with ".png" appended if its format
        cannot be written, and with a number if another photo has the same name.

    Raises:
        ValueError: if a folder holds no photos or is the output itself, or if `output` is a file
            where a folder is needed, or a file of an unknown format.
    """
    output = Path(output)
    photos = _find_photos(paths, output)
    if _is_file_name(output, len(photos)):
        return [_plan_single(list(photos), output)]
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; several outputs need a folder")
    taken: set[str] = set()
    targets = {
        source: output / _reserve(_with_writable_suffix(place), taken)
        for source, place in photos.items()
    }
    return [
        Job(source, target, output / _reserve(_COMPARISONS / target.relative_to(output), taken))
        for source, target in targets.items()
    ]


def expand_pattern(path_or_pattern: str | os.PathLike) -> list[Path]:
    """Return the file or folder of that name, or all that match the pattern; at least one path.

    A path that does not exist is returned too: the error is raised when it is read.
    """
    path = Path(path_or_pattern)
    if path.exists():
        return [path]
    # Path.glob takes no absolute patterns.
    names = sorted(glob.glob(os.fspath(path_or_pattern), recursive=True))  # noqa: PTH207
    return [Path(name) for name in names] or [path]


def _find_photos(paths: Iterable[str | os.PathLike], output: Path) -> dict[Path, Path]:
    """Return each photo once, with its place relative to the output."""
    photos: dict[Path, tuple[Path, Path]] = {}
    for path_or_pattern in paths:
        for path in expand_pattern(path_or_pattern):
            for photo, place in _places_of(path, output).items():
                photos.setdefault(Path(os.path.abspath(photo)), (photo, place))  # noqa: PTH100
    return dict(photos.values())


def _places_of(path: Path, output: Path) -> dict[Path, Path]:
    """Return the photo, or the photos of a folder, with their places relative to the output."""
    if not path.is_dir():
        return {path: Path(path.name)}
    if path.resolve() == output.resolve():
        raise ValueError(f"{output} holds the photos themselves; choose another folder")
    photos = _photos_below(path, output)
    if not photos:
        raise ValueError(f"no photos in {path}: it has no {', '.join(READABLE_SUFFIXES)}")
    return {photo: photo.relative_to(path) for photo in photos}


def _photos_below(folder: Path, output: Path) -> list[Path]:
    """Return the photos below a folder, except hidden ones and those in an output inside it."""
    nested = output.resolve() if folder.resolve() in output.resolve().parents else None
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in READABLE_SUFFIXES
        and not path.is_dir()  # broken links are kept: reading them raises an error
        and not any(name.startswith(".") for name in path.relative_to(folder).parts)
        and (nested is None or nested not in path.resolve().parents)
    )


def _is_file_name(output: Path, photo_count: int) -> bool:
    """Tell whether an output is the name of a file and not that of a folder."""
    if output.is_dir():
        return False
    suffix = output.suffix.lower()
    looks_like_file = bool(re.fullmatch(r"\.[a-z]{3,5}", suffix)) and not output.exists()
    return suffix in READABLE_SUFFIXES or (looks_like_file and photo_count == 1)


def _plan_single(photos: list[Path], output: Path) -> Job:
    """Plan the job of a single photo with a named output file."""
    if len(photos) != 1:
        raise ValueError(f"{output} is a single file; {len(photos)} photos need a folder")
    try:
        format_of(output)
    except PhotoError as error:
        raise ValueError(f"{error}, or a folder") from error
    return Job(photos[0], output, output.with_name(f"{output.stem}-compared{output.suffix}"))


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
