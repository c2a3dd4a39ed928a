"""The blocks in which JPEG, PNG, JPEG 2000, AVIF and Photoshop keep what describes a photo."""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

APP0, APP1, APP11, APP13, APP15, COMMENT = 0xE0, 0xE1, 0xEB, 0xED, 0xEF, 0xFE  # JPEG markers
EXIF_HEADER, XMP_HEADER = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
XMP_EXTENSION_HEADER, PHOTOSHOP_HEADER = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0"
XMP_KEYWORD = b"XML:com.adobe.xmp"  # of a PNG's text chunk
PROFILE_KEYWORD = b"Raw profile type "  # ImageMagick's, followed by exif, APP1, iptc, 8bim or xmp
IPTC = 0x0404  # Photoshop's resource with the IPTC block

_JPEG_SEGMENT = 65533  # bytes of a JPEG segment at most
_SCAN, _END = 0xDA, 0xD9
_JP2_SIGNATURE = b"\0\0\0\x0cjP  "
_JP2_CODESTREAM = b"jp2c"


class Block(NamedTuple):
    """A JPEG segment (by its marker), a PNG chunk or a JPEG 2000 box (by its name)."""

    kind: int | bytes
    data: bytes


class Resource(NamedTuple):
    """One of Photoshop's image resources: its number, mostly empty name, and content."""

    number: int
    name: bytes
    data: bytes


def jpeg_segments(jpeg: bytes) -> Iterator[Block]:
    """Yield the segments before the pixels of a JPEG, by marker; damage ends them."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in (_SCAN, _END):
            return
        (length,) = struct.unpack_from(">H", jpeg, place + 2)
        yield Block(marker, jpeg[place + 4 : place + 2 + length])
        place += 2 + max(2, length)


def insert_segments(jpeg: bytes, segments: Iterable[Block]) -> bytes:
    """Insert segments after the first one of a JPEG, the JFIF header.

    Raises:
        ValueError: if a segment is too large.
    """
    (length,) = struct.unpack_from(">H", jpeg, 4)
    place = 4 + length if jpeg[3] == APP0 else 2
    encoded = b""
    for marker, data in segments:
        if len(data) > _JPEG_SEGMENT:
            raise ValueError(f"{len(data)} bytes do not fit a JPEG segment")
        encoded += struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    return jpeg[:place] + encoded + jpeg[place:]


def fits_segment(data: bytes) -> bool:
    """Whether a JPEG segment can hold the data."""
    return len(data) <= _JPEG_SEGMENT


def png_chunks(png: bytes) -> Iterator[Block]:
    """Yield the chunks of a PNG except its pixels; damage ends them."""
    place = len(PNG_SIGNATURE)
    while place + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind != b"IDAT":
            yield Block(kind, png[place + 8 : place + 8 + length])
        place += 12 + length


def critical_chunks(png: bytes) -> bytes:
    """Return a PNG without the chunks that a reader may skip, except transparency."""
    place, kept = len(PNG_SIGNATURE), PNG_SIGNATURE
    while place + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind[:1].isupper() or kind == b"tRNS":
            kept += png[place : place + 12 + length]
        place += 12 + length
    return kept


def insert_chunks(png: bytes, chunks: Iterable[Block]) -> bytes:
    """Insert chunks after the header of a PNG."""
    place = len(PNG_SIGNATURE) + 25
    encoded = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
        if isinstance(kind, bytes)
    )
    return png[:place] + encoded + png[place:]


def jp2_boxes(data: bytes) -> Iterator[Block]:
    """Yield the boxes of a JPEG 2000 file, those in its header among them; damage ends them."""
    if not data.startswith(_JP2_SIGNATURE):
        return  # a bare codestream
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1 and place + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        if kind == _JP2_CODESTREAM and not length:
            return
        end = place + length if length else len(data)
        if end < place + head:
            return
        if kind == b"jp2h":
            place += head  # its boxes are the next
            continue
        if kind != _JP2_CODESTREAM:
            yield Block(kind, data[place + head : end])
        place = end


def jp2_profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a JPEG 2000 file, restricted (method 2) or any (3), if there is."""
    for kind, content in jp2_boxes(data):
        if kind == b"colr" and content[:1] in (b"\2", b"\3"):
            return content[3:]
    return None


def avif_exif(data: bytes) -> bytes:
    """Return the EXIF block of an AVIF as it stands in the file, empty if there is none.

    Pillow encodes the block anew when its orientation differs from that of the container, and
    replaces all text beyond ASCII.
    """
    for kind, start, end in _bmff_boxes(data, 0, len(data)):
        if kind == b"meta":
            boxes = {name: data[a:b] for name, a, b in _bmff_boxes(data, start + 4, end)}
            number = _bmff_item(boxes.get(b"iinf", b""), b"Exif")
            sources = (data, boxes.get(b"idat", b""))
            item = _bmff_content(boxes.get(b"iloc", b""), number, sources)
            return item[4 + int.from_bytes(item[:4]) :]
    return b""


def _bmff_boxes(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of each box; damage ends them."""
    while place + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1 and place + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        stop = place + length if length else end
        if not place + head <= stop <= end:
            return
        yield name, place + head, stop
        place = stop


def _bmff_item(iinf: bytes, item_type: bytes) -> int | None:
    """Return the number of the first item of a type."""
    for _, start, end in _bmff_boxes(iinf, 8 if iinf[:1] > b"\0" else 6, len(iinf)):
        size = 4 if iinf[start] > 2 else 2  # version 2 or 3
        if iinf[start + 6 + size : end][:4] == item_type:
            return int.from_bytes(iinf[start + 4 : start + 4 + size])
    return None


def _bmff_content(iloc: bytes, number: int | None, sources: tuple[bytes, bytes]) -> bytes:
    """Join the extents of an item, which lie in the file or in the box `idat`."""
    stream = io.BytesIO(iloc)

    def read(size: int) -> int:
        return int.from_bytes(stream.read(size))

    version = read(1)
    sizes = read(5) & 0xFFFF  # behind the flags, four bits each
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    for _ in range(read(2 if version < 2 else 4)):
        is_item = read(2 if version < 2 else 4) == number
        source = sources[read(2) & 1] if version else sources[0]
        read(2)  # the file that holds it: this one
        base, content = read(base_size), b""
        for _ in range(read(2)):
            read(index_size if version else 0)
            start = base + read(offset_size)
            content += source[start : start + read(length_size)]
        if is_item or stream.tell() >= len(iloc):
            return content if is_item else b""
    return b""


def photoshop_resources(data: bytes) -> Iterator[Resource]:
    """Yield Photoshop's image resources; damage ends them."""
    place = 0
    while data[place : place + 4] == b"8BIM" and place + 7 <= len(data):
        number, length = struct.unpack_from(">HB", data, place + 4)
        name = data[place + 7 : place + 7 + length]
        start = place + 7 + length + (length + 1) % 2
        if start + 4 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, start)
        yield Resource(number, name, data[start + 4 : start + 4 + length])
        place = start + 4 + length + length % 2


def encode_resources(resources: Iterable[Resource]) -> bytes:
    """Encode Photoshop's image resources."""
    encoded = b""
    for number, name, data in resources:
        head = struct.pack(">4sHB", b"8BIM", number, len(name)) + name
        head += bytes(len(head) % 2) + struct.pack(">I", len(data))
        encoded += head + data + bytes(len(data) % 2)
    return encoded
