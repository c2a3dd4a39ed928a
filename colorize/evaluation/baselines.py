"""Baselines without a model: gray, mean color, random colors, nearest neighbor, ground truth."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from colorize.color.lab import rgb_to_lab
from colorize.data.folder import PhotoRecord
from colorize.evaluation.predictors import Predictor, center_crop_rgb, file_digest
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, resize, rgb_to_photo
from colorize.io.photo import read_photo
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

THUMBNAIL = 32  # px; the size at which the lightness of two photos is compared
GROUND_TRUTH = "ground-truth"
BASELINES = ("gray", "mean-ab", "random", "nearest")


class TrainingReference:
    """What the baselines need to know of the training photos.

    Attributes:
        photos: in the order of `crops` and `wholes`.
        digest: of the photos' files.
        mean_ab: (2, 1, 1), the mean color of the photos.
        crops: (N, 1024), the lightness of each photo's centered square at 32 x 32, normalized to
            mean 0 and length 1.
        wholes: likewise, of the whole photo, squashed.
    """

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        cache: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        """Read the photos, or the file that an earlier call wrote.

        Args:
            photos: the training photos.
            cache: a file that stores the result, and is used while the photos are the same.
            progress: show a progress bar.
        """
        self.photos = tuple(photos)
        digests = "\n".join(f"{photo.id} {file_digest(photo.path)}" for photo in photos)
        self.digest = hashlib.sha256(digests.encode("utf-8", "surrogateescape")).hexdigest()
        state: dict[str, Tensor | str] = {}
        if cache is not None:
            with contextlib.suppress(CheckpointError):  # missing or damaged
                state = load_checkpoint(Path(cache))
        if state.get("digest") != self.digest or "crops" not in state:
            state = {"digest": self.digest, **self._read_photos(progress)}
            if cache is not None:
                save_checkpoint(Path(cache), state)
        self.mean_ab, self.crops, self.wholes = (
            torch.as_tensor(state[name]) for name in ("mean_ab", "crops", "wholes")
        )

    def _read_photos(self, progress: bool) -> dict[str, Tensor]:
        crops, wholes, total = [], [], torch.zeros(2, dtype=torch.float64)
        bar = tqdm(self.photos, desc="training photos", unit="photo", disable=not progress)
        for photo in bar:
            rgb = photo_to_rgb(read_photo(photo.path))
            lightness, ab = rgb_to_lab(center_crop_rgb(rgb, 2 * THUMBNAIL))
            crops.append(_thumbnail(lightness))
            whole = resize(rgb, 2 * THUMBNAIL, 2 * THUMBNAIL)
            wholes.append(_thumbnail(rgb_to_lab(whole)[0]))
            total += ab.mean(dim=(1, 2))
        mean = (total / max(len(crops), 1)).float().view(2, 1, 1)
        return {"mean_ab": mean, "crops": torch.stack(crops), "wholes": torch.stack(wholes)}

    def nearest(self, rgb: Tensor) -> Tensor:
        """Find the training photo with the most similar lightness, and resize it to match.

        A square image is compared with the centered squares of the training photos, any other
        with the squashed whole photos; each also mirrored.

        Args:
            rgb: uint8 (3, H, W); only its lightness is used.

        Returns:
            The training photo, uint8 (3, H, W).
        """
        height, width = rgb.shape[-2:]
        is_square = height == width
        thumbnail = _thumbnail(rgb_to_lab(resize(rgb, 2 * THUMBNAIL, 2 * THUMBNAIL))[0])
        mirrored = thumbnail.view(THUMBNAIL, THUMBNAIL).flip(-1).flatten()
        queries = torch.stack((thumbnail, mirrored), 1)
        similarity = (self.crops if is_square else self.wholes) @ queries
        index, is_mirrored = divmod(int(similarity.argmax()), 2)
        match = photo_to_rgb(read_photo(self.photos[index].path))
        match = center_crop_rgb(match, width) if is_square else resize(match, height, width)
        return match.flip(-1) if is_mirrored else match


class GroundTruth(Predictor):
    """The photo itself: the upper bound."""

    name = GROUND_TRUTH

    def __init__(self) -> None:
        self.provenance = {"baseline": GROUND_TRUTH}

    def __call__(self, photo_id: str, image: Image.Image) -> Image.Image:
        """Return the image."""
        return image


class Baseline(Predictor):
    """A rule that predicts ab without a model."""

    def __init__(self, reference: TrainingReference):
        self.reference = reference
        self.provenance = {
            "baseline": self.name,
            "seed": 0,
            "training_photos_sha256": reference.digest,
        }

    def __call__(self, photo_id: str, image: Image.Image) -> Image.Image:
        """Colorize an image by `predict_ab`."""
        rgb = photo_to_rgb(image)
        return rgb_to_photo(guided_upsample(rgb, self.predict_ab(photo_id, rgb)))

    def predict_ab(self, photo_id: str, rgb: Tensor) -> Tensor:
        """Predict ab (2, h, w) of a uint8 photo (3, H, W)."""
        raise NotImplementedError


class Gray(Baseline):
    """No color at all."""

    name = "gray"

    def predict_ab(self, photo_id: str, rgb: Tensor) -> Tensor:
        """Return zeros (2, 1, 1)."""
        return torch.zeros(2, 1, 1)


class MeanAB(Baseline):
    """The mean color of the training photos everywhere."""

    name = "mean-ab"

    def predict_ab(self, photo_id: str, rgb: Tensor) -> Tensor:
        """Return the mean color (2, 1, 1)."""
        return self.reference.mean_ab


class RandomAB(Baseline):
    """The ab of each pixel uniform in [-1, 1], seeded by the photo's id and size."""

    name = "random"

    def predict_ab(self, photo_id: str, rgb: Tensor) -> Tensor:
        """Draw ab (2, H, W)."""
        height, width = rgb.shape[-2:]
        key = f"0 {photo_id} {(width, height)}".encode("utf-8", "surrogateescape")
        seed = hashlib.sha256(key).digest()[:7]
        generator = torch.Generator().manual_seed(int.from_bytes(seed))
        return torch.rand((2, height, width), generator=generator) * 2 - 1


class Nearest(Baseline):
    """The ab of the training photo with the most similar lightness: pure memorization."""

    name = "nearest"

    def predict_ab(self, photo_id: str, rgb: Tensor) -> Tensor:
        """Return the ab (2, H, W) of the nearest training photo."""
        return rgb_to_lab(self.reference.nearest(rgb))[1]


def baselines(reference: TrainingReference) -> list[Predictor]:
    """Return the baselines of every table, in the order of `BASELINES`."""
    return [kind(reference) for kind in (Gray, MeanAB, RandomAB, Nearest)]


def _thumbnail(lightness: Tensor) -> Tensor:
    """Shrink lightness (1, H, W) to a vector of mean 0 and length 1."""
    small = F.interpolate(
        lightness.unsqueeze(0), (THUMBNAIL, THUMBNAIL), mode="bilinear", antialias=True
    ).flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)
