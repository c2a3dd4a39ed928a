"""The command `photo`."""

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import colorize
from colorize.cli.options import add_inference, add_model, number, positive
from colorize.utils.terminal import is_closed, printable

if TYPE_CHECKING:
    from colorize.inference import ColorizeOptions, Colorizer, Job
    from colorize.models.hints import Hint

_STREAM = "-"
_MAX_MEGAPIXELS = 500
_STATES = {
    "colored": "colored",
    "done": "done before",
    "in color": "already in color (--force)",
    "left out": "left out",
    "failed": "failed",
}


def add(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    photo = commands.add_parser(
        "photo",
        help="colorize photos",
        description="Colorize photos. Outputs have the format and the full size of the photo, and "
        "its lightness, transparency, 16 bits and EXIF. Photos are never modified. Finished files "
        "are skipped on re-runs. In folders, hidden files, thumbnails and trash of the system are "
        "skipped; images that cannot be read, such as camera raw, are named at the end. "
        "Exit status: 0 if all photos are colorized, 1 if some are not.",
    )
    photo.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="photos, folders (their tree is kept), or patterns such as 'scans/*.jpg'; - reads one "
        "photo from stdin",
    )
    photo.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a folder, or a file for a single photo; - writes to stdout (default: colored)",
    )
    add_model(photo)
    add_inference(photo, "2 if the model predicts a distribution, else 1")
    photo.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="write N different samples of each photo; needs a model that predicts a distribution "
        "(default: the most plausible colors only)",
    )
    photo.add_argument(
        "--hint",
        action="append",
        default=[],
        type=_hint,
        metavar="X,Y,COLOR",
        help="a color at a pixel of the photo, such as '120,80,#aa3311' or 120,80,teal; can be "
        "repeated; needs a model that supports hints",
    )
    photo.add_argument(
        "--force",
        action="store_true",
        help="colorize photos that are already in color or tinted by hand, and pages around prints",
    )
    photo.add_argument("--overwrite", action="store_true", help="replace other files in OUT")
    photo.add_argument(
        "--compare",
        action="store_true",
        help="also write photo and output side by side, at most 4096 px each, into OUT/compared",
    )
    photo.add_argument(
        "--keep-time",
        action="store_true",
        help="give the outputs the time of modification of the photo",
    )
    photo.add_argument(
        "--max-megapixels",
        type=number(float, 0.001),
        default=_MAX_MEGAPIXELS,
        metavar="X",
        help="refuse larger photos; 100 megapixels need about 1 GB of memory, with 16 bits per "
        f"channel 3 GB; a photo per CPU core, up to 4, is in memory (default: {_MAX_MEGAPIXELS})",
    )
    photo.add_argument("--json", action="store_true", help="print a line of JSON for each photo")
    photo.set_defaults(command=_photo)


def _hint(text: str) -> "Hint":
    from colorize.models.hints import parse_hint

    try:
        return parse_hint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _photo(args: argparse.Namespace) -> int:
    with _limit_pixels(args.max_megapixels):
        return _colorize(args)


