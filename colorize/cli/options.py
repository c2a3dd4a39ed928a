"""How options of the command line are read."""

import argparse
import math
from collections.abc import Callable


def number(
    kind: type, least: float, none: bool = False, most: float = math.inf
) -> Callable[[str], object]:
    """A reader of an option's number; what it refuses it says, argparse adds the option's name."""
    name = "a whole number" if kind is int else "a number"
    wanted = f"{name} from {least} " + ("up" if most == math.inf else f"to {most}")
    wanted += ", or none" if none else ""

    def read(text: str) -> object:
        if none and text == "none":
            return text
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"needs {wanted}, got {text!r}")
        return number

    return read


count = number(int, 0)
positive = number(int, 1)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where a network works."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps (auto)"
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Which network paints, and where."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a bundled network (see `colorize models`), a run's folder, a folder or ONNX file "
        "that `colorize export` wrote, or OWNER/NAME on the Hugging Face hub; colorful",
    )
    add_device(parser)


def add_wishes(parser: argparse.ArgumentParser) -> None:
    """How a network paints."""
    parser.add_argument(
        "--vividness",
        type=number(float, 0, most=1),
        metavar="X",
        help="from 0, dull, to 1, vivid and spotty; of a network with classes (its own)",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="short side in px that the network sees (its own)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of samples and of networks with noise (0)"
    )
