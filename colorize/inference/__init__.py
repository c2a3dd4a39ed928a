"""Colorize with a trained model: one photo, many files, or through ONNX."""

from colorize.inference.batch import colorize_files, plan_jobs
from colorize.inference.colorizer import ColorizeOptions, Colorizer, Prediction

__all__ = ["ColorizeOptions", "Colorizer", "Prediction", "colorize_files", "plan_jobs"]
