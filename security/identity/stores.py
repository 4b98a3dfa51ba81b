"""Key stores in a file, behind one of the locks.

=========  ============================================  ==================================================
backend    opens with                                    device key
=========  ============================================  ==================================================
file       a passphrase, or a key file elsewhere         in the file
keyring    a key in the Linux kernel's memory, put       in the file
           there once after each start with a passphrase
tpm        this machine's TPM 2.0                        in the chip; it never leaves
=========  ============================================  ==================================================

The file is readable by its owner only, or refused. It is replaced as a whole whenever keys change, under a lock beside
it.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skerry.canonical import encode
from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.hpke import KemPrivateKey, KemSuite
from skerry.security.identity.epochs import KemEpoch, KemKeys
from skerry.security.identity.keys import Identity
from skerry.security.identity.keystore import KeyStoreRefusal, KeyStoreRefusedError
from skerry.security.identity.locks import KEY, NONCE, Lock, decrypt, encrypt
from skerry.security.identity.private_file import read_private
from skerry.security.locking import exclusive
from skerry.security.strict import check_name, read_record

__all__ = ["SealedKeyStore", "backend_of"]

_SCHEMA = 2
_LONGEST = 1 << 16
_CONTEXT = b"skerry/keystore/1"
_OUTER = ("schema", "backend", "name", "digest", "box")
_SECRETS = ("name", "signing", "device", "sealing", "epochs", "taken")


@dataclass(frozen=True)
class _Keys:
    """Everything in the box; ``device`` is the P-256 scalar, or what the lock keeps of a key of its own."""

    name: str
    signing: bytes = field(repr=False)
    device: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    kem: KemKeys = field(repr=False)

    def encode(self) -> bytes:
        epochs = [[one.number, one.begins, one.ends, one.key.suite.value, one.key.raw] for one in self.kem.epochs]
        return encode({
            "name": self.name,
            "signing": self.signing,
            "device": self.device,
            "sealing": self.sealing,
            "epochs": epochs,
            "taken": self.kem.taken,
        })  # fmt: skip

    @staticmethod
    def decode(data: bytes) -> "_Keys":
        value = read_record(data, _SECRETS, limit=_LONGEST)
        epochs = tuple(
            KemEpoch(number, begins, ends, KemPrivateKey(KemSuite(suite), raw))
            for number, begins, ends, suite, raw in value["epochs"]
        )
        kem = KemKeys(epochs, value["taken"])
        return _Keys(value["name"], value["signing"], value["device"], value["sealing"], kem)


class SealedKeyStore:
    """A :class:`~skerry.security.identity.keystore.KeyStore` in a file; made by :meth:`create` and :meth:`open`."""

    def __init__(self, path: Path, lock: Lock, keys: _Keys) -> None:
        self._path = path
        self._lock = lock
        self._keys = keys
        own = lock.device_key(keys.device)
        self._device_key = _scalar(keys.device) if own is None else own[1]

    @staticmethod
    def create(
        path: Path, name: str, lock: Lock, *, now: int, days: int = 14, suite: KemSuite = KemSuite.X25519
    ) -> "SealedKeyStore":
        """Make fresh keys.

        Args:
            path: of a file that is not there yet.
            name: of the device.
            lock: what it will take to open it.
            now: ms since the epoch.
            days: of the first epoch of the sealing key.
            suite: of the sealing keys.

        Raises:
            InputError: an unusable name or epoch, or there is a file already.
        """
        check_name(name, "a device's name")
        own = lock.device_key(b"")
        device = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(KEY, "big")
        keys = _Keys(
            name=name,
            signing=Ed25519PrivateKey.generate().private_bytes_raw(),
            device=device if own is None else own[0],
            sealing=secrets.token_bytes(KEY),
            kem=KemKeys.begin(now, days, suite),
        )
        with exclusive(path):
            if path.exists():
                raise InputError("there are keys already", where=str(path), mend="use them, or another folder")
            _write(path, lock, keys)
        return SealedKeyStore(path, lock, keys)

    @staticmethod
    def open(path: Path, lock: Lock) -> "SealedKeyStore":
        """Open a store.

        Raises:
            InputError: there is none, or it is of another backend.
            RefusedError: others than the owner may use the file (``open_key_file``).
            KeyStoreRefusedError: it does not open, with the reason.
        """
        return SealedKeyStore(path, lock, _read(path, lock))

    @property
    def backend(self) -> str:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        return self._lock.backend

    @property
    def identity(self) -> Identity:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        *old, newest = self._keys.kem.epochs
        signing = Ed25519PrivateKey.from_private_bytes(self._keys.signing)
        return Identity(self._keys.name, signing, newest.key, tuple(one.key for one in reversed(old)))

    @property
    def device_key(self) -> ec.EllipticCurvePrivateKey:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        return self._device_key

    @property
    def kem(self) -> KemKeys:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        return self._keys.kem

    @property
    def epoch(self) -> KemEpoch:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        return self._keys.kem.newest

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        return encrypt(self._keys.sealing, secret, context, secrets.token_bytes(NONCE))

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        secret = decrypt(self._keys.sealing, sealed, context)
        if secret is None:
            raise KeyStoreRefusedError(
                KeyStoreRefusal.NOT_OURS,
                "this was not sealed by this key store, or for another use",
                where=str(self._path),
            )
        return secret

    def rotate(self, now: int, days: int) -> KemEpoch:
        """See :class:`~skerry.security.identity.keystore.KeyStore`.

        Raises:
            InputError: an epoch has 7 to 30 days.
        """
        self._change(lambda kem: kem.next(now, days))
        return self.epoch

    def accepted(self, number: int, now: int) -> None:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        self._change(lambda kem: kem.accepted(number, now))

    def prune(self, now: int) -> int:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        before = len(self._keys.kem.epochs)
        if len(self._keys.kem.pruned(now).epochs) < before:
            self._change(lambda kem: kem.pruned(now))
        return before - len(self._keys.kem.epochs)

    def refresh(self) -> None:
        """See :class:`~skerry.security.identity.keystore.KeyStore`."""
        self._keys = _read(self._path, self._lock)

    def _change(self, change: Callable[[KemKeys], KemKeys]) -> None:
        """Change the sealing keys that are on disk now: another process may have rotated them."""
        with exclusive(self._path):
            known = _read(self._path, self._lock)
            keys = replace(known, kem=change(known.kem))
            _write(self._path, self._lock, keys)
        self._keys = keys


def backend_of(path: Path) -> tuple[str, str]:
    """Backend and name of a store, which are no secrets.

    Raises:
        InputError, RefusedError, KeyStoreRefusedError: see :meth:`SealedKeyStore.open`.
    """
    outer = _outer(path)
    return outer["backend"], outer["name"]


def _write(path: Path, lock: Lock, keys: _Keys) -> None:
    box = lock.close(keys.encode(), _CONTEXT + keys.name.encode())
    outer = {"schema": _SCHEMA, "backend": lock.backend, "name": keys.name, "box": box}
    write_atomic(path, encode(outer | {"digest": _digest(outer)}), mode=0o600)


def _read(path: Path, lock: Lock) -> _Keys:
    outer = _outer(path)
    if outer["backend"] != lock.backend:
        raise InputError(f"these keys are in a store of kind {outer['backend']}, not {lock.backend}", where=str(path))
    try:
        return _Keys.decode(lock.open(outer["box"], _CONTEXT + outer["name"].encode()))
    except KeyStoreRefusedError as error:
        raise KeyStoreRefusedError(
            KeyStoreRefusal(error.reason), error.what, where=str(path), mend=error.mend
        ) from error
    except (InputError, ValueError, TypeError):
        raise _damaged(path) from None  # the cause could quote a key


def _outer(path: Path) -> dict[str, Any]:
    data = read_private(path)
    try:
        outer = read_record(data, _OUTER, limit=_LONGEST)
        if outer["schema"] != _SCHEMA or _digest(outer) != outer["digest"]:
            raise ValueError("another schema, or altered")
        check_name(outer["name"], "a device's name")
    except (InputError, ValueError, TypeError):
        raise _damaged(path) from None
    return outer


def _digest(outer: dict[str, Any]) -> bytes:
    """Tells a damaged file from a wrong passphrase; it keeps nobody from altering the file."""
    return hashlib.sha256(encode({key: value for key, value in outer.items() if key != "digest"})).digest()


def _damaged(path: Path) -> KeyStoreRefusedError:
    return KeyStoreRefusedError(
        KeyStoreRefusal.DAMAGED,
        "the key store cannot be read",
        where=str(path),
        mend="restore a copy; otherwise have the device revoked, and enrol it with new keys",
    )


def _scalar(raw: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())
