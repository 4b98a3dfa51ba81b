"""A stream in one encrypted file: written while it is made, read as it is decrypted, and never on a disk in clear.

The file is a magic line, scrypt's salt, and one blob (:mod:`~skerry.security.delivery.stream`): altered, cut off or
under another passphrase it is refused. Each chunk is authenticated before it is handed on; that the last one was the
last is known at the end, so what was read counts only then.
"""

import io
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from skerry.errors import InputError, RefusedError, ReleaseRefusedError
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.stream import decrypt, encrypt

__all__ = ["check_passphrase", "open_stream", "seal_stream"]

_MAGIC = b"SKBACKUP1\n"
_SALT = 32
_COST = 1 << 17  # scrypt's N with r = 8, p = 1: 128 MiB; opened rarely, but by whoever steals it as often as he likes
_LEAST_PASSPHRASE = 12

Produced = TypeVar("Produced")
Consumed = TypeVar("Consumed")


def check_passphrase(passphrase: bytes) -> None:
    """Refuse a short one.

    Raises:
        InputError: fewer than twelve bytes.
    """
    if len(passphrase) < _LEAST_PASSPHRASE:
        raise InputError(
            f"a backup holds every key of the federation: its passphrase has {_LEAST_PASSPHRASE} bytes at least",
            where="passphrase",
            mend="take more, or a key file",
        )


def seal_stream(produce: Callable[[IO[bytes]], Produced], target: IO[bytes], passphrase: bytes) -> Produced:
    """Encrypt what ``produce`` writes, into ``target``.

    Raises:
        InputError: the passphrase is short.
    """
    check_passphrase(passphrase)
    salt = secrets.token_bytes(_SALT)
    key = _key(passphrase, salt)
    target.write(_MAGIC + salt)
    _, produced = _between(produce, lambda pipe: encrypt(pipe, target, key, salt=salt))
    return produced


def open_stream(path: Path, consume: Callable[[IO[bytes]], Consumed], passphrase: bytes) -> Consumed:
    """Hand ``consume`` what a file holds; what it made of it counts when this returns.

    Raises:
        InputError: no such file of skerry's.
        RefusedError: it does not open with this passphrase (``wrong_key``), or was altered or cut off
            (``backup_altered``).
    """
    check_passphrase(passphrase)
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            mend = "name a file that `skerry server backup` wrote"
            raise InputError("this is no backup of skerry's", where=str(path), mend=mend)
        salt = file.read(_SALT)
        if len(salt) != _SALT:
            raise _altered(path, "it is cut off")
        key = _key(passphrase, salt)
        try:
            consumed, _ = _between(lambda pipe: decrypt(file, pipe, key), consume)
        except ReleaseRefusedError as error:
            if error.reason == ReleaseRefusal.WRONG_KEY:
                what = "the backup does not open with this passphrase"
                mend = "give the one that it was made with: SKERRY_BACKUP_PASSPHRASE or --key-file"
                raise RefusedError("wrong_key", what, where=str(path), mend=mend) from error
            raise _altered(path, error.what) from error
    return consumed


def _between(
    produce: Callable[[IO[bytes]], Produced], consume: Callable[[io.BufferedReader], Consumed]
) -> tuple[Consumed, Produced]:
    """One writes what the other reads, so that nothing of it lies on a disk; the producer's failure is told first."""
    reading, writing = os.pipe()

    def write() -> Produced:
        with os.fdopen(writing, "wb") as pipe:
            return produce(pipe)

    with ThreadPoolExecutor(1, thread_name_prefix="backup") as beside, os.fdopen(reading, "rb") as pipe:
        produced = beside.submit(write)
        try:
            consumed = consume(pipe)
            while pipe.read(1 << 16):  # padding behind the archive
                pass
        except BaseException:
            pipe.close()
            error = produced.exception()
            if error is not None and not isinstance(error, BrokenPipeError):
                raise error from None
            raise
    return consumed, produced.result()


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase)


def _altered(path: Path, what: str) -> RefusedError:
    return RefusedError(
        "backup_altered", f"the backup was altered or is incomplete: {what}", where=str(path), mend="use another copy"
    )
