"""Gradient inversion: a device's rows of features, as well as its updates to a linear head tell them.

An update of head W is Σ over steps of Σ eᵢ ⊗ aᵢ, with aᵢ the row of example i and eᵢ its clipped error, and then
noise. What the coordinator can do with it:

* one example, no noise: all rows of the gradient are multiples of a. Dividing one by its bias column gives a exactly,
  and the only negative error names the class (Zhao, Mopuri, Bilen 2020, iDLG, arXiv:2001.02610).
* else: search for rows whose updates would look like the ones seen (Zhu, Liu, Han 2019, DLG, arXiv:1906.08935). Here
  by the most probable rows: the noise is Gaussian, and what rows of each class look like is known from public examples.

How large the noise is, nobody has to be believed: the errors of an example sum to zero over the classes, so what the
gradients of the classes do not cancel is noise (:func:`noise_in`). Were it off, the same attack would find it off.

The attacker may know all of a device's examples but one (the informed adversary of Balle, Cherubin, Hayes 2022,
arXiv:2201.04845): those are then taken from what was seen, and the rest is the first case with noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skerry.device.training.plan import TrainPlan
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["Guess", "Seen", "check_invertible", "infer_label", "noise_in", "reconstruct_rows"]

_Float64 = npt.NDArray[np.float64]
_Labels = npt.NDArray[np.int64]
_LEAST_NOISE = 1e-4  # in clips: where there is none, rounding is left
_RIDGE = 1e-6


def check_invertible(plan: TrainPlan) -> None:
    """Whether an update tells the sum of all steps' noisy sums of the examples' clipped gradients.

    Raises:
        InputError: it does not; an attack that took it for that would find nothing, whatever there was to be found.
    """
    plain = (plan.sampling_rate, plan.momentum, plan.proximal, plan.views) == (1, 0, 0, 1)
    if plan.unit != "example" or plan.adversarial != "none" or not plain:
        raise InputError(
            "these attacks read updates of steps on all examples as they are, under example-level privacy;"
            " what they find of others says nothing",
            where="leakage",
            mend='privacy.unit = "example", privacy.sampling_rate = 1, training.momentum = training.proximal = 0,'
            ' training.views = 1 and training.adversarial = "none"',
        )


@dataclass(frozen=True)
class Seen:
    """A round as the coordinator sees it.

    Attributes:
        vector: ``(d,)``, the head that it sent.
        delta: ``(d,)``, what came back.
        plan: as it was sent.

    Raises:
        InputError: see :func:`check_invertible`.
    """

    vector: Float32Array
    delta: Float32Array
    plan: TrainPlan

    def __post_init__(self) -> None:
        check_invertible(self.plan)

    @property
    def gradient(self) -> _Float64:
        """``(d,)``: the sum of the noisy sums of all steps."""
        return -self.delta.astype(np.float64) * (self.plan.denominator / self.plan.learning_rate)


@dataclass(frozen=True)
class Guess:
    """What rows of each class look like before any update is seen: normal, with one covariance for all classes.

    Attributes:
        means: ``(classes, k - 1)``.
        root: ``(k - 1, k - 1)``, a Cholesky root of the covariance.
    """

    means: _Float64
    root: _Float64

    @staticmethod
    def of(rows: Float32Array, labels: _Labels, classes: int) -> "Guess":
        """Fitted on ``(n, k)`` public rows, the constant of the bias included; every class must be there."""
        a = rows[:, :-1].astype(np.float64)
        means = np.stack([a[labels == c].mean(0) for c in range(classes)])
        apart = a - means[labels]
        covariance = apart.T @ apart / len(a)
        covariance[np.diag_indices_from(covariance)] += _RIDGE
        return Guess(means, np.linalg.cholesky(covariance))


def infer_label(gradient: npt.ArrayLike, width: int) -> int:
    """iDLG: the class of a lone example is the one whose bias has a negative gradient.

    Args:
        gradient: ``(d,)``.
        width: k, length of a row; the last column is the bias's.
    """
    return int(np.asarray(gradient).reshape(-1, width)[:, -1].argmin())


def noise_in(gradients: npt.ArrayLike, least: float) -> float:
    """Standard deviation of the noise in each coordinate, from ``(…, classes, k)``; at least ``least``."""
    apart = np.asarray(gradients, np.float64)
    return max(float(np.sqrt((apart.sum(-2) ** 2).mean() / apart.shape[-2])), least)


def reconstruct_rows(
    seen: Sequence[Seen],
    labels: _Labels,
    guess: Guess,
    *,
    constant: float,
    known: tuple[Float32Array, _Labels] | None = None,
    iterations: int = 400,
) -> Float32Array:
    """The most probable rows of features, given what was seen.

    Args:
        seen: rounds of one device.
        labels: ``(n,)`` classes of the unknown examples: granted, or of :func:`infer_label`.
        guess: what rows look like beforehand; also where the search begins.
        constant: of the bias, the last number in each row.
        known: the other examples of the device, as far as the attacker knows them: rows ``(m, k)`` and labels.
        iterations: of L-BFGS.

    Returns:
        ``(n, k - 1)`` float32.
    """
    import torch
    from scipy.optimize import minimize

    count, width = len(labels), guess.means.shape[1] + 1
    plan = seen[0].plan
    heads, sums = (torch.from_numpy(part) for part in _along_the_way(seen, width))
    variance = noise_in(sums, _LEAST_NOISE * plan.clip) ** 2
    means, root = torch.from_numpy(guess.means[labels]), torch.from_numpy(guess.root)

    def update(rows: torch.Tensor, classes: _Labels) -> torch.Tensor:
        errors = torch.softmax(torch.einsum("rtck,nk->rtnc", heads, rows), -1)
        truth = torch.nn.functional.one_hot(torch.from_numpy(classes), heads.shape[2])
        errors = errors - truth
        norms = errors.norm(dim=-1) * rows.norm(dim=1)
        errors = errors * torch.clamp(plan.clip / norms.clamp(min=1e-30), max=1)[..., None]
        return torch.einsum("rtnc,nk->rck", errors, rows)

    if known is not None:
        sums = sums - update(torch.from_numpy(known[0].astype(np.float64)), known[1])

    def loss(flat: _Float64) -> tuple[float, _Float64]:
        u = torch.from_numpy(flat.reshape(count, -1)).requires_grad_()
        rows = torch.cat([means + u @ root.T, torch.full((count, 1), constant, dtype=torch.float64)], 1)
        value: Any = (sums - update(rows, labels)).square().sum() / (2 * variance) + u.square().sum() / 2
        value.backward()
        assert u.grad is not None
        return float(value.detach()), u.grad.numpy().ravel()

    found = minimize(
        loss, np.zeros(count * (width - 1)), jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations},
    )  # fmt: skip
    rows: Float32Array = (guess.means[labels] + found.x.reshape(count, -1) @ guess.root.T).astype(np.float32)
    return rows


def _along_the_way(seen: Sequence[Seen], width: int) -> tuple[_Float64, _Float64]:
    """Heads ``(rounds, steps, classes, k)`` and sums of gradients ``(rounds, classes, k)``.

    Where the device stood at each step is not seen; it is taken to have gone straight from start to end.
    """
    steps = seen[0].plan.steps
    heads = [
        [(one.vector + one.delta.astype(np.float64) * (step / steps)).reshape(-1, width) for step in range(steps)]
        for one in seen
    ]
    return np.array(heads), np.array([one.gradient.reshape(-1, width) for one in seen])
