"""Adversarial training of a torch network: examples moved where the loss is larger, and the loss on them.

Each example is moved by its own gradient and from a start of its own, so its gradient with respect to the weights is a
function of it, the weights and the round's key: clipping it bounds all of its influence, as without attacks. What
would break this has no place here: statistics of a batch, or a perturbation that another example inherits.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from skerry.device.training.flat import cross_entropies
from skerry.errors import InputError
from skerry.security.adversarial import AdversarialRecipe, Ball, overfitted

__all__ = [
    "CHECKED",
    "AdversarialLosses",
    "KeyedStarts",
    "Starts",
    "adversarial_examples",
    "adversarial_losses",
    "carried_losses",
    "fools_itself",
    "pgd",
    "started",
]

Starts = Callable[[Tensor], Tensor]
"""``(n, ...)`` examples to uniform numbers from -1 to 1 of the same shape."""

CHECKED = 64
"""Examples by which overfitting is noticed."""
_CHECK_STEPS = 5  # as Wong, Rice & Kolter check
_SMALLEST = 1e-30


class KeyedStarts:
    """Starts that follow from a key, a step's number and the example alone, whatever else is in a batch.

    Args:
        key: up to 64 bytes, from the round's stream.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.step = 0

    def __call__(self, x: Tensor) -> Tensor:
        """See :data:`Starts`; anew for each value of :attr:`step`."""
        rows = np.ascontiguousarray(x.detach().float().numpy())
        salt = self.step.to_bytes(16, "little")
        found = np.empty(rows.shape, np.float32)
        for row, out in zip(rows, found, strict=True):
            seed = hashlib.blake2b(row.tobytes(), digest_size=16, key=self._key, salt=salt).digest()
            generator = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "little")))
            out[...] = generator.random(row.shape, np.float32) * 2 - 1
        return torch.from_numpy(found).to(x.dtype)


def adversarial_examples(module: nn.Module, x: Tensor, y: Tensor, recipe: AdversarialRecipe, starts: Starts) -> Tensor:
    """``(n, ...)`` examples to what the recipe makes of them; each by itself, parameters' gradients untouched.

    Guarantee: within the ball (``n_fgsm``: within three radii) up to rounding, and in the range of values exactly.
    Assumption: examples do not meet in the module. It is put in inference mode meanwhile.

    Raises:
        InputError: ``free``, which moves examples by what is learned from them: :func:`carried_losses`.
    """
    if recipe.method == "free":
        raise InputError("free moves its examples while it learns from them, not before", where="adversarial training")
    training = module.training
    module.eval()
    try:
        return _ascend(module, x.detach(), y, recipe, starts)
    finally:
        module.train(training)


def adversarial_losses(module: nn.Module, x: Tensor, y: Tensor, recipe: AdversarialRecipe, starts: Starts) -> Tensor:
    """``(n,)`` losses that training descends: cross-entropy of the moved examples, or that of TRADES."""
    moved = adversarial_examples(module, x, y, recipe, starts)
    if recipe.method != "trades":
        return cross_entropies(module(moved), y)
    clean = module(x)
    return cross_entropies(clean, y) + recipe.beta * _distances(module(moved), clean)


def carried_losses(
    module: nn.Module,
    x: Tensor,
    at: Tensor,
    y: Tensor,
    recipe: AdversarialRecipe,
    carry: Callable[[Tensor], None],
) -> Tensor:
    """``(n,)`` losses of examples where they stand; their gradient also tells where they stand next ("Free").

    Args:
        module: in the mode in which it learns.
        x: ``(n, ...)`` examples.
        at: the same shape: :func:`started`, later what ``carry`` was given.
        y: ``(n,)`` classes.
        recipe: ball and length of a step.
        carry: is given the next places while the losses are differentiated. Assumption: what is differentiated is a
            sum of the losses times something positive.
    """
    at = at.detach().requires_grad_(True)
    ball = recipe.ball

    def move_on(slope: Tensor) -> None:
        carry(ball.project(x, at.detach() + recipe.step_size * _steepest(slope, ball)))

    at.register_hook(move_on)  # type: ignore[no-untyped-call]
    return cross_entropies(module(at), y)


def started(x: Tensor, ball: Ball, starts: Starts) -> Tensor:
    """``(n, ...)`` examples to where attacks on them start: a random point of the ball, in the range of values."""
    return ball.project(x, x + _inside(starts(x), ball))  # type: ignore[no-any-return]


