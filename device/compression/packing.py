"""A network with weights of 2, 4, 6 or 8 bits in one safetensors file, bit by bit; no pickle, no code.

::

    metadata  skerry.bits    JSON: version, layers {name: [bits, shape]}, graph (as in a graph file)
    tensors   weights        uint8: each layer's codes, the lowest bit first, starting at a whole byte
              scales         float16, one for each output channel of each layer
              biases         float16, likewise

Layers are in the order of the graph's nodes. A weight is ``value x scale`` with a whole ``value``: −7 … 7, −31 … 31,
−127 … 127 for 4, 6 and 8 bits, and −3, −1, 1, 3 for two: four levels serve better than three with a zero. Values fit
into int8, so kernels never see fewer than eight bits; fewer are for storage and transport.

A file is read as the sender's claim: everything is checked before a graph is made of it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import graph_from_structure, structure_of
from skerry.errors import InputError
from skerry.fsio import write_atomic

__all__ = ["BITS", "PackedGraph", "PackedLayer", "largest", "load_packed", "packed_bytes", "save_packed"]

BITS = (2, 4, 6, 8)
_KEY = "skerry.bits"
_MEND = "save it again with save_packed, or fetch it again"
_PARTS = {"weights": np.uint8, "scales": np.float16, "biases": np.float16}
_Size = Annotated[int, Field(ge=1, le=2**31)]


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """A layer's constants as they are stored.

    Attributes:
        bits: of one weight.
        values: int8, of the weight's shape; those that the bits can tell apart.
        scale: ``(outputs,)`` float16.
        bias: ``(outputs,)`` float16.
    """

    bits: int
    values: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float16]
    bias: npt.NDArray[np.float16]

    @property
    def weight(self) -> npt.NDArray[np.float32]:
        """The numbers that are stored; products of int8 and float16 are exact in float32."""
        shape = (-1,) + (1,) * (self.values.ndim - 1)
        return self.values.astype(np.float32) * self.scale.astype(np.float32).reshape(shape)


@dataclass(frozen=True, eq=False)
class PackedGraph:
    """A network whose weights have few bits.

    Attributes:
        structure: the graph; weights in it are those of the layers.
        layers: constants by name of node.
    """

    structure: Graph
    layers: Mapping[str, PackedLayer]

    @cached_property
    def graph(self) -> Graph:
        """The network in float32, exactly what the file holds."""
        return replace(
            self.structure,
            nodes=tuple(
                replace(node, weight=layer.weight, bias=layer.bias.astype(np.float32))
                if (layer := self.layers.get(node.name))
                else node
                for node in self.structure.nodes
            ),
        )


class _Packed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    layers: dict[str, tuple[Literal[2, 4, 6, 8], Annotated[list[_Size], Field(min_length=2, max_length=4)]]]
    graph: dict[str, Any]


def largest(bits: int) -> int:
    """The largest value of that many bits."""
    return 3 if bits == 2 else 2 ** (bits - 1) - 1


def packed_bytes(graph: Graph, bits: Mapping[str, int]) -> int:
    """Size of the file of a graph whose layers have these bits, exactly.

    Raises:
        InputError: the graph cannot be written.
    """
    shapes = {node.name: node.weight.shape for node in graph.nodes if node.weight is not None}
    layers = {
        name: PackedLayer(bits[name], np.full(shape, 1, np.int8), *(np.zeros(shape[0], np.float16) for _ in "sb"))
        for name, shape in shapes.items()
    }
    return len(_serialized(PackedGraph(graph, layers), "a graph"))


def save_packed(packed: PackedGraph, path: Path) -> int:
    """Write the file, whole or not at all; the same network gives the same bytes. Returns how many.

    Raises:
        InputError: a layer's constants do not fit together or into its bits.
    """
    data = _serialized(packed, str(path))
    write_atomic(path, data, durable=False)
    return len(data)


def load_packed(path: Path) -> PackedGraph:
    """The network of a file.

    Raises:
        InputError: there is no such file, or it is not a whole and well formed network: says what is wrong with it.
    """
    where = str(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot read this network: {error}", where=where, mend=_MEND) from error
    if _KEY not in metadata:
        raise InputError("this file holds no network with packed weights", where=where, mend=_MEND)
    try:
        about = _Packed.model_validate_json(metadata[_KEY])
        layers = _layers(about, tensors)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise InputError(f"this file's layers are malformed: {what}", where=where, mend=_MEND) from error
    except ValueError as error:
        raise InputError(f"this file's layers do not fit together: {error}", where=where, mend=_MEND) from error
    constants = {f"{name}.weight": layer.weight for name, layer in layers.items()}
    constants |= {f"{name}.bias": layer.bias.astype(np.float32) for name, layer in layers.items()}
    graph = graph_from_structure(json.dumps(about.graph), constants, where=where)
    ordered = [node.name for node in graph.nodes if node.weight is not None]
    if ordered != list(layers):
        raise InputError("this file's layers are not in the graph's order", where=where, mend=_MEND)
    return PackedGraph(graph, layers)


def _serialized(packed: PackedGraph, where: str) -> bytes:
    nodes = [node for node in packed.structure.nodes if node.weight is not None]
    missing = [node.name for node in nodes if node.name not in packed.layers]
    if missing or len(nodes) != len(packed.layers):
        raise InputError("layers and graph do not have the same names", where=missing[0] if missing else where)
    for node in nodes:
        _check(node.name, packed.layers[node.name], node.weight.shape if node.weight is not None else ())
    layers = {node.name: packed.layers[node.name] for node in nodes}
    tensors = {
        "weights": np.concatenate([_pack(layer.values, layer.bits) for layer in layers.values()]),
        "scales": np.concatenate([layer.scale for layer in layers.values()]),
        "biases": np.concatenate([layer.bias for layer in layers.values()]),
    }
    about = {
        "version": 1,
        "layers": {name: [layer.bits, list(layer.values.shape)] for name, layer in layers.items()},
        "graph": json.loads(structure_of(packed.structure, where=where)),
    }
    return save(tensors, {_KEY: json.dumps(about, separators=(",", ":"))})


def _check(name: str, layer: PackedLayer, shape: tuple[int, ...]) -> None:
    if layer.bits not in BITS:
        raise InputError(f"weights of {layer.bits} bits", where=name, mend="take 2, 4, 6 or 8")
    if layer.values.shape != shape or not layer.scale.shape == layer.bias.shape == shape[:1]:
        raise InputError("values, scale and bias do not fit the graph's layer", where=name)
    kinds = [values.dtype.name for values in (layer.values, layer.scale, layer.bias)]
    if kinds != ["int8", "float16", "float16"]:
        raise InputError(f"values, scale and bias are {kinds}, not int8, float16, float16", where=name)
    if not (np.isfinite(layer.scale).all() and np.isfinite(layer.bias).all()):
        raise InputError("a scale or bias is not a number of float16", where=name)
    odd = layer.bits != 2 or bool((layer.values % 2 == 1).all())
    if np.abs(layer.values.astype(np.int16)).max() > largest(layer.bits) or not odd:
        raise InputError(f"a value that {layer.bits} bits cannot hold", where=name)


def _pack(values: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.uint8]:
    codes = (values.ravel().astype(np.int16) + largest(bits)) // (2 if bits == 2 else 1)
    one_by_one = np.unpackbits(codes.astype(np.uint8)[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(one_by_one, bitorder="little")


def _unpack(data: npt.NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> npt.NDArray[np.int8]:
    flat = np.unpackbits(data, bitorder="little")
    count = math.prod(shape) * bits
    if flat[count:].any():
        raise ValueError("bits are set behind the last weight")
    codes = np.packbits(flat[:count].reshape(-1, bits), axis=1, bitorder="little").ravel().astype(np.int16)
    values = codes * (2 if bits == 2 else 1) - largest(bits)
    if values.max() > largest(bits):
        raise ValueError("a code that stands for no weight")
    return values.astype(np.int8).reshape(shape)


def _layers(about: _Packed, tensors: dict[str, npt.NDArray[Any]]) -> dict[str, PackedLayer]:
    """The layers in the file's tensors, every byte of which belongs to one of them."""
    for part, kind in _PARTS.items():
        if part not in tensors or tensors[part].dtype != kind or tensors[part].ndim != 1:
            raise ValueError(f"{part} are not {np.dtype(kind).name} numbers in a row")
        if not np.isfinite(tensors[part]).all():
            raise ValueError(f"{part} hold a number that is not finite")
    lengths = [-(-math.prod(shape) * bits // 8) for bits, shape in about.layers.values()]
    outputs = [shape[0] for _, shape in about.layers.values()]
    wanted = {"weights": sum(lengths), "scales": sum(outputs), "biases": sum(outputs)}
    if {name: len(values) for name, values in tensors.items()} != wanted:
        raise ValueError("more or fewer numbers than the layers have")
    found, at, row = {}, 0, 0
    for (name, (bits, shape)), length, rows in zip(about.layers.items(), lengths, outputs, strict=True):
        values = _unpack(tensors["weights"][at : at + length], bits, tuple(shape))
        scale, bias = (tensors[part][row : row + rows].copy() for part in ("scales", "biases"))
        found[name] = PackedLayer(bits, values, scale, bias)
        at, row = at + length, row + rows
    return found
