"""Gradients of single examples, some at a time: the one seam between private training and what computes them.

An engine is made for a network; it is a function of examples and of which of them take part, and yields gradients with
their norms. It does not clip, round, add or add noise: :class:`~skerry.device.training.dp.Grid` does, in integers.

``skerry``
    :func:`one_by_one`. One backward pass for each example. Least memory (one row), and exact in the sense that
    privacy needs: no bit of a row depends on the other examples, so leaving one out moves the integer sum by exactly
    that example's row.
``bookkeeping``
    :class:`skerry.device.training.bookkeeping_rows.FixedBatches`. Batches of one fixed shape: quicker. Exact in
    that sense as far as it can be checked: it refuses a network whose gradients are seen to depend on their place in a
    batch or on their neighbours.
``opacus``
    :func:`skerry.device.training.opacus_rows.micro_batches`. Quicker on layers of many channels; *not* exact in that
    sense: read there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from skerry.device.training.flat import FlatNetwork, Losses
from skerry.errors import MissingDependencyError

__all__ = ["Engine", "Gradients", "Inputs", "engine", "norms_of", "one_by_one"]

_COLUMNS = 1 << 12


@dataclass(frozen=True)
class Gradients:
    """Gradients of m examples, unclipped; their numbers may be overwritten by the next ones.

    Attributes:
        norms: ``(m,)`` float64, L2. Not finite: the example is left out.
        pieces: ``(m, k)`` each, side by side in the order of the network's layout.
    """

    norms: npt.NDArray[np.float64]
    pieces: Sequence[npt.NDArray[Any]]


class Inputs(Protocol):
    """Examples as a network takes them, each computed by itself: an array, or what stands for one."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: Any, /) -> npt.NDArray[np.float32]:
        """``(m, ...)`` float32 of these indices."""
        ...


class Engine(Protocol):
    """What computes gradients of single examples of a network, under the weights that it then has."""

    def __call__(
        self, inputs: Inputs, y: npt.NDArray[np.int64], chosen: Sequence[int] | npt.NDArray[np.int64], /
    ) -> Iterator[Gradients]:
        """Gradients of some examples at a time, in the order of ``chosen``.

        Args:
            inputs: n examples.
            y: ``(n,)`` class indices. An example of a class that does not exist has a norm of NaN: an error would tell.
            chosen: indices of those that take part.
        """
        ...


def engine(name: str, network: FlatNetwork) -> Engine:
    """The engine of that name in a training plan, for this network; may be kept as long as the network is.

    Raises:
        InputError: the engine has no rule for a layer; names it.
        MissingDependencyError: ``opacus`` is asked for and not installed.
    """
    if name == "skerry":
        return partial(one_by_one, network)
    if name == "bookkeeping":
        from skerry.device.training.bookkeeping_rows import FixedBatches

        return FixedBatches(network)
    try:
        from skerry.device.training.opacus_rows import micro_batches
    except ImportError as error:
        raise MissingDependencyError(
            "Opacus is not installed",
            where="privacy.engine",
            mend="pip install 'skerry[train]', or set privacy.engine = \"skerry\"",
        ) from error
    return partial(micro_batches, network)


def norms_of(pieces: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """``(m,)`` L2 norms of gradients in pieces: short sums in their own type, their sum in float64."""
    squares = np.zeros(len(pieces[0]))
    for piece in pieces:
        for first in range(0, piece.shape[1], _COLUMNS):
            part = piece[:, first : first + _COLUMNS]
            squares += np.einsum("ij,ij->i", part, part)
    norms: npt.NDArray[np.float64] = np.sqrt(squares)
    return norms


def one_by_one(
    network: FlatNetwork,
    inputs: Inputs,
    y: npt.NDArray[np.int64],
    chosen: Sequence[int] | npt.NDArray[np.int64],
    losses: Losses | None = None,
) -> Iterator[Gradients]:
    """One forward and one backward pass for each example: the default engine (see the module).

    Losses other than cross-entropy may take more passes; of an example they see that example alone.
    """
    if not len(chosen):
        return
    # Copied into the same place each time: a kernel may take another path for memory that starts elsewhere.
    example = torch.empty((1, *inputs[:1].shape[1:]), dtype=network.dtype)
    label = torch.empty(1, dtype=torch.int64)
    classes = network.logits(example.zero_()).shape[1]
    for index in chosen:
        example.copy_(torch.from_numpy(inputs[int(index) : int(index) + 1]))
        label[0] = int(y[index])
        if 0 <= y[index] < classes:
            slope = network.gradient(example, label, losses)[None].numpy()
            yield Gradients(norms_of([slope]), [slope])
        else:
            yield Gradients(np.array([np.nan]), [np.zeros((1, network.layout.size), np.float32)])
