"""The command `video`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import colorize
from colorize.cli.options import add_inference, add_model, number


def add(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    video = commands.add_parser(
        "video",
        help="colorize a video",
        description="Colorize a video. Size, frame rate, length, audio and subtitles are kept, and "
        "colors are smoothed over time. Prints the mean color change from frame to frame (flicker) "
        "with and without smoothing, in CIELAB units. Needs the extra `video`. Exit status: 0 if "
        "the whole video was colorized, 1 if parts of it could not be read.",
    )
    video.add_argument("video", type=Path, metavar="IN", help="in any format that FFmpeg reads")
    video.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="an .mp4, .m4v, .mov or .mkv (H.264) or a .webm (VP9)",
    )
    add_model(video)
    add_inference(video, "1")
    video.add_argument(
        "--temporal-smoothing",
        type=number(float, 0),
        default=0.9,
        metavar="X",
        help="how long colors persist, from 0 (every frame by itself) to below 1 (default: 0.9, "
        "about ten frames)",
    )
    video.add_argument(
        "--keyframe-interval",
        type=number(int, 1),
        default=4,
        metavar="N",
        help="predict one of N frames; those between take its colors, carried along the optical "
        "flow, where that explains them (default: 4; 1: predict all)",
    )
    video.add_argument(
        "--deinterlace",
        action="store_true",
        help="make an interlaced video progressive, by FFmpeg's filter bwdif (default: it stays "
        "interlaced, with the same field first)",
    )
    video.add_argument(
        "--compare",
        action="store_true",
        help="also write gray and colorized frames side by side (OUT-compared), and a sheet of the "
        "first frame of each shot (OUT-shots.jpg)",
    )
    video.add_argument(
        "--force", action="store_true", help="colorize a video that is already in color"
    )
    video.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    video.add_argument("--json", action="store_true", help="print the result as JSON")
    video.set_defaults(command=_video, resumable=False)


def _video(args: argparse.Namespace) -> int:
    from colorize.inference import ColorizeOptions
    from colorize.video.colorize_video import colorize_video
    from colorize.video.comparison import comparison_paths

    outputs = (args.output, *(comparison_paths(args.output) if args.compare else ()))
    for output in outputs:
        if output.is_file() and not args.overwrite:
            raise ValueError(f"{output} already exists; use --overwrite to replace it")
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    result = colorize_video(
        colorizer,
        args.video,
        args.output,
        ColorizeOptions(seed=args.seed, vividness=args.vividness, size=args.size, views=args.views),
        temporal_smoothing=args.temporal_smoothing,
        keyframe_interval=args.keyframe_interval,
        deinterlace=args.deinterlace,
        compare=args.compare,
        force=args.force,
    )
    if args.json:
        print(json.dumps({"video": str(args.output)} | dataclasses.asdict(result)))
    else:
        print(f"{args.output}: {result.frames} frames, {result.shots} shots")
        print(
            f"flicker {result.flicker_smoothed:.2f}, {result.flicker_unsmoothed:.2f} without "
            "temporal smoothing (CIELAB units per frame)"
        )
    if result.damage:
        print(f"colorize: {args.video} is damaged: {result.damage}", file=sys.stderr)
    return 1 if result.damage else 0
