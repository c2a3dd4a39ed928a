"""Photos to be prepared, found in folders and tar files at any depth."""

import functools
import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from colorize.data.folder import PHOTO_SUFFIXES, find_names
from colorize.data.manifest import PHOTOS
from colorize.data.splits import MANIFEST, SPLITS, ManifestRow, read_manifest
from colorize.io.image import PhotoError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

_MAX_BYTES = 512 * 2**20  # of a file in a tar; anything larger is no photo
_MAX_NAME_BYTES = 200  # of a file name, below what file systems accept
_SPLIT_NAME = re.compile(r"(train|val|test)(ing|id|idation)?[-_. ]?\d*", re.IGNORECASE)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo to be prepared.

    Attributes:
        id: the path, starting with the name of the source.
        split: the split that its path, a manifest or the caller requests, or "".
        read: returns the bytes; raises PhotoError if the photo must not be read.
        photographer: "" if unknown.
    """

    id: str
    split: str
    read: Callable[[], bytes]
    photographer: str = ""

    @property
    def file(self) -> str:
        """Path of the prepared photo below the prepared folder."""
        path = PurePosixPath(self.id)
        name = path.name if path.suffix.lower() in (".jpg", ".jpeg") else f"{path.name}.jpg"
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            name = f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.jpg"
        return f"{PHOTOS}/{path.with_name(name)}"


@dataclass(frozen=True)
class _SplitRules:
    """What decides the split of a photo: folders, the source's name, its manifest, the caller."""

    named: str
    rows: Mapping[str, ManifestRow]
    default: str

    def photo(self, prefix: str, path: PurePosixPath, read: Callable[[], bytes]) -> SourcePhoto:
        """Make the photo of a path below the source."""
        row = self.rows.get(str(path), ManifestRow())
        split = _split_from_names(*path.parents) or self.named or row.split or self.default
        return SourcePhoto(f"{prefix}/{_printable(str(path))}", split, read, row.photographer)


def source_name(source: Path) -> str:
    """Return the name under which the photos of a source are prepared."""
    return _printable(_stem(_own_name(source)))


def find_photos(source: Path, split: str = "") -> Iterator[SourcePhoto]:
    """Find the photos of a folder or tar file.

    Args:
        source: the folder or tar file.
        split: for photos whose path and manifest do not name one.

    Raises:
        ValueError: if a tar file or the manifest of the folder is damaged.
    """
    name = source_name(source)
    named = _split_from_names(PurePath(_own_name(source)), source.resolve())
    if source.is_file():
        yield from _find_in_tar(name, source, _SplitRules(named, {}, split))
        return
    rules = _SplitRules(named, read_manifest(source / MANIFEST), split)
    for relative in find_names(source, (*PHOTO_SUFFIXES, *TAR_SUFFIXES)):
        file, path = source / relative, PurePosixPath(relative)
        if relative.lower().endswith(TAR_SUFFIXES):
            named = _split_from_names(path) or _split_from_names(*path.parents) or rules.named
            prefix = f"{name}/{_printable(relative)}"
            yield from _find_in_tar(prefix, file, replace(rules, named=named))
        else:
            yield rules.photo(name, path, functools.partial(_read_file, file))


def refuse_repeated(photos: Iterable[SourcePhoto]) -> Iterator[SourcePhoto]:
    """Refuse the second of two photos that would become one file, instead of losing it silently."""
    ids, files = set(), set()
    for photo in photos:
        if photo.id in ids:
            yield _refused(f"{photo.id} (again)", "its name occurs twice")
        elif photo.file in files:
            yield _refused(photo.id, f"another photo becomes {photo.file}")
        else:
            yield photo
        ids.add(photo.id)
        files.add(photo.file)


def _find_in_tar(prefix: str, file: Path, rules: _SplitRules) -> Iterator[SourcePhoto]:
    try:
        with tarfile.open(file, "r|*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.suffix.lower() not in PHOTO_SUFFIXES or path.name.startswith("."):
                    continue
                reason = _refusal(member)
                if reason:
                    yield _refused(f"{prefix}/{_printable(member.name)}", reason)
                    continue
                content = tar.extractfile(member)
                assert content is not None, "a regular file has content"
                # Read now: a stream of a tar file never goes back.
                yield rules.photo(prefix, path, functools.partial(bytes, content.read()))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{file}: a damaged tar file, {error}") from error


def _refusal(member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return "a link or special file in a tar file"
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        return "its path leads out of the tar file"
    return f"{member.size} bytes, too large for a photo" if member.size > _MAX_BYTES else ""


def _read_file(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise PhotoError("not a regular file")
    return path.read_bytes()


def _refused(photo_id: str, reason: str) -> SourcePhoto:
    return SourcePhoto(photo_id, "", functools.partial(_raise_photo_error, reason))


def _raise_photo_error(reason: str) -> bytes:
    raise PhotoError(reason)


def _own_name(source: Path) -> str:
    """Return a source's name: a link's own, not that of its target."""
    return source.resolve().name if source.name in ("", "..") else source.name


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in TAR_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name


def _split_from_names(*paths: PurePath) -> str:
    """Return the split that names of folders or tar files request; test before val before train."""
    matches = (_SPLIT_NAME.fullmatch(_stem(path.name)) for path in paths)
    named = {match[1].lower() for match in matches if match}
    return next((split for split in reversed(SPLITS) if split in named), "")


def _printable(name: str) -> str:
    """Turn a file name, which may be any bytes, into text for ids."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
