"""The model card: what a model is, what it was made from, what it may be used for. One writer for every model.

``card.json`` is for programs, ``card.md`` says the same for people (after Mitchell et al., "Model Cards for Model
Reporting", arXiv:1810.03993). A statement that nobody made is not invented: the card says that it is not known.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from skerry.canonical import sha256_hex
from skerry.fsio import write_atomic, write_json
from skerry.wording import guarantee, percent, size

__all__ = [
    "UNKNOWN_USE",
    "CardFile",
    "ModelCard",
    "federated_data",
    "file_entry",
    "quantization_recipe",
    "task_use",
    "versions",
    "write_card",
]

UNKNOWN_USE = "not stated by whoever trained the network"
_LIMITS = (
    "It was measured on the data named here; other data may be of another distribution.",
    "It says nothing of inputs that belong to none of its classes: their scores look like any other's.",
    "Not for decisions about people's safety, health or rights without an evaluation made for that purpose.",
)


@dataclass(frozen=True)
class CardFile:
    """One file that the card travels with."""

    sha256: str
    bytes: int
    format: str
    check: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model; None or empty where nobody has said it.

    Attributes:
        name: of the model.
        architecture: name, and where known ``parameters`` and ``macs``.
        digest: what names its weights.
        input: ``name``, ``shape`` (n, channels, height, width) and ``normalisation``.
        output: ``name`` and ``classes``.
        training_data: what it was trained on, and by whom it can be seen.
        privacy: unit, relation, δ, ε by RDP and by PLD of a federated run; ``none`` where no private data took part,
            ``unknown`` where the file does not say.
        quality: measured figures by precision, and on what.
        quantization: the recipe of the int8 files.
        intended_use: what it was made for.
        files: by name.
        more: further members of the document: run, scenario, base.
    """

    name: str
    architecture: Mapping[str, Any]
    digest: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    training_data: str
    privacy: Mapping[str, Any] | Literal["none", "unknown"]
    quality: Mapping[str, Any] | None
    quantization: Mapping[str, Any] | None
    intended_use: str
    files: Mapping[str, CardFile]
    more: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": 2,
            "name": self.name,
            "architecture": dict(self.architecture),
            "digest": self.digest,
            "input": dict(self.input),
            "output": dict(self.output),
            "training_data": self.training_data,
            "privacy": {**self._privacy, "statement": self.privacy_statement},
            "quality": None if self.quality is None else dict(self.quality),
            "quantization": None if self.quantization is None else dict(self.quantization),
            "intended_use": self.intended_use,
            "limits": list(_LIMITS),
            "versions": versions(),
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            **self.more,
        }

    @property
    def _privacy(self) -> Mapping[str, Any]:
        return {} if isinstance(self.privacy, str) else self.privacy

    @property
    def privacy_statement(self) -> str:
        """One sentence that says what may be relied on."""
        if self.privacy == "none":
            return "No private data took part in making this model."
        if self.privacy == "unknown":
            return "Not recorded in the file: take it that there is no privacy guarantee."
        p = self._privacy
        said = guarantee(p.get("epsilon_pld") or p.get("epsilon_rdp"), p.get("delta"), p["unit"], p.get("relation"))
        simulated = " The run was a simulation: its noise can be repeated from the seed." if p.get("simulated") else ""
        return f"This model has {said}, for the whole run and each device.{simulated}"


def write_card(out: Path, card: ModelCard) -> dict[str, Path]:
    """Write ``card.json`` and ``card.md``; returns them by name."""
    write_json(out / "card.json", card.document())
    write_atomic(out / "card.md", _markdown(card).encode())
    return {name: out / name for name in ("card.json", "card.md")}


def federated_data(base: Mapping[str, Any], rounds: object) -> str:
    """What a run's model was trained on."""
    return (
        f"Base: public data only (weights {base['weights']}, public data {base['public']}). "
        f"Then {rounds or 'some'} rounds on private examples of the federation's devices, which never left them."
    )


