"""SIGTERM and Ctrl-C: clean up before the end, or finish the current step first."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

# Python ignores a SystemExit that a signal raises inside a callback of a weak reference, of which
# imports have many; then the program goes on, and `GracefulStop` must know.
_exit_requested = False


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """End the program on SIGTERM as an exception does, so that incomplete files are removed.

    The same holds for SIGHUP, when the terminal is closed, unless it is ignored (nohup).
    """
    global _exit_requested
    _exit_requested = False
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # no SIGHUP on Windows
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, frame: object) -> NoReturn:
    global _exit_requested
    _exit_requested = True
    sys.exit(128 + number)


class GracefulStop:
    """Records a request to stop, so that the current step can be finished.

    Attributes:
        asked: whether SIGTERM or Ctrl-C was received.
        interrupted: whether it was Ctrl-C.
    """

    def __init__(self) -> None:
        self.asked = self.interrupted = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Record SIGTERM and the first Ctrl-C inside the block; a second Ctrl-C raises at once."""
        if threading.current_thread() is not threading.main_thread():  # which may set no handlers
            yield
            return
        self.asked = self.asked or _exit_requested

        def stop(number: int, frame: object) -> None:
            self.asked, self.interrupted = True, number == signal.SIGINT
            if self.interrupted:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
