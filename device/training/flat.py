"""A torch network whose trainable parameters are one flat vector: what travels, what is clipped, what is stepped."""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.models.folding import keeps_statistics
from skerry.errors import InputError
from skerry.records import Float32Array, ParameterLayout

__all__ = ["RULED", "FlatNetwork", "Losses", "cross_entropies"]

Losses = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A network, ``(n, ...)`` examples and ``(n,)`` classes to ``(n,)`` losses, each of one example alone."""

RULED = (nn.Conv2d, nn.Linear)
"""Layers whose parameters may be trained: those whose per-example gradients are known to every clipping engine."""


class FlatNetwork:
    """Parameters that require a gradient, as views of one vector; their gradients as views of another.

    One instance serves one thread: it holds the weights of whoever loaded them last.

    Guarantee: after :meth:`load` of the same vector, :meth:`gradient` of one example is the same to the last bit, on
    the same machine, whatever was computed before: shapes, alignment and order of all sums are the same each time
    (one thread, one example, memory that starts where it did).

    Args:
        module: ``(n, ...)`` to ``(n, classes)`` logits; is kept, put in inference mode, and its trainable parameters
            are moved. Examples must not meet in it.

    Raises:
        InputError: nothing is trainable; a trainable layer has no rule, or a norm takes statistics of the batch: names
            the layer.
    """

    def __init__(self, module: nn.Module) -> None:
        _check(module)
        torch.set_num_threads(1)  # a device computes on one thread: sums are then always taken in the same order
        self.module = module.eval()
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.layout = ParameterLayout(tuple((name, tuple(p.shape)) for name, p in trained))
        self.dtype = trained[0][1].dtype
        self._weights = torch.cat([p.detach().reshape(-1) for _, p in trained])
        self._slope = torch.zeros_like(self._weights)
        self._parameters = [p for _, p in trained]
        first = 0
        for parameter in self._parameters:
            part = slice(first, first + parameter.numel())
            parameter.data = self._weights[part].view(parameter.shape)
            first = part.stop
        self.attach_gradients()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters, in the order of the layout."""
        return self._parameters

    def attach_gradients(self) -> None:
        """Let autograd add each gradient to its place in the flat one (after somebody took ``grad`` away)."""
        first = 0
        for parameter in self._parameters:
            part = slice(first, first + parameter.numel())
            parameter.grad = self._slope[part].view(parameter.shape)
            first = part.stop

    def vector(self) -> Float32Array:
        """The present ``(d,)`` weights (a copy)."""
        values: Float32Array = self._weights.float().numpy().copy()
        return values

    def load(self, vector: npt.NDArray[Any]) -> None:
        """Take these ``(d,)`` weights.

        Raises:
            InputError: the vector has another length.
        """
        if vector.shape != (self.layout.size,):
            raise InputError(f"expected a vector of {self.layout.size} numbers, got shape {vector.shape}")
        self._weights.copy_(torch.tensor(vector))  # a copy: vectors from messages are read-only

    def gradient(self, x: Tensor, y: Tensor, losses: Losses | None = None) -> Tensor:
        """Gradient of the examples' summed losses, ``(d,)``: valid until the next call.

        Args:
            x: ``(n, ...)`` of the network's type.
            y: ``(n,)`` class indices that exist.
            losses: what is descended; None for cross-entropy.
        """
        self._slope.zero_()
        found = cross_entropies(self.module(x), y) if losses is None else losses(self.module, x, y)
        found.sum().backward()  # type: ignore[no-untyped-call]
        return self._slope

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """``(n, classes)`` scores."""
        scores: Tensor = self.module(x)
        return scores


def cross_entropies(scores: Tensor, y: Tensor) -> Tensor:
    """``(n,)`` losses of ``(n, classes)`` scores against ``(n,)`` class indices."""
    return functional.cross_entropy(scores, y, reduction="none")


def _check(module: nn.Module) -> None:
    found = False
    for name, layer in module.named_modules():
        if keeps_statistics(layer):
            raise InputError(
                f"a {type(layer).__name__} cannot be trained through: examples meet in its statistics",
                where=name or "the network",
                mend="fold the norms into the convolutions first",
            )
        own = [p for p in layer.parameters(recurse=False) if p.requires_grad]
        found = found or bool(own)
        if own and not isinstance(layer, RULED):
            raise InputError(
                f"no rule gives per-example gradients of a {type(layer).__name__}",
                where=name or "the network",
                mend="train convolutions and linear layers only, or freeze this layer",
            )
    if not found:
        raise InputError("the network has nothing to train", mend="let some parameters require a gradient")
