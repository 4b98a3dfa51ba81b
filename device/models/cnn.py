"""A small convolutional network for 28×28 pictures of one channel, the usual one of federated simulators; no torch.

3×3 convolution to 16 channels, ReLU, 2×2 max-pooling, 3×3 convolution to 32 channels, ReLU, max-pooling, linear to 120,
ReLU, linear to the classes: 102,130 weights for ten classes, with the names and shapes that torch's layers would have.

The gradient is written out, because with batches of ten pictures a framework spends most of its time beside the
arithmetic (one core, median of 500: 2.1 ms with torch's layers and autograd; 0.76 ms here in numpy, 0.29 ms
compiled), and because a device then needs no framework.

The compiled passes (``_cnn.c``) are optional: see ADR 59 on how they are built, and ADR 94 on these. They compute the
same up to rounding. What makes numpy fast where there are none:

- channels come last, so that a convolution is one matrix product over patches;
- each convolution's outputs are kept in four planes, one for each place in a pooling window, so that pooling is three
  maxima of whole planes;
- outputs that the pooling would drop are not computed: 24×24 of the first convolution's 26×26 outputs reach the second
  one's 10×10, which its pooling reads;
- bias and ReLU, which commute with the maximum, come after the pooling;
- arrays, and the views of them that are written and read, are made once for each batch size and thread.
"""

import math
import threading
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array, ParameterLayout

__all__ = ["KERNEL", "Cnn", "Kernel"]

_FLOAT = 4  # bytes
_KEPT = 4  # batch sizes
_PLAIN: tuple[Literal["C"], Literal["A"]] = ("C", "A")  # C order, aligned: else there is a copy


class Kernel(Protocol):
    """The compiled part; see ``_cnn.pyi``."""

    scores: Callable[[Float32Array, Float32Array, Float32Array], None]
    gradient: Callable[[Float32Array, Float32Array, npt.NDArray[np.int64], Float32Array], None]
    choose: Callable[[str], None]


try:
    from skerry.device.models import _cnn as _compiled
except ImportError:  # no compiler when skerry was installed
    KERNEL: Kernel | None = None
else:
    KERNEL = _compiled


class Cnn:
    """The network: its weights are a flat vector that the caller keeps, laid out as :attr:`layout` says.

    Guarantee: results depend on the arguments alone; one instance may be used by several threads.

    Args:
        classes: number of outputs.
        kernel: the compiled passes; None for numpy.
    """

    input_shape = (1, 28, 28)

    def __init__(self, classes: int, kernel: Kernel | None = KERNEL) -> None:
        self.classes = classes
        self._kernel = kernel
        self.layout = ParameterLayout(
            (
                ("conv1.weight", (16, 1, 3, 3)),
                ("conv1.bias", (16,)),
                ("conv2.weight", (32, 16, 3, 3)),
                ("conv2.bias", (32,)),
                ("fc1.weight", (120, 800)),
                ("fc1.bias", (120,)),
                ("fc2.weight", (classes, 120)),
                ("fc2.bias", (classes,)),
            )
        )
        self._passes = _Passes()

    def initial(self, generator: np.random.Generator) -> Float32Array:
        """Random ``(d,)`` weights, uniform in ±1/√fan-in, as torch's layers start."""
        fan_in = {name: math.prod(shape[1:]) for name, shape in self.layout.tensors if name.endswith("weight")}
        return self.layout.join(
            {
                name: generator.uniform(-1.0, 1.0, shape) / math.sqrt(fan_in[name.partition(".")[0] + ".weight"])
                for name, shape in self.layout.tensors
            }
        )

    def logits(self, weights: Float32Array, x: Float32Array) -> Float32Array:
        """``(n, classes)`` scores of ``(n, 1, 28, 28)`` pictures."""
        if self._kernel is not None:
            scores = np.empty((len(x), self.classes), np.float32)
            self._kernel.scores(_plain(weights), _plain(x), scores)
            return scores
        return self._pass(len(x)).forward(self.layout.split(weights), x).copy()

    def gradient(self, weights: Float32Array, x: Float32Array, y: npt.NDArray[np.int64], out: Float32Array) -> None:
        """Write the gradient of the mean cross-entropy over a batch, ``(d,)``, into ``out``.

        Args:
            weights: ``(d,)`` float32.
            x: ``(n, 1, 28, 28)`` float32, C order; n is at least one.
            y: ``(n,)`` class indices.
            out: ``(d,)`` float32, C order, overwritten.

        Raises:
            IndexError: there is no such class.
        """
        if self._kernel is not None:
            self._kernel.gradient(_plain(weights), _plain(x), np.require(y, np.int64, _PLAIN), out)
            return
        w, g = self.layout.split(weights), self.layout.split(out)
        run = self._pass(len(x))
        run.backward(w, _softmax_error(run.forward(w, x), y), g)

    def _pass(self, n: int) -> "_Pass":
        kept = self._passes.by_size
        if n not in kept:
            if len(kept) >= _KEPT:
                kept.clear()
            kept[n] = _Pass(n, self.classes)
        return kept[n]