def task_use(scenario: object) -> str:
    """What a run's model was made for."""
    named = f"of the scenario {scenario!r}" if scenario else "it was trained for"
    return f"Classifying inputs of the task {named}, on devices like those it was trained on."


def file_entry(path: Path, kind: str, check: Mapping[str, Any] | None = None) -> CardFile:
    """The entry of a file as it lies there."""
    data = path.read_bytes()
    return CardFile(sha256_hex(data), len(data), kind, check or {})


def quantization_recipe(calibration: str) -> dict[str, Any]:
    """How int8 files are made here, with what they were calibrated on."""
    return {
        "weights": "int8, symmetric, one step for each output channel, no sum of two that saturates 16 bits",
        "activations": "uint8, one step and zero point for each tensor",
        "method": "static, after training, error-compensated rounding, bias corrected (docs: ADR 7, ADR 12)",
        "calibration": calibration,
    }


def versions() -> dict[str, str]:
    """Versions of what made the model, those that are installed."""
    found = {}
    for package in ("skerry", "torch", "onnx", "onnxruntime", "executorch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _markdown(card: ModelCard) -> str:
    document = card.document()
    lines = [f"# {card.name}", "", *_facts(card), "", "## Training data", "", card.training_data, ""]
    lines += ["## Privacy", "", card.privacy_statement, ""]
    lines += ["## Quality", "", *_quality(card.quality), ""]
    if card.quantization is not None:
        lines += ["## Quantization", "", *(f"- **{k}**: {v}" for k, v in card.quantization.items()), ""]
    lines += ["## Intended use", "", card.intended_use, "", "## Limits", "", *(f"- {said}" for said in _LIMITS), ""]
    lines += ["## Files", "", "| file | format | size | SHA-256 | checked against torch |", "|-|-|-|-|-|"]
    for name, entry in card.files.items():
        lines.append(f"| {name} | {entry.format} | {size(entry.bytes)} | `{entry.sha256}` | {_checked(entry.check)} |")
    lines += ["", "## Versions", "", ", ".join(f"{name} {number}" for name, number in document["versions"].items())]
    if card.more:
        lines += ["", "## Origin", "", *(f"- **{key}**: {_plain(value)}" for key, value in card.more.items())]
    return "\n".join(lines) + "\n"


def _facts(card: ModelCard) -> list[str]:
    architecture = ", ".join(
        f"{value:,} {key}" if isinstance(value, int) else str(value) for key, value in card.architecture.items()
    )
    shape = " × ".join(map(str, card.input["shape"]))
    classes: Sequence[str] = card.output["classes"]
    names = ", ".join(classes[:20]) + (f", … ({len(classes)})" if len(classes) > 20 else "")
    return [
        f"- **architecture**: {architecture}",
        f"- **digest**: `{card.digest}`",
        f"- **input**: `{card.input['name']}`, {shape} float32; {card.input['normalisation']}",
        f"- **output**: `{card.output['name']}`; classes: {names or 'not named'}",
    ]


def _quality(quality: Mapping[str, Any] | None) -> list[str]:
    if quality is None:
        return ["Not measured."]
    lines = []
    for name, value in quality.items():
        if isinstance(value, Mapping):
            figures = ", ".join(
                f"{key} {percent(v) if key in {'accuracy', 'ece'} else f'{v:.3f}'}"
                for key, v in value.items()
                if v is not None
            )
            lines.append(f"- **{name}**: {figures}")
        else:
            lines.append(f"- **{name.replace('_', ' ')}**: {percent(value) if isinstance(value, float) else value}")
    return lines


def _figure(key: str, value: float) -> str:
    return percent(value) if key in {"accuracy", "ece"} else f"{value:.3f}"


def _checked(check: Mapping[str, Any]) -> str:
    if not check:
        return "no"
    operations = f", {check['operations']} operations to one step" if check.get("operations") else ""
    return f"{check['inputs']} inputs, apart by {check['relative']:.1e} of the outputs' size{operations}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
