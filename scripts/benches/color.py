"""The color road: conversions, a file to a pair, a painting to a photo."""

import numpy as np
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from benches.timing import compare
from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.data.dataset import LabDataset
from colorize.data.folder import load_samples
from colorize.inference.guided_upsampling import guided_upsample as paint


def lab() -> dict:
    """RGB to LAB, 16 photos of 256x256, uint8, 1 thread.

    Plain: for each photo `skimage.color.rgb2lab(photo / 255)` in float64, scaled, to float32.
    """
    torch.set_num_threads(1)
    photos = torch.randint(0, 256, (16, 3, 256, 256), dtype=torch.uint8)
    arrays = photos.permute(0, 2, 3, 1).numpy()

    def plain():
        labs = np.stack([rgb2lab(array / 255) for array in arrays])
        return (labs / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def ours():
        return torch.cat(rgb_to_lab(photos), dim=1).permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=16, unit="ms/photo", tolerance=1e-5)


def rgb() -> dict:
    """LAB to RGB, 16 photos of 256x256, channels clipped, rounded to uint8, 1 thread.

    Plain: for each photo `skimage.color.lab2rgb` in float64 and rounding.
    """
    torch.set_num_threads(1)
    lightness, ab = rgb_to_lab(torch.randint(0, 256, (16, 3, 256, 256), dtype=torch.uint8))
    labs = torch.cat(((lightness + 1) * 50, ab * 110), dim=1).permute(0, 2, 3, 1).double().numpy()

    def plain():
        return np.stack([np.round(lab2rgb(lab) * 255).astype(np.uint8) for lab in labs])

    def ours():
        rgb = to_uint8(lab_to_rgb(lightness, ab, gamut="clip"))
        return rgb.permute(0, 2, 3, 1).numpy()

    return compare(plain, ours, per=16, unit="ms/photo", tolerance=0)


def pair() -> dict:
    """From a file to (lightness, ab), the embedded photos, centered squares of 256x256, 1 thread.

    Plain: Pillow decodes, crops, shrinks by BILINEAR; scikit-image converts in float64.
    """
    torch.set_num_threads(1)
    photos = load_samples().photos
    dataset = LabDataset(photos, 256)

    def plain_one(path):
        photo = Image.open(path).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) / 2, (photo.height - side) / 2
        box = (left, top, left + side, top + side)
        lab = rgb2lab(np.asarray(photo.resize((256, 256), Image.Resampling.BILINEAR, box)) / 255)
        return (lab / [50, 110, 110] - [1, 0, 0]).astype(np.float32)

    def plain():
        return np.stack([plain_one(photo.path) for photo in photos])

    def ours():
        pairs = [torch.cat(dataset[i]) for i in range(len(dataset))]
        return torch.stack(pairs).permute(0, 2, 3, 1).numpy()

    # Of the resized photo's bytes some differ by one level.
    return compare(plain, ours, per=len(photos), unit="ms/photo", tolerance=0.03)


def join() -> dict:
    """A 4000x3000 photo and 192x256 ab to the painted photo, all threads of torch.

    Plain: `torch.nn.functional.interpolate`, scikit-image in float64 on the whole photo. All
    painted colors exist, so that both are the same function.
    """
    rgb = torch.randint(80, 180, (3, 300, 400), dtype=torch.uint8).repeat_interleave(10, 1)
    rgb = rgb.repeat_interleave(10, 2)
    ab = torch.rand(2, 192, 256) * 0.2 - 0.1

    def plain():
        lab = rgb2lab(rgb.permute(1, 2, 0).numpy() / 255)
        wide = torch.nn.functional.interpolate(ab[None], rgb.shape[1:], mode="bilinear")[0]
        lab[..., 1:] = wide.permute(1, 2, 0).double().numpy() * 110
        return np.round(lab2rgb(lab) * 255).astype(np.uint8)

    def ours():
        return paint(rgb, ab).permute(1, 2, 0).numpy()

    return compare(plain, ours, per=1, unit="ms", tolerance=1, repeats=3)


ROWS = {row.__name__: row for row in (lab, rgb, pair, join)}
