"""Per-example gradients of one layer, from what went in and the gradient of what came out.

A rule gives, for each trainable parameter of a layer, a :class:`Part`: the squared norm of each example's gradient,
the gradients themselves, and their weighted sum; each part computes the cheapest way. n examples, T positions, p
inputs and o outputs per position:

==============  =======================================  ==============================================
layer           per-example gradient                     norm without it ("ghost")
==============  =======================================  ==============================================
Linear, T = 1   g aᵀ                                     ‖a‖²·‖g‖²  (Goodfellow, arXiv:1510.01799)
Linear, T > 1   Σₜ gₜ aₜᵀ                                ⟨AᵀA, GᵀG⟩, T×T Gram matrices (arXiv:2110.05679)
Conv, 1×1       the same over positions                  the same
Conv, k×k       one convolution in which each example    –
                is a group of its own
Conv, k×k,      product of g and what the kernel sees,   –
p ≤ 4           over positions ("windows")
Conv, grouped   the same, n·groups groups                –
norms, biases   sums over positions                      –
Embedding       scatter of g over the indices            –
==============  =======================================  ==============================================

The Gram matrix is taken where it is the cheaper one: 4·T·(p + o) < p·o (measured; the mixed ghost norm of Bu et al.,
arXiv:2205.10683, compares T² with p·o). Examples as groups of one convolution is what makes depthwise layers cheap: a
weight gradient of n·c channels of its own kernel, ten to twenty times quicker here than products shifted k·k times.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.models.folding import keeps_statistics
from skerry.device.training.dp.convolutions import padding_of_kernel, per_example_weight_gradient
from skerry.errors import InputError

__all__ = ["RULES", "Part", "Rule", "rule_for"]

_GRAM_ADVANTAGE = 4


class Part(ABC):
    """Gradients of n examples with respect to one parameter.

    Attributes:
        parameter: the parameter.
    """

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter

    @abstractmethod
    def squared_norms(self) -> Tensor:
        """``(n,)``."""

    @abstractmethod
    def rows(self) -> Tensor:
        """``(n, numel)``: one example's gradient a row."""

    @abstractmethod
    def add_weighted_sum(self, out: Tensor, factors: Tensor) -> None:
        """Add Σ factorᵢ·gradientᵢ, for ``(n,)`` factors, to ``out``, contiguous and in the parameter's shape."""

    def weighted_sum(self, factors: Tensor) -> Tensor:
        """Σ factorᵢ·gradientᵢ in the parameter's shape, for ``(n,)`` factors."""
        out = torch.zeros_like(self.parameter, memory_format=torch.contiguous_format)
        self.add_weighted_sum(out, factors)
        return out


class Kept(Part):
    """Gradients that are small enough, or cheap enough, to be held."""

    def __init__(self, parameter: Tensor, gradients: Tensor) -> None:
        super().__init__(parameter)
        self._rows = gradients.flatten(1)

    def squared_norms(self) -> Tensor:
        """``(n,)``."""
        squared: Tensor = torch.linalg.vector_norm(self._rows, dim=1).square_()
        return squared

    def rows(self) -> Tensor:
        """``(n, numel)``."""
        return self._rows

    def add_weighted_sum(self, out: Tensor, factors: Tensor) -> None:
        """In place."""
        out.view(-1).addmv_(self._rows.mT, factors)


class Outer(Part):
    """``g aᵀ`` for ``(n, p)`` inputs and ``(n, o)`` output gradients, never made for norms and sums."""

    def __init__(self, parameter: Tensor, a: Tensor, g: Tensor) -> None:
        super().__init__(parameter)
        self._a, self._g = a, g

    def squared_norms(self) -> Tensor:
        """``(n,)``."""
        squared: Tensor = torch.linalg.vecdot(self._a, self._a) * torch.linalg.vecdot(self._g, self._g)
        return squared

    def rows(self) -> Tensor:
        """``(n, o·p)``."""
        return torch.einsum("no,np->nop", self._g, self._a).flatten(1)

    def add_weighted_sum(self, out: Tensor, factors: Tensor) -> None:
        """In place."""
        out.view(len(out), -1).addmm_((self._g * factors[:, None]).mT, self._a)


class Gram(Part):
    """``Σₜ gₜ aₜᵀ`` for ``(n, p, T)`` inputs and ``(n, o, T)`` output gradients, by T×T Gram matrices."""

    def __init__(self, parameter: Tensor, a: Tensor, g: Tensor) -> None:
        super().__init__(parameter)
        self._a, self._g = a, g

    def squared_norms(self) -> Tensor:
        """``(n,)``; rounding can bring a vanishing norm below zero: it is cut there."""
        inputs, outputs = torch.bmm(self._a.mT, self._a), torch.bmm(self._g.mT, self._g)
        squared: Tensor = torch.linalg.vecdot(inputs.flatten(1), outputs.flatten(1)).clamp_(min=0)
        return squared

    def rows(self) -> Tensor:
        """``(n, o·p)``."""
        return torch.bmm(self._g, self._a.mT).flatten(1)

    def add_weighted_sum(self, out: Tensor, factors: Tensor) -> None:
        """In place."""
        outputs = (self._g * factors[:, None, None]).transpose(0, 1).flatten(1)
        out.view(len(out), -1).addmm_(outputs, self._a.transpose(0, 1).flatten(1).mT)


