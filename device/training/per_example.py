"""Clipped gradients of single examples, in blocks: the one seam between private training and what computes them.

An engine is a function of a network, its examples, which of them take part, and the clip; it yields rows. It does not
round, add or add noise: :class:`~skerry.device.training.dp.Grid` does, in integers.

``skerry``
    :func:`one_by_one`. One backward pass for each example. Least memory (one row), and exact in the sense that
    privacy needs: no bit of a row depends on the other examples, so leaving one out moves the integer sum by exactly
    that example's row.
``opacus``
    :func:`skerry.device.training.opacus_rows.micro_batches`. Quicker on layers of many channels; *not* exact in that
    sense: read there.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from skerry.device.training.flat import FlatNetwork
from skerry.errors import MissingDependencyError

__all__ = ["Clip", "ClippedRows", "Inputs", "engine", "one_by_one"]

Rows = npt.NDArray[np.float64]
Clip = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""``(m,)`` L2 norms to the ``(m,)`` factors that clip, :meth:`Grid.factors`."""


class Inputs(Protocol):
    """Examples as a network takes them, each computed by itself: an array, or what stands for one."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: Any, /) -> npt.NDArray[np.float32]:
        """``(m, ...)`` float32 of these indices."""
        ...


class ClippedRows(Protocol):
    """An engine."""

    def __call__(
        self,
        network: FlatNetwork,
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        chosen: Sequence[int] | npt.NDArray[np.int64],
        clip: Clip,
    ) -> Iterator[Rows]:
        """Blocks of ``(m, d)`` clipped gradients in the order of ``chosen``; a block may be overwritten by the next.

        Args:
            network: with the weights of this step loaded.
            inputs: n examples.
            y: ``(n,)`` class indices. A class that does not exist makes its row NaN: an error would tell.
            chosen: indices of those that take part.
            clip: norms to factors.
        """
        ...


def engine(name: str) -> ClippedRows:
    """The engine of that name in a training plan.

    Raises:
        MissingDependencyError: ``opacus`` is asked for and not installed.
    """
    if name == "skerry":
        return one_by_one
    try:
        from skerry.device.training.opacus_rows import micro_batches
    except ImportError as error:
        raise MissingDependencyError(
            "Opacus is not installed",
            where="privacy.engine",
            mend="pip install 'skerry[train]', or set privacy.engine = \"skerry\"",
        ) from error
    return micro_batches


def one_by_one(
    network: FlatNetwork,
    inputs: Inputs,
    y: npt.NDArray[np.int64],
    chosen: Sequence[int] | npt.NDArray[np.int64],
    clip: Clip,
) -> Iterator[Rows]:
    """One forward and one backward pass for each example: the default engine (see the module)."""
    if not len(chosen):
        return
    row = np.empty((1, network.layout.size))
    # Copied into the same place each time: a kernel may take another path for memory that starts elsewhere.
    example = torch.empty((1, *inputs[:1].shape[1:]), dtype=network.dtype)
    label = torch.empty(1, dtype=torch.int64)
    classes = network.logits(example.zero_()).shape[1]
    for index in chosen:
        example.copy_(torch.from_numpy(inputs[int(index) : int(index) + 1]))
        label[0] = int(y[index])
        if 0 <= y[index] < classes:
            row[0] = network.gradient(example, label).numpy()
        else:
            row[0] = np.nan
        row *= clip(np.sqrt(np.einsum("ij,ij->i", row, row)))
        yield row
