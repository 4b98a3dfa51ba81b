"""``skerry release publish`` and ``rollback``: a new version in a repository, which is also the only way back."""

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skerry.cli.console import AsJson, RunName, RunsDir, emit, facts, note, out
from skerry.cli.release.options import Keys, Offline, RepositoryFolder, manifests, open_repository, reader_of

if TYPE_CHECKING:
    from skerry.security.aead import Cipher
    from skerry.security.delivery import ReleaseFile
    from skerry.security.delivery.repository import Provenance, Repository
    from skerry.security.identity import Identity, PublicIdentity
    from skerry.server.recipients import Recipients

__all__ = ["publish", "rollback"]

RecipientsFile = Annotated[
    Path | None, typer.Option("--recipients", metavar="FILE", help="Seal for this directory of identities (JSON).")
]
Enrolled = Annotated[
    bool,
    typer.Option("--enrolled", help="Seal for the devices that are enrolled now, unless revoked or ended."),
]
Without = Annotated[
    list[str] | None, typer.Option("--without", metavar="DEVICE", help="Leave a device out (revoked); repeatable.")
]


class CipherName(StrEnum):
    """A :class:`~skerry.security.aead.Cipher`, named without loading cryptography for ``--help``."""

    AES_256_GCM = "aes-256-gcm"
    CHACHA20_POLY1305 = "chacha20-poly1305"


CipherOption = Annotated[
    CipherName | None,
    typer.Option("--cipher", help="Of the files \\[default: what suits the enrolled devices, else aes-256-gcm]."),
]


