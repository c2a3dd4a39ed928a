"""Requests that are polite and whole: few origins, growing pauses, bodies of the said length."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

import colorize

_TRIES, _TRIES_DAMAGED = 6, 3
_BACK_OFF = 1.0  # seconds, doubled each time, with full jitter
_LONGEST_WAIT = 3600.0  # seconds that a server may ask us to wait; beyond, the next call tries
_CONNECT_TIMEOUT, _STALL_TIMEOUT = 10.0, 30.0
_REDIRECTS = 5
_LATER = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class RetryableError(Exception):
    """An answer worth another try, after the seconds that the server asks for, if it does.

    `state` is what the photo is in the manifest when all tries end so.
    """

    def __init__(self, reason: str, wait: float | None = None, state: str = "failed"):
        super().__init__(reason)
        self.wait, self.state = wait, state


class PermanentError(Exception):
    """An answer that will not change: a state of the manifest, and why."""

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state = state


class HttpClient:
    """Connections to servers, shared by threads.

    Attributes:
        stopped: once it is set, nobody waits any longer.
    """

    def __init__(self, connections: int, purpose: str):
        """Ask nothing yet.

        Args:
            connections: kept open to a server.
            purpose: told to servers.
        """
        self.stopped = threading.Event()
        self._not_before = 0.0  # of the monotonic clock: all wait when one is asked to
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        self._session.headers["User-Agent"] = f"colorize-photos/{colorize.__version__} ({purpose})"
        self._session.headers["Accept-Encoding"] = "identity"

    def retrying(self, attempt: Callable[[], T]) -> T:
        """Call until it succeeds, with growing random pauses, or as long as the server asks."""
        for tried in itertools.count(1):
            self._sleep(self._not_before - time.monotonic())
            try:
                return attempt()
            except (requests.RequestException, HTTPError, RetryableError) as error:
                failure = (
                    error if isinstance(error, RetryableError) else RetryableError(_reason(error))
                )
                tries = _TRIES if failure.state == "failed" else _TRIES_DAMAGED
                too_long = (failure.wait or 0) > _LONGEST_WAIT
                if tried >= tries or too_long or self.stopped.is_set():
                    raise failure from error
            if failure.wait is None:
                self._sleep(random.uniform(0, _BACK_OFF * 2**tried))
            else:
                self._not_before = max(self._not_before, time.monotonic() + failure.wait)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self.stopped.wait(seconds):
            raise RetryableError("stopped")

    @contextmanager
    def answer(
        self, url: str, origins: tuple[str, ...], headers: dict | None = None
    ) -> Iterator[requests.Response]:
        """A good answer, its body not yet read; redirects are followed within `origins` only."""
        for _ in range(_REDIRECTS):
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(_CONNECT_TIMEOUT, _STALL_TIMEOUT),
            )
            with response:
                if response.is_redirect:
                    try:
                        url = urljoin(url, response.headers["Location"])
                        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
                    except ValueError as error:
                        raise PermanentError(
                            "bad", f"redirected to no address ({error})"
                        ) from error
                    if origin not in origins:
                        raise PermanentError("bad", f"redirected to {origin}, which is not asked")
                    continue
                _check_status(response)
                yield response
                return
        raise PermanentError("bad", f"more than {_REDIRECTS} redirects")


def save_body(
    response: requests.Response,
    file: BinaryIO,
    largest: int,
    deadline: float = float("inf"),
    bar: tqdm | None = None,
) -> None:
    """Copy an answer's body to a file as it comes, and see that it is whole."""
    copied, length = 0, response.headers.get("Content-Length")
    # read1 answers with what has come; read would wait for more, however slowly it drips.
    while chunk := response.raw.read1(2**16):
        file.write(chunk)
        copied += len(chunk)
        if bar is not None:
            bar.update(len(chunk))
        if copied > largest:
            raise PermanentError("bad", f"larger than {largest} bytes")
        if time.monotonic() > deadline:
            raise RetryableError("came too slowly")
    if length is not None and copied < int(length):
        raise RetryableError(f"cut after {copied} of {length} bytes")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (404, 410):
        raise PermanentError("gone", f"answered {status}")
    if status in _LATER:
        raise RetryableError(f"answered {status}", _retry_after(response))
    if status not in (200, 206, 416):
        raise PermanentError("bad", f"answered {status}")


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After")
    if text is None:
        return None
    try:
        return Retry().parse_retry_after(text)
    except InvalidHeader:
        return None


def _reason(error: Exception) -> str:
    """A network error in a few words: they nest, and name our objects."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "timed out"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the connection broke" if isinstance(error, HTTPError) else str(error)[:100]
