"""The command `colorize`; a module for each group of its commands."""

import argparse
import errno
import os
import sys
import warnings

import colorize
from colorize.cli import data, demo, evaluate, models, photo, presets, train, video

_BROKEN_PIPE = 141  # exit status as in shells: 128 + SIGPIPE
# Errors whose message says what is wrong; an ImportError names the extra to install.
_USER_ERRORS = (ValueError, OSError, ArithmeticError, ImportError)


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 success, 1 some photos failed, 2 the command is not possible.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = _parser(argv).parse_args(argv)
    from colorize.io.image import PhotoError
    from colorize.models.encoders import WeightsError
    from colorize.utils.checkpoint import CheckpointError
    from colorize.utils.device import tune_malloc
    from colorize.utils.signals import exit_on_sigterm

    tune_malloc()
    try:
        with exit_on_sigterm(), warnings.catch_warnings():
            warnings.showwarning = _print_warning
            status = args.command(args)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # the reader of the output has closed it, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of it
        return _BROKEN_PIPE
    except PhotoError as error:
        # A worker process adds its traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix("colorize.io.image.PhotoError: ")
        print(f"colorize: {message}", file=sys.stderr)
        return 2
    except (*_USER_ERRORS, CheckpointError, WeightsError) as error:
        is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "; the disk is full: free some space and run the command again" if is_full else ""
        print(f"colorize: {error}{advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        advice = "; run the command again to continue" if args.resumable else ""
        print(f"\ncolorize: stopped{advice}", file=sys.stderr)
        return 130


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line, without its source."""
    print(f"colorize: {str(message).strip()}", file=sys.stderr)


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
