"""HTTP requests with an allow-list of origins, backoff, and complete bodies."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests import Response
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

import colorize

_TRIES, _TRIES_DAMAGED = 6, 3
_BACKOFF = 1.0  # seconds, doubled each time, with full jitter
_MAX_WAIT = 3600.0  # seconds; if a server asks for a longer wait, the request fails
_CONNECT_TIMEOUT, _STALL_TIMEOUT = 10.0, 30.0  # seconds
_MAX_REDIRECTS = 5
_RETRYABLE_STATUSES = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class RetryableError(Exception):
    """A failure worth another try.

    Attributes:
        wait: seconds that the server asks to wait, if it does.
        state: of the photo in the manifest if the last try fails like this.
    """

    def __init__(self, reason: str, wait: float | None = None, state: str = "failed"):
        super().__init__(reason)
        self.wait, self.state = wait, state


class PermanentError(Exception):
    """A failure that another try will not change.

    Attributes:
        state: of the photo in the manifest.
    """

    def __init__(self, state: str, reason: str):
        super().__init__(reason)
        self.state = state


class HttpClient:
    """A client that threads share.

    Attributes:
        stopped: once it is set, no thread waits any longer.
    """

    def __init__(self, connections: int, purpose: str):
        """Open no connection yet.

        Args:
            connections: kept open to a server.
            purpose: sent to servers in the user agent.
        """
        self.stopped = threading.Event()
        self._not_before = 0.0  # on the monotonic clock: all threads wait if one is asked to
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        self._session.headers["User-Agent"] = f"colorize-photos/{colorize.__version__} ({purpose})"
        self._session.headers["Accept-Encoding"] = "identity"

    def retrying(self, attempt: Callable[[], T]) -> T:
        """Call until success, with random exponential backoff or the wait that a server requests.

        Raises:
            PermanentError: at once.
            RetryableError: after the last try, or once `stopped` is set.
        """
        tried = 0
        while True:
            self._sleep(self._not_before - time.monotonic())
            tried += 1
            try:
                return attempt()
            except (requests.RequestException, HTTPError, RetryableError) as error:
                failure = (
                    error if isinstance(error, RetryableError) else RetryableError(_reason(error))
                )
                tries = _TRIES if failure.state == "failed" else _TRIES_DAMAGED
                too_long = (failure.wait or 0) > _MAX_WAIT
                if tried >= tries or too_long or self.stopped.is_set():
                    raise failure from error
            if failure.wait is None:
                self._sleep(random.uniform(0, _BACKOFF * 2**tried))
            else:
                self._not_before = max(self._not_before, time.monotonic() + failure.wait)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self.stopped.wait(seconds):
            raise RetryableError("stopped")

    @contextmanager
    def get(
        self, url: str, origins: tuple[str, ...], headers: Mapping[str, str] | None = None
    ) -> Iterator[Response]:
        """Request a URL and yield the response, its body not yet read.

        Args:
            url: what to request.
            origins: the only ones to which redirects are followed, such as "https://host".
            headers: sent besides the client's own.

        Raises:
            PermanentError, RetryableError: if the status is no success, or a redirect is refused.
        """
        for _ in range(_MAX_REDIRECTS):
            response = self._session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(_CONNECT_TIMEOUT, _STALL_TIMEOUT),
            )
            with response:
                if not response.is_redirect:
                    _check_status(response)
                    yield response
                    return
                url = _redirect_target(url, response, origins)
        raise PermanentError("bad", f"more than {_MAX_REDIRECTS} redirects")


def _redirect_target(url: str, response: Response, origins: tuple[str, ...]) -> str:
    try:
        target = urljoin(url, response.headers["Location"])
        parts = urlsplit(target)
    except ValueError as error:
        raise PermanentError("bad", f"redirected to no address ({error})") from error
    origin = f"{parts.scheme}://{parts.netloc}"
    if origin not in origins:
        raise PermanentError("bad", f"redirected to {origin}, which is not allowed")
    return target


def save_body(
    response: Response,
    file: IO[bytes],
    max_bytes: int,
    deadline: float = float("inf"),
    bar: tqdm | None = None,
) -> None:
    """Write the body of a response to a file as it arrives, and check that it is complete.

    Args:
        response: its body not yet read.
        file: opened for writing.
        max_bytes: a longer body is refused.
        deadline: on the monotonic clock, in seconds.
        bar: updated by the bytes written.

    Raises:
        PermanentError: if the body is too long.
        RetryableError: if it is shorter than announced, or late.
    """
    copied, length = 0, response.headers.get("Content-Length")
    # read1 returns what has arrived; read would wait for more, however slowly it drips.
    while chunk := response.raw.read1(2**16):
        file.write(chunk)
        copied += len(chunk)
        if bar is not None:
            bar.update(len(chunk))
        if copied > max_bytes:
            raise PermanentError("bad", f"larger than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise RetryableError("arrived too slowly")
    if length is not None and copied < int(length):
        raise RetryableError(f"cut after {copied} of {length} bytes")


def _check_status(response: Response) -> None:
    status = response.status_code
    if status in (404, 410):
        raise PermanentError("gone", f"answered {status}")
    if status in _RETRYABLE_STATUSES:
        raise RetryableError(f"answered {status}", _retry_after(response))
    if status not in (200, 206, 416):
        raise PermanentError("bad", f"answered {status}")


def _retry_after(response: Response) -> float | None:
    text = response.headers.get("Retry-After")
    if text is None:
        return None
    try:
        return Retry().parse_retry_after(text)
    except InvalidHeader:
        return None


def _reason(error: Exception) -> str:
    """Describe a network error in a few words; its own text nests, and names our objects."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "timed out"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the connection broke" if isinstance(error, HTTPError) else str(error)[:100]
