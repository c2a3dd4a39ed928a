"""What callers hand over as a photo: an image of Pillow's, a path, an open file, or an array."""

import os
from typing import BinaryIO, TypeGuard

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from colorize.io.high_bit_depth import to_8_bit
from colorize.io.image import PhotoError, as_photo_error, split_alpha
from colorize.io.image_file import read_image_file

PhotoInput = Image.Image | str | os.PathLike | BinaryIO | np.ndarray

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # modes that Pillow converts to nothing else


def is_photo_input(value: object) -> TypeGuard[PhotoInput]:
    """Whether a value is one photo of a kind that `photo_tensors` takes."""
    return isinstance(value, Image.Image | np.ndarray) or _is_file(value)


def photo_tensors(photo: PhotoInput) -> tuple[Tensor, Tensor | None]:
    """Convert a photo to upright sRGB, uint8 (3, H, W), and its alpha, uint8 (1, H, W), or None.

    Args:
        photo: an image of Pillow's, of any mode, which is not changed; the path of a file, or a
            file opened in binary mode; or a uint8 array (H, W), (H, W, 3), or (H, W, 4) with alpha.

    Raises:
        PhotoError: if it is none of these, is empty, or cannot be decoded.
    """
    if _is_file(photo):
        image = read_image_file(photo)
        return to_8_bit(image.rgb), None if image.alpha is None else to_8_bit(image.alpha)
    if isinstance(photo, np.ndarray):
        return split_alpha(_from_array(photo))
    if isinstance(photo, Image.Image):
        return split_alpha(_upright(photo))
    raise PhotoError(
        "a photo is an image of Pillow's, a path, an open file, or a uint8 array (H, W) or "
        f"(H, W, 3), not {type(photo).__name__}"
    )


def _is_file(value: object) -> TypeGuard[str | os.PathLike | BinaryIO]:
    return isinstance(value, str | os.PathLike) or hasattr(value, "read")


def _upright(image: Image.Image) -> Image.Image:
    with as_photo_error(getattr(image, "filename", "") or "the given photo"):
        image.load()
    if not (image.width and image.height):
        raise PhotoError(f"a photo of {image.width}x{image.height} pixels is empty")
    image = image.convert(_PREMULTIPLIED.get(image.mode, image.mode))
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return image if is_upright else ImageOps.exif_transpose(image)


def _from_array(values: np.ndarray) -> Image.Image:
    is_image = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype != np.uint8 or not is_image or not values.size:
        raise PhotoError(
            f"an array of a photo is uint8 (H, W) or (H, W, 3), got {values.dtype} {values.shape}"
        )
    return Image.fromarray(values)
