"""Baselines that look at nothing, or only memorize: gray, mean-ab, random, nearest."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from colorize.color.lab import rgb_to_lab
from colorize.data.folder import PhotoRecord
from colorize.evaluation.predictors import THUMB, Predictor, center_crop_rgb, file_digest, with_ab
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, read_photo, resize, rgb_to_photo
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint


class TrainingReference:
    """The training photos, as far as the trivial rows need them.

    Attributes:
        mean_ab: (2, 1, 1), the mean color of the photos.
        photos: in the order of `squares` and `wholes`.
        squares: (N, 1024), the lightness of each photo's centered square at 32 x 32, of mean 0 and
            length 1.
        wholes: likewise, of the whole photo, squashed.
        digest: of the photos' files.
    """

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        cache: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        """Look at the photos, or read what an earlier look kept in the file `cache`."""
        self.photos = tuple(photos)
        found = "\n".join(f"{photo.id} {file_digest(photo.path)}" for photo in photos)
        self.digest = hashlib.sha256(found.encode()).hexdigest()
        state = None
        if cache is not None:
            try:
                state = load_checkpoint(Path(cache))
            except CheckpointError:  # not there yet, or damaged: made anew
                state = None
        if state is None or state["digest"] != self.digest:
            state = {"digest": self.digest, **self._looked(progress)}
            if cache is not None:
                save_checkpoint(Path(cache), state)
        self.mean_ab, self.squares, self.wholes = (
            state[name] for name in ("mean_ab", "squares", "wholes")
        )

    def _looked(self, progress: bool) -> dict[str, Tensor]:
        squares, wholes, total = [], [], torch.zeros(2, dtype=torch.float64)
        bar = tqdm(self.photos, desc="training photos", unit="photo", disable=not progress)
        for photo in bar:
            rgb = photo_to_rgb(read_photo(photo.path))
            lightness, ab = rgb_to_lab(center_crop_rgb(rgb, 2 * THUMB))
            squares.append(_thumb(lightness))
            whole = resize(rgb, 2 * THUMB, 2 * THUMB)
            wholes.append(_thumb(rgb_to_lab(whole)[0]))
            total += ab.mean(dim=(1, 2))
        mean = (total / max(len(squares), 1)).float().view(2, 1, 1)
        return {"mean_ab": mean, "squares": torch.stack(squares), "wholes": torch.stack(wholes)}

    def nearest(self, rgb: Tensor) -> Tensor:
        """The training photo whose lightness is most like that of (3, H, W), in its size.

        A square photo is compared with the centered squares of the training photos, another with
        the whole ones, squashed; each also mirrored.
        """
        height, width = rgb.shape[-2:]
        is_square = height == width
        thumb = _thumb(rgb_to_lab(resize(rgb, 2 * THUMB, 2 * THUMB))[0])
        mirrored = thumb.view(THUMB, THUMB).flip(-1).flatten()
        likeness = (self.squares if is_square else self.wholes) @ torch.stack((thumb, mirrored), 1)
        index, flipped = divmod(int(likeness.argmax()), 2)
        other = photo_to_rgb(read_photo(self.photos[index].path))
        other = center_crop_rgb(other, width) if is_square else resize(other, height, width)
        return other.flip(-1) if flipped else other


BASELINES = ("grey", "mean-ab", "random", "nearest")


def baselines(memory: TrainingReference) -> dict[str, Predictor]:
    """The rows of every table, by painters that learned nothing.

    `grey`; `mean-ab`, everything in the mean color of the training photos; `random`, each pixel's
    ab uniform in [-1, 1]; and `nearest`, the ab of the training photo whose lightness is most
    alike: what one gets who only memorizes.
    """

    def random(name: str, photo: Image.Image) -> Image.Image:
        number = hashlib.sha256(f"0 {name} {photo.size}".encode()).digest()[:7]
        generator = torch.Generator().manual_seed(int.from_bytes(number))
        ab = torch.rand((2, photo.height, photo.width), generator=generator) * 2 - 1
        return with_ab(photo, ab)

    def nearest(name: str, photo: Image.Image) -> Image.Image:
        rgb = photo_to_rgb(photo)
        return rgb_to_photo(guided_upsample(rgb, rgb_to_lab(memory.nearest(rgb))[1]))

    rows = {
        "grey": lambda name, photo: with_ab(photo, torch.zeros(2, 1, 1)),
        "mean-ab": lambda name, photo: with_ab(photo, memory.mean_ab),
        "random": random,
        "nearest": nearest,
    }
    for name, row in rows.items():
        row.stamp = {"rule": name, "seed": 0, "training_photos_sha256": memory.digest}
    return rows


def _thumb(lightness: Tensor) -> Tensor:
    """Lightness (1, H, W) as a vector of mean 0 and length 1."""
    small = torch.nn.functional.interpolate(
        lightness.unsqueeze(0), (THUMB, THUMB), mode="bilinear", antialias=True
    ).flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)
