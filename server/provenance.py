"""What a run can show for the model that it delivers: for the statement that goes with a release."""

from pathlib import Path

from skerry.canonical import sha256_hex
from skerry.errors import InputError
from skerry.result import load_result
from skerry.runfolder import RunFolder
from skerry.security.delivery import verify
from skerry.security.delivery.repository import Provenance
from skerry.server.ledgers import published_checkpoint
from skerry.server.provision import coordinator_public

__all__ = ["delivered_files", "provenance_of"]


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


def delivered_files(folder: RunFolder) -> dict[str, Path]:
    """The plaintext of what the run's own release delivers: exactly that, since its evaluation speaks of nothing else.

    Raises:
        InputError: the run made no release, or one of its files is gone or was changed since.
    """
    manifest = verify(folder.path / "release", publisher=coordinator_public(folder)).manifest
    files = {file.name: folder.path / "model" / file.name for file in manifest.files}
    for file in manifest.files:
        path = files[file.name]
        if not path.is_file() or sha256_hex(path.read_bytes()) != file.sha256:
            raise InputError(
                "the file is not the one that the run evaluated and released",
                where=str(path),
                mend="publish another run, or bring the file back",
            )
    return files
