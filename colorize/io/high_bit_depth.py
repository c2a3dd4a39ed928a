"""Images of more than 8 bits per channel, as 16-bit sRGB."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from colorize.io.color_profile import is_gray_profile, uint16_to_srgb
from colorize.io.image import white_level

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
    """

    rgb: Tensor
    alpha: Tensor | None


def to_uint16_srgb(
    values: np.ndarray,
    icc: bytes | None,
    orientation: int = 1,
    *,
    white: float | None = None,
    channels: int | None = None,
    alpha_channel: int | None = -1,
    is_premultiplied: bool = False,
    name: str = "photo",
) -> HighBitDepthImage:
    """Convert an array of any type to an upright 16-bit sRGB image.

    Args:
        values: (H, W) or (H, W, C), color channels first.
        icc: the color profile; None for sRGB.
        orientation: as in EXIF, 1 to 8.
        white: the value of white; larger values are clipped. None for `white_level`.
        channels: number of color channels: 1 (gray), 3 (RGB) or 4 (CMYK). None for 1 or 3,
            whichever fits.
        alpha_channel: index of alpha, if there are more channels than colors; None for no alpha.
        is_premultiplied: whether the colors are multiplied by alpha.
        name: of the photo, for warnings.
    """
    values = _apply_orientation(values.reshape(*values.shape[:2], -1), orientation)
    height, width, depth = values.shape
    white = white_level(values) if white is None else white
    channels = (1 if depth < 3 else 3) if channels is None else channels
    has_alpha = depth > channels and alpha_channel is not None
    if is_gray_profile(icc) and channels == 3 and _has_equal_channels(values):
        channels = 1
    to_srgb = uint16_to_srgb(icc, channels, name)
    rgb = torch.empty((3, height, width), dtype=torch.uint16)
    alpha = torch.empty((1, height, width), dtype=torch.uint16) if has_alpha else None
    for rows in _strips(height):
        strip = np.nan_to_num(values[rows].astype(np.float32)) / np.float32(white)
        strip = strip.clip(0, 1)
        if alpha is not None:
            opacity = strip[..., alpha_channel, None]
            if is_premultiplied:
                strip = (strip / opacity.clip(1e-6)).clip(0, 1)
            alpha[0, rows] = torch.from_numpy((opacity[..., 0] * _WHITE).round().astype(np.uint16))
        colors = (strip[..., :channels] * _WHITE).round().astype(np.uint16)
        rgb[:, rows] = torch.from_numpy(to_srgb(colors)).permute(2, 0, 1)
    if alpha is not None and bool((alpha.view(torch.int16) == -1).all()):  # 65535 everywhere
        alpha = None
    return HighBitDepthImage(rgb, alpha)


def decode_png(data: bytes) -> np.ndarray:
    """Decode a PNG to all of its bits, (H, W) or (H, W, C)."""
    import imagecodecs  # here, because 8-bit photos need none of it

    return imagecodecs.png_decode(data)


def encode_png(values: np.ndarray, level: int) -> bytes:
    """Encode uint16 (H, W, C) as PNG.

    Args:
        values: the image.
        level: of compression, 0 to 9.
    """
    import imagecodecs

    return bytes(imagecodecs.png_encode(values, level=level))


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


def _strips(height: int) -> Iterator[slice]:
    """Divide the rows of an image into strips, to bound the memory."""
    return (slice(top, min(top + _STRIP_ROWS, height)) for top in range(0, height, _STRIP_ROWS))


def _has_equal_channels(values: np.ndarray) -> bool:
    gray = values[..., 0]
    return bool((values[..., 1] == gray).all() and (values[..., 2] == gray).all())


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
