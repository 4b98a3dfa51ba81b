"""What a version says of itself to who cannot open it: an in-toto statement under DSSE, and a bill of materials.

References: in-toto Attestation Framework, Statement v1; DSSE 1.0; CycloneDX 1.6 (ML-BOM: ``modelCard``).
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, Signer

from skerry.errors import ReleaseRefusedError
from skerry.security.delivery.manifest import Manifest
from skerry.security.delivery.refusal import ReleaseRefusal
from skerry.security.delivery.repository.software import purl

__all__ = ["Provenance", "bill_of_materials", "read_statement", "sign_anew", "statement"]

_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:skerry:release:1"
_NAMESPACE = uuid.UUID("6a0f0a5c-6f0b-5a55-9f0e-7b1c6c1f2f10")


@dataclass(frozen=True)
class Provenance:
    """Where the files of a release come from; ``None`` where there is no evidence.

    Attributes:
        run: name of the run.
        ledger_head: hash of the newest entry of the run's population ledger, hexadecimal.
        checkpoint: the coordinator's signed checkpoint over that ledger, as text.
        result: SHA-256 of the run's ``result.json``, hexadecimal.
        evaluation: metric → value, measured on devices that never trained.
        privacy: the run's claim: unit, relation, delta, ε.
        architecture: of the model.
        packages: package → version, of what made it.
        rolled_back_to: the version whose files these are, when this one goes back.
    """

    run: str
    ledger_head: str | None = None
    checkpoint: str | None = None
    result: str | None = None
    evaluation: Mapping[str, float] = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=dict)
    architecture: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    rolled_back_to: int | None = None

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Provenance":
        """What the predicate of a statement holds."""
        return Provenance(**value)


def statement(manifest: Manifest, provenance: Provenance, signer: Signer) -> bytes:
    """The statement that ties manifest and files to run, ledger and evaluation, signed by the model's key."""
    subject = [{"name": "manifest.cbor", "digest": {"sha256": manifest.digest}}]
    subject += [{"name": file.name, "digest": {"sha256": file.sha256}} for file in manifest.files]
    predicate = {**asdict(provenance), "model": manifest.name, "version": manifest.version}
    body = {"_type": _STATEMENT, "subject": subject, "predicateType": _PREDICATE, "predicate": predicate}
    envelope = Envelope(json.dumps(body, sort_keys=True, allow_nan=False).encode(), _PAYLOAD, {})
    envelope.sign(signer)
    return _written(envelope)


def read_statement(data: bytes, manifest: Manifest, keys: Sequence[Key]) -> Provenance:
    """What a statement says of that release.

    Raises:
        ReleaseRefusedError: none of the keys signed it (``not_authentic``), or it speaks of another release or is no
            statement of ours (``malformed``).
    """
    envelope = _authentic(data, keys)
    try:
        body = json.loads(envelope.payload)
        predicate = dict(body["predicate"])
        stated = (body["_type"], body["predicateType"], predicate.pop("model"), predicate.pop("version"))
        digests = {subject["name"]: subject["digest"]["sha256"] for subject in body["subject"]}
        provenance = Provenance.from_json(predicate)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "the statement is not one of a release") from error
    expected = {"manifest.cbor": manifest.digest, **{file.name: file.sha256 for file in manifest.files}}
    tied = (_STATEMENT, _PREDICATE, manifest.name, manifest.version, manifest.run)
    if (*stated, provenance.run) != tied or digests != expected:
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "the statement speaks of another release")
    return provenance


def sign_anew(data: bytes, keys: Sequence[Key], signer: Signer) -> bytes:
    """The statement under the key that takes over from ``keys``; as it is when none of those has signed it."""
    try:
        envelope = _authentic(data, keys)
    except ReleaseRefusedError:
        return data
    envelope.signatures.clear()
    envelope.sign(signer)
    return _written(envelope)


def bill_of_materials(manifest: Manifest, provenance: Provenance) -> bytes:
    """A CycloneDX 1.6 document: the model with its card, its files by digest, and the packages that made it."""
    metrics = [
        {"type": name, "value": f"{value:.6g}", "slice": "devices that never trained"}
        for name, value in sorted(provenance.evaluation.items())
    ]
    properties = [
        {"name": f"skerry:{name}", "value": str(value)}
        for name, value in {"run": provenance.run, "ledger_head": provenance.ledger_head}.items()
        if value is not None
    ]
    properties += [{"name": f"skerry:privacy:{k}", "value": str(v)} for k, v in sorted(provenance.privacy.items())]
    model = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": str(manifest.version),
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                **({"modelArchitecture": provenance.architecture} if provenance.architecture else {}),
            },
            "quantitativeAnalysis": {"performanceMetrics": metrics},
        },
        "components": [
            {"type": "file", "name": file.name, "hashes": [{"alg": "SHA-256", "content": file.sha256}]}
            for file in manifest.files
        ],
        "properties": properties,
    }
    packages = [_package(name, version) for name, version in sorted(provenance.packages.items())]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, manifest.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(manifest.created / 1000, UTC).isoformat(timespec="seconds"),
            "component": model,
        },
        "components": packages,
        "dependencies": [{"ref": "model", "dependsOn": [package["bom-ref"] for package in packages]}],
    }
    return json.dumps(document, indent=2, allow_nan=False).encode() + b"\n"


def _authentic(data: bytes, keys: Sequence[Key]) -> Envelope:
    try:
        envelope = Envelope.from_dict(json.loads(data))
        envelope.verify(list(keys), 1)
    except VerificationError as error:
        raise ReleaseRefusedError(
            ReleaseRefusal.NOT_AUTHENTIC, "the statement is not signed by the model's key"
        ) from error
    except Exception as error:  # the library raises several kinds on what is no envelope
        raise ReleaseRefusedError(ReleaseRefusal.MALFORMED, "the statement is no DSSE envelope") from error
    return envelope


def _written(envelope: Envelope) -> bytes:
    return json.dumps(envelope.to_dict(), indent=2).encode() + b"\n"


def _package(name: str, version: str) -> dict[str, str]:
    reference = purl(name, version)
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}
