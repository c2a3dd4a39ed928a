"""Figures of the source project's three methods, on the embedded photos, selected by rule."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from colorize.io.image import photo_to_rgb
from colorize.metrics.image import MetricImage, ab_error
from colorize.visualization import comparison, photo_grid, save_figure, save_pictures, triptychs
from reports.pages import limit

FOLDERS = {"autoencoder": "autoencoder", "fcn": "fcn", "unet_gan": "gan"}
COLUMN_TITLES = {"autoencoder": "autoencoder", "fcn": "FCN", "unet_gan": "pix2pix"}

Photos = Mapping[str, Image.Image]


def draw(
    colorized: Mapping[str, Photos], released: Photos, targets: Photos, report: Path
) -> dict[str, str]:
    """Draw the photos as colorized by the three methods and by the released model.

    Returns:
        Texts by their place in the report: which photos were selected, and the quiz's answer.
    """
    columns = {
        title: [colorized[method][key] for key in targets]
        for method, title in COLUMN_TITLES.items()
    }
    columns |= {"released model": [released[key] for key in targets]}
    save_figure(comparison(columns, list(targets.values())), report / "comparison.jpg")
    for method, folder in FOLDERS.items():
        photos = colorized[method]
        figure = triptychs([photos[key] for key in targets], list(targets.values()))
        save_figure(figure, report / f"{folder}_result.jpg")
        pictures = {f"{key}_colorized": photo for key, photo in photos.items()}
        pictures |= {f"{key}_ground_truth": photo for key, photo in targets.items()}
        save_pictures(pictures, report / folder)

    errors = {method: _errors(colorized[method], targets) for method in colorized}
    gains = {key: errors["autoencoder"][key] - errors["fcn"][key] for key in targets}
    keys = [max(gains, key=gains.get), min(gains, key=gains.get)]
    columns = {
        COLUMN_TITLES[method]: [colorized[method][key] for key in keys]
        for method in ("autoencoder", "fcn")
    }
    figure = comparison(columns, [targets[key] for key in keys])
    save_figure(figure, report / "autoencoder_vs_fcn.jpg")

    ranked = sorted(targets, key=errors["unet_gan"].get)
    quiz = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    path = report / "real_or_colorized.jpg"
    return {
        "selected": f"Improved most: {keys[0]}. Improved least: {keys[1]}.",
        "answer": _draw_quiz(quiz, colorized["unet_gan"], targets, path),
    }


def draw_failures(
    colorized: Mapping[str, Photos], titles: Mapping[str, str], targets: Photos, path: Path
) -> None:
    """Draw each method's photo with the largest error, above its ground truth."""
    columns, heads = [], []
    for method, photos in colorized.items():
        errors = _errors(photos, targets)
        key = max(errors, key=errors.get)
        columns.append((photos[key], targets[key]))
        heads.append(f"{titles[method]}\n{key}, {errors[key]:.0f}")
    rows = [list(row) for row in zip(*columns, strict=True)]
    save_figure(photo_grid(rows, heads), path)


def _errors(colorized: Photos, targets: Photos) -> dict[str, float]:
    """Compute the mean ab distance of each photo, in the size in which it is stored."""
    errors = {}
    for key, target in targets.items():
        photo = colorized[key]
        images = (photo, limit(target, max(photo.size)))
        pred, truth = (MetricImage(photo_to_rgb(image)) for image in images)
        errors[key] = ab_error(pred.ab, truth.ab).item()
    return errors


def _draw_quiz(keys: Sequence[str], colorized: Photos, targets: Photos, path: Path) -> str:
    """Draw pairs of real and colorized photos in random order; return the answer."""
    rng = random.Random(0)
    rows, answers = [], []
    for key in keys:
        pair = [("real", targets[key]), ("colorized", colorized[key])]
        rng.shuffle(pair)
        rows.append([photo for _, photo in pair])
        answers.append(f"{key}: the {'left' if pair[0][0] == 'real' else 'right'} one is real")
    save_figure(photo_grid(rows, ["?", "?"]), path)
    return "; ".join(answers) + "."
