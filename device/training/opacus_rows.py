"""Clipped gradients by Opacus (Yousefpour et al. 2021): ``privacy.engine = "opacus"``, and the oracle in tests.

Opacus's hooks compute the gradients of a micro-batch together. *What is not exact here*: matrix products over several
examples may round an example's gradient differently in the last bit when its neighbours are others or fewer. Rounding
to the grid hides that almost always, but not surely, so the sensitivity that the accounting counts on (removing an
example moves the integer sum by its own row and nothing else) holds up to such last bits. The default engine has no
such gap. The bound on each row's length is kept either way: it is checked in integers, row by row.

Opacus's own noise, sampler and accountants are not used: noise is integer, from a cryptographic stream, and what is
spent stands in the ledger.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from opacus import GradSampleModule

from skerry.device.training.flat import RULED, FlatNetwork, cross_entropies
from skerry.device.training.per_example import Gradients, Inputs, norms_of
from skerry.errors import InputError

__all__ = ["micro_batches"]

_NUMBERS = 1 << 22  # gradients held at once, about
_LARGEST = 32


def micro_batches(
    network: FlatNetwork,
    inputs: Inputs,
    y: npt.NDArray[np.int64],
    chosen: Sequence[int] | npt.NDArray[np.int64],
) -> Iterator[Gradients]:
    """Gradients of a few examples at a time (see the module).

    Raises:
        InputError: Opacus has no rule for a layer; names it.
    """
    try:
        module = GradSampleModule(network.module, loss_reduction="sum")
    except NotImplementedError as error:
        raise InputError(
            f"Opacus refuses this network: {error}", where="privacy.engine", mend='set privacy.engine = "skerry"'
        ) from error
    size = max(1, min(_LARGEST, _NUMBERS // network.layout.size))
    ruled = [layer for layer in network.module.modules() if isinstance(layer, RULED)]
    try:
        for layer in ruled:
            layer.training = True  # the hooks keep nothing in inference mode; these layers do the same in both
        for first in range(0, len(chosen), size):
            yield _gradients(network, module, inputs, y, np.asarray(chosen[first : first + size]))
    finally:
        module.to_standard_module()
        for layer in ruled:
            layer.training = False
        for parameter in network.parameters:
            for left in ("grad_sample", "_forward_counter", "_current_grad_sample"):
                if hasattr(parameter, left):
                    delattr(parameter, left)
        network.attach_gradients()


def _gradients(
    network: FlatNetwork,
    module: GradSampleModule,
    inputs: Inputs,
    y: npt.NDArray[np.int64],
    index: npt.NDArray[np.int64],
) -> Gradients:
    x = torch.from_numpy(np.ascontiguousarray(inputs[index])).to(network.dtype)
    scores = module(x.requires_grad_())  # Opacus's hooks want a gradient at the first layer's input
    exists = (y[index] >= 0) & (y[index] < scores.shape[1])
    labels = torch.from_numpy(np.where(exists, y[index], 0))
    cross_entropies(scores, labels).sum().backward()  # type: ignore[no-untyped-call]
    pieces = [_sample(parameter).numpy() for parameter in network.parameters]
    for parameter in network.parameters:
        parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
    norms = norms_of(pieces)
    norms[~exists] = np.nan
    return Gradients(norms, pieces)


def _sample(parameter: torch.nn.Parameter) -> torch.Tensor:
    sample: torch.Tensor = parameter.grad_sample  # type: ignore[attr-defined]
    return sample.reshape(len(sample), -1)
