"""The command `photo`."""

import argparse
import sys
from pathlib import Path

import colorize
from colorize.cli.options import number


def add(commands: argparse._SubParsersAction) -> None:
    """Make the command known."""
    photo = commands.add_parser("photo", help="color photos")
    photo.add_argument("files", nargs="+", metavar="FILE")
    photo.add_argument("--model", required=True, metavar="RUN", help="a run's folder")
    photo.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    photo.add_argument("--seed", type=int, default=0, help="for networks with noise (0)")
    photo.add_argument(
        "--vividness",
        type=number(float, 0),
        metavar="X",
        help="from 0, dull, to 1, vivid and spotty; of a network with classes (its own)",
    )
    photo.add_argument("--overwrite", action="store_true", help="replace what is in DIR")
    photo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    photo.set_defaults(command=_photo)


def _photo(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from colorize.photos import PhotoError, output_path

    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"-o needs a folder, {args.output} is a file")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    failed = 0
    sources: dict[Path, str] = {}
    for file in tqdm(args.files, desc="coloring", disable=len(args.files) == 1):
        path = output_path(file, args.output)
        try:
            if path in sources:
                raise PhotoError(f"{file}: {path} is the painting of {sources[path]} already")
            if path.exists() and Path(file).exists() and path.samefile(file):
                raise PhotoError(f"{file}: would replace itself; choose another folder")
            if path.exists() and not args.overwrite:
                raise PhotoError(f"{file}: {path} is there already; --overwrite replaces it")
            painting = colorizer(colorize.read_photo(file), args.seed, args.vividness)
            colorize.write_photo(painting, path)
            sources[path] = file
            tqdm.write(str(path))
        except (PhotoError, OSError) as error:
            failed += 1
            tqdm.write(f"colorize: {error}", file=sys.stderr)
    if len(args.files) > 1:
        print(f"{len(args.files) - failed} colored, {failed} failed")
    return 1 if failed else 0
