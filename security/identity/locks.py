"""What it takes to open a key store: a passphrase, a key in the kernel's keyring, a chip.

A lock turns bytes into a box and back. What it needs to know for that, but must not keep secret, is in the box.
"""

import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from skerry.errors import InputError
from skerry.security.identity.keystore import KeyStoreRefusal, KeyStoreRefusedError

__all__ = ["Lock", "PassphraseLock", "decrypt", "encrypt"]

NONCE, SALT, KEY = 12, 16, 32
_COST = 1 << 15  # scrypt's N with r = 8, p = 1: 32 MiB and about a tenth of a second, also on a small board
_LEAST_PASSPHRASE = 8


class Lock(Protocol):
    """How a store is closed and opened."""

    backend: str

    def close(self, secret: bytes, context: bytes) -> bytes:
        """A box around the secret."""
        ...

    def open(self, box: bytes, context: bytes) -> bytes:
        """The secret in a box.

        Raises:
            KeyStoreRefusedError: it does not open.
        """
        ...

    def device_key(self, kept: bytes) -> "tuple[bytes, ec.EllipticCurvePrivateKey] | None":
        """A device key of the lock's own: what is to be kept of it, and the handle; None where it makes none.

        Args:
            kept: what was kept of it; empty makes a new one.
        """
        ...


def encrypt(key: bytes, secret: bytes, context: bytes, nonce: bytes) -> bytes:
    """``nonce ‖ AES-256-GCM(secret)``, bound to a context."""
    return nonce + AESGCM(key).encrypt(nonce, secret, context)


def decrypt(key: bytes, box: bytes, context: bytes) -> bytes | None:
    """What :func:`encrypt` closed; None under another key or context, or when it was altered."""
    try:
        return AESGCM(key).decrypt(box[:NONCE], box[NONCE:], context)
    except (InvalidTag, ValueError):
        return None


class PassphraseLock:
    """A key that scrypt (RFC 7914) derives from a passphrase, or from the random content of a file elsewhere.

    Args:
        passphrase: at least eight bytes.

    Raises:
        InputError: it is shorter.
    """

    backend = "file"

    def __init__(self, passphrase: bytes) -> None:
        if len(passphrase) < _LEAST_PASSPHRASE:
            raise InputError(
                f"a passphrase has {_LEAST_PASSPHRASE} characters at least",
                where="passphrase",
                mend="take more",
            )
        self._passphrase = passphrase
        self._derived: tuple[bytes, bytes] | None = None

    def close(self, secret: bytes, context: bytes) -> bytes:
        """See :class:`Lock`; a store that is open keeps its salt, so that it is derived once."""
        salt = self._derived[0] if self._derived else secrets.token_bytes(SALT)
        return salt + encrypt(self._key(salt), secret, context, secrets.token_bytes(NONCE))

    def open(self, box: bytes, context: bytes) -> bytes:
        """See :class:`Lock`."""
        secret = decrypt(self._key(box[:SALT]), box[SALT:], context)
        if secret is None:
            self._derived = None
            raise KeyStoreRefusedError(
                KeyStoreRefusal.WRONG_KEY, "the key store does not open with this passphrase", mend="try again"
            )
        return secret

    def device_key(self, kept: bytes) -> None:
        """None: the store's own."""

    def _key(self, salt: bytes) -> bytes:
        if self._derived is None or self._derived[0] != salt:
            key = Scrypt(salt=salt, length=KEY, n=_COST, r=8, p=1).derive(self._passphrase)
            self._derived = (salt, key)
        return self._derived[1]
