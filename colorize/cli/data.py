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
    download = commands.add_parser(
        "download",
        help="fetch the Unsplash Lite data set; resumable",
        description="Fetch the Unsplash Lite data set and prepare it for training. Resumable: "
        "re-run the command, and completed photos are skipped.",
    )
    _add_output(download, "folder of the data set")
    download.add_argument(
        "--accept-terms", action="store_true", help="accept the terms of use, which are printed"
    )
    download.add_argument(
        "--version", default="latest", help="of the data set, such as 1.4.1 (default: latest)"
    )
    download.add_argument(
        "--source", metavar="ZIP|DIR", type=Path, help="the archive, if you already have it"
    )
    _add_number(download, "--size", 320, "short side in pixels to request")
    download.add_argument(
        "--limit", type=positive, metavar="N", help="fetch only the first N photos of the catalog"
    )
    _add_number(download, "--workers", 8, "photos fetched at the same time")
    download.add_argument(
        "--retry", action="store_true", help="request photos again that were gone or bad"
    )
    download.set_defaults(command=_download)

    prepare = commands.add_parser(
        "prepare",
        help="prepare folders or tar files of your own photos for training",
        description="Copy photos, shrunk and classified, into a folder for training. Folders and "
        "tar files named train, val or test decide the splits. Resumable: re-run the command, and "
        "completed photos are skipped.",
    )
    prepare.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder or tar file")
    _add_output(prepare, "the prepared folder")
    _add_number(prepare, "--size", 320, "largest short side in pixels")
    prepare.add_argument(
        "--split",
        default="",
        choices=("train", "val", "test"),
        help="of photos whose path does not name one (default: by a hash, 60 / 20 / 20)",
    )
    prepare.set_defaults(command=_prepare)

    shard = commands.add_parser(
        "shard",
        help="write a prepared folder as tar shards, for data beyond one disk",
        description="Write the good photos of a prepared folder as tar shards (WebDataset).",
    )
    shard.add_argument("folder", metavar="DIR", help="from `colorize download` or `prepare`")
    _add_output(shard, "folder of the shards")
    _add_number(shard, "--photos-per-shard", 1000, "largest number of photos in a shard")
    _add_number(shard, "--min-side", 1, "exclude photos with a side of fewer pixels")
    shard.set_defaults(command=_shard)


def _add_output(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="DIR", type=Path, help=text)


def _add_number(parser: argparse.ArgumentParser, option: str, default: int, text: str) -> None:
    text = f"{text} (default: {default})"
    parser.add_argument(option, type=positive, default=default, metavar="N", help=text)


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
        noun = "photo" if failed == 1 else "photos"
        print(f"colorize: {failed} {noun} failed; re-run the command to try them again")
    return 1 if failed else 0
