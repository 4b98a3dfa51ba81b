"""EfficientNet-Lite0 in plain torch: depthwise separable blocks, ReLU6, no squeeze-excite, made for int8.

Tan & Le, "EfficientNet" (arXiv:1905.11946) with the changes of the Lite variants (tensorflow/tpu,
``efficientnet/lite``): ReLU6 for swish, no squeeze-excite, stem and head not scaled. Padding is TensorFlow's "SAME":
for stride 2 on an even size it is one pixel more at the bottom and the right, so it depends on the input size, which
is fixed when the network is made.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvNorm", "EfficientNetLite0"]

_NORM_EPSILON = 1e-3
_CEILING = 6.0

# expansion, kernel, channels, repeats, stride of the first
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


class ConvNorm(nn.Module):
    """Convolution with "SAME" padding, batch norm, and ReLU6 where ``act``; square pictures of ``size`` pixels."""

    def __init__(
        self, inputs: int, outputs: int, *, size: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=_NORM_EPSILON)
        self.act = act
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = total // 2
        self.pad = (before, total - before, before, total - before)  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, size, size)`` to ``(n, outputs, ⌈size/stride⌉, ⌈size/stride⌉)``."""
        if any(self.pad):
            x = functional.pad(x, self.pad)
        x = self.norm(self.conv(x))
        return functional.hardtanh(x, 0.0, _CEILING) if self.act else x


class InvertedResidual(nn.Module):
    """1×1 expansion, depthwise convolution, linear 1×1 projection; added to the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, *, size: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, size=size, act=True) if expansion != 1 else None
        self.depthwise = ConvNorm(hidden, hidden, size=size, kernel=kernel, stride=stride, groups=hidden, act=True)
        self.project = ConvNorm(hidden, outputs, size=-(-size // stride), act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """``(n, inputs, size, size)`` to ``(n, outputs, ⌈size/stride⌉, ⌈size/stride⌉)``."""
        y: Tensor = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """``(n, 3, size, size)`` float32 normalised pictures to ``(n, 1280)`` features, or ``(n, 1000)`` logits.

    Args:
        size: input pixels, square; fixes the padding.
        classifier: end with the published ImageNet classifier; without it, with the pooled features.
    """

    def __init__(self, size: int, *, classifier: bool) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, size=size, kernel=3, stride=2, act=True)
        size, channels = -(-size // 2), 32
        blocks: list[nn.Module] = []
        for expansion, kernel, outputs, repeats, first_stride in _STAGES:
            for i in range(repeats):
                stride = first_stride if i == 0 else 1
                blocks.append(
                    InvertedResidual(channels, outputs, size=size, expansion=expansion, kernel=kernel, stride=stride)
                )
                size, channels = -(-size // stride), outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, 1280, size=size, act=True)
        self.classifier = nn.Linear(1280, 1000) if classifier else None

    def forward(self, x: Tensor) -> Tensor:
        """Features or logits of a batch (see the class)."""
        x = self.head(self.blocks(self.stem(x)))
        x = torch.mean(x, (2, 3))
        return x if self.classifier is None else self.classifier(x)
