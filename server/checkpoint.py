"""Stage *checkpoint*: the last finished round, whole on disk before the next one begins."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from skerry.canonical import sha256_hex
from skerry.device.protocol import to_bytes
from skerry.fsio import write_atomic
from skerry.records import Float32Array
from skerry.runfolder import RunFolder

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "vector_digest"]

FILE = "checkpoint/round.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """The trainable vector after a round, and what the screen remembers."""

    round: int
    vector: Float32Array
    screener: dict[str, Any]


def vector_digest(vector: Float32Array) -> str:
    """SHA-256 of the vector's little-endian float32 bytes."""
    return sha256_hex(to_bytes(vector))


def save_checkpoint(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Write atomically and durably; one file, so that vector and round cannot disagree."""
    metadata = {"round": str(checkpoint.round), "screener": json.dumps(checkpoint.screener)}
    write_atomic(folder.path / FILE, save({"vector": checkpoint.vector}, metadata))


def load_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The last finished round, if any."""
    path = folder.path / FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    vector = load(data)["vector"].astype(np.float32, copy=False)
    return Checkpoint(int(header["round"]), vector, json.loads(header["screener"]))
