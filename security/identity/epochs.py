"""Sealing keys in epochs: a new key every so many days, and the old ones deleted.

Sealing has no forward secrecy of its own (:mod:`~skerry.security.hpke`): what was sealed to a key opens for whoever
gets that key. So a device's keys are of epochs of 7 to 30 days, and a key is deleted once nothing that was sealed to it
can be on its way any more. What was sealed in an epoch before is then closed to everybody, the device included.
"""

from dataclasses import dataclass, field, replace

from skerry.errors import InputError
from skerry.security.hpke import KemPrivateKey, KemSuite

__all__ = ["LONGEST_DAYS", "SHORTEST_DAYS", "KemEpoch", "KemKeys"]

SHORTEST_DAYS, LONGEST_DAYS = 7, 30
_DAY_MS = 86_400_000
_OVERLAP_MS = 7 * _DAY_MS  # the longest life of an envelope


@dataclass(frozen=True)
class KemEpoch:
    """One epoch's key; times in ms since the epoch of Unix."""

    number: int
    begins: int
    ends: int
    key: KemPrivateKey = field(repr=False)


@dataclass(frozen=True)
class KemKeys:
    """The epochs whose keys still exist, oldest first; never empty."""

    epochs: tuple[KemEpoch, ...]

    @staticmethod
    def begin(now: int, days: int, suite: KemSuite = KemSuite.X25519) -> "KemKeys":
        """The first epoch.

        Raises:
            InputError: an epoch has 7 to 30 days.
        """
        return KemKeys((_epoch(1, now, days, suite),))

    @property
    def newest(self) -> KemEpoch:
        """The one that others seal to."""
        return self.epochs[-1]

    def due(self, now: int) -> bool:
        """Whether two thirds of the newest epoch are over: with the certificate's renewal comes the next one."""
        one = self.newest
        return now >= one.begins + (one.ends - one.begins) * 2 // 3

    def next(self, now: int, days: int) -> "KemKeys":
        """With a new epoch. Those before it end now at the latest, and are kept until :meth:`pruned` drops them.

        Raises:
            InputError: an epoch has 7 to 30 days.
        """
        ended = tuple(replace(one, ends=min(one.ends, now)) for one in self.epochs)
        return KemKeys((*ended, _epoch(self.newest.number + 1, now, days, self.newest.key.suite)))

    def pruned(self, now: int) -> "KemKeys":
        """Without the keys of epochs that ended seven days ago: no envelope lives longer. The newest always stays."""
        *old, newest = self.epochs
        return KemKeys((*(one for one in old if now < one.ends + _OVERLAP_MS), newest))


def _epoch(number: int, now: int, days: int, suite: KemSuite) -> KemEpoch:
    if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
        raise InputError(f"an epoch has {SHORTEST_DAYS} to {LONGEST_DAYS} days, got {days}", where="epoch")
    return KemEpoch(number, now, now + days * _DAY_MS, KemPrivateKey.generate(suite))
