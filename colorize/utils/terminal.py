"""What is printed: names of files may be any bytes, and standard streams may be closed."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator


def printable(text: object) -> str:
    r"""Escape what cannot be shown: bytes that are not UTF-8 (as \xe9), controls, line breaks.

    Args:
        text: the name of a file, or a message of one line that holds some.
    """
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in str(text))


def _escape(code: int) -> str:
    # Python keeps a byte of a file name that is not UTF-8 as a surrogate.
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"


def is_closed(stream: object) -> bool:
    """Tell whether a standard stream was closed before `usable_streams` replaced it."""
    return getattr(stream, "name", None) == os.devnull


@contextlib.contextmanager
def usable_streams() -> Iterator[None]:
    """Make printing safe: escape characters that an encoding lacks, open what is closed.

    Otherwise the next file to be opened would take the place of a closed stream, and get what
    libraries print.
    """
    with contextlib.ExitStack() as stack:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, stack.enter_context(open(os.devnull, mode, encoding="utf-8")))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        yield
