"""Coins that decide which canaries are in, committed to before training and opened after it.

Whoever sees the commitment before the first round knows afterwards that the coins were not chosen to suit the guesses.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from skerry.canonical import encode
from skerry.errors import InputError
from skerry.security.privacy.stream import RandomStream

__all__ = ["Coins", "toss"]


@dataclass(frozen=True)
class Coins:
    """Fair coins for each device's canaries, with the salt that hides them in the commitment.

    Attributes:
        salt: 32 bytes.
        tosses: for each device one character a canary, ``1`` for put in.
    """

    salt: bytes
    tosses: Mapping[str, str]

    @property
    def commitment(self) -> str:
        """HMAC-SHA-256 (RFC 2104) of the tosses under the salt, in hexadecimal.

        Binding by the collision resistance of SHA-256; hiding as long as the salt is secret.
        """
        return hmac.new(self.salt, encode(dict(self.tosses)), hashlib.sha256).hexdigest()


def toss(devices: Mapping[str, int], stream: RandomStream) -> Coins:
    """Toss as many coins for each device.

    Args:
        devices: canaries by device.
        stream: a secret one, unless everything is simulated.

    Raises:
        InputError: a device has no canary.
    """
    if not devices or min(devices.values()) < 1:
        raise InputError("coins are tossed for at least one canary on each device")
    salt = stream.bytes(32)
    return Coins(
        salt,
        {name: "".join("01"[int(w >> 63)] for w in stream.uint64(count).tolist()) for name, count in devices.items()},
    )
