"""Photo files: any image file to an upright 8-bit sRGB photo, and back to a file."""

import contextlib
import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from colorize.utils.files import atomic_write

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

# What a transparent pixel shows: the white of paper.
BACKGROUND = (255, 255, 255)


# What Pillow's plugins raise on damaged files.
_DAMAGES = (
    *(OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, EOFError, OverflowError),
    *(RuntimeError, struct.error, zlib.error, MemoryError, ArithmeticError),
)
_FLOAT_WHITES = ((1.0, 16.0), (255.0, 510.0), (65535.0, 131070.0))  # and their largest value
HIGH_BIT_DEPTH_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What is written for which suffix, and how. Chroma is kept whole (4:4:4): it is what was painted.
FORMAT_BY_SUFFIX = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{".png": "PNG", ".webp": "WEBP", ".avif": "AVIF"},
}
SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "PNG": {"compress_level": 4},
    "WEBP": {"quality": 95, "method": 4},
    "AVIF": {"quality": 90, "subsampling": "4:4:4", "speed": 8},
}


class PhotoError(ValueError):
    """A file that cannot be read or written as a photo; the message names it and says why."""


def read_photo(file: str | os.PathLike | BinaryIO, min_side: int | None = None) -> Image.Image:
    """Read any image file as an upright sRGB photo.

    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB, 16-bit and
    float pictures are scaled to 8 bits, transparency is laid on white, and of an animation the
    first frame is taken.

    Args:
        file: a path, or a file opened in binary mode.
        min_side: decode no larger than needed: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
            as long as its short side stays at least this many pixels. None decodes it whole.

    Returns:
        The photo, mode RGB.

    Raises:
        PhotoError: if the file is missing, damaged, cut short, no picture, or, whatever
            `min_side` says, larger than Pillow's limit against decompression bombs.
    """
    with as_photo_error(file), Image.open(file) as image:
        if min_side is not None and image.format == "JPEG":
            # Pillow keeps both sides at least as large as asked.
            image.draft(None, (min_side, min_side))
        ImageOps.exif_transpose(image, in_place=True)  # in place: no copy where none is needed
        image.load()
        return to_srgb(image)


