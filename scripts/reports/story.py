"""The figures of the three attempts, on the embedded photos; what is shown is chosen by rule."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from colorize.io.image import photo_to_rgb
from colorize.metrics.image import MetricImage, ab_error
from colorize.visualization import comparison, photo_grid, save_figure, save_pictures, triptychs

FOLDERS = {"autoencoder": "autoencoder", "fcn": "fcn", "unet_gan": "gan"}

ATTEMPTS = ("first", "second", "third")

Photos = Mapping[str, Image.Image]


def draw(
    painted: Mapping[str, Photos], best: Photos, truths: Photos, report: Path
) -> dict[str, str]:
    """Draw what the attempts painted, and the best network; returns what was chosen, in words."""
    columns = {name: painted[key] for name, key in zip(ATTEMPTS, FOLDERS, strict=True)}
    columns = {name: [pictures[key] for key in truths] for name, pictures in columns.items()}
    columns |= {"best": [best[key] for key in truths]}
    save_figure(comparison(columns, list(truths.values())), report / "comparison.jpg")
    errors = {name: _errors(painted[name], truths) for name in painted}
    for name, folder in FOLDERS.items():
        figure = triptychs([painted[name][key] for key in truths], list(truths.values()))
        save_figure(figure, report / f"{folder}_result.jpg")
        pictures = {f"{key}_painted": picture for key, picture in painted[name].items()}
        pictures |= {f"{key}_truth": picture for key, picture in truths.items()}
        save_pictures(pictures, report / folder)

    gain = {key: errors["autoencoder"][key] - errors["fcn"][key] for key in truths}
    chosen = [max(gain, key=gain.get), min(gain, key=gain.get)]
    columns = {
        "first attempt": [painted["autoencoder"][key] for key in chosen],
        "second attempt": [painted["fcn"][key] for key in chosen],
    }
    figure = comparison(columns, [truths[key] for key in chosen])
    save_figure(figure, report / "two_attempts.jpg")

    ranked = sorted(truths, key=errors["unet_gan"].get)
    quiz = [ranked[0], ranked[len(ranked) // 2], ranked[-1]]
    return {
        "chosen": f"Most helped: {chosen[0]}. Least helped: {chosen[1]}.",
        "answer": _quiz(quiz, painted["unet_gan"], truths, report / "truth_or_painted.jpg"),
    }


def draw_failures(
    painted: Mapping[str, Photos], titles: Mapping[str, str], truths: Photos, path: Path
) -> None:
    """Of each method, the photo that it got most wrong; below it the truth."""
    columns, names = [], []
    for method, pictures in painted.items():
        errors = _errors(pictures, truths)
        key = max(errors, key=errors.get)
        columns.append((pictures[key], truths[key]))
        names.append(f"{titles[method]}\n{key}, {errors[key]:.0f}")
    rows = [list(row) for row in zip(*columns, strict=True)]
    save_figure(photo_grid(rows, names), path)


def _errors(painted: Photos, truths: Photos) -> dict[str, float]:
    """The ab error of each painting."""
    ab = [
        {key: MetricImage(photo_to_rgb(photo)).lab[1] for key, photo in photos.items()}
        for photos in (painted, truths)
    ]
    return {key: ab_error(ab[0][key][None], ab[1][key][None]).item() for key in truths}


def _quiz(keys: Sequence[str], painted: Photos, truths: Photos, path: Path) -> str:
    """Truth or painted? Pairs in an order drawn by lot; returns the answer."""
    lot = random.Random(0)
    rows, answers = [], []
    for key in keys:
        pair = [("truth", truths[key]), ("painted", painted[key])]
        lot.shuffle(pair)
        rows.append([picture for _, picture in pair])
        answers.append(f"{key}: the {'left' if pair[0][0] == 'truth' else 'right'} one is true")
    save_figure(photo_grid(rows, ["?", "?"]), path)
    return "; ".join(answers) + "."
