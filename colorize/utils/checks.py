"""Checks of values that callers hand over, and counts in messages."""

import os
import shutil
from numbers import Integral
from pathlib import Path


def whole_number(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number, Python's or numpy's, as an int.

    Args:
        name: of the value, for the message.
        value: the value.
        low: the smallest one that is allowed.
        high: the largest one that is allowed.

    Raises:
        ValueError: if it is no whole number, or out of range.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if is_whole and (low is None or value >= low) and (high is None or value <= high):  # type: ignore[operator]
        return int(value)  # type: ignore[call-overload]
    if low is None:
        expected = "a whole number"
    else:
        expected = f"a whole number from {low}" + ("" if high is None else f" to {high}")
    raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_writable(folder: Path) -> int:
    """Check that files can be written into a folder, which need not exist yet.

    Returns:
        The free bytes.

    Raises:
        ValueError: if they cannot.
    """
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ValueError(f"{folder} cannot be a folder: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be written: no permission in {parent}")
    return shutil.disk_usage(parent).free


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, such as "1 photo" or "2 photos"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
