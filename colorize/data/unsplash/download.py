"""Download of the Unsplash Lite data set, from its published catalog to a prepared folder."""

import contextlib
import csv
import hashlib
import io
import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from colorize.data.manifest import PHOTOS, Manifest, ManifestEntry, ManifestWriter, photo_facts
from colorize.data.prepare import add_in_threads
from colorize.data.unsplash.catalog import CatalogError, CatalogPhoto, read_catalog, unpack_catalog
from colorize.data.unsplash.http import HttpClient, PermanentError, RetryableError, save_body
from colorize.io.image import PhotoError
from colorize.utils.files import atomic_write


@dataclass(frozen=True)
class Hosts:
    """The servers of the data set; no other origin is ever contacted."""

    archive: str  # URL of a version's archive
    archive_origins: tuple[str, ...]  # to which it may redirect
    photos: str  # origin of the photos


# Taken from the documentation and not verified against the servers; tests use their own.
HOSTS = Hosts(
    archive="https://unsplash.com/data/lite/{version}",
    archive_origins=(
        "https://unsplash.com",
        "https://unsplash-datasets.s3.amazonaws.com",
        "https://unsplash-datasets.s3.us-east-1.amazonaws.com",
    ),
    photos="https://images.unsplash.com",
)

# As published with the archive; `latest` changes and has none.
SHA256 = {"1.4.1": "aa0fcb859040ed64e93817d1d878d0c6f861763283261ba1a6aa5d8d4af6aec6"}

TERMS = """\
The Unsplash Lite data set: terms of use

The data set is Unsplash's, and free to use under its terms, which are published with it:
https://unsplash.com/data and https://github.com/unsplash/datasets (TERMS.md). They are what
counts; in our words, and as far as we understand them:

- You may use the data set internally, for instance to train and to evaluate models.
- You may not publish or pass on the data set or any part of it: no photos, no thumbnails, no
  rows of the catalog, no pictures made from its photos.
- You may not publish comparisons of it with similar data sets.
- What Unsplash asks to be deleted must be deleted.

The photos are downloaded for you alone, into a folder of yours, with the names of their
photographers in CREDITS.csv. Keep them out of anything that you publish.
"""

TERMS_FILE, CREDITS_FILE = "TERMS.txt", "CREDITS.csv"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_PHOTO_BYTES = 50 * 2**20

_PASSES = 3
_PHOTO_TIMEOUT = 120.0  # seconds for a whole photo, even if it keeps arriving slowly
_MAX_BAD_IN_A_ROW = 30
_MAX_FAILURES_IN_A_ROW = 200


