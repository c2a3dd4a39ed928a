"""Your own photos, from folders and tar files, made ready for training: `colorize prepare`."""

import functools
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import torch
from PIL import Image
from tqdm import tqdm

from colorize.data.folder import MANIFEST, PHOTO_SUFFIXES, SPLITS, find_names, read_manifest
from colorize.data.manifest import PHOTOS, Manifest, ManifestEntry, photo_facts
from colorize.io.image import (
    PhotoError,
    photo_to_rgb,
    read_photo,
    resize,
    rgb_to_photo,
    write_photo,
)
from colorize.utils.files import atomic_write

_LARGEST = 512 * 2**20  # bytes of a file in a tar; beyond, it is no photo
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_SOURCES = "sources.json"  # in the prepared folder: where each name comes from
_LONGEST_NAME = 200  # bytes of a file's name, below what file systems take
_PART_NAME = re.compile(r"(train|val|test)(ing|id|idation)?[-_. ]?\d*", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A photo to be prepared: its id, the part its name asks for, and how to get its bytes."""

    id: str
    part: str
    read: Callable[[], bytes]
    photographer: str = ""

    @property
    def file(self) -> str:
        """Where the prepared photo lies below the prepared folder."""
        path = PurePosixPath(self.id)
        name = path.name if path.suffix.lower() in (".jpg", ".jpeg") else f"{path.name}.jpg"
        if len(os.fsencode(name)) > _LONGEST_NAME:
            name = f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.jpg"
        return f"{PHOTOS}/{path.with_name(name)}"


def prepare(
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    size: int = 320,
    part: str = "",
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Copy photos into a folder made for training: small, upright, sRGB, judged, and in parts.

    A photo keeps its name, below the name of its source. Folders and tar files named train, val
    or test, also as in `test-00.tar` or `train2017`, decide the part, or else a `manifest.csv` in
    the source, as of `PhotoFolder`. JPEGs that are ready as they are are
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
    out, known = Path(out), _known_sources(Path(out))
    for source in map(Path, sources):
        _check_source(source, out)
        place = str(source.resolve())
        name = _printable(_stem(_own_name(source)))
        if known.setdefault(name, place) != place:
            raise ValueError(
                f"{known[name]} and {place} would get one name, {name}: rename one of them"
            )
        roots[name] = source
    found = (item for name, source in roots.items() for item in _photos_of(name, source, part))
    with Manifest(out) as manifest:
        with atomic_write(out / _SOURCES) as beside:
            beside.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        count = len(manifest.entries)
        todo = (item for item in _each_name_once(found) if _is_open(item, manifest))
        process_in_threads(
            manifest, todo, lambda item: _prepared(item, out, size), workers, progress, "preparing"
        )
        manifest.settle()
        if not count and not manifest.entries:
            kinds = ", ".join(ending[1:] for ending in PHOTO_SUFFIXES)
            raise ValueError(f"no photos ({kinds}) in {', '.join(map(str, roots.values()))}")
    return manifest


def process_in_threads(
    manifest: Manifest,
    items: Iterable,
    work: Callable[..., ManifestEntry],
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


def reuse_existing(path: Path, manifest: Manifest, **told: str) -> ManifestEntry | None:
    """The entry of a whole photo that is there already, or None."""
    if not path.is_file():
        return None
    try:
        facts = photo_facts(path.read_bytes())
    except PhotoError:
        return None  # to be made again
    return ManifestEntry(file=path.relative_to(manifest.folder).as_posix(), **facts, **told)


def _prepared(item: Source, out: Path, size: int) -> ManifestEntry:
    """Prepare one photo.

    Raises:
        OSError, PhotoError: if it cannot be written; what cannot be read becomes an entry.
    """
    told = {"id": item.id, "photographer": item.photographer}
    try:
        data = item.read()  # refuses a path that leads elsewhere
        photo = read_photo(io.BytesIO(data))
    except PhotoError as error:
        return ManifestEntry(
            **told, state="bad", reason=str(error).removeprefix("the given file: ")
        )
    except OSError as error:
        return ManifestEntry(**told, state="failed", reason=str(error))
    path = out / item.file
    if _is_ready(data, photo, size):
        with atomic_write(path) as part:
            part.write_bytes(data)
    else:
        k = min(1.0, size / min(photo.size))
        height, width = (max(1, round(k * side)) for side in (photo.height, photo.width))
        rgb = photo_to_rgb(photo)
        write_photo(rgb_to_photo(resize(rgb, height, width) if k < 1 else rgb), path)
        data = path.read_bytes()
    return ManifestEntry(**told, file=item.file, part=item.part, **photo_facts(data))


def _own_name(source: Path) -> str:
    """A source's name: a link's own, not that of what it leads to."""
    return source.resolve().name if source.name in ("", "..") else source.name


def _known_sources(out: Path) -> dict[str, str]:
    path = out / _SOURCES
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _check_source(source: Path, out: Path) -> None:
    if not source.exists():
        raise FileNotFoundError(f"no such folder or tar file: {source}")
    if not source.is_dir() and not source.name.lower().endswith(_TARS):
        raise ValueError(f"{source} is neither a folder nor a tar file ({', '.join(_TARS)})")
    here, there = source.resolve(), out.resolve()
    if source.is_dir() and (here in (there, *there.parents) or there in here.parents):
        raise ValueError(f"{source} and {out} lie one in the other: choose another folder")


def _is_open(item: Source, manifest: Manifest) -> bool:
    """Whether a photo is yet to be prepared, or to be tried again."""
    entry = manifest.entries.get(item.id)
    if entry is None or entry.state == "failed":
        return True
    return bool(entry.file) and not manifest.has_file(entry)


def _each_name_once(items: Iterable[Source]) -> Iterator[Source]:
    """Two photos that would become one file: the second is refused, not lost silently."""
    ids, files = set(), set()
    for item in items:
        if item.id in ids:
            yield Source(f"{item.id} (again)", item.part, _refusing("its name is there twice"))
        elif item.file in files:
            yield Source(item.id, item.part, _refusing(f"another photo becomes {item.file}"))
        else:
            yield item
        ids.add(item.id)
        files.add(item.file)


def _is_ready(data: bytes, photo: Image.Image, size: int) -> bool:
    """Whether a file is a small upright sRGB JPEG already: no profile, no EXIF, RGB."""
    if not data.startswith(b"\xff\xd8") or b"Exif" in data or b"ICC_PROFILE" in data:
        return False
    with Image.open(io.BytesIO(data)) as image:
        return image.mode == "RGB" and min(photo.size) <= size


def _photos_of(name: str, source: Path, part: str) -> Iterator[Source]:
    """The photos of a folder or tar file, with ids that begin with its name."""
    named = _named_part(PurePath(_own_name(source)), source.resolve())
    if source.is_file():
        yield from _photos_in_tar(name, source, named, {}, part)
        return
    rows = read_manifest(source / MANIFEST)
    for below in find_names(source, (*PHOTO_SUFFIXES, *_TARS)):
        path = source / below
        here = _named_part(*PurePosixPath(below).parents) or named
        if below.lower().endswith(_TARS):
            here = _named_part(PurePosixPath(below)) or here
            yield from _photos_in_tar(f"{name}/{_printable(below)}", path, here, rows, part)
        else:
            told = rows.get(below, {})
            here = here or told.get("part") or part
            read = functools.partial(_bytes_of, path)
            yield Source(f"{name}/{_printable(below)}", here, read, told.get("photographer", ""))


def _bytes_of(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise PhotoError("not a regular file")
    return path.read_bytes()


def _photos_in_tar(
    name: str, path: Path, named: str, rows: Mapping[str, dict], part: str
) -> Iterator[Source]:
    """The photos of a tar file: `named` is the part that its name asks for, `part` the last one."""
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                inner = PurePosixPath(member.name)
                if inner.suffix.lower() not in PHOTO_SUFFIXES or inner.name.startswith("."):
                    continue
                reason = _refusal(member)
                if reason:
                    there = named or part
                    yield Source(f"{name}/{_printable(member.name)}", there, _refusing(reason))
                    continue
                data = tar.extractfile(member).read()
                told = rows.get(str(inner), {})
                here = _named_part(*inner.parents) or named or told.get("part") or part
                author = told.get("photographer", "")
                yield Source(f"{name}/{_printable(str(inner))}", here, _holding(data), author)
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


def _named_part(*paths: PurePath) -> str:
    """The part that the name of a folder or tar file asks for; test before val before train."""
    matches = (_PART_NAME.fullmatch(_stem(path.name)) for path in paths)
    named = {match[1].lower() for match in matches if match}
    return next((part for part in reversed(SPLITS) if part in named), "")


def _printable(name: str) -> str:
    """A file name as text for ids, whatever bytes it is made of."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
