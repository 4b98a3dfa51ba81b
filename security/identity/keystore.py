"""Where a device's keys are kept: one interface, and why a store does not open.

A store holds everything of a device that is secret: its device key (P-256: certificates), its message key (Ed25519),
its sealing keys in epochs, and a key for small secrets of its owner. What differs between backends is what it takes to
open it; see :mod:`~skerry.security.identity.stores`.
"""

from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from skerry.errors import RefusedError
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.security.identity.keys import Identity

__all__ = ["KeyStore", "KeyStoreRefusal", "KeyStoreRefusedError"]


class KeyStoreRefusal(StrEnum):
    """Reason of a :class:`KeyStoreRefusedError`."""

    LOCKED = "keystore_locked"
    WRONG_KEY = "wrong_passphrase"
    DAMAGED = "keystore_damaged"
    UNAVAILABLE = "keystore_unavailable"
    NOT_OURS = "not_sealed_here"


class KeyStoreRefusedError(RefusedError):
    """A key store does not open, or does not do what was asked; ``reason`` is a :class:`KeyStoreRefusal`."""

    def __init__(
        self, reason: KeyStoreRefusal, what: str, *, where: str | None = None, mend: str | None = None
    ) -> None:
        super().__init__(reason.value, what, where=where, mend=mend)


class KeyStore(Protocol):
    """A device's keys, open."""

    @property
    def backend(self) -> str:
        """What it takes to open it: ``file``, ``keyring`` or ``tpm``."""
        ...

    @property
    def identity(self) -> Identity:
        """Name and message keys; opens what was sealed to any epoch that is left."""
        ...

    @property
    def device_key(self) -> ec.EllipticCurvePrivateKey:
        """P-256, to sign with; it may be a handle to a key that never leaves its chip."""
        ...

    @property
    def kem(self) -> KemKeys:
        """The sealing keys that are left."""
        ...

    @property
    def epoch(self) -> KemEpoch:
        """The newest of them."""
        ...

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """A small secret that this store alone opens again, under the same context."""
        ...

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed.

        Raises:
            KeyStoreRefusedError: not sealed here, or under another context (``not_sealed_here``).
        """
        ...

    def rotate(self, now: int, days: int) -> KemEpoch:
        """Begin an epoch of so many days; no key is deleted."""
        ...

    def accepted(self, number: int, now: int) -> None:
        """Note that the federation has taken the sealing key of this epoch: those before it end at ``now``."""
        ...

    def prune(self, now: int) -> int:
        """Delete the sealing keys of epochs that are over, at a time that the federation has agreed with; how many."""
        ...

    def refresh(self) -> None:
        """Take in what another process has changed."""
        ...
