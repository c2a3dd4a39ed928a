"""Evaluate any number of predictors on the same photos: streamed, resumable."""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

import colorize
from colorize.data.folder import PhotoRecord
from colorize.evaluation.baselines import GROUND_TRUTH, GroundTruth
from colorize.evaluation.metric_cache import MetricCache, PhotoMetrics
from colorize.evaluation.perceptual import load_perceptual_metrics, score_perceptually
from colorize.evaluation.predictors import (
    Predictor,
    center_square,
    file_digest,
    predict_crop_and_whole,
)
from colorize.evaluation.result import EvaluationResult, Metrics
from colorize.io.image import photo_to_rgb
from colorize.io.photo import read_photo
from colorize.metrics.columns import METRICS, compute_metrics
from colorize.metrics.features import Score
from colorize.metrics.image import MetricImage
from colorize.utils.checks import check_writable

_SIGNIFICANT_DIGITS = 4  # of a stored value
_PACKAGES = ("torch", "numpy", "pillow", "scikit-image", "torchmetrics")
MIN_SIZE = 32  # px; SSIM's windows and the strides of networks need it
_NAME = re.compile(r"\w[\w .+-]*")  # result files are named after predictors
_RESERVED_NAMES = (GROUND_TRUTH, "summary")

Keys = Mapping[str, Mapping[str, str]]  # of cached metrics, by predictor and photo


def evaluate(
    predictors: Sequence[Predictor],
    photos: Sequence[PhotoRecord],
    size: int,
    out: str | os.PathLike,
    *,
    perceptual: bool = True,
    full_size: bool = True,
    progress: bool = True,
) -> dict[str, EvaluationResult]:
    """Compare the predictions of each predictor with the ground truth.

    A predictor colorizes each photo's largest centered square, resized to `size`, and the whole
    photo in full size. Metrics are stored photo by photo in `out/metrics.jsonl`, so that calling
    the function again continues a stopped evaluation. One file `NAME.json` per predictor results.

    Args:
        predictors: the methods; the ground truth is added as `ground-truth`.
        photos: the ground truth, no photo smaller than `size`.
        size: of the squares, in pixels.
        out: the output folder, created if missing.
        perceptual: also compute FID, KID and LPIPS of the squares.
        full_size: also measure the photos in full size.
        progress: show progress bars.

    Returns:
        The results by name, the ground truth first.

    Raises:
        ValueError: if `out` cannot be written; if there are no photos, or two with one id; if a
            photo is too small or lacks a prediction, or the prediction has another shape; if the
            size is below 32; if the name of a predictor is not allowed, or occurs twice.
    """
    check_inputs(predictors, photos, size)
    out = Path(out)
    check_writable(out)
    metrics = load_perceptual_metrics(len(photos)) if perceptual else {}
    if progress:
        for kind, reason in metrics.items():
            if isinstance(reason, str):
                tqdm.write(f"{', '.join(kind.columns)}: {reason}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    predictors = [GroundTruth(), *predictors]
    keys = _cache_keys(predictors, photos, size, full_size)
    cache = MetricCache(out / "metrics.jsonl")
    run_predictors(predictors, photos, size, keys, cache, full_size=full_size, progress=progress)
    scores = score_perceptually(
        metrics, predictors, photos, size, keys, out / "features", progress=progress
    )
    return write_results(predictors, photos, size, keys, cache, scores, out, full_size=full_size)


def check_inputs(predictors: Sequence[Predictor], photos: Sequence[PhotoRecord], size: int) -> None:
    """Check the arguments of `evaluate`.

    Raises:
        ValueError: as `evaluate` does.
    """
    if not photos:
        raise ValueError("there are no photos to evaluate on")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} px, got {size}")
    check_unique_ids(photos)
    names = [predictor.name for predictor in predictors]
    for name in names:
        if not _NAME.fullmatch(name) or name in _RESERVED_NAMES:
            raise ValueError(
                f"{name!r} cannot be the name of a predictor: use letters, digits, spaces and "
                f". _ + -, and none of {', '.join(_RESERVED_NAMES)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"two predictors are named {name!r}")
    for predictor in predictors:
        predictor.check(photos)


def check_unique_ids(photos: Sequence[PhotoRecord]) -> None:
    """Check that no two photos share an id.

    Raises:
        ValueError: if two do.
    """
    counts = Counter(photo.id for photo in photos)
    repeated = [photo_id for photo_id, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} names belong to several photos each, such as {repeated[0]!r}"
        )


