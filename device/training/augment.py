"""Small changes to a batch that keep its labels: shifts and left–right flips, each example on its own."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ShiftAndFlip"]


@dataclass(frozen=True)
class ShiftAndFlip:
    """Move each example by up to ``pixels`` and turn half of them round; what moves in repeats the border.

    Windows of one row (height 1) are moved along time only.

    Attributes:
        pixels: largest shift in either direction along each axis.
        flip: turn left and right; wrong for digits and letters, and for time.
    """

    pixels: int = 2
    flip: bool = False

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """``(n, c, h, w)`` to the same shape."""
        n, _, height, width = x.shape
        if self.pixels:
            rows = self._moved(n, height, generator)
            columns = self._moved(n, width, generator)
            x = x.gather(2, rows[:, None, :, None].expand_as(x)).gather(3, columns[:, None, None, :].expand_as(x))
        if self.flip:
            turned = torch.rand(n, generator=generator) < 0.5
            x = torch.where(turned[:, None, None, None], x.flip(3), x)
        return x

    def _moved(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """``(n, length)`` indices to read from."""
        by = torch.randint(-self.pixels, self.pixels + 1, (n, 1), generator=generator)
        return (torch.arange(length) + by).clamp(0, length - 1)
