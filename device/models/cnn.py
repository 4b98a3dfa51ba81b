"""A small convolutional network for 28×28 pictures of one channel, the usual one of federated simulators; numpy alone.

3×3 convolution to 16 channels, ReLU, 2×2 max-pooling, 3×3 convolution to 32 channels, ReLU, max-pooling, linear to 120,
ReLU, linear to the classes: 102,130 weights for ten classes, with the names and shapes that torch's layers would have.

The gradient is written out, because with batches of ten pictures a framework spends most of its time beside the
arithmetic (one core, least of many steps: 3.9 ms with torch's layers and autograd, 1.2 ms here), and because a device
then needs no framework. What makes it fast:

- channels come last, so that a convolution is one matrix product over patches;
- each convolution's outputs are kept in four planes, one for each place in a pooling window, so that pooling is three
  maxima of whole planes;
- outputs that the pooling would drop are not computed: 24×24 of the first convolution's 26×26 outputs reach the second
  one's 10×10, which its pooling reads;
- bias and ReLU, which commute with the maximum, come after the pooling;
- arrays are made once for each batch size and thread, and written in place.
"""

import math
import threading

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from skerry.records import Float32Array, ParameterLayout

__all__ = ["Cnn"]

_FLOAT = 4  # bytes
_KEPT = 4  # batch sizes


class Cnn:
    """The network: its weights are a flat vector that the caller keeps, laid out as :attr:`layout` says.

    Guarantee: results depend on the arguments alone; one instance may be used by several threads.

    Args:
        classes: number of outputs.
    """

    input_shape = (1, 28, 28)

    def __init__(self, classes: int) -> None:
        self.classes = classes
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
        return self._pass(len(x)).forward(self.layout.split(weights), x).copy()

    def gradient(self, weights: Float32Array, x: Float32Array, y: npt.NDArray[np.int64], out: Float32Array) -> None:
        """Write the gradient of the mean cross-entropy over a batch, ``(d,)``, into ``out``.

        Args:
            weights: ``(d,)`` float32.
            x: ``(n, 1, 28, 28)`` float32, C order; n is at least one.
            y: ``(n,)`` class indices.
            out: ``(d,)`` float32, overwritten.
        """
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

        self.n = n
        self.patches1 = empty(9, 2 * 2 * n * 12 * 12)
        self.pool1 = _Pool(n, 12, 16)
        self.patches2 = empty(2, 2, n, 5, 5, 3, 3 * 16)
        self.pool2 = _Pool(n, 5, 32)
        self.flat = empty(n, 32, 5, 5)
        self.hidden = empty(n, 120)
        self.scores = empty(n, classes)
        self.padded = np.zeros((n, 10, 14, 32), np.float32)  # its outer two columns on each side stay zero
        self.columns = empty(n, 10, 12, 3 * 32)
        self.shifted = empty(n * 10 * 12, 16)

    def forward(self, w: dict[str, Float32Array], x: Float32Array) -> Float32Array:
        """Scores; the array is this pass's own."""
        n = self.n
        x = np.ascontiguousarray(x, np.float32)
        _copy_windows(self.patches1, x, (3, 3, 2, 2, n, 12, 12), (28, 1, 28, 1, 784, 56, 2))
        np.matmul(self.patches1.T, w["conv1.weight"].reshape(16, 9).T, out=self.pool1.planes.reshape(-1, 16))
        h = self.pool1.forward(w["conv1.bias"])
        _copy_windows(self.patches2, h, (2, 2, n, 5, 5, 3, 48), (192, 16, 2304, 384, 32, 192, 1))
        np.matmul(self.patches2.reshape(-1, 144), _kernel2(w).T, out=self.pool2.planes.reshape(-1, 32))
        h = self.pool2.forward(w["conv2.bias"])
        self.flat[...] = h.transpose(0, 3, 1, 2)
        np.matmul(self.flat.reshape(n, 800), w["fc1.weight"].T, out=self.hidden)
        np.add(self.hidden, w["fc1.bias"], out=self.hidden)
        np.maximum(self.hidden, 0, out=self.hidden)
        np.matmul(self.hidden, w["fc2.weight"].T, out=self.scores)
        return np.add(self.scores, w["fc2.bias"], out=self.scores)

    def backward(self, w: dict[str, Float32Array], error: Float32Array, g: dict[str, Float32Array]) -> None:
        """Gradients into ``g``, from ``error``: ``(n, classes)``, the loss differentiated by the scores."""
        n = self.n
        np.matmul(error.T, self.hidden, out=g["fc2.weight"])
        error.sum(axis=0, out=g["fc2.bias"])
        hidden = error @ w["fc2.weight"]
        hidden *= self.hidden > 0
        np.matmul(hidden.T, self.flat.reshape(n, 800), out=g["fc1.weight"])
        hidden.sum(axis=0, out=g["fc1.bias"])
        flat = (hidden @ w["fc1.weight"]).reshape(n, 32, 5, 5)

        planes = self.pool2.backward(np.ascontiguousarray(flat.transpose(0, 2, 3, 1)), g["conv2.bias"])
        kernel = planes.reshape(-1, 32).T @ self.patches2.reshape(-1, 144)
        g["conv2.weight"][...] = kernel.reshape(32, 3, 3, 16).transpose(0, 3, 1, 2)

        planes = self.pool1.backward(self._by_input2(w["conv2.weight"], planes), g["conv1.bias"])
        kernel = self.patches1 @ planes.reshape(-1, 16)
        g["conv1.weight"].reshape(16, 9)[...] = kernel.T

    def _by_input2(self, weight: Float32Array, planes: Float32Array) -> Float32Array:
        """The second convolution's adjoint: gradient by its outputs, ``(2, 2, n, 5, 5, 32)``, to that by its inputs.

        ``(n, 12, 12, 16)``: a convolution along the rows with the kernel turned round, then three sums of columns.
        """
        for a in range(2):
            for b in range(2):
                self.padded[:, a::2, 2 + b : 12 : 2] = planes[a, b]
        _copy_windows(self.columns, self.padded, (self.n, 10, 12, 96), (4480, 448, 32, 1))
        turned = np.ascontiguousarray(weight[:, :, :, ::-1].transpose(2, 3, 0, 1)).reshape(3, 96, 16)
        result = np.zeros((self.n, 12, 12, 16), np.float32)
        for i in range(3):
            np.matmul(self.columns.reshape(-1, 96), turned[i], out=self.shifted)
            result[:, i : i + 10] += self.shifted.reshape(self.n, 10, 12, 16)
        return result


