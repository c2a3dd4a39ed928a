"""Your own photos, from folders and tar files, made ready for training: `colorize prepare`."""

import io
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from PIL import Image
from tqdm import tqdm

from colorize.data.folder import PARTS, SUFFIXES, find_names
from colorize.data.manifest import PHOTOS, Entry, Manifest, examine
from colorize.photos import PhotoError, photo_to_rgb, read_photo, resize, rgb_to_photo, write_photo
from colorize.runtime import written_beside

_LARGEST = 512 * 2**20  # bytes of a file in a tar; beyond, it is no photo
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_PART_WORD = re.compile(rf"(?<![a-z])({'|'.join(PARTS)})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A photo to be prepared: its id, the part its name asks for, and how to get its bytes."""

    id: str
    part: str
    read: Callable[[], bytes]


def prepare(
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    size: int = 320,
    part: str = "",
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Copy photos into a folder made for training: small, upright, sRGB, judged, and in parts.

    A photo keeps its name, below the name of its source. JPEGs that are ready as they are are
    copied byte for byte, all others are shrunk and saved with quality 95, 4:4:4. The sources are
    only read. Stopped in whatever way, the same call goes on.

    Args:
        sources: folders, searched at any depth for photos and tar files, and tar files.
        out: the prepared folder; made, or continued, or added to.
        size: short side of the prepared photos at most, in pixels.
        part: "train", "val" or "test" for photos whose path does not say so itself; "" decides by
            the hash of the id.
        workers: threads; None takes two per core.
        progress: whether to draw a bar.

    Returns:
        The folder's manifest, settled.

    Raises:
        FileNotFoundError: if a source does not exist.
        ValueError: if two sources have one name, a tar file is damaged, or `out` holds something
            else.
    """
    roots = {}
    for source in map(Path, sources):
        if not source.exists():
            raise FileNotFoundError(f"no such folder or tar file: {source}")
        name = _printable(_stem(source.resolve().name))
        if roots.setdefault(name, source) != source:
            raise ValueError(f"{roots[name]} and {source} would get one name, {name}: rename one")
    out = Path(out)
    for source in roots.values():
        if source.is_dir() and source.resolve() in (out.resolve(), *out.resolve().parents):
            raise ValueError(f"{out} lies in its own source {source}: choose another folder")
    found = (item for name, source in roots.items() for item in _photos_of(name, source, part))
    with Manifest(out) as manifest:
        new = (item for item in found if item.id not in manifest.entries)
        run(manifest, new, lambda item: _prepared(item, out, size), workers, progress, "preparing")
        manifest.settle()
    return manifest


def run(
    manifest: Manifest,
    items: Iterable,
    work: Callable[..., Entry],
    workers: int | None = None,
    progress: bool = True,
    title: str = "",
    total: int | None = None,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Let threads turn items into entries of the manifest; few are under way at a time.

    `stop` is called when no more is wanted, so that threads need not wait for anything.
    """
    workers = workers or 2 * (os.cpu_count() or 1)
    pending: set[Future] = set()
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, desc=title, unit=" photos", disable=not progress)
        )
        # Our threads keep the cores busy; torch's own, in each of them, would wait for each other.
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        single = {"initializer": torch.set_num_threads, "initargs": (1,)}
        pool = stack.enter_context(ThreadPoolExecutor(workers, **single))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(stop)

        def collect(limit: int) -> None:
            nonlocal pending
            while len(pending) > limit:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    manifest.add(future.result())
                    bar.update()

        for item in items:
            pending.add(pool.submit(work, item))
            collect(2 * workers)
        collect(0)


def adopt(path: Path, manifest: Manifest, **told: str) -> Entry | None:
    """The entry of a whole photo that is there already, or None."""
    if not path.is_file():
        return None
    try:
        facts = examine(path.read_bytes())
    except PhotoError:
        return None  # to be made again
    return Entry(file=path.relative_to(manifest.folder).as_posix(), **facts, **told)


def _prepared(item: Source, out: Path, size: int) -> Entry:
    """Prepare one photo."""
    suffix = "" if PurePosixPath(item.id).suffix.lower() in (".jpg", ".jpeg") else ".jpg"
    name = f"{PHOTOS}/{item.id}{suffix}"
    path = out / name
    try:
        data = item.read()  # refuses a path that leads elsewhere
        photo = read_photo(io.BytesIO(data))
        if not _is_ready(data, photo, size):
            k = min(1.0, size / min(photo.size))
            height, width = (max(1, round(k * side)) for side in (photo.height, photo.width))
            rgb = photo_to_rgb(photo)
            write_photo(rgb_to_photo(resize(rgb, height, width) if k < 1 else rgb), path)
            data = path.read_bytes()
        elif not path.is_file():
            with written_beside(path) as part:
                part.write_bytes(data)
        return Entry(item.id, file=name, part=item.part, **examine(data))
    except PhotoError as error:
        return Entry(item.id, state="bad", reason=str(error).removeprefix("the given file: "))


def _is_ready(data: bytes, photo: Image.Image, size: int) -> bool:
    """Whether a file is a small upright sRGB JPEG already: no profile, no EXIF, RGB."""
    if not data.startswith(b"\xff\xd8") or b"Exif" in data or b"ICC_PROFILE" in data:
        return False
    with Image.open(io.BytesIO(data)) as image:
        return image.mode == "RGB" and min(photo.size) <= size


def _photos_of(name: str, source: Path, part: str) -> Iterator[Source]:
    """The photos of a folder or tar file, with ids that begin with its name."""
    part = _named_part(source.resolve().name) or part
    if source.is_file():
        yield from _photos_in_tar(name, source, part)
        return
    for below in find_names(source, (*SUFFIXES, *_TARS)):
        path = source / below
        if below.lower().endswith(_TARS):
            inside = f"{name}/{_printable(_stem(below))}"
            yield from _photos_in_tar(inside, path, _named_part(below) or part)
        else:
            here = _named_part(str(PurePosixPath(below).parent)) or part
            yield Source(f"{name}/{_printable(below)}", here, path.read_bytes)


def _photos_in_tar(name: str, path: Path, part: str) -> Iterator[Source]:
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                inner = PurePosixPath(member.name)
                if inner.suffix.lower() not in SUFFIXES or inner.name.startswith("."):
                    continue
                reason = _refusal(member)
                if reason:
                    yield Source(f"{name}/{_printable(member.name)}", part, _refusing(reason))
                    continue
                data = tar.extractfile(member).read()
                here = _named_part(str(inner.parent)) or part
                yield Source(f"{name}/{_printable(str(inner))}", here, _holding(data))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path}: a damaged tar file, {error}") from error


def _refusal(member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return "a link or special file in a tar file"
    inner = PurePosixPath(member.name)
    if inner.is_absolute() or ".." in inner.parts or "\\" in member.name:
        return "its path leads out of the tar file"
    return f"{member.size} bytes, too large for a photo" if member.size > _LARGEST else ""


def _holding(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _refusing(reason: str) -> Callable[[], bytes]:
    def refuse() -> bytes:
        raise PhotoError(reason)

    return refuse


def _stem(name: str) -> str:
    ending = next((end for end in _TARS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] if ending else name


def _named_part(folders: str) -> str:
    """The part that a word in the names of folders or tar files asks for; the last one counts."""
    words = _PART_WORD.findall(folders)
    return words[-1].lower() if words else ""


def _printable(name: str) -> str:
    """A file name as text for ids, whatever bytes it is made of."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
