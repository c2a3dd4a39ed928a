"""The command `demo`."""

import argparse
import sys

import colorize
from colorize.cli.options import add_network, positive

_LOOPBACK = "127.0.0.1"


def add(commands: argparse._SubParsersAction) -> None:
    """Make the command known."""
    demo = commands.add_parser(
        "demo",
        help="a web page on which photos are colored",
        description="Serve a web page: drop a photo, compare before and after, give color hints by "
        "a click, see samples and where the network doubts, download in full size. Needs the extra "
        "`demo`; no network beyond this machine is used. Ctrl-C ends it.",
    )
    add_network(demo)
    demo.add_argument(
        "--host",
        default=_LOOPBACK,
        metavar="ADDRESS",
        help="to listen at; 0.0.0.0 lets others in (127.0.0.1: this machine alone)",
    )
    demo.add_argument(
        "--port", type=positive, metavar="N", help="to listen at (the first free one from 7860 on)"
    )
    demo.add_argument(
        "--max-upload", type=positive, default=50, metavar="MB", help="largest photo (50)"
    )
    demo.set_defaults(command=_demo, goes_on=False)


def _demo(args: argparse.Namespace) -> int:
    print("colorize: starting, which takes some seconds", file=sys.stderr, flush=True)
    colorizer = colorize.Colorizer.from_pretrained(args.model, args.device)
    from colorize.app.gradio_app import serve

    if args.host not in (_LOOPBACK, "localhost", "::1"):
        print(
            f"colorize: whoever reaches {args.host} may upload photos",
            file=sys.stderr,
        )
    serve(colorizer, args.host, args.port, args.max_upload)
    return 0
