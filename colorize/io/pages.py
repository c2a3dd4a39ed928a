"""Find the gray and toned prints on pages, in mounts, and beside color charts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from colorize.color.curves import AB_SCALE, L_SCALE
from colorize.io.grayscale import (
    COLORED_TONES,
    Tone,
    base_colors,
    classify_colors,
    offset_from_base,
)

# The constants are for photos of a short side of 256 px. They were fixed on the color photos and
# old prints of those of `colorize.io.grayscale`, on 100 pages and 50 charts with such prints.

_POOL = 4  # px; tones are measured on squares of this side: scanner noise is not color

# A page shows along the border of the photo: this share of it is near to one color. Light and
# fibers change its lightness, which therefore counts half.
_PAGE_SHARE = 0.7
_PAGE_DISTANCE = 5.0  # CIELAB units
_LIGHTNESS_WEIGHT = 0.5
# What differs more from the page than three times its noise, but at least and at most this, is on
# it. Specks and letters are thinner than _SPECK.
_ON_PAGE_DISTANCE = (2.5, 6.0)  # CIELAB units
_SPECK = 5  # px
_MOUNTS = 2  # at most around a print: its own, and what that lies on

# A print is a rectangle at any angle: it fills its smallest rectangle. Or it is a large oval,
# which is convex. Captions are smaller. Sizes are relative to the photo.
_RECTANGLE = 0.88
_CONVEX = 0.95
_SMALLEST_OVAL = 0.25
_SMALLEST = 0.02
_SMALLEST_SUM = 0.2  # of all prints
_SMALLEST_TONED_SUM = 0.3  # where a plain background with doors and windows could look the same
_SAME_TONE = 4.0  # CIELAB units; what is nearer to the tone of a print belongs to it

# A color chart covers up to this share of the photo along one side. Most of its rows have other
# colors than the print, and its colors scatter, as those of a strip of land or sky do not.
_CHART = 0.25
_CHART_ROWS = 0.6
_CHART_COLUMNS = 0.15
_CHART_DISTANCE = 8.0  # CIELAB units
_CHART_SPREAD = 15.0  # CIELAB units

Print = tuple[np.ndarray, Tone]  # outline (N, 2), x and y in pixels; gray or toned


@dataclass(frozen=True)
class LabPhoto:
    """A photo, or a rectangle of one: lightness (1, h, w) and ab (2, h, w) in [-1, 1]."""

    lightness: Tensor
    ab: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.lightness.shape[1:]
        return height, width

    def crop(self, rows: slice, columns: slice = slice(None)) -> "LabPhoto":
        """Return a rectangle."""
        return LabPhoto(self.lightness[:, rows, columns], self.ab[:, rows, columns])

    def inside(self, mask: Image.Image | np.ndarray) -> tuple[Tensor, Tensor]:
        """Average lightness and ab over the squares that lie inside a mask, as (., 1, N)."""
        share = _pool(torch.from_numpy(np.array(mask) > 0)[None].float())
        lightness, ab = self.pool()
        return lightness[share == 1].view(1, 1, -1), ab[:, share[0] == 1].unsqueeze(1)

    def pool(self) -> tuple[Tensor, Tensor]:
        """Average lightness and ab over squares."""
        return _pool(self.lightness), _pool(self.ab)


def _pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, _POOL, ceil_mode=True)


def find_on_page(photo: LabPhoto, *, is_toned: bool, mounts: int = _MOUNTS) -> list[Print]:
    """Find the prints on a page or in a mount; none without a page of one color.

    Args:
        photo: with a short side of 256 px.
        is_toned: whether the photo as a whole is toned, so that a page of the tone of a print is
            rather the background of a scene.
        mounts: how many may lie on each other.
    """
    page = _page_mask(photo) if mounts else None
    if page is None:
        return []
    prints: list[Print] = []
    color_area = 0.0
    differs_from_page = not is_toned
    for outline in _regions(~page):
        inner = _inset(outline, _POOL / 2)
        colors = photo.inside(draw_outlines([inner], *photo.size))
        if not colors[0].numel():
            continue
        tone = classify_colors(*colors)
        if tone not in COLORED_TONES:
            offset = offset_from_base(*photo.inside(page), base_colors(*colors))
            differs_from_page |= bool(torch.hypot(*offset).median() > _SAME_TONE)
            prints.append((outline, tone))
            continue
        left, top = inner.min(0).astype(int)
        right, bottom = inner.max(0).astype(int)
        mount = photo.crop(slice(top, bottom), slice(left, right))
        mounted = find_on_page(mount, is_toned=False, mounts=mounts - 1)
        prints += [(outline + np.array((left, top)), tone) for outline, tone in mounted]
        color_area += 0 if mounted else _area(outline)
    area = sum(_area(outline) for outline, _ in prints)
    smallest = (_SMALLEST_TONED_SUM if is_toned else _SMALLEST_SUM) * page.size
    return prints if area > max(smallest, color_area) and differs_from_page else []


def _page_mask(photo: LabPhoto) -> np.ndarray | None:
    """Return where the page is, bool (h, w); None if the border is not of one color."""
    height, width = photo.size
    lab = torch.cat((photo.lightness * (L_SCALE * _LIGHTNESS_WEIGHT), photo.ab * AB_SCALE))
    is_border = torch.ones(height, width, dtype=torch.bool)
    is_border[2:-2, 2:-2] = False
    border = lab[:, is_border]
    is_near = _norm(border - border.median(1, keepdim=True).values) < _PAGE_DISTANCE
    if is_near.float().mean() < _PAGE_SHARE:
        return None
    from scipy import ndimage  # slow to import, and few photos show a page

    is_page = is_border.clone()
    is_page[is_border] = is_near
    for _ in range(2):  # the second time with the page between the prints
        distance, noise = _distance_from_page(lab, is_page)
        is_on_page = _open(distance > (3 * noise).clamp(*_ON_PAGE_DISTANCE))
        labels, _ = ndimage.label(~is_on_page.numpy())
        connected = np.isin(labels, np.setdiff1d(labels[is_border.numpy()], 0))
        is_page = torch.from_numpy(connected)
    return connected


def _open(mask: Tensor) -> Tensor:
    """Remove what is thinner than a print from a mask (h, w), by erosion and dilation."""
    x = -F.max_pool2d(-mask[None].float(), _SPECK, 1, _SPECK // 2)
    return F.max_pool2d(x, _SPECK, 1, _SPECK // 2)[0] > 0


def _distance_from_page(lab: Tensor, is_page: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far colors (3, h, w) are from the page, and how far those of the page are.

    The light on the page, and its color, are quadratic functions of the place.
    """
    height, width = is_page.shape
    y, x = torch.linspace(-1, 1, height).view(-1, 1), torch.linspace(-1, 1, width)
    terms = torch.stack([y**i * x**j for i in range(3) for j in range(3 - i)])
    page_terms, page = terms[:, is_page], lab[:, is_page]
    factors = torch.linalg.lstsq(page_terms @ page_terms.T, page_terms @ page.T).solution
    distance = _norm(lab - torch.einsum("tc,thw->chw", factors, terms))
    return distance, distance[is_page].square().mean().sqrt()


