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
    return ScreenContext(number, noise, bound, whole=True)


def foreign(deltas: np.ndarray, device: int, times: float) -> np.ndarray:
    """The same updates, one of them ``times`` as long and in a direction that no other has."""
    changed = deltas.copy()
    others = np.delete(deltas, device, axis=0).T.astype(np.float64)
    own = np.random.default_rng(device).standard_normal(deltas.shape[1])
    own -= others @ np.linalg.lstsq(others, own, rcond=None)[0]
    changed[device] = times * np.linalg.norm(deltas[device]) / np.linalg.norm(own) * own
    return changed
