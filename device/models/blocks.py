"""The parts that mobile networks share: convolution with norm, inverted residual, squeeze-excite, and their frame.

Padding is TensorFlow's "SAME", as the networks were published: ⌈size/stride⌉ outputs, the odd zero at the bottom and
the right. It depends on the input size, which is therefore fixed when a network is made.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.errors import InputError
from skerry.records import ParameterLayout

__all__ = ["Activation", "ConvNorm", "InvertedResidual", "Network", "SqueezeExcite", "require_size", "round_channels"]

Activation = Literal["relu", "relu6", "hard_swish"]
Pair = tuple[int, int]

_NORM_EPSILON = 1e-3
_CEILING = 6.0
_RESIDUAL = 0.2
"""First scale of what a residual block adds to its input: blocks that begin near the identity train faster (Goyal et
al., arXiv:1706.02677, section 5.1, with 0). After two epochs of 2,500 MNIST digits, half a Lite0 at 28 pixels reaches
0.90 with 0, 0.1 or 0.3, and 0.84 with 1. Not 0, so that no untrained layer is silent when it is calibrated or pruned.
"""


def round_channels(channels: float, multiple: int = 8) -> int:
    """The nearest multiple (of at least one), but never less than 0.9 of what was asked.

    Source: ``_make_divisible`` of tensorflow/models ``slim/nets/mobilenet``, used by all the families here.
    """
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * channels else rounded


def require_size(name: str, size: Pair, halvings: Pair) -> None:
    """Refuse an input so small that one of the network's strides of two would have nothing left to halve.

    Args:
        name: of the network.
        size: height and width of the input.
        halvings: how often the network halves each.

    Raises:
        InputError: names the least size.
    """
    least = tuple(2 ** (h - 1) + 1 if h else 1 for h in halvings)
    if any(have < need for have, need in zip(size, least, strict=True)):
        raise InputError(
            f"an input of {size[0]}x{size[1]} is too small for {name}",
            where="input size",
            mend=f"the least is {least[0]}x{least[1]}"
            + ("; for windows (channels, 1, length) choose ds_cnn" if size[0] == 1 else ""),
        )


class ConvNorm(nn.Module):
    """Convolution with "SAME" padding, batch norm, and an activation.

    Args:
        inputs: channels read.
        outputs: channels written.
        size: height and width of the input.
        kernel: height and width.
        stride: down and across.
        groups: of the convolution.
        act: None for a linear output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        size: Pair,
        kernel: Pair = (1, 1),
        stride: Pair = (1, 1),
        groups: int = 1,
        act: Activation | None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=_NORM_EPSILON)
        self.act = act
        self.size = (-(-size[0] // stride[0]), -(-size[1] // stride[1]))  # of the output
        down, across = (
            max((out - 1) * s + k - have, 0) for out, s, k, have in zip(self.size, stride, kernel, size, strict=True)
        )
        self.pad = (across // 2, across - across // 2, down // 2, down - down // 2)  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, *size)`` to ``(n, outputs, *self.size)``."""
        if any(self.pad):
            x = functional.pad(x, self.pad)
        x = self.norm(self.conv(x))
        if self.act == "relu6":
            return functional.hardtanh(x, 0.0, _CEILING)
        if self.act == "hard_swish":
            return functional.hardswish(x)
        return functional.relu(x) if self.act == "relu" else x


class SqueezeExcite(nn.Module):
    """Each channel times a gate in 0…1 that two small layers read off all channels' means (arXiv:1709.01507).

    Hard-sigmoid for the sigmoid, as in MobileNetV3 (arXiv:1905.02244, section 5.2).
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, h, w)`` to the same shape."""
        gate = torch.mean(x, (2, 3), keepdim=True)
        gate = functional.relu(self.squeeze(gate))
        return x * functional.hardsigmoid(self.excite(gate))


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; added to the input where shapes allow.

    Source: MobileNetV2, arXiv:1801.04381, figure 4; with ``squeezed``, MobileNetV3, arXiv:1905.02244, figure 4.

    Args:
        inputs: channels read.
        hidden: channels of the depthwise convolution; equal to ``inputs``, there is no expansion.
        outputs: channels written.
        size: height and width of the input.
        kernel: of the depthwise convolution, square.
        stride: of the depthwise convolution, both ways.
        act: after expansion and depthwise convolution.
        squeezed: channels of the squeeze-excite between depthwise convolution and projection; None for none.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        size: Pair,
        kernel: int,
        stride: int,
        act: Activation,
        squeezed: int | None = None,
    ) -> None:
        super().__init__()
        self.expand = ConvNorm(inputs, hidden, size=size, act=act) if hidden != inputs else None
        self.depthwise = ConvNorm(
            hidden, hidden, size=size, kernel=(kernel, kernel), stride=(stride, stride), groups=hidden, act=act
        )
        self.gate = SqueezeExcite(hidden, squeezed) if squeezed else None
        self.project = ConvNorm(hidden, outputs, size=self.depthwise.size, act=None)
        self.residual = stride == 1 and inputs == outputs
        self.size = self.depthwise.size

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, *size)`` to ``(n, outputs, *self.size)``."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.gate is not None:
            y = self.gate(y)
        y = self.project(y)
        return x + y if self.residual else y


class Network(nn.Module):
    """``(n, channels, height, width)`` float32 to ``(n, classes)`` scores, or to ``(n, features)`` without classes.

    The stages, then the mean over height and width, then one linear layer. A tail is split off by cutting ``stages``.

    Attributes:
        stages: blocks in order, each from one map to the next.
        classifier: ``nn.Linear``, or ``nn.Identity`` without classes.
        features: channels of the last map.
        input_shape: channels, height, width.

    Args:
        stages: blocks in order.
        features: channels of the last one.
        classes: number of scores; None for the pooled features.
        input_shape: channels, height, width.
        seed: of the first weights, which depend on nothing else.
    """

    def __init__(
        self,
        stages: list[nn.Module],
        features: int,
        classes: int | None,
        *,
        input_shape: tuple[int, int, int],
        seed: int,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.classifier: nn.Module = nn.Identity() if classes is None else nn.Linear(features, classes)
        self.features = features
        self.input_shape = input_shape
        _initialise(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Scores or features of a batch (see the class)."""
        pooled = torch.mean(self.stages(x), (2, 3))
        scores: Tensor = self.classifier(pooled)
        return scores

    @property
    def layout(self) -> ParameterLayout:
        """Names and shapes of the parameters, norms included, in the order of the flat vector."""
        return ParameterLayout(tuple((name, tuple(p.shape)) for name, p in self.named_parameters()))


@torch.no_grad()
def _initialise(network: nn.Module, seed: int) -> None:
    """Normal weights of variance 2/fan-out, zero biases (He et al., arXiv:1502.01852), from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            deviation = math.sqrt(2.0 * module.groups / (height * width * module.out_channels))
            module.weight.normal_(0.0, deviation, generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.normal_(0.0, 0.01, generator=generator)  # MobileNetV2's reference code
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
        if isinstance(module, InvertedResidual) and module.residual:
            module.project.norm.get_parameter("weight").fill_(_RESIDUAL)
