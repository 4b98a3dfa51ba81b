"""A graph in one safetensors file: weights as tensors, structure as JSON in the metadata; no pickle, no code.

::

    metadata  skerry.graph    JSON: version, input, input_shape, classes, nodes (all of a node but its numbers)
    tensors   <node>.weight, <node>.bias   float32

A file is read as the sender's claim: everything is checked before a graph is made of it.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from skerry.device.compression.graph import Graph, Node, Op
from skerry.errors import InputError
from skerry.fsio import write_atomic
from skerry.records import Float32Array

__all__ = ["graph_from_structure", "load_graph", "save_graph", "structure_of"]

_KEY = "skerry.graph"  # one entry only: safetensors writes several in an order that changes from run to run
_MEND = "save it again with save_graph, or fetch it again"
_Positive = Annotated[int, Field(ge=1, le=2**31)]
_Pad = Annotated[int, Field(ge=0, le=2**31)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Node(_Wire):
    op: Op
    name: _Name
    inputs: list[_Name]
    stride: tuple[_Positive, _Positive] = (1, 1)
    pads: tuple[_Pad, _Pad, _Pad, _Pad] = (0, 0, 0, 0)
    groups: _Positive = 1
    grid: tuple[_Positive, _Positive] = (1, 1)
    keepdims: bool = False
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    bound: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class _Structure(_Wire):
    version: Literal[1]
    input: _Name
    input_shape: tuple[_Positive, _Positive, _Positive]
    classes: list[str]
    nodes: list[_Node]


def save_graph(graph: Graph, path: Path) -> None:
    """Write the graph to one file, whole or not at all; the same graph gives the same bytes.

    Raises:
        InputError: the graph is not well formed, or holds a number that is not finite.
    """
    _ = graph.shapes
    tensors: dict[str, Float32Array] = {}
    for node in graph.nodes:
        for part, values in (("weight", node.weight), ("bias", node.bias)):
            if values is not None:
                tensors[f"{node.name}.{part}"] = _finite(values, f"{node.name}.{part}")
    write_atomic(path, save(tensors, {_KEY: structure_of(graph, where=str(path))}), durable=False)


def load_graph(path: Path) -> Graph:
    """The graph of a file.

    Raises:
        InputError: there is no such file, or it is not a whole and well formed graph: says what is wrong with it.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        tensors = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot read this graph: {error}", where=str(path), mend=_MEND) from error
    if _KEY not in metadata:
        raise InputError("this file holds tensors, but no graph", where=str(path), mend=_MEND)
    return graph_from_structure(metadata[_KEY], tensors, where=str(path))


def structure_of(graph: Graph, *, where: str) -> str:
    """All of a graph but its numbers, as JSON.

    Args:
        graph: well formed.
        where: the file to be named in errors.

    Raises:
        InputError: a name or number in it cannot be written.
    """
    try:
        structure = _Structure(
            version=1,
            input=graph.input,
            input_shape=graph.input_shape,
            classes=list(graph.classes),
            nodes=[_to_wire(node) for node in graph.nodes],
        )
    except ValidationError as error:
        raise InputError(f"this graph cannot be written: {_first(error)}", where=where) from error
    return json.dumps(structure.model_dump(mode="json", exclude_defaults=True), separators=(",", ":"))


def graph_from_structure(text: str, tensors: dict[str, Any], *, where: str) -> Graph:
    """The graph of a structure, with its numbers.

    Args:
        text: as :func:`structure_of` writes it.
        tensors: ``<node>.weight`` and ``<node>.bias`` float32; emptied.
        where: the file to be named in errors.

    Raises:
        InputError: structure and numbers are not a whole and well formed graph.
    """
    try:
        structure = _Structure.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"this file's graph is malformed: {_first(error)}", where=where, mend=_MEND) from error
    try:
        nodes = tuple(_from_wire(node, tensors) for node in structure.nodes)
        graph = Graph(structure.input, structure.input_shape, nodes, tuple(structure.classes))
        _ = graph.shapes
        if tensors:
            raise InputError("a tensor that no operation reads", where=min(tensors))
    except InputError as error:
        what = f"this file's graph does not fit together: {error.what} ({error.where})"
        raise InputError(what, where=where, mend=_MEND) from error
    return graph


def _to_wire(node: Node) -> _Node:
    return _Node(
        op=node.op,
        name=node.name,
        inputs=list(node.inputs),
        stride=node.stride,
        pads=node.pads,
        groups=node.groups,
        grid=node.grid,
        keepdims=node.keepdims,
        low=node.low if node.low != -math.inf else None,
        high=node.high if node.high != math.inf else None,
        bound=node.bound if node.bound != math.inf else None,
    )


def _from_wire(wire: _Node, tensors: dict[str, Any]) -> Node:
    """The node with its numbers, which are taken out of ``tensors``."""
    weight = bias = None
    if wire.op in {"conv", "linear"}:
        weight, bias = (_take(tensors, f"{wire.name}.{part}") for part in ("weight", "bias"))
    return Node(
        wire.op,
        wire.name,
        tuple(wire.inputs),
        weight,
        bias,
        stride=wire.stride,
        pads=wire.pads,
        groups=wire.groups,
        grid=wire.grid,
        keepdims=wire.keepdims,
        low=-math.inf if wire.low is None else wire.low,
        high=math.inf if wire.high is None else wire.high,
        bound=math.inf if wire.bound is None else wire.bound,
    )


def _take(tensors: dict[str, Any], name: str) -> Float32Array:
    if name not in tensors:
        raise InputError("a tensor is missing", where=name)
    return _finite(tensors.pop(name), name)


def _finite(values: Any, name: str) -> Float32Array:
    if values.dtype != np.float32:
        raise InputError(f"a tensor is {values.dtype}, not float32", where=name)
    if not np.isfinite(values).all():
        raise InputError("a tensor holds a number that is not finite", where=name)
    return np.ascontiguousarray(values)


def _first(error: ValidationError) -> str:
    """The first fault in words, with where it is."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]
