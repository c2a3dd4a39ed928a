"""A user's own picture with all its bits, transparency and EXIF; its painting kept likewise."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.ExifTags import IFD
from torch import Tensor

from colorize.io.high_bit_depth import (
    bits_per_channel,
    encode_png,
    encode_tiff,
    read_png,
    read_tiff,
    to_8_bit,
    to_uint16_srgb,
)
from colorize.io.image import (
    FORMAT_BY_SUFFIX,
    HIGH_BIT_DEPTH_MODES,
    SAVE_OPTIONS,
    PhotoError,
    as_photo_error,
    composite_on_white,
    rgb_to_photo,
    split_alpha,
    with_alpha,
)
from colorize.utils.files import atomic_write

# Of EXIF's first directory, what tells of the photo: name, description, maker, camera, software,
# dates, artist, rating, copyright, Windows' title to subject. The rest is of how pixels are stored.
_TOLD = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x4746, 0x8298),
    *range(0x9C9B, 0x9CA0),
)
_OF_PIXELS = (0xA001, 0xA002, 0xA003, 0xA005)  # in the camera's: color space, width, height, more
_DESCRIPTION, _ORIENTATION, _SOFTWARE = 0x010E, 0x0112, 0x0131
_OF_LAYOUT = ('{"shape"', "ImageJ=", "<?xml", "<OME")  # so begin descriptions of how it is stored
_RESOLUTION, _INCH, _CM = (0x011A, 0x011B, 0x0128), 2, 3
_OF_MORE_BITS = ("AVIF", "JPEG2000", "PPM")  # which Pillow reads with 8 without a word
_MARK = "colorize: "  # with it begins what is said of a painting
_TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # so they begin


@dataclass
class ImageFile:
    """A picture, upright, in sRGB.

    Attributes:
        rgb: (3, H, W), uint8, or uint16 of a file with more than 8 bits.
        alpha: (1, H, W) of the same type; None of an opaque picture.
        kind: of file it was, a value of `KINDS`; "PNG" for all others.
        exif: what it tells of the photo, without the orientation.
        dpi: dots per inch, across and down; None if it does not say.
        pictures: how many the file holds; this is the first.
        bits: a channel, of the file; of kinds that are read with 8 alone it may be more.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    kind: str = "PNG"
    exif: Image.Exif = field(default_factory=Image.Exif)
    dpi: tuple[float, float] | None = None
    pictures: int = 1
    bits: int = 8

    @property
    def left(self) -> str:
        """What of the file is not in the painting, in words; empty if all is."""
        left = []
        if self.pictures > 1:
            left.append(f"holds {self.pictures} pictures, the first is colored")
        if self.bits > 8 and self.rgb.dtype == torch.uint8:
            left.append(f"has {self.bits} bits a channel, its painting 8")
        return " and ".join(left)

    @property
    def seen(self) -> Tensor:
        """What one sees of it: uint8 (3, H, W), on white where it is transparent."""
        alpha = None if self.alpha is None else to_8_bit(self.alpha)
        return composite_on_white(to_8_bit(self.rgb), alpha)


def read_image_file(file: str | os.PathLike | BinaryIO) -> ImageFile:
    """Read a picture of any kind; of an animation or a TIFF of several pages the first.

    The EXIF orientation is applied and an embedded profile is converted to sRGB. Floating and
    32-bit pictures become 16-bit ones. Of floats 1 is white, and what goes beyond it is cut off;
    where they go beyond 16 it is 255 or 65535.

    Args:
        file: a path, or a file opened in binary mode.

    Raises:
        PhotoError: if the file is missing, damaged, cut short, no picture, or larger than Pillow's
            limit against decompression bombs.
    """
    with as_photo_error(file):
        deep = read_tiff(file) if _head(file, 4).startswith(_TIFFS) else None
        if deep is not None:
            dpi = _resolution(deep.dpi)
            return ImageFile(deep.rgb, deep.alpha, "TIFF", _exif(file), dpi, deep.pictures, 16)
        with Image.open(file) as image:
            dpi = _resolution(image.info.get("dpi")) or _exif_resolution(image.getexif())
            if image.format == "TIFF" and _RESOLUTION[0] not in image.getexif():
                dpi = None  # Pillow says 1 dpi of a TIFF that says nothing
            # Of a camera's JPEG the others are previews.
            pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            kind = {"MPO": "JPEG"}.get(image.format, image.format)
            kind = kind if kind in FORMAT_BY_SUFFIX.values() else "PNG"
            is_png = image.format == "PNG" and _png_depth(file) == 16
            if is_png or image.mode in HIGH_BIT_DEPTH_MODES:
                exif = image.getexif()
                stored = image.info.get("icc_profile"), exif.get(_ORIENTATION, 1)
                data = _head(file) if is_png else np.asarray(image)
                deep = read_png(data, *stored) if is_png else to_uint16_srgb(data, *stored)
                return ImageFile(deep.rgb, deep.alpha, kind, _told(exif), dpi, pictures, 16)
            bits = (
                bits_per_channel(image.format, _head(file)) if image.format in _OF_MORE_BITS else 8
            )
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            rgb, alpha = split_alpha(image)
            return ImageFile(rgb, alpha, kind, _told(image.getexif()), dpi, pictures, bits)


