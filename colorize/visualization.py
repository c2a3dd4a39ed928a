"""Figures: grids of photos with titles instead of axes, curves, color histograms.

Functions return a matplotlib `Figure` or write files; none opens a window.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageOps
from torch import Tensor

from colorize.color.curves import AB_SCALE, to_uint8
from colorize.color.lab import lab_to_rgb, lightness_to_gray, rgb_to_lab
from colorize.io.grayscale import GRAY_CHROMA, TONED_SHARE, TONED_SPREAD
from colorize.io.image import photo_to_rgb, rgb_to_photo, write_photo
from colorize.utils.files import atomic_write

_COLUMN = 2.6  # inches
_DPI = 110
# Okabe and Ito's colors, distinguishable by color-blind readers; markers, without any color.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "d")
_RED, _BROWN, _BLUE, _GRAY = "#c4452d", "#8a5a2b", "#2b5f8a", "#999999"


class Interval(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float:
        """The lower end."""

    @property
    def high(self) -> float:
        """The upper end."""


def gray_photo(photo: Image.Image) -> Image.Image:
    """Remove the colors of a photo and keep its L*."""
    lightness, _ = rgb_to_lab(photo_to_rgb(photo))
    return rgb_to_photo(to_uint8(lightness_to_gray(lightness)).expand(3, -1, -1))


def photo_grid(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Figure:
    """Draw rows of photos under column titles.

    Args:
        rows: photos, as many in each row as there are titles; a row is as high as its highest.
        titles: of the columns.

    Raises:
        ValueError: if the lengths differ.
    """
    heights = [max(photo.height / photo.width for photo in row) for row in rows]
    figure = Figure(
        figsize=(_COLUMN * len(titles), _COLUMN * sum(heights) + 0.35),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0),
    )
    axes = figure.subplots(
        len(rows), len(titles), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for row_axes, photos in zip(axes, rows, strict=True):
        for axis, photo in zip(row_axes, photos, strict=True):
            axis.imshow(np.asarray(photo), interpolation="lanczos")
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        _set_title(axis, title)
    return figure


def gallery(photos: Mapping[str, Image.Image], columns: int = 5) -> Figure:
    """Draw photos under their names, several in a row, cropped to squares."""
    rows = math.ceil(len(photos) / columns)
    figure = Figure(figsize=(_COLUMN * columns, (_COLUMN + 0.25) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (name, photo) in zip(axes, photos.items(), strict=False):
        axis.imshow(np.asarray(ImageOps.fit(photo, (320, 320))), interpolation="lanczos")
        _set_title(axis, name)
    return figure


def lab_split(photo: Image.Image) -> Figure:
    """Draw a photo, its lightness alone, and its colors alone at one lightness."""
    _, ab = rgb_to_lab(photo_to_rgb(photo))
    flat = lab_to_rgb(torch.full_like(ab[:1], 0.3), ab)  # L* 65: where sRGB has the most colors
    row = [photo, gray_photo(photo), rgb_to_photo(to_uint8(flat))]
    return photo_grid([row], ["photo", "L*, the input", "a*b*, the target"])


def triptychs(colorized: Sequence[Image.Image], targets: Sequence[Image.Image]) -> Figure:
    """Draw a row for each photo: in gray, colorized, and the ground truth.

    Args:
        colorized: predictions, in the order of the photos.
        targets: the photos.
    """
    return comparison({"colorized": colorized}, targets)


def comparison(
    colorized: Mapping[str, Sequence[Image.Image]], targets: Sequence[Image.Image]
) -> Figure:
    """Draw a row for each photo: in gray, colorized by each method, and the ground truth.

    Args:
        colorized: by method, its predictions, in the order of the photos.
        targets: the photos.

    Raises:
        ValueError: if a method lacks predictions.
    """
    rows = [
        [gray_photo(target), *predictions, target]
        for target, *predictions in zip(targets, *colorized.values(), strict=True)
    ]
    return photo_grid(rows, ["gray", *colorized, "ground truth"])


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Draw the validation loss of each run by epoch, in a panel each.

    Args:
        histories: by run, the records of its `log.jsonl`.
        references: by run, named levels to draw beside the curve, such as the losses of baselines.
    """
    figure = Figure(figsize=(4.2 * len(histories), 3.2), layout="constrained")
    axes = figure.subplots(1, len(histories), squeeze=False)[0]
    for axis, (name, history) in zip(axes, histories.items(), strict=True):
        epochs = [record["epoch"] for record in history]
        axis.plot(epochs, [record["val"]["loss"] for record in history], color=_RED, lw=2)
        levels = (references or {}).get(name, {})
        for (label, level), style in zip(levels.items(), ("--", ":", "-."), strict=False):
            axis.axhline(level, color="#777777", ls=style, lw=1.2, label=label)
        if levels:
            axis.legend(frameon=False, fontsize=9)
        _set_title(axis, name)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        _hide_frame(axis)
    axes[0].set_ylabel("validation loss")
    return figure


