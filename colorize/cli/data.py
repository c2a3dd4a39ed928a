"""The commands `download`, `prepare` and `shard`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from colorize.cli.options import positive

if TYPE_CHECKING:
    from colorize.data.manifest import Manifest


def add(commands: argparse._SubParsersAction) -> None:
    """Make the commands known."""
    download = commands.add_parser(
        "download",
        help="fetch the Unsplash Lite data set; the same command again goes on",
        description="Fetch the Unsplash Lite data set and make it ready for training.",
    )
    download.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    download.add_argument(
        "--accept-terms", action="store_true", help="accept the terms of use, which are shown"
    )
    download.add_argument("--version", default="latest", help="such as 1.4.1 (latest)")
    download.add_argument(
        "--source", metavar="ZIP|DIR", type=Path, help="the archive, if you have it already"
    )
    download.add_argument(
        "--size", type=positive, default=320, metavar="N", help="short side to ask for (320)"
    )
    download.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N photos of the catalogue"
    )
    download.add_argument("--workers", type=positive, default=8, metavar="N", help="at a time (8)")
    download.add_argument(
        "--retry", action="store_true", help="ask again for photos that were gone or bad"
    )
    download.set_defaults(command=_download)

    prepare = commands.add_parser(
        "prepare",
        help="make folders or tar files of your own photos ready for training",
        description=(
            "Copy photos, shrunk and judged, into a folder made for training. Folders and tar "
            "files named train, val or test decide the parts. The same command again goes on."
        ),
    )
    prepare.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder or tar file")
    prepare.add_argument("-o", "--output", required=True, metavar="DIR", type=Path)
    prepare.add_argument(
        "--size", type=positive, default=320, metavar="N", help="short side at most (320)"
    )
    prepare.add_argument(
        "--part",
        default="",
        choices=("train", "val", "test"),
        help="of photos whose path does not say so (by hash: 60 / 20 / 20)",
    )
    prepare.set_defaults(command=_prepare)

    shard = commands.add_parser(
        "shard",
        help="write a prepared folder as tar shards, for data beyond one disk",
        description="Write the good photos of a prepared folder as tar shards (WebDataset).",
    )
    shard.add_argument("folder", metavar="DIR", help="from `colorize download` or `prepare`")
    shard.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the shards")
    shard.add_argument(
        "--photos", type=positive, default=1000, metavar="N", help="in a shard, at most (1000)"
    )
    shard.add_argument(
        "--min-side", type=positive, default=1, metavar="N", help="leave smaller photos out"
    )
    shard.set_defaults(command=_shard)


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
    manifest = lite.download(args.version, args.source, args.limit, args.retry)
    return _sum_up(manifest)


def _prepare(args: argparse.Namespace) -> int:
    from colorize.data.prepare import prepare

    return _sum_up(prepare(args.sources, args.output, args.size, args.part))


def _shard(args: argparse.Namespace) -> int:
    from colorize.data.webdataset import write_shards

    shards = write_shards(args.folder, args.output, args.photos, args.min_side)
    counts = ", ".join(f"{len(paths)} {part}" for part, paths in shards.items())
    print(f"{args.output}: {counts} shards")
    return 0


def _sum_up(manifest: "Manifest") -> int:
    """Print what became of the photos; 1 if some are to be tried again."""
    print(f"{manifest.path}: {manifest}")
    if manifest.damaged:
        print(f"    {manifest.damaged} damaged lines were dropped, their photos looked at again")
    unusable = [entry for entry in manifest.entries.values() if entry.state in ("bad", "failed")]
    for entry in unusable[:5]:
        print(f"    {entry.state}: {entry.id}: {entry.reason}")
    if len(unusable) > 5:
        print(f"    and {len(unusable) - 5} more; the reasons are in the manifest")
    failed = manifest.counts()["failed"]
    if failed:
        print(f"colorize: {failed} photos failed; the same command tries them again")
    return 1 if failed else 0