class UnsplashLite:
    """A resumable download of the Lite data set into a folder.

    The folder gets the catalog (`catalog/VERSION/`), the photos (`photos/`), `manifest.csv`, the
    terms of use and the credits. Complete files are never fetched again, however an earlier
    download ended.
    """

    def __init__(
        self, folder: str | os.PathLike, size: int = 320, workers: int = 8, hosts: Hosts = HOSTS
    ):
        """Remember the settings; no server is contacted yet.

        Args:
            folder: created if it is missing.
            size: short side in pixels at which photos are requested.
            workers: photos fetched at the same time.
            hosts: for tests.
        """
        self.folder, self.size, self.workers, self.hosts = Path(folder), size, workers, hosts
        self._client = HttpClient(workers, "research download of the Lite data set")
        self._in_a_row: Counter[str] = Counter()

    @property
    def has_accepted(self) -> bool:
        """Whether the terms of use have been accepted for this folder."""
        return (self.folder / TERMS_FILE).exists()

    def accept_terms(self) -> None:
        """Record beside the photos that the terms of use have been accepted."""
        with atomic_write(self.folder / TERMS_FILE) as tmp:
            tmp.write_text(TERMS, encoding="utf-8")

    def download(
        self,
        version: str = "latest",
        source: str | os.PathLike | None = None,
        limit: int | None = None,
        *,
        retry: bool = False,
        progress: bool = True,
    ) -> Manifest:
        """Fetch the missing photos, classify them, and assign their splits.

        Args:
            version: of the data set, such as "1.4.1".
            source: an archive or unpacked folder that you already have; None fetches it.
            limit: use only the first photos of the catalog, this many.
            retry: request photos again that were gone or bad.
            progress: whether to draw progress bars.

        Returns:
            The manifest; entries that `failed` are tried again by the next call.

        Raises:
            PermissionError: if the terms have not been accepted.
            CatalogError: if the archive or catalog is invalid.
            ConnectionError: if the archive cannot be fetched, or many photos in a row fail.
        """
        if not self.has_accepted:
            raise PermissionError(
                "the terms of use have not been accepted: read "
                "colorize.data.unsplash.download.TERMS, then call accept_terms(), in a shell "
                "--accept-terms"
            )
        catalog = Path(source) if source is not None else self._catalog(version, progress)
        photos, warnings = read_catalog(catalog)
        for warning in warnings:
            tqdm.write(f"{catalog}: {warning}")
        photos = photos[:limit]
        with ManifestWriter(self.folder) as manifest:
            try:
                self._fetch_all(photos, manifest, retry, progress)
            finally:  # even if the download stops early, the photos so far are usable
                manifest.finalize()
                self._write_credits(photos, manifest)
        return manifest

    def _fetch_all(
        self, photos: list[CatalogPhoto], manifest: ManifestWriter, retry: bool, progress: bool
    ) -> None:
        for attempt in range(_PASSES):  # photos that fail now may succeed after all others
            again = retry and attempt == 0
            pending = [photo for photo in photos if not manifest.is_done(photo.id, retry=again)]
            if not pending:
                return
            name = "photos, again" if attempt else "photos"
            bar = tqdm(desc=name, total=len(pending), unit=" photos", disable=not progress)
            self._client.stopped.clear()
            add_in_threads(
                manifest,
                lambda photo: self._fetch(photo, manifest),
                pending,
                self.workers,
                bar,
                on_exit=self._client.stopped.set,
            )

    def _fetch(self, photo: CatalogPhoto, manifest: Manifest) -> ManifestEntry:
        """Fetch one photo, decode it, and save it under its final name."""

        def unavailable(state: str, reason: str) -> ManifestEntry:
            return ManifestEntry(photo.id, photo.photographer, state=state, reason=reason)

        if not _ID.fullmatch(photo.id):
            return unavailable("bad", "its id is no file name")
        file = photo_path(photo.id)
        # A killed download may have left a complete photo without a line in the manifest.
        with contextlib.suppress(FileNotFoundError, PhotoError):
            facts = photo_facts((self.folder / file).read_bytes())
            return ManifestEntry(photo.id, photo.photographer, file, facts)
        url = self._photo_url(photo)
        if url is None:
            reason = f"its address is not at {self.hosts.photos}: {photo.url[:80]}"
            return unavailable("bad", reason)
        try:
            entry = self._client.retrying(lambda: self._fetch_photo(photo, url, file))
        except (PermanentError, RetryableError) as error:
            if photo.id not in manifest.entries:
                self._count_failure(error)
            return unavailable(error.state, str(error))
        self._in_a_row.clear()
        return entry

    def _photo_url(self, photo: CatalogPhoto) -> str | None:
        """Return the URL of a photo at the requested size; None if it is on another server."""
        try:
            parts = urlsplit(photo.url)
        except ValueError:  # no address at all
            return None
        if f"{parts.scheme}://{parts.netloc}" != self.hosts.photos:
            return None
        width = self.size
        if photo.width and photo.height and photo.width > photo.height:
            width = -(-self.size * photo.width // photo.height)
        return f"{self.hosts.photos}{parts.path}?w={width}&fm=jpg&q=85&fit=max"

    def _fetch_photo(self, photo: CatalogPhoto, url: str, file: str) -> ManifestEntry:
        with self._client.get(url, (self.hosts.photos,)) as response:
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if kind not in ("image/jpeg", "image/jpg"):
                raise PermanentError(f"came as {kind or 'no type'}, not as image/jpeg")
            body = io.BytesIO()
            save_body(response, body, _MAX_PHOTO_BYTES, time.monotonic() + _PHOTO_TIMEOUT)
        try:
            facts = photo_facts(body.getvalue())
        except PhotoError as error:
            reason = f"not a complete photo: {str(error).split(': ', 1)[-1]}"
            raise RetryableError(reason, state="bad") from error
        with atomic_write(self.folder / file) as tmp:
            tmp.write_bytes(body.getvalue())
        return ManifestEntry(photo.id, photo.photographer, file, facts)

    def _count_failure(self, error: PermanentError | RetryableError) -> None:
        """Stop once many photos in a row fail alike, which has a common cause."""
        if isinstance(error, RetryableError):
            kind, limit, cause = "failures", _MAX_FAILURES_IN_A_ROW, "the network or server is down"
        elif error.state == "bad":
            kind, limit, cause = "bad answers", _MAX_BAD_IN_A_ROW, "this network requires a log-in"
        else:
            return
        self._in_a_row[kind] += 1
        if self._in_a_row[kind] >= limit and not self._client.stopped.is_set():
            self._client.stopped.set()
            raise ConnectionError(
                f"{limit} {kind} in a row instead of photos; possibly {cause}. Completed photos "
                "are kept; fix the connection, then re-run with --retry"
            )

    def _catalog(self, version: str, progress: bool) -> Path:
        """Return the folder with a version's catalog, fetched if it is missing."""
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.]*", version):
            raise CatalogError(f"no version of the data set: {version!r}; latest, or 1.4.1")
        parent = self.folder / "catalogue"  # its name in version 0.1
        if not parent.is_dir():
            parent = self.folder / "catalog"
        if (parent / version).is_dir():
            return parent / version
        archive, digest = parent / f"{version}.zip", SHA256.get(version)
        url, origins = self.hosts.archive.format(version=version), self.hosts.archive_origins
        try:
            self._client.stopped.clear()
            self._client.fetch_archive(url, origins, archive, digest, progress=progress)
        except (PermanentError, RetryableError) as error:
            raise ConnectionError(
                f"the archive {url} cannot be fetched ({error}). Re-run the command to resume; or "
                "download the archive by hand and name it: --source FILE"
            ) from error
        unpack_catalog(archive, parent / version)
        archive.unlink()  # 700 MB of which a few are needed
        return parent / version

    def _write_credits(self, photos: list[CatalogPhoto], manifest: Manifest) -> None:
        """Credit the photographer of every downloaded photo, of earlier catalogs too."""
        path = self.folder / CREDITS_FILE
        lines = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                lines = {line[0]: line for line in csv.reader(file)}
        for photo in photos:
            link = photo.page or f"https://unsplash.com/photos/{photo.id}"
            lines[photo.id] = [photo.id, photo.name, photo.photographer, link]
        downloaded = {entry.id for entry in manifest.entries.values() if entry.file}
        with atomic_write(path) as tmp, tmp.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "photographer", "username", "link"))
            writer.writerows(lines[photo_id] for photo_id in sorted(downloaded & lines.keys()))


def photo_path(photo_id: str) -> str:
    """Return a photo's path below the folder, distinct for ids that differ only by case."""
    return f"{PHOTOS}/{hashlib.sha256(photo_id.encode()).hexdigest()[:2]}/{photo_id}.jpg"
