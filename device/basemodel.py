"""The frozen base of ``head`` mode: an int8 network and a whitening, in one folder named by its digest; no torch.

::

    <store>/<digest>/
        base.json           what it is, and the SHA-256 of every file below; its own SHA-256 is the digest
        base.int8.onnx      example (n, channels, height, width) float32 -> pooled features
        base.fp32.onnx      the same in float32; a device needs it to train against attacks only
        head.safetensors    of the whitening: mean (f,), values (f, k) int8, scale (f,); initial (classes, k + 1)

A device loads a base by the digest that its signed instruction names, and every file is checked against it.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.numpy import load

from skerry.device.runtime import OnnxModel, check_operations
from skerry.device.store import StoredModel, read_manifest
from skerry.device.whitening import Whitening
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["BaseModel"]

HEAD = "head.safetensors"
SCHEMA = 2


class BaseModel(StoredModel):
    """A base that was checked against its digest.

    Attributes:
        path: its folder.
        digest: SHA-256 of ``base.json``, hexadecimal.
        facts: the content of ``base.json``.
        whitening: what makes rows of pooled features.
        initial: ``(d,)`` float32, the head that public data gave.
    """

    def __init__(self, path: Path, digest: str, facts: Mapping[str, Any]) -> None:
        super().__init__(path, digest, facts)
        tensors = load(self.read(HEAD))
        self.whitening = Whitening(tensors["mean"], tensors["values"], tensors["scale"], float(facts["longest_row"]))
        self.initial: Float32Array = tensors["initial"].ravel()

    @staticmethod
    def load(digest: str, store: Path | None = None) -> "BaseModel":
        """The base of that digest from the store.

        Raises:
            InputError: it is not on this machine, or of another form than this version reads.
            RefusedError: a file does not have the digest that ``base.json`` or the caller names (``wrong_model``).
        """
        found = read_manifest(digest, store)
        if found.facts["schema"] != SCHEMA:
            raise InputError(
                "this is no base of a head that this version of skerry reads",
                where=str(found.path),
                mend="a new run builds its own",
            )
        return BaseModel(found.path, digest, found.facts)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one example."""
        channels, height, width = self.facts["input_shape"]
        return (channels, height, width)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.facts["classes"])

    @property
    def width(self) -> int:
        """Numbers per example that the head sees: PCA components and the constant."""
        return self.whitening.components + 1

    @property
    def bias(self) -> float:
        """The constant that stands for the bias in each example's features."""
        return float(self.facts["bias"])

    def file(self, bits: int) -> Path:
        """The network in int8 or float32, after a check of its digest and of its operations.

        Raises:
            RefusedError: it was altered (``wrong_model``), or has operations that a device does not run on its data
                (``layer_refused``).
        """
        path = self.path / f"base.{_NAMES[bits]}.onnx"
        check_operations(self.read(path.name), str(path))
        return path

    def features(self, x: Float32Array) -> Float32Array:
        """``(n, *input_shape)`` transformed examples to ``(n, width)`` float32 through the deployed network.

        Each row depends on its own picture alone, to the last bit; it is NaN where the network fails on the picture.
        """
        return self.whitening.rows(self._deployed.run(x), self.bias)

    def pooled(self, x: Float32Array) -> Float32Array:
        """``(n, f)`` features as the deployed network gives them, without whitening."""
        return self._deployed.run(x)

    def float_features(self, x: Float32Array) -> Float32Array:
        """The same through the float32 network: what quantization is compared with."""
        return self.whitening.rows(self._floating.run(x), self.bias)

    @cached_property
    def _deployed(self) -> OnnxModel:
        return OnnxModel(self.file(self.bits), private=True)

    @cached_property
    def _floating(self) -> OnnxModel:
        return OnnxModel(self.file(32), private=True)


_NAMES = {8: "int8", 32: "fp32"}
