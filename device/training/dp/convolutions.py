"""Weight gradients of a convolution, one for each example of a batch, in one call.

*Groups*: one weight gradient in which each example, and each of the layer's groups in it, is a group of its own.
*Windows*: where few channels are read, a product of g and what the kernel sees, over positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["padding_of_kernel", "per_example_weight_gradient"]

_FEW_INPUTS = 4  # channels: up to here windows are quicker (measured: half the time for 1 and 3, slower from 8 on)
_WINDOWS_OVER_OUTPUT = 4  # how much larger than a layer's output they may be


def per_example_weight_gradient(layer: nn.Conv1d | nn.Conv2d, a: Tensor, g: Tensor) -> Tensor:
    """``(n, o, p/groups, *kernel)`` weight gradients of a convolution.

    Args:
        layer: gives kernel, stride, padding, dilation and groups.
        a: ``(n, p, *size)`` inputs.
        g: ``(n, o, *out)`` gradients of the outputs.
    """
    by_windows = _suits_windows(layer, g[0, 0].numel())
    return _by_windows(layer, a, g) if by_windows else _by_groups(layer, a, g)


def _suits_windows(layer: nn.Conv1d | nn.Conv2d, positions: int) -> bool:
    """Whether it reads so few channels that windows are quicker, and they are neither large nor badly aligned.

    MKL takes another path for matrices that start at no multiple of 16 bytes. An example's gradient would then have
    other bits in other places of a batch, which ``privacy.engine = "bookkeeping"`` refuses.
    """
    few = layer.groups == 1 and layer.in_channels <= _FEW_INPUTS
    small = layer.weight[0].numel() <= _WINDOWS_OVER_OUTPUT * layer.out_channels
    return few and small and positions % 4 == 0


def _by_groups(layer: nn.Conv1d | nn.Conv2d, a: Tensor, g: Tensor) -> Tensor:
    """As one weight gradient in which each example is a group of its own."""
    n = len(a)
    a = _padded(layer, a)
    shape = (n * layer.out_channels, *layer.weight.shape[1:])
    result: Tensor = torch.ops.aten.convolution_backward(
        g.reshape(1, -1, *g.shape[2:]),
        a.reshape(1, -1, *a.shape[2:]),
        a.new_empty(shape),
        None,
        layer.stride,
        padding_of_kernel(layer),
        layer.dilation,
        False,
        [0] * len(layer.kernel_size),
        n * layer.groups,
        [False, True, False],
    )[1]
    return result.view(n, *layer.weight.shape)


def _by_windows(layer: nn.Conv1d | nn.Conv2d, a: Tensor, g: Tensor) -> Tensor:
    """As a matrix product over positions of what the kernel sees there."""
    windows = _bordered(layer, a)
    kernel = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for axis, (size, stride, dilation) in enumerate(kernel, start=2):
        windows = windows.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    n, dims = len(a), len(layer.kernel_size)
    windows = windows.movedim(tuple(range(2, 2 + dims)), tuple(range(-dims, 0)))  # positions last
    found = torch.bmm(windows.reshape(n, -1, g[0, 0].numel()), g.flatten(2).mT)
    return found.mT.reshape(n, *layer.weight.shape)


def padding_of_kernel(layer: nn.Conv1d | nn.Conv2d) -> Sequence[int]:
    """Zeros that the kernel itself adds, after :func:`_padded`."""
    return layer.padding if _pads_itself(layer) else [0] * len(layer.kernel_size)  # type: ignore[return-value]


def _padded(layer: nn.Conv1d | nn.Conv2d, a: Tensor) -> Tensor:
    """The input with the border that ``forward`` adds by itself: a word for padding, or a border that is not zero."""
    return a if _pads_itself(layer) else _bordered(layer, a)


def _pads_itself(layer: nn.Conv1d | nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _bordered(layer: nn.Conv1d | nn.Conv2d, a: Tensor) -> Tensor:
    """The input with all of its border."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(a, layer._reversed_padding_repeated_twice, mode)  # noqa: SLF001 - what forward itself uses
