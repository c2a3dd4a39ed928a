"""HTTP requests with an allow-list of origins, backoff, and complete bodies."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests import Response
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

import colorize
from colorize.utils.files import file_sha256

_TRIES, _TRIES_DAMAGED = 6, 3
_BACKOFF = 1.0  # seconds, doubled each time, with full jitter
_MAX_WAIT = 3600.0  # seconds; if a server asks for a longer wait, the request fails
_CONNECT_TIMEOUT, _STALL_TIMEOUT = 10.0, 30.0  # seconds
_MAX_REDIRECTS = 5
_RETRYABLE_STATUSES = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")


class PermanentError(Exception):
    """A failure that another try will not change; `state` is the photo's in the manifest."""

    def __init__(self, reason: str, state: str = "bad"):
        super().__init__(reason)
        self.state = state


class RetryableError(Exception):
    """A failure worth another try.

    Attributes:
        wait: seconds that the server asks to wait, if it does.
        state: of the photo in the manifest if the last try fails like this.
    """

    def __init__(self, reason: str, wait: float | None = None, state: str = "failed"):
        super().__init__(reason)
        self.wait, self.state = wait, state


class HttpClient:
    """A client that threads share; once `stopped` is set, none of them waits any longer."""

    def __init__(self, connections: int, purpose: str):
        """Keep so many connections open, and send the purpose in the user agent."""
        self.stopped = threading.Event()
        self._not_before = 0.0  # on the monotonic clock: all threads wait if one is asked to
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=connections))
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
            except RetryableError as error:
                tries = _TRIES if error.state == "failed" else _TRIES_DAMAGED
                wait = error.wait
                if tried >= tries or (wait or 0) > _MAX_WAIT or self.stopped.is_set():
                    raise
            if wait is None:
                self._sleep(random.uniform(0, _BACKOFF * 2**tried))
            else:
                self._not_before = max(self._not_before, time.monotonic() + wait)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0 and self.stopped.wait(seconds):
            raise RetryableError("stopped")

    @contextlib.contextmanager
    def get(
        self, url: str, origins: tuple[str, ...], headers: Mapping[str, str] | None = None
    ) -> Iterator[Response]:
        """Request a URL and yield the response, whose body the caller reads.

        Args:
            url: what to request.
            origins: the only ones to which redirects are followed, such as "https://host".
            headers: sent besides the client's own.

        Raises:
            PermanentError: if the status is no success, or a redirect is refused.
            RetryableError: if the network fails, until the body is read, or the server is busy.
        """
        timeout = (_CONNECT_TIMEOUT, _STALL_TIMEOUT)
        try:
            for _ in range(_MAX_REDIRECTS):
                with self._session.get(
                    url, headers=headers, stream=True, allow_redirects=False, timeout=timeout
                ) as response:
                    if not response.is_redirect:
                        _check_status(response)
                        yield response
                        return
                    url = _redirect_target(url, response, origins)
        except (requests.RequestException, HTTPError) as error:
            raise RetryableError(_reason(error)) from error
        raise PermanentError(f"more than {_MAX_REDIRECTS} redirects")

    def fetch_archive(
        self,
        url: str,
        origins: tuple[str, ...],
        path: Path,
        sha256: str | None = None,
        *,
        progress: bool = True,
    ) -> None:
        """Fetch the data set's archive unless it exists, continuing where an earlier call stopped.

        Only tries that received nothing count. A partial file and its ETag are kept beside `path`.

        Args:
            url: of the archive.
            origins: to which it may redirect.
            path: of the complete file.
            sha256: the expected digest, None if it is not known.
            progress: whether to draw a progress bar.

        Raises:
            PermanentError, RetryableError: if it cannot be fetched.
        """
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        size_before = -1
        while True:
            try:
                self.retrying(lambda: self._resume(url, origins, partial, progress))
                break
            except RetryableError:
                size = partial.stat().st_size if partial.exists() else 0
                if size <= size_before:
                    raise
                size_before = size
        if sha256 and (digest := file_sha256(partial)) != sha256:
            bad = partial.replace(path.with_name(f"{path.name}.bad"))
            raise PermanentError(f"its SHA-256 is {digest}, not {sha256}; kept as {bad.name}")
        partial.replace(path)
        partial.with_suffix(".etag").unlink(missing_ok=True)

    def _resume(self, url: str, origins: tuple[str, ...], partial: Path, progress: bool) -> None:
        """Request what is missing of the archive, and append it to the partial file."""
        etag = partial.with_suffix(".etag")
        start = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and etag.exists():
            headers["If-Range"] = etag.read_text()  # a moved `latest` starts anew
        with self.get(url, origins, headers) as response:
            if "text/html" in response.headers.get("Content-Type", ""):
                raise PermanentError("a web page came instead")
            content_range = response.headers.get("Content-Range", "")
            resumes = response.status_code == 206
            if resumes and not content_range.startswith(f"bytes {start}-"):
                partial.unlink()
                raise RetryableError("the server sent another range than requested")
            if response.status_code == 416:
                if content_range == f"bytes */{start}":
                    return
                partial.unlink()  # of another version
                raise RetryableError("the archive is shorter than what was fetched of it")
            tag = response.headers.get("ETag", "")
            if tag and not tag.startswith("W/"):
                etag.write_text(tag)
            initial = start if resumes else 0
            length = int(response.headers.get("Content-Length") or 0)
            bar = tqdm(
                desc="archive",
                total=initial + length if length else None,
                initial=initial,
                unit="B",
                unit_scale=True,
                disable=not progress,
            )
            with partial.open("ab" if resumes else "wb") as file, bar:
                save_body(response, file, 2**40, bar=bar)


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
            raise PermanentError(f"larger than {max_bytes} bytes")
        if time.monotonic() > deadline:
            raise RetryableError("arrived too slowly")
    if length is not None and copied < int(length):
        raise RetryableError(f"cut after {copied} of {length} bytes")


def _check_status(response: Response) -> None:
    status = response.status_code
    if status in (404, 410):
        raise PermanentError(f"answered {status}", "gone")
    if status in _RETRYABLE_STATUSES:
        wait = None
        with contextlib.suppress(InvalidHeader):
            wait = Retry().get_retry_after(response.raw)
        raise RetryableError(f"answered {status}", wait)
    if status not in (200, 206, 416):
        raise PermanentError(f"answered {status}")


def _redirect_target(url: str, response: Response, origins: tuple[str, ...]) -> str:
    try:
        target = urljoin(url, response.headers["Location"])
        parts = urlsplit(target)
    except ValueError as error:
        raise PermanentError(f"redirected to no address ({error})") from error
    origin = f"{parts.scheme}://{parts.netloc}"
    if origin not in origins:
        raise PermanentError(f"redirected to {origin}, which is not allowed")
    return target


def _reason(error: Exception) -> str:
    """Describe a network error in a few words; its own text nests, and names our objects."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "timed out"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the connection broke" if isinstance(error, HTTPError) else str(error)[:100]
