"""A small convolutional network for 28×28 pictures of one channel: the usual task of federated simulators.

3×3 convolution to 16 channels, pool, 3×3 convolution to 32 channels, pool, linear to 120, linear to the classes;
102,130 parameters for ten classes. Weights have the names and shapes of torch's own layers, and the function is the
same; what differs is how it is computed, because with batches of ten pictures torch's own layers spend most of their
time on anything but arithmetic (one core, batch 10: the first max-pooling takes 646 µs channel-first and 72 µs
channel-last). So:

- tensors stay channel-last, and a convolution is one matrix product over patches;
- outputs of the second convolution that the pooling would drop are not computed;
- bias and ReLU, which commute with the maximum, come after the pooling, on a quarter of the values.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["Cnn"]

_KERNEL = 3


class Cnn(nn.Module):
    """``(n, 1, 28, 28)`` float32 pictures to ``(n, classes)`` logits.

    Equal, up to rounding, to convolution, ReLU and 2×2 max-pooling, twice, then flatten, linear, ReLU, linear.
    Assumption: only first derivatives by the weights are asked for, none by the pictures.
    """

    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, _KERNEL)
        self.conv2 = nn.Conv2d(16, 32, _KERNEL)
        self.fc1 = nn.Linear(800, 120)
        self.fc2 = nn.Linear(120, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        n = len(x)
        # C order decides which of two products autograd takes for the kernel's gradient; the other is 5 times slower.
        kernel1 = self.conv1.weight.view(16, 9).t().contiguous()
        kernel2 = self.conv2.weight.permute(0, 2, 3, 1).reshape(32, 144).t()
        h = _plane_patches(x).t() @ kernel1
        h = _pool(h.view(n, 26, 26, 16), self.conv1.bias)
        h = _patches(h) @ kernel2
        h = _pool(h.view(n, 10, 10, 32), self.conv2.bias)
        h = h.permute(0, 3, 1, 2).flatten(1)
        logits: Tensor = self.fc2(functional.relu(self.fc1(h)))
        return logits


def _pool(x: Tensor, bias: Tensor | None) -> Tensor:
    """2×2 max-pooling, bias and ReLU; ``(n, h, w, c)`` to ``(n, h/2, w/2, c)``."""
    assert bias is not None
    return functional.relu(functional.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1) + bias)


def _plane_patches(x: Tensor) -> Tensor:
    """The 3×3 patches of one-channel pictures, ``(n, 1, 28, 28)`` to ``(9, n·26·26)``; no gradient.

    One row for each position in the kernel, so that whole picture rows are copied at a time.
    """
    windows = x.detach().contiguous().as_strided((_KERNEL, _KERNEL, len(x), 26, 26), (28, 1, 784, 28, 1))
    return windows.reshape(_KERNEL * _KERNEL, -1)


def _patches(x: Tensor) -> Tensor:
    patches: Tensor = _Patches.apply(x)  # type: ignore[no-untyped-call]
    return patches


class _Patches(torch.autograd.Function):
    """The 3×3 patches whose products the pooling will read, and the adjoint of taking them.

    ``(n, h, w, c)`` to ``(n·h'·w', 9·c)``, where ``h'`` and ``w'`` are rounded down to even numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        n, h, w, c = ctx.shape = x.shape
        rows, columns = _even(h), _even(w)
        windows = x.as_strided((n, rows, columns, _KERNEL, _KERNEL * c), (h * w * c, w * c, c, w * c, 1))
        return windows.reshape(n * rows * columns, _KERNEL * _KERNEL * c)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        n, h, w, c = ctx.shape
        rows, columns = _even(h), _even(w)
        parts = gradient.view(n, rows, columns, _KERNEL, _KERNEL, c)
        # A pixel sums over the patches that it is part of: first across, then down (six additions instead of nine).
        across = gradient.new_zeros(n, rows, w, _KERNEL, c)
        for j in range(_KERNEL):
            across[:, :, j : j + columns] += parts[:, :, :, :, j]
        x = gradient.new_zeros(n, h, w, c)
        for i in range(_KERNEL):
            x[:, i : i + rows] += across[:, :, :, i]
        return x


def _even(size: int) -> int:
    """Rows that a 2×2 pooling reads of a 3×3 convolution's output."""
    return (size - _KERNEL + 1) // 2 * 2
