"""Evaluate any predictor against the ground truth: metrics, baselines, intervals, tables."""

from colorize.evaluation.baselines import GROUND_TRUTH, TrainingReference, baselines
from colorize.evaluation.bootstrap import Estimate, Summary
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ImageFolderPredictor, ModelPredictor, Predictor
from colorize.evaluation.realism_test import write_realism_test
from colorize.evaluation.result import EvaluationResult
from colorize.evaluation.tables import table, tables, write_summary

__all__ = [
    "GROUND_TRUTH",
    "Estimate",
    "EvaluationResult",
    "ImageFolderPredictor",
    "ModelPredictor",
    "Predictor",
    "Summary",
    "TrainingReference",
    "baselines",
    "evaluate",
    "table",
    "tables",
    "write_realism_test",
    "write_summary",
]
