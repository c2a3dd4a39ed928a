"""Benchmark of the evaluation: predictions of several methods against the ground truth."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benches.timing import Row, compare, sized
from colorize.data.folder import load_samples
from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ImageFolderPredictor, center_square
from colorize.io.image import write_photo
from colorize.io.photo import read_photo

_SIDE = 256
_GOAL = 180  # seconds for 1,000 photos and five predictors


def evaluation() -> Row:
    """Five predictors evaluated on 25 photos of 256x256, from files, with all metrics.

    Plain: image by image, scikit-image in float64, and colorfulness in numpy; no bleeding, no
    color cast.
    """
    samples = load_samples().photos
    samples = samples[: sized(len(samples), 2)]
    with tempfile.TemporaryDirectory() as directory:
        targets = [Path(directory, "target", f"{photo.id}.png") for photo in samples]
        for photo, path in zip(samples, targets, strict=True):
            write_photo(center_square(read_photo(photo.path), _SIDE), path)
        folders = _write_predictions(targets, Path(directory))
        photos = [replace(photo, path=path) for photo, path in zip(samples, targets, strict=True)]

        def plain() -> np.ndarray:
            return np.array(
                [
                    _measure_plainly(folder / path.name, path)
                    for path in targets
                    for folder in folders
                ]
            )

        def ours() -> np.ndarray:
            predictors = [ImageFolderPredictor(folder) for folder in folders]
            with tempfile.TemporaryDirectory() as out:
                results = evaluate(predictors, photos, _SIDE, out, perceptual=False, progress=False)
            metrics = [results[folder.name].full_size_metrics for folder in folders]
            return np.array(
                [
                    (values["delta_e"][index], values["ssim"][index])
                    for index in range(len(photos))
                    for values in metrics
                ]
            )

        # Stored metrics have four digits, and scikit-image's float32 is less than its float64.
        row = compare(plain, ours, per=len(targets), unit="ms/photo", tolerance=0.02, repeats=3)
    return row | {"seconds_for_1000": row["ours"], "goal": _GOAL}


def _write_predictions(targets: list[Path], directory: Path) -> list[Path]:
    """Write the predictions of the baselines, and of one of them twice; returns the folders."""
    methods = {method.name: method for method in baselines(_reference())}
    methods["again"] = methods["nearest"]
    for path in targets:
        photo = read_photo(path)
        for name, predict in methods.items():
            write_photo(predict(path.stem, photo), directory / name / path.name)
    return [directory / name for name in methods]


def _reference() -> TrainingReference:
    return TrainingReference(load_samples().photos, progress=False)


def _measure_plainly(prediction: Path, target: Path) -> tuple[float, float]:
    """Compute all metrics of a prediction; returns the mean CIEDE2000 difference and SSIM."""
    expected = np.asarray(Image.open(target).convert("RGB"))
    predicted = np.asarray(Image.open(prediction).convert("RGB"))
    peak_signal_noise_ratio(expected, predicted, data_range=255)
    _colorfulness(predicted)
    return (
        deltaE_ciede2000(rgb2lab(predicted / 255), rgb2lab(expected / 255)).mean(),
        structural_similarity(predicted, expected, channel_axis=2),
    )


def _colorfulness(rgb: np.ndarray) -> float:
    r, g, b = rgb.astype(np.float64).transpose(2, 0, 1)
    rg, yb = r - g, (r + g) / 2 - b
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


ROWS = {"evaluation": evaluation}
