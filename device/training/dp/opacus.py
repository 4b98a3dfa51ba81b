"""A quick per-example gradient rule for depthwise and grouped convolutions, for users of Opacus.

Opacus's own rule multiplies every output channel with every input channel and throws away what is not on the
diagonal; here each example and group is a group of one convolution. After :func:`register`, ``PrivacyEngine`` in its
default mode (``grad_sample_mode="hooks"``) uses it for ``Conv1d`` and ``Conv2d``; nothing else changes.
"""

import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from skerry.device.training.dp.convolutions import per_example_weight_gradient

__all__ = ["register"]


def register() -> None:
    """Replace Opacus's gradient samplers of ``Conv1d`` and ``Conv2d`` in this process; again is harmless."""
    for layer in (nn.Conv1d, nn.Conv2d):
        GradSampleModule.GRAD_SAMPLERS[layer] = _convolution


def _convolution(
    layer: nn.Conv1d | nn.Conv2d, activations: list[torch.Tensor], backprops: torch.Tensor
) -> dict[torch.Tensor, torch.Tensor]:
    found: dict[torch.Tensor, torch.Tensor] = {}
    if layer.bias is not None and layer.bias.requires_grad:
        found[layer.bias] = backprops.flatten(2).sum(2)
    if layer.weight.requires_grad:
        found[layer.weight] = per_example_weight_gradient(layer, activations[0], backprops)
    return found
