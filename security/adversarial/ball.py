"""How far an attacker may move an example: a ball around it, within the values that examples can have."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from skerry.errors import InputError

__all__ = ["Ball", "Norm"]

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Ball:
    """A ball of one radius around every example, in the units of a network's input.

    Attributes:
        epsilon: radius.
        norm: ``linf``: no number moves further; ``l2``: all moves of an example together are no longer.
        low: least value that an input can have; -inf for no bound.
        high: largest one; inf for no bound.

    Raises:
        InputError: a value is out of range.
    """

    epsilon: float
    norm: Norm = "linf"
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise InputError(f"the radius of a ball of attacks is positive and finite, not {self.epsilon}")
        if self.norm not in {"linf", "l2"}:
            raise InputError(f"{self.norm!r} is not a norm of attacks", mend='use "linf" or "l2"')
        if not self.low < self.high:
            raise InputError(f"inputs lie between {self.low} and {self.high}: nothing lies there")

    def project(self, x: Any, moved: Any) -> Any:
        """The point of ball and range next to ``moved`` in the ball, then in the range; each example by itself.

        It is kept in the range at every step of an attack, never inside the loss: there the gradient at black and
        white pixels would vanish, and attacks would look weaker than they are.

        Args:
            x: ``(n, ...)`` examples, array or tensor. Where one is itself out of range, it need not move back.
            moved: the same shape.
        """
        delta = moved - x
        if self.norm == "linf":
            delta = delta.clip(-self.epsilon, self.epsilon)
        else:
            length = (delta.reshape(len(x), -1) ** 2).sum(1) ** 0.5
            factor = self.epsilon / length.clip(self.epsilon, None)
            delta = delta * factor.reshape(-1, *[1] * (delta.ndim - 1))
        return self.within(x, x + delta)

    def within(self, x: Any, moved: Any) -> Any:
        """``moved`` in the range of values, or no further out than ``x`` is."""
        return moved.clip(x.clip(None, self.low), x.clip(self.high, None))
