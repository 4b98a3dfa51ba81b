"""A device takes the newest version of a model out of a repository.

1. *trusted*: the manifest is the newest that the repository's keys have signed (``trust``).
2. *forward*: not below the highest version accepted, and not another release under the same version.
3. *ours*: the key opens from this device's wrap, in its bin.
4. *room*: for all that is to be downloaded and written, before any of it is.
5. *downloaded*: a delta where this device has its base, else the file; chunk by chunk, resumable (``download``).
6. *decrypted*: each chunk authenticates, and each file is the one that was signed, whichever way it came.
7. *swapped*: ``<dest>/<model>/<version>`` appears by rename, then ``current`` points to it, by rename too. Until then
   the version before works on; after it, that one is kept, and older ones go.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import InputError, ReleaseRefusedError
from skerry.fsio import disk_errors, require_space, sync_folder
from skerry.security.aead import Cipher
from skerry.security.delivery.bins import MAX_BIN_BYTES, MAX_INDEX_BYTES, bin_of, open_wrap, read_index
from skerry.security.delivery.client.download import download, missing_bytes
from skerry.security.delivery.client.sources import Source
from skerry.security.delivery.client.trust import Believed, Trust
from skerry.security.delivery.delta import apply_delta
from skerry.security.delivery.installing import check_plaintext, decrypt_file, install, recover
from skerry.security.delivery.manifest import Delta, Manifest, ReleaseFile
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.state import check_forward, remember
from skerry.security.identity import Identity
from skerry.security.locking import exclusive

__all__ = ["ReleaseClient", "Taken", "current"]

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Taken:
    """What was installed: file name → where, and how many bytes of blobs it took (with those of an earlier attempt)."""

    manifest: Manifest
    files: Mapping[str, Path]
    blob_bytes: int


class ReleaseClient:
    """A device's way to the releases of one repository.

    Args:
        home: the device's memory of the repository and its downloads under way; one for each repository.
        anchor: root metadata that the device was given when it was enrolled.
        device: who receives.
        clock: ms since the epoch; need not be right.
    """

    def __init__(self, home: Path, *, anchor: bytes, device: Identity, clock: Callable[[], int]) -> None:
        self._device = device
        self._downloads, self._versions, self._lock = home / "downloads", home / "versions.json", home / "device"
        self._trust = Trust(home, anchor, clock)

    def newest(self, source: Source, model: str) -> Manifest:
        """The newest manifest, trusted, forward and of the model asked for; nothing is installed.

        Raises:
            ReleaseRefusedError: with a :class:`~skerry.security.delivery.refusal.ReleaseRefusal`.
            RunFailedError: the repository cannot be reached.
        """
        with exclusive(self._lock):
            return self._newest(source, model)[0]

    def take(self, source: Source, model: str, dest: Path) -> Taken:
        """Install the newest version below ``dest``; on any failure what worked before works on.

        Raises:
            ReleaseRefusedError: with a :class:`~skerry.security.delivery.refusal.ReleaseRefusal`.
            RunFailedError: the source broke off; take again, and it goes on.
            DiskFullError: there is no room.
        """
        with exclusive(self._lock):
            recover(dest / model)
            manifest, believed = self._newest(source, model)
            before = current(dest, model)
            target = dest / model / str(manifest.version)
            files = {file.name: target / file.name for file in manifest.files}
            ways = [_Way.choose(file, manifest, before) for file in manifest.files]
            if not all(_is(files[file.name], file.sha256) for file in manifest.files):
                key = self._content_key(source, manifest)
                with disk_errors(dest):
                    self._fetch(source, ways, dest)
                    install(
                        target,
                        lambda folder: self._write_all(folder, ways, key, manifest.cipher),
                        lambda: remember(self._versions, manifest, keys=believed.keys),
                    )
            with disk_errors(dest):
                _point(target)
            shutil.rmtree(self._downloads, ignore_errors=True)
            if before and before != target.resolve():
                _prune(target.parent, keep={target.name, before.name})
            return Taken(manifest, files, sum(way.blob_size for way in ways))

    def _newest(self, source: Source, model: str) -> tuple[Manifest, Believed]:
        believed = self._trust.newest(source, model)
        try:
            manifest = Manifest.from_bytes(believed.manifest)
        except InputError as error:
            raise ReleaseRefusedError(
                ReleaseRefusal.MALFORMED, error.what, where=source.url, mend=error.mend
            ) from error
        if manifest.name != model:
            raise ReleaseRefusedError(
                ReleaseRefusal.WRONG_NAME, f"asked for {model!r}, the release is of {manifest.name!r}", where=source.url
            )
        check_forward(self._versions, manifest, keys=believed.keys)
        return manifest, believed

    def _content_key(self, source: Source, manifest: Manifest) -> bytes:
        bins = read_index(_small_blob(source, manifest.wraps, MAX_INDEX_BYTES))
        ours = bins[bin_of(self._device.name, len(bins))]
        return open_wrap(_small_blob(source, ours, MAX_BIN_BYTES), manifest, self._device)

    def _fetch(self, source: Source, ways: "list[_Way]", dest: Path) -> None:
        needed = {way.blob for way in ways}
        for path in self._downloads.glob("*"):
            if path.name.partition(".")[0] not in needed:  # of a version that is the newest no more
                path.unlink()
        missing = sum(missing_bytes(self._downloads, way.blob, way.blob_size) for way in ways)
        require_space(self._downloads, missing)
        require_space(dest, missing + sum(way.plain_bytes for way in ways))
        for way in ways:
            download(source, way.blob, way.blob_size, self._downloads)

    def _write_all(self, folder: Path, ways: "list[_Way]", key: bytes, cipher: Cipher) -> None:
        for way in ways:
            blob = self._downloads / way.blob
            try:
                _write(folder, way, blob, key, cipher)
            except ReleaseRefusedError:
                if not _is(blob, way.blob):  # it rotted after it was downloaded: the next attempt fetches it anew
                    blob.unlink()
                raise


@dataclass(frozen=True)
class _Way:
    """How one file comes: by a delta over ``base``, or in full."""

    file: ReleaseFile
    delta: Delta | None = None
    base: Path | None = None

    @staticmethod
    def choose(file: ReleaseFile, manifest: Manifest, before: Path | None) -> "_Way":
        """The delta when its base is installed, unchanged; else the file."""
        delta = next((delta for delta in manifest.deltas if delta.file == file.name), None)
        base = before / file.name if before else None
        if delta and base and _is(base, delta.base):
            return _Way(file, delta, base)
        return _Way(file)

    @property
    def blob(self) -> str:
        return (self.delta or self.file).blob

    @property
    def blob_size(self) -> int:
        return (self.delta or self.file).blob_size

    @property
    def plain_bytes(self) -> int:
        return self.file.size + (self.delta.size if self.delta else 0)


def _write(folder: Path, way: _Way, blob: Path, key: bytes, cipher: Cipher) -> None:
    """One file of the release out of its blob."""
    if way.delta is None or way.base is None:
        decrypt_file(blob, folder / way.file.name, way.file, key, cipher)
        return
    plain = folder / ".delta"
    decrypt_file(blob, plain, way.delta, key, cipher)
    with plain.open("rb") as delta, (folder / way.file.name).open("wb") as sink:
        made = apply_delta(delta, way.base, sink, way.file.size)
        sink.flush()
        os.fsync(sink.fileno())
    check_plaintext(way.file, way.file.size, made, blob)
    plain.unlink()


def current(dest: Path, model: str) -> Path | None:
    """The folder of the version in use, or ``None`` when none is installed."""
    link = dest / model / "current"
    return link.resolve() if link.is_symlink() and link.is_dir() else None


def _point(target: Path) -> None:
    """Let ``current`` mean this version, from one moment to the next."""
    link = target.with_name(".current.new")
    link.unlink(missing_ok=True)
    link.symlink_to(target.name)
    link.replace(target.with_name("current"))
    sync_folder(target.parent)


def _prune(folder: Path, *, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.name.isdecimal() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


def _small_blob(source: Source, digest: str, limit: int) -> bytes:
    data = bytearray()
    if digest != _EMPTY:  # a range of nothing cannot be asked for
        for piece in source.read(digest, 0, limit - 1):
            data += piece
            if len(data) > limit:
                raise ReleaseRefusedError(ReleaseRefusal.ENDLESS_DATA, "a blob of wraps is too long", where=source.url)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ReleaseRefusedError(
            ReleaseRefusal.WRONG_HASH, "the wraps are not those that were signed", where=f"{source.url}blobs/{digest}"
        )
    return bytes(data)


def _is(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
