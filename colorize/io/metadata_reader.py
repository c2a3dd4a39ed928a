"""Read the metadata of an image file, block by block."""

import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

from colorize.io.containers import (
    APP0,
    APP1,
    APP11,
    APP15,
    COMMENT,
    EXIF_HEADER,
    IPTC,
    PHOTOSHOP_HEADER,
    PROFILE_KEYWORD,
    XMP_EXTENSION_HEADER,
    XMP_HEADER,
    XMP_KEYWORD,
    Block,
    Resource,
    avif_exif,
    jp2_boxes,
    jpeg_segments,
    photoshop_resources,
    png_chunks,
)
from colorize.io.exif import (
    IFD,
    IPTC_TAG,
    ORIENTATION,
    PHOTOSHOP_TAG,
    XMP_TAG,
    YCBCR_TAGS,
    Exif,
    Tag,
    parse_block,
    parse_tiff,
)
from colorize.io.metadata import Metadata
from colorize.io.xmp import set_upright, stored_orientation

_DESCRIPTION, _LAYERS_TAG = 0x010E, 0x935C
# TIFF tags that describe the storage of the pixels, which is another in the output.
_STORAGE_TAGS = frozenset(
    (
        *range(0x00FE, 0x0104),
        *range(0x0106, 0x010B),
        *(0x0111, ORIENTATION, *range(0x0115, 0x011A), 0x011C),
        *(*range(0x0120, 0x0126), 0x012D, *range(0x013D, 0x014D)),
        *(0x014E, 0x0150, *range(0x0152, 0x0161), *range(0x0200, 0x0213)),
        *(0x8773, _LAYERS_TAG, *range(0xC612, 0xC7B4)),  # profile, layers, camera raw and ImageJ
        *(XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG),  # kept apart
    )
)
_LAYOUTS = (b'{"shape"', b"ImageJ=", b"<?xml", b"<OME")  # descriptions of the storage
# Photoshop's resources that describe the pixels: resolution, thumbnails, profile, EXIF, XMP.
_OF_PIXELS = (0x03ED, 0x0409, 0x040C, 0x040F, 0x0422, 0x0423, 0x0424)
_PSD_RESOURCES = {IPTC: "iptc", 0x0422: "exif", 0x0424: "xmp"}
_STORAGE_SEGMENTS = (b"JFIF", b"JFXX", b"ICC_PROFILE", b"MPF", b"Adobe", b"Ducky")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_STORAGE_CHUNKS = frozenset(
    b"acTL bKGD cHRM cICP fcTL fdAT gAMA hIST iCCP iDOT pHYs sBIT sPLT sRGB tIME tRNS".split()
)
_SRGB_CODE_POINTS = b"\1\x0d\0\1"  # of cICP
_JP2_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}


def read_metadata(image: Image.Image, read_bytes: Callable[[], bytes]) -> Metadata:
    """Read the metadata of an image that Pillow has opened, except of a TIFF.

    Args:
        image: not yet decoded.
        read_bytes: returns the content of its file.
    """
    readers = {"JPEG": _from_jpeg, "MPO": _from_jpeg, "PNG": _from_png, "JPEG2000": _from_jp2}
    pieces = _Pieces()
    if image.format in readers:
        readers[image.format](read_bytes(), pieces)
    elif image.format == "PSD":
        for number, _, data in getattr(image, "resources", ()):
            if number in _PSD_RESOURCES:
                pieces.add(_PSD_RESOURCES[number], data)
    else:
        for name in ("exif", "xmp", "comment"):
            value = image.info.get(name)
            if name == "exif" and image.format == "AVIF" and value:
                _add_avif_exif(value, avif_exif(read_bytes()), pieces)
            elif isinstance(value, bytes | str) and value:
                pieces.add(name, value.encode() if isinstance(value, str) else value)
    return pieces.metadata


