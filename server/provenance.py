"""What a run can show for the model that it delivers: for the statement that goes with a release."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from skerry.canonical import file_sha256, sha256_hex
from skerry.errors import InputError, ReleaseRefusedError
from skerry.result import load_result
from skerry.runfolder import RunFolder
from skerry.security.delivery import Manifest, ReleaseFile, ReleaseRefusal
from skerry.security.delivery.repository import Provenance
from skerry.security.delivery.verifying import read_manifest
from skerry.security.transparency.checkpoint import Checkpoint
from skerry.server.ledgers import POPULATION, Ledgers, coordinator_key, published_checkpoint
from skerry.server.provision import coordinator_public

__all__ = ["check_against_run", "plaintexts", "provenance_of", "released_files"]


def provenance_of(folder: RunFolder) -> Provenance:
    """Run, ledger head and signed checkpoint, evaluation on held-out devices, privacy claim, versions.

    Raises:
        InputError: the run is not complete.
        RefusedError: its checkpoint is not what its coordinator signed.
    """
    result = load_result(folder.path)
    final, privacy = result.quality.final, result.privacy
    checkpoint = published_checkpoint(folder)
    delivery = result.evidence.get("delivery")
    measured = {"accuracy": final.accuracy, "loss": final.loss, "ece": final.ece} if final else {}
    claim = {"unit": privacy.unit, "relation": privacy.relation, "delta": privacy.delta, "epsilon": privacy.epsilon_pld}
    return Provenance(
        run=folder.id,
        ledger_head=delivery.checkpoint if delivery else None,
        checkpoint=checkpoint[1] if checkpoint else None,
        result=sha256_hex((folder.path / "result.json").read_bytes()),
        evaluation={name: value for name, value in measured.items() if value is not None},
        privacy={**{name: value for name, value in claim.items() if value is not None}, "simulated": privacy.simulated},
        architecture=folder.scenario.model.architecture,
        packages={name: version for name, version in result.run.versions.items() if version is not None},
    )


def released_files(folder: RunFolder) -> tuple[ReleaseFile, ...]:
    """What the run's own release delivers, as its coordinator signed it: its evaluation speaks of nothing else.

    Raises:
        InputError: the run made no release.
        ReleaseRefusedError: its coordinator did not sign it.
    """
    return read_manifest(folder.path / "release", coordinator_public(folder)).files


def plaintexts(folder: RunFolder, files: Iterable[ReleaseFile]) -> dict[str, Path]:
    """Where the contents of a run's released files lie; nothing is said of what they hold now."""
    return {file.name: folder.path / "model" / file.name for file in files}


def check_against_run(manifest: Manifest, stated: Provenance, folder: RunFolder) -> None:
    """Hold a release and its statement to the run that they name, as it lies here.

    On return the files are those that the run evaluated and released; result, evaluation, privacy claim and ledger head
    are the run's; and its ledger, whose chain holds, extends the checkpoint that its coordinator signed.

    Raises:
        InputError: the run is not complete, or one of its files is gone or was changed since.
        ReleaseRefusedError: the statement says something else (``other_evidence``).
        RefusedError: the checkpoint is not the coordinator's.
    """
    here = provenance_of(folder)
    told = [field.name for field in fields(Provenance) if field.name not in {"checkpoint", "rolled_back_to"}]
    other = [name for name in told if getattr(stated, name) != getattr(here, name)]
    files = released_files(folder)
    released = {file.name: file.sha256 for file in files}
    for name, path in plaintexts(folder, files).items():
        if not path.is_file() or file_sha256(path) != released[name]:
            raise InputError(
                "the file is not the one that the run evaluated and released",
                where=str(path),
                mend="publish another run, or bring the file back",
            )
    if {file.name: file.sha256 for file in manifest.files} != released:
        other.append("files")
    if not _extends(stated.checkpoint, folder):
        other.append("checkpoint")
    if other:
        raise ReleaseRefusedError(
            ReleaseRefusal.OTHER_EVIDENCE,
            f"the statement and run {folder.id} do not agree about {', '.join(other)}",
            where=str(folder.path),
            mend="the run was changed since, or the release is not of it: `skerry privacy verify` looks at the run",
        )


def _extends(note: str | None, folder: RunFolder) -> bool:
    """Whether the run's ledger is, or has grown from, what the statement's checkpoint was signed over."""
    if note is None:
        return published_checkpoint(folder) is None
    key = coordinator_key(folder)
    state = Checkpoint.open(note, [key], origin=key.name)
    tree = Ledgers.of(folder).trees.get(POPULATION)
    return tree is not None and state.size <= len(tree) and tree.root(state.size) == state.root
