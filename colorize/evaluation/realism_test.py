"""A perceptual realism test: an HTML page that asks people which of two photos was colorized.

After Zhang et al., "Colorful Image Colorization" (2016): a photo and its colorized version are
shown side by side for one second, then the person says which one was colorized. If people are
fooled in 50 % of the pairs, colorized and real photos are indistinguishable.
"""

import base64
import io
import json
import math
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from colorize.io.image import limit_long_side, photo_to_rgb, rgb_to_photo
from colorize.utils.files import atomic_write

TEMPLATE = Path(__file__).with_name("realism_test.html")
PLACEHOLDER = "@TEST@"  # of the trials, in the template

LONG_SIDE = 512  # px; side by side and within a second, more detail is not seen
SIDES = ("left", "right")


def write_realism_test(
    targets: Mapping[str, Image.Image],
    colorized: Mapping[str, Image.Image],
    path: str | os.PathLike,
    seed: int = 0,
    seconds: float = 1.0,
    title: str = "Which photo was colorized?",
) -> Path:
    """Write a page that shows each photo beside its colorized version, and counts errors.

    The page is a single HTML file: it opens from disk, works offline, and sends nothing; results
    are shown at the end and can be saved as JSON. Both images of a pair are encoded alike,
    without metadata, at most 512 px long, so that only their colors differ. The same arguments
    give the same bytes.

    Args:
        targets: the original photos by name; names are shown at the end.
        colorized: the colorized photos by the same names, each of its original's size.
        path: the HTML file to write.
        seed: of the order of the pairs, and of the side of each colorized photo.
        seconds: how long a pair is shown.
        title: the page's heading.

    Returns:
        The path.

    Raises:
        ValueError: if there are no photos, names or sizes differ, or seconds are not positive.
    """
    if not targets:
        raise ValueError("a realism test needs photos, got none")
    if unpaired := sorted(set(targets) ^ set(colorized)):
        raise ValueError(f"photos and colorized photos need the same names: {unpaired} differ")
    for name, target in targets.items():
        if target.size != colorized[name].size:
            sizes = f"{target.size}, its colorized version {colorized[name].size}"
            raise ValueError(f"{name!r} is {sizes}: colorize photos in their own size")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be positive, got {seconds}")

    rng = random.Random(seed)
    order = rng.sample(sorted(targets), len(targets))
    trials = [_trial(name, targets[name], colorized[name], rng.choice(SIDES)) for name in order]
    test = {"title": title, "seed": seed, "seconds": seconds, "trials": trials}
    # A "</script>" in a name would end the block; JSON allows "<" as an escape anywhere.
    block = json.dumps(test).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace(PLACEHOLDER, block)
    with atomic_write(path) as tmp:
        tmp.write_text(page, encoding="utf-8", newline="\n")
    return Path(path)


def _trial(name: str, target: Image.Image, colorized: Image.Image, side: str) -> dict[str, Any]:
    """Return one pair as the page reads it, its images from left to right."""
    pair = (colorized, target) if side == "left" else (target, colorized)
    return {"photo": name, "colorized": side, "images": [_jpeg(image) for image in pair]}


def _jpeg(image: Image.Image) -> str:
    """Encode the pixels alone as a base64 JPEG, at most 512 px long."""
    pixels = rgb_to_photo(limit_long_side(photo_to_rgb(image), LONG_SIDE))
    file = io.BytesIO()
    # 4:4:4, because the test is about color.
    pixels.save(file, "JPEG", quality=90, subsampling=0)
    return base64.b64encode(file.getvalue()).decode()
