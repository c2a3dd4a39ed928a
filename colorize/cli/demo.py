"""The command `demo`."""

import argparse
import sys

import colorize
from colorize.cli.options import add_model, positive

_LOOPBACK = "127.0.0.1"


def add(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    demo = commands.add_parser(
        "demo",
        help="serve a web page that colorizes photos",
        description="Serve a web page: drop a photo, compare before and after, set color hints by "
        "clicking, view samples and the uncertainty of the model, download at full size. Needs the "
        "extra `demo`; no connection beyond this machine is made. Stop it with Ctrl-C.",
    )
    add_model(demo)
    demo.add_argument(
        "--host",
        default=_LOOPBACK,
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1, this machine only); 0.0.0.0 admits others",
    )
    demo.add_argument(
        "--port",
        type=positive,
        metavar="N",
        help="port to listen on (default: the first free one from 7860)",
    )
    demo.add_argument(
        "--max-upload",
        type=positive,
        default=50,
        metavar="MB",
        help="largest upload in MB (default: 50)",
    )
    demo.set_defaults(command=_demo, resumable=False)


def _demo(args: argparse.Namespace) -> int:
    print("colorize: starting, this takes some seconds", file=sys.stderr, flush=True)
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    from colorize.app.server import serve

    if args.host not in (_LOOPBACK, "localhost", "::1"):
        print(f"colorize: anyone who reaches {args.host} may upload photos", file=sys.stderr)
    serve(colorizer, args.host, args.port, args.max_upload)
    return 0
