"""What describes a photo and not its pixels, and how each format keeps it."""

import re
import struct
import zlib
from dataclasses import dataclass, field, replace
from fractions import Fraction

from colorize.io.containers import (
    APP1,
    APP13,
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
    encode_resources,
    fits_segment,
)
from colorize.io.exif import (
    ASCII,
    BYTE,
    IPTC_TAG,
    PHOTOSHOP_TAG,
    RESOLUTION_UNIT,
    SOFTWARE,
    UNDEFINED,
    X_RESOLUTION,
    XMP_TAG,
    Y_RESOLUTION,
    YCBCR_TAGS,
    Exif,
    Tag,
)
from colorize.io.xmp import mark_colorized

Dpi = tuple[float, float]  # dots per inch, horizontal and vertical

_INCH, _CENTIMETER = 2, 3
_PROVENANCE = "colorize: "  # starts the provenance in the tag "software"
_SEGMENT_BYTES = 65500  # bytes of Photoshop's resources in a JPEG segment


@dataclass
class Metadata:
    """What is known of a photo.

    Attributes:
        exif: tags, without those of the storage and the orientation.
        xmp: a packet of XMP.
        xmp_extension: what of it did not fit into a JPEG's segment, as it is stored there.
        resources: Photoshop's, the IPTC block among them.
        comments: of a JPEG or GIF.
        texts: text chunks of a PNG.
        unread: names of what the file holds and nobody could read.
        orientation: as in EXIF, 1 to 8, of the pixels as they are stored.
    """

    exif: Exif = field(default_factory=Exif)
    xmp: bytes = b""
    xmp_extension: tuple[bytes, ...] = ()
    resources: tuple[Resource, ...] = ()
    comments: tuple[bytes, ...] = ()
    texts: tuple[Block, ...] = ()
    unread: tuple[str, ...] = ()
    orientation: int = 1

    def copy(self) -> "Metadata":
        """Copy what `write_provenance` changes."""
        return replace(self, exif=self.exif.copy())

    @property
    def provenance(self) -> str | None:
        """What `write_provenance` recorded; None if there is nothing."""
        software = _text(self.exif.image.get(SOFTWARE))
        if _PROVENANCE not in software:
            return None
        return software.split(_PROVENANCE, 1)[1]

    def write_provenance(self, text: str) -> None:
        """Record how the photo was colorized: in words, and as IPTC's digital source type.

        The words follow the software that is named in the EXIF, if any.
        """
        software = _text(self.exif.image.get(SOFTWARE)).split(_PROVENANCE)[0].strip(" ;")
        software = "; ".join(filter(None, (software, f"{_PROVENANCE}{text}")))
        self.exif.image[SOFTWARE] = Tag(ASCII, software.encode() + b"\0")
        try:
            self.xmp = mark_colorized(self.xmp)
        except ValueError:
            self.xmp, self.unread = mark_colorized(b""), (*self.unread, "damaged XMP")

    def dpi(self) -> Dpi | None:
        """Return the resolution in the EXIF; None if there is none."""
        x, y, unit = (
            self.exif.numbers(self.exif.image[code]) if code in self.exif.image else ()
            for code in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT)
        )
        # Where the unit is missing it is the inch (TIFF 6.0); 1 is none, for aspect ratios.
        if not x or not y or (unit and unit[0] not in (_INCH, _CENTIMETER)):
            return None
        factor = 2.54 if unit and unit[0] == _CENTIMETER else 1.0
        return valid_dpi((x[0] * factor, y[0] * factor))

    def exif_of(self, size: tuple[int, int], dpi: Dpi | None) -> Exif:
        """Return the EXIF of an output.

        Args:
            size: (width, height) in pixels.
            dpi: the resolution, for a source that stores it elsewhere.
        """
        exif = self.exif.copy()
        exif.describe_pixels(*size)
        if dpi is not None and self.dpi() is None:
            for code, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
                number = Fraction(value).limit_denominator(1000)
                exif.image[code] = exif.tag("II", number.numerator, number.denominator)
            exif.image[RESOLUTION_UNIT] = exif.tag("H", _INCH)
        return exif

    def left_out(self, image_format: str) -> list[str]:
        """Name what a format has no place for; a list of few words each."""
        names = list(self.unread)
        if self.exif.damaged:
            names.append(f"{self.exif.damaged} damaged EXIF tags")
        if self.xmp_extension and image_format != "JPEG":
            names.append("extended XMP")
        if self.resources and image_format not in ("JPEG", "TIFF", "PNG"):
            is_iptc = any(resource.number == IPTC for resource in self.resources)
            names.append("IPTC" if is_iptc else "Photoshop's resources")
        if self.comments and image_format not in ("JPEG", "PNG"):
            names.append("comment")
        if self.texts and image_format != "PNG":
            keywords = sorted(
                {chunk.data.split(b"\0")[0].decode("latin-1") for chunk in self.texts}
            )
            names.append(f"text chunks ({', '.join(keywords)})")
        if image_format == "JPEG":
            _, dropped = fitting_block(self.exif)
            names += dropped
            if not fits_segment(XMP_HEADER + self.xmp):
                names.append("XMP of more than 64 KB")
        return names

    def jpeg_segments(self, exif: Exif) -> list[Block]:
        """Return the segments of a JPEG."""
        segments = []
        block, _ = fitting_block(exif)
        if block:
            segments.append(Block(APP1, EXIF_HEADER + block))
        if self.xmp and fits_segment(XMP_HEADER + self.xmp):
            segments.append(Block(APP1, XMP_HEADER + self.xmp))
        segments += [Block(APP1, XMP_EXTENSION_HEADER + chunk) for chunk in self.xmp_extension]
        resources = encode_resources(self.resources)
        segments += [
            Block(APP13, PHOTOSHOP_HEADER + resources[start : start + _SEGMENT_BYTES])
            for start in range(0, len(resources), _SEGMENT_BYTES)
        ]
        return segments + [Block(COMMENT, comment) for comment in self.comments]

    def png_chunks(self, exif: Exif, dpi: Dpi | None) -> list[Block]:
        """Return the chunks of a PNG."""
        chunks = []
        if block := exif.to_block():
            chunks.append(Block(b"eXIf", block))
        if dpi is not None:
            per_meter = (round(number / 0.0254) for number in dpi)
            chunks.append(Block(b"pHYs", struct.pack(">IIB", *per_meter, 1)))
        if self.xmp:
            chunks.append(Block(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + self.xmp))
        if self.resources:
            data = encode_resources(self.resources)
            lines = re.sub(r"(.{72})", r"\1\n", data.hex())
            profile = f"\niptc\n{len(data):8}\n{lines}\n".encode()
            content = PROFILE_KEYWORD + b"iptc\0\0" + zlib.compress(profile)
            chunks.append(Block(b"zTXt", content))
        chunks += [
            Block(b"iTXt", b"Comment" + b"\0\0\0\0\0" + _as_utf8(comment))
            for comment in self.comments
        ]
        return chunks + list(self.texts)

    def tiff_tags(self, exif: Exif) -> Exif:
        """Return the tags of a TIFF, with XMP and IPTC among them."""
        exif = exif.copy()
        for code in YCBCR_TAGS:
            exif.image.pop(code, None)
        if self.xmp:
            exif.image[XMP_TAG] = Tag(BYTE, self.xmp)
        iptc = [resource for resource in self.resources if resource.number == IPTC]
        others = [resource for resource in self.resources if resource.number != IPTC]
        if iptc:
            exif.image[IPTC_TAG] = Tag(UNDEFINED, iptc[0].data)
        if others:
            exif.image[PHOTOSHOP_TAG] = Tag(BYTE, encode_resources(others))
        return exif


def fitting_block(exif: Exif) -> tuple[bytes, list[str]]:
    """Return the EXIF block of a JPEG, and the names of the largest tags if they do not fit."""
    exif = exif.copy()
    dropped: list[str] = []
    while not fits_segment(EXIF_HEADER + (block := exif.to_block())):
        sizes = [
            (len(tag.value), code, tags)
            for tags in (exif.image, exif.camera, exif.gps)
            for code, tag in tags.items()
        ]
        size, code, tags = max(sizes, key=lambda entry: entry[0])
        del tags[code]
        dropped.append(f"EXIF tag 0x{code:04x} of {size // 1024} KB")
    return block, dropped


def _text(tag: Tag | None) -> str:
    return "" if tag is None else _as_utf8(tag.value).decode().strip("\0 ")


def _as_utf8(text: bytes) -> bytes:
    """Return text as UTF-8; what is not UTF-8 is taken for Latin-1."""
    try:
        return text.decode().encode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()


def valid_dpi(dpi: tuple[float, float] | None) -> Dpi | None:
    """Convert dots per inch to floats; return None if they are missing or senseless."""
    try:
        horizontal, vertical = (float(number) for number in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (horizontal, vertical) if 0 < horizontal < 1e5 and 0 < vertical < 1e5 else None
