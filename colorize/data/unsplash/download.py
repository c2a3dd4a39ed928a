"""The Unsplash Lite data set, from the published catalogue to photos that training can use."""

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

from colorize.data.manifest import PHOTOS, Manifest, ManifestEntry, photo_facts
from colorize.data.prepare import process_in_threads, reuse_existing
from colorize.data.unsplash.catalog import (
    CatalogError,
    CatalogPhoto,
    read_catalog,
    unpack_catalog,
)
from colorize.data.unsplash.http import HttpClient, PermanentError, RetryableError, save_body
from colorize.io.image import PhotoError
from colorize.utils.files import atomic_write, file_sha256


@dataclass(frozen=True)
class Hosts:
    """Where everything comes from, and the only origins that are ever asked.

    Attributes:
        archive: address of a version's archive.
        archive_origins: those that it may redirect to.
        photos: origin of the photos.
    """

    archive: str
    archive_origins: tuple[str, ...]
    photos: str


# Not verified live: written from the documentation, never asked by our tests.
HOSTS = Hosts(
    archive="https://unsplash.com/data/lite/{version}",
    archive_origins=(
        "https://unsplash.com",
        "https://unsplash-datasets.s3.amazonaws.com",
        "https://unsplash-datasets.s3.us-east-1.amazonaws.com",
    ),
    photos="https://images.unsplash.com",
)

# As published with the archive; `latest` moves and has none.
SHA256 = {"1.4.1": "aa0fcb859040ed64e93817d1d878d0c6f861763283261ba1a6aa5d8d4af6aec6"}

TERMS = """\
The Unsplash Lite data set: terms of use

The data set is Unsplash's, and free to use under its terms, which are published with it:
https://unsplash.com/data and https://github.com/unsplash/datasets (TERMS.md). They are what
counts; in our words, and as far as we understand them:

- You may use the data set internally, for instance to train and to evaluate models.
- You may not publish or pass on the data set or any part of it: no photos, no thumbnails, no
  rows of the catalogue, no pictures made from its photos.
- You may not publish comparisons of it with similar data sets.
- What Unsplash asks to be deleted must be deleted.

The photos are downloaded for you alone, into a folder of yours, with the names of their
photographers in CREDITS.csv. Keep them out of anything that you publish.
"""

TERMS_FILE, CREDITS_FILE = "TERMS.txt", "CREDITS.csv"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_PHOTO = 50 * 2**20

_PASSES = 3
_PHOTO_TIMEOUT = 120.0  # seconds for a whole photo, however steadily it drips
_BAD_IN_A_ROW = 30
_FAILURES_IN_A_ROW = 200


