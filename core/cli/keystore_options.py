"""How commands are told where a device's keys are and what opens them."""

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from skerry.security.identity import Lock, SealedKeyStore

__all__ = ["Backend", "BackendOption", "HomeOption", "KeyFile", "lock_for", "open_store"]


class Backend(StrEnum):
    """What it takes to open a key store."""

    FILE = "file"
    KEYRING = "keyring"
    TPM = "tpm"


HomeOption = Annotated[
    Path, typer.Option("--home", envvar="SKERRY_DEVICE_HOME", help="The device's folder, with its keys.")
]
BackendOption = Annotated[
    Backend, typer.Option("--backend", help="Where new keys are kept: a file, the kernel's keyring, or a TPM.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="Opens the keys instead of a passphrase: a file (0600) kept elsewhere; made when there is none yet.",
    ),
]


def lock_for(backend: Backend, home: Path, key_file: Path | None, *, new: bool, unlock: bool = False) -> "Lock":
    """The lock of a store; asks for a passphrase where one is needed and none is told by ``SKERRY_PASSPHRASE``.

    Raises:
        InputError: an unusable passphrase.
        RefusedError: others may read the key file, or this machine has no such lock.
    """
    from skerry.security.identity import PassphraseLock

    if backend is Backend.TPM:
        from skerry.security.identity.tpm import TpmLock

        return TpmLock(os.environ.get("SKERRY_TPM", "device:/dev/tpmrm0"))
    if backend is Backend.FILE:
        return PassphraseLock(_passphrase(key_file, new=new))
    from skerry.security.identity.kernel_keyring import KeyringLock

    given = _passphrase(key_file, new=new) if new or unlock else None
    return KeyringLock(str(home.resolve()), given)


def open_store(home: Path, key_file: Path | None, *, unlock: bool = False) -> "SealedKeyStore":
    """The keys of a device's folder, by whatever backend they are in.

    Raises:
        InputError, RefusedError: see :meth:`~skerry.security.identity.SealedKeyStore.open`.
    """
    from skerry.device.membership import Folder
    from skerry.security.identity import SealedKeyStore, backend_of

    path = Folder(home).keys
    backend, _ = backend_of(path)
    return SealedKeyStore.open(path, lock_for(Backend(backend), home, key_file, new=False, unlock=unlock))


def _passphrase(key_file: Path | None, *, new: bool) -> bytes:
    from skerry.fsio import write_atomic
    from skerry.security.identity.private_file import read_private

    if key_file is not None:
        if new and not key_file.exists():
            write_atomic(key_file, secrets.token_hex(32).encode(), mode=0o600)
        return read_private(key_file)
    told = os.environ.get("SKERRY_PASSPHRASE")
    if told is None:
        told = typer.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=new, err=True)
    return told.encode()
