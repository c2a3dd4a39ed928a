"""A stand-in for the servers of the Unsplash data set, on loopback, that misbehaves on purpose.

    python scripts/loopback.py COUNT LATENCY    prints its address, serves until its input ends

Used by the tests, `bench.py` and `soak.py`. No photo of anybody is in it: the pictures are random
blobs of color, made when asked for.
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
    *("photo_id", "photo_url", "photo_image_url", "photo_width", "photo_height"),
    *("photo_description", "photographer_username"),
    *("photographer_first_name", "photographer_last_name"),
)


@functools.cache
def picture(seed: str, width: int, height: int, kind: str = "good") -> bytes:
    """A JPEG of random blobs; the same for the same arguments."""
    rng = np.random.default_rng(int.from_bytes(seed.encode(), "big"))
    coarse = Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    photo = coarse.resize((width, height), Image.Resampling.BICUBIC)
    if kind == "grey":
        photo = photo.convert("L").convert("RGB")
    if kind == "toned":
        photo = ImageOps.colorize(photo.convert("L"), (30, 15, 5), (255, 240, 205))
    if kind == "mirrored":
        photo = ImageOps.mirror(photo)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=85)
    return file.getvalue()


class Loopback:
    """The servers, in threads of this process; a context manager.

    Attributes:
        kinds: what is special about a photo, by id: "grey", "toned", "mirrored:ID", or a fault,
            see `_Handler`.
        asked: how often each path was asked for.
        at_once: the most requests under way at a time.
    """

    def __init__(self, count: int, kinds: Mapping[str, str] | None = None, latency: float = 0.0):
        self.ids = [f"id-{number:05}" for number in range(count)]
        self.kinds, self.latency = dict(kinds or {}), latency
        self.asked: Counter[str] = Counter()
        self.at_once = self._under_way = 0
        self.archive_fault = ""
        self._lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.loopback = self
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.hosts = Hosts(self.origin + "/data/{version}", (self.origin,), self.origin)

    def __enter__(self) -> "Loopback":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def row(self, photo_id: str) -> dict[str, str]:
        """A row of the catalogue; the description is one of the difficult ones."""
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

    def catalogue(self, delimiter: str = "\t", columns: tuple[str, ...] = COLUMNS) -> str:
        """The whole catalogue as text."""
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, extrasaction="ignore", delimiter=delimiter)
        writer.writeheader()
        writer.writerows(self.row(photo_id) for photo_id in self.ids)
        return text.getvalue()

    @functools.cached_property
    def archive(self) -> bytes:
        """The data set's archive, with other files around the catalogue."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("lite/keywords.tsv000", "photo_id\tkeyword\n")
            archive.writestr("lite/photos.tsv000", self.catalogue())
            archive.writestr("lite/TERMS.md", random.Random(0).randbytes(300_000))
        return file.getvalue()

    def photos_asked(self) -> Counter[str]:
        """How often each photo was asked for, by id."""
        found = ((re.fullmatch(r"/photo-(.+)", path), n) for path, n in self.asked.items())
        return Counter({match[1]: n for match, n in found if match})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


class _Handler(BaseHTTPRequestHandler):
    """Answers; what a photo's kind means stands in `_photo`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        here = self.server.loopback
        path = urlsplit(self.path).path
        with here._lock:
            here.asked[path] += 1
            here._under_way += 1
            here.at_once = max(here.at_once, here._under_way)
        try:
            time.sleep(here.latency)
            if path.startswith("/data/"):
                self._send(b"", 302, {"Location": "/archive.zip"})
            elif path == "/archive.zip":
                self._archive(here)
            else:
                photo_id = path.removeprefix("/photo-").removeprefix("/moved-")
                self._photo(here, photo_id, here.asked[path])
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with here._lock:
                here._under_way -= 1

    def _photo(self, here: Loopback, photo_id: str, times: int) -> None:
        kind, _, argument = here.kinds.get(photo_id, "good").partition(":")
        query = parse_qs(urlsplit(self.path).query)
        width = int(query["w"][0])
        landscape = int(photo_id[-5:]) % 3
        height = width * 2 // 3 if landscape else width * 3 // 2
        jpeg = {"Content-Type": "image/jpeg"}
        seed = argument if kind == "mirrored" else photo_id
        body = picture(seed, width, height, kind)
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

    def _archive(self, here: Loopback) -> None:
        body, fault = here.archive, here.archive_fault
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
        # Each answer ends after a third, or a tenth, of the whole.
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
    with Loopback(int(sys.argv[1]), latency=float(sys.argv[2])) as servers:
        for number, name in enumerate(servers.ids):
            picture(name, *((480, 320) if number % 3 else (320, 480)))  # made before they are asked
        print(servers.origin, flush=True)
        sys.stdin.read()
