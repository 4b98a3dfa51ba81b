"""Adversarial training in one place: the loss of a batch, and the guard that single steps of attack need."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skerry.device.training.adversarial import CHECKED, adversarial_losses, carried_losses, fools_itself, started
from skerry.records import Float32Array
from skerry.security.adversarial import AdversarialRecipe, replays

__all__ = ["Attacked"]

_CHECKS = 10  # or so in all, the last after the last epoch: together they cost a few hundredths of the training


class Attacked:
    """What :func:`~skerry.device.training.central.train_centrally` descends instead of its own loss.

    Attributes:
        overfitted: epoch after which single steps were given up for several; None: so far never.
    """

    def __init__(
        self,
        module: nn.Module,
        recipe: AdversarialRecipe,
        x: Float32Array,
        y: npt.NDArray[np.int64],
        *,
        epochs: int,
        seed: int,
    ) -> None:
        self._module, self._recipe = module, recipe
        self._generator = torch.Generator().manual_seed(seed)
        checked = np.random.default_rng(seed).permutation(len(x))[:CHECKED]
        self._x, self._y = torch.from_numpy(x[checked]), torch.from_numpy(y[checked])
        self._epochs, self._every = epochs, max(1, epochs // _CHECKS)
        self._kept: dict[str, Tensor] | None = None
        self.overfitted: int | None = None
        self._calls = 0
        self._at = torch.empty(0)

    @property
    def replays(self) -> int:
        """Times in a row that each batch is to be learned from; changes after an epoch at most."""
        return replays(self._recipe.method)

    def loss(self, x: Tensor, y: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
        """Mean over a batch; called :attr:`replays` times in a row for each."""
        del rows
        if self._recipe.method == "free":
            if self._calls % self.replays == 0:
                self._carry(started(x, self._recipe.ball, self._starts))
            self._calls += 1
            return carried_losses(self._module, x, self._at, y, self._recipe, self._carry).mean()
        return adversarial_losses(self._module, x, y, self._recipe, self._starts).mean()

    def after_epoch(self, epoch: int) -> None:
        """Keep the weights; or go back to the last that were kept, and on with several steps, without replays."""
        if self._recipe.ascents > 1 or (epoch % self._every and epoch < self._epochs):
            return
        self._module.eval()
        if not fools_itself(self._module, self._x, self._y, self._recipe.ball):
            self._kept = {name: tensor.detach().clone() for name, tensor in self._module.state_dict().items()}
        else:
            self.overfitted, self._recipe = epoch, self._recipe.multi_step
            if self._kept is not None:
                self._module.load_state_dict(self._kept)
        self._module.train()

    def _carry(self, at: Tensor) -> None:
        self._at = at

    def _starts(self, x: Tensor) -> Tensor:
        return torch.empty(x.shape).uniform_(-1, 1, generator=self._generator)
