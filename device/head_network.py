"""The network of ``head`` mode as attacks see it: what the base computes in int8, with the gradient of its float twin.

An attack needs the slope of the loss down to the input, and the int8 base in onnxruntime has none. So the input goes
through both: the rows are those of the base itself, to the last bit, and on the way back they count as those of the
float32 base of the same digest (straight-through, Bengio et al., arXiv:1308.3432). The head above is the only part
that is trained, and it is trained on what the int8 base makes of the moved example; nothing is cached.
"""

from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.basemodel import BaseModel
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_import import from_onnx
from skerry.device.whitening import Whitening
from skerry.errors import RefusedError
from skerry.records import Float32Array

__all__ = ["HeadNetwork", "StraightThrough", "head_network"]


class StraightThrough(nn.Module):
    """``(n, ...)`` to ``(n, k)``: the numbers of a function without a gradient, and the gradient of its twin.

    Args:
        exact: ``(n, ...)`` float32 to ``(n, k)`` float32, each example by itself; may be called by several threads.
        twin: nearly the same in torch; it is not trained.
    """

    def __init__(self, exact: Callable[[Float32Array], Float32Array], twin: nn.Module) -> None:
        super().__init__()
        self.exact = exact
        self.twin = twin.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The exact numbers."""
        values = torch.from_numpy(self.exact(x.detach().numpy()))
        if not (x.requires_grad and torch.is_grad_enabled()):
            return values
        floating: Tensor = self.twin(x)
        return values + (floating - floating.detach())  # nothing is added but a gradient

    def __deepcopy__(self, memo: dict[int, Any]) -> "StraightThrough":
        """Shares what it wraps: a session of onnxruntime cannot be copied, and need not be."""
        return StraightThrough(self.exact, self.twin)


class HeadNetwork(nn.Module):
    """``(n, channels, height, width)`` to ``(n, classes)``: frozen rows and the trained ``head.weight``.

    Args:
        rows: examples to ``(n, k)``, the bias's constant included.
        weight: ``(classes, k)``.
    """

    def __init__(self, rows: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.rows = rows
        self.head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        with torch.no_grad():
            self.head.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        scores: Tensor = self.head(self.rows(x))
        return scores


def head_network(base: BaseModel) -> HeadNetwork:
    """Of a base, with the head that public data gave; trained, its layout is that of the head.

    Raises:
        RefusedError: a file of the base was altered (``wrong_model``), or the float network is not one that skerry
            writes, or not the twin of the deployed one (``unknown_model``).
    """
    path = base.file(32)
    try:
        graph, _ = from_onnx(onnx.load_from_string(path.read_bytes()))
        base.check_network(graph.input_shape, (graph.outputs,))
    except Exception as error:  # protobuf's, numpy's and onnx's own, and whatever an unexpected node leads to
        raise RefusedError(
            "unknown_model", f"this device cannot use the float network of that base: {error}", where=str(path)
        ) from error
    twin = nn.Sequential(GraphModule(graph), _Rows(base.whitening, base.bias))
    weight = torch.tensor(base.initial).reshape(len(base.classes), base.width)
    return HeadNetwork(StraightThrough(base.features, twin), weight)


class _Rows(nn.Module):
    """:meth:`Whitening.rows` in torch."""

    def __init__(self, whitening: Whitening, constant: float) -> None:
        super().__init__()
        self._weight, self._bias = (torch.tensor(part) for part in whitening.layer)
        self._bound, self._constant = whitening.bound, constant

    def forward(self, pooled: Tensor) -> Tensor:
        z = functional.linear(pooled, self._weight, self._bias)
        square = (z * z).sum(1, keepdim=True).clamp(min=self._bound**2)
        return functional.pad(z * (self._bound * torch.rsqrt(square)), (0, 1), value=self._constant)
