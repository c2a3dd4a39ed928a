"""The table of all metrics: title, direction, precision, and how one photo is measured."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from colorize.color.curves import AB_SCALE
from colorize.losses.pixel import PIXEL_LOSSES
from colorize.metrics.features import PERCEPTUAL_METRICS
from colorize.metrics.image import (
    NO_COLOR,
    MetricImage,
    ab_error,
    ab_mae,
    bleeding,
    color_cast,
    delta_e,
    psnr,
    ssim,
)


@dataclass(frozen=True)
class Column:
    """One metric.

    Attributes:
        title: its name in tables.
        higher_is_better: its direction; None if values should be near those of the ground truth.
        compute: the value of one prediction beside its ground truth, NaN or infinite where it is
            undefined. None for metrics of whole datasets: `colorize.evaluation.bootstrap` derives
            them from the per-photo values, `colorize.metrics.features` from features of networks.
        digits: decimals in tables.
    """

    title: str
    higher_is_better: bool | None
    compute: Callable[[MetricImage, MetricImage], float] | None = None
    digits: int = 1


def _cast(pred: MetricImage) -> float:
    return color_cast(pred.ab).item() if pred.chroma >= NO_COLOR else math.nan


def _colorfulness_error(pred: MetricImage, target: MetricImage) -> float:
    return abs(pred.colorfulness - target.colorfulness)


def _colorfulness_absolute_error(pred: MetricImage, target: MetricImage) -> float:
    return abs(pred.colorfulness_absolute - target.colorfulness_absolute)


def _pixel_loss(name: str) -> Callable[[MetricImage, MetricImage], float]:
    """Compute a training loss of ab, scaled to [-1, 1], as a metric."""
    loss = PIXEL_LOSSES[name]
    return lambda pred, target: loss(pred.lab[1], target.lab[1]).item()


COLUMNS: dict[str, Column] = {
    "ab_error": Column(
        "mean ab distance", False, lambda pred, target: ab_error(pred.ab, target.ab).item()
    ),
    "ab_error_worst_decile": Column("mean ab distance, worst decile", False),
    "ab_mae": Column("ab MAE", False, lambda pred, target: ab_mae(pred.ab, target.ab).item()),
    "delta_e": Column("ΔE2000", False, delta_e),
    "colorfulness_error": Column("per-image ΔCF", False, _colorfulness_error),
    "colorfulness_absolute_error": Column(
        "per-image ΔCF (absolute)", False, _colorfulness_absolute_error
    ),
    "colorfulness": Column("colorfulness", None, lambda pred, target: pred.colorfulness),
    "colorfulness_absolute": Column(
        "colorfulness (absolute)", None, lambda pred, target: pred.colorfulness_absolute
    ),
    "dataset_colorfulness_error": Column("dataset ΔCF", False),
    "dataset_colorfulness_absolute_error": Column("dataset ΔCF (absolute)", False),
    "color_cast": Column("color cast", None, lambda pred, target: _cast(pred), digits=2),
    "dataset_color_cast": Column("dataset color cast", None, digits=2),
    "bleeding": Column(
        "bleeding", None, lambda pred, target: bleeding(target.lab[0], pred.lab[1]).item(), digits=3
    ),
    "mean_a": Column("mean a*", None, lambda pred, target: pred.lab[1][0].mean().item() * AB_SCALE),
    "mean_b": Column("mean b*", None, lambda pred, target: pred.lab[1][1].mean().item() * AB_SCALE),
    "chroma": Column("chroma", None, lambda pred, target: pred.chroma),
    "ssim": Column("SSIM", True, ssim, digits=3),
    "mse": Column("MSE", False, _pixel_loss("mse"), digits=4),
    "l1": Column("L1", False, _pixel_loss("l1"), digits=4),
    "smooth_l1": Column("smooth L1", False, _pixel_loss("smooth_l1"), digits=4),
    "dataset_psnr": Column("dataset PSNR (dB)", True),
    "psnr": Column(
        "PSNR (dB)", True, lambda pred, target: psnr(pred.rgb[None], target.rgb[None]).item()
    ),
    **{
        column: Column(column, False, digits=digits)
        for metric in PERCEPTUAL_METRICS
        for column, digits in metric.columns.items()
    },
}

# The metrics of single photos.
METRICS = {name: column.compute for name, column in COLUMNS.items() if column.compute is not None}


def compute_metrics(pred: MetricImage, target: MetricImage) -> dict[str, float | None]:
    """Compute every metric in `METRICS`, None where a metric is undefined.

    PSNR is undefined (infinite) for the ground truth itself; gray predictions have no color edges
    and therefore neither bleeding nor a color cast.

    Args:
        pred: the prediction.
        target: its ground truth, of the same size.

    Raises:
        ValueError: if the images differ in size.
    """
    if pred.rgb.shape != target.rgb.shape:
        raise ValueError(
            f"a prediction of {tuple(pred.rgb.shape[1:])} cannot be compared with a photo of "
            f"{tuple(target.rgb.shape[1:])} (height, width)"
        )
    values = {name: compute(pred, target) for name, compute in METRICS.items()}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
