"""Images of more than 8 bits per channel: read them as 16-bit sRGB, and write them."""

import io
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import IFD
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from colorize.io.color_profile import uint16_to_srgb
from colorize.io.image import white_level

if TYPE_CHECKING:
    import tifffile  # at run time where it is used, because its import takes long

_ORIENTATION, _PROFILE = 0x0112, 0x8773  # TIFF tags
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5  # TIFF's photometric interpretations
_ASSOCIATED_ALPHA = 1  # TIFF's extra sample: the colors are multiplied by this alpha
_PER_INCH = {2: 1.0, 3: 2.54}  # TIFF's units of resolution, inch and centimeter
_WHITE = 65535
_STRIP_ROWS = 256  # converted at a time: as floats they need two to four times the memory
# Offset of the byte with the bit depth behind a marker of the header.
_DEPTH_MARKERS = {"AVIF": (b"av1C", 6), "JPEG2000": (b"\xff\x4f\xff\x51", 42)}


@dataclass(frozen=True)
class HighBitDepthImage:
    """An upright sRGB image of 16 bits per channel.

    Attributes:
        rgb: uint16 (3, H, W).
        alpha: uint16 (1, H, W); None if the image is opaque.
        dpi: dots per inch, horizontal and vertical; None if unknown.
        image_count: number of images in the file, of which this is the first.
    """

    rgb: Tensor
    alpha: Tensor | None
    dpi: tuple[float, float] | None = None
    image_count: int = 1


def to_uint16_srgb(
    values: np.ndarray,
    icc: bytes | None,
    orientation: int = 1,
    *,
    white: float | None = None,
    channels: int | None = None,
    is_premultiplied: bool = False,
) -> HighBitDepthImage:
    """Convert an array of any type to an upright 16-bit sRGB image.

    Args:
        values: (H, W) or (H, W, C); alpha follows the color channels.
        icc: the color profile; None for sRGB.
        orientation: as in EXIF, 1 to 8.
        white: the value of white; larger values are clipped. None for `white_level`.
        channels: number of color channels: 1 (gray), 3 (RGB) or 4 (CMYK). None for 1 or 3,
            whichever fits.
        is_premultiplied: whether the colors are multiplied by alpha.
    """
    values = _apply_orientation(values.reshape(*values.shape[:2], -1), orientation)
    height, width, depth = values.shape
    white = white_level(values) if white is None else white
    channels = (1 if depth < 3 else 3) if channels is None else channels
    to_srgb = uint16_to_srgb(icc, channels)
    rgb = torch.empty((3, height, width), dtype=torch.uint16)
    alpha = torch.empty((1, height, width), dtype=torch.uint16) if depth > channels else None
    for rows in _strips(height):
        strip = np.nan_to_num(values[rows].astype(np.float32)) / np.float32(white)
        strip = strip.clip(0, 1)
        if alpha is not None:
            opacity = strip[..., channels : channels + 1]
            if is_premultiplied:
                strip = (strip / opacity.clip(1e-6)).clip(0, 1)
            alpha[0, rows] = torch.from_numpy((opacity[..., 0] * _WHITE).round().astype(np.uint16))
        colors = (strip[..., :channels] * _WHITE).round().astype(np.uint16)
        rgb[:, rows] = torch.from_numpy(to_srgb(colors)).permute(2, 0, 1)
    if alpha is not None and bool((alpha.view(torch.int16) == -1).all()):  # 65535 everywhere
        alpha = None
    return HighBitDepthImage(rgb, alpha)


def read_png(data: bytes, icc: bytes | None, orientation: int) -> HighBitDepthImage:
    """Decode a 16-bit PNG; the arguments are those of `to_uint16_srgb`."""
    import imagecodecs  # here, because 8-bit photos need none of it

    return to_uint16_srgb(imagecodecs.png_decode(data), icc, orientation)


