"""Pictures of more than 8 bits a channel: read whole, brought to 16-bit sRGB, and written."""

import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
import torch
from PIL import Image
from PIL.ExifTags import IFD
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from colorize.io.image import white_level

_ORIENTATION, _PROFILE = 0x0112, 0x8773
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INKS = 0, 1, 2, 5  # of TIFF's photometric interpretations
_ASSOCIATED = 1  # of TIFF's extra samples: alpha that the colors are multiplied by
_INCHES = {2: 1.0, 3: 2.54}  # of TIFF's units of resolution: a number per inch, or per cm
_FULL = 65535
_ROWS = 256  # worked on at a time where numbers are floats
_SPACES = {b"GRAY": "gray", b"RGB ": "rgb", b"CMYK": "cmyk"}  # of a profile, and of imagecodecs
_COUNTS = {"gray": 1, "rgb": 3, "cmyk": 4}


@dataclass
class HighBitDepthImage:
    """A picture of more than 8 bits, upright, in sRGB.

    Attributes:
        rgb: uint16 (3, H, W).
        alpha: uint16 (1, H, W); None of an opaque picture.
        dpi: what the file says of dots per inch, across and down; None if it does not.
        pictures: how many the file holds; this is the first.
    """

    rgb: Tensor
    alpha: Tensor | None
    dpi: tuple[float, float] | None = None
    pictures: int = 1


def to_uint16_srgb(
    values: np.ndarray,
    icc: bytes | None,
    orientation: int = 1,
    white: float | None = None,
    colors: int | None = None,
    is_premultiplied: bool = False,
) -> HighBitDepthImage:
    """A picture of an array.

    Args:
        values: (H, W), or (H, W, C) with alpha behind the colors, of any type.
        icc: the profile that its colors are of; without one they are sRGB.
        orientation: EXIF's.
        white: what lies beyond it is cut off; None is that of `white_level`.
        colors: channels of color: 1 of a grey picture, 3, or 4 inks. None: 1 or 3, as they suffice.
        is_premultiplied: whether the colors are multiplied by the alpha.
    """
    values = _upright(values.reshape(*values.shape[:2], -1), orientation)
    height, width, channels = values.shape
    white = white_level(values) if white is None else white
    colors = (1 if channels < 3 else 3) if colors is None else colors
    to_srgb = _profile_to_srgb(icc, colors)
    rgb = torch.empty((3, height, width), dtype=torch.uint16)
    alpha = torch.empty((1, height, width), dtype=torch.uint16) if channels > colors else None
    for rows in _strips(height):
        some = np.nan_to_num(values[rows].astype(np.float32)) / np.float32(white)
        some = some.clip(0, 1)
        if alpha is not None:
            opaque = some[..., colors : colors + 1]
            if is_premultiplied:
                some = (some / opaque.clip(1e-6)).clip(0, 1)
            alpha[0, rows] = torch.from_numpy((opaque[..., 0] * _FULL).round().astype(np.uint16))
        some = (some[..., :colors] * _FULL).round().astype(np.uint16)
        rgb[:, rows] = torch.from_numpy(to_srgb(some)).permute(2, 0, 1)
    if alpha is not None and bool((alpha.view(torch.int16) == -1).all()):  # all of them 65535
        alpha = None
    return HighBitDepthImage(rgb, alpha)


def read_png(data: bytes, icc: bytes | None, orientation: int) -> HighBitDepthImage:
    """A PNG of 16 bits, see `to_uint16_srgb`."""
    return to_uint16_srgb(imagecodecs.png_decode(data), icc, orientation)


