"""Files and folders of photos, colored into a folder: what goes where, and side by side."""

import contextlib
import dataclasses
import glob
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import colorize
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.grayscale import classify_photo
from colorize.io.high_bit_depth import to_8_bit
from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError, as_photo_error, limit_long_side
from colorize.io.image_file import (
    ImageFile,
    read_image_file,
    read_provenance,
    write_image_file,
    write_provenance,
)
from colorize.utils.device import is_out_of_memory
from colorize.utils.files import file_sha256

# What is taken for a photo in a folder; a file that is named is tried whatever it is called.
SUFFIXES = (
    *FORMAT_BY_SUFFIX,
    *(".bmp", ".gif", ".jp2", ".j2k", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"),
)
COMPARED = Path("compared")  # the folder of photos beside their paintings, below the output
_PANEL = 4096  # px; the longer side of a photo that is compared, at most
_WIDEST = 16383  # px, of WebP
_WORKERS = 4  # photos at a time, at most: each has its full size in memory several times


@dataclass(frozen=True)
class Job:
    """A photo to be colored, where its painting goes, and where both go side by side."""

    source: Path
    target: Path
    compared: Path


@dataclass(frozen=True)
class FileResult:
    """What became of a photo.

    Attributes:
        source: the file.
        paintings: where they are, or would be.
        state: "colored"; "done", by an earlier call with the same wishes; "in color", left alone;
            or "failed".
        tone: "grey", "toned" or "color"; None if it was not read.
        seconds: from reading to writing.
        reason: why it failed or was left alone, or what of the file is not in the painting.
    """

    source: Path
    paintings: tuple[Path, ...]
    state: str
    tone: str | None = None
    seconds: float = 0.0
    reason: str = ""


def plan_jobs(paths: Iterable[str | os.PathLike], output: str | os.PathLike) -> list[Job]:
    """Where the painting of each photo goes.

    Args:
        paths: files; folders, whose tree is kept below `output`; patterns such as "album/*.jpg",
            for shells that leave them as they are.
        output: a folder; or a file, if a single file is given and the name has a suffix of `KINDS`.

    Returns:
        A job for each photo. The painting has the photo's name; of a kind that is not written, with
        ".png" behind it; and a number where two photos have one name.

    Raises:
        ValueError: if a folder holds no photos, or `output` is a file where a folder is needed, or
            one of an unknown kind.
    """
    output = Path(output)
    found: dict[Path, tuple[Path, Path]] = {}  # each photo once, and its place below the output
    for given in paths:
        for path in matching(given):
            if path.is_dir():
                if path.resolve() == output.resolve():
                    raise ValueError(f"{output} holds the photos themselves; choose another folder")
                inside = _photos(path, output)
                if not inside:
                    raise ValueError(f"no photos in {path}: it has no {', '.join(SUFFIXES)}")
                places = {photo: photo.relative_to(path) for photo in inside}
            else:
                places = {path: Path(path.name)}
            for photo, place in places.items():
                found.setdefault(Path(os.path.abspath(photo)), (photo, place))  # noqa: PTH100
    is_named = re.fullmatch(r"\.[a-z]{3,5}", output.suffix.lower()) and not output.exists()
    if not output.is_dir() and (
        output.suffix.lower() in SUFFIXES or (is_named and len(found) == 1)
    ):
        return [_single(found, output)]
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; several paintings need a folder")
    taken: set[str] = set()
    targets = {}
    for source, place in found.values():
        if place.suffix.lower() not in FORMAT_BY_SUFFIX:
            place = place.with_name(f"{place.name}.png")
        targets[source] = _free(place, taken)
    return [
        Job(source, output / target, output / _free(COMPARED / target, taken))
        for source, target in targets.items()
    ]


def _single(found: Mapping[Path, tuple[Path, Path]], output: Path) -> Job:
    """The job of one photo and the file that it goes to."""
    if len(found) != 1:
        raise ValueError(f"{output} is the name of one file; {len(found)} photos need a folder")
    if output.suffix.lower() not in FORMAT_BY_SUFFIX:
        kinds = ", ".join(FORMAT_BY_SUFFIX)
        raise ValueError(f"{output}: unknown kind of file; use one of {kinds}, or a folder")
    ((source, _),) = found.values()
    return Job(source, output, output.with_name(f"{output.stem}-compared{output.suffix}"))


def _free(place: Path, taken: set[str]) -> Path:
    """A place, with a number if another photo has it already; then it is taken."""
    number, free = 1, place
    while str(free).casefold() in taken:
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    taken.add(str(free).casefold())
    return free


def matching(given: str | os.PathLike) -> list[Path]:
    """The file or folder of a name, or all that a pattern names; never none."""
    path = Path(given)
    if path.exists():
        return [path]
    # Path.glob takes no absolute patterns.
    found = sorted(glob.glob(os.fspath(given), recursive=True))  # noqa: PTH207
    return [Path(name) for name in found] or [path]  # that it is not there is said in its turn


def _photos(folder: Path, output: Path) -> list[Path]:
    """The photos below a folder, without what is hidden, and without an output in it."""
    inside = output.resolve()
    inside = inside if folder.resolve() in inside.parents else None
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.is_dir()  # that a link leads nowhere is said in its turn
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and (inside is None or inside not in path.resolve().parents)
    )