def read_tiff_metadata(file: BinaryIO, offsets: list[int]) -> Metadata:
    """Read the metadata of a TIFF.

    Args:
        file: the file.
        offsets: of the directories that describe the image; an earlier one wins.
    """
    pieces = _Pieces()
    metadata = pieces.metadata
    for offset in reversed(offsets):
        exif = parse_tiff(file, offset)
        metadata.exif = Exif(
            exif.order,
            metadata.exif.image | exif.image,
            metadata.exif.camera | exif.camera,
            metadata.exif.gps | exif.gps,
            damaged=metadata.exif.damaged + exif.damaged,
        )
    tags = metadata.exif.image
    for code, name in ((XMP_TAG, "xmp"), (PHOTOSHOP_TAG, "8bim"), (IPTC_TAG, "iptc")):
        if code in tags:
            pieces.add(name, tags[code].value)
    if _LAYERS_TAG in tags:
        pieces.add_unread("Photoshop's layers")
    for code in YCBCR_TAGS:
        tags.pop(code, None)
    _drop_storage(tags)
    return metadata


class _Pieces:
    """Collects metadata block by block; what is damaged is named."""

    def __init__(self) -> None:
        self.metadata = Metadata()

    def add(self, name: str, data: bytes) -> None:
        """Take a block: exif, xmp, 8bim, iptc or comment."""
        metadata = self.metadata
        try:
            if name == "exif" and metadata.exif.is_empty():
                metadata.exif = parse_block(data)
                metadata.orientation = _orientation(metadata.exif) or metadata.orientation
                _drop_storage(metadata.exif.image)
            elif name == "xmp" and not metadata.xmp:
                metadata.xmp = set_upright(data)
                if metadata.orientation == 1:
                    metadata.orientation = stored_orientation(data)
            elif name == "8bim":
                self._add_resources(data)
            elif name == "iptc" and not any(r.number == IPTC for r in metadata.resources):
                metadata.resources += (Resource(IPTC, b"", data),)
            elif name == "comment":
                metadata.comments += (data,)
        except (ValueError, struct.error):
            metadata.unread += (f"damaged {name.upper()}",)

    def add_unread(self, name: str) -> None:
        """Name a block that cannot be carried."""
        if name not in self.metadata.unread:
            self.metadata.unread += (name,)

    def _add_resources(self, data: bytes) -> None:
        self.metadata.resources += tuple(
            resource for resource in photoshop_resources(data) if resource.number not in _OF_PIXELS
        )


def _from_jpeg(data: bytes, pieces: _Pieces) -> None:
    resources = b""
    for marker, content in jpeg_segments(data):
        if marker == COMMENT:
            pieces.add("comment", content)
        elif content.startswith(EXIF_HEADER):
            pieces.add("exif", content)
        elif content.startswith(XMP_HEADER):
            pieces.add("xmp", content.removeprefix(XMP_HEADER))
        elif content.startswith(XMP_EXTENSION_HEADER):
            pieces.metadata.xmp_extension += (content.removeprefix(XMP_EXTENSION_HEADER),)
        elif content.startswith(PHOTOSHOP_HEADER):
            resources += content.removeprefix(PHOTOSHOP_HEADER)
        elif marker == APP11:  # a signature of the pixels as they were
            pieces.add_unread("Content Credentials")
        elif isinstance(marker, int) and APP1 <= marker <= APP15:
            _name_segment(marker, content, pieces)
    pieces.add("8bim", resources)


def _name_segment(marker: int, content: bytes, pieces: _Pieces) -> None:
    """Name an unknown segment by its number and its own name."""
    if content.startswith(_STORAGE_SEGMENTS):
        return
    name = content.split(b"\0")[0][:20]
    label = f" ({name.decode('ascii')})" if name.isascii() and name.decode().isprintable() else ""
    pieces.add_unread(f"segment APP{marker - APP0}{label}")


def _add_avif_exif(decoded: bytes, stored: bytes, pieces: _Pieces) -> None:
    """Take EXIF as the file has it, and the orientation that Pillow found in the container."""
    pieces.add("exif", decoded)
    if stored and not pieces.metadata.unread:
        orientation, pieces.metadata.exif = pieces.metadata.orientation, Exif()
        pieces.add("exif", stored)
        pieces.metadata.orientation = orientation


