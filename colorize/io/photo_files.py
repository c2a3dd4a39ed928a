"""Which photos a folder holds, and which files are left out of it, and why."""

import os
import stat
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colorize.io.formats import advice_for
from colorize.io.image import FORMAT_BY_SUFFIX

# The files of a folder that are photos; a file that is named itself may have any name.
READABLE_SUFFIXES = (
    *FORMAT_BY_SUFFIX,
    *(".bmp", ".gif", ".j2c", ".j2k", ".jp2", ".jpf", ".jpx", ".mpo"),
    *(".pbm", ".pcx", ".pgm", ".pnm", ".ppm", ".psd", ".tga"),
)
TRAINING_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # trained on as they are

# Folders of systems and of storage: thumbnails, what was deleted, resources of a Mac's archive.
_SYSTEM_FOLDERS = (
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "recycled"),
    *("system volume information", "__macosx", "lost+found"),
)
_NAMES = 3  # of files that are left out for one reason


@dataclass
class PhotoListing:
    """What is below a folder.

    Attributes:
        photos: the files to be read as photos, sorted.
        left_out: the reason for each other image, and for each folder that was not entered.
    """

    photos: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)


def list_photos(
    root: Path,
    suffixes: tuple[str, ...] = READABLE_SUFFIXES,
    *,
    follow_links: bool = True,
    output: Path | None = None,
) -> PhotoListing:
    """List the photos below a folder, by their names alone: no file is opened.

    Hidden files and folders, and those of the system (`is_hidden`), do not count. A link to a file
    is a photo too; so is one that leads nowhere, because reading it says so. Each folder is entered
    once, however many links lead to it.

    Args:
        root: the folder.
        suffixes: of the files to be read; lower case.
        follow_links: whether linked folders are entered.
        output: a folder whose photos do not count if it is below the root.
    """
    listing = PhotoListing()
    real_root = os.path.realpath(root)
    excluded = "" if output is None else os.path.realpath(output)
    excluded = excluded if _is_below(excluded, real_root) else ""
    visited = {excluded}
    folders, linked = [root], deque[Path]()  # linked ones last: photos keep their own path
    while folders or linked:
        folder = folders.pop() if folders else linked.popleft()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        for entry in _visible_entries(folder, listing):
            path = folder / entry.name
            target = os.path.realpath(path) if entry.is_symlink() else ""
            if not _is_folder(entry):
                if not _is_below(target, excluded):
                    _add_file(listing, path, suffixes)
            elif not target:
                folders.append(path)
            elif follow_links:
                linked.append(path)
            elif not _is_below(target, real_root) and target != real_root:
                listing.left_out[path] = "a linked folder; name it too to colorize its photos"
    listing.photos.sort()
    return listing


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is hidden, or is of the system: no photos."""
    return name.startswith(".") or name.casefold() in _SYSTEM_FOLDERS


def refusal_of(path: Path) -> str:
    """Say why a file that is named itself cannot be a photo; "" if it may be one, or is missing."""
    if not os.path.lexists(path):
        return ""
    if _may_hang(path):
        return (
            "a pipe or device, not a file; use `colorize photo - -o FILE` with the photo on stdin"
        )
    return advice_for(path.suffix)


def summarize_left_out(left_out: Mapping[Path, str]) -> list[str]:
    """Describe in a line for each reason which files are left out."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in sorted(left_out.items()):
        by_reason.setdefault(reason, []).append(path)
    return [f"{_count(paths)} left out: {reason}" for reason, paths in by_reason.items()]


def _count(paths: Sequence[Path]) -> str:
    names = ", ".join(map(str, paths[:_NAMES]))
    if len(paths) == 1:
        return f"{names} is"
    more = f" and {len(paths) - _NAMES} more" if len(paths) > _NAMES else ""
    return f"{len(paths)} files ({names}{more}) are"


def warn_of_left_out(left_out: Mapping[Path, str]) -> None:
    """Warn of the files that are left out, if there are any."""
    for line in summarize_left_out(left_out):
        warnings.warn(line, stacklevel=3)


def _visible_entries(folder: Path, listing: PhotoListing) -> list[os.DirEntry[str]]:
    """Return what a folder holds, by name; a folder that cannot be read is left out."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        listing.left_out[folder] = f"a folder that cannot be read ({error.strerror})"
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _is_below(path: str, folder: str) -> bool:
    return bool(folder) and path.startswith(os.path.join(folder, ""))  # noqa: PTH118


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that cannot be entered
        return False


def _add_file(listing: PhotoListing, path: Path, suffixes: tuple[str, ...]) -> None:
    """Add a file to the photos or, if it is another image, to what is left out."""
    name, advice = path.name.lower(), advice_for(path.suffix)
    if not advice and not name.endswith((*suffixes, *READABLE_SUFFIXES)):
        return
    if _may_hang(path):
        listing.left_out[path] = "a pipe or device, not a file"
    elif advice:
        listing.left_out[path] = advice
    elif name.endswith(suffixes):
        listing.photos.append(path)
    else:
        listing.left_out[path] = "not JPEG, PNG or WebP; `colorize prepare` converts it"


def _may_hang(path: Path) -> bool:
    """Tell whether reading a path may wait forever: a pipe, a socket, a device."""
    try:
        mode = path.stat().st_mode
    except OSError:  # missing, or a link that leads nowhere: reading it says so
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