class _Pool:
    """2×2 max-pooling, bias and ReLU of ``planes``, ``(2, 2, n, size, size, channels)``, overwritten on the way back.

    Of equal values the first in reading order gets the gradient, as in torch.
    """

    def __init__(self, n: int, size: int, channels: int) -> None:
        self.planes = np.empty((2, 2, n, size, size, channels), np.float32)
        self._rows = np.empty((2, n, size, size, channels), np.float32)
        self._out = np.empty((n, size, size, channels), np.float32)
        self._mask = np.empty((n, size, size, channels), np.bool_)
        self._ones = np.ones(n * size * size, np.float32)

    def forward(self, bias: Float32Array) -> Float32Array:
        """``(n, size, size, channels)``; the array is the pool's own."""
        np.maximum(self.planes[:, 0], self.planes[:, 1], out=self._rows)
        np.maximum(self._rows[0], self._rows[1], out=self._out)
        np.add(self._out, bias, out=self._out)
        return np.maximum(self._out, 0, out=self._out)

    def backward(self, gradient: Float32Array, bias: Float32Array) -> Float32Array:
        """Gradient by the planes, in their place; that by the bias into ``bias``. ``gradient`` is overwritten."""
        np.multiply(gradient, np.greater(self._out, 0, out=self._mask), out=gradient)
        np.matmul(self._ones, gradient.reshape(len(self._ones), -1), out=bias)
        np.greater(self._rows[1], self._rows[0], out=self._mask)
        np.multiply(gradient, self._mask, out=self._rows[1])
        np.subtract(gradient, self._rows[1], out=self._rows[0])
        for row, (left, right) in zip(self._rows, self.planes, strict=True):
            np.greater(right, left, out=self._mask)
            np.multiply(row, self._mask, out=right)
            np.subtract(row, right, out=left)
        return self.planes


def _kernel2(w: dict[str, Float32Array]) -> Float32Array:
    """The second kernel as ``(32, 144)``: row, column, channel, as its patches lie."""
    return np.ascontiguousarray(w["conv2.weight"].transpose(0, 2, 3, 1)).reshape(32, 144)


def _copy_windows(out: Float32Array, x: Float32Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Copy overlapping windows of a C-ordered array; strides in numbers."""
    out.reshape(shape)[...] = as_strided(x, shape, tuple(_FLOAT * s for s in strides), writeable=False)


def _softmax_error(scores: Float32Array, y: npt.NDArray[np.int64]) -> Float32Array:
    """(softmax(scores) - onehot(y)) / n, in the place of the scores."""
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    scores[np.arange(len(y)), y] -= 1
    scores /= len(y)
    return scores
