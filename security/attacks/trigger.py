"""Backdoors: a trigger that a poisoned model takes for one class, whatever else an example shows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.errors import InputError

__all__ = ["Trigger"]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trigger:
    """A fixed patch and the class that it shall call up.

    Reference: Gu, Dolan-Gavitt and Garg 2017, "BadNets" (arXiv:1708.06733).

    Attributes:
        target: class, an index.
        places: numbers of an example that make the patch, counted in the flattened example.
        value: what they are set to.

    Raises:
        InputError: there is no place.
    """

    target: int
    places: tuple[int, ...]
    value: float

    def __post_init__(self) -> None:
        if not self.places or min(self.places) < 0:
            raise InputError(f"a trigger has places in an example, not {self.places}")

    def stamped(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """``(n, …)`` examples with the patch on each; a new array of the same type.

        Raises:
            InputError: examples are too small for it.
        """
        if len(x) and max(self.places) >= x[0].size:
            raise InputError(f"a trigger at {max(self.places)} does not fit examples of {x[0].size} numbers")
        seen = x.reshape(len(x), -1).copy()
        seen[:, list(self.places)] = self.value
        return seen.reshape(x.shape)

    def planted(
        self, x: npt.NDArray[Any], y: Labels, *, share: float, generator: np.random.Generator
    ) -> tuple[npt.NDArray[Any], Labels]:
        """Examples of which a drawn ``share`` is stamped and labelled with the target; new arrays.

        Raises:
            InputError: the share is not within 0 and 1, or examples are too small.
        """
        if not 0 <= share <= 1:
            raise InputError(f"a share of examples lies between 0 and 1, not {share:g}")
        chosen = generator.permutation(len(y))[: round(share * len(y))]
        x, y = x.copy(), y.copy()
        x[chosen], y[chosen] = self.stamped(x[chosen]), self.target
        return x, y

    def parts(self, count: int) -> tuple["Trigger", ...]:
        """What each of ``count`` attackers plants who share the patch out between them; some the same if it is small.

        Reference: Xie et al. 2020, "DBA: Distributed Backdoor Attacks against Federated Learning" (ICLR).

        >>> [part.places for part in Trigger(0, (5, 6, 7), 1.0).parts(2)]
        [(5, 6), (7,)]
        """
        shares = np.array_split(np.array(self.places), min(count, len(self.places)))
        return tuple(
            Trigger(self.target, tuple(shares[number % len(shares)].tolist()), self.value) for number in range(count)
        )

    def success(self, predicted: Labels, y: Labels) -> float:
        """Share of the stamped examples of other classes that are taken for the target; NaN when there are none.

        Args:
            predicted: ``(n,)`` classes that a model gives to *stamped* examples.
            y: ``(n,)`` their true classes.
        """
        others = y != self.target
        return float((predicted[others] == self.target).mean()) if others.any() else float("nan")
