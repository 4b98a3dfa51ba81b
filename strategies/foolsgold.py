"""FoolsGold: updates count the less, the more they resemble each other."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.errors import AggregationError
from skerry.records import Float32Array
from skerry.strategies.aggregating import WeighingRule
from skerry.strategies.gram import cosines, gram
from skerry.strategies.products import Products

__all__ = ["FoolsGold", "foolsgold_weights"]

Float64Array = npt.NDArray[np.float64]


def foolsgold_weights(similar: Float64Array) -> Float64Array:
    """``(n,)`` learning rates in [0, 1] from cosines between the devices' histories, not normalised.

    ``v_i = max_j cs_ij``; where v_j > v_i, cs_ij is pardoned by v_i/v_j; ``α_i = 1 - max_j cs_ij``, scaled to a
    maximum of 1; then the logit ``ln(α/(1 - α)) + 1/2``, clipped to [0, 1].

    >>> foolsgold_weights(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
    [0.0, 0.0, 1.0]
    """
    others = similar.copy()
    np.fill_diagonal(others, -1.0)
    highest = others.max(axis=1, initial=-1.0)
    pardon = (highest[None, :] > highest[:, None]) & (highest[None, :] > 0)
    ratio = np.divide(highest[:, None], highest[None, :], out=np.ones_like(others), where=pardon)
    pardoned = others * np.maximum(ratio, 0.0)
    np.fill_diagonal(pardoned, -1.0)
    rates = np.clip(1.0 - pardoned.max(axis=1, initial=-1.0), 0.0, 1.0)
    if rates.max() > 0:
        rates = rates / rates.max()
    inside = (rates > 0) & (rates < 1)
    rates[inside] = np.clip(np.log(rates[inside] / (1.0 - rates[inside])) + 0.5, 0.0, 1.0)
    weights: Float64Array = rates
    return weights


@dataclass(frozen=True)
class FoolsGold(WeighingRule):
    """``Σ α_i x_i / Σ α_i``, with α near zero for devices whose updates point the same way: sybils of one attacker.

    Made for one attack, many copies of one device; it has no breakdown point: a single hostile device that is like
    nobody else keeps full weight, and length is not looked at. Combine with clipping: ``clipping+foolsgold``. Honest
    devices with equal data look like sybils and lose weight too. If all devices look alike the result is zero: the
    model stays.

    The paper compares the *sums of all updates* that each device has sent. Without ``history`` this round's updates
    are compared, which is weaker: rules keep nothing from round to round, the caller does.

    Reference: Fung, Yoon and Beschastnikh 2020, "The Limitations of Federated Learning in Sybil Settings" (RAID,
    arXiv:1808.04866), algorithm 1 with κ = 1.

    Args:
        history: ``(n, d)`` float32, for each row what that device has sent in all rounds with this one; None for this
        round.

    >>> FoolsGold()(np.array([[0.0, 4.0], [1.0, 0.0], [1.0, 0.0]], np.float32)).tolist()
    [0.0, 4.0]
    """

    history: Float32Array | None = field(default=None, compare=False)
    name: ClassVar[str] = "foolsgold"

    def minimum(self) -> int:
        """One update is enough."""
        return 1

    def weights(self, products: Products) -> Float64Array:
        """``α_i / Σ α_i``.

        Raises:
            AggregationError: the history has another number of rows, or is not finite.
        """
        inner = products.gram if self.history is None else gram(self.history)
        if inner.shape != (products.count, products.count) or not np.isfinite(inner).all():
            raise AggregationError(
                f"{self.name} needs a finite history for each of the {products.count} rows", where=self.name
            )
        rates = foolsgold_weights(cosines(inner))
        total = rates.sum()
        return rates / total if total > 0 else rates
