"""Image files with everything to be kept: all bits, transparency, EXIF and resolution."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

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
    format_of,
    rgb_to_photo,
    split_alpha,
    with_alpha,
)
from colorize.utils.files import atomic_write

_DESCRIPTION, _ORIENTATION, _SOFTWARE = 0x010E, 0x0112, 0x0131
_RESOLUTION = (0x011A, 0x011B, 0x0128)  # horizontal, vertical, unit
_INCH, _CENTIMETER = 2, 3
# The tags of EXIF's first directory that describe the photo. The others describe the storage.
_DESCRIPTIVE_TAGS = (
    0x010D,  # document name
    _DESCRIPTION,
    0x010F,  # maker
    0x0110,  # camera
    _SOFTWARE,
    0x0132,  # date
    0x013B,  # artist
    0x4746,  # rating
    0x8298,  # copyright
    *range(0x9C9B, 0x9CA0),  # Windows' title, comment, author, keywords, subject
)
# The tags of EXIF's camera directory that describe the pixels.
_PIXEL_TAGS = (0xA001, 0xA002, 0xA003, 0xA005)  # color space, width, height, interoperability
_LAYOUT_PREFIXES = ('{"shape"', "ImageJ=", "<?xml", "<OME")  # descriptions of the storage
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_DEPTH_OFFSET = 24
_REDUCED_FORMATS = ("AVIF", "JPEG2000", "PPM")  # which Pillow silently decodes to 8 bits
_PROVENANCE = "colorize: "  # starts the provenance in the EXIF tag "software"


@dataclass
class ImageFile:
    """The first image of a file, upright, in sRGB, with its metadata.

    Attributes:
        rgb: (3, H, W), uint8, or uint16 for a file of more than 8 bits per channel.
        alpha: (1, H, W) of the same type; None if the image is opaque.
        format: a value of `FORMAT_BY_SUFFIX`: that of the file, or "PNG" if it cannot be written.
        exif: what describes the photo, without orientation and storage.
        dpi: dots per inch, horizontal and vertical; None if unknown.
        image_count: number of images in the file.
        bits_per_channel: of the file; more than 8 with `rgb` of 8 where a decoder reduces them.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    format: str = "PNG"
    exif: Image.Exif = field(default_factory=Image.Exif)
    dpi: tuple[float, float] | None = None
    image_count: int = 1
    bits_per_channel: int = 8

    @property
    def dropped(self) -> str:
        """Describe what of the file is lost in the output; empty if nothing is."""
        losses = []
        if self.image_count > 1:
            losses.append(f"holds {self.image_count} images, only the first is colorized")
        if self.bits_per_channel > 8 and self.rgb.dtype == torch.uint8:
            losses.append(f"has {self.bits_per_channel} bits per channel, the output has 8")
        return " and ".join(losses)

    def as_rgb8(self) -> Tensor:
        """Return the image as uint8 (3, H, W), composited on white."""
        alpha = None if self.alpha is None else to_8_bit(self.alpha)
        return composite_on_white(to_8_bit(self.rgb), alpha)


def read_image_file(file: str | os.PathLike | BinaryIO) -> ImageFile:
    """Read an image of any format; of an animation or a TIFF of several pages the first.

    The EXIF orientation is applied and an embedded profile is converted to sRGB. Float and 32-bit
    images become 16-bit ones, see `colorize.io.image.white_level`.

    Args:
        file: a path, or a file opened in binary mode.

    Raises:
        PhotoError: if the file is missing, damaged, truncated, not an image, or larger than
            Pillow's limit against decompression bombs.
    """
    with as_photo_error(file):
        header = _read_bytes(file, _PNG_DEPTH_OFFSET + 1)
        if header.startswith(_TIFF_SIGNATURES):
            image_file = _read_high_bit_tiff(file)
            if image_file is not None:
                return image_file
        with Image.open(file) as image:
            is_deep_png = image.format == "PNG" and header[_PNG_DEPTH_OFFSET] == 16
            if is_deep_png or image.mode in HIGH_BIT_DEPTH_MODES:
                return _read_high_bit_image(image, _read_bytes(file) if is_deep_png else None)
            return _read_8_bit_image(image, file)


