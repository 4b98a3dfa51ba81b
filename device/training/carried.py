"""Adversarial training for free: one gradient moves the weights and the examples, which are carried on.

Shafahi et al. (arXiv:1904.12843) replay each batch m times. Every backward pass gives the gradient of the weights and
that of the input; the input takes a step too, and is learned from where it then stands. In the paper a perturbation
belongs to a place in the batch, and the next batch's example in that place inherits it. Here it belongs to its example,
which starts anew in each epoch: what is learned from an example is a function of that example, of the weights, which
are released, and of the round's key, whoever else is there.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skerry.device.training.adversarial import KeyedStarts, carried_losses, started
from skerry.device.training.per_example import Inputs
from skerry.records import Float32Array
from skerry.security.adversarial import AdversarialRecipe

__all__ = ["Carried"]


class Carried:
    """Examples where they stand, and the loss whose gradient moves them on: inputs and losses of one round.

    Assumption: losses are taken, and differentiated, of the rows that were last asked for.

    Under example-level privacy each step is a release with its own draw of who takes part: the price is that of so many
    steps, without any allowance for their sharing a batch. Where an example stands depends on the steps in which it
    took part itself: given these each step is the sampled Gaussian mechanism as ever, and a mixture over them is no
    worse.

    Args:
        inputs: n examples.
        recipe: ``free``.
        key: of the round, from its stream.
        every: steps of an epoch.
    """

    def __init__(self, inputs: Inputs, recipe: AdversarialRecipe, key: bytes, *, every: int) -> None:
        self.recipe = recipe
        self._inputs, self._every, self._steps = inputs, every, 0
        self._starts = KeyedStarts(key)
        # By place among the device's examples, never by content: equal examples of two classes are two examples.
        self._known: dict[int, tuple[Float32Array, Float32Array]] = {}
        self._asked = np.empty(0, np.int64)

    def next_step(self) -> None:
        """Told before each step: with a new epoch all examples start elsewhere."""
        if self._steps % self._every == 0:
            self._known.clear()
            self._starts.step += 1
        self._steps += 1

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: Any, /) -> Float32Array:
        self._asked = np.arange(len(self._inputs))[index]
        new = [i for i in self._asked.tolist() if i not in self._known]
        if new:
            rows = self._inputs[np.array(new)]
            places = started(torch.tensor(rows), self.recipe.ball, self._starts).numpy()
            self._known.update(zip(new, zip(rows, places, strict=True), strict=True))
        return self._rows(1)

    def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """``(n,)`` losses."""
        originals = torch.tensor(self._rows(0), dtype=x.dtype)
        return carried_losses(module, originals, x, y, self.recipe, self._carry)

    def _rows(self, which: int) -> Float32Array:
        return np.stack([self._known[i][which] for i in self._asked.tolist()])

    def _carry(self, moved: Tensor) -> None:
        places: npt.NDArray[np.float32] = np.ascontiguousarray(moved.float().numpy())
        for i, place in zip(self._asked.tolist(), places, strict=True):
            self._known[i] = (self._known[i][0], place)
