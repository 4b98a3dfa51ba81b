"""Per-example errors of a linear head, and the sum of its gradients in whole cells: in numpy, or compiled.

Both ways compute the same bits, on every processor: products, sums, quotients and square roots that IEEE 754 rounds one
by one, in an order that is stated here. So no bit of an example depends on the others, however many are computed at
once. (A matrix product would be as quick, but its rows change in the last bit with their number, since BLAS then picks
another kernel; a bit can tip a rounding, and then removing one example would move the others too: more than the
sensitivity of private training allows.)

*Sums over features* are :data:`LANES` sums, each of every eighth product in ascending order, from 0; then these are
folded in halves: eight to four, to two, to one. *Sums over classes* run in ascending order. *Exponentials* are reduced
to ``2ⁿ·exp(r)`` with ``|r| ≤ ln 2 / 2`` and ln 2 in two parts, and the Taylor polynomial of degree 13 by Horner's rule:
within 2 units in the last place; below :data:`LEAST_EXPONENT` they are 0.

The compiled loop (``_head.c``) is optional: see ADR 59 on how it is built, and ADR 90 on this one.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from skerry.device.training.dp import Grid

__all__ = ["KERNEL", "LANES", "Kernel", "add_products", "errors_of"]

_Float64 = npt.NDArray[np.float64]
_Int64 = npt.NDArray[np.int64]

LANES = 8
LEAST_EXPONENT = -708.0
"""Below it an exponential would not be a normal number."""

_AT_ONCE = 128  # examples: one part of their features is 64 KiB, its products with ten classes 80
_BLOCK = 1 << 16  # numbers of per-example gradients held at once: 512 KiB as float64, as much as int64, in cache
_PRODUCTS = 1 << 15  # numbers of products of features and weights held at once: some parts, if they are that few
_LEAST_ROWS, _MOST = 4, 1 << 18  # so many rows of long gradients at once, if they are no more numbers: one sum for all
_ROUNDER = 1.5 * 2**52  # what is added to it is rounded to a whole number, ties to even
_PER_LN2, _LN2_HIGH, _LN2_LOW = (
    float.fromhex(x) for x in ("0x1.71547652b82fep0", "0x1.62e42feep-1", "0x1.a39ef35793c76p-33")
)
_TAYLOR = [1 / math.factorial(k) for k in range(13, -1, -1)]


class Kernel(Protocol):
    """The compiled part; see ``_head.pyi``."""

    errors: Callable[[_Float64, _Float64, _Int64, _Float64, _Float64], None]
    add_products: Callable[[_Float64, _Float64, float, _Int64], int]


try:
    from skerry.device.training import _head as _compiled
except ImportError:  # no compiler when skerry was installed, or one whose arithmetic would be another
    KERNEL: Kernel | None = None
else:
    KERNEL = _compiled


def errors_of(
    weight: _Float64, rows: _Float64, labels: _Int64, kernel: Kernel | None = KERNEL
) -> tuple[_Float64, _Float64]:
    """Errors p - onehot(y), ``(n, c)``, and the norms of the gradients, ``(n,)``; NaN where the class does not exist.

    Each example's depend on that example and on ``weight`` alone, to the last bit (see the module).

    Args:
        weight: ``(c, k)``.
        rows: ``(n, k)`` features.
        labels: ``(n,)`` classes.
        kernel: the compiled loop; None for numpy.
    """
    weight, rows = np.ascontiguousarray(weight, np.float64), np.ascontiguousarray(rows, np.float64)
    labels = np.ascontiguousarray(labels, np.int64)
    errors, norms = np.empty((len(rows), len(weight))), np.empty(len(rows))
    if kernel is not None:
        kernel.errors(weight, rows, labels, errors, norms)
        return errors, norms
    length = weight.shape[1]
    parts = -(-length // LANES)
    filled = np.zeros((len(weight), parts * LANES))
    filled[:, :length] = weight
    own = np.ascontiguousarray(filled.reshape(len(weight), parts, LANES).swapaxes(0, 1))[..., None]
    with np.errstate(all="ignore"):
        for first in range(0, len(rows), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            columns = np.zeros((parts * LANES, len(rows[some])))
            columns[:length] = rows[some].T
            found, norms[some] = _errors(own, columns.reshape(parts, LANES, -1), labels[some])
            errors[some] = found.T
    return errors, norms


def add_products(errors: _Float64, rows: _Float64, grid: Grid, total: _Int64, kernel: Kernel | None = KERNEL) -> int:
    """Round the outer products of ``errors`` and ``rows``, and add those that pass the bound to ``total``, in place.

    Args:
        errors: ``(n, c)``, such that the products are clipped and in cells (:meth:`Grid.factors`).
        rows: ``(n, k)`` features.
        grid: of c·k coordinates.
        total: ``(c·k,)`` int64.
        kernel: the compiled loop; None for numpy.

    Returns:
        How many were left out, as :meth:`Grid.add` does. Private like the data: not for sending.
    """
    errors, rows = np.ascontiguousarray(errors, np.float64), np.ascontiguousarray(rows, np.float64)
    if kernel is not None:
        return kernel.add_products(errors, rows, grid.bound, total)
    left_out, block = 0, max(1, _BLOCK // len(total), min(_LEAST_ROWS, _MOST // len(total)))
    room = np.empty((min(block, len(errors)), errors.shape[1], rows.shape[1]))  # once: to map new memory takes as long
    for first in range(0, len(errors), block):
        part = slice(first, first + block)
        products = np.einsum("ij,ik->ijk", errors[part], rows[part], out=room[: len(errors[part])])
        left_out += grid.add(products.reshape(-1, len(total)), total)
    return left_out


def _errors(weight: _Float64, columns: _Float64, labels: _Int64) -> tuple[_Float64, _Float64]:
    """``(c, m)`` and ``(m,)`` from ``(parts, c, LANES, 1)`` and ``(parts, LANES, m)``."""
    classes, size = weight.shape[1], columns.shape[2]
    lanes = np.zeros((classes + 1, LANES, size))  # of each class's score, and of the features' squares
    products = np.empty((min(len(columns), max(1, _PRODUCTS // lanes.size)), *lanes.shape))
    for first in range(0, len(columns), len(products)):
        some = columns[first : first + len(products)]
        np.multiply(weight[first : first + len(products)], some[:, None], out=products[: len(some), :classes])
        np.multiply(some, some, out=products[: len(some), classes])
        for of_part in products[: len(some)]:
            lanes += of_part
    sums = _folded(lanes)
    errors, squares = sums[:-1], sums[-1]
    errors -= errors.max(axis=0)
    errors = _exponentials(errors)
    errors /= _in_order(errors)
    known = (labels >= 0) & (labels < len(errors))
    errors[labels[known], np.flatnonzero(known)] -= 1
    errors[:, ~known] = math.nan
    return errors, np.sqrt(squares * _in_order(errors * errors))


def _folded(lanes: _Float64) -> _Float64:
    """Sums over the last axis but one, of :data:`LANES`."""
    half = lanes[..., : LANES // 2, :] + lanes[..., LANES // 2 :, :]
    quarter = half[..., :2, :] + half[..., 2:, :]
    folded: _Float64 = quarter[..., 0, :] + quarter[..., 1, :]
    return folded


def _in_order(numbers: _Float64) -> _Float64:
    """Sums over the first axis, one after the other."""
    total = np.zeros(numbers.shape[1])
    for row in numbers:
        total += row
    return total


def _exponentials(x: _Float64) -> _Float64:
    """Of numbers that are not above zero, see the module; NaN of NaN."""
    shifted = x * _PER_LN2 + _ROUNDER
    n = shifted - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    value = np.full_like(r, _TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        value *= r
        value += coefficient
    powers = (shifted.view(np.uint64) + np.uint64(1023)) << np.uint64(52)  # of 2: the last bits of `shifted` are n's
    value *= powers.view(np.float64)
    value[x < LEAST_EXPONENT] = 0
    return value
