"""A user's own picture with all its bits, transparency and EXIF; its painting kept likewise."""

import io
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from colorize.photos import (
    DEEP_MODES,
    PhotoError,
    apply_profile,
    named_damage,
    on_paper,
    rgb_to_photo,
    split_alpha,
    with_alpha,
)
from colorize.runtime import written_beside

# What is written for which suffix. Chroma is kept whole (4:4:4), because it is what was painted.
KINDS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{".png": "PNG", ".webp": "WEBP", ".avif": "AVIF"},
}
_SAVE_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
    "AVIF": {"quality": 90, "subsampling": "4:4:4", "speed": 8},
    "PNG": {"compress_level": 4},
}

# Of EXIF's first directory, what tells of the photo: name, description, maker, camera, software,
# dates, artist, rating, copyright, Windows' title to subject. The rest is of how pixels are stored.
_TOLD = (
    *(0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x4746, 0x8298),
    *range(0x9C9B, 0x9CA0),
)
_CAMERA, _PLACE = 0x8769, 0x8825  # further directories
_OF_PIXELS = (0xA001, 0xA002, 0xA003, 0xA005)  # in the camera's: color space, width, height, more
_DESCRIPTION, _ORIENTATION, _SOFTWARE, _PROFILE = 0x010E, 0x0112, 0x0131, 0x8773
_OF_LAYOUT = ('{"shape"', "ImageJ=", "<?xml", "<OME")  # so begin descriptions of how it is stored
_ASSOCIATED = 1  # of TIFF's extra samples: alpha that the colors are multiplied by
_RESOLUTION, _INCH, _CM = (0x011A, 0x011B, 0x0128), 2, 3
_MARK = "colorize: "  # with it begins what is said of a painting
_WHITES = ((1.0, 16.0), (255.0, 510.0), (65535.0, 131070.0))  # of floats, by their largest value
_ROWS = 256  # worked on at a time where numbers are floats
_NODES = 52  # a side of the cube by which deep colors are brought to sRGB: levels 0, 5, .., 255


@dataclass
class Original:
    """A picture, upright, in sRGB.

    Attributes:
        rgb: (3, H, W), uint8, or uint16 of a file with more than 8 bits.
        alpha: (1, H, W) of the same type; None of an opaque picture.
        kind: of file it was, a value of `KINDS`; "PNG" for all others.
        exif: what it tells of the photo, without the orientation.
        dpi: dots per inch, across and down; None if it does not say.
        pictures: how many the file holds; this is the first.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    kind: str = "PNG"
    exif: Image.Exif = field(default_factory=Image.Exif)
    dpi: tuple[float, float] | None = None
    pictures: int = 1

    @property
    def seen(self) -> Tensor:
        """What one sees of it: uint8 (3, H, W), on white where it is transparent."""
        alpha = None if self.alpha is None else _to_8_bit(self.alpha)
        return on_paper(_to_8_bit(self.rgb), alpha)


def read_original(file: str | os.PathLike | BinaryIO) -> Original:
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
    with named_damage(file):
        deep = _read_deep_tiff(file)
        if deep is not None:
            return deep
        with Image.open(file) as image:
            dpi = _resolution(image.info.get("dpi")) or _exif_resolution(image.getexif())
            if image.format == "TIFF" and _RESOLUTION[0] not in image.getexif():
                dpi = None  # Pillow says 1 dpi of a TIFF that says nothing
            # Of a camera's JPEG the others are previews.
            pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            kind = {"MPO": "JPEG"}.get(image.format, image.format)
            kind = kind if kind in KINDS.values() else "PNG"
            is_png = image.format == "PNG" and _png_depth(file) == 16
            if is_png or image.mode in DEEP_MODES:
                exif = image.getexif()
                values = imagecodecs.png_decode(_head(file)) if is_png else np.asarray(image)
                icc, orientation = image.info.get("icc_profile"), exif.get(_ORIENTATION, 1)
                told = _told(exif)
                return _deep(values, _white(values), icc, orientation, kind, told, dpi, pictures)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            rgb, alpha = split_alpha(image)
            return Original(rgb, alpha, kind, _told(image.getexif()), dpi, pictures)


def note(original: Original, text: str) -> None:
    """Say something of the picture's making in its EXIF, beside what is said there already."""
    earlier = str(original.exif.get(_SOFTWARE, "")).split(_MARK)[0].strip("\0 ;")
    original.exif[_SOFTWARE] = "; ".join(filter(None, (earlier, f"{_MARK}{text}")))


