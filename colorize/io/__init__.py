"""Image files of any format: read as sRGB and written with their metadata."""

from colorize.io.grayscale import classify_photo
from colorize.io.image import PhotoError, write_photo
from colorize.io.image_file import ImageFile, read_image_file
from colorize.io.image_writer import write_image_file
from colorize.io.photo import read_photo

__all__ = [
    "ImageFile",
    "PhotoError",
    "classify_photo",
    "read_image_file",
    "read_photo",
    "write_image_file",
    "write_photo",
]
