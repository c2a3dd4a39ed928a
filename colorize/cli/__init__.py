"""The command `colorize`; a module for each group of its commands."""

import argparse
import errno
import logging
import os
import sys
import warnings

import colorize
from colorize.cli import data, demo, evaluate, models, photo, presets, train, video
from colorize.utils.terminal import is_closed, printable, usable_streams

_BROKEN_PIPE = 141  # exit status as in shells: 128 + SIGPIPE
# Errors whose message says what is wrong; an ImportError names the extra to install.
_USER_ERRORS = (ValueError, OSError, ArithmeticError, ImportError)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 success, 1 some photos failed, 2 the command is not possible.
    """
    argv = sys.argv[1:] if argv is None else argv
    with usable_streams():
        return _run(_parser(argv).parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    """Run a command; every expected error is printed in one line."""
    from PIL import Image

    from colorize.io.image import PhotoError
    from colorize.models.encoders import WeightsError
    from colorize.utils.checkpoint import CheckpointError
    from colorize.utils.device import tune_malloc
    from colorize.utils.signals import exit_on_sigterm

    tune_malloc()
    if is_closed(sys.stdout):
        _print_error("stdout is closed; what the command prints is lost")
    try:
        with exit_on_sigterm(), warnings.catch_warnings():
            warnings.showwarning = _print_warning
            # Pillow names no file; what is too large or damaged is refused or named by us.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", module=r"PIL\.")
            logging.getLogger("PIL").addHandler(logging.NullHandler())  # else printed to stderr
            status = args.command(args)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # the reader of the output has closed it, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of it
        return _BROKEN_PIPE
    except UnicodeError:  # a ValueError, but nothing that a user can mend
        raise
    except PhotoError as error:
        # A worker process adds its traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix("colorize.io.image.PhotoError: ")
        _print_error(message)
        return 2
    except (*_USER_ERRORS, CheckpointError, WeightsError) as error:
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "; the disk is full: free some space and run the command again" if is_full else ""
        _print_error(f"{error}{advice}")
        return 2
    except KeyboardInterrupt:
        advice = "; run the command again to continue" if args.resumable else ""
        print(file=sys.stderr)
        _print_error(f"stopped{advice}")
        return 130


def _print_error(message: str) -> None:
    """Print a message above progress bars; only line breaks are no escapes."""
    from tqdm import tqdm

    lines = map(printable, message.split("\n"))
    tqdm.write("colorize: " + "\n".join(lines), file=sys.stderr)


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, without its source."""
    _print_error(str(message).strip())


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorize", description=colorize.__doc__)
    parser.add_argument("--version", action="version", version=colorize.__version__)
    parser.set_defaults(resumable=True)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data.add(commands)
    presets.add(commands)
    train.add(commands, argv)
    photo.add(commands)
    video.add(commands)
    demo.add(commands)
    models.add(commands)
    evaluate.add(commands)
    return parser
