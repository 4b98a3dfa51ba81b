"""Neurotoxin: a backdoor kept where honest devices hardly train, so that it is neither seen nor trained away."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.privacy.stream import RandomStream

__all__ = ["Neurotoxin"]


@dataclass(frozen=True)
class Neurotoxin(Attack):
    """Sends its own update, which comes of poisoned data, without the coordinates that the model's last step used most.

    Reference: Zhang et al. 2022, "Neurotoxin: Durable Backdoors in Federated Learning" (arXiv:2206.10341): the last
    step of the global model stands for the honest gradient, which the attackers do not see.

    Args:
        share: of the coordinates that are left alone; the paper's masks are of 0 to 0.25, 0.05 mostly.
    """

    share: float = 0.05

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The honest rows in the first round, when there was no step. The stream is not used."""
        del stream
        sent = known.own.copy()
        if known.last is not None:
            count = round(self.share * known.last.size)
            sent[:, np.argsort(-np.abs(known.last), kind="stable")[:count]] = 0
        return sent
