"""Making a release: encrypt, wrap, describe, sign, and only then let it be seen."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skerry.errors import InputError
from skerry.fsio import WriteBehind, disk_errors, require_space, sync_folder, write_json
from skerry.security.aead import Cipher
from skerry.security.delivery.bins import KEY_BYTES, bins_in, write_bins
from skerry.security.delivery.manifest import MAX_MANIFEST_BYTES, Contents, Manifest, ReleaseFile
from skerry.security.delivery.stream import blob_bytes, encrypt
from skerry.security.delivery.verifying import MANIFEST_DOMAIN, ReleaseInfo
from skerry.security.identity import Identity, PublicIdentity
from skerry.security.strict import check_name

__all__ = ["publish"]


def publish(
    files: Mapping[str, Path],
    out: Path,
    *,
    name: str,
    version: int,
    run: str,
    publisher: Identity,
    recipients: Sequence[PublicIdentity],
    now: int,
    cipher: Cipher = Cipher.AES_256_GCM,
) -> ReleaseInfo:
    """Make the folder ``out``, which only the recipients can decrypt; it appears whole or not at all.

    Every release has a content key of its own, so a device that is left out of ``recipients`` cannot read it,
    whatever it could read before (and keeps what it has decrypted).

    Args:
        files: plain file name on the device → where the plaintext lies.
        out: must not exist, or be an empty folder.
        name: the model's name, within which versions count.
        version: higher than every version of this name published before.
        run: the run that made the files.
        publisher: signs.
        recipients: who shall be able to decrypt.
        now: ms since the epoch, recorded as the time of creation.
        cipher: of the blobs.

    Raises:
        InputError: a file is missing, a name cannot be used, nobody or somebody twice is to receive it, or
            ``out`` is not free.
        DiskFullError: there is no room.
    """
    devices = [recipient.name for recipient in recipients]
    if not devices or len({device.casefold() for device in devices}) < len(devices):
        raise InputError("a release needs at least one recipient, and each only once", where=name)
    for file_name, path in files.items():
        check_name(file_name, "a file's name")
        if not path.is_file():
            raise InputError("a file to be released is missing", where=str(path))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("the folder for the release is not empty", where=str(out), mend="choose another folder")
    sizes = sum(blob_bytes(path.stat().st_size) for path in files.values())
    require_space(out.parent, sizes + sum(_room_for(recipient) for recipient in recipients))

    key = secrets.token_bytes(KEY_BYTES)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a publisher that was killed
        try:
            (partial / "blobs").mkdir(parents=True)
            contents = Contents(
                name=name,
                version=version,
                run=run,
                publisher=publisher.name,
                created=now,
                files=tuple(_encrypt_file(f, files[f], partial / "blobs", key, cipher) for f in sorted(files)),
                cipher=cipher,
            )
            wraps = write_bins(partial / "blobs", key, contents, recipients)
            manifest = Manifest(**_fields(contents), wraps=wraps)
            signed = manifest.to_bytes()
            if len(signed) > MAX_MANIFEST_BYTES:
                raise InputError(f"{len(files)} files are too many for one release", where=name)
            write_json(partial / "manifest.json", manifest.to_json(), durable=False)
            (partial / "manifest.cbor").write_bytes(signed)
            (partial / "manifest.sig").write_bytes(publisher.sign(MANIFEST_DOMAIN, signed))
            os.sync()  # once for all: an fsync for each bin takes 4 ms, and there may be hundreds
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(out.parent)
    return ReleaseInfo.of(manifest, *bins_in(out / "blobs", manifest))


def _room_for(recipient: PublicIdentity) -> int:
    """Bytes of a wrap in its bin, about."""
    return KEY_BYTES + recipient.suite.overhead + len(recipient.name)


def _encrypt_file(name: str, path: Path, blobs: Path, key: bytes, cipher: Cipher) -> ReleaseFile:
    unnamed = blobs / ".blob"
    with path.open("rb") as source, unnamed.open("wb") as target:
        done = encrypt(source, WriteBehind(target), key, salt=secrets.token_bytes(32), cipher=cipher)
    unnamed.rename(blobs / done.blob)
    return ReleaseFile(name=name, size=done.size, sha256=done.sha256, blob=done.blob, blob_size=done.blob_size)


def _fields(contents: Contents) -> dict[str, Any]:
    return {field: getattr(contents, field) for field in Contents.__dataclass_fields__}
