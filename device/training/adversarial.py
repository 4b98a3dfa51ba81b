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
from skerry.security.adversarial import AdversarialRecipe, Ball, overfitted, suspicious

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
_GLANCED = 16
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
    return _from(x, ball, starts(x))


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
    moved = x if start is None else _from(x, ball, start)
    return _climb(x, moved, _losses(module, y), ball, steps, step_size)


def fools_itself(module: nn.Module, x: Tensor, y: Tensor, ball: Ball) -> bool:
    """Whether a network that was trained with single steps overfitted to them: judged on at most :data:`CHECKED`.

    A quarter of them is looked at first: where nothing on it is suspicious, as nearly always, that is the answer.
    """
    x, y = x[:CHECKED], y[:CHECKED]
    apart = len(x) // _GLANCED
    if apart > 1 and not suspicious(*_stand(module, x[::apart], y[::apart], ball)):
        return False
    return overfitted(*_stand(module, x, y, ball))


def _stand(module: nn.Module, x: Tensor, y: Tensor, ball: Ball) -> tuple[float, float]:
    """Shares of examples that withstand one step, and several.

    Both attacks leave from the examples themselves, so they share the first gradient, which is a sixth of the cost; an
    example that one step misled is not attacked any further.
    """
    uphill = _steepest(_slope(x, _losses(module, y)), ball)
    stood = _right(module, ball.project(x, x + ball.epsilon * uphill), y)
    once = float(stood.float().mean())
    if not suspicious(once, 0.0):
        return once, 0.0  # so few that several steps could tell nothing
    step_size = 2.5 * ball.epsilon / _CHECK_STEPS
    moved = ball.project(x, x + step_size * uphill)[stood]
    often = _climb(x[stood], moved, _losses(module, y[stood]), ball, _CHECK_STEPS - 1, step_size)
    return once, float(_right(module, often, y[stood]).sum()) / len(stood)


def _ascend(module: nn.Module, x: Tensor, y: Tensor, recipe: AdversarialRecipe, starts: Starts) -> Tensor:
    ball = recipe.ball
    start = starts(x)
    if recipe.method == "n_fgsm":
        noisy = x.add(_inside(start, ball), alpha=recipe.start * ball.epsilon)
        slope = _slope(noisy, _losses(module, y))
        return ball.within(x, noisy + recipe.step_size * _steepest(slope, ball)).detach()  # type: ignore[no-any-return]
    if recipe.method == "trades":
        with torch.no_grad():
            clean = module(x)
        moved = _from(x, ball, start)
        return _climb(x, moved, lambda at: _distances(module(at), clean), ball, recipe.steps, recipe.step_size)
    return pgd(module, x, y, ball, steps=recipe.ascents, step_size=recipe.step_size, start=start)


def _climb(
    x: Tensor, moved: Tensor, losses: Callable[[Tensor], Tensor], ball: Ball, steps: int, step_size: float
) -> Tensor:
    for _ in range(steps):
        moved = ball.project(x, moved.add(_steepest(_slope(moved, losses), ball), alpha=step_size))
    return moved


def _from(x: Tensor, ball: Ball, start: Tensor) -> Tensor:
    """A start in units of the radius is in the ball by itself: only the range of values is left to be kept."""
    moved: Tensor = ball.within(x, x.add(_inside(start, ball), alpha=ball.epsilon))
    return moved


def _losses(module: nn.Module, y: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda at: cross_entropies(module(at), y)


@torch.no_grad()
def _right(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """``(n,)`` whether each is told rightly."""
    right: Tensor = module(x).argmax(1) == y
    return right


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
    """Numbers from -1 to 1 as a point of the ball of radius one.

    Of ``l2``, uniform in direction but for the corners of the cube, and nearly always on the surface, where a uniform
    point of a ball of many dimensions lies too.
    """
    return start if ball.norm == "linf" else start / _lengths(start).clip(1.0, None)


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
