"""Training a torch network on a device: every mode but ``head`` and the hand-written CNN; with privacy and without."""

import copy
import dataclasses
import math
import threading
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skerry.device.training.adversarial import CHECKED, AdversarialLosses, fools_itself
from skerry.device.training.carried import Carried
from skerry.device.training.descent import descend, descend_privately
from skerry.device.training.dp import Grid
from skerry.device.training.flat import FlatNetwork, Losses
from skerry.device.training.per_example import Engine, Inputs, engine, one_by_one
from skerry.device.training.plan import TrainPlan
from skerry.device.yielding import yield_if_asked
from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.adversarial import AdversarialRecipe
from skerry.security.privacy.stream import RandomStream

__all__ = ["NetworkTrainer"]

_EVALUATION_BATCH = 64


class NetworkTrainer:
    """Trains those parameters of a network that require a gradient.

    Under unit ``example`` and engine ``skerry``, the deltas of all rounds together are differentially private per
    example, under add/remove, at the sum of the plans' events; what this rests on is said in
    :class:`~skerry.device.training.head.HeadTrainer`, and holds here because each example has a backward pass of its
    own (:mod:`~skerry.device.training.per_example`). Time and memory depend on the number of examples.

    One instance may be used by several threads: each has its own copy of the network.

    Args:
        module: ``(n, ...)`` to ``(n, classes)``; kept as a template.

    Raises:
        InputError: a trainable layer has no rule; names it.
    """

    def __init__(self, module: nn.Module) -> None:
        self._template = module.eval()
        self._own = threading.local()
        network = self._network()
        self.layout = network.layout
        self._initial = network.vector()
        self.left_out = 0
        """Examples left out of steps so far by the grid; private like the data. Not zero means a fault."""

    def initial(self) -> Float32Array:
        """The ``(d,)`` weights that the network came with."""
        return self._initial.copy()

    def train(
        self,
        vector: Float32Array,
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        adversarial: AdversarialRecipe | None = None,
        correction: Float32Array | None = None,
    ) -> Float32Array:
        """One round of local training.

        Args:
            vector: ``(d,)`` float32 weights to start from; not changed.
            inputs: n examples; n may be 0.
            y: ``(n,)`` class indices.
            plan: what to do; debit its event *before* this is called.
            stream: noise and sampling (unit ``example``), or the order of mini-batches (unit ``none``);
                starts of attacks.
            adversarial: attacks that the network is trained against. Where single steps overfit in this round, it is
                trained anew with several, and without replays; not under unit ``example``, where to look would be to
                tell.
            correction: ``(d,)`` added to each step's gradient: see :mod:`~skerry.device.training.descent`.

        Returns:
            ``(d,)`` float32 change of the weights.

        Raises:
            InputError: shapes do not fit. Under unit ``example`` values never raise.
        """
        if len(inputs) != len(y) or y.dtype.kind != "i" or vector.shape != (self.layout.size,):
            raise InputError(
                f"expected as many integer classes as examples and {self.layout.size} weights, got {len(inputs)}"
                f" examples, {len(y)} classes of type {y.dtype}, and weights of shape {vector.shape}"
            )
        attacks = None if adversarial is None else _attacks(inputs, adversarial, plan, stream.bytes(32))
        seen = attacks if isinstance(attacks, Carried) else inputs
        if plan.unit == "example":
            return self._privately(vector, seen, y, plan, stream, attacks, correction)
        delta = self._plainly(vector, seen, y, plan, stream, attacks, correction)
        if attacks is None or attacks.recipe.ascents > 1 or not len(y):
            return delta
        some = _tensor(inputs[np.arange(min(CHECKED, len(y)))], self._network())
        if not fools_itself(self.module(vector + delta), some, torch.from_numpy(y[:CHECKED]), attacks.recipe.ball):
            return delta
        again = AdversarialLosses(attacks.recipe.multi_step, stream.bytes(32))
        if plan.replays > 1:  # each of them would take all steps of an attack
            plan = dataclasses.replace(plan, adversarial="pgd")
        return self._plainly(vector, inputs, y, plan, stream, again, correction)

    def integer_sum(
        self,
        weights: npt.NDArray[np.float64],
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
        grid: Grid,
        *,
        by: str = "skerry",
        losses: Losses | None = None,
    ) -> npt.NDArray[np.int64]:
        """Σ z over the chosen examples, ``(d,)`` int64: not private before :meth:`Grid.release`.

        Losses other than cross-entropy belong to engine ``skerry``.
        """
        total = np.zeros(self.layout.size, np.int64)
        network = self._network()
        gradients_of = self._engine(by) if losses is None else partial(one_by_one, network, losses=losses)
        network.load(weights)
        with np.errstate(all="ignore"):
            for found in gradients_of(inputs, y, chosen):
                yield_if_asked()
                self.left_out += grid.add_clipped(found.norms, found.pieces, total)
        return total

    def logits(self, vector: Float32Array, inputs: Inputs) -> Float32Array:
        """``(n, classes)`` float32 scores under these weights; for evaluation."""
        network = self._network()
        network.load(vector)
        parts = [
            network.logits(_tensor(inputs[first : first + _EVALUATION_BATCH], network)).float().numpy()
            for first in range(0, len(inputs), _EVALUATION_BATCH)
        ]
        if not parts:
            parts = [network.logits(torch.zeros((1, *inputs[:1].shape[1:]), dtype=network.dtype)).float().numpy()[:0]]
        return np.concatenate(parts)

    @torch.no_grad()
    def inputs_of(self, layer: str, vector: Float32Array, inputs: Inputs) -> Float32Array:
        """``(n, k)`` what a linear layer of that name reads."""
        module, read = self.module(vector), list[torch.Tensor]()
        hook = module.get_submodule(layer).register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            self.logits(vector, inputs)
        finally:
            hook.remove()
        rows: Float32Array = torch.cat(read).float().numpy()
        return rows[: len(inputs)]

    def module(self, vector: Float32Array) -> nn.Module:
        """The network with these weights; valid until this thread uses the trainer again, and not to be changed."""
        network = self._network()
        network.load(vector)
        return network.module

    def _privately(
        self,
        vector: Float32Array,
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        losses: AdversarialLosses | Carried | None,
        correction: Float32Array | None,
    ) -> Float32Array:
        def integer_sum(
            weights: npt.NDArray[np.float64], chosen: npt.NDArray[np.int64], grid: Grid
        ) -> npt.NDArray[np.int64]:
            if losses is not None:
                losses.next_step()
            return self.integer_sum(weights, inputs, y, chosen, grid, by=plan.engine, losses=losses)

        start = vector.astype(np.float64)
        added = None if correction is None else correction.astype(np.float64)
        return (descend_privately(start, len(y), integer_sum, plan, stream, added) - start).astype(np.float32)

    def _plainly(
        self,
        vector: Float32Array,
        inputs: Inputs,
        y: npt.NDArray[np.int64],
        plan: TrainPlan,
        stream: RandomStream,
        losses: AdversarialLosses | Carried | None,
        correction: Float32Array | None,
    ) -> Float32Array:
        network = self._network()

        def gradient(weights: Float32Array, batch: npt.NDArray[np.int64], out: Float32Array) -> None:
            network.load(weights)
            if losses is not None:
                losses.next_step()
            slope = network.gradient(_tensor(inputs[batch], network), torch.from_numpy(y[batch]), losses)
            np.divide(slope.numpy(), len(batch), out=out)

        return descend(vector.astype(np.float32), len(y), gradient, plan, stream.permutation, correction) - vector

    def _network(self) -> FlatNetwork:
        """This thread's own copy."""
        found: FlatNetwork | None = getattr(self._own, "network", None)
        if found is None:
            found = self._own.network = FlatNetwork(copy.deepcopy(self._template))
        return found

    def _engine(self, name: str) -> Engine:
        """This thread's own, on its own network."""
        made: dict[str, Engine] | None = getattr(self._own, "engines", None)
        if made is None:
            made = self._own.engines = {}
        if name not in made:
            made[name] = engine(name, self._network())
        return made[name]


def _attacks(inputs: Inputs, recipe: AdversarialRecipe, plan: TrainPlan, key: bytes) -> AdversarialLosses | Carried:
    if recipe.method != "free":
        return AdversarialLosses(recipe, key)
    batches = math.ceil(len(inputs) / (plan.batch_size or max(1, len(inputs))))
    steps = plan.steps // plan.epochs if plan.unit == "example" else batches * plan.replays
    return Carried(inputs, recipe, key, every=max(1, steps))


def _tensor(x: npt.NDArray[np.float32], network: FlatNetwork) -> torch.Tensor:
    """Examples with channels last in memory: depthwise convolutions are then a quarter to a half quicker (measured)."""
    tensor = torch.from_numpy(np.ascontiguousarray(x)).to(network.dtype)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
