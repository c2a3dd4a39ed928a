"""How options of the command line are read."""

import argparse
from collections.abc import Callable


def number(kind: type, least: float, none: bool = False) -> Callable[[str], object]:
    """A reader of an option's number; what it refuses it says, argparse adds the option's name."""
    name = "a whole number" if kind is int else "a number"
    wanted = f"{name} from {least} up" + (", or none" if none else "")

    def read(text: str) -> object:
        if none and text == "none":
            return text
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not number >= least:
            raise argparse.ArgumentTypeError(f"needs {wanted}, got {text!r}")
        return number

    return read


count = number(int, 0)
positive = number(int, 1)
