import numpy as np
import pytest
import torch
from PIL import Image

from colorize.photos import write_photo


@pytest.fixture(autouse=True)
def _repeatable():
    torch.manual_seed(0)
    # Two threads on tensors as small as the tests' wait for each other, minutes where it is busy.
    torch.set_num_threads(1)


def make_photo(width=80, height=60, seed=0):
    """A small colored photo: smooth blobs, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photo():
    return make_photo()


@pytest.fixture
def folder(tmp_path):
    """A folder with 6 training, 3 validation and 2 test photos of 80x60 px."""
    root = tmp_path / "photos"
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        for i in range(count):
            photo = make_photo(seed=100 * len(part) + i)
            write_photo(photo, root / part / f"{part}{i}.jpg")
    return root