Rule = Callable[[Any, Tensor, Tensor], list[Part]]
"""``(layer, input, gradient of the output)`` to the parts of the layer's trainable parameters."""


def rule_for(module: nn.Module, rules: Mapping[type[nn.Module], Rule] | None = None) -> Rule:
    """The rule of exactly this layer's class; a subclass may compute something else, so it needs its own.

    Args:
        module: a layer with trainable parameters.
        rules: rules beside :data:`RULES`, by class.

    Raises:
        InputError: there is none; names the layer's class and what to do.
    """
    found = (rules or {}).get(type(module)) or RULES.get(type(module))
    if found is not None:
        return found
    mixing = keeps_statistics(module)
    raise InputError(
        f"no rule clips the gradients of {type(module).__name__}",
        mend="it mixes the examples of a batch: fold it into its convolution, or use GroupNorm"
        if mixing
        else "freeze it, replace it by a layer with a rule, or give a rule for its class",
    )


def _convolution(layer: nn.Conv1d | nn.Conv2d, a: Tensor, g: Tensor) -> list[Part]:
    parts: list[Part] = []
    if _trains(layer.bias):
        parts.append(Kept(layer.bias, g.flatten(2).sum(2)))
    if _trains(layer.weight):
        if _pointwise(layer):
            parts.append(_over_positions(layer.weight, a.flatten(2), g.flatten(2)))
        else:
            parts.append(Kept(layer.weight, per_example_weight_gradient(layer, a, g)))
    return parts


def _linear(layer: nn.Linear, a: Tensor, g: Tensor) -> list[Part]:
    parts: list[Part] = []
    positions = a.dim() > 2
    if _trains(layer.bias):
        parts.append(Kept(layer.bias, g.flatten(1, -2).sum(1) if positions else g))
    if _trains(layer.weight):
        if positions:
            parts.append(_over_positions(layer.weight, a.flatten(1, -2).mT, g.flatten(1, -2).mT))
        else:
            parts.append(Outer(layer.weight, a, g))
    return parts


def _over_positions(parameter: Tensor, a: Tensor, g: Tensor) -> Part:
    """``(n, p, T)`` and ``(n, o, T)``: by Gram matrices or by the gradients themselves, whichever is cheaper."""
    inputs, outputs, positions = a.shape[1], g.shape[1], a.shape[2]
    if positions == 1:
        return Outer(parameter, a[..., 0], g[..., 0])
    if _GRAM_ADVANTAGE * positions * (inputs + outputs) < inputs * outputs:
        return Gram(parameter, a, g)
    return Kept(parameter, torch.bmm(g, a.mT))


def _group_norm(layer: nn.GroupNorm, a: Tensor, g: Tensor) -> list[Part]:
    normal = functional.group_norm(a, layer.num_groups, None, None, layer.eps)
    return _affine(layer.weight, layer.bias, (normal.flatten(2) * g.flatten(2)).sum(2), g.flatten(2).sum(2))


def _layer_norm(layer: nn.LayerNorm, a: Tensor, g: Tensor) -> list[Part]:
    normal = functional.layer_norm(a, layer.normalized_shape, None, None, layer.eps)
    own = tuple(range(1, a.dim() - len(layer.normalized_shape)))
    scaled, shifted = normal * g, g
    return _affine(layer.weight, layer.bias, scaled.sum(own) if own else scaled, shifted.sum(own) if own else shifted)


def _affine(weight: Tensor | None, bias: Tensor | None, scale: Tensor, shift: Tensor) -> list[Part]:
    parts: list[Part] = []
    if _trains(weight):
        parts.append(Kept(weight, scale))
    if _trains(bias):
        parts.append(Kept(bias, shift))
    return parts


def _embedding(layer: nn.Embedding, a: Tensor, g: Tensor) -> list[Part]:
    if layer.max_norm is not None or layer.scale_grad_by_freq or layer.sparse:
        raise InputError("an embedding with max_norm, scale_grad_by_freq or sparse gradients has no rule")
    n, width = len(a), layer.embedding_dim
    rows = g.new_zeros(n, layer.num_embeddings, width)
    index = a.flatten(1)[..., None].expand(-1, -1, width)
    rows.scatter_add_(1, index, g.reshape(n, -1, width))
    if layer.padding_idx is not None:
        rows[:, layer.padding_idx] = 0
    return [Kept(layer.weight, rows)]


def _pointwise(layer: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether each position of the output reads one position of the input, and all of its channels."""
    ones = (1,) * len(layer.kernel_size)
    return (
        layer.groups == 1 and layer.kernel_size == ones and layer.stride == ones and not any(padding_of_kernel(layer))
    )


def _trains(parameter: Tensor | None) -> TypeGuard[Tensor]:
    return parameter is not None and parameter.requires_grad


RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {
        nn.Conv1d: _convolution,
        nn.Conv2d: _convolution,
        nn.Linear: _linear,
        nn.GroupNorm: _group_norm,
        nn.LayerNorm: _layer_norm,
        nn.Embedding: _embedding,
    }
)
