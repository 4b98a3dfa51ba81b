"""Private keys of a repository's roles: one PKCS#8 file each, which only its owner may read."""

from collections.abc import Collection, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.security.delivery.repository.roles import OFFLINE
from skerry.security.identity.private_file import read_private

__all__ = ["RoleKeys"]


class RoleKeys:
    """Ed25519 keys in two folders, each file named ``<role>.<first 8 digits of the key's id>.pem``.

    Args:
        online: keys of snapshot, timestamp and models.
        offline: keys of root and targets; the folder may be absent where those are not needed.
        passphrase: encrypts keys of ``offline`` (PBES2 with AES-256-CBC and PBKDF2, as the library chooses); without it
            they are in clear.
    """

    def __init__(self, online: Path, offline: Path, *, passphrase: bytes | None = None) -> None:
        self._online, self._offline, self._passphrase = online, offline, passphrase

    @property
    def lock(self) -> Path:
        """What whoever changes the repository holds meanwhile."""
        return self._online / "repository"

    def make(self, role: str) -> CryptoSigner:
        """A fresh key, written before it is returned."""
        private = Ed25519PrivateKey.generate()
        signer = CryptoSigner(private)
        offline = role in OFFLINE
        encryption: KeySerializationEncryption = NoEncryption()
        if offline and self._passphrase:
            encryption = BestAvailableEncryption(self._passphrase)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        folder = self._offline if offline else self._online
        write_atomic(folder / f"{role}.{signer.public_key.keyid[:8]}.pem", pem, mode=0o600)
        return signer

    def of(self, role: str, keyids: Collection[str]) -> list[CryptoSigner]:
        """The keys at hand out of those; a file is read only when its name fits.

        Raises:
            RefusedError: others than its owner may read or change a key file (``open_key_file``).
            InputError: a file is no key, or its passphrase is another.
        """
        signers = (self._load(path) for path in self._files(role, keyids))
        return [signer for signer in signers if signer.public_key.keyid in keyids]

    def discard(self, role: str, keyids: Collection[str]) -> None:
        """Remove the files of keys that sign no more."""
        for path in list(self._files(role, keyids)):
            path.unlink()

    def _files(self, role: str, keyids: Collection[str]) -> Iterator[Path]:
        folder = self._offline if role in OFFLINE else self._online
        for keyid in sorted(keyids):
            path = folder / f"{role}.{keyid[:8]}.pem"
            if path.is_file():
                yield path

    def _load(self, path: Path) -> CryptoSigner:
        pem = read_private(path)
        encrypted = b"ENCRYPTED" in pem
        try:
            private = load_pem_private_key(pem, self._passphrase if encrypted else None)
            return CryptoSigner(private)
        except (ValueError, TypeError):  # no "from": the cause could quote the file
            raise InputError(
                "the key cannot be opened" if encrypted else "the file is not a key",
                where=str(path),
                mend="set SKERRY_KEY_PASSPHRASE to its passphrase" if encrypted else "restore it from a copy",
            ) from None
