"""Aggregation: from a matrix of deltas, one row a device, to one step of the model."""

from typing import TYPE_CHECKING, Any

from skerry.strategies.arc import AdaptiveClipping
from skerry.strategies.bucketing import Bucketing
from skerry.strategies.bulyan import Bulyan
from skerry.strategies.caf import CAF
from skerry.strategies.centred_clipping import CentredClipping
from skerry.strategies.clipping import Clipping
from skerry.strategies.composed import Composed
from skerry.strategies.dnc import DnC
from skerry.strategies.flame import FLAME
from skerry.strategies.fltrust import FLTrust
from skerry.strategies.foolsgold import FoolsGold
from skerry.strategies.geometric_median import GeometricMedian
from skerry.strategies.krum import Krum
from skerry.strategies.meamed import MeaMed
from skerry.strategies.mean import Mean
from skerry.strategies.median import Median
from skerry.strategies.monna import MoNNA
from skerry.strategies.multi_krum import MultiKrum
from skerry.strategies.nnm import NearestNeighbourMixing
from skerry.strategies.norm_clipped_mean import NormClippedMean
from skerry.strategies.optimizers import FedAvg, FedAvgM
from skerry.strategies.rule import RULES, STEPS, Rule, parse_rule
from skerry.strategies.stream import UpdateStream
from skerry.strategies.trimmed_mean import TrimmedMean

if TYPE_CHECKING:
    from skerry.strategies.flower import RobustStrategy

__all__ = [
    "CAF",
    "FLAME",
    "RULES",
    "STEPS",
    "AdaptiveClipping",
    "Bucketing",
    "Bulyan",
    "CentredClipping",
    "Clipping",
    "Composed",
    "DnC",
    "FLTrust",
    "FedAvg",
    "FedAvgM",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "NearestNeighbourMixing",
    "NormClippedMean",
    "RobustStrategy",
    "Rule",
    "TrimmedMean",
    "UpdateStream",
    "parse_rule",
]


def __getattr__(name: str) -> Any:
    """``RobustStrategy`` imports Flower, which whoever only wants a rule does not wait for."""
    if name == "RobustStrategy":
        from skerry.strategies.flower import RobustStrategy

        return RobustStrategy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
