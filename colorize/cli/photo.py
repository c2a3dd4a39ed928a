"""The command `photo`."""

import argparse
import io
import json
import sys
from pathlib import Path

import colorize
from colorize.cli.options import add_network, add_wishes, positive

_STREAM = Path("-")


def add(commands: argparse._SubParsersAction) -> None:
    """Make the command known."""
    photo = commands.add_parser(
        "photo",
        help="color photos",
        description="Color photos: the same kind of file, in full size, with the photo's own "
        "lightness, transparency, 16 bits and EXIF. The photos themselves are never changed. What "
        "is done already is not done again. Status: 0 all are colored, 1 some are not.",
    )
    photo.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="photos, folders (their tree is kept), patterns such as 'album/*.jpg'; - reads one "
        "photo from the standard input",
    )
    photo.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="a folder (colored); of one photo also a file; - is the standard output",
    )
    add_network(photo)
    add_wishes(photo)
    photo.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="that many different paintings of each photo; of a network with classes",
    )
    photo.add_argument(
        "--hint",
        action="append",
        default=[],
        type=_hint,
        metavar="X,Y,COLOR",
        help="a color at a pixel of the photo, such as '120,80,#aa3311' or 120,80,teal; may be "
        "given several times; of a network with hints",
    )
    photo.add_argument("--force", action="store_true", help="also photos that are in color already")
    photo.add_argument("--overwrite", action="store_true", help="replace other files in OUT")
    photo.add_argument(
        "--compare",
        action="store_true",
        help="also write photo and painting side by side, of at most 4096 px each, into "
        "OUT/compared",
    )
    photo.add_argument(
        "--json", action="store_true", help="a line of JSON for each photo, for programs"
    )
    photo.set_defaults(command=_photo)


def _hint(text: str):
    from colorize.models.hints import parse_hint

    try:
        return parse_hint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _photo(args: argparse.Namespace) -> int:
    from colorize.inference.batch import plan_jobs
    from colorize.inference.colorizer import ColorizeOptions

    is_stream = "-" in args.paths or args.output == _STREAM
    if is_stream and (len(args.paths) > 1 or args.json or args.compare or args.samples):
        raise ValueError("- is for one photo, without --samples, --compare and --json")
    if is_stream:
        _check_output(args)
    jobs = [] if is_stream else plan_jobs(args.paths, args.output or Path("colored"))
    if args.hint and len(jobs) > 1:
        raise ValueError(f"--hint is for one photo, there are {len(jobs)}")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    options = ColorizeOptions(args.seed, args.vividness, args.size, tuple(args.hint), args.samples)
    if is_stream:
        return _stream(args, colorizer, options)
    return _files(args, colorizer, jobs, options)


def _files(args, colorizer, jobs, options) -> int:
    """Color files; says what becomes of each."""
    from tqdm import tqdm

    from colorize.inference.batch import colorize_files

    counts = dict.fromkeys(("colored", "done", "in color", "failed"), 0)
    reports = colorize_files(colorizer, jobs, options, args.force, args.overwrite, args.compare)
    quiet = len(jobs) == 1 or not sys.stderr.isatty()
    for report in tqdm(reports, "coloring", len(jobs), unit="photo", disable=quiet):
        counts[report.state] += 1
        if args.json:
            tqdm.write(json.dumps(vars(report), default=str))
        elif report.state == "colored":
            tqdm.write("\n".join(map(str, report.paintings)))
        if report.reason:
            tqdm.write(f"colorize: {report.reason}", file=sys.stderr)
    left = counts["in color"] + counts["failed"]
    if len(jobs) > 1 and not args.json:
        words = {"done": "done before", "in color": "in color already (--force)"}
        print(", ".join(f"{n} {words.get(state, state)}" for state, n in counts.items() if n))
    elif counts["done"] and not args.json:
        print(f"{report.paintings[0]} is done already; --overwrite paints it again")
    return 1 if left else 0


def _stream(args, colorizer, options) -> int:
    """Color one photo from the standard input, or to the standard output."""
    from colorize.inference.batch import colorize_file, matching
    from colorize.io.image_file import encode, read_image_file, write_image_file

    (given,) = args.paths
    found = [given] if given == "-" else matching(given)
    if len(found) > 1:
        raise ValueError(f"- is for one photo, {given} are {len(found)}")
    file = io.BytesIO(sys.stdin.buffer.read()) if given == "-" else found[0]
    if given == "-" and not file.getbuffer():
        raise ValueError("the standard input is empty")
    original = read_image_file(file)
    painted = colorize_file(colorizer, original, options, args.force)
    if original.left:
        print(f"colorize: {given} {original.left}", file=sys.stderr)
    if args.output in (None, _STREAM):
        sys.stdout.buffer.write(encode(original, painted, original.kind))
    else:
        write_image_file(original, painted, args.output)
    return 0


def _check_output(args) -> None:
    """Refuse what a single painting cannot be written to, before it is painted."""
    from colorize.io.image import FORMAT_BY_SUFFIX

    if args.output in (None, _STREAM):
        if sys.stdout.isatty():
            raise ValueError("a photo is nothing for a terminal: -o FILE, or > FILE")
        return
    if args.output.is_dir() or args.output.suffix.lower() not in FORMAT_BY_SUFFIX:
        kinds = ", ".join(FORMAT_BY_SUFFIX)
        raise ValueError(f"{args.output}: of - the output is a file, of a kind {kinds}")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} is there already; --overwrite replaces it")