@contextlib.contextmanager
def as_photo_error(file: str | os.PathLike | BinaryIO) -> Iterator[None]:
    """Whatever goes wrong in reading a picture becomes a `PhotoError` with the file's name."""
    name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", "the given file")
    try:
        yield
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS / 1e6
        raise PhotoError(
            f"{name}: larger than {most:.4g} megapixels, as files are that are made to fill the "
            "memory. Reduce the picture, or, if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from error
    except FileNotFoundError as error:
        raise PhotoError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise PhotoError(f"{name}: a folder, not a photo") from error
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not a picture that Pillow can read") from error
    except _DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoError(f"{name}: damaged or cut short ({reason})") from error


def read_rgb(file: str | os.PathLike | BinaryIO, min_side: int | None = None) -> Tensor:
    """Read any image file as `read_photo` does, into a uint8 tensor (3, H, W).

    A plain JPEG, without EXIF and profile, is decoded by simplejpeg where that is installed
    (extra `fast`): the same pixels, within one level, in two thirds of the time.

    Raises:
        PhotoError: as `read_photo`.
    """
    rgb = None if simplejpeg is None else _decode_plain_jpeg(file, min_side)
    return photo_to_rgb(read_photo(file, min_side)) if rgb is None else rgb


def photo_size(file: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of the upright photo, from the file's header.

    Nothing is decoded, except a PNG without EXIF before its pixels: it may stand after them.

    Raises:
        PhotoError: as `read_photo`, as far as the header tells.
    """
    with as_photo_error(file), Image.open(file) as image:
        if image.format == "TIFF":
            return image.size  # Pillow turns this one itself
        turned = image.getexif().get(0x0112, 1) >= 5  # orientations 5 to 8 lie on their side
        return image.size[::-1] if turned else image.size


def to_srgb(photo: Image.Image) -> Image.Image:
    """An 8-bit sRGB photo, mode RGB, from a Pillow image of any mode; transparency is on white."""
    photo, alpha = _split(photo)
    photo = photo if photo.mode == "RGB" else photo.convert("RGB")
    if alpha is None:
        return photo
    return Image.composite(photo, Image.new("RGB", photo.size, BACKGROUND), alpha)


def split_alpha(photo: Image.Image) -> tuple[Tensor, Tensor | None]:
    """A photo of any mode as uint8 sRGB (3, H, W), and its alpha (1, H, W) if it has any.

    Of a greyscale photo the three channels are one in memory, not to be written to.
    """
    photo, alpha = _split(photo)
    values = torch.from_numpy(np.array(photo))
    rgb = values.expand(3, -1, -1) if photo.mode == "L" else values.permute(2, 0, 1)
    return rgb, None if alpha is None else torch.from_numpy(np.array(alpha)).unsqueeze(0)


def composite_on_white(rgb: Tensor, alpha: Tensor | None) -> Tensor:
    """What one sees of a uint8 photo (3, H, W) with alpha (1, H, W): it lies on white."""
    if alpha is None:
        return rgb
    paper = torch.tensor(BACKGROUND).view(3, 1, 1)
    return (paper + (rgb.float() - paper) * (alpha.float() / 255)).round().to(torch.uint8)


def with_alpha(photo: Image.Image, alpha: Tensor | None) -> Image.Image:
    """A photo with its alpha (1, H, W) given back, mode RGBA; without one as it is."""
    if alpha is not None:
        photo.putalpha(Image.fromarray(alpha[0].numpy()))
    return photo


def _split(photo: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """8-bit sRGB, mode RGB or L, and the alpha if there is transparency."""
    icc = photo.info.get("icc_profile")
    if photo.mode in HIGH_BIT_DEPTH_MODES:
        photo = _to_8_bit(photo)
    opaque = "L" if photo.mode in ("1", "L", "LA") else "RGB"
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        return apply_profile(photo.convert(opaque), icc), photo.getchannel("A")
    if photo.mode not in ("L", "RGB", "CMYK", "LAB"):
        photo = photo.convert(opaque)
    photo = apply_profile(photo, icc)
    if photo.mode != "L":
        photo = photo.convert("RGB")
    photo.info.pop("icc_profile", None)  # done, and not to be done again
    return photo, None


def resize(rgb: Tensor, height: int, width: int) -> Tensor:
    """A uint8 photo (3, H, W) at another size, for training and for use alike.

    Smaller, each pixel is the mean of the area that it covers, with weights that fall off
    linearly (the triangle filter; a plain box dislocates edges at ratios below 2). Larger, it is
    bilinear. As Pillow's BILINEAR, within one level.
    """
    return F.interpolate(rgb.unsqueeze(0), (height, width), mode="bilinear", antialias=True)[0]


def limit_long_side(rgb: Tensor, side: int) -> Tensor:
    """A uint8 photo (C, H, W), made smaller where its longer side goes beyond `side` pixels."""
    k = side / max(rgb.shape[1:])
    return rgb if k >= 1 else resize(rgb, *(max(1, round(one * k)) for one in rgb.shape[1:]))


def white_level(values: np.ndarray) -> float:
    """The number that is white in an array.

    Of unsigned integers it is the largest of their type. Of signed ones, in which Pillow has 8,
    16 or 32 bits, the smallest of 255, 65535 and the largest that none goes beyond. Of floats it
    is 1; where they go beyond 16 it is 255, beyond 510 it is 65535, and beyond 131070 their
    largest. (What is a little too bright does not make all else black.)
    """
    if values.dtype.kind == "f":
        peak = float(np.max(values, initial=0, where=np.isfinite(values)))
        return next((white for white, most in _FLOAT_WHITES if peak <= most), peak)
    largest = int(np.iinfo(values.dtype).max)
    if values.dtype.kind == "u":
        return largest
    peak = int(values.max(initial=0))
    return next((white for white in (255, 65535) if peak <= white), largest)


def photo_to_rgb(photo: Image.Image) -> Tensor:
    """The photo as a uint8 tensor (3, H, W)."""
    return torch.from_numpy(np.array(to_srgb(photo))).permute(2, 0, 1)


def rgb_to_photo(rgb: Tensor) -> Image.Image:
    """A photo of a uint8 tensor (3, H, W)."""
    if rgb.dtype != torch.uint8 or rgb.dim() != 3 or rgb.shape[0] != 3:
        raise ValueError(f"rgb must be uint8 (3, H, W), got {rgb.dtype} {tuple(rgb.shape)}")
    # Channel by channel: pixels of three bytes are read and written in many times that.
    return Image.merge("RGB", [Image.fromarray(channel) for channel in rgb.cpu().numpy()])


def write_photo(photo: Image.Image, path: str | os.PathLike) -> Path:
    """Write a photo; the kind of file follows from the suffix, one of `KINDS`.

    Written beside its place and renamed, so that no half file ever bears the name.

    Raises:
        PhotoError: if the suffix is another, or the file cannot be written.
    """
    path = Path(path)
    kind = FORMAT_BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise PhotoError(f"{path}: unknown kind of file; use one of {', '.join(FORMAT_BY_SUFFIX)}")
    try:
        with atomic_write(path) as part:
            photo.save(part, format=kind, **SAVE_OPTIONS[kind])
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written ({error})") from error
    return path


def _decode_plain_jpeg(file: str | os.PathLike | BinaryIO, min_side: int | None) -> Tensor | None:
    """A JPEG that needs no more than decoding; None for all else, also for a damaged one."""
    try:
        if isinstance(file, str | os.PathLike):
            data = Path(file).read_bytes()
        else:
            data = file.read()
            file.seek(0)
        if not data.startswith(b"\xff\xd8") or b"Exif" in data or b"ICC_PROFILE" in data:
            return None
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space != "YCbCr" or height * width > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
            return None  # Pillow says that it is too large
        most = min(height, width) // (min_side or min(height, width))
        factor = max(factor for factor in (1, 2, 4, 8) if factor <= max(1, most))
        limits = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_factor=factor, **limits)
    except (OSError, ValueError):
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _to_8_bit(photo: Image.Image) -> Image.Image:
    """Scale a deep grey picture to mode L.

    Pillow's own conversion clips a 16-bit picture to white and a float one to black.
    """
    values = np.asarray(photo)
    white = white_level(values)
    values = np.nan_to_num(values.astype(np.float64))
    return Image.fromarray(np.clip(np.round(values / white * 255), 0, 255).astype(np.uint8))


def apply_profile(photo: Image.Image, icc: bytes | None) -> Image.Image:
    """An 8-bit photo brought from its profile to sRGB; without one as it is, LAB as RGB."""
    if not icc:
        if photo.mode == "LAB":
            to_rgb = (ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"))
            return ImageCms.profileToProfile(photo, *to_rgb, outputMode="RGB")
        return photo
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        wanted = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}.get(space)
        if (wanted, photo.mode) == ("RGB", "L"):  # a color photo made grey often keeps its profile
            photo = photo.convert("RGB")
        if wanted != photo.mode:
            raise OSError(f"a {space} profile in a {photo.mode} picture")
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(photo, profile, srgb, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError) as error:
        warnings.warn(f"color profile ignored, sRGB assumed: {error}", stacklevel=3)
        return apply_profile(photo, None) if photo.mode == "LAB" else photo
