"""The detectors that a scenario can name in ``defence.screen``."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from skerry.errors import ScenarioError
from skerry.security.anomaly.clustering import ClusteringDetector
from skerry.security.anomaly.cosine import CosineDetector
from skerry.security.anomaly.evidence import Detector
from skerry.security.anomaly.foreign import ForeignDetector
from skerry.security.anomaly.norm import NormDetector
from skerry.security.anomaly.novelty import NoveltyDetector
from skerry.security.anomaly.root_set import RootSetDetector
from skerry.security.anomaly.similarity import SimilarityDetector
from skerry.security.anomaly.spectral import SpectralDetector

__all__ = ["CHECKS", "DETECTORS", "detectors_for"]

CHECKS = ("finite", "shape", "fresh")
"""Names that need no detector: finite and shape are always checked, fresh is the envelope's work."""

DETECTORS: Mapping[str, Callable[[], Detector]] = MappingProxyType(
    {
        NormDetector.name: NormDetector,
        SimilarityDetector.name: SimilarityDetector,
        NoveltyDetector.name: NoveltyDetector,
        ForeignDetector.name: ForeignDetector,
        RootSetDetector.name: RootSetDetector,
        SpectralDetector.name: SpectralDetector,
        ClusteringDetector.name: ClusteringDetector,
        CosineDetector.name: CosineDetector,
    }
)
"""Statistical detectors by name, in the order in which they run: what one flags is no reference for the next."""


def detectors_for(names: Sequence[str]) -> tuple[Detector, ...]:
    """New detectors for the names of a scenario's ``defence.screen``.

    Raises:
        ScenarioError: unknown name; says the near match.

    >>> [detector.name for detector in detectors_for(["finite", "cosine", "norm"])]
    ['norm', 'cosine']
    """
    known = (*CHECKS, *DETECTORS)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ScenarioError(
                f"unknown check {name!r}",
                where="defence.screen",
                mend=f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(known)}",
            )
    return tuple(make() for name, make in DETECTORS.items() if name in names)