class _Passes(threading.local):
    """Each thread's passes, by batch size."""

    def __init__(self) -> None:
        self.by_size: dict[int, _Pass] = {}


class _Pass:
    """One way there and back for ``n`` pictures, in arrays of its own; ``backward`` follows its ``forward``.

    Axes: a, b are the row and column within a pooling window (2×2), n the picture, then rows, columns, channels.
    """

    def __init__(self, n: int, classes: int) -> None:
        def empty(*shape: int) -> Float32Array:
            return np.empty(shape, np.float32)

        self.patches1 = empty(9, 2 * 2 * n * 12 * 12)
        self.pool1 = _Pool(n, 12, 16)
        self.patches2 = empty(2 * 2 * n * 5 * 5, 3 * 3 * 16)
        self.pool2 = _Pool(n, 5, 32)
        self.flat = empty(n, 800)
        self.hidden = empty(n, 120)
        self.scores = empty(n, classes)
        padded = np.zeros((n, 10, 14, 32), np.float32)  # its outer two columns on each side stay zero
        self.columns = empty(n * 10 * 12, 3 * 32)
        self.shifted = empty(n * 10 * 12, 16)
        self.by_input2 = empty(n, 12, 12, 16)
        # Views of these, made once: of ten pictures each takes as long as a tenth of the arithmetic on it.
        self.windows1 = self.patches1.reshape(3, 3, 2, 2, n, 12, 12)
        self.windows2 = self.patches2.reshape(2, 2, n, 5, 5, 3, 48)
        self.of_pool1 = _windows(self.pool1.out, self.windows2.shape, (192, 16, 2304, 384, 32, 192, 1))
        self.channels = self.flat.reshape(n, 32, 25)
        self.of_pool2 = self.pool2.out.reshape(n, 25, 32).transpose(0, 2, 1)
        self.inner = [padded[:, a::2, 2 + b : 12 : 2] for a in range(2) for b in range(2)]
        self.rows = self.columns.reshape(n, 10, 12, 96)
        self.of_padded = _windows(padded, self.rows.shape, (4480, 448, 32, 1))
        self.sums = [self.by_input2[:, i : i + 10] for i in range(3)]
        self.sum = self.shifted.reshape(n, 10, 12, 16)

    def forward(self, w: dict[str, Float32Array], x: Float32Array) -> Float32Array:
        """Scores; the array is this pass's own."""
        x = np.ascontiguousarray(x, np.float32)
        self.windows1[...] = _windows(x, self.windows1.shape, (28, 1, 28, 1, 784, 56, 2))
        np.matmul(self.patches1.T, w["conv1.weight"].reshape(16, 9).T, out=self.pool1.flat)
        self.pool1.forward(w["conv1.bias"])
        self.windows2[...] = self.of_pool1
        np.matmul(self.patches2, _kernel2(w).T, out=self.pool2.flat)
        self.pool2.forward(w["conv2.bias"])
        self.channels[...] = self.of_pool2
        np.matmul(self.flat, w["fc1.weight"].T, out=self.hidden)
        np.add(self.hidden, w["fc1.bias"], out=self.hidden)
        np.maximum(self.hidden, 0, out=self.hidden)
        np.matmul(self.hidden, w["fc2.weight"].T, out=self.scores)
        return np.add(self.scores, w["fc2.bias"], out=self.scores)

    def backward(self, w: dict[str, Float32Array], error: Float32Array, g: dict[str, Float32Array]) -> None:
        """Gradients into ``g``, from ``error``: ``(n, classes)``, the loss differentiated by the scores."""
        np.matmul(error.T, self.hidden, out=g["fc2.weight"])
        error.sum(axis=0, out=g["fc2.bias"])
        hidden = error @ w["fc2.weight"]
        hidden *= self.hidden > 0
        np.matmul(hidden.T, self.flat, out=g["fc1.weight"])
        hidden.sum(axis=0, out=g["fc1.bias"])
        flat = (hidden @ w["fc1.weight"]).reshape(-1, 32, 25)

        by_pool2 = np.ascontiguousarray(flat.transpose(0, 2, 1), np.float32)
        self.pool2.backward(by_pool2.reshape(-1, 5, 5, 32), g["conv2.bias"])
        kernel = self.pool2.flat.T @ self.patches2
        g["conv2.weight"][...] = kernel.reshape(32, 3, 3, 16).transpose(0, 3, 1, 2)

        self.pool1.backward(self._by_input2(w["conv2.weight"]), g["conv1.bias"])
        kernel = self.patches1 @ self.pool1.flat
        g["conv1.weight"].reshape(16, 9)[...] = kernel.T

    def _by_input2(self, weight: Float32Array) -> Float32Array:
        """The second convolution's adjoint: gradient by its outputs, in the planes, to that by its inputs.

        ``(n, 12, 12, 16)``: a convolution along the rows with the kernel turned round, then three sums of columns.
        """
        for inner, plane in zip(self.inner, self.pool2.each, strict=True):
            inner[...] = plane
        self.rows[...] = self.of_padded
        turned = np.ascontiguousarray(weight[:, :, :, ::-1].transpose(2, 3, 0, 1)).reshape(3, 96, 16)
        self.by_input2.fill(0)
        for kernel, into in zip(turned, self.sums, strict=True):
            np.matmul(self.columns, kernel, out=self.shifted)
            np.add(into, self.sum, out=into)
        return self.by_input2


