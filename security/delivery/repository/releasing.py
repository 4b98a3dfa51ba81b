"""A new version of a model in a repository: blobs first, then what describes them, then the signature that shows it."""

import os
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from skerry.canonical import file_sha256
from skerry.errors import InputError
from skerry.fsio import WriteBehind, disk_errors, require_space
from skerry.security.aead import Cipher
from skerry.security.delivery.bins import KEY_BYTES, write_bins
from skerry.security.delivery.delta import MAX_GAIN, make_delta
from skerry.security.delivery.manifest import MAX_MANIFEST_BYTES, Contents, Delta, Manifest, ReleaseFile
from skerry.security.delivery.repository.describing import Provenance, bill_of_materials, statement
from skerry.security.delivery.repository.repository import Repository
from skerry.security.delivery.repository.software import Package, software_bill
from skerry.security.delivery.stream import Streamed, blob_bytes, encrypt
from skerry.security.identity import PublicIdentity
from skerry.security.strict import check_name

__all__ = ["Draft", "Published", "published", "release"]


@dataclass(frozen=True)
class Published:
    """One version in a repository.

    Attributes:
        manifest: what it consists of.
        full_bytes: what a device fetches that has no older version, without metadata and wraps.
        delta_bytes: the same for a device that has the version before.
    """

    manifest: Manifest
    full_bytes: int
    delta_bytes: int


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A version that is to be published.

    Attributes:
        model: within which versions count.
        files: plain file name on the device → where the plaintext lies.
        publisher: name of who publishes.
        recipients: who shall be able to decrypt; whoever shall roll back later is one of them.
        provenance: where the files come from.
        digests: file name → SHA-256 (hexadecimal) of what it has to hold, where that is known; compared with what was
            read to be sealed, so that no other content is, whatever happens to the file meanwhile.
        bases: file name → the file in the version before, for deltas.
        cipher: of the blobs; see :func:`~skerry.security.aead.suited_cipher`.
        software: of the machine that publishes, for a bill of materials; none is written without.

    Raises:
        InputError: a file is missing, a name cannot be used, or nobody is to receive it.
    """

    model: str
    files: Mapping[str, Path]
    publisher: str
    recipients: Collection[PublicIdentity]
    provenance: Provenance
    digests: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, Path] = field(default_factory=dict)
    cipher: Cipher = Cipher.AES_256_GCM
    software: Collection[Package] = ()

    def __post_init__(self) -> None:
        if not self.recipients:
            raise InputError("a release needs at least one recipient", where=self.model)
        for name, path in self.files.items():
            check_name(name, "a file's name")
            if not path.is_file():
                raise InputError("a file to be released is missing", where=str(path))


def release(repository: Repository, draft: Draft, *, now: int) -> Published:
    """Seal the files for the recipients as the next version of the model; it is seen whole or not at all.

    Every version has a content key of its own: who is left out of the recipients cannot open it, whatever it could
    open before (and keeps what it has opened).

    Args:
        repository: with the model's key at hand; for a new model, the targets key too.
        draft: what is published.
        now: ms since the epoch.

    Raises:
        InputError: somebody is to receive it twice, there are too many files, or one holds something else than it
            has to.
        DiskFullError: there is no room.
    """
    with repository.one_at_a_time():
        repository.delegate(draft.model)
        manifest = _sealed(repository, draft, now)
        data = manifest.to_bytes()
        if len(data) > MAX_MANIFEST_BYTES:
            raise InputError(f"{len(draft.files)} files are too many for one release", where=draft.model)
        described = {
            "manifest.cbor": data,
            "statement.json": statement(manifest, draft.provenance, repository.signer(draft.model)),
            "bom.json": bill_of_materials(manifest, draft.provenance),
        }
        if draft.software:
            described["sbom.json"] = software_bill(manifest, draft.software)
        numbered = {f"{manifest.version}/{name}": content for name, content in described.items()}
        os.sync()  # blobs are on stable storage before anything names them
        repository.add(draft.model, {**described, **numbered})
    full = sum(file.blob_size for file in manifest.files)
    shorter = {delta.file: delta.blob_size for delta in manifest.deltas}
    return Published(manifest, full, sum(shorter.get(f.name, f.blob_size) for f in manifest.files))


def _sealed(repository: Repository, draft: Draft, now: int) -> Manifest:
    """Blobs, deltas and bins, under a fresh content key, in the repository's folder; nothing names them yet."""
    blobs = repository.folder / "blobs"
    require_space(blobs, 3 * sum(blob_bytes(path.stat().st_size) for path in draft.files.values()))
    key = secrets.token_bytes(KEY_BYTES)
    with disk_errors(blobs):
        blobs.mkdir(parents=True, exist_ok=True)
        sealed = tuple(_seal_all(draft, blobs, key))
        contents = Contents(
            name=draft.model,
            version=max(published(repository, draft.model), default=0) + 1,
            run=draft.provenance.run,
            publisher=draft.publisher,
            created=now,
            files=sealed,
            deltas=tuple(_deltas(sealed, draft, blobs, key)),
            cipher=draft.cipher,
        )
        wraps = write_bins(blobs, key, contents, draft.recipients)
    return Manifest(**{f.name: getattr(contents, f.name) for f in fields(Contents)}, wraps=wraps)


def published(repository: Repository, model: str) -> dict[int, str]:
    """Version → path of its manifest, oldest first."""
    paths = [path.split("/") for path in repository.targets(model) if path.count("/") == 2]
    return {version: f"{model}/{version}/manifest.cbor" for version in sorted({int(parts[1]) for parts in paths})}


def _deltas(sealed: Collection[ReleaseFile], draft: Draft, blobs: Path, key: bytes) -> list[Delta]:
    found = []
    plain = blobs / ".delta"
    try:
        for file in sealed:
            base = draft.bases.get(file.name)
            if base is None or make_delta(base, draft.files[file.name], plain) > MAX_GAIN * file.size:
                continue
            done = _seal(plain, blobs, key, draft.cipher)
            found.append(
                Delta(file=file.name, base=file_sha256(base), size=done.size, blob=done.blob, blob_size=done.blob_size)
            )
    finally:
        plain.unlink(missing_ok=True)
    return found


def _seal_all(draft: Draft, blobs: Path, key: bytes) -> list[ReleaseFile]:
    """A blob for each file; none is left when one of them is not what it has to be."""
    sealed: list[ReleaseFile] = []
    for name in sorted(draft.files):
        done = _seal(draft.files[name], blobs, key, draft.cipher)
        sealed.append(
            ReleaseFile(name=name, size=done.size, sha256=done.sha256, blob=done.blob, blob_size=done.blob_size)
        )
        if done.sha256 != draft.digests.get(name, done.sha256):
            for file in sealed:
                (blobs / file.blob).unlink()
            raise InputError(
                f"the file is not the one that run {draft.provenance.run} evaluated and released",
                where=str(draft.files[name]),
                mend="publish another run, or bring the file back",
            )
    return sealed


def _seal(path: Path, blobs: Path, key: bytes, cipher: Cipher) -> Streamed:
    unnamed = blobs / ".blob"
    try:
        with path.open("rb") as source, unnamed.open("wb") as target:
            done = encrypt(source, WriteBehind(target), key, salt=secrets.token_bytes(32), cipher=cipher)
        unnamed.replace(blobs / done.blob)
    finally:
        unnamed.unlink(missing_ok=True)
    return done
