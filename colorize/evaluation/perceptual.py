"""FID, KID and LPIPS of predictors, with the networks' outputs cached on disk."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from colorize.data.folder import PhotoRecord
from colorize.evaluation.baselines import GROUND_TRUTH
from colorize.evaluation.predictors import Predictor, center_square, predict_crop_and_whole
from colorize.io.image import photo_to_rgb
from colorize.io.photo import read_photo
from colorize.metrics.features import (
    PERCEPTUAL_METRICS,
    MetricUnavailableError,
    PerceptualMetric,
    Score,
)
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

_BATCH_SIZE = 32


def load_perceptual_metrics(photos: int) -> dict[type[PerceptualMetric], PerceptualMetric | str]:
    """Load the networks of the perceptual metrics of so many photos, or say why there is none."""
    metrics: dict[type[PerceptualMetric], PerceptualMetric | str] = {}
    for kind in PERCEPTUAL_METRICS:
        try:
            if photos < kind.min_photos:
                raise MetricUnavailableError(f"needs {kind.min_photos} photos")
            metrics[kind] = kind()
        except MetricUnavailableError as error:
            metrics[kind] = f"skipped: {error}"
    return metrics


def score_perceptually(
    metrics: Mapping[type[PerceptualMetric], PerceptualMetric | str],
    predictors: Sequence[Predictor],
    photos: Sequence[PhotoRecord],
    size: int,
    keys: Mapping[str, Mapping[str, str]],
    cache: Path,
    *,
    progress: bool,
) -> dict[str, dict[str, Score | str]]:
    """Compute every perceptual metric on square crops.

    Args:
        metrics: of `load_perceptual_metrics`.
        predictors: the ground truth among them.
        photos: the ground truth.
        size: of the crops, in pixels.
        keys: by predictor and photo, a digest of what a prediction depends on.
        cache: folder of the networks' outputs.
        progress: show progress bars.

    Returns:
        By predictor and column, a score, or why there is none.
    """
    scores: dict[str, dict[str, Score | str]] = {predictor.name: {} for predictor in predictors}
    for kind, metric in metrics.items():
        if isinstance(metric, str):
            for columns in scores.values():
                columns.update(dict.fromkeys(kind.columns, metric))
            continue
        outputs = {}
        for predictor in predictors:
            digests = list(keys[predictor.name].values())
            name = hashlib.sha256(f"{kind.__name__} {digests}".encode()).hexdigest()[:32]
            outputs[predictor.name] = _outputs(
                metric, predictor, photos, size, cache / f"{name}.pt", progress=progress
            )
        for name, columns in scores.items():
            if name != GROUND_TRUTH:
                columns.update(metric.score(outputs[name], outputs[GROUND_TRUTH]))
    return scores


def _outputs(
    metric: PerceptualMetric,
    predictor: Predictor,
    photos: Sequence[PhotoRecord],
    size: int,
    cache: Path,
    *,
    progress: bool,
) -> Tensor:
    """Compute the outputs (N, ...) of a network for a predictor's crops, or load them."""
    with contextlib.suppress(CheckpointError):  # missing or damaged
        return load_checkpoint(cache)["outputs"]
    batches = tqdm(
        _crops(predictor, photos, size),
        desc=f"{type(metric).__name__}: {predictor.name}",
        total=-(-len(photos) // _BATCH_SIZE),
        leave=False,
        disable=not progress,
    )
    with torch.no_grad():
        outputs = torch.cat([metric(rgb, target).float() for rgb, target in batches])
    save_checkpoint(cache, {"outputs": outputs})
    return outputs


def _crops(
    predictor: Predictor, photos: Sequence[PhotoRecord], size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of predicted crops and their targets, uint8 (n, 3, size, size)."""
    for begin in range(0, len(photos), _BATCH_SIZE):
        predictions, targets = [], []
        for photo in photos[begin : begin + _BATCH_SIZE]:
            target = read_photo(photo.path)
            crop = center_square(target, size)
            targets.append(photo_to_rgb(crop))
            prediction, _ = predict_crop_and_whole(
                predictor, photo.id, target, crop, full_size=False
            )
            predictions.append(photo_to_rgb(prediction))
        yield torch.stack(predictions), torch.stack(targets)
