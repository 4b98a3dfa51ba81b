"""Updates of a round, and what is public about it."""

import numpy as np

from skerry.records import Verdict
from skerry.security.anomaly import ScreenContext

INF = float("inf")
ALL = ("finite", "shape", "fresh", "norm", "cosine")


def names(n: int) -> list[str]:
    return [f"device-{i:02d}" for i in range(n)]


def rows(n: int = 11, d: int = 400, seed: int = 0) -> np.ndarray:
    """A common signal of norm 10 and unit noise."""
    return (0.5 + np.random.default_rng(seed).standard_normal((n, d))).astype(np.float32)


def out(verdicts: list[Verdict]) -> list[str]:
    return [verdict.device for verdict in verdicts if not verdict.kept]


def context(number: int = 1, noise: float = 1.0, bound: float = 12.0) -> ScreenContext:
    return ScreenContext(number, noise, bound)