def read_note(path: str | os.PathLike) -> str | None:
    """What `note` said of a picture; None if there is nothing."""
    with named_damage(path), Image.open(path) as image:
        software = str(image.getexif().get(_SOFTWARE, ""))
    return software.split(_MARK, 1)[1].strip("\0 ") if _MARK in software else None


def encode(original: Original, painted: Tensor, kind: str) -> bytes:
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
        write = _deep_png if kind == "PNG" else _tiff
        return write(values, original.exif, original.dpi)
    alpha = None if original.alpha is None else _to_8_bit(original.alpha)
    painted = _to_8_bit(painted)
    if kind == "JPEG":
        painted, alpha = on_paper(painted, alpha), None
    photo = with_alpha(rgb_to_photo(painted), alpha)
    options = dict(_SAVE_OPTIONS[kind])
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


def write_painting(original: Original, painted: Tensor, path: str | os.PathLike) -> None:
    """Write a painting, of the kind that the suffix says; no half file ever bears the name.

    Raises:
        PhotoError: if the suffix is of no kind, or the file cannot be written.
    """
    path = Path(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise PhotoError(f"{path}: unknown kind of file; use one of {', '.join(KINDS)}")
    try:
        data = encode(original, painted, kind)
        with written_beside(path) as part:
            part.write_bytes(data)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written ({error})") from error


def _to_8_bit(values: Tensor) -> Tensor:
    """uint16 (C, H, W) as uint8, which it may be already."""
    if values.dtype == torch.uint8:
        return values
    small = torch.empty(values.shape, dtype=torch.uint8)
    for rows in _strips(values.shape[1]):
        small[:, rows] = (values[:, rows].float() / 257).round().to(torch.uint8)
    return small


def _strips(height: int) -> Iterator[slice]:
    """The rows of a picture some at a time: as floats they are twice or four times as much."""
    return (slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))


def _told(exif: Image.Exif) -> Image.Exif:
    """What EXIF tells of the photo, and not of its pixels."""
    kept = Image.Exif()
    for tag in _TOLD:
        if tag in exif and not (
            tag == _DESCRIPTION and str(exif[tag]).lstrip().startswith(_OF_LAYOUT)
        ):
            kept[tag] = exif[tag]
    for tag in (_CAMERA, _PLACE):
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


def _white(values: np.ndarray) -> float:
    """What counts as white: the largest value of the type; of floats see `read_original`."""
    if values.dtype.kind == "f":
        peak = float(np.max(values, initial=0, where=np.isfinite(values)))
        # What is a little too bright does not make all else black.
        return next((white for white, most in _WHITES if peak <= most), peak)
    peak = int(values.max(initial=0))
    return next(white for white in (255, 65535, 2**32 - 1) if peak <= white or white == 2**32 - 1)


def _deep(
    values, white, icc, orientation, kind, exif, dpi, pictures, is_premultiplied=False
) -> Original:
    """An original of an array (H, W) or (H, W, 1 to 4), of whatever type."""
    values = _upright(values.reshape(*values.shape[:2], -1), orientation)
    height, width, channels = values.shape
    has_alpha = channels in (2, 4)
    to_srgb = _profile_to_srgb(icc, is_grey=channels < 3)
    rgb = torch.empty((3, height, width), dtype=torch.uint16)
    alpha = torch.empty((1, height, width), dtype=torch.uint16) if has_alpha else None
    for rows in _strips(height):
        some = np.nan_to_num(values[rows].astype(np.float32)) / np.float32(white)
        some = torch.from_numpy(some).clamp(0, 1).permute(2, 0, 1)
        if is_premultiplied and has_alpha:
            some[:-1] = (some[:-1] / some[-1:].clamp(min=1e-6)).clamp(max=1)
        rgb[:, rows] = (to_srgb(some[: 1 if channels < 3 else 3]) * 65535).round()
        if has_alpha:
            alpha[:, rows] = (some[-1:] * 65535).round()
    if has_alpha and bool((alpha.view(torch.int16) == -1).all()):  # all of them 65535
        alpha = None
    return Original(rgb, alpha, kind, exif, dpi, pictures)


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