def read_tiff(file: str | os.PathLike | BinaryIO) -> HighBitDepthImage | None:
    """Read the first image of a TIFF of more than 8 bits per channel: gray, RGB or CMYK.

    Returns:
        The image; None of any other TIFF.

    Raises:
        DecompressionBombError: if it has more pixels than Pillow allows.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # relevant errors are raised
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        is_cmyk = page.photometric == _CMYK and page.samplesperpixel >= 4
        is_supported = is_cmyk or page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        if page.bitspersample <= 8 or not is_supported:
            return None
        pixels = page.imagewidth * page.imagelength
        if pixels > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):  # Pillow's own limit
            raise Image.DecompressionBombError(f"{pixels} pixels")
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        white = 2**page.bitspersample - 1 if values.dtype.kind == "u" else white_level(values)
        if page.photometric == _WHITE_IS_ZERO:
            values = white - values
        tags = {tag.code: tag.value for tag in page.tags}
        image = to_uint16_srgb(
            values,
            tags.get(_PROFILE),
            int(tags.get(_ORIENTATION, 1)),
            white=white,
            channels=4 if is_cmyk else None,
            is_premultiplied=_ASSOCIATED_ALPHA in page.extrasamples,
        )
        return replace(image, dpi=_tiff_dpi(page), image_count=_count_images(tiff))


def bits_per_channel(image_format: str | None, data: bytes) -> int:
    """Read the bit depth from the header of a file that Pillow decodes to 8 bits.

    Args:
        image_format: Pillow's "AVIF", "JPEG2000" or "PPM".
        data: the file.

    Returns:
        Bits per channel; 8 if the header does not tell.
    """
    if image_format == "PPM":
        header = re.match(rb"P[36](?:(?:\s|#[^\n]*\n)+(\d+)){3}", data)
        return int(header[1]).bit_length() if header else 8
    if image_format not in _DEPTH_MARKERS:
        return 8
    marker, offset = _DEPTH_MARKERS[image_format]
    start = data.find(marker)
    if start < 0 or start + offset >= len(data):
        return 8
    depth = data[start + offset]
    if image_format == "JPEG2000":
        return (depth & 0x7F) + 1  # Ssiz
    return {0x40: 10, 0x60: 12}.get(depth & 0x60, 8)  # high_bitdepth, twelve_bit


def to_8_bit(values: Tensor) -> Tensor:
    """Round uint16 (C, H, W) to uint8; uint8 is returned as it is."""
    if values.dtype == torch.uint8:
        return values
    rounded = torch.empty(values.shape, dtype=torch.uint8)
    for rows in _strips(values.shape[1]):
        rounded[:, rows] = (values[:, rows].float() / 257).round().to(torch.uint8)
    return rounded


def encode_png(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
    """Encode uint16 (H, W, C) as PNG, with chunks for EXIF and resolution."""
    import imagecodecs

    data = bytes(imagecodecs.png_encode(values, level=4))
    chunks = b""
    if len(exif):
        chunks += _png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    if dpi is not None:
        per_meter = (round(number / 0.0254) for number in dpi)
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", *per_meter, 1))
    header = 33  # bytes of the signature and the chunk IHDR
    return data[:header] + chunks + data[header:]


def encode_tiff(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
    """Encode (H, W, C), uint8 or uint16, as TIFF.

    The directories of EXIF and GPS tags follow the pixels. Their offsets are only known once the
    rest is encoded, so that it is encoded twice.
    """
    directories = {int(code): exif.get_ifd(code) for code in (IFD.Exif, IFD.GPSInfo)}
    directories = {code: tags for code, tags in directories.items() if tags}
    tags = [_tiff_tag(code, value) for code, value in exif.items() if code not in list(IFD)]
    if not directories:
        return _encode_tiff_pixels(values, dpi, tags, {})
    end = len(_encode_tiff_pixels(values, dpi, tags, dict.fromkeys(directories, 0)))
    offsets: dict[int, int] = {}
    appendix = b""
    for code, entries in directories.items():
        directory = ImageFileDirectory_v2(prefix=b"II")
        for tag, value in entries.items():
            directory[tag] = value
        offsets[code] = end + len(appendix)
        appendix += directory.tobytes(offsets[code])
    return _encode_tiff_pixels(values, dpi, tags, offsets) + appendix


def _encode_tiff_pixels(
    values: np.ndarray,
    dpi: tuple[float, float] | None,
    tags: list[tuple],
    offsets: dict[int, int],
) -> bytes:
    """Encode pixels, tags, and pointers to directories at these offsets, by their code."""
    import tifffile

    # tifffile refuses tags that are pointers: it writes the next lower code, corrected below.
    pointers = [(code - 1, "I", 1, offset, True) for code, offset in offsets.items()]
    unit: Literal["INCH"] | None = None if dpi is None else "INCH"
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values,
        byteorder="<",
        photometric="rgb",
        extrasamples=["unassalpha"] if values.shape[2] == 4 else None,
        compression="adobe_deflate",
        predictor=True,
        resolution=dpi,
        resolutionunit=unit,
        metadata=None,
        software=False,
        extratags=tags + pointers,
    )
    data = bytearray(file.getbuffer())
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        (code,) = struct.unpack_from("<H", data, entry)
        if code + 1 in offsets:
            struct.pack_into("<H", data, entry, code + 1)
    return bytes(data)


def _tiff_dpi(page: "tifffile.TiffPage") -> tuple[float, float] | None:
    if page.resolutionunit not in _PER_INCH:
        return None
    horizontal, vertical = page.resolution
    factor = _PER_INCH[page.resolutionunit]
    return horizontal * factor, vertical * factor


def _count_images(tiff: "tifffile.TiffFile") -> int:
    """Count the pages, without reduced copies of others."""
    import tifffile

    is_reduced = (isinstance(page, tifffile.TiffPage) and page.is_reduced for page in tiff.pages)
    return sum(not reduced for reduced in is_reduced)


def _strips(height: int) -> Iterator[slice]:
    """Divide the rows of an image into strips, to bound the memory."""
    return (slice(top, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS))


def _apply_orientation(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, C) upright; values of EXIF's orientation (tag 274) outside 2 to 8 do nothing."""
    match orientation:
        case 2:
            return values[:, ::-1]
        case 3:
            return values[::-1, ::-1]
        case 4:
            return values[::-1]
        case 5:
            return values.swapaxes(0, 1)
        case 6:
            return np.rot90(values, -1)
        case 7:
            return values[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(values)
    return values


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _tiff_tag(code: int, value: str | int | bytes) -> tuple:
    """Return a tag as tifffile takes it: code, type, count, value, whether it is written once."""
    if isinstance(value, int):
        return code, "H", 1, value, True
    if isinstance(value, bytes):
        return code, "B", len(value), value, True
    return code, "s", 0, str(value), True
