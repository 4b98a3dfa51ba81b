"""A linear head on frozen features, trained with softmax cross-entropy: numpy alone, gradients in closed form.

With features a (the last one is the constant of the bias) and predicted probabilities p, one example's gradient is
the outer product (p - onehot(y)) ⊗ a, whose norm is ‖p - onehot(y)‖·‖a‖: clipping needs no per-example gradients, and
autograd is not needed at all (Goodfellow 2015, "Efficient per-example gradient computations").

An example may come as v views of it. Its gradient is then the mean over them, 1/v·Σ (pⱼ - onehot(y)) ⊗ aⱼ, and only
this mean is clipped (*augmentation multiplicity*, De et al. 2022, arXiv:2204.13650): the sensitivity, and so the price,
is that of one view. It is no outer product any more; it is formed, and its norm is taken from it.
"""

import math

import numpy as np
import numpy.typing as npt

from skerry.device.tasks.metrics import softmax
from skerry.device.training.descent import descend, descend_privately
from skerry.device.training.dp import Grid
from skerry.device.training.head_rows import KERNEL, Kernel, add_products, errors_of
from skerry.device.training.plan import TrainPlan
from skerry.device.yielding import yield_if_asked
from skerry.errors import InputError
from skerry.records import Float32Array, ParameterLayout
from skerry.security.privacy.stream import RandomStream

__all__ = ["HeadTrainer"]

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]  # made once: in a function's annotations it would be made at each call of what holds it
_BLOCK = 1 << 16  # numbers of per-example gradients held at once: 512 KiB as float64, as much as int64, in cache
_BETWEEN = 2048  # examples after which it is asked whether to stop: some hundredths of a second


