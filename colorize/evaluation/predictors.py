"""Predictors: what `evaluate` compares. Trained models, and folders of colorized images."""

import copy
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from PIL import Image
from torch import Tensor

from colorize.data.folder import PhotoRecord
from colorize.inference.colorizer import Colorizer
from colorize.io.image import photo_to_rgb, resize, rgb_to_photo
from colorize.io.photo import read_photo
from colorize.io.photo_files import TRAINING_SUFFIXES, list_photos
from colorize.utils.files import file_sha256

_IMAGE_SUFFIXES = (*TRAINING_SUFFIXES, ".tif", ".tiff", ".avif")
_MAX_ASPECT_ERROR = 0.02  # of an image from a folder, relative to its photo


class Predictor(Protocol):
    """A method under evaluation: colorizes photos, and says what its predictions depend on.

    Attributes:
        name: its name in tables and of its result file.
        provenance: which model, rule or folder it is, as JSON.
        crops_full_size: predict full-size photos only; crops are cut out of these predictions.
    """

    name: str
    provenance: dict[str, Any]
    crops_full_size: bool = False

    def __call__(self, photo_id: str, image: Image.Image) -> Image.Image:
        """Colorize an image of the photo with this id, from its lightness alone."""
        ...

    def fingerprint(self, photo_id: str) -> str | None:
        """Identify what this photo's prediction depends on beside `provenance`, if anything."""
        return None

    def check(self, photos: Sequence[PhotoRecord]) -> None:
        """Check that predictions of these photos are possible.

        Raises:
            ValueError: if one is not.
        """
        return None


class ModelPredictor(Predictor):
    """Predictions of a trained model, from one view of each photo: models are compared alike."""

    def __init__(
        self,
        run: str | os.PathLike,
        device: str = "auto",
        name: str | None = None,
        *,
        views: int | None = 1,
    ):
        """Load the model.

        Args:
            run: as of `Colorizer.from_pretrained`.
            device: where the model runs.
            name: of the predictor (default: that of the run's folder).
            views: how often it sees a photo; None for as often as `Colorizer` does.

        Raises:
            Exception: as `Colorizer.from_pretrained` does.
        """
        self.name = Path(run).name if name is None else name
        self.colorizer = Colorizer.from_pretrained(run, device)
        digest = hashlib.sha256()
        for key, tensor in self.colorizer.network.state_dict().items():
            digest.update(key.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        self.provenance = {
            "run": Path(run).name,
            "weights_sha256": digest.hexdigest(),
            "model_size": self.colorizer.size,
            "vividness": None,
            "crops": "predicted as such",
        }
        self.views = views
        if views != 1:
            self.provenance["views"] = views

    def __call__(self, photo_id: str, image: Image.Image) -> Image.Image:
        """Colorize an image."""
        vividness = self.provenance["vividness"]
        return self.colorizer(image, vividness=vividness, views=self.views)

    def with_vividness(self, vividness: float) -> "ModelPredictor":
        """Return the same model at another vividness, named after it."""
        other = copy.copy(self)
        other.name = f"{self.name} at {vividness:g}"
        other.provenance = self.provenance | {"vividness": vividness}
        return other


class ImageFolderPredictor(Predictor):
    """Images that any program colorized, found by the names of their photos.

    The image of `IMG_1.jpg` is `IMG_1.png`, in any folder; that of one of several photos of this
    name, such as `day1/IMG_1.jpg`, is `day1/IMG_1.png`.
    """

    crops_full_size = True

    def __init__(self, folder: str | os.PathLike, name: str | None = None):
        """Find the images.

        Args:
            folder: the images, also in folders below it.
            name: of the predictor (default: that of the folder).

        Raises:
            FileNotFoundError: if the folder does not exist.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no such run or folder of colorized images: {folder}")
        self.name = self.folder.name if name is None else name
        self.provenance = {
            "folder": self.folder.name,
            "crops": "cut out of the full-size prediction",
        }
        self._images: dict[str, list[Path]] = {}  # by name, and by path below the folder
        for path in list_photos(self.folder, _IMAGE_SUFFIXES).photos:
            below = path.relative_to(self.folder).with_suffix("").as_posix()
            for name in {path.stem, below}:
                self._images.setdefault(name, []).append(path)

    def check(self, photos: Sequence[PhotoRecord]) -> None:
        """Check that every photo has one image.

        Raises:
            ValueError: if one has none, or two.
        """
        missing = [photo.id for photo in photos if not self._images_of(photo.id)]
        if missing:
            raise ValueError(
                f"{self.folder}: {len(missing)} of {len(photos)} photos have no colorized image, "
                f"such as {missing[0]!r}; an image needs the name of its photo and one of the "
                f"suffixes {', '.join(TRAINING_SUFFIXES)}, .tif"
            )

        for photo in photos:
            first, *others = self._images_of(photo.id)
            if others:
                raise ValueError(f"two images of one photo: {first} and {others[0]}")

    def _images_of(self, photo_id: str) -> list[Path]:
        without_suffix = str(PurePosixPath(photo_id).with_suffix(""))
        return self._images.get(photo_id) or self._images.get(without_suffix, [])

    def fingerprint(self, photo_id: str) -> str:
        """Digest the image file of a photo."""
        return file_digest(self._images_of(photo_id)[0])

    def __call__(self, photo_id: str, image: Image.Image) -> Image.Image:
        """Read the colorized image, resized to the photo if it has another size.

        Raises:
            ValueError: if its aspect ratio differs from the photo's by more than 2 %.
        """
        path = self._images_of(photo_id)[0]
        colorized = read_photo(path)
        if colorized.size == image.size:
            return colorized
        ratio = colorized.width / colorized.height * image.height / image.width
        if not 1 - _MAX_ASPECT_ERROR < ratio < 1 + _MAX_ASPECT_ERROR:
            raise ValueError(
                f"{path} is {colorized.width}x{colorized.height}, its photo "
                f"{image.width}x{image.height}: cropped or rotated images cannot be compared"
            )
        return rgb_to_photo(resize(photo_to_rgb(colorized), image.height, image.width))


def predict_crop_and_whole(
    predictor: Predictor,
    photo_id: str,
    target: Image.Image,
    crop: Image.Image,
    *,
    full_size: bool,
) -> tuple[Image.Image, Image.Image]:
    """Predict a photo's square crop and the whole photo.

    Args:
        predictor: the method.
        photo_id: of the photo.
        target: the whole photo.
        crop: its square crop, as of `center_square`.
        full_size: the whole photo is needed; otherwise the crop may stand in for it.
    """
    if predictor.crops_full_size:
        whole = predictor(photo_id, target)
        return center_square(whole, crop.width), whole
    prediction = predictor(photo_id, crop)
    if target.size == crop.size or not full_size:
        return prediction, prediction
    return prediction, predictor(photo_id, target)


def file_digest(path: Path) -> str:
    """Compute the first 16 digits of a file's SHA-256: enough to detect another file."""
    return file_sha256(path)[:16]


def center_crop_rgb(rgb: Tensor, size: int) -> Tensor:
    """Resize the largest centered square of a uint8 photo (3, H, W) to (3, size, size)."""
    height, width = rgb.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(rgb[:, top : top + side, left : left + side], size, size)


def center_square(image: Image.Image, size: int) -> Image.Image:
    """Resize the largest centered square of an image to `size` pixels.

    Raises:
        ValueError: if the image is smaller.
    """
    if min(image.size) < size:
        raise ValueError(f"a photo of {image.width}x{image.height} has no square of {size} px")
    return rgb_to_photo(center_crop_rgb(photo_to_rgb(image), size))
