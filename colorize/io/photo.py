"""Read any image file as an 8-bit sRGB photo, for training and for showing."""

import math
import os
from pathlib import Path
from typing import BinaryIO

import torch
from PIL import Image, ImageOps
from torch import Tensor

from colorize.io.exif import ORIENTATION
from colorize.io.formats import open_file
from colorize.io.image import (
    as_photo_error,
    file_name,
    photo_to_rgb,
    rgb_to_photo,
    to_srgb,
)
from colorize.io.image_file import read_bytes, read_image_file
from colorize.io.metadata_reader import read_metadata

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

_JPEG_START = b"\xff\xd8"


def read_photo(file: str | os.PathLike | BinaryIO, min_side: int | None = None) -> Image.Image:
    """Read any image file as an upright 8-bit sRGB photo.

    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB, 16-bit and
    float images are scaled to 8 bits, transparency is composited on white, and the first frame
    of an animation is used.

    Args:
        file: a path, or a file opened in binary mode.
        min_side: short side in pixels that suffices: a JPEG is decoded at 1/2, 1/4 or 1/8 of its
            size as long as its short side is at least this. None decodes at full size.

    Returns:
        The photo, mode RGB.

    Raises:
        PhotoError: if the file is missing, damaged, truncated, not an image, or (whatever
            `min_side`) larger than Pillow's limit against decompression bombs.
    """
    with as_photo_error(file):
        is_jpeg = read_bytes(file, len(_JPEG_START)) == _JPEG_START
    if not is_jpeg:
        return rgb_to_photo(read_image_file(file).as_rgb8())
    with as_photo_error(file), Image.open(file) as image:
        if min_side is not None and image.format == "JPEG":
            # Pillow keeps both sides at least as large as requested.
            image.draft(None, (min_side, min_side))
        ImageOps.exif_transpose(image, in_place=True)  # in place: no copy where none is needed
        image.load()
        return to_srgb(image, file_name(file))


def read_rgb(file: str | os.PathLike | BinaryIO, min_side: int | None = None) -> Tensor:
    """Read any image file as `read_photo` does, into a uint8 tensor (3, H, W).

    A plain JPEG, without EXIF and profile, is decoded by simplejpeg if that is installed (extra
    `fast`): the same pixels, within one level, in two thirds of the time.

    Args:
        file: a path, or a file opened in binary mode.
        min_side: as of `read_photo`.

    Raises:
        PhotoError: as `read_photo`.
    """
    rgb = None if simplejpeg is None else _decode_plain_jpeg(file, min_side)
    return photo_to_rgb(read_photo(file, min_side)) if rgb is None else rgb


def photo_size(file: str | os.PathLike) -> tuple[int, int]:
    """Return (width, height) of the upright photo from the file's header.

    Nothing is decoded, except a PNG without EXIF before its pixels: EXIF may follow them.

    Raises:
        PhotoError: as `read_photo`, as far as the header shows it.
    """
    with as_photo_error(file), open_file(file) as image:
        if image.format == "TIFF":
            return image.size  # Pillow applies the orientation of a TIFF itself
        width, height = image.size
        if image.format == "JPEG":  # without reading the whole file
            orientation = image.getexif().get(ORIENTATION, 1)
        else:
            orientation = read_metadata(image, lambda: read_bytes(file)).orientation
        is_rotated = 5 <= orientation <= 8  # by 90 degrees
        return (height, width) if is_rotated else (width, height)


def _decode_plain_jpeg(file: str | os.PathLike | BinaryIO, min_side: int | None) -> Tensor | None:
    """Decode a JPEG without EXIF and profile; return None for any other or a damaged file."""
    try:
        if isinstance(file, str | os.PathLike):
            data = Path(file).read_bytes()
        else:
            data = file.read()
            file.seek(0)
        if not data.startswith(_JPEG_START) or b"Exif" in data or b"ICC_PROFILE" in data:
            return None
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space != "YCbCr" or height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
            return None  # Pillow refuses files that are too large with an explanation
        ratio = min(height, width) // (min_side or min(height, width))
        factor = max(factor for factor in (1, 2, 4, 8) if factor <= max(1, ratio))
        pixels = simplejpeg.decode_jpeg(
            data,
            "RGB",
            min_factor=factor,
            min_height=-(-height // factor),
            min_width=-(-width // factor),
        )
    except (OSError, ValueError):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)
