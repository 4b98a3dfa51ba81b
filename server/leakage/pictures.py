"""From rows of features to pixels, and how near the pixels come.

Two ways, both by what anybody may have, the base and public examples:

* *linear*: ridge regression from public rows to public pixels. It bears noise best.
* *search*: pixels whose rows through the float twin of the int8 base are those asked for, from the linear answer on.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skerry.device.basemodel import BaseModel
from skerry.records import Float32Array

if TYPE_CHECKING:
    import torch

__all__ = ["Decoder", "matched_psnr", "psnr"]

_Float64 = npt.NDArray[np.float64]
_RIDGE = 1e-3
_RATE = 0.02


class Decoder:
    """Rows of features to grey pictures of the digits task.

    Args:
        base: whose features they are.
        rows: ``(n, k - 1)`` of public examples.
        pictures: ``(n, h, w)`` in 0…1, the same examples.
        enlarge: ``(size, h)``: how the task makes a network's input of a picture, on each side.
        mean: grey level 0…255 that the network gets as 0.
        scale: grey levels that the network gets as 1.
    """

    def __init__(
        self,
        base: BaseModel,
        rows: Float32Array,
        pictures: Float32Array,
        *,
        enlarge: Float32Array,
        mean: float,
        scale: float,
    ) -> None:
        self._base, self._enlarge, self._mean, self._scale = base, enlarge, mean, scale
        self._side = pictures.shape[1:]
        a = _with_one(rows)
        target = pictures.reshape(len(pictures), -1).astype(np.float64)
        self._linear = np.linalg.solve(a.T @ a + _RIDGE * np.eye(a.shape[1], dtype=np.float64), a.T @ target)

    def linear(self, rows: Float32Array) -> _Float64:
        """``(n, k - 1)`` to ``(n, h, w)`` in 0…1."""
        found: _Float64 = np.clip(_with_one(rows) @ self._linear, 0, 1).reshape(len(rows), *self._side)
        return found

    def search(self, rows: Float32Array, steps: int) -> _Float64:
        """:meth:`linear`, and from there on by Adam, ``steps`` times, towards pictures that have these rows."""
        import torch

        target = torch.from_numpy(np.asarray(rows, np.float32))
        pixels = torch.from_numpy(self.linear(rows).astype(np.float32)).requires_grad_()
        adam = torch.optim.Adam([pixels], lr=_RATE)
        for _ in range(steps):
            adam.zero_grad()
            loss: Any = (self._rows(pixels) - target).square().sum()
            loss.backward()
            adam.step()
            with torch.no_grad():
                pixels.clamp_(0, 1)
        return pixels.detach().numpy().astype(np.float64)

    def _rows(self, pixels: "torch.Tensor") -> "torch.Tensor":
        import torch

        enlarge = torch.from_numpy(np.array(self._enlarge))
        grey = (enlarge @ (pixels * 255) @ enlarge.T - self._mean) / self._scale
        whitening = self._base.whitening
        pooled = self._network(grey[:, None].expand(-1, self._base.input_shape[0], -1, -1))
        z = (pooled - torch.from_numpy(whitening.mean)) @ torch.from_numpy(whitening.projection)
        rows: torch.Tensor = z * torch.clamp(whitening.bound / z.norm(dim=1, keepdim=True), max=1)
        return rows

    @cached_property
    def _network(self) -> "torch.nn.Module":
        from skerry.device.compression.graph_module import GraphModule
        from skerry.device.model_source import read_onnx

        return GraphModule(read_onnx(self._base.file(32))[0]).eval().requires_grad_(requires_grad=False)


def psnr(found: npt.ArrayLike, true: npt.ArrayLike) -> _Float64:
    """Peak signal-to-noise ratio ``(n,)`` in dB of pictures ``(n, h, w)`` in 0…1."""
    apart = np.asarray(found, np.float64) - np.asarray(true, np.float64)
    value: _Float64 = -10 * np.log10(np.maximum((apart**2).mean((1, 2)), 1e-12))
    return value


def matched_psnr(found: npt.ArrayLike, true: npt.ArrayLike, labels: npt.NDArray[np.int64]) -> _Float64:
    """:func:`psnr` ``(n,)`` of each true picture and the reconstruction of its class that it is matched with.

    Within a class nobody says which reconstruction is meant to be whose: the pairs are those with the least squared
    error in all, which flatters the attacker. ``labels`` are those of both.
    """
    from scipy.optimize import linear_sum_assignment

    a, b = np.asarray(found, np.float64), np.asarray(true, np.float64)
    order = np.arange(len(b))
    for label in np.unique(labels):
        of = np.flatnonzero(labels == label)
        costs = ((b[of, None] - a[None, of]) ** 2).mean((2, 3))
        place, chosen = linear_sum_assignment(costs)
        order[of[place]] = of[chosen]
    return psnr(a[order], b)


def _with_one(rows: Float32Array) -> _Float64:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1, dtype=np.float64)
