"""Atomic writing of files, and their digests."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

_NAME_CHARACTERS = 40  # of a temporary name: file systems accept 255 bytes
_counter = itertools.count()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, renamed to `path` when the block succeeds.

    No incomplete file ever has the final name, and a failed one is removed. Errors of the system
    name `path`, never the hidden one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f".{path.name[:_NAME_CHARACTERS]}.{os.getpid()}-{next(_counter)}.part"
    tmp = path.with_name(name)
    try:
        yield tmp
        tmp.replace(path)
    except OSError as error:
        if error.filename != os.fspath(tmp):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        tmp.unlink(missing_ok=True)


def file_sha256(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
