"""Figures: rows of photos with titles instead of axes, curves, color histograms.

Every function returns a matplotlib `Figure` or writes files; none shows anything by itself.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor

from colorize.color.curves import AB_SCALE, to_uint8
from colorize.color.lab import lab_to_rgb, lightness_to_gray, rgb_to_lab
from colorize.io.grayscale import GRAY_CHROMA, TONED_SHARE, TONED_SPREAD
from colorize.io.image import photo_to_rgb, rgb_to_photo, write_photo
from colorize.utils.files import atomic_write

_TITLE = {"fontsize": 11, "pad": 6}
_COLUMN = 2.6  # inches
_DPI = 110
# Okabe and Ito's colors, which color-blind eyes tell apart; markers, for those who see none.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "d")


class Interval(Protocol):
    """A value and its interval."""

    value: float
    low: float
    high: float


def gray_photo(photo: Image.Image) -> Image.Image:
    """The photo without its colors: its own L*, as the grey of the same lightness."""
    lightness, _ = rgb_to_lab(photo_to_rgb(photo))
    return rgb_to_photo(to_uint8(lightness_to_gray(lightness)).expand(3, -1, -1))


def photo_grid(rows: Sequence[Sequence[Image.Image]], titles: Sequence[str]) -> Figure:
    """Rows of photos under column titles; each row is as high as its photos are."""
    heights = [max(photo.height / photo.width for photo in row) for row in rows]
    figure = Figure(
        figsize=(_COLUMN * len(titles), _COLUMN * sum(heights) + 0.35), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(
        len(rows), len(titles), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for row, photos in zip(axes, rows, strict=True):
        for axis, photo in zip(row, photos, strict=True):
            axis.imshow(photo, interpolation="lanczos")
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, **_TITLE)
    return figure


def gallery(photos: Mapping[str, Image.Image], columns: int = 5) -> Figure:
    """Photos by name, several in a row, cropped to squares."""
    rows = math.ceil(len(photos) / columns)
    figure = Figure(figsize=(_COLUMN * columns, (_COLUMN + 0.25) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()  # `.flat` is used up by one loop
    for axis in axes:
        axis.axis("off")
    for axis, (name, photo) in zip(axes, photos.items(), strict=False):
        axis.imshow(ImageOps.fit(photo, (320, 320)), interpolation="lanczos")
        axis.set_title(name, **_TITLE)
    return figure


def lab_split(photo: Image.Image) -> Figure:
    """A photo, its lightness alone, and its colors alone, shown at one lightness."""
    _, ab = rgb_to_lab(photo_to_rgb(photo))
    flat = lab_to_rgb(torch.full_like(ab[:1], 0.3), ab)  # L* 65: where sRGB has the most colors
    row = [photo, gray_photo(photo), rgb_to_photo(to_uint8(flat))]
    return photo_grid([row], ["photo", "L*, the input", "a*b*, the answer"])


def triptychs(painted: Sequence[Image.Image], truths: Sequence[Image.Image]) -> Figure:
    """Rows of three: the photo in grey, painted, and in truth."""
    return comparison({"painted": painted}, truths)


def comparison(
    painted: Mapping[str, Sequence[Image.Image]], truths: Sequence[Image.Image]
) -> Figure:
    """Rows of: the photo in grey, painted by each method, and in truth.

    Args:
        painted: by the method's name, its paintings of the photos.
        truths: the photos.
    """
    rows = [
        [gray_photo(truth), *paintings, truth]
        for truth, *paintings in zip(truths, *painted.values(), strict=True)
    ]
    return photo_grid(rows, ["grey", *painted, "truth"])


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
    references: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """The validation distance of each run by epoch, a panel each.

    Args:
        histories: by the run's name, what its `log.jsonl` holds.
        references: by the run's name, levels to draw beside the curve, such as the loss of
            painting nothing, by their own names.
    """
    figure = Figure(figsize=(4.2 * len(histories), 3.2), layout="constrained")
    axes = figure.subplots(1, len(histories), squeeze=False)[0]
    for axis, (name, history) in zip(axes, histories.items(), strict=True):
        epochs = [record["epoch"] for record in history]
        axis.plot(epochs, [record["val"]["loss"] for record in history], color="#c4452d", lw=2)
        levels = (references or {}).get(name, {})
        for (label, level), style in zip(levels.items(), ("--", ":", "-."), strict=False):
            axis.axhline(level, color="#777777", ls=style, lw=1.2, label=label)
        if levels:
            axis.legend(frameon=False, fontsize=9)
        axis.set_title(name, **_TITLE)
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("validation loss")
    return figure


def inflection_curve(scores: Sequence[Mapping[str, float]]) -> Figure:
    """The scores of a GAN's joint phases over the steps, with the turn that was chosen.

    Args:
        scores: what `scores.json` of a run holds.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    steps = [entry["step"] for entry in scores]
    lines = {
        "score": ([entry["score"] for entry in scores], "black", "-"),
        "colorfulness, of the truth's": ([e["colorfulness"] for e in scores], "#c4452d", "-"),
        "cast ratio": ([entry["cast"] for entry in scores], "#8a5a2b", "-"),
        "cast ratio of the truth": ([entry["true_cast"] for entry in scores], "#8a5a2b", ":"),
        "critic: chance of true photos": ([entry["real"] for entry in scores], "#2b5f8a", "-"),
        "critic: chance of painted ones": ([entry["fake"] for entry in scores], "#2b5f8a", "--"),
    }
    for label, (values, color, style) in lines.items():
        width = 2.2 if label == "score" else 1.2
        axis.plot(steps, values, style, color=color, lw=width, label=label)
    turn = min(scores, key=lambda entry: entry["score"])
    axis.axvline(turn["step"], color="#999999", lw=1)
    axis.plot(turn["step"], turn["score"], "o", color="black", label=f"turn: step {turn['step']}")
    axis.set_xlabel("steps")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure


