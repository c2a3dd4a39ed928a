"""Where the report lies, and how texts and numbers come into its pages."""

import json
import re
from pathlib import Path

from PIL import Image

from colorize import load_samples, read_photo
from colorize.utils.files import atomic_write

REPORT = Path(__file__).parents[2] / "report"


def fill_in(path: Path, texts: dict[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page."""
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
    with atomic_write(path) as part:
        part.write_text(page)


def sample_photos() -> dict[str, Image.Image]:
    """The embedded test photos, by id."""
    return {photo.id: read_photo(photo.path) for photo in load_samples().select("test").photos}


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def read_log(result: Path) -> list[dict]:
    return [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]