def colorize_files(
    colorizer: Colorizer,
    jobs: Sequence[Job],
    options: ColorizeOptions = ColorizeOptions(),  # noqa: B008, it is frozen
    force: bool = False,
    overwrite: bool = False,
    compare: bool = False,
) -> Iterator[FileResult]:
    """Color photos, several at a time: some are read and written while the network sees others.

    A painting that an earlier call made of the same photo with the same network and wishes is left
    as it is, by what its EXIF says. A photo that cannot be colored does not stop the others.

    Args:
        colorizer: paints.
        jobs: of `plan_jobs`.
        options: wishes; several samples of a photo get numbers behind their names.
        force: whether photos are colored that are in color already.
        overwrite: whether files are replaced that are something else.
        compare: whether the photo and its painting are also written side by side, of at most 4096
            px each.

    Yields:
        A report for each job, in their order.
    """
    wish = _wish(colorizer, options)
    sources = {job.source.resolve() for job in jobs}
    # On a GPU, and where chance is drawn, the network sees one photo after the other.
    is_alone = (
        colorizer.device.type != "cpu" or colorizer.is_stochastic or options.samples is not None
    )
    turn = threading.Lock() if is_alone else contextlib.nullcontext()

    def color(job: Job) -> FileResult:
        begun = time.perf_counter()
        paintings = _targets(job, options.samples)
        found = None
        try:
            mark = f"{wish} (source {_digest(job.source)})"
            files = _targets(job, options.samples, compare)
            for file in files:
                if file.resolve() in sources:
                    raise PhotoError(f"{job.source}: would replace {file}; choose another folder")
            if not overwrite and _are_done(files, job.source, mark):
                return FileResult(job.source, paintings, "done")
            original = read_image_file(job.source)
            seen = original.seen
            found = classify_photo(seen)
            if found == "color" and not force:
                reason = f"{job.source} is in color already; --force colors it anew"
                return FileResult(job.source, paintings, "in color", found, reason=reason)
            write_provenance(original, mark)
            with turn:
                (colors,) = colorizer.predict([seen], options)
            painted = colors.paint(original.rgb)
            for target, one in zip(paintings, painted, strict=True):
                write_image_file(original, one, target)
            if compare:
                write_image_file(*_side_by_side(original, painted), job.compared)
        except (PhotoError, OSError) as error:
            return FileResult(job.source, paintings, "failed", found, reason=str(error))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = f"{job.source}: the memory does not suffice to color it"
            return FileResult(job.source, paintings, "failed", found, reason=reason)
        reason = f"{job.source} {original.left}" if original.left else ""
        seconds = time.perf_counter() - begun
        return FileResult(job.source, paintings, "colored", found, seconds, reason)

    # A photo for each core is faster than all cores for each photo.
    threads = torch.get_num_threads()
    workers = max(1, min(_WORKERS, threads, len(jobs)))
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
    )
    pending: deque[Future] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(color, job))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # of threads that begin later


def colorize_file(
    colorizer: Colorizer,
    original: ImageFile,
    options: ColorizeOptions = ColorizeOptions(),  # noqa: B008, it is frozen
    force: bool = False,
    number: int = 0,
) -> Tensor:
    """Color one picture, and say so in its EXIF.

    Args:
        colorizer: paints.
        original: of `read_image_file`.
        options: wishes.
        force: whether it is colored if it is in color already.
        number: which one of several samples, counted from 0.

    Returns:
        The painting, of the type and shape of `original.rgb`.

    Raises:
        PhotoError: if it is in color already.
    """
    seen = original.seen
    if classify_photo(seen) == "color" and not force:
        raise PhotoError("the photo is in color already; --force colors it anew")
    write_provenance(original, _wish(colorizer, options))
    (colors,) = colorizer.predict([seen], options)
    one = dataclasses.replace(colors, ab=colors.ab[number : number + 1])
    return one.paint(original.rgb)[0]


def _side_by_side(original: ImageFile, painted: Sequence[Tensor]) -> tuple[ImageFile, Tensor]:
    """The photo in grey and its paintings, in a row to be looked at: in 8 bits, and not larger."""
    side = min(_PANEL, _WIDEST // (1 + len(painted)))

    def shown(picture: Tensor) -> Tensor:
        return limit_long_side(to_8_bit(picture), side)

    grey = guided_upsample(shown(original.rgb), torch.zeros(2, 1, 1))
    alpha = original.alpha
    alpha = None if alpha is None else torch.cat([shown(alpha)] * (1 + len(painted)), 2)
    row = torch.cat((grey, *map(shown, painted)), 2)
    return dataclasses.replace(original, rgb=row, alpha=alpha), row


def _wish(colorizer: Colorizer, options: ColorizeOptions) -> str:
    return f"{colorize.__version__}, {colorizer.wish(options)}"


def _are_done(targets: Sequence[Path], source: Path, mark: str) -> bool:
    """Whether the paintings are there.

    Raises:
        PhotoError: if something else is.
    """
    there = [target for target in targets if target.exists()]
    for target in there:
        if not _is_marked(target, mark):
            raise PhotoError(
                f"{target} is there already, and not this painting of {source}; --overwrite "
                "replaces it"
            )
    return len(there) == len(targets)


def _is_marked(target: Path, mark: str) -> bool:
    try:
        found = read_provenance(target)
    except PhotoError:
        return False
    # Another version of colorize may have made it.
    return found is not None and found.partition(", ")[2] == mark.partition(", ")[2]


def _targets(job: Job, samples: int | None, compare: bool = False) -> tuple[Path, ...]:
    """The paintings of a job; with `compare` all files that come of it."""
    targets = [job.target]
    if samples is not None:
        stem, suffix = job.target.stem, job.target.suffix
        names = [f"{stem}-sample{number}{suffix}" for number in range(1, samples + 1)]
        targets = [job.target.with_name(name) for name in names]
    return (*targets, job.compared) if compare else tuple(targets)


def _digest(path: Path) -> str:
    with as_photo_error(path):
        return file_sha256(path)[:16]
