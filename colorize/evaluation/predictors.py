"""Who is judged: trained networks, folders of painted pictures, and painters that learned nothing.

A row is a function from a photo's id and the photo to its painting.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from colorize.data.folder import PHOTO_SUFFIXES, PhotoRecord
from colorize.inference.colorizer import Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, read_photo, resize, rgb_to_photo
from colorize.utils.files import file_sha256

Predictor = Callable[[str, Image.Image], Image.Image]

THUMB = 32  # px; the side at which lightness is compared with that of the training photos


class ModelPredictor:
    """What a run paints."""

    def __init__(self, run: str | os.PathLike, device: str = "auto"):
        """Load the run's network; errors as of `Colorizer.from_pretrained`."""
        self.colorizer = Colorizer.from_pretrained(run, device)
        digest = hashlib.sha256()
        for name, tensor in self.colorizer.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        self.stamp = {
            "run": Path(run).name,
            "weights_sha256": digest.hexdigest(),
            "network_size": self.colorizer.size,
            "vividness": None,
            "square": "painted by itself",
        }

    def __call__(self, name: str, photo: Image.Image) -> Image.Image:
        """The run's painting."""
        return self.colorizer(photo, vividness=self.stamp["vividness"])

    def at(self, vividness: float) -> "ModelPredictor":
        """The same run at another vividness."""
        other = copy.copy(self)
        other.stamp = self.stamp | {"vividness": vividness}
        return other


class ImageFolderPredictor:
    """Pictures that some program painted, found by the photos' ids."""

    def __init__(self, folder: str | os.PathLike):
        """Look which pictures there are.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if it holds two pictures of one photo.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"no such run or folder of painted pictures: {folder}")
        self.folder, self.paths = folder, {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (*PHOTO_SUFFIXES, ".tif", ".tiff", ".avif"):
                key = path.stem
                if key in self.paths:
                    raise ValueError(f"two pictures of one photo: {self.paths[key]} and {path}")
                self.paths[key] = path
        # Which pictures they are is asked photo by photo (`digest`).
        self.stamp = {"folder": folder.name, "square": "cut out of the whole painting"}

    def check(self, photos: Sequence[PhotoRecord]) -> None:
        """See that every photo has its painting.

        Raises:
            ValueError: if one has none.
        """
        missing = [photo.id for photo in photos if photo.id not in self.paths]
        if missing:
            raise ValueError(
                f"{self.folder}: {len(missing)} of {len(photos)} photos have no painted picture, "
                f"such as {missing[0]!r}; a painting has the name of its photo, of any of the "
                f"kinds {', '.join(PHOTO_SUFFIXES)}, .tif"
            )

    def digest(self, name: str) -> str:
        """Of a photo's painting, as it lies there."""
        return file_digest(self.paths[name])

    def __call__(self, name: str, photo: Image.Image) -> Image.Image:
        """The painting, brought to the photo's size if it has another.

        Raises:
            ValueError: if its shape is another than the photo's, by more than 2 %.
        """
        painted = read_photo(self.paths[name])
        if painted.size != photo.size:
            ratio = painted.width / painted.height * photo.height / photo.width
            if not 0.98 < ratio < 1.02:
                raise ValueError(
                    f"{self.paths[name]} is {painted.width}x{painted.height}, its photo "
                    f"{photo.width}x{photo.height}: cropped or turned pictures cannot be compared"
                )
            rgb = resize(photo_to_rgb(painted), photo.height, photo.width)
            painted = rgb_to_photo(rgb)
        return painted


def file_digest(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 digits: enough to tell when it is another one."""
    return file_sha256(path)[:16]


def with_ab(photo: Image.Image, ab: Tensor) -> Image.Image:
    return rgb_to_photo(guided_upsample(photo_to_rgb(photo), ab))


def center_crop_rgb(rgb: Tensor, size: int) -> Tensor:
    """The largest centered square of a uint8 photo (3, H, W), at a size."""
    height, width = rgb.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(rgb[:, top : top + side, left : left + side], size, size)


def center_square(photo: Image.Image, size: int) -> Image.Image:
    """The largest centered square of a photo, at a size.

    Raises:
        ValueError: if the photo is smaller.
    """
    if min(photo.size) < size:
        raise ValueError(f"a photo of {photo.width}x{photo.height} has no square of {size} px")
    return rgb_to_photo(center_crop_rgb(photo_to_rgb(photo), size))
