"""Correlated noise for running sums (matrix factorisation, DP-FTRL): privacy without sampling, by minimum separation.

Every round's sum gets noise that later rounds partly take back, so that the *running* sum, which is the model, carries
far less of it than independent noise would leave. No cohort need be drawn at random; what is needed is that a device
takes part at most once in any ``min_separation`` rounds, which a device can see to itself.

Files: ``strategy`` (which noise, its exact sensitivity and its error), ``optimise`` (the best strategy for a plan),
``correlated`` (the releases).
"""

from skerry.security.privacy.factorisation.correlated import CorrelatedSums
from skerry.security.privacy.factorisation.optimise import banded, buffered
from skerry.security.privacy.factorisation.strategy import Strategy, independent

__all__ = ["CorrelatedSums", "Strategy", "banded", "buffered", "independent"]
