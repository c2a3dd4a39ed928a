"""A fake of the Unsplash servers, on the loopback interface, that misbehaves on purpose.

    python tests/fake_unsplash.py COUNT LATENCY    prints its address, serves until stdin ends

Used by the tests, the benchmarks and the stress test of resuming. It holds no real photo: images
are random color blobs, generated on request.
"""

import csv
import functools
import io
import random
import re
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image, ImageOps

from colorize.data.unsplash.download import Hosts

COLUMNS = (
    "photo_id",
    "photo_url",
    "photo_image_url",
    "photo_width",
    "photo_height",
    "photo_description",
    "photographer_username",
    "photographer_first_name",
    "photographer_last_name",
)


@functools.cache
def make_jpeg(seed: str, width: int, height: int, kind: str = "good") -> bytes:
    """Encode a JPEG of random blobs; the same for the same arguments."""
    rng = np.random.default_rng(int.from_bytes(seed.encode(), "big"))
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    photo = coarse.resize((width, height), Image.Resampling.BICUBIC)
    if kind == "gray":
        photo = photo.convert("L").convert("RGB")
    if kind == "toned":
        photo = ImageOps.colorize(photo.convert("L"), (30, 15, 5), (255, 240, 205))
    if kind == "mirrored":
        photo = ImageOps.mirror(photo)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=85)
    return file.getvalue()


