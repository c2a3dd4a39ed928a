"""Metrics of a colorized photo against the ground truth, and of sets of photos."""

from colorize.metrics.columns import COLUMNS, METRICS, Column, compute_metrics
from colorize.metrics.image import (
    MetricImage,
    ab_error,
    ab_mae,
    bleeding,
    color_cast,
    colorfulness,
    psnr,
    stains,
)

__all__ = [
    "COLUMNS",
    "METRICS",
    "Column",
    "MetricImage",
    "ab_error",
    "ab_mae",
    "bleeding",
    "color_cast",
    "colorfulness",
    "compute_metrics",
    "psnr",
    "stains",
]
