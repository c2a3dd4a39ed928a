"""The data set's archive, downloaded resumably and verified."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from colorize.data.unsplash.http import (
    HttpClient,
    PermanentError,
    Response,
    RetryableError,
    save_body,
)
from colorize.utils.files import file_sha256


@dataclass(frozen=True)
class ArchiveDownload:
    """A download of one file that continues where an earlier one stopped.

    Attributes:
        client: makes the requests.
        url: of the archive.
        origins: to which it may redirect.
        path: of the complete file; a partial one and its ETag are kept beside it.
        sha256: the expected digest, None if it is not known.
        progress: whether to draw a progress bar.
    """

    client: HttpClient
    url: str
    origins: tuple[str, ...]
    path: Path
    sha256: str | None = None
    progress: bool = True

    def run(self) -> None:
        """Fetch the archive; only tries that received nothing count.

        Raises:
            PermanentError, RetryableError: if it cannot be fetched.
        """
        size_before = -1
        while not self.path.exists():
            try:
                self.client.retrying(self._resume)
            except RetryableError:
                size = self._partial_size()
                if size <= size_before:
                    raise
                size_before = size

    def _resume(self) -> None:
        """Request what is missing of the archive, and append it to the partial file."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        start = self._partial_size()
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and self._etag.exists():
            headers["If-Range"] = self._etag.read_text()  # a moved `latest` starts anew
        with self.client.get(self.url, self.origins, headers) as response:
            if self._is_complete(response, start):
                self._finish()
                return
            tag = response.headers.get("ETag", "")
            if tag and not tag.startswith("W/"):
                self._etag.write_text(tag)
            self._append(response, start)
        self._finish()

    def _is_complete(self, response: Response, start: int) -> bool:
        """Check that a response fits the partial file; True if nothing is left to fetch."""
        if "text/html" in response.headers.get("Content-Type", ""):
            raise PermanentError("bad", "a web page came instead")
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 206 and not content_range.startswith(f"bytes {start}-"):
            self._partial.unlink()
            raise RetryableError("the server sent another range than requested")
        if response.status_code != 416:
            return False
        if content_range != f"bytes */{start}":  # of another version
            self._partial.unlink()
            raise RetryableError("the archive is shorter than what was fetched of it")
        return True

    def _append(self, response: Response, start: int) -> None:
        resumes = response.status_code == 206
        length = int(response.headers.get("Content-Length") or 0)
        initial = start if resumes else 0
        with (
            self._partial.open("ab" if resumes else "wb") as file,
            tqdm(
                desc="archive",
                total=initial + length if length else None,
                initial=initial,
                unit="B",
                unit_scale=True,
                disable=not self.progress,
            ) as bar,
        ):
            save_body(response, file, 2**40, bar=bar)

    def _finish(self) -> None:
        """Verify the digest and give the file its name."""
        digest = file_sha256(self._partial)
        if self.sha256 and digest != self.sha256:
            bad = self.path.with_name(f"{self.path.name}.bad")
            self._partial.replace(bad)
            raise PermanentError(
                "bad", f"its SHA-256 is {digest}, not {self.sha256}; kept as {bad.name}"
            )
        self._partial.replace(self.path)
        self._etag.unlink(missing_ok=True)

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def _etag(self) -> Path:
        return self.path.with_name(f".{self.path.name}.etag")

    def _partial_size(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0
