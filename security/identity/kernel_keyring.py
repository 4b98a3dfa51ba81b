"""A store that opens while a key lies in the Linux kernel's memory, as an agent does for ssh.

Somebody types the passphrase once after each start; from then on the store opens without it, for this user's processes
only, until the time is over, the machine stops or :meth:`KeyringLock.forget` is called. The key is never on a disk. The
kernel's keyrings are system calls without a maintained Python package, so they are called here.
"""

import ctypes
import os
import platform
import secrets
from typing import Final

from skerry.security.identity.keystore import KeyStoreRefusal, KeyStoreRefusedError
from skerry.security.identity.locks import KEY, NONCE, PassphraseLock, decrypt, encrypt

__all__ = ["KernelKeyring", "KeyringLock"]

_USER_KEYRING: Final = -4  # KEY_SPEC_USER_KEYRING: of this user, whatever the session
_NUMBERS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key, keyctl
_SETPERM, _SEARCH, _READ, _TIMEOUT, _INVALIDATE = 5, 10, 11, 15, 21
_PERMISSIONS: Final = 0x3F0B0000  # possessor: all; user: view, read, search; group and others: nothing


class KernelKeyring:
    """The keyring of this user.

    Raises:
        KeyStoreRefusedError: this kernel or machine has none (``keystore_unavailable``).
    """

    def __init__(self) -> None:
        numbers = _NUMBERS.get(platform.machine())
        if platform.system() != "Linux" or numbers is None:
            raise _unavailable("kernel keyrings are for Linux on x86_64 and aarch64")
        self._add_key, self._keyctl = numbers
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long

    def put(self, name: str, secret: bytes, seconds: int) -> None:
        """Keep a secret for so many seconds (0: until the machine stops)."""
        key = self._checked(self._add_key, b"user", name.encode(), secret, len(secret), _USER_KEYRING)
        self._checked(self._keyctl, _SETPERM, key, _PERMISSIONS)
        self._checked(self._keyctl, _TIMEOUT, key, seconds)

    def get(self, name: str) -> bytes | None:
        """The secret; None when there is none, or its time is over."""
        key = self._call(self._keyctl, _SEARCH, _USER_KEYRING, b"user", name.encode(), 0)
        if key < 0:
            return None
        buffer = ctypes.create_string_buffer(256)
        length = self._call(self._keyctl, _READ, ctypes.c_long(key), buffer, len(buffer))
        return buffer.raw[:length] if 0 <= length <= len(buffer) else None

    def drop(self, name: str) -> None:
        """Forget the secret, if there is one."""
        key = self._call(self._keyctl, _SEARCH, _USER_KEYRING, b"user", name.encode(), 0)
        if key >= 0:
            self._checked(self._keyctl, _INVALIDATE, key)

    def _checked(self, *arguments: int | bytes) -> int:
        given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
        result = int(self._call(*given))
        if result < 0:
            raise _unavailable(f"the kernel keeps no keys here: {os.strerror(ctypes.get_errno())}")
        return result


class KeyringLock:
    """Closes with a random key that lies in the kernel's keyring, and in the box under a passphrase.

    Args:
        name: of the key in the keyring, one for each store.
        passphrase: to make a store, or to unlock it; None opens what is unlocked.
        keyring: where the key lies.
        seconds: for how long it lies there once it is unlocked; 0: until the machine stops.
    """

    backend = "keyring"

    def __init__(
        self, name: str, passphrase: bytes | None = None, *, keyring: KernelKeyring | None = None, seconds: int = 0
    ) -> None:
        self._name = f"skerry:{name}"
        self._keyring = keyring or KernelKeyring()
        self._passphrase = PassphraseLock(passphrase) if passphrase is not None else None
        self._seconds = seconds
        self._wrapped: bytes | None = None

    def close(self, secret: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.locks.Lock`."""
        key = self._keyring.get(self._name) if self._wrapped is not None else None
        if key is None:
            if self._passphrase is None:
                raise self._locked()
            key = secrets.token_bytes(KEY)
            self._wrapped = self._passphrase.close(key, context)
            self._keyring.put(self._name, key, self._seconds)
        assert self._wrapped is not None  # set above, or by `open`
        head = len(self._wrapped).to_bytes(2, "big") + self._wrapped
        return head + encrypt(key, secret, context, secrets.token_bytes(NONCE))

    def open(self, box: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.locks.Lock`; with a passphrase it is unlocked too."""
        length = int.from_bytes(box[:2], "big")
        wrapped, sealed = box[2 : 2 + length], box[2 + length :]
        if self._passphrase is not None:
            self._keyring.put(self._name, self._passphrase.open(wrapped, context), self._seconds)
        key = self._keyring.get(self._name)
        secret = None if key is None else decrypt(key, sealed, context)
        if secret is None:
            raise self._locked()
        self._wrapped = wrapped
        return secret

    def device_key(self, kept: bytes) -> None:
        """None: the store's own."""

    def forget(self) -> None:
        """Lock the store again."""
        self._keyring.drop(self._name)

    def _locked(self) -> KeyStoreRefusedError:
        return KeyStoreRefusedError(
            KeyStoreRefusal.LOCKED, "the key store is locked", mend="unlock it: `skerry security keys unlock`"
        )


def _unavailable(why: str) -> KeyStoreRefusedError:
    return KeyStoreRefusedError(KeyStoreRefusal.UNAVAILABLE, why, mend="keep the keys in a file: --backend file")
