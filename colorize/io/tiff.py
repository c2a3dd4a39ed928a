"""TIFF: which of its pictures is the photo, what its channels mean, and how one is written."""

import contextlib
import io
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from colorize.io.exif import Exif, add_tags
from colorize.io.high_bit_depth import HighBitDepthImage, to_uint16_srgb
from colorize.io.image import PhotoError, white_level

if TYPE_CHECKING:
    import tifffile  # at run time where it is used, because its import takes long

_ORIENTATION, _PROFILE, _OLD_SUBFILE_TYPE = 0x0112, 0x8773, 0x00FF  # tags
# Photometric interpretations, by the number of their color channels.
_COLOR_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4}  # white is zero, black is zero, RGB, CMYK
_WHITE_IS_ZERO, _RAW = 0, (32803, 34892)  # color filter array, linear raw
_ASSOCIATED_ALPHA, _ALPHA = 1, 2  # extra samples; with 1 the colors are multiplied by it
# None, fax, LZW, JPEG, deflate, PackBits.
_COMMON_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946)
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2
_is_open: ContextVar[bool] = ContextVar("_is_open", default=False)


@dataclass(frozen=True)
class TiffPhoto:
    """The main picture of a TIFF.

    Attributes:
        page: the picture.
        index: among the file's pages; None for one below a page.
        image_count: number of pictures, of which this is the first.
        offsets: of the directories that describe it, its own first.
    """

    page: "tifffile.TiffPage"
    index: int | None
    image_count: int
    offsets: list[int]

    @property
    def bits_per_channel(self) -> int:
        """Bits of each channel."""
        return int(self.page.bitspersample)

    @property
    def alpha_channel(self) -> int | None:
        """Index of the channel that is alpha; None if there is none.

        Of channels that the file does not explain the first is taken for alpha; what it declares
        to be something else, such as the infrared of a scanner, is not.
        """
        colors = _COLOR_CHANNELS.get(self.page.photometric, 3)
        extra = [int(kind) for kind in self.page.extrasamples]
        kinds = [i for i, kind in enumerate(extra) if kind in (_ASSOCIATED_ALPHA, _ALPHA)]
        if kinds:
            return colors + kinds[0]
        return colors if not extra and self.page.samplesperpixel > colors else None

    @property
    def unused_channels(self) -> int:
        """Number of channels that are neither colors nor alpha."""
        colors = _COLOR_CHANNELS.get(self.page.photometric)
        if colors is None:
            return 0
        return int(self.page.samplesperpixel) - colors - (self.alpha_channel is not None)

    @property
    def has_rare_compression(self) -> bool:
        """Whether Pillow may lack the codec, and notice it late."""
        return int(self.page.compression) not in _COMMON_COMPRESSIONS

    @property
    def is_decodable(self) -> bool:
        """Whether `decode` knows its kind of colors."""
        return self.page.photometric in _COLOR_CHANNELS

    def decode(self, name: str) -> HighBitDepthImage:
        """Decode the picture, upright, from its profile to sRGB.

        Args:
            name: of the file, for warnings.
        """
        page = self.page
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        white = 2**page.bitspersample - 1 if values.dtype.kind == "u" else white_level(values)
        channels = _COLOR_CHANNELS[page.photometric]
        if page.photometric == _WHITE_IS_ZERO:
            values = values.reshape(*values.shape[:2], -1).copy()
            values[..., 0] = white - values[..., 0]
        tags = {tag.code: tag.value for tag in page.tags}
        return to_uint16_srgb(
            values,
            tags.get(_PROFILE),
            int(tags.get(_ORIENTATION, 1)),
            white=white,
            channels=channels,
            alpha_channel=self.alpha_channel,
            is_premultiplied=_ASSOCIATED_ALPHA in page.extrasamples,
            name=name,
        )


def find_photo(tiff: "tifffile.TiffFile") -> TiffPhoto:
    """Find the main picture: the first that is no reduced copy and no mask.

    Raises:
        PhotoError: if it is a camera's raw data.
        DecompressionBombError: if it has more pixels than Pillow allows.
    """
    pages = [*_pages(tiff)]
    pictures = [entry for entry in pages if not _is_secondary(entry[0])]
    if not pictures:  # take the largest
        pictures = [max(pages, key=lambda entry: entry[0].imagewidth * entry[0].imagelength)]
    page, index = pictures[0]
    if page.photometric in _RAW:
        raise PhotoError("camera raw; develop it and save it as TIFF, PNG or JPEG")
    pixels = page.imagewidth * page.imagelength
    if pixels > 2 * (Image.MAX_IMAGE_PIXELS or np.inf):  # Pillow's own limit
        raise Image.DecompressionBombError(f"{pixels} pixels")
    first = pages[0][0]
    offsets = [int(entry.offset) for entry in ((page,) if page is first else (page, first))]
    return TiffPhoto(page, index, len(pictures), offsets)


@contextlib.contextmanager
def open_tiff(file: BinaryIO) -> Iterator["tifffile.TiffFile"]:
    """Open a TIFF; what is wrong with it is raised and not logged, in this thread."""
    import tifffile

    logging.getLogger("tifffile").addFilter(_is_logged)
    token = _is_open.set(True)
    try:
        with tifffile.TiffFile(file) as tiff:
            yield tiff
    finally:
        _is_open.reset(token)


def _is_logged(_: logging.LogRecord) -> bool:
    return not _is_open.get()


def encode_tiff(values: np.ndarray, tags: Exif) -> bytes:
    """Encode (H, W, C), uint8 or uint16, as TIFF with these tags."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values,
        byteorder=tags.order,
        photometric="rgb",
        extrasamples=["unassalpha"] if values.shape[2] == 4 else None,
        compression="adobe_deflate",
        predictor=True,
        metadata=None,
        software=False,
    )
    return add_tags(file.getvalue(), tags)


def _pages(tiff: "tifffile.TiffFile") -> Iterator[tuple["tifffile.TiffPage", int | None]]:
    """Yield the pages with their index; after a reduced one the pictures below it.

    A damaged chain of pages may lead back to itself; it ends there.
    """
    import tifffile

    offsets = set()
    for index, page in enumerate(tiff.pages):
        if page.offset in offsets:
            return
        offsets.add(page.offset)
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        yield page, index
        if _is_secondary(page) and page.subifds and page.pages is not None:
            for below in page.pages:
                yield (below if isinstance(below, tifffile.TiffPage) else below.aspage()), None


def _is_secondary(page: "tifffile.TiffPage") -> bool:
    """Whether a page is a reduced copy of another, or a mask."""
    old = page.tags.get(_OLD_SUBFILE_TYPE)
    is_old_reduced = old is not None and old.value == _OLD_REDUCED
    return bool(page.subfiletype & (_REDUCED | _MASK)) or is_old_reduced
