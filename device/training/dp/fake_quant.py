"""Rules of the clipping engine for layers that round their weights: the plain layer's, stopped where rounding stops."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from skerry.device.compression.fake_quant import FakeQuantConv2d, FakeQuantLinear
from skerry.device.training.dp.rules import RULES, Kept, Part, Rule

__all__ = ["FAKE_QUANT_RULES"]


def _straight_through(layer: FakeQuantConv2d | FakeQuantLinear, a: Tensor, g: Tensor) -> list[Part]:
    """The plain layer's parts for its (rounded) input; a weight that saturates has no gradient.

    Where none saturates the plain part is used as it is, ghost norms included. That depends on the weights alone, so it
    is the same for every example.
    """
    plain = RULES[nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear]
    parts = plain(layer, a, g)
    inside = layer.grid.inside(layer.weight)
    if bool(inside.all()):
        return parts
    return [
        Kept(part.parameter, part.rows() * inside.flatten()) if part.parameter is layer.weight else part
        for part in parts
    ]


FAKE_QUANT_RULES: Mapping[type[nn.Module], Rule] = MappingProxyType(
    {FakeQuantConv2d: _straight_through, FakeQuantLinear: _straight_through}
)
"""Given as ``rules=`` to :class:`~skerry.device.training.dp.clipping.ClippingEngine`."""
