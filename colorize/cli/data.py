"""The commands `download`, `prepare` and `shard`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from colorize.cli.options import positive

if TYPE_CHECKING:
    from colorize.data.manifest import Manifest


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser."""
    _add_download(commands)
    _add_prepare(commands)
    _add_shard(commands)


def _add_download(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "download",
        help="fetch the Unsplash Lite data set; resumable",
        description="Fetch the Unsplash Lite data set and prepare it for training. Resumable: "
        "re-run the command, and completed photos are skipped.",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", type=Path, help="folder of the data set"
    )
    parser.add_argument(
        "--accept-terms", action="store_true", help="accept the terms of use, which are printed"
    )
    parser.add_argument(
        "--version", default="latest", help="of the data set, such as 1.4.1 (default: latest)"
    )
    parser.add_argument(
        "--source", metavar="ZIP|DIR", type=Path, help="the archive, if you already have it"
    )
    parser.add_argument(
        "--size",
        type=positive,
        default=320,
        metavar="N",
        help="short side in pixels to request (default: 320)",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="fetch only the first N photos of the catalog"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=8,
        metavar="N",
        help="photos fetched at the same time (default: 8)",
    )
    parser.add_argument(
        "--retry", action="store_true", help="request photos again that were gone or bad"
    )
    parser.set_defaults(command=_download)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "prepare",
        help="prepare folders or tar files of your own photos for training",
        description="Copy photos, shrunk and classified, into a folder for training. Folders and "
        "tar files named train, val or test decide the splits. Resumable: re-run the command, and "
        "completed photos are skipped.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder or tar file")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", type=Path, help="the prepared folder"
    )
    parser.add_argument(
        "--size",
        type=positive,
        default=320,
        metavar="N",
        help="largest short side in pixels (default: 320)",
    )
    parser.add_argument(
        "--split",
        default="",
        choices=("train", "val", "test"),
        help="of photos whose path does not name one (default: by a hash, 60 / 20 / 20)",
    )
    parser.set_defaults(command=_prepare)


def _add_shard(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "shard",
        help="write a prepared folder as tar shards, for data beyond one disk",
        description="Write the good photos of a prepared folder as tar shards (WebDataset).",
    )
    parser.add_argument("folder", metavar="DIR", help="from `colorize download` or `prepare`")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder of the shards")
    parser.add_argument(
        "--photos-per-shard",
        type=positive,
        default=1000,
        metavar="N",
        help="largest number of photos in a shard (default: 1000)",
    )
    parser.add_argument(
        "--min-side",
        type=positive,
        default=1,
        metavar="N",
        help="exclude photos with a side of fewer pixels (default: 1)",
    )
    parser.set_defaults(command=_shard)


def _download(args: argparse.Namespace) -> int:
    from colorize.data.unsplash.download import TERMS, UnsplashLite

    lite = UnsplashLite(args.output, args.size, args.workers)
    if not lite.has_accepted:
        print(TERMS)
        if not args.accept_terms:
            if not sys.stdin.isatty():
                raise ValueError("accept the terms of use above: --accept-terms")
            if input("Type yes to accept them: ").strip().lower() != "yes":
                raise ValueError("the terms of use were not accepted; nothing was fetched")
        lite.accept_terms()
    manifest = lite.download(args.version, args.source, args.limit, retry=args.retry)
    return _print_summary(manifest)


def _prepare(args: argparse.Namespace) -> int:
    from colorize.data.prepare import prepare

    return _print_summary(prepare(args.sources, args.output, args.size, args.split))


def _shard(args: argparse.Namespace) -> int:
    from colorize.data.shard_writer import write_shards

    shards = write_shards(args.folder, args.output, args.photos_per_shard, args.min_side)
    counts = ", ".join(f"{len(paths)} {split}" for split, paths in shards.items())
    print(f"{args.output}: {counts} shards")
    return 0


def _print_summary(manifest: "Manifest") -> int:
    """Print what became of the photos; 1 if some are to be tried again."""
    print(f"{manifest.path}: {manifest}")
    if manifest.damaged:
        print(f"    {manifest.damaged} damaged lines were dropped, their photos processed again")
    unusable = [entry for entry in manifest.entries.values() if entry.state in ("bad", "failed")]
    for entry in unusable[:5]:
        print(f"    {entry.state}: {entry.id}: {entry.reason}")
    if len(unusable) > 5:
        print(f"    and {len(unusable) - 5} more; the reasons are in the manifest")
    failed = manifest.counts()["failed"]
    if failed:
        print(f"colorize: {failed} photos failed; re-run the command to try them again")
    return 1 if failed else 0