class _Pool:
    """2×2 max-pooling, bias and ReLU of ``planes``, ``(2, 2, n, size, size, channels)``, overwritten on the way back.

    Of equal values the first in reading order gets the gradient, as in torch.
    """

    def __init__(self, n: int, size: int, channels: int) -> None:
        self.planes = planes = np.empty((2, 2, n, size, size, channels), np.float32)
        rows = np.empty((2, n, size, size, channels), np.float32)
        self.out = np.empty((n, size, size, channels), np.float32)
        self._mask = np.empty((n, size, size, channels), np.bool_)
        self._ones = np.ones(n * size * size, np.float32)
        # views of the planes: pixel by pixel, one after the other in reading order, the left ones, the right ones
        self.flat = planes.reshape(-1, channels)
        self.each = (planes[0, 0], planes[0, 1], planes[1, 0], planes[1, 1])
        self._left, self._right, self._rows = planes[:, 0], planes[:, 1], rows
        self._upper, self._lower = rows[0], rows[1]

    def forward(self, bias: Float32Array) -> Float32Array:
        """``(n, size, size, channels)``; the array is the pool's own, :attr:`out`."""
        np.maximum(self._left, self._right, out=self._rows)
        np.maximum(self._upper, self._lower, out=self.out)
        np.add(self.out, bias, out=self.out)
        return np.maximum(self.out, 0, out=self.out)

    def backward(self, gradient: Float32Array, bias: Float32Array) -> Float32Array:
        """Gradient by the planes, in their place; that by the bias into ``bias``. ``gradient`` is overwritten."""
        np.multiply(gradient, np.greater(self.out, 0, out=self._mask), out=gradient)
        np.matmul(self._ones, gradient.reshape(len(self._ones), -1), out=bias)
        np.greater(self._lower, self._upper, out=self._mask)
        np.multiply(gradient, self._mask, out=self._lower)
        np.subtract(gradient, self._lower, out=self._upper)
        upper_left, upper_right, lower_left, lower_right = self.each
        for row, left, right in ((self._upper, upper_left, upper_right), (self._lower, lower_left, lower_right)):
            np.greater(right, left, out=self._mask)
            np.multiply(row, self._mask, out=right)
            np.subtract(row, right, out=left)
        return self.planes


def _plain(array: Float32Array) -> Float32Array:
    return np.require(array, np.float32, _PLAIN)


def _kernel2(w: dict[str, Float32Array]) -> Float32Array:
    """The second kernel as ``(32, 144)``: row, column, channel, as its patches lie."""
    return np.ascontiguousarray(w["conv2.weight"].transpose(0, 2, 3, 1)).reshape(32, 144)


def _windows(x: Float32Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Float32Array:
    """Overlapping windows of a C-ordered array, to be read; strides in numbers."""
    return np.ndarray(shape, np.float32, x, strides=[_FLOAT * s for s in strides])


def _softmax_error(scores: Float32Array, y: npt.NDArray[np.int64]) -> Float32Array:
    """(softmax(scores) - onehot(y)) / n, in the place of the scores."""
    if len(y) and y.min() < 0:
        raise IndexError("labels must be those of a class")  # of negative ones numpy takes the last
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    scores[np.arange(len(y)), y] -= 1
    scores /= len(y)
    return scores
