"""What the web page does with a photo, apart from the page itself."""

import dataclasses
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from colorize.inference.batch import colorize_file
from colorize.inference.colorizer import Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.inference.options import ColorizeOptions
from colorize.io.image import FORMAT_BY_SUFFIX, limit_long_side, rgb_to_photo
from colorize.io.image_file import read_image_file
from colorize.io.image_writer import write_image_file
from colorize.io.prints import analyze_tone
from colorize.models.hints import Hint, parse_hint

SAMPLES = 4
_PAGE_SIDE = 1280  # px; long side of the images on the page; downloads have full size


@dataclass(frozen=True)
class DemoResult:
    """A colorized photo.

    Attributes:
        gray, colorized: the photo before and after, at the size of the page.
        marked: the colorized photo with a ring at every hint.
        file: the colorized photo at full size.
    """

    gray: Image.Image
    colorized: Image.Image
    marked: Image.Image
    file: Path


class DemoSession:
    """Colorize the photos of visitors; between two calls only files are kept.

    Attributes:
        colorizer: the model.
        folder: holds the colorized photos until they are downloaded.
    """

    def __init__(self, colorizer: Colorizer, folder: Path):
        self.colorizer, self.folder = colorizer, folder

    def colorize(
        self,
        file: str,
        vividness: float | None,
        hints: str,
        sample: tuple[int, int] | None = None,
    ) -> DemoResult:
        """Colorize a photo.

        Args:
            file: the photo.
            vividness: in [0, 1]; None for a model without it.
            hints: lines "x,y,color".
            sample: seed and index of a sample to take instead of the likeliest colors.

        Raises:
            ValueError: if the file is not a photo, or a line is not a hint.
        """
        photo = read_image_file(file)
        parsed = _parse_hints(hints)
        options, index = ColorizeOptions(vividness=vividness, hints=parsed), 0
        if sample is not None:
            seed, index = sample
            options = dataclasses.replace(options, seed=seed, samples=SAMPLES)
        is_colored = analyze_tone(photo.as_rgb8()).is_colored
        colorized = colorize_file(
            self.colorizer, photo, options, force=is_colored, sample_index=index
        )
        target = self._new_file(file)
        write_image_file(photo, colorized, target)
        before = limit_long_side(photo.as_rgb8(), _PAGE_SIDE)
        after = limit_long_side(dataclasses.replace(photo, rgb=colorized).as_rgb8(), _PAGE_SIDE)
        gray = rgb_to_photo(guided_upsample(before, torch.zeros(2, 1, 1)))
        shown = rgb_to_photo(after)
        scale = before.shape[2] / colorized.shape[2]
        return DemoResult(gray, shown, _mark_hints(shown, parsed, scale), target)

    def sample(
        self, file: str | None, vividness: float | None, hints: str, seed: int
    ) -> tuple[list[Image.Image], int]:
        """Draw samples from the predicted distribution; also return the seed of the next draw."""
        if file is None:
            return [], seed
        options = ColorizeOptions(
            seed=seed, vividness=vividness, hints=_parse_hints(hints), samples=SAMPLES
        )
        samples, _ = self._predict(file, options)
        return [rgb_to_photo(rgb) for rgb in samples], seed + 1

    def uncertainty(self, file: str | None, hints: str) -> Image.Image | None:
        """Map the uncertainty of the model: white where all colors are equally likely."""
        if file is None:
            return None
        _, uncertainty = self._predict(
            file, ColorizeOptions(hints=_parse_hints(hints), uncertainty=True)
        )
        return uncertainty

    def add_hint(self, hints: str, file: str, color: str, click: tuple[int, int]) -> str:
        """Append a hint at the pixel of the page's image that was clicked."""
        rgb = read_image_file(file).as_rgb8()
        scale = rgb.shape[2] / limit_long_side(rgb, _PAGE_SIDE).shape[2]
        x, y = (int((position + 0.5) * scale) for position in click)
        return f"{hints.rstrip()}\n{x},{y},{color}".lstrip()

    def _predict(
        self, file: str, options: ColorizeOptions
    ) -> tuple[list[Tensor], Image.Image | None]:
        """Return colorized photos at the size of the page, and the uncertainty if asked for."""
        rgb = read_image_file(file).as_rgb8()
        (prediction,) = self.colorizer.predict([rgb], options)
        small = limit_long_side(rgb, _PAGE_SIDE)
        height, width = small.shape[1:]
        image = prediction.uncertainty_image(height, width) if options.uncertainty else None
        samples = prediction.apply_to(small)
        photo_tone = analyze_tone(rgb)
        return [photo_tone.keep_surroundings(small, sample) for sample in samples], image

    def _new_file(self, file: str) -> Path:
        """Choose a new path with the photo's format for its colorized version."""
        path = Path(file)
        suffix = path.suffix if path.suffix.lower() in FORMAT_BY_SUFFIX else ".png"
        return Path(tempfile.mkdtemp(dir=self.folder)) / f"{path.stem}-colored{suffix}"


def remove_result(path: str | None) -> None:
    """Delete a colorized photo and its folder, if it is still there."""
    if path is not None and Path(path).exists():
        shutil.rmtree(Path(path).parent)


def _parse_hints(text: str) -> tuple[Hint, ...]:
    return tuple(parse_hint(line) for line in text.splitlines() if line.strip())


def _mark_hints(photo: Image.Image, hints: tuple[Hint, ...], scale: float) -> Image.Image:
    """Draw a ring of its color at each hint."""
    marked = photo.copy()
    draw = ImageDraw.Draw(marked)
    side = max(photo.size)
    radius, line = max(4, side // 60), max(1, side // 400)  # visible on a phone too
    for x, y, color in hints:
        center = ((x + 0.5) * scale, (y + 0.5) * scale)
        draw.circle(center, radius + 2 * line, fill="white")
        draw.circle(center, radius + line, fill="black")
        draw.circle(center, radius, fill=color)
    return marked
