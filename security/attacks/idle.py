"""Devices that do no work: free riders who hand back the model's own last step, and stale updates sent again."""

from dataclasses import dataclass

import numpy as np

from skerry.records import Float32Array
from skerry.security.attacks.attack import Attack, Knowledge
from skerry.security.attacks.noise import RandomDirection
from skerry.security.privacy.stream import RandomStream

__all__ = ["FreeRider", "Replay"]


@dataclass(frozen=True)
class FreeRider(Attack):
    """Sends the last change of the global model plus a little noise, without training; pure noise in the first round.

    Reference: Lin, Du and Liu 2019, "Free-riders in Federated Learning: Attacks and Defenses" (arXiv:1911.12560),
    the delta weights attack; Fraboni, Vidal and Lorenzi 2021 (arXiv:2006.11901), disguised by noise.

    Args:
        jitter: length of the noise over that of the last change.
    """

    jitter: float = 0.1

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """Each device with noise of its own."""
        if known.last is None:
            return RandomDirection(self.jitter).rows(known, stream)
        echo = np.repeat(known.last[None], len(known.own), axis=0)
        return echo + RandomDirection(self.jitter).rows(Knowledge(own=echo, honest=echo), stream)


@dataclass(frozen=True)
class Replay(Attack):
    """Sends again what was computed in an early round: the envelope stops copies of messages, not of contents."""

    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """The early rows; the honest ones until there are any. The stream is not used."""
        del stream
        return (known.own if known.early is None else known.early).copy()