def _read_high_bit_tiff(file: str | os.PathLike | BinaryIO) -> ImageFile | None:
    """Read a TIFF of more than 8 bits per channel; return None for any other TIFF."""
    image = read_tiff(file)
    if image is None:
        return None
    try:
        with Image.open(file) as described:
            exif = _descriptive_exif(described.getexif())
    except Image.UnidentifiedImageError:  # a TIFF of numbers that Pillow does not read
        exif = Image.Exif()
    return ImageFile(
        rgb=image.rgb,
        alpha=image.alpha,
        format="TIFF",
        exif=exif,
        dpi=_valid_dpi(image.dpi),
        image_count=image.image_count,
        bits_per_channel=16,
    )


def _read_high_bit_image(image: Image.Image, png: bytes | None) -> ImageFile:
    """Read an image of more than 8 bits: the data of a PNG, or what Pillow decodes (gray only)."""
    dpi, image_count = _dpi(image), _count_images(image)
    exif = image.getexif()
    icc, orientation = image.info.get("icc_profile"), exif.get(_ORIENTATION, 1)
    if png is None:
        decoded = to_uint16_srgb(np.asarray(image), icc, orientation)
    else:
        decoded = read_png(png, icc, orientation)
    return ImageFile(
        rgb=decoded.rgb,
        alpha=decoded.alpha,
        format=_output_format(image),
        exif=_descriptive_exif(exif),
        dpi=dpi,
        image_count=image_count,
        bits_per_channel=16,
    )


def _read_8_bit_image(image: Image.Image, file: str | os.PathLike | BinaryIO) -> ImageFile:
    dpi, image_count, image_format = _dpi(image), _count_images(image), _output_format(image)
    is_reduced = image.format in _REDUCED_FORMATS
    bits = bits_per_channel(image.format, _read_bytes(file)) if is_reduced else 8
    ImageOps.exif_transpose(image, in_place=True)
    image.load()
    rgb, alpha = split_alpha(image)
    return ImageFile(
        rgb=rgb,
        alpha=alpha,
        format=image_format,
        exif=_descriptive_exif(image.getexif()),
        dpi=dpi,
        image_count=image_count,
        bits_per_channel=bits,
    )


def write_provenance(image: ImageFile, text: str) -> None:
    """Record in the EXIF how an image was made, after the software that is named there."""
    software = str(image.exif.get(_SOFTWARE, "")).split(_PROVENANCE)[0].strip("\0 ;")
    image.exif[_SOFTWARE] = "; ".join(filter(None, (software, f"{_PROVENANCE}{text}")))


def read_provenance(path: str | os.PathLike) -> str | None:
    """Read what `write_provenance` recorded; None if there is nothing.

    Raises:
        PhotoError: if the file is not a readable image.
    """
    with as_photo_error(path), Image.open(path) as image:
        software = str(image.getexif().get(_SOFTWARE, ""))
    if _PROVENANCE not in software:
        return None
    return software.split(_PROVENANCE, 1)[1].strip("\0 ")


def encode_image_file(image: ImageFile, colorized: Tensor, image_format: str) -> bytes:
    """Encode a colorized image with the transparency, EXIF and resolution of its source.

    Args:
        image: the source.
        colorized: (3, H, W), of the type of `image.rgb`.
        image_format: a value of `FORMAT_BY_SUFFIX`. PNG and TIFF keep 16 bits, all but JPEG keep
            transparency. JPEG and WebP have quality 95, AVIF 90.
    """
    if image_format == "TIFF" or (image_format == "PNG" and colorized.dtype == torch.uint16):
        channels = [colorized] if image.alpha is None else [colorized, image.alpha]
        values = torch.cat(channels).permute(1, 2, 0).contiguous().numpy()
        encode = encode_png if image_format == "PNG" else encode_tiff
        return encode(values, image.exif, image.dpi)
    colorized = to_8_bit(colorized)
    alpha = None if image.alpha is None else to_8_bit(image.alpha)
    if image_format == "JPEG":
        colorized, alpha = composite_on_white(colorized, alpha), None
    photo = with_alpha(rgb_to_photo(colorized), alpha)
    file = io.BytesIO()
    photo.save(file, image_format, **SAVE_OPTIONS[image_format], **_metadata(image, image_format))
    return file.getvalue()


