"""A malicious coordinator's heads: two that differ in what few examples do, so that their updates give those away.

The last class scores a steep line in the length of a row along a direction, and is chosen beyond a cut only: an example
there adds its row to that class's gradient, as in a bin of an imprinted layer (Fowl et al. 2022, "Robbing the Fed",
arXiv:2110.13057). In the second round the cut lies beyond everybody; the difference of the two gradients is the sum of
the rows beyond the first cut. Where that is one example, dividing by the bias's column gives its row, out of however
many and exactly, if there is no noise.
"""

import math

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.server.leakage.inversion import Guess, Seen, noise_in

__all__ = ["always_wrong_head", "reconstruct_trapped", "trap_heads"]

_STEEP = 1e7  # far more than a round's steps can move
_NEVER = -1e12
_STANDS_OUT = 5.0  # standard deviations
_LEAST_NOISE = 1e-4  # in clips


def trap_heads(
    direction: npt.ArrayLike, cut: float, beyond: float, classes: int, constant: float
) -> tuple[Float32Array, Float32Array]:
    """Two heads ``(d,)``: the last class is chosen beyond ``cut``, and beyond ``beyond``; the first class before it.

    Args:
        direction: ``(k - 1,)`` of length one.
        cut: along it.
        beyond: a cut that no row reaches.
        classes: number of classes, at least two.
        constant: of the bias.
    """
    line = np.asarray(direction, np.float64)

    def head(place: float) -> Float32Array:
        weight = np.zeros((classes, len(line) + 1))
        weight[1:-1, -1] = _NEVER
        weight[-1, :-1] = _STEEP * line
        weight[-1, -1] = -_STEEP * place / constant
        return weight.astype(np.float32).ravel()

    return head(cut), head(beyond)


def always_wrong_head(wrong: int, classes: int, width: int) -> Float32Array:
    """A head ``(d,)`` that is sure of one class: all examples of others have as large a gradient as the clip allows.

    To an attacker who knows all examples but one, no step can tell more of it.
    """
    weight = np.zeros((classes, width))
    weight[wrong, -1] = _STEEP
    return weight.astype(np.float32).ravel()


def reconstruct_trapped(
    first: Seen, second: Seen, label: int, guess: Guess, *, constant: float, length: float
) -> Float32Array:
    """The row ``(k - 1,)`` of the example between the cuts, most probably.

    Args:
        first: the round of the first head.
        second: of the second.
        label: the example's class, granted.
        guess: what rows look like beforehand.
        constant: of the bias.
        length: of a usual row, constant included; with the clip it says how strong a signal is that drowns in noise.
    """
    mean, root = guess.means[label], guess.root
    plan = first.plan
    apart = (first.gradient - second.gradient).reshape(-1, len(mean) + 1)
    noise, difference = noise_in(apart, _LEAST_NOISE * plan.clip), apart[-1]
    usual = plan.steps * plan.clip / (math.sqrt(2) * length)
    signal = _strength(difference, noise, constant, length) or usual
    covariance = root @ root.T
    seen = signal**2 * covariance
    seen[np.diag_indices_from(seen)] += noise**2
    gain = signal * np.linalg.solve(seen, covariance).T
    row: Float32Array = (mean + gain @ (difference[:-1] - signal * mean)).astype(np.float32)
    return row


def _strength(difference: npt.NDArray[np.float64], noise: float, constant: float, length: float) -> float:
    """The row's factor in the difference where it can be told from noise, else 0: by the bias, or by all of it."""
    if difference[-1] > _STANDS_OUT * noise:
        return float(difference[-1] / constant)
    energy = float(difference @ difference) - len(difference) * noise**2
    stands_out = energy > _STANDS_OUT / 2 * noise**2 * math.sqrt(2 * len(difference))
    return math.sqrt(energy) / length if stands_out else 0.0
