"""Clipped gradients by book-keeping in batches of one fixed shape: ``privacy.engine = "bookkeeping"``.

What private training needs of an engine is that no bit of an example's row depends on the other examples: then leaving
one out moves the integer sum by exactly its own row. Batches break that because kernels choose the order of their sums
by the *shape* of a batch; what stands in the batch chooses nothing. So here

1. every batch has the same number of slots, which follows from public values alone; free slots hold an example of
   zeros, whose row is not used;
2. rows are taken out of the batch, clipped and rounded to the grid one by one, as in every engine: the bound on each is
   checked in integers, and nothing is summed in floating point;
3. before the first batch, which may be empty, the engine checks, on this machine and this network and with made-up
   examples, that a row is the same to the last bit in every slot, beside whatever neighbours, not-a-number included. A
   network for which it is not is refused, whether there are examples or not.

*Assumption*, beside those of one example at a time: a kernel that treats all slots alike in the check treats them alike
always. Libraries of kernels do not promise it; no kernel here is known to choose its order by values. Opacus's batches
have other shapes as examples come and go, so it cannot be checked there.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from skerry.device.training.dp.clipping import ClippingEngine
from skerry.device.training.dp.fake_quant import FAKE_QUANT_RULES
from skerry.device.training.flat import FlatNetwork
from skerry.device.training.per_example import Gradients, Inputs, norms_of
from skerry.errors import InputError

__all__ = ["FixedBatches"]

_LARGEST = 16  # slots: more are hardly quicker and leave more of the last batch free
_BUDGET = 256 << 20  # bytes of activations and kept gradients
_SEED = 28


class FixedBatches:
    """The engine for one network, and one thread (see the module).

    Args:
        network: whose trainable parameters are differentiated.

    Raises:
        InputError: a trainable layer has no rule; names it.
    """

    def __init__(self, network: FlatNetwork) -> None:
        self._network = network
        self._engine = ClippingEngine(network.module, rules=FAKE_QUANT_RULES)
        self._slots = 0
        self._x = self._y = torch.empty(0)
        self._classes = 0

    @property
    def slots(self) -> int:
        """Examples in a batch; 0 before the first."""
        return self._slots

    def __call__(
        self, inputs: Inputs, y: npt.NDArray[np.int64], chosen: Sequence[int] | npt.NDArray[np.int64]
    ) -> Iterator[Gradients]:
        """Gradients of as many examples at a time as a batch has slots, and of fewer in the last.

        Raises:
            InputError: on this machine rows of this network depend on their slot or their neighbours.
        """
        shape = inputs[:0].shape[1:]
        if not self._slots or self._x.shape[1:] != shape:
            self._prepare(shape)  # also for nobody: what is refused to those alone who have examples tells who has
        index = np.asarray(chosen)
        for first in range(0, len(index), self._slots):
            part = index[first : first + self._slots]
            yield self._gradients(torch.from_numpy(np.ascontiguousarray(inputs[part])), y[part])

    def _gradients(self, x: torch.Tensor, y: npt.NDArray[np.int64]) -> Gradients:
        exists = (y >= 0) & (y < self._classes)
        self._x.zero_()
        self._y.zero_()
        self._x[: len(x)].copy_(x)  # the same place each time: a kernel may take another path elsewhere
        self._y[: len(y)].copy_(torch.from_numpy(np.where(exists, y, 0)))
        parts = self._engine.parts(self._x, self._y)
        pieces = [parts[name].rows().numpy()[: len(y)] for name, _ in self._network.layout.tensors]
        norms = norms_of(pieces)
        norms[~exists] = np.nan
        return Gradients(norms, pieces)

    @torch.no_grad()
    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Fix the number of slots, and check what batches of them rest on, on made-up examples and moved weights."""
        generator = torch.Generator().manual_seed(_SEED)
        kept = [p.detach().clone() for p in self._network.parameters]
        try:
            for parameter in self._network.parameters:  # what is zero at first, as adapters are, would hide its layer
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.01)
            x = torch.randn((_LARGEST, *shape), generator=generator).to(self._network.dtype)
            self._classes = self._network.logits(x[:1]).shape[1]
            y = torch.arange(_LARGEST) % self._classes
            self._engine.check(x[:2], y[:2])
            self._slots = min(_LARGEST, self._engine.micro_batch_for(x, y, _BUDGET, rows=True))
            self._x = torch.empty((self._slots, *shape), dtype=self._network.dtype)
            self._y = torch.empty(self._slots, dtype=torch.int64)
            self._compare(x[: self._slots], y[: self._slots].numpy())
        except BaseException:
            self._slots = 0
            raise
        finally:
            for parameter, before in zip(self._network.parameters, kept, strict=True):
                parameter.copy_(before)

    def _compare(self, x: torch.Tensor, y: npt.NDArray[np.int64]) -> None:
        """One example in every slot, then in some among others and beside numbers that are none."""
        whole = self._gradients(x[:1].expand_as(x), y[:1].repeat(len(y)))
        expected = _bits(whole, 0)
        same = all(_bits(whole, slot) == expected for slot in range(len(y)))
        for slot in range(0, len(y), 5):
            others, classes = x.roll(1, 0), np.roll(y, 1)
            others[(slot + 1) % len(y)], others[(slot + 2) % len(y)] = torch.nan, torch.inf
            others[slot], classes[slot] = x[0], y[0]
            count = max(slot + 1, len(y) - slot)  # free slots are neighbours too
            same = same and _bits(self._gradients(others[:count], classes[:count]), slot) == expected
        if not same:
            raise InputError(
                "on this machine gradients computed together differ in their last bits from slot to slot of a batch",
                where="privacy.engine",
                mend='set privacy.engine = "skerry", which computes one example at a time',
            )


def _bits(found: Gradients, slot: int) -> tuple[bytes, ...]:
    return found.norms[slot].tobytes(), *(piece[slot].tobytes() for piece in found.pieces)
