"""Screening: a verdict about every update, with reasons that an operator can read."""

from skerry.security.anomaly.clustering import ClusteringDetector
from skerry.security.anomaly.cosine import CosineDetector
from skerry.security.anomaly.detectors import DETECTORS, detectors_for
from skerry.security.anomaly.evidence import Detector, Finding, ScreenContext
from skerry.security.anomaly.foreign import ForeignDetector
from skerry.security.anomaly.norm import NormDetector
from skerry.security.anomaly.novelty import NoveltyDetector
from skerry.security.anomaly.root_set import RootSetDetector
from skerry.security.anomaly.screening import Screener
from skerry.security.anomaly.similarity import SimilarityDetector
from skerry.security.anomaly.spectral import SpectralDetector
from skerry.security.anomaly.validate import check_update, describe_fault

__all__ = [
    "DETECTORS",
    "ClusteringDetector",
    "CosineDetector",
    "Detector",
    "Finding",
    "ForeignDetector",
    "NormDetector",
    "NoveltyDetector",
    "RootSetDetector",
    "ScreenContext",
    "Screener",
    "SimilarityDetector",
    "SpectralDetector",
    "check_update",
    "describe_fault",
    "detectors_for",
]