def error_against_color(
    points: Mapping[str, tuple[Interval, Interval]],
    curve: Mapping[str, tuple[Interval, Interval]],
    truth: float,
) -> Figure:
    """How far painters are from the true colors, against how colorful they paint.

    Args:
        points: by name, ab error and colorfulness; each has a `value`, `low` and `high`.
        curve: likewise, of one painter at several settings, in their order; may be empty.
        truth: colorfulness of the true photos.
    """
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(truth, color="#999999", ls="--", lw=1.2)
    looks = zip(_MARKERS, _COLORS * 2, strict=True)
    for (name, (error, color)), (marker, tint) in zip(points.items(), looks, strict=False):
        axis.errorbar(
            *(error.value, color.value),
            xerr=[[error.value - error.low], [error.high - error.value]],
            yerr=[[color.value - color.low], [color.high - color.value]],
            **{"fmt": marker, "color": tint, "ms": 7, "lw": 1, "capsize": 2, "label": name},
        )
    if curve:
        errors, colors = zip(*curve.values(), strict=True)
        line = [estimate.value for estimate in errors], [estimate.value for estimate in colors]
        axis.plot(*line, "-o", color="black", lw=1.2, ms=4, label=f"{next(iter(curve))} …")
        for number, (name, x, y) in enumerate(zip(curve, *line, strict=True)):
            text = name.rpartition(" ")[2]
            place, side = ((6, -6), "left") if number % 2 else ((-6, 2), "right")
            style = {"textcoords": "offset points", "fontsize": 8, "ha": side}
            axis.annotate(text, (x, y), place, **style)
    axis.annotate(
        "truth", (1, truth), (-4, 4), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=9, color="#666666",
    )  # fmt: skip
    axis.set_xlabel("ab error, CIELAB units (left is better)")
    axis.set_ylabel("colorfulness")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return figure


def ab_histograms(colors: Mapping[str, Tensor]) -> Figure:
    """How often each color of the a*b* plane occurs, on a logarithmic scale, a panel per name.

    Args:
        colors: ab (N, 2, H, W), by name.
    """
    figure = Figure(figsize=(2.9 * len(colors), 3.2), layout="constrained")
    axes = figure.subplots(1, len(colors), squeeze=False, sharey=True)[0]
    bins = np.arange(-AB_SCALE, AB_SCALE + 1, 4)
    for axis, (name, ab) in zip(axes, colors.items(), strict=True):
        a, b = (ab.detach().cpu().movedim(1, 0).flatten(1) * AB_SCALE).numpy()
        share = np.histogram2d(b, a, bins=(bins, bins))[0] / a.size
        mesh = axis.pcolormesh(bins, bins, share, norm=LogNorm(1e-5, 1e-1), cmap="magma_r")
        axis.axhline(0, color="#999999", lw=0.6)
        axis.axvline(0, color="#999999", lw=0.6)
        axis.set_aspect("equal")
        axis.set_title(name, **_TITLE)
        axis.set_xlabel("a*  green to red", fontsize=9)
    axes[0].set_ylabel("b*  blue to yellow", fontsize=9)
    figure.colorbar(mesh, ax=list(axes), shrink=0.8, label="share of pixels")
    return figure


def tone_scatter(points: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Where photos in color, grey and toned ones lie, and where `tone.tone` cuts.

    Args:
        points: mean chroma and color spread of photos, by kind.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axis = figure.subplots()
    right = 1.05 * max(chroma for pairs in points.values() for chroma, _ in pairs)
    top = 1.05 * max(spread for pairs in points.values() for _, spread in pairs)
    axis.axvspan(0, GRAY_CHROMA, color="#dddddd", lw=0, label="left out: grey")
    knee = TONED_SPREAD / TONED_SHARE
    corners = [
        (GRAY_CHROMA, TONED_SHARE * GRAY_CHROMA),
        (knee, TONED_SPREAD),
        (max(right, knee), TONED_SPREAD),
    ]
    chromas, spreads = zip(*corners, strict=True)
    axis.fill_between(chromas, spreads, color="#eadfce", lw=0, label="left out: toned")
    looks = zip("o^sD", ("#c4452d", "#444444", "#8a5a2b", "#2b5f8a"), strict=True)
    for (name, pairs), (marker, color) in zip(points.items(), looks, strict=False):
        xy = zip(*pairs, strict=True)
        axis.scatter(*xy, s=22, marker=marker, color=color, alpha=0.75, label=name)
    axis.set(xlim=(0, right), ylim=(-0.02 * top, top))
    axis.set_xlabel("mean chroma")
    axis.set_ylabel("spread around the color of each lightness")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure; the kind of file follows from the suffix."""
    path = Path(path)
    options = {"pil_kwargs": {"quality": 88}} if path.suffix in (".jpg", ".jpeg") else {}
    with atomic_write(path) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=_DPI, facecolor="white", **options)
    return path


def save_pictures(pictures: Mapping[str, Image.Image], folder: str | os.PathLike) -> list[Path]:
    """Write single pictures by name, as `folder/NAME.jpg`."""
    return [write_photo(picture, Path(folder, f"{name}.jpg")) for name, picture in pictures.items()]
