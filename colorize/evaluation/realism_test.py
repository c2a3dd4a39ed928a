"""The blind test: one web page that asks people which of two photos was painted.

After the test of perceptual realism in Zhang et al., "Colorful Image Colorization" (2016): a true
photo and its painting side by side for one second, then the question which was painted. Where
people are fooled in 50 % of the pairs, painted and real cannot be told apart.
"""

import base64
import io
import json
import math
import os
import random
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from colorize.io.image import limit_long_side, photo_to_rgb, rgb_to_photo
from colorize.utils.files import atomic_write

TEMPLATE = Path(__file__).with_name("realism_test.html")
PLACE = "@TEST@"  # in the template, where the trials go

LONG_SIDE = 512  # pixels: of a pair side by side, more is not seen in a second
SIDES = ("left", "right")


def write_realism_test(
    truths: Mapping[str, Image.Image],
    painted: Mapping[str, Image.Image],
    path: str | os.PathLike,
    seed: int = 0,
    seconds: float = 1.0,
    title: str = "Which photo was painted?",
) -> Path:
    """Write a page that shows each photo beside its painting and counts who is fooled.

    One HTML file without any other: it opens from a disk, offline, and sends nothing; the results
    are shown at the end and can be saved as JSON. Both photos of a pair are encoded alike, without
    metadata, at most 512 px long, so that nothing but the colors tells them apart. The same
    arguments give the same bytes.

    Args:
        truths: the true photos, by name; names are shown at the end.
        painted: the paintings under the same names, each of its photo's size.
        path: the HTML file to write.
        seed: draws the order of the pairs, and by lot for each the side of the painting.
        seconds: how long a pair is seen.
        title: the page's heading.

    Returns:
        The path.

    Raises:
        ValueError: if there are no photos, names or sizes differ, or seconds are not positive.
    """
    if not truths:
        raise ValueError("a blind test needs photos, got none")
    if lonely := sorted(set(truths) ^ set(painted)):
        raise ValueError(f"each photo needs its painting, by the same name: {lonely} stand alone")
    for name in truths:
        if truths[name].size != painted[name].size:
            sizes = f"{truths[name].size}, its painting {painted[name].size}"
            raise ValueError(f"{name!r} is {sizes}: paint it at its own size")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds must be positive, got {seconds}")

    lots = random.Random(seed)
    order = lots.sample(sorted(truths), len(truths))
    test = {
        "title": title,
        "seed": seed,
        "seconds": seconds,
        "trials": [_trial(name, truths[name], painted[name], lots.choice(SIDES)) for name in order],
    }
    # A "</script>" in a name would end the block; JSON may write "<" as an escape anywhere.
    block = json.dumps(test).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace(PLACE, block)
    with atomic_write(path) as part:
        part.write_text(page, encoding="utf-8", newline="\n")
    return Path(path)


def _trial(name: str, truth: Image.Image, painted: Image.Image, side: str) -> dict:
    """One pair as the page reads it: the pictures from left to right."""
    pair = (painted, truth) if side == "left" else (truth, painted)
    return {"photo": name, "painted": side, "pictures": [_jpeg(photo) for photo in pair]}


def _jpeg(photo: Image.Image) -> str:
    """The photo's pixels alone as a JPEG in base64, its long side 512 px at most."""
    pixels = rgb_to_photo(limit_long_side(photo_to_rgb(photo), LONG_SIDE))
    file = io.BytesIO()
    # 4:4:4, because color is what is judged.
    pixels.save(file, "JPEG", quality=90, subsampling=0)
    return base64.b64encode(file.getvalue()).decode()