def write_provenance(original: ImageFile, text: str) -> None:
    """Say something of the picture's making in its EXIF, beside what is said there already."""
    earlier = str(original.exif.get(_SOFTWARE, "")).split(_MARK)[0].strip("\0 ;")
    original.exif[_SOFTWARE] = "; ".join(filter(None, (earlier, f"{_MARK}{text}")))


def read_provenance(path: str | os.PathLike) -> str | None:
    """What `note` said of a picture; None if there is nothing."""
    with as_photo_error(path), Image.open(path) as image:
        software = str(image.getexif().get(_SOFTWARE, ""))
    return software.split(_MARK, 1)[1].strip("\0 ") if _MARK in software else None


def encode(original: ImageFile, painted: Tensor, kind: str) -> bytes:
    """A painting as a file, with the transparency, the EXIF and the resolution of its original.

    Args:
        original: the picture that was painted.
        painted: (3, H, W), of its type.
        kind: of file, a value of `KINDS`. 16 bits stay in PNG and TIFF, transparency in all but
            JPEG. JPEG and WebP have quality 95, AVIF 90.
    """
    if kind == "TIFF" or (kind == "PNG" and painted.dtype == torch.uint16):
        parts = [painted] if original.alpha is None else [painted, original.alpha]
        values = torch.cat(parts).permute(1, 2, 0).contiguous().numpy()
        write = encode_png if kind == "PNG" else encode_tiff
        return write(values, original.exif, original.dpi)
    alpha = None if original.alpha is None else to_8_bit(original.alpha)
    painted = to_8_bit(painted)
    if kind == "JPEG":
        painted, alpha = composite_on_white(painted, alpha), None
    photo = with_alpha(rgb_to_photo(painted), alpha)
    options = dict(SAVE_OPTIONS[kind])
    exif = original.exif
    if original.dpi is not None:
        if kind in ("JPEG", "PNG"):
            options["dpi"] = original.dpi
        else:  # these have no other place for it
            exif = Image.Exif()
            exif.load(original.exif.tobytes())
            exif.update(zip(_RESOLUTION, (*original.dpi, _INCH), strict=True))
    if len(exif):
        options["exif"] = exif
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def write_image_file(original: ImageFile, painted: Tensor, path: str | os.PathLike) -> None:
    """Write a painting, of the kind that the suffix says; no half file ever bears the name.

    Raises:
        PhotoError: if the suffix is of no kind, or the file cannot be written.
    """
    path = Path(path)
    kind = FORMAT_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise PhotoError(f"{path}: unknown kind of file; use one of {', '.join(FORMAT_BY_SUFFIX)}")
    try:
        data = encode(original, painted, kind)
        with atomic_write(path) as part:
            part.write_bytes(data)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written ({error})") from error


def _told(exif: Image.Exif) -> Image.Exif:
    """What EXIF tells of the photo, and not of its pixels."""
    kept = Image.Exif()
    for tag in _TOLD:
        if tag in exif and not (
            tag == _DESCRIPTION and str(exif[tag]).lstrip().startswith(_OF_LAYOUT)
        ):
            kept[tag] = exif[tag]
    for tag in (IFD.Exif, IFD.GPSInfo):
        more = exif.get_ifd(tag)
        if more:
            kept.get_ifd(tag).update({key: more[key] for key in more if key not in _OF_PIXELS})
    return kept


def _resolution(dpi: tuple | None) -> tuple[float, float] | None:
    """Dots per inch as floats, if they are numbers that make sense."""
    try:
        across, down = (float(number) for number in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def _exif_resolution(exif: Image.Exif) -> tuple[float, float] | None:
    across, down, unit = (exif.get(tag) for tag in _RESOLUTION)
    found = _resolution((across, down))
    return tuple(number * 2.54 for number in found) if found and unit == _CM else found


def _png_depth(file: str | os.PathLike | BinaryIO) -> int:
    return _head(file, 25)[24]


def _head(file: str | os.PathLike | BinaryIO, count: int = -1) -> bytes:
    """The first bytes of a file, or all; one that was given open is read from its start."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return opened.read(count)
    file.seek(0)
    data = file.read(count)
    file.seek(0)
    return data


def _exif(file: str | os.PathLike | BinaryIO) -> Image.Exif:
    try:
        with Image.open(file) as image:
            return _told(image.getexif())
    except Image.UnidentifiedImageError:  # a TIFF of numbers that Pillow does not know
        return Image.Exif()
