"""Preparation of your own photos for training: `colorize prepare`."""

import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from tqdm import tqdm

from colorize.data.manifest import Manifest, ManifestEntry, ManifestWriter, photo_facts
from colorize.data.sources import TAR_SUFFIXES, SourcePhoto, find_all, source_name
from colorize.io.image import PhotoError, photo_to_rgb, resize, rgb_to_photo, write_photo
from colorize.io.photo import read_photo
from colorize.io.photo_files import READABLE_SUFFIXES
from colorize.utils.files import atomic_write

_SOURCES = "sources.json"  # in the prepared folder: the path of each source, by its name

Item = TypeVar("Item")


def prepare(
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    size: int = 320,
    split: str = "",
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Copy photos into a folder for training: small, upright, sRGB, classified, and split.

    A photo keeps its name, below the name of its source. Folders and tar files named train, val
    or test, also `test-00.tar` or `train2017`, decide the split, or else a `manifest.csv` in the
    source, as for `PhotoFolder`. JPEGs that need no change are copied byte for byte, all others
    are shrunk and saved with quality 95, 4:4:4. Sources are never modified. The call is
    resumable: prepared photos are skipped. Images that cannot be read are named by a warning.

    Args:
        sources: tar files, and folders, searched at any depth for photos and tar files.
        out: the prepared folder; created, continued, or extended.
        size: largest short side of the prepared photos, in pixels.
        split: "train", "val" or "test" for photos whose path does not name one; "" decides by a
            hash of the id.
        workers: threads; None takes two per core.
        progress: whether to draw a progress bar.

    Returns:
        The finalized manifest of the folder.

    Raises:
        FileNotFoundError: if a source does not exist.
        ValueError: if two sources have one name, a tar file is damaged, or `out` holds something
            else.
    """
    out = Path(out)
    origins = _check_sources([Path(source) for source in sources], out)
    roots = {source_name(Path(source)): Path(source) for source in sources}.values()
    with ManifestWriter(out) as manifest:
        with atomic_write(out / _SOURCES) as tmp:
            tmp.write_text(json.dumps(origins, indent=1) + "\n", encoding="utf-8")
        was_empty = not manifest.entries
        add_in_threads(
            manifest,
            lambda photo: _prepare_photo(photo, out, size),
            (photo for photo in find_all(roots, split) if not manifest.is_done(photo.id)),
            workers or 2 * (os.cpu_count() or 1),
            tqdm(desc="preparing", unit=" photos", disable=not progress),
        )
        manifest.finalize()
        if was_empty and not manifest.entries:
            kinds = ", ".join(suffix[1:] for suffix in READABLE_SUFFIXES)
            raise ValueError(f"no photos ({kinds}) in {', '.join(map(str, roots))}")
    return manifest


def add_in_threads(
    manifest: ManifestWriter,
    function: Callable[[Item], ManifestEntry],
    items: Iterable[Item],
    workers: int,
    bar: tqdm,
    *,
    on_exit: Callable[[], None] = lambda: None,
) -> None:
    """Apply a function to items in threads, and add the entries as they complete.

    Args:
        manifest: gets the entries.
        function: called in a thread, with one torch thread.
        items: iterated in the caller's thread, few ahead of the threads.
        workers: threads.
        bar: updated by one for each entry.
        on_exit: called once nothing more is added, so that threads can stop waiting.
    """
    # These threads keep the cores busy; torch's own, in each of them, would compete for the same.
    torch_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    pending: set[Future[ManifestEntry]] = set()

    def add_completed(most: int) -> None:
        nonlocal pending
        while len(pending) > most:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                manifest.add(future.result())
                bar.update()

    try:
        with bar:
            for item in items:
                pending.add(pool.submit(function, item))
                add_completed(2 * workers)
            add_completed(0)
    finally:
        on_exit()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch_threads)


def _check_sources(sources: Iterable[Path], out: Path) -> dict[str, str]:
    """Check the sources, and return the path of each that `out` was ever made from, by name."""
    path = out / _SOURCES
    origins = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"no such folder or tar file: {source}")
        if not source.is_dir() and not source.name.lower().endswith(TAR_SUFFIXES):
            suffixes = ", ".join(TAR_SUFFIXES)
            raise ValueError(f"{source} is neither a folder nor a tar file ({suffixes})")
        root, target = source.resolve(), Path(os.path.realpath(out))
        if source.is_dir() and (root in (target, *target.parents) or target in root.parents):
            raise ValueError(
                f"the source {source} and the output {out} must not contain each other: "
                "choose another folder"
            )
        name = source_name(source)
        if origins.setdefault(name, str(root)) != str(root):
            raise ValueError(
                f"{origins[name]} and {root} would get one name, {name}: rename one of them"
            )
    return origins


def _prepare_photo(source: SourcePhoto, out: Path, size: int) -> ManifestEntry:
    """Prepare one photo.

    Raises:
        OSError, PhotoError: if it cannot be written; a source that cannot be read becomes an entry.
    """
    try:
        data = source.read()
        photo = read_photo(io.BytesIO(data))
    except PhotoError as error:
        reason = str(error).removeprefix("the given file: ")
        return ManifestEntry(source.id, source.photographer, state="bad", reason=reason)
    except OSError as error:
        return ManifestEntry(
            source.id, source.photographer, state="failed", reason=error.strerror or str(error)
        )
    path = out / source.file
    if _is_ready(data, photo, size):
        with atomic_write(path) as tmp:
            tmp.write_bytes(data)
    else:
        scale = min(1.0, size / min(photo.size))
        rgb = photo_to_rgb(photo)
        if scale < 1:
            height, width = round(scale * photo.height), round(scale * photo.width)
            rgb = resize(rgb, max(1, height), max(1, width))
        write_photo(rgb_to_photo(rgb), path)
        data = path.read_bytes()
    return ManifestEntry(
        id=source.id,
        photographer=source.photographer,
        file=source.file,
        facts=photo_facts(data),
        split=source.split,
    )


def _is_ready(data: bytes, photo: Image.Image, size: int) -> bool:
    """Whether a file already is a small upright sRGB JPEG: no profile, no EXIF, RGB."""
    if not data.startswith(b"\xff\xd8") or b"Exif" in data or b"ICC_PROFILE" in data:
        return False
    with Image.open(io.BytesIO(data)) as image:
        return image.mode == "RGB" and min(photo.size) <= size
