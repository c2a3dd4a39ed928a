"""Photos to be prepared, found in folders and tar files at any depth."""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from colorize.data.manifest import PHOTOS
from colorize.data.splits import MANIFEST, SPLITS, ManifestRow, read_manifest
from colorize.io.formats import advice_for
from colorize.io.image import PhotoError
from colorize.io.photo_files import READABLE_SUFFIXES, is_hidden, list_photos, warn_of_left_out
from colorize.utils.terminal import printable

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

_MAX_BYTES = 512 * 2**20  # of a file in a tar; anything larger is no photo
_MAX_NAME_BYTES = 200  # of a file name, below what file systems accept
_SPLIT_NAME = re.compile(r"(train|val|test)(ing|id|idation)?[-_. ]?\d*", re.IGNORECASE)


@dataclass(frozen=True)
class SourcePhoto:
    """A photo to be prepared."""

    id: str  # the path, starting with the name of the source
    content: Path | bytes = b""  # a file, or the bytes out of a tar file
    split: str = ""  # that its path, a manifest or the caller requests, if any
    photographer: str = ""  # if known
    refusal: str = ""  # why the photo must not be read, if so

    @property
    def file(self) -> str:
        """Path of the prepared photo below the prepared folder."""
        path = PurePosixPath(self.id)
        name = path.name if path.suffix.lower() in (".jpg", ".jpeg") else f"{path.name}.jpg"
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            name = f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.jpg"
        return f"{PHOTOS}/{path.with_name(name)}"

    def read(self) -> bytes:
        """Return the content.

        Raises:
            PhotoError: if the photo must not be read.
            OSError: if it cannot be read.
        """
        if self.refusal:
            raise PhotoError(self.refusal)
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def source_name(source: Path) -> str:
    """Return the name under which the photos of a source are prepared."""
    return printable(_stem(_own_name(source)))


def find_photos(source: Path, split: str = "") -> Iterator[SourcePhoto]:
    """Find the photos of a folder or tar file; a warning names other images.

    Args:
        source: the folder or tar file.
        split: for photos whose path and manifest do not name one.

    Raises:
        ValueError: if a tar file or the manifest of the folder is damaged.
    """
    root = source_name(source)
    root_split = _split_from_names(PurePath(_own_name(source)), source.resolve())
    files, rows = [""], {}  # the path of a tar file below itself
    if not source.is_file():
        listing = list_photos(source, (*READABLE_SUFFIXES, *TAR_SUFFIXES))
        warn_of_left_out(listing.left_out)
        files = sorted(path.relative_to(source).as_posix() for path in listing.photos)
        rows = read_manifest(source / MANIFEST)
    for file in files:
        prefix, named = root, root_split
        members: Iterable[tuple[str, Path | bytes, str]] = [(file, source / file, "")]
        if not file or file.lower().endswith(TAR_SUFFIXES):
            path = PurePosixPath(file)
            prefix = f"{root}/{printable(file)}" if file else root
            named = _split_from_names(path) or _split_from_names(*path.parents) or root_split
            members = _read_tar(source / file)
        for name, content, refusal in members:
            row = rows.get(name, ManifestRow())
            folder_split = _split_from_names(*PurePosixPath(name).parents)
            yield SourcePhoto(
                id=f"{prefix}/{printable(name)}",
                content=content,
                split=folder_split or named or row.split or split,
                photographer=row.photographer,
                refusal=refusal,
            )


def find_all(sources: Iterable[Path], split: str) -> Iterator[SourcePhoto]:
    """Find the photos of all sources; of two that would become one file the second is refused."""
    ids, files = set(), set()
    for photo in (photo for source in sources for photo in find_photos(source, split)):
        if photo.id in ids:
            yield SourcePhoto(f"{photo.id} (again)", refusal="its name occurs twice")
        elif photo.file in files:
            yield SourcePhoto(photo.id, refusal=f"another photo becomes {photo.file}")
        else:
            yield photo
        ids.add(photo.id)
        files.add(photo.file)


def _read_tar(file: Path) -> Iterator[tuple[str, bytes, str]]:
    """Yield the path, the content and the reason of a refusal, or "", of each photo."""
    left_out: dict[Path, str] = {}
    try:
        with tarfile.open(file, "r|*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if any(is_hidden(name) for name in path.parts if name != ".."):
                    continue
                if advice := advice_for(path.suffix):
                    left_out[file / path] = advice
                    continue
                if path.suffix.lower() not in READABLE_SUFFIXES:
                    continue
                if reason := _refusal(member):
                    yield member.name, b"", reason
                    continue
                content = tar.extractfile(member)
                assert content is not None, "a regular file has content"
                # Read now: a stream of a tar file never goes back.
                yield str(path), content.read(), ""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{file}: a damaged tar file, {error}") from error
    warn_of_left_out(left_out)


def _refusal(member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return "a link or special file in a tar file"
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        return "its path leads out of the tar file"
    return f"{member.size} bytes, too large for a photo" if member.size > _MAX_BYTES else ""


def _own_name(source: Path) -> str:
    """Return a source's name: a link's own, not that of its target."""
    return source.resolve().name if source.name in ("", "..") else source.name


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in TAR_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _split_from_names(*paths: PurePath) -> str:
    """Return the split that names of folders or tar files request; test before val before train."""
    matches = (_SPLIT_NAME.fullmatch(_stem(path.name)) for path in paths)
    named = {match[1].lower() for match in matches if match}
    return next((split for split in reversed(SPLITS) if split in named), "")
