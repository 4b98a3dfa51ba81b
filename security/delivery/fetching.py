"""Accepting a release on a device, in an order in which a refusal leaves no trace.

1. *signed*: the manifest's size, signature and form hold, and it is of the model asked for.
2. *forward*: not older than the highest version accepted, and not another release under the same version.
3. *ours*: there is a wrap for this device, signed for this release, and it opens with our key.
4. *present*: every blob is there, in the size that was signed, and there is room for the plaintext.
5. *decrypted*: into a hidden folder beside the destination; each chunk authenticates, and the digests of blob
   and plaintext are those that were signed.
6. *remembered*: the version is put on stable storage as the highest accepted.
7. *installed*: the hidden folder is renamed to ``<dest>/<name>/<version>``.

The version is remembered before the files appear: should the device die in between, it can fetch the same release
again but no older one. The state is locked throughout, so two fetches of one device cannot pass each other.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from skerry.errors import ReleaseRefusedError
from skerry.fsio import disk_errors, require_space, sync_folder
from skerry.security.delivery.manifest import Manifest, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.state import check_forward, remember
from skerry.security.delivery.stream import decrypt
from skerry.security.delivery.verifying import blob_path, read_manifest, read_wrap
from skerry.security.delivery.wraps import unwrap_key
from skerry.security.identity import Identity, PublicIdentity
from skerry.security.locking import exclusive

__all__ = ["fetch"]


def fetch(
    release: Path,
    dest: Path,
    *,
    device: Identity,
    publisher: PublicIdentity,
    state: Path,
    name: str | None = None,
) -> dict[str, Path]:
    """Verify, decrypt and install a release; on any failure nothing is installed and nothing is left behind.

    Args:
        release: the release's folder; of the wraps, only the one of this device is needed.
        dest: folder of installed models; the files go to ``<dest>/<name>/<version>/``.
        device: who receives.
        publisher: the only publisher trusted for this.
        state: the device's memory of accepted versions; made when missing.
        name: the model asked for; ``None`` takes whichever the release is of.

    Returns:
        File name → where it lies now.

    Raises:
        InputError: there is no release in that folder.
        ReleaseRefusedError: with a :class:`~skerry.security.delivery.refusal.ReleaseRefusal`.
        DiskFullError: there is no room.
    """
    manifest = read_manifest(release, publisher)
    if name is not None and manifest.name != name:
        raise ReleaseRefusedError(
            ReleaseRefusal.WRONG_NAME, f"asked for {name!r}, the release is of {manifest.name!r}", where=str(release)
        )
    with exclusive(state):
        check_forward(state, manifest)
        key = unwrap_key(read_wrap(release, device.name), manifest, publisher=publisher, device=device)
        for file in manifest.files:
            blob_path(release, file)
        require_space(dest, sum(file.size for file in manifest.files))
        target = dest / manifest.name / str(manifest.version)
        with disk_errors(dest):
            _install(release, target, manifest, key, state)
    return {file.name: target / file.name for file in manifest.files}


def _install(release: Path, target: Path, manifest: Manifest, key: bytes, state: Path) -> None:
    made = [folder for folder in (target.parent.parent, target.parent) if not folder.exists()]
    partial, replaced = (target.with_name(f".{target.name}.{what}") for what in ("partial", "replaced"))
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (partial, replaced):  # of a fetch that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700)
        for file in manifest.files:
            _decrypt_file(blob_path(release, file), partial / file.name, file, key)
        sync_folder(partial)
        remember(state, manifest)
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


def _decrypt_file(blob: Path, target: Path, file: ReleaseFile, key: bytes) -> None:
    with blob.open("rb") as source, target.open("wb") as sink:
        done = decrypt(source, sink, key)
        sink.flush()
        os.fsync(sink.fileno())
    if (done.blob, done.blob_size) != (file.blob, file.blob_size):
        raise ReleaseRefusedError(
            ReleaseRefusal.BLOB_ALTERED, f"the blob of {file.name!r} is not the one that was signed", where=str(blob)
        )
    if (done.sha256, done.size) != (file.sha256, file.size):
        raise ReleaseRefusedError(
            ReleaseRefusal.PLAINTEXT_ALTERED,
            f"{file.name!r} decrypts to other content than was signed",
            where=str(blob),
            mend="the publisher's release is wrong in itself: do not use it",
        )
