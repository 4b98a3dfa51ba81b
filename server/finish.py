"""After the last round: measure, assemble the deliverable, seal it for each device, compare, and write it all down."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skerry.device.models import ARCHITECTURES
from skerry.fsio import write_json
from skerry.participation import Participation, participation
from skerry.records import Float32Array
from skerry.result import Result, write_result
from skerry.runfolder import RunFolder
from skerry.security.aead import Cipher
from skerry.security.delivery import publish, verify
from skerry.server.audit import Auditor
from skerry.server.federation import Federation
from skerry.server.kept_out import kept_out
from skerry.server.measure import (
    Measured,
    cost,
    defence,
    device_accuracies,
    measure_quality,
    versions,
)
from skerry.server.references import accuracy_without_canaries, run_references
from skerry.server.rounds import Progress
from skerry.server.spent import privacy

__all__ = ["finish"]


def finish(federation: Federation, progress: Progress) -> None:
    """Write ``model/``, ``release/`` and ``result.json``."""
    folder = federation.folder
    folder.mark("finishing", stage="measuring the final model")
    own = device_accuracies(federation, federation.model.initial(), progress.released)
    base = measure_quality(federation, federation.model.initial())
    final = measure_quality(federation, progress.released)
    spent = privacy(federation)
    verdicts = list(folder.lines("verdicts.jsonl"))
    defended = defence(federation, verdicts, progress.released)
    folder.mark("finishing", stage="sealing the release")
    files = _assemble(federation, progress.released, final, spent)
    delivered = _release(federation, files, defended["quarantined"])
    references: dict[str, list[float]] = {}
    if not federation.simulated and federation.scenario.report.references:
        folder.notify("no references were run: they would need the devices' data, which are not here")
    elif federation.scenario.report.references and federation.scenario.model.architecture != "cnn":
        folder.mark("finishing", stage="running the references")
        references = run_references(federation.scenario, federation.clock)
        write_json(folder.path / "references.json", references)
    if federation.auditor is not None:
        folder.mark("finishing", stage="auditing the privacy claim")
        spent["audit"] = _audit(federation, federation.auditor, progress, spent)
    folder.mark("finishing", stage="writing the report")
    started = datetime.fromisoformat(folder.status["started"])
    finished = datetime.now(UTC)
    result = {
        "schema": 1,
        "run": {
            "id": folder.id,
            "scenario": federation.scenario.name,
            "engine": folder.status["engine"],
            "seed": federation.scenario.seed,
            "versions": versions(),
            "state": "complete",
            "rounds": federation.scenario.rounds,
            "rounds_done": len(progress.records),
            "started": folder.status["started"],
            "finished": finished.isoformat(timespec="milliseconds"),
            "simulated": federation.simulated,
        },
        "quality": {
            "base": base.to_json(),
            "final": final.to_json(),
            "agreement": final.agreement,
            "references": {
                name: {"accuracy": curve[-1], "by_round": curve} if (curve := references.get(name)) else None
                for name in ("non_private", "undefended")
            },
            "held_out": sorted(federation.held_out.devices),
            "devices": own(),
        },
        "robustness": {defended["attack"]: final.deployed.accuracy} if defended["attackers"] else {},
        "privacy": spent,
        "defence": defended,
        "cost": cost(progress.records, progress.device_seconds, (finished - started).total_seconds()),
        "delivery": delivered,
        "participation": _participation(federation, progress).model_dump(),
        "evidence": _evidence(folder, federation, progress),
    }
    write_result(folder.path / "result.json", Result.model_validate(result))


def _participation(federation: Federation, progress: Progress) -> Participation:
    """Of the devices that were there in this run, and of those that were left out of it."""
    devices = {*federation.members, *federation.nodes, *federation.excluded}
    return participation(progress.records, devices, kept_out(federation, progress, devices))


def _audit(federation: Federation, auditor: Auditor, progress: Progress, spent: Mapping[str, Any]) -> dict[str, Any]:
    """Guess the coins, open the commitment, and keep what was guessed from in ``audit.json``."""
    scenario, folder = federation.scenario, federation.folder
    found = auditor.conclude(federation.model.initial(), progress.vector, scenario, epsilon=spent["epsilon_pld"])
    final = progress.records[-1].accuracy
    without = accuracy_without_canaries(scenario, federation.clock) if scenario.report.references else None
    found["canary_cost"] = None if without is None else {"with_canaries": final, "without": without}
    write_json(folder.path / "audit.json", {"schema": 1, "found": found, **auditor.opened()})
    return found


def _assemble(federation: Federation, vector: Float32Array, final: Measured, spent: dict[str, Any]) -> dict[str, Path]:
    """The files of the deliverable, by name."""
    card: dict[str, Any] = {
        "run": federation.folder.id,
        "scenario": federation.scenario.name,
        "trainable": federation.scenario.model.trainable,
        "rounds": federation.scenario.rounds,
        "held_out_accuracy": final.deployed.accuracy,
        "quality": {
            "measured_on": "devices that never trained",
            "float": final.floating.__dict__,
            **({"int8": final.quantized.__dict__} if final.quantized else {}),
            "agreement": final.agreement,
        },
        "privacy": {k: spent[k] for k in ("unit", "relation", "delta", "epsilon_rdp", "epsilon_pld", "simulated")},
    }
    declared = ARCHITECTURES.get(federation.scenario.model.architecture)
    if declared is not None:
        card["normalisation"] = declared.normalisation
    return federation.model.assemble(vector, federation.folder.path / "model", card)


def _release(federation: Federation, files: dict[str, Path], quarantined: list[str]) -> dict[str, Any]:
    """Seal the deliverable for every device that is not in quarantine, and record that.

    A release that a stopped process had sealed is the one: devices may hold it, and another of the same version would
    be refused by them.

    Raises:
        ReleaseRefusedError: a release lies there, and it is not what this coordinator sealed.
    """
    sealed = federation.folder.path / "release"
    if sealed.exists():
        info = verify(sealed, publisher=federation.coordinator.public)
    else:
        gone = federation.roster.gone(federation.nodes)
        kept_out = gone | set(quarantined)
        recipients = [federation.directory.get(name) for name in sorted(federation.nodes) if name not in kept_out]
        info = publish(
            files,
            sealed,
            name=federation.scenario.name,
            version=1,
            run=federation.folder.id,
            publisher=federation.coordinator,
            recipients=recipients,
            now=federation.clock(),
            cipher=_cipher(federation, [recipient.name for recipient in recipients]),
        )
    delivery = {"version": info.version, "manifest": info.manifest_digest}
    if not any(entry.kind == "delivery" and entry.body == delivery for entry in federation.ledger.entries()):
        federation.ledger.record("delivery", delivery, now=federation.clock())
    return {
        "name": info.name,
        "version": info.version,
        "bytes": info.total_bytes,
        "delta_bytes": None,
        "recipients": len(info.recipients),
        "manifest_digest": info.manifest_digest,
    }


def _cipher(federation: Federation, names: Sequence[str]) -> Cipher:
    """The one that suits those who receive it, by what they said last; a simulation has one kind."""
    if federation.simulated:
        return Cipher.AES_256_GCM
    from skerry.server.recipients import enrolled_cipher  # the registry's library, which no simulation waits for

    return enrolled_cipher(federation.folder.path.parent, names)


def _evidence(folder: RunFolder, federation: Federation, progress: Progress) -> dict[str, dict[str, str | None]]:
    """Where each claim can be checked: a ledger entry, the ledger's head, a file of the run.

    The last checkpoint is published here: it covers every entry named.
    """
    federation.publish(federation.ledger.checkpoint())
    head = federation.ledger.head
    entries = {entry.kind: entry.hash for entry in federation.ledger.entries()}
    last = progress.records[-1] if progress.records else None
    release_leaf = last.extra["ledger_leaf"] if last else None
    averaged = progress.moments.averaged > 0  # then the last round names what devices train from, and not what is used
    measured_leaf = entries.get("delivery") if averaged else release_leaf

    def row(leaf: str | None, file: str) -> dict[str, str | None]:
        return {
            "leaf": leaf,
            "checkpoint": head if leaf else None,
            "file": file if (folder.path / file).exists() else None,
        }

    return {
        "quality.base": row(None, "model/base.json"),
        "quality.final": row(measured_leaf, "checkpoint/round.safetensors"),
        "quality.by_round": row(None, "rounds.jsonl"),
        "quality.agreement": row(measured_leaf, "model/card.json"),
        "privacy.population": row(release_leaf, "ledger/population.jsonl"),
        "privacy.audit": row(entries.get("audit"), "audit.json"),
        "privacy.devices": row(entries.get("release"), "ledger/devices"),
        "defence.verdicts": row(None, "verdicts.jsonl"),
        "delivery": row(entries.get("delivery"), "release"),
        "quality.references": row(None, "references.json"),
        "cost": row(None, "rounds.jsonl"),
        "cost.wall_s": row(None, "status.json"),
    }
