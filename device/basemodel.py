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
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic
from safetensors import SafetensorError
from safetensors.numpy import load

from skerry.device.pooled import on_grid
from skerry.device.runtime import OnnxModel, check_operations
from skerry.device.store import StoredModel, read_manifest
from skerry.device.whitening import Whitening
from skerry.errors import InputError
from skerry.records import Float32Array

__all__ = ["BaseModel"]

HEAD = "head.safetensors"
SCHEMA = 3
_TENSORS = {"mean": np.float32, "values": np.int8, "scale": np.float32, "initial": np.float32}


class _Facts(pydantic.BaseModel):
    """What is read of ``base.json`` here: the sender's claim until it is checked."""

    model_config = pydantic.ConfigDict(strict=True)

    schema_: Annotated[Literal[3], pydantic.Field(alias="schema")]
    bits: Literal[8, 32]
    input_shape: Annotated[list[pydantic.PositiveInt], pydantic.Field(min_length=3, max_length=3)]
    classes: Annotated[list[str], pydantic.Field(min_length=2)]
    bias: pydantic.FiniteFloat
    longest_row: Annotated[pydantic.FiniteFloat, pydantic.Field(gt=0)]
    step: Annotated[pydantic.FiniteFloat, pydantic.Field(ge=0)]


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
        tensors = _tensors(self.read(HEAD), str(path / HEAD))
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
        try:
            _Facts.model_validate(found.facts)
        except pydantic.ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise InputError(
                "this is no base of a head that this version of skerry reads: "
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
                where=str(found.path),
                mend="a new run builds its own",
            ) from error
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

    def check_parts(self) -> None:
        """Load the deployed network, and see that it, the whitening, the head and the facts are of one size.

        Raises:
            InputError: the network cannot be loaded, or a part is of another size.
            RefusedError: see :meth:`file`.
        """
        if self.initial.size != len(self.classes) * self.width:
            raise InputError(
                f"{self.initial.size} numbers in the first head, not {len(self.classes)} times {self.width}",
                where=str(self.path / HEAD),
            )
        self.check_network(self._deployed.input_shape, self._deployed.output_shape)

    def check_network(self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> None:
        """See that a network reads this base's examples and gives what its whitening reads.

        Raises:
            InputError: it does not.
        """
        if (input_shape, output_shape) != (self.input_shape, self.whitening.mean.shape):
            raise InputError(
                f"its network is one from {input_shape} to {output_shape}, not from {self.input_shape} to "
                f"{self.whitening.mean.shape}",
                where=str(self.path),
            )

    def features(self, x: Float32Array) -> Float32Array:
        """``(n, *input_shape)`` transformed examples to ``(n, width)`` float32 through the deployed network.

        Each row depends on its own picture alone, to the last bit; it is NaN where the network fails on the picture.
        """
        return self.whitening.rows(self.pooled(x), self.bias)

    def pooled(self, x: Float32Array) -> Float32Array:
        """``(n, f)`` features of the deployed network, without whitening, as it means them (:func:`on_grid`)."""
        return on_grid(self._deployed.run(x), float(self.facts["step"]))

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


def _tensors(data: bytes, where: str) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a head file, whose types and shapes fit each other.

    Raises:
        InputError: it is no such file.
    """
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot read the whitening and the first head: {error}", where=where) from error
    if {name: one.dtype for name, one in tensors.items()} != _TENSORS:
        raise InputError(f"it holds other tensors than {', '.join(_TENSORS)}", where=where)
    shape = tensors["values"].shape
    if len(shape) != 2 or 0 in shape or not tensors["mean"].shape == tensors["scale"].shape == shape[:1]:
        raise InputError("mean, values and scale of the whitening are of different sizes", where=where)
    return tensors