def publish(
    run: RunName,
    *,
    repository: RepositoryFolder,
    model: Annotated[
        str | None, typer.Option("--model", help="Name in the repository \\[default: the scenario's].")
    ] = None,
    recipients: RecipientsFile = None,
    enrolled: Enrolled = False,
    without: Without = None,
    cipher: CipherOption = None,
    keys: Keys = None,
    offline: Offline = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Publish a run's model as the next version: sealed, with delta, statement and bill of materials.

    Without --recipients and --enrolled it is for those devices that the run's own release is for.
    """
    from skerry.runfolder import RunFolder
    from skerry.runfolder import runs_dir as runs_in
    from skerry.server.provenance import plaintexts, provenance_of, released_files
    from skerry.server.recipients import Recipients, run_recipients

    folder = RunFolder.open(run, runs_in(runs_dir))
    files = released_files(folder)
    chosen = _chosen(recipients, runs_dir, enrolled=enrolled) or _Chosen(Recipients(run_recipients(folder)))
    _publish(
        open_repository(repository, keys, offline),
        _Version(model or folder.scenario.name, plaintexts(folder, files), files, provenance_of(folder)),
        chosen.but(without or (), cipher),
        reader=reader_of(repository, keys),
        runs=folder.path.parent,
        as_json=as_json,
    )


def rollback(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the repository.")],
    *,
    to: Annotated[int, typer.Option("--to", metavar="VERSION", help="The version whose files shall be used again.")],
    repository: RepositoryFolder,
    recipients: RecipientsFile = None,
    enrolled: Enrolled = False,
    without: Without = None,
    cipher: CipherOption = None,
    keys: Keys = None,
    offline: Offline = None,
    runs_dir: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Publish the files of an older version as a new version: devices never go back, so going back is going on."""
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.delivery.repository import open_version, read_statement

    opened = open_repository(repository, keys, offline)
    known = manifests(opened, model)
    if to not in known:
        raise InputError(
            f"{model} has no version {to}",
            where=str(repository),
            mend=f"it has: {', '.join(map(str, known)) or 'none'}",
        )
    reader = reader_of(repository, keys)
    statement = opened.read_target(model, f"{model}/{to}/statement.json")
    provenance = read_statement(statement, known[to], opened.public_keys(model))
    chosen = _chosen(recipients, runs_dir, enrolled=enrolled)
    if chosen is None:
        raise InputError("who gets it?", where=model, mend="say --enrolled, or --recipients FILE")
    with tempfile.TemporaryDirectory(prefix="skerry-rollback-") as folder:
        files = open_version(repository, known[to], reader, Path(folder))
        _publish(
            opened,
            _Version(model, files, known[to].files, replace(provenance, rolled_back_to=to)),
            chosen.but(without or (), cipher),
            reader=reader,
            runs=runs_in(runs_dir),
            as_json=as_json,
        )


@dataclass(frozen=True)
class _Version:
    """What is published: files by their names on the device, what each has to hold, and where they come from."""

    model: str
    files: Mapping[str, Path]
    signed: "Collection[ReleaseFile]"
    provenance: "Provenance"


@dataclass(frozen=True)
class _Chosen:
    """Who shall receive, who of them is left out by hand, and the cipher that was named, if one was."""

    known: "Recipients"
    without: Collection[str] = ()
    named: CipherName | None = None

    def but(self, without: Collection[str], cipher: CipherName | None) -> "_Chosen":
        """The same without some, and under the cipher that was named, if one was."""
        from skerry.errors import InputError

        if unknown := set(without) - set(self.known.devices):
            raise InputError(f"not among the recipients: {', '.join(sorted(unknown))}", where="--without")
        return replace(self, without=without, named=cipher)

    def identities(self) -> "list[PublicIdentity]":
        """Of who is not left out."""
        devices = self.known.devices
        return [devices.get(name) for name in devices if name not in self.without]

    def cipher(self) -> "Cipher":
        """The one that was named, else what suits who is not left out."""
        from skerry.security.aead import Cipher

        names = (name for name in self.known.devices if name not in self.without)
        return Cipher(self.named) if self.named else self.known.cipher_for(names)


def _chosen(recipients: Path | None, runs_dir: Path | None, *, enrolled: bool) -> _Chosen | None:
    """Who was named by an option, if any was."""
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.runfolder import runs_dir as runs_in
    from skerry.security.identity import Directory
    from skerry.server.recipients import Recipients, enrolled_recipients

    if recipients and enrolled:
        raise InputError("--recipients and --enrolled name two fleets", where="--enrolled", mend="give one of them")
    if enrolled:
        return _Chosen(enrolled_recipients(runs_in(runs_dir), now=system_clock()))
    return _Chosen(Recipients(Directory.load(recipients))) if recipients else None


def _publish(
    repository: "Repository", what: _Version, chosen: _Chosen, *, reader: "Identity", runs: Path, as_json: bool
) -> None:
    from skerry.clock import system_clock
    from skerry.errors import InputError
    from skerry.security.delivery.repository import Draft, installed, open_version, release
    from skerry.server.run_statements import enter_release
    from skerry.wording import amount, size

    model, recipients, ended = what.model, chosen.identities(), chosen.known.ended
    if not recipients:
        raise InputError("nobody is left to receive it", where=model)
    known = manifests(repository, model)
    with tempfile.TemporaryDirectory(prefix="skerry-publish-") as folder:
        bases = open_version(repository.folder, known[max(known)], reader, Path(folder)) if known else {}
        draft = Draft(
            model=model,
            files=what.files,
            digests={file.name: file.sha256 for file in what.signed},
            publisher=reader.name,
            recipients=[reader.public, *recipients],
            provenance=what.provenance,
            bases=bases,
            cipher=chosen.cipher(),
            software=installed(),
        )
        done = release(repository, draft, now=system_clock())
    trouble = enter_release(runs, model, done.manifest.version, done.manifest.digest, system_clock())
    if trouble is not None:
        note().print(f"published; {trouble}", soft_wrap=True)
    if as_json:
        emit(
            {
                "model": model,
                "version": done.manifest.version,
                "digest": done.manifest.digest,
                "recipients": len(recipients),
                "ended": list(ended),
                "cipher": done.manifest.cipher.value,
                "full_bytes": done.full_bytes,
                "delta_bytes": done.delta_bytes,
                "provenance": json.loads(json.dumps(what.provenance.__dict__, default=dict)),
            }
        )
        return
    shorter = f"; {size(done.delta_bytes)} for who has version {max(known)}" if known else ""
    back = f", the files of version {what.provenance.rolled_back_to}" if what.provenance.rolled_back_to else ""
    rows = [
        ("release", f"{model} version {done.manifest.version}{back}"),
        ("made by", f"run {what.provenance.run}"),
        ("sealed for", f"{amount(len(recipients), 'device')}, files under {done.manifest.cipher}"),
        *([("left out", f"{', '.join(ended)}: certificate or sealing key has ended")] if ended else []),
        ("download", f"{size(done.full_bytes)}{shorter}"),
        ("manifest", done.manifest.digest),
    ]
    out().print(facts(rows))
