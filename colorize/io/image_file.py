"""Image files with everything to be kept: all bits, transparency, metadata and resolution."""

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from colorize.io.color_profile import png_profile
from colorize.io.containers import (
    PNG_SIGNATURE,
    critical_chunks,
    jp2_profile,
)
from colorize.io.exif import TIFF_SIGNATURES
from colorize.io.formats import open_file
from colorize.io.high_bit_depth import (
    bits_per_channel,
    decode_png,
    to_8_bit,
    to_uint16_srgb,
)
from colorize.io.image import (
    FORMAT_BY_SUFFIX,
    HIGH_BIT_DEPTH_MODES,
    PhotoError,
    as_photo_error,
    composite_on_white,
    file_name,
    split_alpha,
    upright,
)
from colorize.io.metadata import Dpi, Metadata, valid_dpi
from colorize.io.metadata_reader import read_metadata, read_tiff_metadata
from colorize.io.tiff import TiffPhoto, find_photo, open_tiff

_PNG_DEPTH_OFFSET = 24
_REDUCED_FORMATS = ("AVIF", "JPEG2000", "PPM")  # which Pillow silently decodes to 8 bits


@dataclass
class ImageFile:
    """The main image of a file, upright, in sRGB, with its metadata.

    Attributes:
        rgb: (3, H, W), uint8, or uint16 for a file of more than 8 bits per channel.
        alpha: (1, H, W) of the same type; None if the image is opaque.
        format: a value of `FORMAT_BY_SUFFIX`: that of the file, or "PNG" if it cannot be written.
        metadata: what describes the photo, without orientation and storage.
        dpi: dots per inch, horizontal and vertical; None if unknown.
        image_count: number of images in the file.
        bits_per_channel: of the file; more than 8 with `rgb` of 8 where a decoder reduces them.
        unused_channels: number of channels that are neither colors nor alpha.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    format: str = "PNG"
    metadata: Metadata = field(default_factory=Metadata)
    dpi: Dpi | None = None
    image_count: int = 1
    bits_per_channel: int = 8
    unused_channels: int = 0

    def losses(self, image_format: str) -> str:
        """Describe what of the file an output does not keep; empty if it keeps all.

        Args:
            image_format: of the output, a value of `FORMAT_BY_SUFFIX`.
        """
        losses = []
        if self.image_count > 1:
            losses.append(f"holds {self.image_count} images, only the first is colorized")
        bits = 16 if self.rgb.dtype == torch.uint16 and image_format in ("PNG", "TIFF") else 8
        if self.bits_per_channel > bits:
            losses.append(f"has {self.bits_per_channel} bits per channel, the output has {bits}")
        left_out = self.metadata.left_out(image_format)
        if self.unused_channels:
            noun = "channel" if self.unused_channels == 1 else "channels"
            left_out.append(f"{self.unused_channels} {noun} beside the colors")
        if left_out:
            losses.append(f"also holds what the output leaves out: {', '.join(left_out)}")
        return " and ".join(losses)

    def as_rgb8(self) -> Tensor:
        """Return the image as uint8 (3, H, W), composited on white."""
        alpha = None if self.alpha is None else to_8_bit(self.alpha)
        return composite_on_white(to_8_bit(self.rgb), alpha)


def read_image_file(file: str | os.PathLike | BinaryIO) -> ImageFile:
    """Read an image of any format; of an animation the first, of a TIFF the main picture.

    The EXIF orientation is applied and an embedded profile is converted to sRGB. Float and 32-bit
    images become 16-bit ones, see `colorize.io.image.white_level`.

    Args:
        file: a path, or a file opened in binary mode.

    Raises:
        PhotoError: if the file is missing, damaged, truncated, not an image, or larger than
            Pillow's limit against decompression bombs.
    """
    with as_photo_error(file):
        if read_bytes(file, len(TIFF_SIGNATURES[0])) in TIFF_SIGNATURES:
            return _read_tiff(file)
        try:
            with open_file(file) as image:
                return _read_image(image, file)
        except (Image.UnidentifiedImageError, SyntaxError, ValueError, struct.error):
            data = read_bytes(file)
            if not data.startswith(PNG_SIGNATURE):
                raise
            return _read_damaged_png(data, file_name(file))


def _read_damaged_png(data: bytes, name: str) -> ImageFile:
    """Read a PNG that has a damaged chunk beside its pixels, without the chunks it can lack."""
    file = io.BytesIO(critical_chunks(data))
    file.name = name
    with Image.open(file) as image:
        result = _read_image(image, file)
    result.metadata = replace(result.metadata, unread=("a damaged chunk and all others",))
    return result


def _read_tiff(file: str | os.PathLike | BinaryIO) -> ImageFile:
    """Read the main picture of a TIFF: by Pillow up to 8 bits where it can, by tifffile else."""
    with _opened(file) as opened, open_tiff(opened) as tiff:
        photo = find_photo(tiff)
        metadata = read_tiff_metadata(opened, photo.offsets)
        rgb, alpha = _decode_tiff(photo, file)
        return ImageFile(
            rgb=rgb,
            alpha=alpha,
            format="TIFF",
            metadata=metadata,
            dpi=metadata.dpi(),
            image_count=photo.image_count,
            bits_per_channel=max(8, photo.bits_per_channel),
            unused_channels=photo.unused_channels,
        )


def _decode_tiff(
    photo: TiffPhoto, file: str | os.PathLike | BinaryIO
) -> tuple[Tensor, Tensor | None]:
    """Decode the main picture to sRGB (3, H, W) and its alpha (1, H, W), or None."""
    name = file_name(file)
    is_high_bit = photo.bits_per_channel > 8
    prefers_tifffile = photo.is_decodable and (is_high_bit or photo.has_rare_compression)
    if photo.index is not None and not prefers_tifffile:
        try:
            with Image.open(file) as image:
                image.seek(photo.index)
                ImageOps.exif_transpose(image, in_place=True)
                image.load()
                rgb, alpha = split_alpha(image, name)
                return rgb, None if photo.alpha_channel is None else alpha
        except (Image.UnidentifiedImageError, SyntaxError, KeyError):
            if not photo.is_decodable:
                raise
    if not photo.is_decodable:
        kind = getattr(photo.page.photometric, "name", photo.page.photometric)
        raise PhotoError(f"colors of the kind {kind} cannot be decoded from this TIFF")
    decoded = photo.decode(name)
    if is_high_bit:
        return decoded.rgb, decoded.alpha
    return to_8_bit(decoded.rgb), None if decoded.alpha is None else to_8_bit(decoded.alpha)


def _read_image(image: Image.Image, file: str | os.PathLike | BinaryIO) -> ImageFile:
    """Read an image that Pillow has opened, not a TIFF."""
    metadata = read_metadata(image, lambda: read_bytes(file))
    result = ImageFile(
        rgb=torch.empty(0),
        format=_output_format(image),
        metadata=metadata,
        dpi=_header_dpi(image) or metadata.dpi(),
        image_count=_count_images(image),
    )
    is_high_bit_png = image.format == "PNG" and read_bytes(file, _PNG_DEPTH_OFFSET + 1)[-1] == 16
    if is_high_bit_png or image.mode in HIGH_BIT_DEPTH_MODES:
        return _decode_high_bit(image, file, result, is_png=is_high_bit_png)
    if image.format in _REDUCED_FORMATS:
        result.bits_per_channel = bits_per_channel(image.format, read_bytes(file))
    elif image.format == "HEIF":
        result.bits_per_channel = image.info["bit_depth"]
    image.load()
    if icc := _profile(image, file):
        image.info["icc_profile"] = icc
    image = upright(image, metadata.orientation)
    result.rgb, result.alpha = split_alpha(image, file_name(file))
    return result


def _decode_high_bit(
    image: Image.Image, file: str | os.PathLike | BinaryIO, result: ImageFile, *, is_png: bool
) -> ImageFile:
    """Decode more than 8 bits: those of a PNG, or what Pillow decodes (gray only)."""
    icc = _profile(image, file)
    values = decode_png(read_bytes(file)) if is_png else np.asarray(image)
    decoded = to_uint16_srgb(values, icc, result.metadata.orientation, name=file_name(file))
    result.rgb, result.alpha, result.bits_per_channel = decoded.rgb, decoded.alpha, 16
    return result


def _profile(image: Image.Image, file: str | os.PathLike | BinaryIO) -> bytes | None:
    """Return the color profile that the file embeds, or describes in another way."""
    if icc := image.info.get("icc_profile"):
        return icc
    is_gray = image.mode in ("1", "L", "LA", *HIGH_BIT_DEPTH_MODES)
    if image.format == "PNG":
        return png_profile(image.info, is_gray=is_gray)
    return jp2_profile(read_bytes(file)) if image.format == "JPEG2000" else None


def read_provenance(path: str | os.PathLike) -> str | None:
    """Read what `Metadata.write_provenance` recorded; None if there is nothing.

    Raises:
        PhotoError: if the file is not a readable image.
    """
    with as_photo_error(path), _opened(path) as file:
        if read_bytes(file, len(TIFF_SIGNATURES[0])) in TIFF_SIGNATURES:
            with open_tiff(file) as tiff:
                return read_tiff_metadata(file, find_photo(tiff).offsets).provenance
        with open_file(file) as image:
            return read_metadata(image, lambda: read_bytes(file)).provenance


def _header_dpi(image: Image.Image) -> Dpi | None:
    """Return the resolution in the format's own header, not in EXIF."""
    # Without a unit, JFIF tells the aspect ratio of the pixels; Pillow then takes that for dots.
    has_none = image.format == "JPEG" and image.info.get("jfif_unit") not in (1, 2)
    return None if has_none else valid_dpi(image.info.get("dpi"))


def _output_format(image: Image.Image) -> str:
    """Return the format that the image is written in; an MPO is a camera's JPEG."""
    if image.format == "MPO":
        return "JPEG"
    is_written = image.format is not None and image.format in FORMAT_BY_SUFFIX.values()
    return image.format if image.format is not None and is_written else "PNG"


def _count_images(image: Image.Image) -> int:
    """Count the frames or pages; those of an MPO are previews, those of a PSD its layers."""
    return 1 if image.format in ("MPO", "PSD") else getattr(image, "n_frames", 1)


def read_bytes(file: str | os.PathLike | BinaryIO, count: int = -1) -> bytes:
    """Read the first bytes of a file, or all (-1); an open file is rewound before and after."""
    with _opened(file) as opened:
        data = opened.read(count)
        opened.seek(0)
        return data


@contextlib.contextmanager
def _opened(file: str | os.PathLike | BinaryIO) -> Iterator[BinaryIO]:
    """Open a file, or rewind one that is open."""
    if isinstance(file, str | os.PathLike):
        with Path(file).open("rb") as opened:
            yield opened
    else:
        file.seek(0)
        yield file
