"""SIGTERM and Ctrl-C: end after the step under way, with everything saved."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Meanwhile SIGTERM ends the program as an error would: what is half written is tidied up.

    So does SIGHUP, of a terminal that is closed, unless it is ignored (nohup).
    """
    before = {}
    if threading.current_thread() is threading.main_thread():  # which alone may ask for signals
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # no SIGHUP on Windows
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda found, _: sys.exit(128 + found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class GracefulStop:
    """Notes that the system or the user asks to stop, so that what is under way can be ended.

    Attributes:
        asked: whether SIGTERM or Ctrl-C came.
        interrupted: whether it was Ctrl-C.
    """

    def __init__(self) -> None:
        self.asked = self.interrupted = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Meanwhile SIGTERM and the first Ctrl-C are noted; a second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():  # it may not
            yield
            return

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
