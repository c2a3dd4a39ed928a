"""Colorize many photo files, several at a time."""

import contextlib
import dataclasses
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import colorize
from colorize.inference.colorizer import Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.jobs import Job
from colorize.inference.options import DEFAULT_OPTIONS, ColorizeOptions
from colorize.inference.prediction import Prediction
from colorize.io.grayscale import Tone
from colorize.io.high_bit_depth import to_8_bit
from colorize.io.image import PhotoError, as_photo_error, format_of, limit_long_side
from colorize.io.image_file import ImageFile, read_image_file, read_provenance
from colorize.io.image_writer import write_image_file
from colorize.io.prints import analyze_tone
from colorize.utils.device import is_out_of_memory
from colorize.utils.files import file_sha256
from colorize.utils.terminal import printable

_PANEL_SIDE = 4096  # px; long side of each image of a comparison, at most
_WEBP_SIDE = 16383  # px; the longest that WebP can store
_WHY_LEFT = {
    "color": "is already in color; use --force to colorize it anyway",
    "tinted": "looks hand-tinted; use --force to replace its colors",
}
_OUTPUT_LEFT = "was colorized by colorize; use --force to colorize it again"
_WORKERS = 4  # at most: each holds its photo at full size several times


@dataclass
class FileResult:
    """The result of a job.

    Attributes:
        source: the photo.
        outputs: the colorized photos, or where they would be; none of a file that is left out.
        state: "colored"; "done", by an earlier call with the same options; "in color", left as it
            is; "left out", see `Job.refusal`; or "failed".
        tone: of the photo; None if it was not read.
        seconds: from reading to writing; 0 unless colored.
        reason: why it failed or was left as it is, or what of the file is not in the output or not
            colorized.
    """

    source: Path
    outputs: tuple[Path, ...]
    state: Literal["colored", "done", "in color", "left out", "failed"] = "failed"
    tone: Tone | None = None
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class _Batch:
    """What the jobs of a batch share.

    Attributes:
        lock: held while the model runs.
        sources: real paths of all photos of the batch, which no output may replace.
    """

    colorizer: Colorizer
    options: ColorizeOptions
    force: bool
    overwrite: bool
    compare: bool
    keep_time: bool
    lock: contextlib.AbstractContextManager
    sources: frozenset[str]


def colorize_files(
    colorizer: Colorizer,
    jobs: Sequence[Job],
    options: ColorizeOptions = DEFAULT_OPTIONS,
    *,
    force: bool = False,
    overwrite: bool = False,
    compare: bool = False,
    keep_time: bool = False,
) -> Iterator[FileResult]:
    """Colorize photos; some are read and written while the model runs on others.

    An output is up to date, and left as it is, if its EXIF says that it was made of the same photo
    by the same model with the same options. A photo that fails does not stop the others.

    Args:
        colorizer: the model.
        jobs: of `plan_jobs`.
        options: the options; several samples of a photo are numbered.
        force: colorize photos that are already in color, and what surrounds a print.
        overwrite: replace files that are not up to date.
        compare: also write photo and output side by side, at most 4096 px each.
        keep_time: give the outputs the times of access and modification of the photo.

    Yields:
        A result for each job, in their order.
    """
    is_exclusive = colorizer.device.type != "cpu"  # a GPU runs one photo after the other
    batch = _Batch(
        colorizer=colorizer,
        options=options,
        force=force,
        overwrite=overwrite,
        compare=compare,
        keep_time=keep_time,
        lock=threading.Lock() if is_exclusive else contextlib.nullcontext(),
        sources=frozenset(os.path.realpath(job.source) for job in jobs),
    )
    # One core per photo is faster than all cores for each photo in turn.
    threads = torch.get_num_threads()
    workers = max(1, min(_WORKERS, threads, len(jobs)))
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(threads // workers,)
    )
    pending: deque[Future[FileResult]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(_colorize_one, job, batch))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads that start later


def colorize_file(
    colorizer: Colorizer,
    image: ImageFile,
    options: ColorizeOptions = DEFAULT_OPTIONS,
    *,
    force: bool = False,
    sample_index: int = 0,
) -> Tensor:
    """Colorize one image file in memory, and record the provenance in its EXIF.

    Args:
        colorizer: the model.
        image: of `read_image_file`.
        options: the options.
        force: colorize a photo that is already in color, and what surrounds a print.
        sample_index: which of several samples is returned.

    Returns:
        The colorized image, of the type and shape of `image.rgb`.

    Raises:
        PhotoError: if the photo is already in color, or tinted by hand.
    """
    rgb = image.as_rgb8()
    photo_tone = analyze_tone(rgb)
    if photo_tone.is_colored and not force:
        raise PhotoError(f"the photo {_WHY_LEFT[photo_tone.tone]}")
    prediction = _predict(colorizer, image, rgb, options, _provenance(colorizer, options))
    colorized = guided_upsample(image.rgb, prediction.ab[sample_index], prediction.lightness)
    return colorized if force else photo_tone.keep_surroundings(image.rgb, colorized)


def _predict(
    colorizer: Colorizer,
    image: ImageFile,
    rgb: Tensor,
    options: ColorizeOptions,
    provenance: str,
    lock: contextlib.AbstractContextManager | None = None,
) -> Prediction:
    """Predict the colors of an image as seen in 8 bits, and record the provenance."""
    image.metadata.write_provenance(provenance)
    with lock or contextlib.nullcontext():
        (prediction,) = colorizer.predict([rgb], options)
    return prediction


