"""Files appear in their folder all at once or not at all, and only when each is the one that was signed."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from skerry.errors import ReleaseRefusedError
from skerry.fsio import sync_folder
from skerry.security.aead import Cipher
from skerry.security.delivery.manifest import Delta, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.stream import decrypt

__all__ = ["check_plaintext", "decrypt_file", "install", "recover"]


def install(target: Path, write: Callable[[Path], None], remember: Callable[[], None]) -> None:
    """Let ``write`` fill a hidden folder beside ``target``, ``remember`` it, and rename it there.

    On any failure what was there before is there still, and nothing else. The version is remembered before the files
    appear: a device that dies in between takes the same release again, and no older one. Only when a version that is
    there already is installed anew can a kill leave its folder missing; :func:`recover` puts it back.
    """
    recover(target.parent)
    made = [folder for folder in (target.parent.parent, target.parent) if not folder.exists()]
    partial, replaced = (target.with_name(f".{target.name}.{what}") for what in ("partial", "replaced"))
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (partial, replaced):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700)
        write(partial)
        sync_folder(partial)
        remember()
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not target.exists():
            replaced.rename(target)
        with suppress(OSError):  # a folder that something else is in stays
            for folder in reversed(made):
                folder.rmdir()
        raise
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put back what a process that was killed had moved aside to install the same version anew."""
    for replaced in folder.glob(".*.replaced"):
        target = folder / replaced.name.removeprefix(".").removesuffix(".replaced")
        if not target.exists():
            replaced.rename(target)


def decrypt_file(blob: Path, target: Path, signed: ReleaseFile | Delta, key: bytes, cipher: Cipher) -> None:
    """Decrypt a blob to a file on stable storage, by the cipher that the manifest names.

    Raises:
        ReleaseRefusedError: blob or content is not what was signed.
    """
    with blob.open("rb") as source, target.open("wb") as sink:
        done = decrypt(source, sink, key, cipher=cipher)
        sink.flush()
        os.fsync(sink.fileno())
    if (done.blob, done.blob_size) != (signed.blob, signed.blob_size):
        raise ReleaseRefusedError(
            ReleaseRefusal.BLOB_ALTERED, f"the blob of {target.name!r} is not the one that was signed", where=str(blob)
        )
    if isinstance(signed, ReleaseFile):
        check_plaintext(signed, done.size, done.sha256, blob)


def check_plaintext(file: ReleaseFile, size: int, sha256: str, blob: Path) -> None:
    """Refuse content that is not what was signed for that file.

    Raises:
        ReleaseRefusedError: ``plaintext_altered``.
    """
    if (sha256, size) != (file.sha256, file.size):
        raise ReleaseRefusedError(
            ReleaseRefusal.PLAINTEXT_ALTERED,
            f"{file.name!r} decrypts to other content than was signed",
            where=str(blob),
            mend="the publisher's release is wrong in itself: do not use it",
        )
