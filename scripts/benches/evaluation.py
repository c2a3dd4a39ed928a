"""The judge: paintings of several painters measured against the true photos."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benches.timing import compare
from colorize.data.folder import load_samples
from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.evaluator import evaluate as measure_all
from colorize.evaluation.predictors import ImageFolderPredictor, center_square
from colorize.io.image import read_photo, write_photo

_SIDE = 256
_GOAL = 180  # seconds for 1,000 photos, in rows of five painters


def judge() -> dict:
    """Five painters judged by 25 photos of 256x256, from files, all measures.

    Plain: picture by picture, scikit-image in float64, and colorfulness in numpy; no bleeding, no
    cast.
    """
    samples = load_samples()
    with tempfile.TemporaryDirectory() as folder:
        painters = baselines(TrainingReference(samples.photos, progress=False))
        truths = [
            write_photo(
                center_square(read_photo(photo.path), _SIDE), Path(folder, "t", f"{photo.id}.png")
            )
            for photo in samples.photos
        ]
        for path in truths:
            truth = read_photo(path)
            for name, paint in (*painters.items(), ("again", painters["nearest"])):
                write_photo(paint(path.stem, truth), Path(folder, name, path.name))
        folders = [Path(folder, name) for name in (*painters, "again")]
        made = [
            replace(photo, path=path) for photo, path in zip(samples.photos, truths, strict=True)
        ]

        def plain():
            found = []
            for path in truths:
                truth = np.asarray(Image.open(path).convert("RGB"))
                lab = rgb2lab(truth / 255)
                for one in folders:
                    painted = np.asarray(Image.open(one / path.name).convert("RGB"))
                    found.append((
                        deltaE_ciede2000(rgb2lab(painted / 255), lab).mean(),
                        structural_similarity(painted, truth, channel_axis=2),
                    ))  # fmt: skip
                    peak_signal_noise_ratio(truth, painted, data_range=255)
                    _colorfulness(painted)
            return np.array(found)

        def ours():
            with tempfile.TemporaryDirectory() as out:
                rows = {one.name: ImageFolderPredictor(one) for one in folders}
                options = {"features": False, "progress": False}
                judged = measure_all(rows, made, _SIDE, out, **options)
            return np.array([
                (judged[one.name].full["delta_e"][i], judged[one.name].full["ssim"][i])
                for i in range(len(made))
                for one in folders
            ])  # fmt: skip

        # Stored measures have four digits, and scikit-image's float32 is less than its float64.
        row = compare(plain, ours, per=len(truths), unit="ms/photo", tolerance=0.02, repeats=3)
    return row | {"seconds_for_1000": row["ours"], "goal": _GOAL}


def _colorfulness(rgb: np.ndarray) -> float:
    r, g, b = rgb.astype(np.float64).transpose(2, 0, 1)
    rg, yb = r - g, (r + g) / 2 - b
    return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())


ROWS = {"judge": judge}