def _cache_keys(
    predictors: Sequence[Predictor], photos: Sequence[PhotoRecord], size: int, full_size: bool
) -> Keys:
    """Digest everything that the metrics of each predictor and photo depend on."""
    digests = {photo.id: file_digest(photo.path) for photo in photos}

    def key(predictor: Predictor, photo_id: str) -> str:
        facts = [
            predictor.provenance,
            photo_id,
            digests[photo_id],
            predictor.fingerprint(photo_id),
            size,
            full_size,
            sorted(METRICS),
            colorize.__version__,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    return {p.name: {photo.id: key(p, photo.id) for photo in photos} for p in predictors}


def run_predictors(
    predictors: Sequence[Predictor],
    photos: Sequence[PhotoRecord],
    size: int,
    keys: Keys,
    cache: MetricCache,
    *,
    full_size: bool,
    progress: bool,
) -> None:
    """Predict and measure what the cache lacks, and add it to the cache.

    Predictions are made one after the other, and measured in parallel threads.
    """
    missing = {
        photo.id: [p for p in predictors if keys[p.name][photo.id] not in cache] for photo in photos
    }
    total = sum(map(len, missing.values()))
    bar = tqdm(total=total, desc="evaluating", unit="photo", disable=not (progress and total))
    with bar:
        for predictor, photo_id, metrics in _measure_all(photos, missing, size, full_size):
            cache.add(keys[predictor.name][photo_id], predictor.name, photo_id, metrics)
            bar.update()


def _measure_all(
    photos: Sequence[PhotoRecord],
    missing: Mapping[str, Sequence[Predictor]],
    size: int,
    full_size: bool,
) -> Iterator[tuple[Predictor, str, PhotoMetrics]]:
    workers = os.cpu_count() or 1
    pending: list[tuple[Predictor, str, Future[PhotoMetrics]]] = []
    with ThreadPoolExecutor(workers) as pool:
        for photo in photos:
            if not missing[photo.id]:
                continue
            target = read_photo(photo.path)
            crop = center_square(target, size)
            targets = [MetricImage(photo_to_rgb(image)) for image in (crop, target)]
            for predictor in missing[photo.id]:
                predictions = predict_crop_and_whole(
                    predictor, photo.id, target, crop, full_size=full_size
                )
                future = pool.submit(_measure, predictions, targets, full_size)
                pending.append((predictor, photo.id, future))
            while len(pending) > 4 * workers:
                predictor, photo_id, future = pending.pop(0)
                yield predictor, photo_id, future.result()
        for predictor, photo_id, future in pending:
            yield predictor, photo_id, future.result()


def _measure(
    predictions: Sequence[Image.Image], targets: Sequence[MetricImage], full_size: bool
) -> PhotoMetrics:
    crop, whole = (MetricImage(photo_to_rgb(image)) for image in predictions)
    crop_metrics = _rounded(compute_metrics(crop, targets[0]))
    if not full_size:
        return {"crop": crop_metrics, "full_size": {}}
    if targets[0].rgb.shape == targets[1].rgb.shape:
        return {"crop": crop_metrics, "full_size": crop_metrics}
    return {"crop": crop_metrics, "full_size": _rounded(compute_metrics(whole, targets[1]))}


def _rounded(metrics: Metrics) -> Metrics:
    return {
        name: value if value is None else float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
        for name, value in metrics.items()
    }


def write_results(
    predictors: Sequence[Predictor],
    photos: Sequence[PhotoRecord],
    size: int,
    keys: Keys,
    cache: MetricCache,
    scores: Mapping[str, dict[str, Score | str]],
    out: Path,
    *,
    full_size: bool,
) -> dict[str, EvaluationResult]:
    """Collect the cached metrics by predictor, and write `NAME.json` files."""
    provenance = _provenance(len(photos), size, full_size)
    results = {}
    for predictor in predictors:
        cached = [cache[keys[predictor.name][photo.id]] for photo in photos]
        crop, whole = (
            {name: [metrics[view][name] for metrics in cached] for name in cached[0][view]}
            for view in ("crop", "full_size")
        )
        result = EvaluationResult(
            name=predictor.name,
            provenance=provenance | {"predictor": predictor.provenance},
            photos=[photo.id for photo in photos],
            crop_metrics=crop,
            full_size_metrics=whole,
            perceptual=scores.get(predictor.name, {}),
        )
        result.save(out / f"{predictor.name}.json")
        results[predictor.name] = result
    return results


def _provenance(photos: int, size: int, full_size: bool) -> dict[str, Any]:
    return {
        "crop": "largest centered square; the whole photo in full size",
        "filter": "triangle, antialiased (colorize.io.image.resize)",
        "size": size,
        "full_size": full_size,
        "photos": photos,
        "colorize": colorize.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # an extra
        return None


def _commit() -> str | None:
    """Return the commit of the code, if it lies in a git repository."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]
    try:
        process = subprocess.run(command, capture_output=True, text=True)
    except OSError:  # git is not installed
        return None
    return process.stdout.strip() or None
