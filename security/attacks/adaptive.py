"""An attacker who knows the honest updates and the coordinator's rule."""

from dataclasses import dataclass

import numpy as np

from skerry.errors import InputError
from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge, repeated
from skerry.security.privacy.stream import RandomStream

__all__ = ["Adaptive"]


@dataclass(frozen=True)
class Adaptive(Attack):
    """Tries directions and lengths on the very rule, and sends what moves its result farthest from the honest mean.

    Directions: against the honest mean, and against the spread of each coordinate (those of IPM and ALIE); lengths:
    see ``scales``. The strongest attack here, and the one by which a rule should be judged.

    Reference: Fang et al. 2020, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning"
    (arXiv:1911.11815); the line search over the rule as in Allouah et al. 2023 (arXiv:2302.01772).

    Args:
        scales: lengths tried.
    """

    scales: tuple[float, ...] = (0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 8.0)

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The same row k times; the stream is not used.

        Raises:
            InputError: the rule is not known.
        """
        del stream
        if known.rule is None:
            raise InputError("the adaptive attack tries its rows on the rule, which is not known here")
        honest = known.honest.astype(np.float64)
        mean, spread = honest.mean(axis=0), honest.std(axis=0)
        best, farthest = repeated(mean, known), -1.0
        for direction in (-mean, -spread * np.sign(mean), -spread):
            for scale in self.scales:
                tried = repeated(mean + scale * direction, known)
                moved = float(np.linalg.norm(known.rule(np.concatenate([known.honest, tried])) - mean))
                if moved > farthest:
                    best, farthest = tried, moved
        return best
