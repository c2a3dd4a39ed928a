"""Who is judged: trained networks, folders of painted pictures, and painters that learned nothing.

A row is a function from a photo's id and the photo to its painting.
"""

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from colorize.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.color import rgb_to_lab
from colorize.colorizer import Colorizer
from colorize.data.folder import SUFFIXES, Photo
from colorize.photos import photo_to_rgb, read_photo, resize, rgb_to_photo
from colorize.runtime import file_sha256
from colorize.upsampling import join

Row = Callable[[str, Image.Image], Image.Image]

_THUMB = 32  # px; the side at which lightness is compared with that of the training photos


class PaintedRun:
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

    def at(self, vividness: float) -> "PaintedRun":
        """The same run at another vividness."""
        other = copy.copy(self)
        other.stamp = self.stamp | {"vividness": vividness}
        return other


class PaintedFolder:
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
            if path.suffix.lower() in (*SUFFIXES, ".tif", ".tiff", ".avif"):
                key = path.stem
                if key in self.paths:
                    raise ValueError(f"two pictures of one photo: {self.paths[key]} and {path}")
                self.paths[key] = path
        # Which pictures they are is asked photo by photo (`digest`).
        self.stamp = {"folder": folder.name, "square": "cut out of the whole painting"}

    def check(self, photos: Sequence[Photo]) -> None:
        """See that every photo has its painting.

        Raises:
            ValueError: if one has none.
        """
        missing = [photo.id for photo in photos if photo.id not in self.paths]
        if missing:
            raise ValueError(
                f"{self.folder}: {len(missing)} of {len(photos)} photos have no painted picture, "
                f"such as {missing[0]!r}; a painting has the name of its photo, of any of the "
                f"kinds {', '.join(SUFFIXES)}, .tif"
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


class Memory:
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
        photos: Sequence[Photo],
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
            lightness, ab = rgb_to_lab(_square(rgb, 2 * _THUMB))
            squares.append(_thumb(lightness))
            whole = resize(rgb, 2 * _THUMB, 2 * _THUMB)
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
        thumb = _thumb(rgb_to_lab(resize(rgb, 2 * _THUMB, 2 * _THUMB))[0])
        mirrored = thumb.view(_THUMB, _THUMB).flip(-1).flatten()
        likeness = (self.squares if is_square else self.wholes) @ torch.stack((thumb, mirrored), 1)
        index, flipped = divmod(int(likeness.argmax()), 2)
        other = photo_to_rgb(read_photo(self.photos[index].path))
        other = _square(other, width) if is_square else resize(other, height, width)
        return other.flip(-1) if flipped else other


TRIVIAL = ("grey", "mean-ab", "random", "nearest")


def trivial_rows(memory: Memory) -> dict[str, Row]:
    """The rows of every table, by painters that learned nothing.

    `grey`; `mean-ab`, everything in the mean color of the training photos; `random`, each pixel's
    ab uniform in [-1, 1]; and `nearest`, the ab of the training photo whose lightness is most
    alike: what one gets who only memorizes.
    """

    def random(name: str, photo: Image.Image) -> Image.Image:
        number = hashlib.sha256(f"0 {name} {photo.size}".encode()).digest()[:7]
        generator = torch.Generator().manual_seed(int.from_bytes(number))
        ab = torch.rand((2, photo.height, photo.width), generator=generator) * 2 - 1
        return _joined(photo, ab)

    def nearest(name: str, photo: Image.Image) -> Image.Image:
        rgb = photo_to_rgb(photo)
        return rgb_to_photo(join(rgb, rgb_to_lab(memory.nearest(rgb))[1]))

    rows = {
        "grey": lambda name, photo: _joined(photo, torch.zeros(2, 1, 1)),
        "mean-ab": lambda name, photo: _joined(photo, memory.mean_ab),
        "random": random,
        "nearest": nearest,
    }
    for name, row in rows.items():
        row.stamp = {"rule": name, "seed": 0, "training_photos_sha256": memory.digest}
    return rows


def file_digest(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 digits: enough to tell when it is another one."""
    return file_sha256(path)[:16]


def _joined(photo: Image.Image, ab: Tensor) -> Image.Image:
    return rgb_to_photo(join(photo_to_rgb(photo), ab))


def _square(rgb: Tensor, size: int) -> Tensor:
    """The largest centered square of a uint8 photo (3, H, W), at a size."""
    height, width = rgb.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(rgb[:, top : top + side, left : left + side], size, size)


def square(photo: Image.Image, size: int) -> Image.Image:
    """The largest centered square of a photo, at a size.

    Raises:
        ValueError: if the photo is smaller.
    """
    if min(photo.size) < size:
        raise ValueError(f"a photo of {photo.width}x{photo.height} has no square of {size} px")
    return rgb_to_photo(_square(photo_to_rgb(photo), size))


def _thumb(lightness: Tensor) -> Tensor:
    """Lightness (1, H, W) as a vector of mean 0 and length 1."""
    small = torch.nn.functional.interpolate(
        lightness.unsqueeze(0), (_THUMB, _THUMB), mode="bilinear", antialias=True
    ).flatten()
    small = small - small.mean()
    return small / small.norm().clamp(min=1e-6)
