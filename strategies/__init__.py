"""Aggregation: from a matrix of deltas, one row a device, to one step of the model."""

from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.nnm import NearestNeighbourMixing
from skerry.strategies.optimizers import FedAvg, FedAvgM
from skerry.strategies.rule import RULES, Rule, parse_rule
from skerry.strategies.trimmed_mean import TrimmedMean

__all__ = [
    "RULES",
    "FedAvg",
    "FedAvgM",
    "Mean",
    "Median",
    "NearestNeighbourMixing",
    "Rule",
    "TrimmedMean",
    "parse_rule",
]
