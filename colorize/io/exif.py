"""EXIF as raw tags: read from a block or a TIFF, and written back byte for byte.

Values stay as they are stored, with their type and in their byte order, so that nothing is lost in
what a library would make of them: text in UTF-8, comments of type UNDEFINED, makers' private data.
"""

import io
import struct
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # with + it is a BigTIFF

SOFTWARE, ORIENTATION, MAKER_NOTE = 0x0131, 0x0112, 0x927C
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG = 0x02BC, 0x83BB, 0x8649
YCBCR_TAGS = (0x0213, 0x0214)  # storage in a TIFF, but carried in the EXIF of a JPEG
BYTE, ASCII, SHORT, LONG, UNDEFINED, IFD = 1, 2, 3, 4, 7, 13  # types

_PREFIX = b"Exif\0\0"  # before the block in JPEG
_CAMERA_POINTER, _GPS_POINTER = 0x8769, 0x8825
_COLOR_SPACE, _WIDTH, _HEIGHT, _INTEROPERABILITY = 0xA001, 0xA002, 0xA003, 0xA005
_SRGB = 1
# Bytes of a value by type; 129 is EXIF 3.0's text in UTF-8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}
_BIG_SIZES = {13: 4, 16: 8, 17: 8, 18: 8}
_MAX_BYTES = 64 * 2**20  # of a directory's values; anything larger is damage


@dataclass(frozen=True)
class Tag:
    """A tag's type and its value as it is stored."""

    type: int
    value: bytes


Directory = dict[int, Tag]
ByteOrder = Literal["<", ">"]


@dataclass
class Exif:
    """The tags of a photo.

    Attributes:
        order: byte order of the values, "<" or ">".
        image: tags of the image, those of a TIFF's storage among them if they were read from one.
        camera: how the photo was taken.
        gps: where.
        maker_note_offset: where the maker's private data, which may hold offsets, was.
        damaged: number of tags that could not be read.
    """

    order: ByteOrder = "<"
    image: Directory = field(default_factory=dict)
    camera: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    maker_note_offset: int | None = None
    damaged: int = 0

    def copy(self) -> "Exif":
        """Copy the directories; tags are immutable."""
        return replace(self, image=dict(self.image), camera=dict(self.camera), gps=dict(self.gps))

    def is_empty(self) -> bool:
        """Whether there are no tags."""
        return not (self.image or self.camera or self.gps)

    def numbers(self, tag: Tag) -> tuple[float, ...]:
        """Decode whole numbers and fractions; empty for other types and for division by zero."""
        codes = {BYTE: "B", SHORT: "H", LONG: "I", 9: "i", 16: "Q"}
        if tag.type in codes:
            code = codes[tag.type]
            return struct.unpack(
                f"{self.order}{len(tag.value) // _size(tag.type)}{code}", tag.value
            )
        if tag.type in (5, 10):
            code = "I" if tag.type == 5 else "i"
            values = struct.unpack(f"{self.order}{len(tag.value) // 4}{code}", tag.value)
            pairs = list(zip(values[::2], values[1::2], strict=True))
            return tuple(a / b for a, b in pairs) if all(b for _, b in pairs) else ()
        return ()

    def tag(self, code: str, *numbers: int) -> Tag:
        """Encode shorts ("H"), longs ("I") or fractions of longs ("II") in this byte order."""
        kind = {"H": SHORT, "I": LONG, "II": 5}[code]
        return Tag(kind, struct.pack(f"{self.order}{len(numbers)}{code[0]}", *numbers))

    def describe_pixels(self, width: int, height: int) -> None:
        """Update what the camera's tags say of size and color space; the pixels are sRGB."""
        values = {_WIDTH: ("I", width), _HEIGHT: ("I", height), _COLOR_SPACE: ("H", _SRGB)}
        for code, (kind, number) in values.items():
            if code in self.camera:
                self.camera[code] = self.tag(kind, number)
        self.camera.pop(_INTEROPERABILITY, None)  # a pointer to a claim on the color space

    def to_block(self) -> bytes:
        """Encode as the block of JPEG, PNG and WebP, without prefix; empty if there are no tags."""
        if self.is_empty():
            return b""
        file = bytearray(struct.pack(f"{self.order}2sHI", *_header(self.order), 0))
        placed = {}
        maker = self.camera.get(MAKER_NOTE)
        offset = self.maker_note_offset or 0
        if maker and len(maker.value) > 4 and offset >= len(file):
            # Its offsets count from the beginning of the block.
            file += bytes(offset - len(file)) + maker.value
            placed[MAKER_NOTE] = offset
        _append(file, self, placed)
        return bytes(file)


def parse_block(block: bytes) -> Exif:
    """Parse the EXIF block of a JPEG, PNG, WebP or AVIF.

    Raises:
        ValueError: if it is damaged.
    """
    return parse_tiff(io.BytesIO(block.removeprefix(_PREFIX)))


def parse_tiff(file: BinaryIO, offset: int | None = None) -> Exif:
    """Parse the tags of a TIFF, or of an EXIF block, which has the same structure.

    Args:
        file: the file.
        offset: of the directory; None for the first.

    Raises:
        ValueError: if the directory cannot be read.
    """
    reader = _Reader(file)
    exif = Exif(reader.order)
    exif.image = reader.directory(reader.first if offset is None else offset)
    for pointer, name in ((_CAMERA_POINTER, "camera"), (_GPS_POINTER, "gps")):
        tag = exif.image.pop(pointer, None)
        if tag is None:
            continue
        try:
            setattr(exif, name, reader.directory(int(exif.numbers(tag)[0])))
        except (ValueError, IndexError):
            reader.damaged += 1
    exif.maker_note_offset = reader.offsets.get(MAKER_NOTE)
    exif.damaged = reader.damaged
    return exif


