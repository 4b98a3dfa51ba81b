"""An activation's uint8 scale, and the ways in which its range is chosen from calibration examples."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["Range", "Scale", "choose_scale"]

Range = Literal["minmax", "mse", "percentile"]

_LEVELS = 255
_SHRINK = tuple(np.linspace(1.0, 0.5, 21))
_SAMPLE = 60_000
_TAIL = 1e-4
"""Share of the numbers beyond each end of a ``percentile`` range."""


@dataclass(frozen=True)
class Scale:
    """A tensor's map from uint8 to numbers: ``step · (q − zero)``."""

    step: float
    zero: int

    def clamps(self, low: float, high: float) -> bool:
        """Whether saturating at 0 and 255 does all that clamping to ``low … high`` would."""
        return self.low >= low and self.high <= high * (1 + 1e-6)

    @property
    def low(self) -> float:
        """The number that 0 stands for."""
        return -self.step * self.zero

    @property
    def high(self) -> float:
        """The number that 255 stands for."""
        return self.step * (_LEVELS - self.zero)

    def round(self, x: Tensor) -> Tensor:
        """The nearest representable numbers."""
        return (torch.round(x / self.step) + self.zero).clamp_(0, _LEVELS).sub_(self.zero).mul_(self.step)


def choose_scale(x: Tensor, how: Range) -> Scale:
    """The scale of a range that contains 0.

    Args:
        x: a tensor's numbers for the calibration examples, any shape.
        how: ``minmax``, all of them; ``percentile``, all but one in 10,000 at each end; ``mse``, that of the shrunk
            ``minmax`` ranges which rounds them with the least squared error.
    """
    flat = x.reshape(-1)
    low, high = _containing_zero(float(flat.min()), float(flat.max()))
    if how == "minmax":
        return _scale(low, high)
    sample = flat[:: max(1, len(flat) // _SAMPLE)]
    if how == "percentile":
        ordered = np.quantile(sample.numpy(), (_TAIL, 1 - _TAIL))
        return _scale(*_containing_zero(float(ordered[0]), float(ordered[1])))
    candidates = [_scale(low * shrink, high * shrink) for shrink in _SHRINK]
    errors = [float((c.round(sample.clone()) - sample).square().sum()) for c in candidates]
    return candidates[int(np.argmin(errors))]


def _containing_zero(low: float, high: float) -> tuple[float, float]:
    return min(low, 0.0), max(high, 1e-6)


def _scale(low: float, high: float) -> Scale:
    step = float(np.float32((high - low) / _LEVELS))
    return Scale(step, round(-low / step))