def _profile_to_srgb(icc: bytes | None, is_grey: bool) -> Callable[[Tensor], Tensor]:
    """What brings colors (1 or 3, H, W) in [0, 1] of a profile to sRGB (3, H, W).

    Pillow applies profiles to 8 bits only. So it is asked about the nodes of a grid, and between
    them the answer is interpolated: within one 8-bit level, without steps.
    """
    if icc is None:
        return lambda colors: colors.expand(3, -1, -1)
    levels = torch.linspace(0, 255, 256 if is_grey else _NODES).to(torch.uint8)
    if is_grey:
        nodes = apply_profile(Image.fromarray(levels.view(1, -1).numpy()), icc).convert("RGB")
        curves = np.asarray(nodes, np.float32)[0].T / 255  # (3, 256)
        steps = np.arange(256, dtype=np.float32) / 255
        return lambda colors: torch.stack(
            [torch.from_numpy(np.interp(colors[0].numpy(), steps, row)).float() for row in curves]
        )
    blue, green, red = torch.meshgrid(levels, levels, levels, indexing="ij")
    cube = torch.stack((red, green, blue), -1).view(1, -1, 3).numpy()
    answer = np.asarray(apply_profile(Image.fromarray(cube), icc).convert("RGB"))
    if np.array_equal(answer, cube):  # it is sRGB already
        return lambda colors: colors
    table = torch.from_numpy(answer.astype(np.float32) / 255).view(1, *[_NODES] * 3, 3)
    table = table.permute(0, 4, 1, 2, 3).contiguous()  # (1, 3, blue, green, red)

    def look_up(colors: Tensor) -> Tensor:
        places = colors.permute(1, 2, 0).unsqueeze(0).unsqueeze(0) * 2 - 1
        return F.grid_sample(table, places, align_corners=True)[0, :, 0]

    return look_up


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


def _read_deep_tiff(file: str | os.PathLike | BinaryIO) -> Original | None:
    """A grey or RGB TIFF of more than 8 bits; None for all else, which Pillow reads as well."""
    if not _head(file, 4).startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters is raised
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        if page.bitspersample <= 8 or page.photometric not in (0, 1, 2):
            if not isinstance(file, str | os.PathLike):
                file.seek(0)
            return None
        if page.imagewidth * page.imagelength > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):
            raise Image.DecompressionBombError(
                f"Image size ({page.imagewidth * page.imagelength} pixels) exceeds limit of "
                f"{2 * Image.MAX_IMAGE_PIXELS} pixels"
            )
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        white = _white(values)
        if values.dtype.kind == "u":
            white = 2**page.bitspersample - 1
        if page.photometric == 0:
            values = white - values
        is_premultiplied = _ASSOCIATED in page.extrasamples
        tags = {tag.code: tag.value for tag in page.tags}
        pictures = sum(not page.is_reduced for page in tiff.pages)
        dpi = None
        if page.resolutionunit in (2, 3):
            inches = 1 if page.resolutionunit == 2 else 2.54
            dpi = _resolution(tuple(number * inches for number in page.resolution))
    orientation = int(tags.get(_ORIENTATION, 1))
    profile, exif = tags.get(_PROFILE), _exif(file)
    return _deep(values, white, profile, orientation, "TIFF", exif, dpi, pictures, is_premultiplied)


def _exif(file: str | os.PathLike | BinaryIO) -> Image.Exif:
    try:
        with Image.open(file) as image:
            return _told(image.getexif())
    except Image.UnidentifiedImageError:  # a TIFF of numbers that Pillow does not know
        return Image.Exif()


def _deep_png(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
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


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _tiff_tag(code: int, value: str | int | bytes) -> tuple:
    """As tifffile takes it."""
    if isinstance(value, int):
        return code, "H", 1, value, True
    if isinstance(value, bytes):
        return code, "B", len(value), value, True
    return code, "s", 0, str(value), True


def _tiff(values: np.ndarray, exif: Image.Exif, dpi: tuple[float, float] | None) -> bytes:
    """A TIFF of (H, W, C); the camera's tags stand behind the pixels."""
    told = [_tiff_tag(code, value) for code, value in exif.items() if code in _TOLD]
    directories = {code: exif.get_ifd(code) for code in (_CAMERA, _PLACE) if exif.get_ifd(code)}

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
