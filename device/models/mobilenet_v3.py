"""MobileNetV3-small (Howard et al., arXiv:1905.02244): squeeze-excite and hard-swish, at any width."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.models.blocks import (
    Activation,
    ConvNorm,
    InvertedResidual,
    Network,
    require_size,
    round_channels,
)

__all__ = ["mobilenet_v3_small"]

_STEM, _FEATURES = 16, 1024
_LAST_EXPANSION = 6
_HALVINGS = 5
# kernel, hidden channels, channels, squeeze-excite, activation, stride: table 2 of the paper
_BLOCKS: tuple[tuple[int, int, int, bool, Activation, int], ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)


class PooledHead(nn.Module):
    """Mean over height and width, then a 1×1 convolution without norm, and hard-swish: the paper's cheap last stage."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, h, w)`` to ``(n, outputs, 1, 1)``."""
        return functional.hardswish(self.conv(torch.mean(x, (2, 3), keepdim=True)))


def mobilenet_v3_small(
    *, inputs: tuple[int, int, int], classes: int | None, width: float = 1.0, seed: int = 0
) -> Network:
    """The network for this input.

    Args:
        inputs: channels, height, width.
        classes: number of scores; None for the features.
        width: multiplies all channels, but the features only above 1, as Keras's implementation does.
        seed: of the first weights.

    Raises:
        InputError: the input is too small.
    """
    channels, *size = inputs
    require_size("mobilenet_v3_small", (size[0], size[1]), (_HALVINGS, _HALVINGS))
    first = round_channels(_STEM * width)
    stem = ConvNorm(channels, first, size=(size[0], size[1]), kernel=(3, 3), stride=(2, 2), act="hard_swish")
    stages: list[nn.Module] = [stem]
    at, channels = stem.size, first
    for kernel, expanded, base, squeeze, act, stride in _BLOCKS:
        hidden, outputs = round_channels(expanded * width), round_channels(base * width)
        block = InvertedResidual(
            channels,
            hidden,
            outputs,
            size=at,
            kernel=kernel,
            stride=stride,
            act=act,
            squeezed=round_channels(hidden / 4) if squeeze else None,
        )
        stages.append(block)
        at, channels = block.size, outputs
    last, features = channels * _LAST_EXPANSION, round_channels(_FEATURES * max(1.0, width))
    stages += [ConvNorm(channels, last, size=at, act="hard_swish"), PooledHead(last, features)]
    return Network(stages, features, classes, input_shape=inputs, seed=seed)
