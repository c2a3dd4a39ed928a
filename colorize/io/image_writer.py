"""Write a colorized image with everything of its source that the format has a place for."""

import io
import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from colorize.io.containers import insert_chunks, insert_segments
from colorize.io.high_bit_depth import encode_png, to_8_bit
from colorize.io.image import (
    SAVE_OPTIONS,
    cannot_write,
    composite_on_white,
    format_of,
    rgb_to_photo,
    with_alpha,
)
from colorize.io.image_file import ImageFile
from colorize.io.tiff import encode_tiff
from colorize.utils.files import atomic_write


def encode_image_file(image: ImageFile, colorized: Tensor, image_format: str) -> bytes:
    """Encode a colorized image with the transparency, metadata and resolution of its source.

    Args:
        image: the source.
        colorized: (3, H, W), of the type of `image.rgb`.
        image_format: a value of `FORMAT_BY_SUFFIX`. PNG and TIFF keep 16 bits, all but JPEG keep
            transparency. JPEG and WebP have quality 95, AVIF 90.
    """
    metadata, size = image.metadata, (colorized.shape[2], colorized.shape[1])
    has_header = image_format in ("JPEG", "PNG")  # for the resolution; the others have EXIF only
    exif = metadata.exif_of(size, None if has_header else image.dpi)
    if image_format == "TIFF" or (image_format == "PNG" and colorized.dtype == torch.uint16):
        channels = [colorized] if image.alpha is None else [colorized, image.alpha]
        values = torch.cat(channels).permute(1, 2, 0).contiguous().numpy()
        if image_format == "TIFF":
            return encode_tiff(values, metadata.tiff_tags(exif))
        data = encode_png(values, SAVE_OPTIONS["PNG"]["compress_level"])
        return insert_chunks(data, metadata.png_chunks(exif, image.dpi))
    photo = _as_photo(image, colorized, image_format)
    options = dict(SAVE_OPTIONS[image_format])
    if image_format == "JPEG" and image.dpi is not None:
        options["dpi"] = image.dpi
    elif not has_header:
        options |= {"exif": exif.to_block(), "xmp": metadata.xmp}
    file = io.BytesIO()
    photo.save(file, image_format, **{key: value for key, value in options.items() if value != b""})
    if image_format == "JPEG":
        return insert_segments(file.getvalue(), metadata.jpeg_segments(exif))
    if image_format == "PNG":
        return insert_chunks(file.getvalue(), metadata.png_chunks(exif, image.dpi))
    return file.getvalue()


def _as_photo(image: ImageFile, colorized: Tensor, image_format: str) -> Image.Image:
    """Convert a colorized image to 8 bits, with its alpha if the format keeps one."""
    colorized = to_8_bit(colorized)
    alpha = None if image.alpha is None else to_8_bit(image.alpha)
    if image_format == "JPEG":
        colorized, alpha = composite_on_white(colorized, alpha), None
    return with_alpha(rgb_to_photo(colorized), alpha)


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
        raise cannot_write(path, error) from error
