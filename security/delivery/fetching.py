"""Accepting a release on a device, in an order in which a refusal leaves no trace.

1. *signed*: the manifest's size, signature and form hold, and it is of the model asked for.
2. *forward*: not older than the highest version accepted, and not another release under the same version.
3. *ours*: there is a wrap for this device, in the bin that was signed, and it opens with our key.
4. *present*: every blob is there, in the size that was signed, and there is room for the plaintext.
5. *decrypted*: into a hidden folder beside the destination; each chunk authenticates, and the digests of blob
   and plaintext are those that were signed.
6. *remembered*: the version is put on stable storage as the highest accepted.
7. *installed*: the hidden folder is renamed to ``<dest>/<name>/<version>``.

The version is remembered before the files appear: should the device die in between, it can fetch the same release
again but no older one. The state is locked throughout, so two fetches of one device cannot pass each other.
"""

from pathlib import Path

from skerry.errors import ReleaseRefusedError
from skerry.fsio import disk_errors, require_space
from skerry.security.delivery.bins import key_in
from skerry.security.delivery.installing import decrypt_file, install
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.state import check_forward, remember
from skerry.security.delivery.verifying import blob_path, read_manifest
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
        release: the release's folder; of the bins of wraps, only the one of this device is needed.
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
        key = key_in(release / "blobs", manifest, device)
        for file in manifest.files:
            blob_path(release, file)
        require_space(dest, sum(file.size for file in manifest.files))
        target = dest / manifest.name / str(manifest.version)
        with disk_errors(dest):
            install(
                target,
                lambda folder: _decrypt_all(release, manifest, key, folder),
                lambda: remember(state, manifest),
            )
    return {file.name: target / file.name for file in manifest.files}


def _decrypt_all(release: Path, manifest: Manifest, key: bytes, folder: Path) -> None:
    for file in manifest.files:
        decrypt_file(blob_path(release, file), folder / file.name, file, key, manifest.cipher)
