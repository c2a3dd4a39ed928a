"""Colorize with a trained model: photos, image files, folders, and ONNX."""

from colorize.inference.batch import FileResult, colorize_file, colorize_files
from colorize.inference.colorizer import Colorizer
from colorize.inference.jobs import Job, plan_jobs
from colorize.inference.options import ColorizeOptions
from colorize.inference.prediction import Prediction

__all__ = [
    "ColorizeOptions",
    "Colorizer",
    "FileResult",
    "Job",
    "Prediction",
    "colorize_file",
    "colorize_files",
    "plan_jobs",
]