def _norm(x: Tensor) -> Tensor:
    """Return the length of the vectors along the first dimension; `torch.norm` is slow at that."""
    return x.square().sum(0).sqrt()


def _regions(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the outlines of the regions of a mask that have the size and the shape of a print."""
    from scipy import ndimage
    from scipy.spatial import ConvexHull

    labels, _ = ndimage.label(mask)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        region = labels[rows, columns] == label
        area = region.sum()
        if area < _SMALLEST * mask.size or min(region.shape) < _SPECK:
            continue
        row = np.nonzero(region.any(1))[0]
        left, right = region.argmax(1)[row], region.shape[1] - 1 - region[:, ::-1].argmax(1)[row]
        ends = np.concatenate((np.stack((left, row), 1), np.stack((right, row), 1)))
        ends = ends + np.array((columns.start + 0.5, rows.start + 0.5))  # centers of pixels
        hull = ConvexHull(ends)
        outline = ends[hull.vertices]
        is_oval = area > max(_CONVEX * hull.volume, _SMALLEST_OVAL * mask.size)
        if is_oval or hull.volume > _RECTANGLE * _smallest_rectangle(outline):
            yield _inset(outline, 0.5)  # pixels of its edge are partly of the page


def _smallest_rectangle(outline: np.ndarray) -> float:
    """Return the area of the smallest rectangle at any angle around a convex outline (N, 2)."""
    edges = np.roll(outline, -1, 0) - outline
    angles = np.arctan2(edges[:, 1], edges[:, 0])[:, None]
    x, y = outline.T
    along = np.ptp(np.cos(angles) * x + np.sin(angles) * y, axis=1)
    across = np.ptp(np.cos(angles) * y - np.sin(angles) * x, axis=1)
    return float((along * across).min())


def _area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def _inset(outline: np.ndarray, pixels: float) -> np.ndarray:
    """Shrink an outline until the rectangle around it is smaller by some pixels on each side."""
    low, high = outline.min(0), outline.max(0)
    middle = (low + high) / 2
    return middle + (outline - middle) * (1 - 2 * pixels / np.maximum(high - low, 2 * pixels))


def find_beside_chart(photo: LabPhoto) -> list[Print]:
    """Find the print beside a strip of color patches along one side of a photo."""
    height, width = photo.size
    for turns in range(4):
        turned = LabPhoto(*(torch.rot90(x, turns, (1, 2)) for x in (photo.lightness, photo.ab)))
        row = _first_row_of_chart(turned)
        if row is None:
            continue
        share = row / turned.size[0]
        outline = np.array([(0, 0), (1, 0), (1, share), (0, share)])
        for _ in range(turns):  # back again, clockwise
            outline = np.stack((1 - outline[:, 1], outline[:, 0]), 1)
        return [(outline * (width, height), classify_colors(*turned.crop(slice(row - 1)).pool()))]
    return []


def _first_row_of_chart(photo: LabPhoto) -> int | None:
    """Return where a color chart at the bottom begins, below a gray or toned print."""
    height, width = photo.size
    rest = round(height * (1 - _CHART))
    core = photo.crop(slice(rest)).pool()
    if classify_colors(*core) in COLORED_TONES:
        return None
    offset = offset_from_base(photo.lightness, photo.ab, base_colors(*core))
    is_off = torch.hypot(*offset).view(height, width) > _CHART_DISTANCE
    is_chart = is_off.float().mean(1) > _CHART_COLUMNS
    first = int(is_chart.int().argmax())
    if first < rest or is_chart[first:].float().mean() < _CHART_ROWS:
        return None
    if (photo.ab[:, first:].flatten(1) * AB_SCALE).std(1).norm() < _CHART_SPREAD:
        return None
    is_old = classify_colors(*photo.crop(slice(first - 1)).pool()) not in COLORED_TONES
    return first if is_old else None


def draw_outlines(outlines: Sequence[np.ndarray], height: int, width: int) -> Image.Image:
    """Draw outlines, x and y in pixels, filled with 255, mode L."""
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for outline in outlines:
        draw.polygon([(x - 0.5, y - 0.5) for x, y in outline.tolist()], fill=255)
    return mask
