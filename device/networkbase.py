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

from pathlib import Path

from skerry.device.runtime import check_operations
from skerry.device.store import StoredModel, read_manifest
from skerry.errors import InputError

__all__ = ["CLASSIFIER", "FRONT", "NETWORK", "QUANTIZATION", "WHITEN", "NetworkBase"]

NETWORK = "network.safetensors"
QUANTIZATION = "quantization.safetensors"
FRONT = {8: "front.int8.onnx", 32: "front.fp32.onnx"}
CLASSIFIER = "classifier"
WHITEN = "whiten"


class NetworkBase(StoredModel):
    """A base that was checked against its digest."""

    @staticmethod
    def load(digest: str, store: Path | None = None) -> "NetworkBase":
        """The base of that digest from the store.

        Raises:
            InputError: it is not on this machine, or is the base of head mode.
            RefusedError: ``base.json`` does not have that digest (``wrong_model``).
        """
        found = read_manifest(digest, store)
        if NETWORK not in found.facts["files"]:
            raise InputError("this is the base of a head, not of a whole network", where=str(found.path))
        return NetworkBase(found.path, digest, found.facts)

    def file(self, name: str) -> Path:
        """A file of the base, after a check of its digest, and of a front's operations.

        Raises:
            RefusedError: it is missing, or was altered (``wrong_model``), or is a front with operations that a device
                does not run on its data (``layer_refused``).
        """
        path = self.path / name
        data = self.read(name)
        if path.suffix == ".onnx":
            check_operations(data, str(path))
        return path