class FakeUnsplash:
    """The servers, in threads of this process; a context manager.

    Attributes:
        kinds: what is special about a photo, by id: "gray", "toned", "mirrored:ID", or a fault,
            see `_Handler._photo`.
        requests: number of requests by path.
        max_concurrent: the largest number of requests in progress at a time.
        archive_fault: what is wrong with the archive: "cut", "tenth", "no range".
    """

    def __init__(self, count: int, kinds: Mapping[str, str] | None = None, latency: float = 0.0):
        self.ids = [f"id-{number:05}" for number in range(count)]
        self.kinds, self.latency = dict(kinds or {}), latency
        self.requests: Counter[str] = Counter()
        self.max_concurrent = self._in_progress = 0
        self.archive_fault = ""
        self._lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.fake = self
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.hosts = Hosts(self.origin + "/data/{version}", (self.origin,), self.origin)

    def __enter__(self) -> "FakeUnsplash":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def row(self, photo_id: str) -> dict[str, str]:
        """Make a row of the catalog, with a description that is hard to parse."""
        number = int(photo_id[-5:])
        return {
            "photo_id": photo_id,
            "photo_url": f"https://unsplash.com/photos/{photo_id}",
            "photo_image_url": f"{self.origin}/photo-{photo_id}",
            "photo_width": "6000" if number % 3 else "4000",
            "photo_height": "4000" if number % 3 else "6000",
            "photo_description": 'a "quoted" dog,\non two lines\tand a tab',
            "photographer_username": f"person{number % 97}",
            "photographer_first_name": "Zoë",
            "photographer_last_name": str(number % 97),
        }

    def catalog(self, delimiter: str = "\t", columns: tuple[str, ...] = COLUMNS) -> str:
        """Format the whole catalog as text."""
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", delimiter=delimiter)
        writer.writeheader()
        writer.writerows(self.row(photo_id) for photo_id in self.ids)
        return text.getvalue()

    @functools.cached_property
    def archive(self) -> bytes:
        """The data set's archive, with other files around the catalog."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("lite/keywords.tsv000", "photo_id\tkeyword\n")
            archive.writestr("lite/photos.tsv000", self.catalog())
            archive.writestr("lite/TERMS.md", random.Random(0).randbytes(300_000))
        return file.getvalue()

    def photo_requests(self) -> Counter[str]:
        """Count the requests for each photo, by id."""
        matches = ((re.fullmatch(r"/photo-(.+)", path), n) for path, n in self.requests.items())
        return Counter({match[1]: n for match, n in matches if match})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


class _Handler(BaseHTTPRequestHandler):
    """Serves the archive and the photos."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        fake = self.server.fake
        path = urlsplit(self.path).path
        with fake._lock:
            fake.requests[path] += 1
            fake._in_progress += 1
            fake.max_concurrent = max(fake.max_concurrent, fake._in_progress)
        try:
            time.sleep(fake.latency)
            if path.startswith("/data/"):
                self._send(b"", 302, {"Location": "/archive.zip"})
            elif path == "/archive.zip":
                self._archive(fake)
            else:
                photo_id = path.removeprefix("/photo-").removeprefix("/moved-")
                self._photo(fake, photo_id, fake.requests[path])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with fake._lock:
                fake._in_progress -= 1

    def _photo(self, fake: FakeUnsplash, photo_id: str, times: int) -> None:
        kind, _, argument = fake.kinds.get(photo_id, "good").partition(":")
        query = parse_qs(urlsplit(self.path).query)
        width = int(query["w"][0])
        landscape = int(photo_id[-5:]) % 3
        height = width * 2 // 3 if landscape else width * 3 // 2
        jpeg = {"Content-Type": "image/jpeg"}
        seed = argument if kind == "mirrored" else photo_id
        body = make_jpeg(seed, width, height, kind)
        if kind == "busy" and times == 1:
            self._send(b"", 429, {"Retry-After": argument or "1"})
        elif kind == "heals" and times <= 2:
            self._send(b"", 500)
        elif kind == "broken":
            self._send(b"", 503)
        elif kind in ("404", "410", "403"):
            self._send(b"", int(kind))
        elif kind == "cut" and times == 1:
            self._send(body[: len(body) // 2], 200, jpeg, length=len(body))
        elif kind == "drip":
            self._send(b"", 200, jpeg, length=len(body))
            for byte in body:
                self.wfile.write(bytes((byte,)))
                time.sleep(0.05)
        elif kind == "stall":
            self._send(body[:99], 200, jpeg, length=len(body), close=False)
            time.sleep(5)
            self.close_connection = True
        elif kind == "html":
            self._send(b"<html>please log in</html>", 200, {"Content-Type": "text/html"})
        elif kind == "png":
            self._send(body, 200, {"Content-Type": "image/png"})
        elif kind == "rot":
            self._send(b"\xff\xd8" + body[99:], 200, jpeg)
        elif kind == "short":
            self._send(body, 200, jpeg, length=len(body) // 2)
        elif kind == "moved" and self.path.startswith("/photo-"):
            self._send(b"", 302, {"Location": self.path.replace("/photo-", "/moved-")})
        elif kind == "elsewhere":
            self._send(b"", 302, {"Location": "http://192.0.2.1/photo.jpg"})
        else:
            self._send(body, 200, jpeg)

    def _archive(self, fake: FakeUnsplash) -> None:
        body, fault = fake.archive, fake.archive_fault
        zipped = {"Content-Type": "application/zip", "ETag": '"one"'}
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.headers.get("If-Range", '"one"') != '"one"' or "no range" in fault:
            begin = None
        first = int(begin[1]) if begin else 0
        zipped["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        if first >= len(body):
            self._send(b"", 416, {"Content-Range": f"bytes */{len(body)}"})
            return
        rest = body[first:]
        # Each response ends after a third, or a tenth, of the whole.
        pieces = 3 if "cut" in fault else 10 if "tenth" in fault else 1
        sent = rest[: len(body) // pieces + 1]
        self._send(sent, 206 if begin else 200, zipped, length=len(rest))

    def _send(
        self,
        body: bytes,
        status: int,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
        close: bool = True,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if length is not None and close:
            self.close_connection = length > len(body) and bool(body)


if __name__ == "__main__":
    with FakeUnsplash(int(sys.argv[1]), latency=float(sys.argv[2])) as fake:
        for number, name in enumerate(fake.ids):
            make_jpeg(name, *((480, 320) if number % 3 else (320, 480)))  # before any request
        print(fake.origin, flush=True)
        sys.stdin.read()
