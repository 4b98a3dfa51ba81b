"""What an attack is: what hostile devices send, given what they know."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from skerry.records import Float32Array
from skerry.security.privacy.stream import RandomStream

__all__ = ["Attack", "Knowledge", "lengths", "normal", "repeated"]

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Knowledge:
    """What hostile devices know in one round; rows are deltas, never changed.

    Attributes:
        own: ``(k, d)`` float32, k ≥ 1: what the hostile devices would have sent, had they been honest.
        honest: ``(h, d)`` float32, h ≥ 1: the updates that they know of. The worst case is all of the honest devices';
            a device that acts alone knows its own.
        last: ``(d,)`` float32, the last change of the global model, which every device sees; None in the first round.
        early: ``(k, d)`` float32, what the hostile devices computed in an early round; None before it.
        rule: the coordinator's rule, for an attacker who knows the defence; takes the rows of all devices.
    """

    own: Float32Array
    honest: Float32Array
    last: Float32Array | None = None
    early: Float32Array | None = None
    rule: Callable[[Float32Array], Float32Array] | None = None


class Attack(ABC):
    """Turns what hostile devices know into what they send."""

    shared: ClassVar[bool] = False
    """True when hostile devices must draw the same random bits, because they send the same row."""

    @abstractmethod
    def rows(self, known: Knowledge, stream: RandomStream) -> Float32Array:
        """``(k, d)`` float32, a new array: a row for each hostile device.

        Args:
            known: see :class:`Knowledge`.
            stream: random bits of the attackers.
        """

    def __call__(self, honest_delta: Float32Array, stream: RandomStream) -> Float32Array:
        """What one device sends that knows nothing but its own ``(d,)`` float32 delta, which is not changed."""
        alone = honest_delta[None]
        sent: Float32Array = self.rows(Knowledge(own=alone, honest=alone), stream)[0]
        return sent


def repeated(row: Float32Array | Float64Array, known: Knowledge) -> Float32Array:
    """The same row from every hostile device."""
    with np.errstate(over="ignore"):
        sent: Float32Array = np.tile(row.astype(np.float32), (len(known.own), 1))
    return sent


def lengths(rows: Float32Array) -> Float64Array:
    """``(n, 1)`` L2 norms, in float64."""
    wide = rows.astype(np.float64)
    found: Float64Array = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return found


def normal(n: int, stream: RandomStream) -> Float64Array:
    """``(n,)`` standard normal numbers by Box and Muller, from 53-bit uniforms in (0, 1]."""
    pairs = (n + 1) // 2
    uniform = ((stream.uint64(2 * pairs) >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]
