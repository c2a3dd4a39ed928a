"""Make old prints of color photos: toned, foxed, hand-tinted, on pages, beside color charts."""

import colorsys
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

# sRGB in [0, 1]
_PAGES = {
    "brown": (0.36, 0.27, 0.17),
    "green": (0.18, 0.26, 0.19),
    "navy": (0.17, 0.21, 0.33),
    "maroon": (0.38, 0.17, 0.18),
    "cream": (0.91, 0.86, 0.75),
    "tan": (0.77, 0.66, 0.50),
    "olive": (0.43, 0.41, 0.27),
    "black": (0.19, 0.16, 0.15),
    "kraft": (0.69, 0.55, 0.39),
    "blue": (0.75, 0.80, 0.84),
    "gray": (0.47, 0.47, 0.46),
    "rose": (0.84, 0.75, 0.69),
}
_BEDS = ((0.97, 0.97, 0.96), (0.04, 0.04, 0.05), (0.5, 0.5, 0.5))  # of scanners
_PATCHES = (
    (0.10, 0.25, 0.60),
    (0.15, 0.60, 0.75),
    (0.10, 0.50, 0.25),
    (0.95, 0.85, 0.15),
    (0.80, 0.15, 0.15),
    (0.75, 0.20, 0.50),
    (0.95, 0.95, 0.95),
    (0.45, 0.35, 0.30),
    (0.08, 0.08, 0.08),
)
_FOXING = (0.12, 0.40, 0.75)  # optical density of red, green and blue
_DIRT = (0.10, 0.25, 0.60)

