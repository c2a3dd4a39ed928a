"""Metrics of a colorized photo against the ground truth, and of sets of photos."""

from colorize.metrics.image import METRICS, ab_error, colorfulness, compute_metrics, psnr

__all__ = ["METRICS", "ab_error", "colorfulness", "compute_metrics", "psnr"]
