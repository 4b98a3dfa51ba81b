"""Measuring models on a task: quality, calibration, spread over devices, corruptions, strangers; one idea a file."""

from skerry.device.evaluation.measure import Evaluation, ModelEvaluation, Plan, Scorer, evaluate_models

__all__ = ["Evaluation", "ModelEvaluation", "Plan", "Scorer", "evaluate_models"]
