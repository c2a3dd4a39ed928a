"""The table of metadata by format: every field is written, and looked for in the output's bytes."""

import io
import struct

from PIL import Image

from colorize.io.containers import (
    APP1,
    APP13,
    COMMENT,
    EXIF_HEADER,
    IPTC,
    PHOTOSHOP_HEADER,
    XMP_HEADER,
    Block,
    Resource,
    encode_resources,
    insert_chunks,
    insert_segments,
)
from colorize.io.exif import ASCII, MAKER_NOTE, UNDEFINED, Exif, Tag
from colorize.io.image_file import read_image_file
from colorize.io.image_writer import encode_image_file

FORMATS = ("JPEG", "TIFF", "PNG", "WEBP", "AVIF")

_CAPTION, _PAGE_NAME, _USER_COMMENT, _LATITUDE = 0x010E, 0x011D, 0x9286, 2
# A field, and bytes that stand for it alone.
_FIELDS = {
    "caption, author, rights in EXIF (UTF-8)": "Großmutter Änne 写真".encode(),
    "user comment in EXIF": b"UNICODE\0\xdc\0b\0e\0r",
    "the camera maker's private data": b"a maker's own",
    "place (GPS)": struct.pack("<6I", 48, 1, 8, 1, 6602, 500),
    "page name of a scan": b"page 7 of 12",
    "title, keywords, rating in XMP": "<dc:title>Brücke</dc:title>".encode(),
    "caption and keywords in IPTC": "Opa auf der Brücke".encode(),
    "comment of a JPEG": b"scanned in 2003",
    "text chunks of a PNG": b"Title\0The old house",
}


def metadata_table() -> str:
    """Write a photo with every field in each format, and tell what is kept and what is named.

    Raises:
        ValueError: if a field is in no output and in no list of what is left out.
    """
    lines = ["| | " + " | ".join(FORMATS) + " |", "|---|" + "---|" * len(FORMATS)]
    for field, value in _FIELDS.items():
        source = _png(value) if field.startswith("text") else _jpeg()
        states = [_state(field, value, source, image_format) for image_format in FORMATS]
        lines.append(f"| {field} | {' | '.join(states)} |")
    return "\n".join(lines)


def _state(field: str, value: bytes, source: bytes, image_format: str) -> str:
    image = read_image_file(io.BytesIO(source))
    image.metadata.write_provenance("a table")
    output = encode_image_file(image, image.rgb, image_format)
    if value in output + _decompressed(output, image_format):
        return "kept"
    if not image.losses(image_format):
        raise ValueError(f"{field} is lost in {image_format}")
    return "named"


def _decompressed(output: bytes, image_format: str) -> bytes:
    """Return what a PNG holds in compressed or hexadecimal form."""
    if image_format != "PNG":
        return b""
    with Image.open(io.BytesIO(output)) as image:
        image.load()
        profile = image.text.get("Raw profile type iptc", "").split(maxsplit=2)
    return bytes.fromhex(profile[2]) if profile else b""


def _tags() -> Exif:
    fields = list(_FIELDS.values())
    return Exif(
        image={_CAPTION: Tag(ASCII, fields[0] + b"\0"), _PAGE_NAME: Tag(ASCII, fields[4] + b"\0")},
        camera={_USER_COMMENT: Tag(UNDEFINED, fields[1]), MAKER_NOTE: Tag(UNDEFINED, fields[2])},
        gps={_LATITUDE: Tag(5, fields[3])},
    )


def _jpeg() -> bytes:
    fields = list(_FIELDS.values())
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description>'
        + fields[5]
        + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    iptc = b"\x1c\x02\x78" + struct.pack(">H", len(fields[6])) + fields[6]
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    segments = [
        Block(APP1, EXIF_HEADER + _tags().to_block()),
        Block(APP1, XMP_HEADER + xmp),
        Block(APP13, PHOTOSHOP_HEADER + encode_resources([Resource(IPTC, b"", iptc)])),
        Block(COMMENT, fields[7]),
    ]
    return insert_segments(file.getvalue(), segments)


def _png(text: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "PNG")
    return insert_chunks(file.getvalue(), [Block(b"tEXt", text)])