def _colorize_one(job: Job, batch: _Batch) -> FileResult:
    """Do one job; every expected error becomes its result."""
    start = time.perf_counter()
    result = FileResult(job.source, _output_paths(job, batch.options.samples))
    if job.refusal:
        reason = f"{job.source} is left out: {job.refusal}"
        return FileResult(job.source, (), "left out", reason=reason)
    try:
        _process(job, batch, result)
    except (PhotoError, OSError) as error:
        result.reason = str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        result.reason = f"{job.source}: not enough memory to colorize it"
    if result.state == "colored":
        result.seconds = time.perf_counter() - start
    return result


def _process(job: Job, batch: _Batch, result: FileResult) -> None:
    """Read, colorize and write a photo, and fill in its result."""
    with as_photo_error(job.source):
        status = job.source.stat()  # first: reading changes the time of access
        digest = file_sha256(job.source)[:16]
    provenance = f"{_provenance(batch.colorizer, batch.options)} (source {digest})"
    files = (*result.outputs, job.comparison) if batch.compare else result.outputs
    for file in files:
        if os.path.realpath(file) in batch.sources:
            raise PhotoError(f"{job.source}: would replace {file}; choose another folder")
    if not batch.overwrite and _are_up_to_date(files, job.source, provenance):
        _keep_time(batch, files, status)
        result.state = "done"
        return
    image = read_image_file(job.source)
    rgb = image.as_rgb8()
    photo_tone = analyze_tone(rgb)
    result.tone = photo_tone.tone
    is_output = image.metadata.provenance is not None  # its colors may be pale
    if (photo_tone.is_colored or is_output) and not batch.force:
        result.state = "in color"
        reason = _OUTPUT_LEFT if is_output else _WHY_LEFT[result.tone]
        result.reason = f"{job.source} {reason}"
        return
    prediction = _predict(batch.colorizer, image, rgb, batch.options, provenance, batch.lock)
    colorized = prediction.apply_to(image.rgb)
    if not batch.force:
        colorized = [photo_tone.keep_surroundings(image.rgb, sample) for sample in colorized]
    for output, sample in zip(result.outputs, colorized, strict=True):
        write_image_file(image, sample, output)
    if batch.compare:
        write_image_file(*_side_by_side(image, colorized), job.comparison)
    _keep_time(batch, files, status)
    result.state = "colored"
    notes = [image.losses(format_of(job.target))]
    if photo_tone.prints and not batch.force:
        prints = "print is" if len(photo_tone.prints) == 1 else "prints are"
        notes.append(
            f"is colorized where its {prints}, the rest is kept; use --force --overwrite to "
            "colorize all of it"
        )
    result.reason = f"{job.source} {'; '.join(filter(None, notes))}" if any(notes) else ""


def _keep_time(batch: _Batch, files: Sequence[Path], status: os.stat_result) -> None:
    """Give the outputs the times of their photo, if asked for."""
    if batch.keep_time:
        for file in files:
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _output_paths(job: Job, samples: int | None) -> tuple[Path, ...]:
    """Return the outputs of a job: its target, or a numbered file for each sample."""
    if samples is None:
        return (job.target,)
    stem, suffix = job.target.stem, job.target.suffix
    names = (f"{stem}-sample{number}{suffix}" for number in range(1, samples + 1))
    return tuple(job.target.with_name(name) for name in names)


def _side_by_side(image: ImageFile, colorized: Sequence[Tensor]) -> tuple[ImageFile, Tensor]:
    """Put the gray photo and its colorized versions in a row, in 8 bits and of a limited size."""
    columns = 1 + len(colorized)
    side = min(_PANEL_SIDE, _WEBP_SIDE // columns)

    def panel(values: Tensor) -> Tensor:
        return limit_long_side(to_8_bit(values), side)

    gray = guided_upsample(panel(image.rgb), torch.zeros(2, 1, 1))
    row = torch.cat((gray, *map(panel, colorized)), 2)
    alpha = None if image.alpha is None else torch.cat([panel(image.alpha)] * columns, 2)
    return dataclasses.replace(image, rgb=row, alpha=alpha), row


def _provenance(colorizer: Colorizer, options: ColorizeOptions) -> str:
    return printable(f"{colorize.__version__}, {colorizer.describe(options)}")


def _are_up_to_date(files: Sequence[Path], source: Path, provenance: str) -> bool:
    """Tell whether all files exist and are up to date.

    Raises:
        PhotoError: if one of them is something else.
    """
    existing = [file for file in files if file.exists()]
    for file in existing:
        if not _is_up_to_date(file, provenance):
            raise PhotoError(
                f"{file} already exists and is not this output of {source}; use --overwrite to "
                "replace it"
            )
    return len(existing) == len(files)


def _is_up_to_date(file: Path, provenance: str) -> bool:
    """Tell whether a file is of this provenance, apart from the version of colorize."""
    try:
        recorded = read_provenance(file)
    except PhotoError:
        return False
    return recorded is not None and recorded.partition(", ")[2] == provenance.partition(", ")[2]
