"""The times that enrolment goes by."""

from dataclasses import dataclass

from skerry.errors import InputError

__all__ = ["Rules"]

_MINUTE = 60_000
_DAY = 86_400_000


@dataclass(frozen=True)
class Rules:
    """All in milliseconds.

    Attributes:
        challenge: how long a challenge may be answered.
        skew: how far a device's clock may be from the desk's.
        grace: how long after its certificate's end a device may still renew, as one that was switched off for a while
            does; whoever checks a certificate takes none that has ended.
        longest_epoch: how long a sealing key may be used.
    """

    challenge: int = 5 * _MINUTE
    skew: int = 5 * _MINUTE
    grace: int = 30 * _DAY
    longest_epoch: int = 30 * _DAY

    def __post_init__(self) -> None:
        if min(self.challenge, self.skew, self.longest_epoch) <= 0 or self.grace < 0:
            raise InputError("times of enrolment must be positive")
