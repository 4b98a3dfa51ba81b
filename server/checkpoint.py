"""Stage *checkpoint*: the last finished round, whole on disk before the next one begins."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from skerry.canonical import sha256_hex
from skerry.device.protocol import to_bytes
from skerry.fsio import append_durably, write_atomic
from skerry.records import Float32Array
from skerry.runfolder import RunFolder
from skerry.server.variates import ControlVariates
from skerry.strategies.averaging import released
from skerry.strategies.optimizers import Moments

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "store_round", "vector_digest"]

FILE = "checkpoint/round.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """After a round: the trainable vector, what optimizer, screen and SCAFFOLD carry on, and the round's lines."""

    round: int
    vector: Float32Array
    moments: Moments
    screener: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    variates: ControlVariates | None = None

    @property
    def released(self) -> Float32Array:
        """``(d,)``: the model that was evaluated; ``vector`` is what devices train from next."""
        return released(self.vector, self.moments)


def vector_digest(vector: Float32Array) -> str:
    """SHA-256 of the vector's little-endian float32 bytes."""
    return sha256_hex(to_bytes(vector))


def save_checkpoint(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Write atomically and durably; one file, so that vector and round cannot disagree."""
    told: dict[str, Any] = {
        "screener": checkpoint.screener, "record": checkpoint.record, "verdicts": checkpoint.verdicts
    }  # fmt: skip
    variates = checkpoint.variates
    if variates is not None:
        told["variates"] = {"devices": variates.devices, "counted": dict(variates.counted)}
    moments = checkpoint.moments
    arrays = {"vector": checkpoint.vector, "velocity": moments.first, "squares": moments.second}
    if moments.averaged:
        told["averaged"], arrays["average"] = moments.averaged, moments.average
    if variates is not None:
        arrays["variates"] = variates.total
    metadata = {"round": str(checkpoint.round)} | {name: json.dumps(value) for name, value in told.items()}
    write_atomic(folder.path / FILE, save(arrays, metadata))


def store_round(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Everything of a finished round, durably: first the checkpoint, so that no record promises what is not there."""
    save_checkpoint(folder, checkpoint)
    append_durably(folder.path / "verdicts.jsonl", _lines(checkpoint.verdicts))
    append_durably(folder.path / "rounds.jsonl", _lines([checkpoint.record]))
    folder.mark("running", stage=f"round {checkpoint.round}")


def _lines(values: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value, allow_nan=False).encode() + b"\n" for value in values)


def load_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The last finished round, if any."""
    path = folder.path / FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    arrays = {name: array.astype(np.float32, copy=False) for name, array in load(data).items()}
    moments = Moments(arrays["velocity"], arrays["squares"])
    if "averaged" in header:
        moments = replace(moments, average=arrays["average"], averaged=json.loads(header["averaged"]))
    told = {name: json.loads(header[name]) for name in ("screener", "record", "verdicts")}
    variates = None
    if "variates" in header:
        variates = ControlVariates(arrays["variates"], **json.loads(header["variates"]))
    return Checkpoint(int(header["round"]), arrays["vector"], moments, **told, variates=variates)
