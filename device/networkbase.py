"""The base of every torch mode: a whole network and its int8 rounding, in one folder named by its digest; no torch.

::

    <store>/<digest>/
        base.json                   what it is, and the SHA-256 of every file below; its own SHA-256 is the digest
        network.safetensors         the float32 graph, from example to scores, norms folded
        quantization.safetensors    its int8 weights and the steps of its activations (8 bits only)
        front.int8.onnx             tail only: example -> uint8 activations of the cut (front.fp32.onnx for 32 bits)

The last two layers of the graph are ``whiten`` (where public data allowed one; frozen in every mode) and
``classifier``, the head.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skerry.canonical import sha256_hex
from skerry.device.basemodel import MANIFEST, model_store
from skerry.errors import InputError, RefusedError

__all__ = ["CLASSIFIER", "FRONT", "NETWORK", "QUANTIZATION", "WHITEN", "NetworkBase"]

NETWORK = "network.safetensors"
QUANTIZATION = "quantization.safetensors"
FRONT = {8: "front.int8.onnx", 32: "front.fp32.onnx"}
CLASSIFIER = "classifier"
WHITEN = "whiten"
_REBUILD = "delete the folder and build the base model again"


class NetworkBase:
    """A base that was checked against its digest.

    Attributes:
        path: its folder.
        digest: SHA-256 of ``base.json``, hexadecimal.
        facts: the content of ``base.json``.
    """

    def __init__(self, path: Path, digest: str, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.digest = digest
        self.facts = facts

    @staticmethod
    def load(digest: str, store: Path | None = None) -> "NetworkBase":
        """The base of that digest from the store.

        Raises:
            InputError: it is not on this machine, or is the base of head mode.
            RefusedError: ``base.json`` does not have that digest (``wrong_model``).
        """
        path = (store or model_store()) / digest
        try:
            manifest = (path / MANIFEST).read_bytes()
        except OSError as error:
            raise InputError(
                "this base model is not on this machine", where=str(path), mend="build it, or fetch its release"
            ) from error
        if sha256_hex(manifest) != digest:
            raise RefusedError("wrong_model", "the base model was altered", where=str(path / MANIFEST), mend=_REBUILD)
        facts = json.loads(manifest)
        if NETWORK not in facts["files"]:
            raise InputError("this is the base of a head, not of a whole network", where=str(path))
        return NetworkBase(path, digest, facts)

    @property
    def bits(self) -> int:
        """Bits per weight of what is deployed: 8 or 32."""
        return int(self.facts["bits"])

    def file(self, name: str) -> Path:
        """A file of the base, after a check of its digest.

        Raises:
            RefusedError: it was altered (``wrong_model``).
        """
        path = self.path / name
        if sha256_hex(path.read_bytes()) != self.facts["files"][name]:
            raise RefusedError("wrong_model", "the base model was altered", where=str(path), mend=_REBUILD)
        return path
