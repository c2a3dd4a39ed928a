"""The command `colorize`; a module for each group of its commands."""

import argparse
import errno
import os
import sys
import warnings

import colorize
from colorize.cli import data, demo, evaluate, models, photo, train, video

_BROKEN_PIPE = 141  # exit status, as shells count: 128 + SIGPIPE
# What says by itself what is wrong; an ImportError names the extra to install.
_KNOWN = (ValueError, OSError, ArithmeticError, ImportError)


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 some photos failed, 2 not possible."""
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
            warnings.showwarning = _say
            status = args.command(args)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # whoever reads the output has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it
        return _BROKEN_PIPE
    except PhotoError as error:
        # Out of a reading process it comes with that one's traceback; the last line says it all.
        reason = str(error).strip().splitlines()[-1].removeprefix("colorize.io.image.PhotoError: ")
        print(f"colorize: {reason}", file=sys.stderr)
        return 2
    except (*_KNOWN, CheckpointError, WeightsError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        advice = "; the disk is full: free some space, the same command goes on" if full else ""
        print(f"colorize: {error}{advice}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = getattr(args, "goes_on", True)
        advice = "; the same command goes on from here" if goes_on else ""
        print(f"\ncolorize: stopped{advice}", file=sys.stderr)
        return 130


def _say(message: Warning | str, *_) -> None:
    """A warning as a line for people."""
    print(f"colorize: {str(message).strip()}", file=sys.stderr)


def _parser(argv: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorize", description=colorize.__doc__)
    parser.add_argument("--version", action="version", version=colorize.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data.add(commands)
    train.add(commands, argv)
    photo.add(commands)
    video.add(commands)
    demo.add(commands)
    models.add(commands)
    evaluate.add(commands)
    return parser