class AdversarialLosses:
    """:func:`adversarial_losses` of one round: starts follow from its key, anew for each step.

    Args:
        recipe: what is learned from.
        key: of the round, from its stream.
    """

    def __init__(self, recipe: AdversarialRecipe, key: bytes) -> None:
        self.recipe = recipe
        self._starts = KeyedStarts(key)

    def next_step(self) -> None:
        """The same examples start elsewhere from now on."""
        self._starts.step += 1

    def __call__(self, module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """``(n,)`` losses."""
        return adversarial_losses(module, x, y, self.recipe, self._starts)


def pgd(
    module: nn.Module, x: Tensor, y: Tensor, ball: Ball, *, steps: int, step_size: float, start: Tensor | None = None
) -> Tensor:
    """Projected gradient ascent on the cross-entropy, from the examples or from a start in units of the radius."""
    return _climb(x, lambda moved: cross_entropies(module(moved), y), ball, steps, step_size, start)


def fools_itself(module: nn.Module, x: Tensor, y: Tensor, ball: Ball) -> bool:
    """Whether a network that was trained with single steps overfitted to them: judged on at most :data:`CHECKED`."""
    x, y = x[:CHECKED], y[:CHECKED]
    once = pgd(module, x, y, ball, steps=1, step_size=ball.epsilon)
    often = pgd(module, x, y, ball, steps=_CHECK_STEPS, step_size=2.5 * ball.epsilon / _CHECK_STEPS)
    with torch.no_grad():
        right = [float((module(moved).argmax(1) == y).float().mean()) for moved in (once, often)]
    return overfitted(*right)


def _ascend(module: nn.Module, x: Tensor, y: Tensor, recipe: AdversarialRecipe, starts: Starts) -> Tensor:
    ball = recipe.ball
    start = starts(x)
    if recipe.method == "n_fgsm":
        noisy = x + recipe.start * _inside(start, ball)
        slope = _slope(noisy, lambda moved: cross_entropies(module(moved), y))
        return ball.within(x, noisy + recipe.step_size * _steepest(slope, ball)).detach()  # type: ignore[no-any-return]
    if recipe.method == "trades":
        with torch.no_grad():
            clean = module(x)
        return _climb(x, lambda moved: _distances(module(moved), clean), ball, recipe.steps, recipe.step_size, start)
    return pgd(module, x, y, ball, steps=recipe.ascents, step_size=recipe.step_size, start=start)


def _climb(
    x: Tensor, losses: Callable[[Tensor], Tensor], ball: Ball, steps: int, step_size: float, start: Tensor | None
) -> Tensor:
    moved = x if start is None else ball.project(x, x + _inside(start, ball))
    for _ in range(steps):
        moved = ball.project(x, moved + step_size * _steepest(_slope(moved, losses), ball))
    return moved


def _slope(at: Tensor, losses: Callable[[Tensor], Tensor]) -> Tensor:
    at = at.detach().requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(losses(at).sum(), at)
    return slope


def _steepest(slope: Tensor, ball: Ball) -> Tensor:
    """The step of length one in the ball's norm along which the loss grows most; none where it is flat."""
    if ball.norm == "linf":
        return slope.sign()
    return slope / _lengths(slope)


def _inside(start: Tensor, ball: Ball) -> Tensor:
    """Numbers from -1 to 1 as a point of the ball around nothing.

    Of ``l2``, uniform in direction but for the corners of the cube, and nearly always on the surface, where a uniform
    point of a ball of many dimensions lies too.
    """
    point = start if ball.norm == "linf" else start / _lengths(start).clip(1.0, None)
    return ball.epsilon * point


def _lengths(rows: Tensor) -> Tensor:
    """``(n, 1, …)`` L2 norms; of numbers whose squares would vanish too."""
    flat = rows.reshape(len(rows), -1)
    largest = flat.abs().amax(1, keepdim=True).clip(_SMALLEST, None)
    norms: Tensor = largest * torch.linalg.vector_norm(flat / largest, dim=1, keepdim=True).clip(_SMALLEST, None)
    return norms.reshape(-1, *[1] * (rows.ndim - 1))


def _distances(scores: Tensor, clean: Tensor) -> Tensor:
    """``(n,)`` KL(clean ‖ scores) of the two distributions over classes."""
    own, wanted = functional.log_softmax(scores, 1), functional.log_softmax(clean, 1)
    return functional.kl_div(own, wanted, reduction="none", log_target=True).sum(1)