def read_tiff(file: str | os.PathLike | BinaryIO) -> HighBitDepthImage | None:
    """The first picture of a TIFF: grey, RGB or inks of more than 8 bits; None of all others."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        has_inks = page.photometric == _INKS and page.samplesperpixel >= 4
        known = has_inks or page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        if page.bitspersample <= 8 or not known:
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
        deep = to_uint16_srgb(
            values,
            tags.get(_PROFILE),
            int(tags.get(_ORIENTATION, 1)),
            white,
            4 if has_inks else None,
            _ASSOCIATED in page.extrasamples,
        )
        deep.pictures = sum(not page.is_reduced for page in tiff.pages)
        if page.resolutionunit in _INCHES:
            deep.dpi = tuple(number * _INCHES[page.resolutionunit] for number in page.resolution)
    return deep


def bits_per_channel(kind: str, data: bytes) -> int:
    """Bits a channel of a file that Pillow reads with 8, by its header; 8 if it does not say.

    Args:
        kind: Pillow's "AVIF", "JPEG2000" or "PPM".
        data: the file.
    """
    if kind == "PPM":
        header = re.match(rb"P[36](?:(?:\s|#[^\n]*\n)+(\d+)){3}", data)
        return int(header[1]).bit_length() if header else 8
    marker, behind = {"AVIF": (b"av1C", 6), "JPEG2000": (b"\xff\x4f\xff\x51", 42)}[kind]
    at = data.find(marker)
    if at < 0 or at + behind >= len(data):
        return 8
    said = data[at + behind]
    if kind == "JPEG2000":
        return (said & 0x7F) + 1  # Ssiz
    return {0x40: 10, 0x60: 12}.get(said & 0x60, 8)  # high_bitdepth, twelve_bit


def to_8_bit(values: Tensor) -> Tensor:
    """uint16 (C, H, W) as uint8, which it may be already."""
    if values.dtype == torch.uint8:
        return values
    small = torch.empty(values.shape, dtype=torch.uint8)
    for rows in _strips(values.shape[1]):
        small[:, rows] = (values[:, rows].float() / 257).round().to(torch.uint8)
    return small


def encode_png(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
    """A PNG of uint16 (H, W, C), with chunks for EXIF and resolution behind its header."""
    data = imagecodecs.png_encode(values, level=4)
    chunks = b""
    if len(exif):
        chunks += _png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    if dpi is not None:
        across, down = (round(number / 0.0254) for number in dpi)  # dots per meter
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    header = 33  # of the signature and the chunk IHDR
    return data[:header] + chunks + data[header:]


def encode_tiff(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
    """A TIFF of (H, W, C), uint8 or uint16; the camera's tags stand behind the pixels."""
    directories = {code: exif.get_ifd(code) for code in (IFD.Exif, IFD.GPSInfo)}
    directories = {code: tags for code, tags in directories.items() if tags}
    told = [_tiff_tag(code, value) for code, value in exif.items() if code not in list(IFD)]

    def written(offsets: dict[int, int]) -> bytes:
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
            resolutionunit=None if dpi is None else "INCH",
            metadata=None,
            software=False,
            # tifffile writes no tags that point elsewhere; it is given the next lower number.
            extratags=told + [(code - 1, "I", 1, offset, True) for code, offset in offsets.items()],
        )
        data = file.getbuffer()
        (first,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, first)
        for entry in range(first + 2, first + 2 + 12 * count, 12):
            (code,) = struct.unpack_from("<H", data, entry)
            if code + 1 in offsets:
                struct.pack_into("<H", data, entry, code + 1)
        data.release()
        return file.getvalue()

    if not directories:
        return written({})
    # Where they will stand is known once the file is written; then it is written again with that.
    end = len(written(dict.fromkeys(directories, 0)))
    offsets, behind = {}, b""
    for code, tags in directories.items():
        directory = ImageFileDirectory_v2(prefix=b"II")
        for tag, value in tags.items():
            directory[tag] = value
        offsets[code] = end + len(behind)
        behind += directory.tobytes(offsets[code])
    return written(offsets) + behind


def _strips(height: int) -> Iterator[slice]:
    """The rows of a picture some at a time: as floats they are twice or four times as much."""
    return (slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, C) turned as EXIF says (tag 274)."""
    turns = {
        2: lambda v: v[:, ::-1],
        3: lambda v: v[::-1, ::-1],
        4: lambda v: v[::-1],
        5: lambda v: v.swapaxes(0, 1),
        6: lambda v: np.rot90(v, -1),
        7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90,
    }
    return turns[orientation](values) if orientation in turns else values


def _profile_to_srgb(icc: bytes | None, colors: int) -> Callable[[np.ndarray], np.ndarray]:
    """What brings colors, uint16 (h, w, 1, 3 or 4), of a profile to sRGB (h, w, 3)."""
    if icc is None:
        return _inks_to_rgb if colors == 4 else lambda some: np.repeat(some, 3 // colors, 2)
    space = _SPACES.get(icc[16:20])
    grey_in_color = colors == 1 and space == "rgb"  # a photo made grey often keeps its profile
    srgb = imagecodecs.cms_profile("srgb")

    def transformed(some: np.ndarray) -> np.ndarray:
        some = np.ascontiguousarray(np.repeat(some, 3, 2) if grey_in_color else some)
        some = some[..., 0] if space == "gray" else some
        # Made faster by lcms, it would be two 8-bit levels off in the dark.
        exact = imagecodecs.CMS.FLAGS.NOOPTIMIZE
        spaces = {"colorspace": space, "outcolorspace": "rgb"}
        return imagecodecs.cms_transform(some, icc, srgb, flags=exact, **spaces)

    try:
        if _COUNTS.get(space) != (3 if grey_in_color else colors):
            raise ValueError(f"a {icc[16:20]!r} profile in a picture of {colors} channels")
        transformed(np.zeros((1, 1, colors), np.uint16))
    except (ValueError, imagecodecs.CmsError) as error:
        warnings.warn(f"color profile ignored, sRGB assumed: {error}", stacklevel=4)
        return _profile_to_srgb(None, colors)
    return transformed


def _inks_to_rgb(some: np.ndarray) -> np.ndarray:
    """Inks without a profile, uint16 (h, w, 4), as Pillow has them: each takes away its light."""
    light = np.float32(_FULL) - some
    return (light[..., :3] * (light[..., 3:] / _FULL)).round().astype(np.uint16)


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _tiff_tag(code: int, value: str | int | bytes) -> tuple:
    """As tifffile takes it."""
    if isinstance(value, int):
        return code, "H", 1, value, True
    if isinstance(value, bytes):
        return code, "B", len(value), value, True
    return code, "s", 0, str(value), True
