"""Aggregation: from a matrix of deltas, one row a device, to one step of the model."""

from skerry.strategies.centred_clipping import CentredClipping
from skerry.strategies.clipping import AdaptiveClipping, Clipping, NormClippedMean
from skerry.strategies.composed import Composed
from skerry.strategies.geometric_median import GeometricMedian
from skerry.strategies.krum import Krum
from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.monna import MoNNA
from skerry.strategies.multi_krum import MultiKrum
from skerry.strategies.nnm import NearestNeighbourMixing
from skerry.strategies.optimizers import FedAvg, FedAvgM
from skerry.strategies.rule import RULES, STEPS, Rule, parse_rule
from skerry.strategies.trimmed_mean import TrimmedMean

__all__ = [
    "RULES",
    "STEPS",
    "AdaptiveClipping",
    "CentredClipping",
    "Clipping",
    "Composed",
    "FedAvg",
    "FedAvgM",
    "GeometricMedian",
    "Krum",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NearestNeighbourMixing",
    "NormClippedMean",
    "Rule",
    "TrimmedMean",
    "parse_rule",
]
