"""Sealing keys in epochs: a new key every so many days, and the old ones deleted.

Sealing has no forward secrecy of its own (:mod:`~skerry.security.hpke`): what was sealed to a key opens for whoever
gets that key. So a device's keys are of epochs of 7 to 30 days, and a key is deleted once nothing that was sealed to it
can be on its way any more. What was sealed in an epoch before is then closed to everybody, the device included.

Others seal to the key that the federation has taken last, whatever the device has made since. So nothing is over before
a later key was taken; and who asks for a deletion says a time that the federation has agreed with, for a device's own
clock may be ahead.
"""

from dataclasses import dataclass, field, replace

from skerry.errors import InputError
from skerry.security.hpke import KemPrivateKey, KemSuite

__all__ = ["LONGEST_DAYS", "SHORTEST_DAYS", "KemEpoch", "KemKeys"]

SHORTEST_DAYS, LONGEST_DAYS = 7, 30
_DAY_MS = 86_400_000
_OVERLAP_MS = 7 * _DAY_MS  # the longest life of an envelope
_SKEW_MS = 5 * 60_000  # as far as a desk lets a device's clock be from its own


@dataclass(frozen=True)
class KemEpoch:
    """One epoch's key; times in ms since the epoch of Unix."""

    number: int
    begins: int
    ends: int
    key: KemPrivateKey = field(repr=False)

    def begun(self, now: int) -> bool:
        """Whether it has begun, by a clock that may be five minutes off; else a wrong clock began it in the future."""
        return self.begins <= now + _SKEW_MS


@dataclass(frozen=True)
class KemKeys:
    """The epochs whose keys still exist, oldest first; never empty.

    Attributes:
        epochs: as they were made.
        taken: number of the epoch whose key the federation has taken last; 0 before it has any.
    """

    epochs: tuple[KemEpoch, ...]
    taken: int = 0

    @staticmethod
    def begin(now: int, days: int, suite: KemSuite = KemSuite.X25519) -> "KemKeys":
        """The first epoch.

        Raises:
            InputError: an epoch has 7 to 30 days.
        """
        return KemKeys((_epoch(1, now, days, suite),))

    @property
    def newest(self) -> KemEpoch:
        """The one that was made last."""
        return self.epochs[-1]

    def find(self, number: int) -> KemEpoch | None:
        """The epoch of this number, while its key exists."""
        return next((one for one in self.epochs if one.number == number), None)

    def due(self, now: int) -> bool:
        """Whether there should be another: two thirds of the newest are over, or it begins in the future."""
        one = self.newest
        return now >= one.begins + (one.ends - one.begins) * 2 // 3 or not one.begun(now)

    def settled(self, now: int) -> bool:
        """Whether there is nothing to do: the newest key is the one that was taken, and none is due or over."""
        return self.newest.number == self.taken and not self.due(now) and self.pruned(now) == self

    def next(self, now: int, days: int) -> "KemKeys":
        """With a new epoch; those before it go on until it is :meth:`accepted`.

        Raises:
            InputError: an epoch has 7 to 30 days.
        """
        new = _epoch(self.newest.number + 1, now, days, self.newest.key.suite)
        return replace(self, epochs=(*self.epochs, new))

    def accepted(self, number: int, now: int) -> "KemKeys":
        """The federation has taken the key of this epoch: those before it end now at the latest."""
        taken = max(self.taken, number)
        epochs = (replace(one, ends=min(one.ends, now)) if one.number < taken else one for one in self.epochs)
        return KemKeys(tuple(epochs), taken)

    def pruned(self, now: int) -> "KemKeys":
        """Without those before the one that was taken that ended seven days ago: no envelope lives longer.

        Args:
            now: ms since the epoch, by a clock with which the federation agrees.
        """
        kept = (one for one in self.epochs if one.number >= self.taken or now < one.ends + _OVERLAP_MS)
        return replace(self, epochs=tuple(kept))


def _epoch(number: int, now: int, days: int, suite: KemSuite) -> KemEpoch:
    if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
        raise InputError(f"an epoch has {SHORTEST_DAYS} to {LONGEST_DAYS} days, got {days}", where="epoch")
    return KemEpoch(number, now, now + days * _DAY_MS, KemPrivateKey.generate(suite))
