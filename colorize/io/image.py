"""Photos as 8-bit sRGB: conversions between Pillow's images and tensors, resizing, writing."""

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorize.io.color_profile import photo_to_srgb
from colorize.io.heif import HEIF_SUFFIXES, INSTALL_HEIF, has_heif, register_heif
from colorize.utils.files import atomic_write

BACKGROUND = (255, 255, 255)  # shown where a photo is transparent: white, as of paper
HIGH_BIT_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # Pillow's, all of them gray

FORMAT_BY_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    **dict.fromkeys(HEIF_SUFFIXES, "HEIF"),
}
# Chroma is stored at full resolution (4:4:4) because it is what was predicted.
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "PNG": {"compress_level": 4},
    "WEBP": {"quality": 95, "method": 4},
    "AVIF": {"quality": 90, "subsampling": "4:4:4", "speed": 8},
    "HEIF": {"quality": 90, "chroma": 444},
}

# What Pillow's plugins raise on damaged files.
_DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    MemoryError,
    ArithmeticError,
)
_FLOAT_WHITES = ((1.0, 16.0), (255.0, 510.0), (65535.0, 131070.0))  # each with its largest value

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PhotoError(ValueError):
    """A file cannot be read or written as a photo; the message names it and the reason."""


@contextlib.contextmanager
def as_photo_error(file: str | os.PathLike | BinaryIO) -> Iterator[None]:
    """Turn whatever goes wrong while reading an image into a `PhotoError` that names the file."""
    name = file_name(file)
    try:
        yield
    except PhotoError as error:
        if str(error).startswith(name):
            raise
        raise PhotoError(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or math.inf) / 1e6
        raise PhotoError(
            f"{name}: larger than {limit:.4g} megapixels, the limit against files that are made to "
            "fill the memory; `colorize photo --max-megapixels` raises it, in Python "
            "PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except FileNotFoundError as error:
        raise PhotoError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise PhotoError(f"{name}: a folder, not a photo") from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not an image that Pillow can read") from error
    except _DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, no decoder's
            raise PhotoError(f"{name}: cannot be read ({error.strerror})") from error
        if isinstance(error, MemoryError):
            raise PhotoError(
                f"{name}: damaged or truncated, or too large for the memory"
            ) from error
        # What decoders say of damage means nothing to users; the cause keeps it.
        raise PhotoError(f"{name}: damaged or truncated") from error


def file_name(file: str | os.PathLike | BinaryIO) -> str:
    """Return the name of a file for messages."""
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    return str(getattr(file, "name", "the given file"))


def upright(photo: Image.Image, orientation: int) -> Image.Image:
    """Turn an image upright.

    Args:
        photo: as it is stored.
        orientation: as in EXIF; values outside 2 to 8 do nothing.
    """
    return photo.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else photo


def to_srgb(photo: Image.Image, name: str = "photo") -> Image.Image:
    """Convert an image of any mode to an 8-bit sRGB photo, mode RGB, composited on white.

    Args:
        photo: the image.
        name: of its file, for warnings.
    """
    photo, alpha = _srgb_and_alpha(photo, name)
    photo = photo if photo.mode == "RGB" else photo.convert("RGB")
    if alpha is None:
        return photo
    return Image.composite(photo, Image.new("RGB", photo.size, BACKGROUND), alpha)


def split_alpha(photo: Image.Image, name: str = "photo") -> tuple[Tensor, Tensor | None]:
    """Convert an image of any mode to uint8 sRGB (3, H, W) and its alpha (1, H, W), or None.

    The three channels of a grayscale photo share their memory, so that they must not be written.

    Args:
        photo: the image.
        name: of its file, for warnings.
    """
    photo, alpha = _srgb_and_alpha(photo, name)
    values = torch.from_numpy(np.array(photo))
    rgb = values.expand(3, -1, -1) if photo.mode == "L" else values.permute(2, 0, 1)
    return rgb, None if alpha is None else torch.from_numpy(np.array(alpha)).unsqueeze(0)


def composite_on_white(rgb: Tensor, alpha: Tensor | None) -> Tensor:
    """Composite a uint8 photo (3, H, W) with alpha (1, H, W) on white."""
    if alpha is None:
        return rgb
    white = torch.tensor(BACKGROUND).view(3, 1, 1)
    return (white + (rgb.float() - white) * (alpha.float() / 255)).round().to(torch.uint8)


def with_alpha(photo: Image.Image, alpha: Tensor | None) -> Image.Image:
    """Add alpha (1, H, W) to a photo in place, which makes its mode RGBA; None adds nothing."""
    if alpha is not None:
        photo.putalpha(Image.fromarray(alpha[0].numpy()))
    return photo


def _srgb_and_alpha(photo: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """Convert to 8-bit sRGB, mode RGB or L, and to alpha if there is transparency."""
    icc = photo.info.get("icc_profile")
    if photo.mode in HIGH_BIT_DEPTH_MODES:
        photo = _to_8_bit(photo)
    opaque = "L" if photo.mode in ("1", "L", "LA") else "RGB"
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        return photo_to_srgb(photo.convert(opaque), icc, name), photo.getchannel("A")
    if photo.mode not in ("L", "RGB", "CMYK", "LAB"):
        photo = photo.convert(opaque)
    photo = photo_to_srgb(photo, icc, name)
    if photo.mode != "L":
        photo = photo.convert("RGB")
    photo.info.pop("icc_profile", None)  # applied; it must not be applied twice
    return photo, None


def resize(rgb: Tensor, height: int, width: int) -> Tensor:
    """Resize a uint8 photo (3, H, W), in training and in inference alike.

    When reducing, each pixel is the mean of the area that it covers, with weights that fall off
    linearly (the triangle filter; a plain box shifts edges at ratios below 2). Enlarging is
    bilinear. The result equals Pillow's BILINEAR within one level.
    """
    return F.interpolate(rgb.unsqueeze(0), (height, width), mode="bilinear", antialias=True)[0]


def limit_long_side(rgb: Tensor, side: int) -> Tensor:
    """Reduce a uint8 photo (C, H, W) whose long side exceeds `side` pixels."""
    height, width = rgb.shape[1:]
    k = side / max(height, width)
    return rgb if k >= 1 else resize(rgb, max(1, round(height * k)), max(1, round(width * k)))


def white_level(values: np.ndarray) -> float:
    """Guess which value of an array is white.

    It is the maximum of the type for unsigned integers. For signed ones, which Pillow uses for 8,
    16 and 32 bits, it is the smallest of 255, 65535 and the maximum of the type that no value
    exceeds. For floats it is 1; it is 255 if values exceed 16, 65535 if they exceed 510, and the
    largest value beyond 131070. (A few overexposed pixels must not make all others black.)
    """
    if values.dtype.kind == "f":
        peak = float(np.max(values, initial=0, where=np.isfinite(values)))
        return next((white for white, limit in _FLOAT_WHITES if peak <= limit), peak)
    largest = int(np.iinfo(values.dtype).max)
    if values.dtype.kind == "u":
        return largest
    peak = int(values.max(initial=0))
    return next((white for white in (255, 65535) if peak <= white), largest)


def photo_to_rgb(photo: Image.Image) -> Tensor:
    """Convert a photo of any mode to a uint8 sRGB tensor (3, H, W)."""
    return torch.from_numpy(np.array(to_srgb(photo))).permute(2, 0, 1)


def rgb_to_photo(rgb: Tensor) -> Image.Image:
    """Convert a uint8 tensor (3, H, W) to a photo of mode RGB."""
    if rgb.dtype != torch.uint8 or rgb.dim() != 3 or rgb.shape[0] != 3:
        raise ValueError(f"rgb must be uint8 (3, H, W), got {rgb.dtype} {tuple(rgb.shape)}")
    # Converting each channel is many times faster than interleaving pixels of three bytes.
    return Image.merge("RGB", [Image.fromarray(channel) for channel in rgb.cpu().numpy()])


def write_photo(photo: Image.Image, path: str | os.PathLike) -> Path:
    """Write a photo atomically; an interrupted call leaves no half-written file.

    Args:
        photo: mode RGB, or RGBA except for JPEG.
        path: the file; its suffix, one of `FORMAT_BY_SUFFIX`, selects the format.

    Returns:
        The path.

    Raises:
        PhotoError: if the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    if not isinstance(photo, Image.Image):
        raise PhotoError(
            f"{path}: what is written is an image of Pillow's, not {type(photo).__name__}; of an "
            "array PIL.Image.fromarray makes one"
        )
    image_format = format_of(path)
    try:
        with atomic_write(path) as tmp:
            photo.save(tmp, format=image_format, **SAVE_OPTIONS[image_format])
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from error
    return path


def cannot_write(path: Path, error: Exception) -> PhotoError:
    """Return the error of a photo that could not be written, with the system's reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return PhotoError(f"{path}: cannot be written ({reason})")


def format_of(path: Path) -> str:
    """Return the format that the suffix of a new file selects, as Pillow names it.

    Raises:
        PhotoError: if the suffix is unknown, or the package that writes the format is missing.
    """
    image_format = FORMAT_BY_SUFFIX.get(path.suffix.lower())
    if image_format is None:
        suffixes = ", ".join(FORMAT_BY_SUFFIX)
        raise PhotoError(f"{path}: unknown file format; use one of {suffixes}")
    if image_format == "HEIF":
        if not has_heif():
            raise PhotoError(f"{path}: {INSTALL_HEIF}")
        register_heif()
    return image_format


def _to_8_bit(photo: Image.Image) -> Image.Image:
    """Scale a gray image of a high bit depth to mode L.

    Pillow's own conversion clips 16-bit images to white and float images to black.
    """
    values = np.asarray(photo)
    white = white_level(values)
    values = np.nan_to_num(values.astype(np.float64))
    return Image.fromarray(np.clip(np.round(values / white * 255), 0, 255).astype(np.uint8))
