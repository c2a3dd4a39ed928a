"""Work side by side: an iterable that runs ahead in a thread, and calls that follow in one."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1


class _End:
    """What the thread hands over last: the error that ended it, if any."""

    def __init__(self, error: BaseException | None):
        self.error = error


def prefetch(items: Iterable[T], count: int) -> Generator[T, None, None]:
    """Iterate in a thread, ahead of the consumer.

    The thread ends when the iterator is closed, after the item that it is working on.

    Args:
        items: what to iterate over; its errors are raised here, in their place.
        count: number of items that wait at most.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(count)
    is_closed = threading.Event()

    def put(item: T | _End) -> None:
        while not is_closed.is_set():
            try:
                return waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def run() -> None:
        try:
            for item in items:
                put(item)
                if is_closed.is_set():
                    return
        except BaseException as error:
            put(_End(error))
        else:
            put(_End(None))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        is_closed.set()
        thread.join()


class InTurn:
    """Runs calls one after the other in a thread of its own.

    Example:
        >>> calls = []
        >>> with InTurn(2) as thread:
        ...     for number in range(3):
        ...         thread.submit(calls.append, number)
        >>> calls
        [0, 1, 2]
    """

    def __init__(self, count: int, initializer: Callable[[], object] | None = None):
        """Start the thread.

        Args:
            count: number of calls that wait at most.
            initializer: what the thread calls first.
        """
        self._count = count
        self._pool = ThreadPoolExecutor(1, initializer=initializer)
        self._pending: deque[Future] = deque()

    def __enter__(self) -> "InTurn":
        return self

    def submit(self, function: Callable[..., object], *args: object) -> None:
        """Add a call, and wait while there are too many; raises the errors of earlier calls."""
        self._pending.append(self._pool.submit(function, *args))
        while len(self._pending) > self._count:
            self._pending.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._pending and kind is None:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
