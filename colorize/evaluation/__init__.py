"""Evaluate any predictor against the ground truth: metrics, baselines, intervals, tables."""

from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.evaluator import EvaluationResult, evaluate
from colorize.evaluation.predictors import ImageFolderPredictor, ModelPredictor

__all__ = [
    "EvaluationResult",
    "ImageFolderPredictor",
    "ModelPredictor",
    "TrainingReference",
    "baselines",
    "evaluate",
]