Random = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A made photo.

    Attributes:
        image: mode RGB.
        prints: mode L, 255 where the prints are.
    """

    image: Image.Image
    prints: Image.Image


def make_case(kind: str, photo: Image.Image, others: list[Image.Image], rng: Random) -> Case:
    """Make a case of a kind of `GRAY_KINDS` or `COLOR_KINDS`.

    Args:
        kind: of the case.
        photo: in color; its print is the case's, or the first one of a page.
        others: for more prints on the page.
        rng: the source of randomness.
    """
    case = (GRAY_KINDS | COLOR_KINDS)[kind](photo, others, rng)
    values = np.asarray(case.image, np.float32) / 255
    values = values + rng.normal(0, rng.uniform(0, 0.02), values.shape)
    file = io.BytesIO()
    quality, subsampling = int(rng.integers(60, 96)), int(rng.choice((0, 2)))
    _to_image(values).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Case(Image.open(file).convert("RGB"), case.prints)


def _whole(make: Callable[[Image.Image, Random], np.ndarray]) -> Callable[..., Case]:
    """A case that shows a print and nothing else."""

    def case(photo: Image.Image, others: list[Image.Image], rng: Random) -> Case:
        image = _to_image(make(photo, rng))
        return Case(image, Image.new("L", image.size, 255))

    return case


def _gray(photo: Image.Image, rng: Random) -> np.ndarray:
    """A gray print with the slight cast of a scanner."""
    dark, light = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
    cast = rng.uniform(-0.008, 0.008, 3)
    return _gray_values(photo, rng)[..., None] * (light - dark) + dark + cast


def _sepia(photo: Image.Image, rng: Random) -> np.ndarray:
    dark = np.array((0.12, 0.08, 0.05)) * rng.uniform(0.3, 2)
    light = np.array((0.97, 0.91, 0.78)) + rng.uniform(-1, 1, 3) * (0.02, 0.04, 0.1)
    return _toned(photo, dark, light, np.array((0.06, 0, -0.06)) * rng.uniform(0, 1.5), rng)


def _duotone(photo: Image.Image, rng: Random) -> np.ndarray:
    color = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.15, 0.5), 0.5))
    return _toned(photo, color * 0.15, color * 0.1 + 0.88, color - color.mean(), rng)


def _faded(photo: Image.Image, rng: Random) -> np.ndarray:
    dark = np.array((0.36, 0.31, 0.25)) + rng.uniform(-0.1, 0.1)
    light = np.array((0.93, 0.88, 0.76)) + rng.uniform(-1, 1, 3) * (0.03, 0.04, 0.08)
    return _toned(photo, dark, light, np.array((0.02, 0, -0.02)), rng)


def _old(photo: Image.Image, rng: Random) -> np.ndarray:
    """A gray or toned print of any kind."""
    return (_gray, _sepia, _faded, _duotone)[rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))](photo, rng)


def _foxed(low: int, high: int) -> Callable[[Image.Image, Random], np.ndarray]:
    """Brown spots of many sizes, as damp paper gets them."""

    def make(photo: Image.Image, rng: Random) -> np.ndarray:
        values = (_gray, _sepia, _faded)[rng.integers(3)](photo, rng)
        density = np.zeros(values.shape[:2])
        side = min(density.shape)
        for _ in range(int(rng.integers(low, high))):
            radius = side * 0.002 * 12 ** rng.uniform()
            y, x = (rng.uniform(0, size) for size in density.shape)
            top, left = (max(0, int(at - 2 * radius)) for at in (y, x))
            rows, columns = np.mgrid[top : int(y + 2 * radius) + 1, left : int(x + 2 * radius) + 1]
            distance = np.hypot(rows - y, columns - x) / radius
            spot = rng.uniform(0.2, 1) / (1 + np.exp(6 * (distance - 1)))
            window = density[top : top + len(rows), left : left + rows.shape[1]]
            window += spot[: window.shape[0], : window.shape[1]]
        return _absorb(values, density, _FOXING, rng)

    return make


def _stained(photo: Image.Image, rng: Random) -> np.ndarray:
    """Paper that yellowed unevenly, with or without the edge of a water stain."""
    values = (_gray, _sepia, _faded)[rng.integers(3)](photo, rng)
    field = _smooth_noise(values.shape[:2], int(rng.integers(2, 5)), rng)
    stain = 1 / (1 + np.exp(-field * rng.choice((2, 4, 20))))
    return _absorb(values, rng.uniform(0.1, 0.5) * stain, _DIRT, rng)


def _absorb(values: np.ndarray, density: np.ndarray, color: tuple, rng: Random) -> np.ndarray:
    absorption = np.array(color) * rng.uniform(0.7, 1.3, 3)
    return values * np.exp(-density[..., None] * absorption)


def _tinted(photo: Image.Image, rng: Random) -> np.ndarray:
    """A gray or sepia print with soft washes of color on some of its areas."""
    values = (_gray, _sepia)[rng.integers(2)](photo, rng)
    height, width = values.shape[:2]
    for _ in range(int(rng.integers(2, 6))):
        area = Image.new("L", (width, height))
        middle = rng.uniform(0.1, 0.9, 2) * (width, height)
        half = rng.uniform(0.06, 0.25, 2) * (width, height)
        ImageDraw.Draw(area).ellipse((*(middle - half), *(middle + half)), fill=255)
        soft = area.reduce(4).resize(area.size, Image.Resampling.BICUBIC)
        color = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.25, 0.6), 1)
        wash = np.asarray(soft, np.float32)[..., None] / 255
        values = values * (1 - wash + wash * np.array(color))
    return values


def _toned(
    photo: Image.Image, dark: np.ndarray, light: np.ndarray, middle: np.ndarray, rng: Random
) -> np.ndarray:
    """Color each gray between the dark and the light color; `middle` is added to the middle."""
    gray = _gray_values(photo, rng)[..., None]
    return dark + gray * (light - dark) + 4 * gray * (1 - gray) * middle


def _gray_values(photo: Image.Image, rng: Random) -> np.ndarray:
    """The photo in gray, with another contrast and grain."""
    gray = np.asarray(photo.convert("L"), np.float32) / 255
    gray = gray ** rng.uniform(0.7, 1.4)
    return (gray + rng.normal(0, rng.uniform(0, 0.04), gray.shape)).clip(0, 1)


def _on_page(make: Callable[[Image.Image, Random], np.ndarray], most: int) -> Callable[..., Case]:
    """A case with up to `most` prints on a page of one color, slightly askew."""

    def case(photo: Image.Image, others: list[Image.Image], rng: Random) -> Case:
        count = 1 if most == 1 else int(rng.integers(2, most + 1))
        margin = rng.uniform(0.03, 0.12 if count > 1 else 0.25)
        columns = {1: 1, 2: int(rng.integers(1, 3)), 3: 3, 4: 2}[count]
        cell = np.array(photo.size) * (1 + 2 * margin)
        rows = -(-count // columns)
        size = (round(cell[0] * columns), round(cell[1] * rows))
        page, prints = _to_image(_texture(size, rng)), Image.new("L", size)
        for index, source in enumerate([photo, *others][:count]):
            old = _to_image(make(source.resize(photo.size), rng))
            if rng.uniform() < 0.5:  # the white border of the paper
                border = round(min(old.size) * rng.uniform(0.02, 0.06))
                paper = Image.new("RGB", old.size, _paper_color(old))
                inner = (old.width - 2 * border, old.height - 2 * border)
                paper.paste(old.resize(inner), (border, border))
                old = paper
            middle = cell * ((index % columns) + 0.5, (index // columns) + 0.5)
            _paste(page, prints, old, middle + rng.uniform(-0.2, 0.2, 2) * margin * cell, rng)
        return Case(page, prints)

    return case


def _paper_color(image: Image.Image) -> tuple[int, ...]:
    """The mean color of the lightest pixels."""
    values = np.asarray(image, np.float32).reshape(-1, 3) / 255
    gray = values.mean(1)
    return _to_byte(values[gray >= np.quantile(gray, 0.98)].mean(0))


def _paste(
    page: Image.Image, prints: Image.Image, old: Image.Image, middle: np.ndarray, rng: Random
) -> None:
    angle = rng.normal(0, 1.2)
    rotated = old.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    area = Image.new("L", old.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = (round(at - size / 2) for at, size in zip(middle, rotated.size, strict=True))
    page.paste(rotated, (left, top), area)
    prints.paste(area, (left, top), area)


def _texture(size: tuple[int, int], rng: Random) -> np.ndarray:
    """The paper of a page: one color, fibers, uneven light."""
    color = np.array(list(_PAGES.values())[rng.integers(len(_PAGES))]) * rng.uniform(0.8, 1.1)
    shape = size[::-1]
    light = 1 + rng.uniform(0, 0.08) * _smooth_noise(shape, 3, rng)
    fibers = rng.uniform(0, 0.04) * _smooth_noise(shape, min(shape) // 3, rng)
    return color * (light + fibers)[..., None]


def _with_chart(photo: Image.Image, others: list[Image.Image], rng: Random) -> Case:
    """A print with a strip of color patches along one side, on it or beside it on the scanner."""
    old = _to_image(_old(photo, rng))
    thickness = round(min(old.size) * rng.uniform(0.05, 0.16))
    gap = int(rng.choice((0, 0, 4, 12)))
    length = round(old.width * rng.choice((1, 1, 0.8, 0.6)))
    chart = Image.new("RGB", (length, thickness))
    chosen = list(rng.permutation(_PATCHES))[: int(rng.integers(5, 10))]
    for index, color in enumerate(chosen):
        patch = np.array(color) * rng.uniform(0.85, 1.1)
        left = round(index * length / len(chosen))
        chart.paste(
            _to_byte(patch), (left, 0, round((index + 1) * length / len(chosen)), thickness)
        )
    bed = _to_byte(_BEDS[rng.integers(3)])
    image = Image.new("RGB", (old.width, old.height + gap + thickness), bed)
    image.paste(old)
    image.paste(chart, (int(rng.integers(0, old.width - length + 1)), old.height + gap))
    prints = Image.new("L", image.size)
    prints.paste(255, (0, 0, *old.size))
    turn = list(Image.Transpose)[rng.integers(len(Image.Transpose))]
    return Case(image.transpose(turn), prints.transpose(turn))


def _smooth_noise(shape: tuple[int, int], cells: int, rng: Random) -> np.ndarray:
    """Normal noise that varies `cells` times over the picture."""
    coarse = rng.normal(0, 1, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def _in_color(photo: Image.Image, rng: Random) -> np.ndarray:
    return np.asarray(photo, np.float32) / 255


def _to_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values * 255).round().clip(0, 255).astype(np.uint8))


def _to_byte(color: np.ndarray | tuple) -> tuple[int, ...]:
    return tuple((np.array(color) * 255).round().clip(0, 255).astype(int).tolist())


GRAY_KINDS: dict[str, Callable[..., Case]] = {
    "gray": _whole(_gray),
    "sepia": _whole(_sepia),
    "duotone": _whole(_duotone),
    "faded": _whole(_faded),
    "few spots of foxing": _whole(_foxed(5, 30)),
    "many spots of foxing": _whole(_foxed(60, 250)),
    "stained": _whole(_stained),
    "one print on a page": _on_page(_old, 1),
    "2 to 4 prints on a page": _on_page(_old, 4),
    "beside a color chart": _with_chart,
}
COLOR_KINDS: dict[str, Callable[..., Case]] = {
    "hand-tinted": _whole(_tinted),
    "color prints on a page": _on_page(_in_color, 4),
}