class UnsplashLite:
    """Downloads the Lite data set into a folder; the same call again goes on.

    The folder gets the catalogue (`catalogue/VERSION/`), the photos (`photos/`), `manifest.csv`,
    the terms of use and the credits. What is there and whole is never fetched again, in
    whatever way an earlier download ended.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        size: int = 320,
        workers: int = 8,
        hosts: Hosts = HOSTS,
    ):
        """Take the folder; nothing is asked of a server yet.

        Args:
            folder: made where it is missing.
            size: short side in pixels at which photos are asked for.
            workers: photos fetched at the same time.
            hosts: for tests.
        """
        self.folder, self.size, self.workers, self.hosts = Path(folder), size, workers, hosts
        self._web = HttpClient(workers, "research download of the Lite data set")
        self._in_a_row: Counter[str] = Counter()

    @property
    def has_accepted(self) -> bool:
        """Whether the terms of use have been accepted for this folder."""
        return (self.folder / TERMS_FILE).exists()

    def accept_terms(self) -> None:
        """Note beside the photos that the terms of use have been accepted."""
        with atomic_write(self.folder / TERMS_FILE) as part:
            part.write_text(TERMS, encoding="utf-8")

    def download(
        self,
        version: str = "latest",
        source: str | os.PathLike | None = None,
        limit: int | None = None,
        retry: bool = False,
        progress: bool = True,
    ) -> Manifest:
        """Fetch what is missing, judge it, and give the photos their parts.

        Args:
            version: of the data set, such as "1.4.1".
            source: an archive or unpacked folder that you have already; None fetches it.
            limit: only the first so many photos of the catalogue.
            retry: ask again for photos that were gone or bad.
            progress: whether to draw bars.

        Returns:
            The manifest; entries that `failed` are tried again by the next call.

        Raises:
            PermissionError: if the terms have not been accepted.
            CatalogError: if the archive or catalogue is not what it should be.
            ConnectionError: if the archive cannot be fetched, or web pages come for photos.
        """
        if not self.has_accepted:
            raise PermissionError(
                "the terms of use have not been accepted: read colorize.data.unsplash.download.TERMS, then "
                "call accept_terms(), in a shell --accept-terms"
            )
        catalogue = Path(source) if source is not None else self._catalogue(version, progress)
        rows, notes = read_catalog(catalogue)
        for note in notes:
            tqdm.write(f"{catalogue}: {note}")
        rows = rows[:limit]
        with Manifest(self.folder) as manifest:
            final = set() if retry else {"gone", "bad"}
            try:
                for again in range(_PASSES):  # what fails now may succeed when all else is done
                    todo = [row for row in rows if not _is_done(manifest, row.id, final)]
                    if not todo:
                        break
                    self._web.stopped.clear()
                    process_in_threads(
                        manifest,
                        todo,
                        lambda row: self._fetch(row, manifest),
                        workers=self.workers,
                        progress=progress,
                        title="photos, again" if again else "photos",
                        total=len(todo),
                        stop=self._web.stopped.set,
                    )
                    final = {"gone", "bad"}
            finally:  # also where it stops half-way, what is there is ready
                manifest.settle()
                self._write_credits(rows, manifest)
        return manifest

    def _fetch(self, row: CatalogPhoto, manifest: Manifest) -> ManifestEntry:
        """A row's photo, whole and decoded under its final name, or why not."""
        told = {"photographer": row.photographer}
        if not _ID.fullmatch(row.id):
            return ManifestEntry(row.id, **told, state="bad", reason="its id is no file name")
        path = self.folder / photo_path(row.id)
        known = reuse_existing(path, manifest, id=row.id, **told)
        if known:
            return known
        url = self._address(row)
        if url is None:
            reason = f"its address is not at {self.hosts.photos}: {row.url[:80]}"
            return ManifestEntry(row.id, **told, state="bad", reason=reason)
        try:
            data, facts = self._web.retrying(lambda: self._whole_photo(url))
        except PermanentError as refusal:
            if refusal.state == "bad" and row.id not in manifest.entries:
                self._beware("bad answers", _BAD_IN_A_ROW, "does this line ask for a log-in?")
            return ManifestEntry(row.id, **told, state=refusal.state, reason=str(refusal))
        except RetryableError as failure:
            if row.id not in manifest.entries:
                self._beware("failures", _FAILURES_IN_A_ROW, "is the line, or the server, down?")
            return ManifestEntry(row.id, **told, state=failure.state, reason=str(failure))
        self._in_a_row.clear()
        with atomic_write(path) as part:
            part.write_bytes(data)
        return ManifestEntry(row.id, **told, file=photo_path(row.id), **facts)

    def _address(self, row: CatalogPhoto) -> str | None:
        """Where to ask for a photo at the size that training needs; None where it is not asked."""
        try:
            parts = urlsplit(row.url)
        except ValueError:  # no address at all
            return None
        if f"{parts.scheme}://{parts.netloc}" != self.hosts.photos:
            return None
        width = self.size
        if row.width and row.height and row.width > row.height:
            width = -(-self.size * row.width // row.height)
        return f"{self.hosts.photos}{parts.path}?w={width}&fm=jpg&q=85&fit=max"

    def _whole_photo(self, url: str) -> tuple[bytes, dict]:
        with self._web.answer(url, (self.hosts.photos,)) as response:
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if kind not in ("image/jpeg", "image/jpg"):
                raise PermanentError("bad", f"came as {kind or 'nothing named'}, not as image/jpeg")
            body = io.BytesIO()
            save_body(response, body, _LARGEST_PHOTO, time.monotonic() + _PHOTO_TIMEOUT)
        try:
            facts = photo_facts(body.getvalue())
        except PhotoError as error:
            reason = f"not a whole photo: {str(error).split(': ', 1)[-1]}"
            raise RetryableError(reason, state="bad") from error
        return body.getvalue(), facts

    def _beware(self, kind: str, limit: int, question: str) -> None:
        """Stop rather than go through all photos where each ends alike, for one reason."""
        self._in_a_row[kind] += 1
        if self._in_a_row[kind] >= limit and not self._web.stopped.is_set():
            self._web.stopped.set()
            raise ConnectionError(
                f"{limit} {kind} in a row instead of photos: {question} What is there is kept; "
                "run the same command with --retry when that is mended"
            )

    def _catalogue(self, version: str, progress: bool) -> Path:
        """The folder with a version's catalogue, fetched if it is not there."""
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.]*", version):
            raise CatalogError(f"no version of the data set: {version!r}; latest, or 1.4.1")
        place = self.folder / "catalogue" / version
        if not place.is_dir():
            archive = self.folder / "catalogue" / f"{version}.zip"
            try:
                self._web.stopped.clear()
                self._fetch_piecewise(archive, version, progress)
            except (PermanentError, RetryableError) as error:
                raise ConnectionError(
                    f"the archive {self.hosts.archive.format(version=version)} cannot be fetched "
                    f"({error}). The same command goes on; or download it by hand and name it: "
                    "--source FILE"
                ) from error
            unpack_catalog(archive, place)
            archive.unlink()  # 700 MB of which a few are needed
        return place

    def _fetch_piecewise(self, archive: Path, version: str, progress: bool) -> None:
        """Fetch the archive; tries that brought something do not count."""
        part, before = _beside(archive, "part"), -1
        while not archive.exists():
            try:
                self._web.retrying(lambda: self._fetch_archive(archive, version, progress))
            except RetryableError:
                size = part.stat().st_size if part.exists() else 0
                if size <= before:
                    raise
                before = size

    def _fetch_archive(self, archive: Path, version: str, progress: bool) -> None:
        """Fetch the archive, from where an earlier attempt ended."""
        if archive.exists():
            return
        part, mark = _beside(archive, "part"), _beside(archive, "etag")
        archive.parent.mkdir(parents=True, exist_ok=True)
        begun = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        if begun and mark.exists():
            headers["If-Range"] = mark.read_text()  # a moved `latest` starts anew
        url = self.hosts.archive.format(version=version)
        with self._web.answer(url, self.hosts.archive_origins, headers) as response:
            kind = response.headers.get("Content-Type", "")
            if "text/html" in kind:
                raise PermanentError("bad", "a web page came instead")
            goes_on = response.status_code == 206
            if goes_on and not response.headers.get("Content-Range", "").startswith(
                f"bytes {begun}-"
            ):
                part.unlink()
                raise RetryableError("another range came than was asked for")
            if response.status_code == 416:
                # Nothing is left to fetch; or it is of another version.
                if response.headers.get("Content-Range") == f"bytes */{begun}":
                    self._check_archive(archive, version)
                    return
                part.unlink()
                raise RetryableError("the archive is shorter than what was fetched of it")
            tag = response.headers.get("ETag", "")
            if tag and not tag.startswith("W/"):
                mark.write_text(tag)
            length = int(response.headers.get("Content-Length") or 0)
            done = begun if goes_on else 0
            total = done + length if length else None
            options = {"unit": "B", "unit_scale": True, "disable": not progress}
            with (
                part.open("ab" if goes_on else "wb") as file,
                tqdm(desc="archive", total=total, initial=done, **options) as bar,
            ):
                save_body(response, file, 2**40, bar=bar)
        self._check_archive(archive, version)

    def _check_archive(self, archive: Path, version: str) -> None:
        part, mark = _beside(archive, "part"), _beside(archive, "etag")
        digest = file_sha256(part)
        if version in SHA256 and digest != SHA256[version]:
            part.replace(archive.with_name(f"{archive.name}.bad"))
            raise PermanentError(
                "bad", f"its SHA-256 is {digest}, not {SHA256[version]}; kept as {archive.name}.bad"
            )
        part.replace(archive)
        mark.unlink(missing_ok=True)

    def _write_credits(self, rows: list[CatalogPhoto], manifest: Manifest) -> None:
        """Name the photographer of every photo that is there, of earlier catalogues too."""
        path = self.folder / CREDITS_FILE
        lines = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                lines = {line[0]: line for line in csv.reader(file)}
        for row in rows:
            link = row.page or f"https://unsplash.com/photos/{row.id}"
            lines[row.id] = [row.id, row.name, row.photographer, link]
        there = {entry.id for entry in manifest.entries.values() if entry.file}
        with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "photographer", "username", "link"))
            writer.writerows(lines[photo_id] for photo_id in sorted(there & lines.keys()))


def photo_path(photo_id: str) -> str:
    """Where a photo lies below the folder: ids that differ by case only are kept apart."""
    return f"{PHOTOS}/{hashlib.sha256(photo_id.encode()).hexdigest()[:2]}/{photo_id}.jpg"


def _beside(archive: Path, ending: str) -> Path:
    return archive.with_name(f".{archive.name}.{ending}")


def _is_done(manifest: Manifest, photo_id: str, final: set[str]) -> bool:
    entry = manifest.entries.get(photo_id)
    return entry is not None and (entry.state in final or manifest.has_file(entry))
