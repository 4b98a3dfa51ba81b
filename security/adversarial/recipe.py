"""How training answers attacks: which adversarial examples are made, and what is learned from them.

``fgsm_rs``  one step from a random start: Wong, Rice & Kolter, "Fast is better than free" (arXiv:2001.03994)
``free``     one step with each gradient that is learned from, each batch several times in a row: Shafahi et al.
             (arXiv:1904.12843), with perturbations that stay with their examples
``n_fgsm``   one step from stronger noise, not cut back to the ball: de Jorge et al. (arXiv:2202.01181)
``pgd``      several steps: Madry et al. (arXiv:1706.06083)
``trades``   clean loss plus β times the distance of the scores: Zhang et al. (arXiv:1901.08573)
"""

from dataclasses import dataclass, replace
from typing import Literal

from skerry.errors import InputError
from skerry.security.adversarial.ball import Ball

__all__ = ["AdversarialRecipe", "Method", "replays"]

Method = Literal["fgsm_rs", "n_fgsm", "free", "pgd", "trades"]

NOISE = 2.0  # of n_fgsm, in radii: de Jorge et al., section 5
MOST_STEPS = 100
_REPLAYS = 4  # of free: m in the paper, which has 4 and 8


def replays(method: str) -> int:
    """Steps in a row that learn from the same batch: several for ``free``. Under privacy each pays as a release."""
    return _REPLAYS if method == "free" else 1


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe:
    """What adversarial training does with each example.

    Attributes:
        ball: where the attacker may go.
        method: see the module.
        steps: of ``pgd`` and ``trades``.
        beta: of ``trades``: what a robust score is worth against a right one.

    Raises:
        InputError: a value is out of range.
    """

    ball: Ball
    method: Method = "fgsm_rs"
    steps: int = 7
    beta: float = 6.0

    def __post_init__(self) -> None:
        if self.method not in {"fgsm_rs", "n_fgsm", "free", "pgd", "trades"}:
            raise InputError(
                f"{self.method!r} is not a way of adversarial training",
                mend='use "fgsm_rs", "n_fgsm", "free", "pgd" or "trades"',
            )
        if not 1 <= self.steps <= MOST_STEPS or not self.beta > 0:
            raise InputError(f"adversarial training takes 1 to {MOST_STEPS} steps and a positive beta")

    @property
    def ascents(self) -> int:
        """Gradients with respect to the input that are taken for each example."""
        return self.steps if self.method in {"pgd", "trades"} else 1

    @property
    def step_size(self) -> float:
        """Length of a step in the ball's norm: each paper's, for its radius."""
        if self.method == "fgsm_rs":
            return 1.25 * self.ball.epsilon
        if self.method in {"n_fgsm", "free"}:
            return self.ball.epsilon
        return 2.5 * self.ball.epsilon / self.steps

    @property
    def start(self) -> float:
        """How far from the example an attack starts, in radii."""
        return NOISE if self.method == "n_fgsm" else 1.0

    @property
    def multi_step(self) -> "AdversarialRecipe":
        """What is fallen back upon when one step turns out to be too few."""
        return replace(self, method="pgd")