def inflection_curve(scores: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the scores of a GAN's joint phases by step, and mark the selected inflection point.

    Args:
        scores: the records of a run's `scores.json`.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    steps = [record["step"] for record in scores]
    lines = (
        ("score", "score", "black", "-"),
        ("colorfulness", "colorfulness / ground truth's", _RED, "-"),
        ("cast", "color cast", _BROWN, "-"),
        ("true_cast", "color cast of the ground truth", _BROWN, ":"),
        ("real", "discriminator: P(real) of real photos", _BLUE, "-"),
        ("fake", "discriminator: P(real) of predictions", _BLUE, "--"),
    )
    for key, label, color, style in lines:
        width = 2.2 if key == "score" else 1.2
        axis.plot(steps, [r[key] for r in scores], style, color=color, lw=width, label=label)
    best = min(scores, key=lambda record: record["score"])
    axis.axvline(best["step"], color=_GRAY, lw=1)
    label = f"inflection point: step {best['step']}"
    axis.plot(best["step"], best["score"], "o", color="black", label=label)
    axis.set_xlabel("steps")
    axis.set_ylim(bottom=0)
    _hide_frame(axis)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure


def error_vs_colorfulness(
    points: Mapping[str, tuple[Interval, Interval]],
    curve: Mapping[str, tuple[Interval, Interval]],
    target: float,
) -> Figure:
    """Draw the error of methods against the colorfulness of their predictions.

    Args:
        points: by method, mean ab distance and colorfulness.
        curve: likewise, of one method at several settings, in order; may be empty.
        target: colorfulness of the ground truth.
    """
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(target, color=_GRAY, ls="--", lw=1.2)
    styles = zip(_MARKERS, _COLORS * 2, strict=True)
    for (name, (error, color)), (marker, tint) in zip(points.items(), styles, strict=False):
        axis.errorbar(
            error.value,
            color.value,
            xerr=[[error.value - error.low], [error.high - error.value]],
            yerr=[[color.value - color.low], [color.high - color.value]],
            fmt=marker,
            color=tint,
            ms=7,
            lw=1,
            capsize=2,
            label=name,
        )
    if curve:
        _draw_curve(axis, curve)
    axis.annotate(
        "ground truth",
        (1, target),
        (-4, 4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        color="#666666",
    )
    axis.set_xlabel("mean ab distance, CIELAB units (left is better)")
    axis.set_ylabel("colorfulness")
    axis.set_ylim(bottom=0)
    _hide_frame(axis)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure


def _draw_curve(axis: Axes, curve: Mapping[str, tuple[Interval, Interval]]) -> None:
    """Draw one method at several settings, each annotated with the last word of its name."""
    errors = [error.value for error, _ in curve.values()]
    colors = [color.value for _, color in curve.values()]
    axis.plot(errors, colors, "-o", color="black", lw=1.2, ms=4, label=f"{next(iter(curve))} …")
    for index, (name, x, y) in enumerate(zip(curve, errors, colors, strict=True)):
        offset, side = ((6, -6), "left") if index % 2 else ((-6, 2), "right")
        axis.annotate(
            name.rpartition(" ")[2],
            (x, y),
            offset,
            textcoords="offset points",
            fontsize=8,
            ha=side,
        )


def ab_histograms(colors: Mapping[str, Tensor]) -> Figure:
    """Draw how often each color of the a*b* plane occurs, on a logarithmic scale, by name.

    Args:
        colors: by name, ab (N, 2, H, W), scaled to [-1, 1].
    """
    figure = Figure(figsize=(2.9 * len(colors), 3.2), layout="constrained")
    axes = figure.subplots(1, len(colors), squeeze=False, sharey=True)[0]
    bins = np.arange(-AB_SCALE, AB_SCALE + 1, 4)
    for axis, (name, ab) in zip(axes, colors.items(), strict=True):
        a, b = (ab.detach().cpu().movedim(1, 0).flatten(1) * AB_SCALE).numpy()
        share = np.histogram2d(b, a, bins=(bins, bins))[0] / a.size
        mesh = axis.pcolormesh(bins, bins, share, norm=LogNorm(1e-5, 1e-1), cmap="magma_r")
        axis.axhline(0, color=_GRAY, lw=0.6)
        axis.axvline(0, color=_GRAY, lw=0.6)
        axis.set_aspect("equal")
        _set_title(axis, name)
        axis.set_xlabel("a*  green to red", fontsize=9)
    axes[0].set_ylabel("b*  blue to yellow", fontsize=9)
    figure.colorbar(mesh, ax=list(axes), shrink=0.8, label="share of pixels")
    return figure


def tone_scatter(points: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw color, gray and toned photos, and the thresholds of `classify_tone`.

    Args:
        points: by kind of photo, mean chroma and color spread of each.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axis = figure.subplots()
    right = 1.05 * max(chroma for pairs in points.values() for chroma, _ in pairs)
    top = 1.05 * max(spread for pairs in points.values() for _, spread in pairs)
    axis.axvspan(0, GRAY_CHROMA, color="#dddddd", lw=0, label="left out: gray")
    knee = TONED_SPREAD / TONED_SHARE
    chromas = (GRAY_CHROMA, knee, max(right, knee))
    spreads = (TONED_SHARE * GRAY_CHROMA, TONED_SPREAD, TONED_SPREAD)
    axis.fill_between(chromas, spreads, color="#eadfce", lw=0, label="left out: toned")
    styles = zip("o^sD", (_RED, "#444444", _BROWN, _BLUE), strict=True)
    for (name, pairs), (marker, color) in zip(points.items(), styles, strict=False):
        x, y = zip(*pairs, strict=True)
        axis.scatter(x, y, s=22, marker=marker, color=color, alpha=0.75, label=name)
    axis.set(xlim=(0, right), ylim=(-0.02 * top, top))
    axis.set_xlabel("mean chroma")
    axis.set_ylabel("spread around the color of each lightness")
    _hide_frame(axis)
    axis.legend(frameon=False, fontsize=9)
    return figure


def _set_title(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=11, pad=6)


def _hide_frame(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure; the format follows from the suffix."""
    path = Path(path)
    options = {"quality": 88} if path.suffix in (".jpg", ".jpeg") else None
    with atomic_write(path) as tmp:
        figure.savefig(tmp, format=path.suffix[1:], dpi=_DPI, facecolor="white", pil_kwargs=options)
    return path


def save_pictures(pictures: Mapping[str, Image.Image], folder: str | os.PathLike) -> list[Path]:
    """Write images by name, as `folder/NAME.jpg`."""
    return [write_photo(picture, Path(folder, f"{name}.jpg")) for name, picture in pictures.items()]
