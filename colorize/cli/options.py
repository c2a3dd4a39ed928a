"""Options that several commands share, and their types."""

import argparse
import math
from collections.abc import Callable

BUILTIN = "builtin"  # in place of a folder of photos: the demo photos of the package


def number(
    kind: type[int] | type[float], least: float, *, none: bool = False, most: float = math.inf
) -> Callable[[str], object]:
    """Create the type of a numeric option.

    Args:
        kind: int or float.
        least: the smallest value.
        none: whether the text `none`, which is returned as it is, is allowed too.
        most: the largest value.
    """
    expected = "an integer" if kind is int else "a number"
    expected += f" from {least} " + ("up" if most == math.inf else f"to {most}")
    expected += ", or none" if none else ""

    def parse(text: str) -> object:
        if none and text == "none":
            return text
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"needs {expected}, got {text!r}")
        return value

    return parse


count = number(int, 0)
positive = number(int, 1)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda, cuda:1 or mps (default: auto)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model and its device."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a bundled model (see `colorize models`), the folder of a run, a folder or ONNX file "
        "written by `colorize export`, or OWNER/NAME on the Hugging Face hub (default: colorful)",
    )
    add_device(parser)


def add_inference(parser: argparse.ArgumentParser, views: str) -> None:
    """Add the options that decide how a model predicts; `views` is the default, for people."""
    parser.add_argument(
        "--vividness",
        type=number(float, 0, most=1),
        metavar="X",
        help="from 0, the mean color, to 1, vivid and spotty; needs a model that predicts a "
        "distribution (default: the model's)",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="inference size: short side in pixels (default: the model's)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed of samples and of stochastic models (default: 0)",
    )
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 2, 6),
        metavar="N",
        help="how often the model sees each photo: 1, 2 (and its mirror image), or 6 (both at "
        f"three sizes); calmer colors, N times the time (default: {views})",
    )
