"""Benchmarks of color: conversions, a file to lightness and ab, ab to a full-size photo."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from benches.timing import Row, compare, sized
from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.data.dataset import LabDataset
from colorize.data.folder import load_samples
from colorize.inference.guided_upsampling import guided_upsample


def lab() -> Row:
    """RGB to LAB, 16 photos of 256x256, uint8, 1 thread.

    Plain: for each photo `skimage.color.rgb2lab(photo / 255)` in float64, scaled, to float32.
    """
    torch.set_num_threads(1)
    photos = _random_photos()
    arrays = photos.permute(0, 2, 3, 1).numpy()

    def plain() -> np.ndarray:
        labs = np.stack([rgb2lab(array / 255) for array in arrays])
        return (labs / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def ours() -> np.ndarray:
        return torch.cat(rgb_to_lab(photos), dim=1).permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=len(photos), unit="ms/photo", tolerance=1e-5)


def rgb() -> Row:
    """LAB to RGB, 16 photos of 256x256, channels clipped, rounded to uint8, 1 thread.

    Plain: for each photo `skimage.color.lab2rgb` in float64 and rounding.
    """
    torch.set_num_threads(1)
    lightness, ab = rgb_to_lab(_random_photos())
    labs = torch.cat(((lightness + 1) * 50, ab * 110), dim=1).permute(0, 2, 3, 1).double().numpy()

    def plain() -> np.ndarray:
        return np.stack([np.round(lab2rgb(lab) * 255).astype(np.uint8) for lab in labs])

    def ours() -> np.ndarray:
        rgb = to_uint8(lab_to_rgb(lightness, ab, gamut="clip"))
        return rgb.permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=len(labs), unit="ms/photo", tolerance=0)


def pair() -> Row:
    """From a file to (lightness, ab), the embedded photos, centered squares of 256x256, 1 thread.

    Plain: Pillow decodes, crops, shrinks by BILINEAR; scikit-image converts in float64. Where the
    margin is odd, both crop at the whole pixel to which Python rounds.
    """
    torch.set_num_threads(1)
    photos = load_samples().photos
    photos = photos[: sized(len(photos), 3)]
    dataset = LabDataset(photos, 256)

    def load_plainly(path: Path) -> np.ndarray:
        photo = Image.open(path).convert("RGB")
        side = min(photo.size)
        left, top = round((photo.width - side) / 2), round((photo.height - side) / 2)
        square = photo.crop((left, top, left + side, top + side))
        square = square.resize((256, 256), Image.Resampling.BILINEAR)
        return (rgb2lab(np.asarray(square) / 255) / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def plain() -> np.ndarray:
        return np.stack([load_plainly(photo.path) for photo in photos])

    def ours() -> np.ndarray:
        pairs = [torch.cat(dataset[i]) for i in range(len(dataset))]
        return torch.stack(pairs).permute(0, 2, 3, 1).numpy()

    # Some bytes of the resized photo differ by one level.
    return compare(plain, ours, per=len(photos), unit="ms/photo", tolerance=0.03)


def upsample() -> Row:
    """A 4000x3000 photo and ab of 192x256 to the colorized photo, all threads of torch.

    Plain: `torch.nn.functional.interpolate`, scikit-image in float64 on the whole photo. All
    colors are in gamut, so that both are the same function.
    """
    scale = sized(10, 1)
    rgb = torch.randint(80, 180, (3, 300, 400), dtype=torch.uint8).repeat_interleave(scale, 1)
    rgb = rgb.repeat_interleave(scale, 2)
    ab = torch.rand(2, 192, 256) * 0.2 - 0.1

    def plain() -> np.ndarray:
        lab = rgb2lab(rgb.permute(1, 2, 0).numpy() / 255)
        wide = F.interpolate(ab[None], rgb.shape[1:], mode="bilinear")[0]
        lab[..., 1:] = wide.permute(1, 2, 0).double().numpy() * 110
        return np.round(lab2rgb(lab) * 255).astype(np.uint8)

    def ours() -> np.ndarray:
        return guided_upsample(rgb, ab).permute(1, 2, 0).numpy()

    return compare(plain, ours, per=1, unit="ms", tolerance=1, repeats=3)


def _random_photos() -> torch.Tensor:
    return torch.randint(0, 256, (sized(16, 2), 3, 256, 256), dtype=torch.uint8)


ROWS = {row.__name__: row for row in (lab, rgb, pair, upsample)}