@contextlib.contextmanager
def _limit_pixels(megapixels: float) -> Iterator[None]:
    """Set the size above which files are not read, as long as the command runs."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    # Pillow raises an error above twice that number, an integer even for --max-megapixels inf.
    Image.MAX_IMAGE_PIXELS = round(min(megapixels, 1e9) * 1e6 / 2)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _colorize(args: argparse.Namespace) -> int:
    from colorize.inference import ColorizeOptions, plan_jobs

    is_stream = _STREAM in args.paths or args.output == _STREAM
    is_batch = len(args.paths) > 1 or args.json or args.compare or args.samples or args.keep_time
    if is_stream and is_batch:
        raise ValueError("- is for one photo, without --samples, --compare, --keep-time and --json")
    if is_stream:
        _check_output(args)
    jobs = [] if is_stream else plan_jobs(args.paths, args.output or "colored")
    if args.hint and len(jobs) > 1:
        raise ValueError(f"--hint is for one photo, got {len(jobs)}")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    options = ColorizeOptions(
        seed=args.seed,
        vividness=args.vividness,
        size=args.size,
        views=args.views,
        hints=tuple(args.hint),
        samples=args.samples,
    )
    if is_stream:
        return _colorize_stream(args, colorizer, options)
    return _colorize_jobs(args, colorizer, jobs, options)


def _colorize_jobs(
    args: argparse.Namespace,
    colorizer: "Colorizer",
    jobs: Sequence["Job"],
    options: "ColorizeOptions",
) -> int:
    """Colorize files, and print the result of each."""
    from tqdm import tqdm

    from colorize.inference import colorize_files
    from colorize.io.photo_files import summarize_left_out

    counts = dict.fromkeys(_STATES, 0)
    results = colorize_files(
        colorizer,
        jobs,
        options,
        force=args.force,
        overwrite=args.overwrite,
        compare=args.compare,
        keep_time=args.keep_time,
    )
    is_quiet = len(jobs) == 1 or not sys.stderr.isatty()
    for result in tqdm(results, "colorizing", len(jobs), unit="photo", disable=is_quiet):
        counts[result.state] += 1
        if args.json:
            _show(json.dumps(vars(result), default=str))
        elif result.state == "colored":
            _show("\n".join(map(printable, result.outputs)))
        elif result.state == "done" and len(jobs) == 1:
            output = printable(result.outputs[0])
            _show(f"{output} is up to date; use --overwrite to colorize it again")
        if result.reason and result.state != "left out":
            _show(f"colorize: {printable(result.reason)}", sys.stderr)
    for line in summarize_left_out({job.source: job.refusal for job in jobs if job.refusal}):
        print(f"colorize: {printable(line)}", file=sys.stderr)
    if len(jobs) > 1 and not args.json:
        print(", ".join(f"{n} {_STATES[state]}" for state, n in counts.items() if n))
    return 1 if counts["in color"] + counts["left out"] + counts["failed"] else 0


def _show(text: str, file: TextIO | None = None) -> None:
    """Print above the progress bar; a stream that fails, such as a closed pipe, ends no batch."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):  # raised again by the last flush, once all is colorized
        tqdm.write(text, file=file)


def _colorize_stream(
    args: argparse.Namespace, colorizer: "Colorizer", options: "ColorizeOptions"
) -> int:
    """Colorize one photo from stdin, or to stdout."""
    from colorize.inference import colorize_file
    from colorize.io.image import format_of
    from colorize.io.image_file import read_image_file
    from colorize.io.image_writer import encode_image_file, write_image_file

    (path,) = args.paths
    image = read_image_file(_read_stdin() if path == "-" else _single_photo(path))
    colorized = colorize_file(colorizer, image, options, force=args.force)
    is_streamed = args.output in (None, _STREAM)
    image_format = image.format if is_streamed else format_of(Path(args.output))
    if losses := image.losses(image_format):
        print(f"colorize: {printable(f'{path} {losses}')}", file=sys.stderr)
    if is_streamed:
        sys.stdout.buffer.write(encode_image_file(image, colorized, image.format))
    else:
        write_image_file(image, colorized, args.output)
    return 0


def _read_stdin() -> io.BytesIO:
    if sys.stdin.isatty():
        raise ValueError("- reads a photo from stdin, which is a terminal; add < FILE")
    data = sys.stdin.buffer.read()
    if not data:
        raise ValueError("stdin is empty")
    return io.BytesIO(data)


def _single_photo(path_or_pattern: str) -> Path:
    from colorize.inference.jobs import expand_pattern
    from colorize.io.photo_files import refusal_of

    photos = expand_pattern(path_or_pattern)
    if len(photos) > 1:
        raise ValueError(f"- is for one photo, but {path_or_pattern} matches {len(photos)}")
    if reason := refusal_of(photos[0]):
        raise ValueError(f"{photos[0]} is left out: {reason}")
    return photos[0]


def _check_output(args: argparse.Namespace) -> None:
    """Check the output of a single photo before it is colorized."""
    from colorize.io.image import FORMAT_BY_SUFFIX

    if args.output in (None, _STREAM):
        if is_closed(sys.stdout):
            raise ValueError("stdout is closed; use -o FILE")
        if sys.stdout.isatty():
            raise ValueError(
                "refusing to write image data to a terminal; use -o FILE or redirect stdout"
            )
        return
    output = Path(args.output)
    if output.is_dir() or output.suffix.lower() not in FORMAT_BY_SUFFIX:
        suffixes = ", ".join(FORMAT_BY_SUFFIX)
        raise ValueError(
            f"{args.output}: reading from stdin requires an output file with one of these "
            f"suffixes: {suffixes}"
        )
    if output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} already exists; use --overwrite to replace it")
