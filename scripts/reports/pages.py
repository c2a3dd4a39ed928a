"""Where the report is, and how tables, numbers and photos get into it and out of it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from colorize import load_samples, read_photo
from colorize.io.image import limit_long_side, photo_to_rgb, rgb_to_photo
from colorize.utils.files import atomic_write

REPORT = Path(__file__).parents[2] / "report"


def fill_in(path: Path, texts: Mapping[str, str]) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->` in a page.

    Raises:
        ValueError: if the page does not have exactly one place for a text.
    """
    page = path.read_text()
    for name, text in texts.items():
        page, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda match, text=text: f"{match[1]}{text}\n{match[2]}",
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{path} has {count} places for {name}, not one")
    with atomic_write(path) as tmp:
        tmp.write_text(page)


def sample_photos() -> dict[str, Image.Image]:
    """Read the embedded test photos, by id."""
    return {photo.id: read_photo(photo.path) for photo in load_samples().select("test").photos}


def save_jpegs(
    photos: Mapping[str, Image.Image], folder: Path, long_side: int | None = None
) -> None:
    """Write colorized photos as small JPEGs, `folder/NAME.jpg`, for the figures of the report.

    Args:
        photos: by name.
        folder: created if missing.
        long_side: the largest size in pixels; None keeps the photos' own sizes.
    """
    for name, photo in photos.items():
        small = photo if long_side is None else limit(photo, long_side)
        with atomic_write(folder / f"{name}.jpg") as tmp:
            small.save(tmp, "JPEG", quality=75, optimize=True, progressive=True)


def limit(photo: Image.Image, long_side: int) -> Image.Image:
    """Shrink a photo to at most `long_side` pixels."""
    return rgb_to_photo(limit_long_side(photo_to_rgb(photo), long_side))


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


def read_log(run: Path) -> list[dict[str, Any]]:
    """Read the `log.jsonl` of a run."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
