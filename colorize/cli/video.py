"""The command `video`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import colorize
from colorize.cli.options import add_network, add_wishes, number


def add(commands: argparse._SubParsersAction) -> None:
    """Make the command known."""
    video = commands.add_parser(
        "video",
        help="color a film",
        description="Color a film: the same size, rate and length, the sound as it was, and colors "
        "that stay from frame to frame. Prints how much they change, in CIELAB units a frame, of "
        "frames painted one by one and of the film. Needs the extra `video`. Status: 0 the film is "
        "colored, 1 as far as it could be read.",
    )
    video.add_argument("film", type=Path, metavar="IN", help="of any kind that FFmpeg reads")
    video.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="an .mp4, .m4v, .mov or .mkv (H.264) or a .webm (VP9)",
    )
    add_network(video)
    add_wishes(video)
    video.add_argument(
        "--steadiness",
        type=number(float, 0),
        default=0.9,
        metavar="X",
        help="how long colors last, from 0, each frame by itself, to below 1 (0.9: ten frames)",
    )
    video.add_argument("--force", action="store_true", help="also if it is in color already")
    video.add_argument("--overwrite", action="store_true", help="replace OUT")
    video.add_argument("--json", action="store_true", help="say it in JSON, for programs")
    video.set_defaults(command=_video, goes_on=False)


def _video(args: argparse.Namespace) -> int:
    from colorize.inference.colorizer import ColorizeOptions
    from colorize.video.colorize_video import colorize_video

    if args.output.is_file() and not args.overwrite:
        raise ValueError(f"{args.output} is there already; --overwrite replaces it")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    options = ColorizeOptions(args.seed, args.vividness, args.size)
    report = colorize_video(colorizer, args.film, args.output, options, args.steadiness, args.force)
    if args.json:
        print(json.dumps({"film": str(args.output)} | dataclasses.asdict(report)))
    else:
        print(f"{args.output}: {report.frames} frames, {report.shots} shots")
        print(
            f"flicker {report.flicker_painted:.2f} painted one by one, "
            f"{report.flicker_steady:.2f} steady (CIELAB units a frame)"
        )
    if report.damage:
        print(f"colorize: {args.film} is damaged: {report.damage}", file=sys.stderr)
    return 1 if report.damage else 0