class HeadTrainer:
    """Trains ``head.weight``, ``(classes, features)``, bias column included.

    Under unit ``example``, the deltas of all rounds together are differentially private per example, under add/remove,
    at the sum of the plans' :attr:`~skerry.device.training.plan.TrainPlan.event`, against anybody who knows everything
    but that example. This rests on three things: each vector given to :meth:`train` is computed from public values
    and earlier deltas; the features of one example do not depend on the other examples, not even in the last bit
    (compute them one by one); the stream is secret. Time and memory depend on the number of examples.

    Args:
        classes: number of classes c.
        features: length k of a feature vector, the bias's constant included.
        kernel: the compiled loop of private steps; None for numpy, which computes the same bits.
    """

    def __init__(self, classes: int, features: int, kernel: Kernel | None = KERNEL) -> None:
        if classes < 2 or features < 1:
            raise InputError(f"a head needs two classes and a feature, got {classes} and {features}")
        self.classes = classes
        self.features = features
        self.layout = ParameterLayout((("head.weight", (classes, features)),))
        self._kernel = kernel
        self.left_out = 0
        """Examples left out of steps so far by :meth:`Grid.add`; private like the data. Not zero means a fault."""

    def train(
        self,
        vector: Float32Array,
        features: Float32Array,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """One round of local training.

        Args:
            vector: ``(d,)`` float32, the head to start from.
            features: ``(n, k)`` float32; n may be 0. ``(n, v, k)``: v views of each example. All views of an example
                must be functions of that example alone.
            y: ``(n,)`` int64 classes.
            plan: what to do; debit its event *before* this is called.
            stream: noise (unit ``example``) or the order of mini-batches (unit ``none``).
            correction: ``(d,)`` added to each step's gradient: see :mod:`~skerry.device.training.descent`.

        Returns:
            ``(d,)`` float32: the trained head less ``vector``.

        Raises:
            InputError: shapes do not fit the head. Values never raise: under unit ``example`` an error would tell
                something about them. An example with a value that cannot be used is left out.
        """
        fits = features.ndim in {2, 3} and (len(features), features.shape[-1]) == (len(y), self.features)
        if not fits or 0 in features.shape[1:] or y.dtype.kind != "i":
            raise InputError(
                f"expected features of shape {(len(y), self.features)}, or views of each example between the two, and"
                f" integer classes, got {features.shape} and {y.dtype}"
            )
        shape = self.layout.split(vector)["head.weight"].shape
        start = vector.astype(np.float64)
        inputs = np.ascontiguousarray(features, dtype=np.float64)
        views = 1 if inputs.ndim == 2 else inputs.shape[1]

        def drawn(chosen: _Int64) -> tuple[_Float64, _Int64]:
            everybody = len(chosen) == len(y)  # in order, nobody twice: nothing to copy
            return (inputs, y) if everybody else (inputs[chosen], y[chosen])

        def integer_sum(weight: _Float64, chosen: _Int64, grid: Grid) -> _Int64:
            return self.integer_sum(weight.reshape(shape), *drawn(chosen), grid)

        def gradient(weight: _Float64, chosen: _Int64, out: _Float64) -> None:
            some, labels = drawn(chosen)
            a = some.reshape(-1, self.features)
            e = softmax(a @ weight.reshape(shape).T)
            e[np.arange(len(a)), np.repeat(labels, views)] -= 1
            np.divide(e.T @ a, len(a), out=out.reshape(shape))

        def order(count: int) -> _Int64:
            return stream.permutation(count) if 0 < plan.batch_size < count else np.arange(count)

        added = None if correction is None else correction.astype(np.float64)
        with np.errstate(all="ignore"):
            if plan.unit == "example":
                trained = descend_privately(start, len(y), integer_sum, plan, stream, added)
            else:
                trained = descend(start, len(y), gradient, plan, order, added)
            return (trained - start).astype(np.float32)

    def logits(self, vector: Float32Array, features: Float32Array) -> Float32Array:
        """Scores ``(n, c)`` of a head; for evaluation."""
        return features @ self.layout.split(vector)["head.weight"].T

    def integer_sum(
        self, weight: _Float64, inputs: _Float64, y: npt.NDArray[np.int64], grid: Grid
    ) -> npt.NDArray[np.int64]:
        """Σ z over the examples, ``(d,)`` int64: not private before :meth:`Grid.release`.

        Each example's z depends on that example and on ``weight`` alone, to the last bit: see
        :mod:`~skerry.device.training.head_rows`, and :func:`_mean_gradients` for views.

        Args:
            weight: ``(c, k)``.
            inputs: ``(n, k)``, or ``(n, v, k)`` views of each example.
            y: ``(n,)``.
            grid: of :attr:`layout`'s size.
        """
        total = np.zeros(self.layout.size, np.int64)
        if inputs.ndim == 3:
            block = max(1, _BLOCK // self.layout.size)
            for first in range(0, len(y), block):
                yield_if_asked()
                part = slice(first, first + block)
                gradients, norms = _mean_gradients(weight, inputs[part], y[part])
                gradients *= grid.factors(norms)[:, None]
                self.left_out += grid.add(gradients, total)
            return total
        for begin in range(0, len(y), _BETWEEN):
            yield_if_asked()
            some = slice(begin, begin + _BETWEEN)
            errors, norms = errors_of(weight, inputs[some], y[some], self._kernel)
            errors *= grid.factors(norms)[:, None]
            self.left_out += add_products(errors, inputs[some], grid, total, self._kernel)
        return total


def _mean_gradients(weight: _Float64, inputs: _Float64, y: npt.NDArray[np.int64]) -> tuple[_Float64, _Float64]:
    """Each example's mean gradient over its views, ``(n, c·k)``, and its norm; NaN where the class does not exist.

    One example at a time, always with the same shapes and the same alignment: a product over all of them would be
    quicker, but its rows change in the last bit with their number (BLAS picks another kernel). So no bit of one depends
    on the others; on another machine they may be other bits.
    """
    classes, length = weight.shape
    views = inputs.shape[1]
    gradients, norms = np.empty((len(y), classes * length)), np.empty(len(y))
    w, a, e, g = (_aligned(*shape) for shape in ((classes, length), (views, length), (views, classes), weight.shape))
    w[:] = weight
    for i, label in enumerate(y.tolist()):
        a[:] = inputs[i]
        np.dot(a, w.T, out=e)
        e -= e.max(axis=1, keepdims=True)
        np.exp(e, out=e)
        e /= e.sum(axis=1, keepdims=True)
        e[:, label if 0 <= label < classes else slice(None)] -= 1 if 0 <= label < classes else math.nan
        e /= views
        np.dot(e.T, a, out=g)
        flat = g.reshape(-1)
        gradients[i] = flat
        norms[i] = math.sqrt(np.dot(flat, flat))
    return gradients, norms


def _aligned(*shape: int) -> _Float64:
    """An uninitialised array that starts at a multiple of 64 bytes."""
    size = math.prod(shape)
    room = np.empty(size + 7)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + size].reshape(shape)
