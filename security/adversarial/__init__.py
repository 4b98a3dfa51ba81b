"""Adversarial examples: how far an attacker may move an example, how training answers, when it fools itself.

Pure parts, without torch: they serve numpy arrays and tensors alike. What follows gradients is in
:mod:`skerry.device.training.adversarial` (training) and :mod:`skerry.device.evaluation.robustness` (attacks).
"""

from skerry.security.adversarial.ball import Ball, Norm
from skerry.security.adversarial.overfitting import overfitted, suspicious
from skerry.security.adversarial.recipe import AdversarialRecipe, Method, replays

__all__ = ["AdversarialRecipe", "Ball", "Method", "Norm", "overfitted", "replays", "suspicious"]