def add_tags(tiff: bytes, exif: Exif) -> bytes:
    """Add tags to an encoded TIFF, in whose byte order they are; they win over its own.

    Its first directory is written once more, at the end, with the tags.
    """
    own = _Reader(io.BytesIO(tiff))
    if own.order != exif.order:
        raise AssertionError(f"tags of byte order {exif.order} in a TIFF of {own.order}")
    merged = exif.copy()
    merged.image = own.directory(own.first) | exif.image
    file = bytearray(tiff) + bytes(len(tiff) % 2)
    _append(file, merged, {}, is_big=own.is_big)
    return bytes(file)


class _Reader:
    """Reads directories of a TIFF or BigTIFF."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.end = file.seek(0, io.SEEK_END)
        header = self._read(0, 4)
        if header not in TIFF_SIGNATURES:
            raise ValueError("no EXIF or TIFF header")
        self.order: ByteOrder = "<" if header.startswith(b"II") else ">"
        self.is_big = b"+" in header
        self.first = self._unpack(8, "Q") if self.is_big else self._unpack(4, "I")
        self.offsets: dict[int, int] = {}
        self.damaged = 0

    def directory(self, offset: int) -> Directory:
        """Read the directory at an offset, without tags of damaged or unknown types."""
        count_code, entry_code, inline = ("Q", "HHQ", 8) if self.is_big else ("H", "HHI", 4)
        head, size = struct.calcsize(f"<{count_code}"), struct.calcsize(f"<{entry_code}") + inline
        count = self._unpack(offset, count_code)
        if count > 0xFFFF:
            raise ValueError(f"a directory of {count} tags")
        table = self._read(offset + head, count * size)
        tags, total = {}, 0
        for start in range(0, len(table), size):
            code, kind, number = struct.unpack_from(f"{self.order}{entry_code}", table, start)
            length = number * _size(kind)
            place = offset + head + start + size - inline
            if length > inline:
                place = self._unpack(place, "Q" if self.is_big else "I")
            total += length
            if not _size(kind) or total > _MAX_BYTES or place + length > self.end:
                self.damaged += 1
                continue
            tags[code] = Tag(kind, self._read(place, length))
            self.offsets[code] = place
        return tags

    def _read(self, offset: int, count: int) -> bytes:
        self.file.seek(offset)
        data = self.file.read(count)
        if len(data) < count:
            raise ValueError(f"{count} bytes expected at {offset}, it has {len(data)}")
        return data

    def _unpack(self, offset: int, code: str) -> int:
        return int(struct.unpack(self.order + code, self._read(offset, struct.calcsize(code)))[0])


def _size(kind: int) -> int:
    """Return the bytes of a number of a type, 0 of an unknown type."""
    return _SIZES.get(kind, 0) or _BIG_SIZES.get(kind, 0)


def _header(order: ByteOrder) -> tuple[bytes, int]:
    return (b"II" if order == "<" else b"MM"), 42


def _append(file: bytearray, exif: Exif, placed: dict[int, int], *, is_big: bool = False) -> None:
    """Append the directories to a file, and let its header point to them."""
    image = dict(exif.image)
    pointer_code = "Q" if is_big else "I"
    for pointer, tags in ((_CAMERA_POINTER, exif.camera), (_GPS_POINTER, exif.gps)):
        if tags:
            offset = _append_directory(file, exif.order, tags, placed, is_big=is_big)
            kind = 16 if is_big else LONG
            image[pointer] = Tag(kind, struct.pack(exif.order + pointer_code, offset))
    offset = _append_directory(file, exif.order, image, {}, is_big=is_big)
    struct.pack_into(exif.order + pointer_code, file, 8 if is_big else 4, offset)


def _append_directory(
    file: bytearray, order: ByteOrder, tags: Directory, placed: dict[int, int], *, is_big: bool
) -> int:
    """Append a directory and its values to a file; return its offset.

    Args:
        file: an even number of bytes.
        order: byte order.
        tags: the directory.
        placed: offsets of values that the file already holds, by their tag.
        is_big: whether the file is a BigTIFF.
    """
    pointer_code, inline = ("Q", 8) if is_big else ("I", 4)
    tags = {code: tag for code, tag in tags.items() if tag.type in _SIZES or is_big}
    file += bytes(len(file) % 2)
    start = len(file)
    count_code = "Q" if is_big else "H"
    entry_size = 4 + 2 * inline
    values = start + struct.calcsize(f"<{count_code}") + len(tags) * entry_size + inline
    table = bytearray(struct.pack(order + count_code, len(tags)))
    appendix = bytearray()
    for code, tag in sorted(tags.items()):
        count = len(tag.value) // _size(tag.type)
        table += struct.pack(f"{order}HH{pointer_code}", code, tag.type, count)
        if code in placed:
            table += struct.pack(order + pointer_code, placed[code])
        elif len(tag.value) <= inline:
            table += tag.value.ljust(inline, b"\0")
        else:
            table += struct.pack(order + pointer_code, values + len(appendix))
            appendix += tag.value + bytes(len(tag.value) % 2)
    file += table + bytes(inline) + appendix  # no directory follows
    return start