def _from_png(data: bytes, pieces: _Pieces) -> None:
    for kind, content in png_chunks(data):
        keyword = content.split(b"\0")[0] if kind in _TEXT_CHUNKS else b""
        if kind == b"eXIf":
            pieces.metadata.exif = Exif()  # it wins over a raw profile
            pieces.add("exif", content)
        elif kind == b"iTXt" and keyword == XMP_KEYWORD:
            pieces.add("xmp", _itxt_text(content))
        elif keyword.startswith(PROFILE_KEYWORD):
            _add_raw_profile(keyword, kind, content, pieces)
        elif kind in _TEXT_CHUNKS:
            pieces.metadata.texts += (Block(kind, content),)
        elif kind == b"caBX":
            pieces.add_unread("Content Credentials")
        elif kind == b"cICP" and content != _SRGB_CODE_POINTS:
            pieces.add_unread("color space (cICP), taken for sRGB")
        elif isinstance(kind, bytes) and _is_unknown_chunk(kind):
            pieces.add_unread(f"chunk {kind.decode()}")


def _is_unknown_chunk(kind: bytes) -> bool:
    return kind.isalpha() and kind[:1].islower() and kind not in _STORAGE_CHUNKS


def _itxt_text(content: bytes) -> bytes:
    """Return the text of an iTXt chunk, behind keyword, flags, language and translation."""
    _, _, rest = content.partition(b"\0")
    is_compressed = rest[:1] == b"\1"
    text = rest[2:].split(b"\0", 2)[-1]
    return _inflate(text) if is_compressed else text


def _add_raw_profile(keyword: bytes, kind: int | bytes, content: bytes, pieces: _Pieces) -> None:
    """Decode a profile that is stored as lines of text: name, length, hexadecimal digits."""
    name = keyword.removeprefix(PROFILE_KEYWORD).decode("latin-1").lower()
    text = content[len(keyword) + 1 :]
    if kind == b"zTXt":
        text = _inflate(text[1:])
    try:  # the name may have several words, such as ExifTool's "IPTC profile"
        data = bytes.fromhex(text.strip().split(b"\n", 2)[2].decode("latin-1"))
    except (ValueError, IndexError):
        pieces.add_unread(f"damaged profile {name}")
        return
    if name in ("app1", "exif"):
        is_xmp = data.startswith(XMP_HEADER)
        pieces.add("xmp" if is_xmp else "exif", data.removeprefix(XMP_HEADER))
    elif name in ("iptc", "8bim"):
        pieces.add("8bim" if data.startswith(b"8BIM") else "iptc", data)
    elif name == "xmp":
        pieces.add("xmp", data)
    elif name not in ("icc", "icm"):
        pieces.add_unread(f"profile {name}")


def _from_jp2(data: bytes, pieces: _Pieces) -> None:
    for kind, content in jp2_boxes(data):
        if kind == b"uuid" and content[:16] in _JP2_UUIDS:
            pieces.add(_JP2_UUIDS[content[:16]], content[16:])


def _inflate(data: bytes) -> bytes:
    """Decompress at most 16 MB; nothing of damaged data."""
    try:
        return zlib.decompressobj().decompress(data, 16 * 2**20)
    except zlib.error:
        return b""


def _orientation(exif: Exif) -> int | None:
    tag = exif.image.get(ORIENTATION)
    numbers = exif.numbers(tag) if tag else ()
    return int(numbers[0]) if numbers else None


def _drop_storage(tags: dict[int, Tag]) -> None:
    """Remove what describes the storage, in place."""
    for code in list(tags):
        is_layout = code == _DESCRIPTION and tags[code].value.lstrip().startswith(_LAYOUTS)
        if code in _STORAGE_TAGS or tags[code].type == IFD or is_layout:
            del tags[code]
