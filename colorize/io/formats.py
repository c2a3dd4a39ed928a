"""Formats that Pillow alone does not read: read them where a package can, else say what to do."""

import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from colorize.io.heif import HEIF_SUFFIXES, INSTALL_HEIF, has_heif, register_heif
from colorize.io.image import PhotoError

_RAW = "camera raw; develop it to TIFF first, such as with darktable or RawTherapee"
_JPEG_XL = "JPEG XL; convert it to PNG first, such as with `djxl photo.jxl photo.png`"
_DEEP_PSD = "a Photoshop file of more than 8 bits per channel; save it as TIFF first"
_BARE_PSD = (
    "a Photoshop file of layers only; save it again, with its option to maximize compatibility"
)
_RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25"),
    *(".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
)
_OTHER = "a format that is not read; convert it to TIFF first, such as with ImageMagick"
_OTHER_SUFFIXES = (
    *(".bpg", ".exr", ".flif", ".fpx", ".hdp", ".hdr", ".jls", ".jxr", ".kra", ".ora", ".pcd"),
    *(".pct", ".pict", ".psb", ".wdp", ".xcf"),
)
_ADVICE = {
    **dict.fromkeys(_RAW_SUFFIXES, _RAW),
    **dict.fromkeys(_OTHER_SUFFIXES, _OTHER),
    ".jxl": _JPEG_XL,
}
# Major brands of the file type box that starts HEIF files.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ADVICE_BY_SIGNATURE = (
    (4, b"ftypcrx", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"FOVb", _RAW),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"\0\0\0\x0cJXL ", _JPEG_XL),
)
_HEADER = 64  # bytes
_PSD_VERSION = 1057  # the resource that tells whether a Photoshop file holds the flattened picture


def advice_for(suffix: str) -> str:
    """Say what to do with image files of a suffix that are not read; "" for any other suffix."""
    suffix = suffix.lower()
    if suffix in HEIF_SUFFIXES and not has_heif():
        return INSTALL_HEIF
    return _ADVICE.get(suffix, "")


def open_file(file: str | os.PathLike | BinaryIO) -> Image.Image:
    """Open an image as `PIL.Image.open` does, and HEIF too.

    Raises:
        PhotoError: if it is of a known format that is not read.
        OSError and others: as `PIL.Image.open`.
    """
    header = _read_header(file)
    if header[4:8] == b"ftyp" and header[8:12] in _HEIF_BRANDS and b"avif" not in header:
        if not has_heif():
            raise PhotoError(INSTALL_HEIF)
        register_heif()
    for start, signature, advice in _ADVICE_BY_SIGNATURE:
        if header[start:].startswith(signature):
            raise PhotoError(advice)
    if header.startswith(b"8BPS") and header[22:24] not in (b"\0\1", b"\0\x08"):
        raise PhotoError(_DEEP_PSD)
    image = Image.open(file)
    for number, _, data in getattr(image, "resources", ()) if image.format == "PSD" else ():
        if number == _PSD_VERSION and data[4:5] == b"\0":
            image.close()
            raise PhotoError(_BARE_PSD)
    return image


def _read_header(file: str | os.PathLike | BinaryIO) -> bytes:
    if isinstance(file, str | os.PathLike):
        with Path(file).open("rb") as opened:
            return opened.read(_HEADER)
    start = file.tell()
    header = file.read(_HEADER)
    file.seek(start)
    return header