def _metadata(image: ImageFile, image_format: str) -> dict[str, Any]:
    """Return the options by which Pillow stores EXIF and resolution."""
    options: dict[str, Any] = {}
    exif = image.exif
    if image.dpi is not None:
        if image_format in ("JPEG", "PNG"):
            options["dpi"] = image.dpi
        else:  # the other formats store the resolution in EXIF only
            exif = Image.Exif()
            exif.load(image.exif.tobytes())
            exif.update(zip(_RESOLUTION, (*image.dpi, _INCH), strict=True))
    if len(exif):
        options["exif"] = exif
    return options


def write_image_file(image: ImageFile, colorized: Tensor, path: str | os.PathLike) -> None:
    """Write a colorized image atomically, in the format that the suffix selects.

    Args:
        image: the source, see `encode_image_file`.
        colorized: (3, H, W), of the type of `image.rgb`.
        path: the file.

    Raises:
        PhotoError: if the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    image_format = format_of(path)
    try:
        data = encode_image_file(image, colorized, image_format)
        with atomic_write(path) as tmp:
            tmp.write_bytes(data)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written ({error})") from error


def _descriptive_exif(exif: Image.Exif) -> Image.Exif:
    """Select what describes the photo and not its storage."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag not in exif:
            continue
        if tag == _DESCRIPTION and str(exif[tag]).lstrip().startswith(_LAYOUT_PREFIXES):
            continue
        kept[tag] = exif[tag]
    for directory in (IFD.Exif, IFD.GPSInfo):
        tags = exif.get_ifd(directory)
        if tags:
            kept.get_ifd(directory).update(
                {tag: tags[tag] for tag in tags if tag not in _PIXEL_TAGS}
            )
    return kept


def _output_format(image: Image.Image) -> str:
    """Return the format that the image is written in; an MPO is a camera's JPEG."""
    if image.format == "MPO":
        return "JPEG"
    is_written = image.format is not None and image.format in FORMAT_BY_SUFFIX.values()
    return image.format if image.format is not None and is_written else "PNG"


def _count_images(image: Image.Image) -> int:
    """Count the frames or pages; the further images of an MPO are previews."""
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the resolution, from the format's own header or from EXIF."""
    if image.format == "TIFF" and _RESOLUTION[0] not in image.getexif():
        return None  # Pillow reports 1 dpi for a TIFF that does not tell
    return _valid_dpi(image.info.get("dpi")) or _exif_dpi(image.getexif())


def _exif_dpi(exif: Image.Exif) -> tuple[float, float] | None:
    horizontal, vertical, unit = (exif.get(tag) for tag in _RESOLUTION)
    dpi = _valid_dpi((horizontal, vertical))
    if dpi is None or unit != _CENTIMETER:
        return dpi
    return dpi[0] * 2.54, dpi[1] * 2.54


def _valid_dpi(dpi: tuple[Any, Any] | None) -> tuple[float, float] | None:
    """Convert dots per inch to floats; return None if they are missing or senseless."""
    try:
        horizontal, vertical = (float(number) for number in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (horizontal, vertical) if 0 < horizontal < 1e5 and 0 < vertical < 1e5 else None


def _read_bytes(file: str | os.PathLike | BinaryIO, count: int = -1) -> bytes:
    """Read the first bytes of a file, or all (-1); an open file is rewound before and after."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:
            return opened.read(count)
    file.seek(0)
    data = file.read(count)
    file.seek(0)
    return data
