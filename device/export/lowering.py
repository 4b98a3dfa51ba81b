"""ExecuTorch programs (``.pte``): a graph lowered to XNNPACK, in float or with the integers of a quantization.

int8 programs carry the very integers of the int8 ONNX file, not a second quantization of another kind: pairs of
quantize and dequantize operators say so, and XNNPACK's partitioner turns each operation between them into an integer
kernel. XNNPACK's activations are int8 where ONNX's are uint8; the same numbers, 128 lower.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skerry.device.compression.graph import Graph, Node
from skerry.device.compression.graph_module import GraphModule, apply_node
from skerry.device.compression.quantize import Quantization
from skerry.errors import MissingDependencyError, RunFailedError
from skerry.records import Float32Array

__all__ = ["lower", "run_program"]

_MEND = "pip install 'skerry[export]' (1.5 GB)"
_LOW, _HIGH, _SHIFT = -128, 127, 128


def lower(graph: Graph, quantization: Quantization | None = None) -> bytes:
    """The program for one example at a time; takes about a minute for a mobile network.

    Raises:
        MissingDependencyError: ExecuTorch is not installed.
        RunFailedError: it cannot lower this network.
    """
    try:
        with _quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
    except ImportError as error:
        raise MissingDependencyError(f"an ExecuTorch program needs {error.name}", mend=_MEND) from error
    module = GraphModule(graph) if quantization is None else _QuantizedPairs(graph, quantization)
    example = torch.zeros(1, *graph.input_shape)
    try:
        with _quiet():
            exported = torch.export.export(module.eval().requires_grad_(requires_grad=False), (example,), strict=True)
            edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
            program: bytes = edge.to_executorch().buffer
    except Exception as error:  # a compiler of many parts, each with errors of its own
        raise RunFailedError(
            f"ExecuTorch cannot lower this network: {type(error).__name__}: {str(error)[:300]}", where="executorch"
        ) from error
    return program


def run_program(path: Path, x: Float32Array) -> Float32Array:
    """A program's output for examples, one at a time.

    Raises:
        MissingDependencyError: ExecuTorch is not installed.
    """
    try:
        with _quiet():
            from executorch.runtime import Runtime
    except ImportError as error:
        raise MissingDependencyError(f"an ExecuTorch program needs {error.name}", mend=_MEND) from error
    with _quiet():
        method = Runtime.get().load_program(path).load_method("forward")
        outputs = [method.execute([torch.from_numpy(x[i : i + 1])])[0].numpy().copy() for i in range(len(x))]
    return np.concatenate(outputs)


class _QuantizedPairs(nn.Module):
    """The int8 network as XNNPACK's partitioner reads it: every reader of a tensor has a dequantize of its own."""

    def __init__(self, graph: Graph, quantization: Quantization) -> None:
        super().__init__()
        import torch.ao.quantization.fx._decomposed  # registers the operators

        self._graph = graph
        self._scales = quantization.tensors
        self._rounded = frozenset(quantization.weights)
        for node in graph.nodes:
            found = quantization.weights.get(node.name)
            if found is not None:
                self.register_buffer(f"{node.name}_weight", torch.from_numpy(found.values))
                self.register_buffer(f"{node.name}_scale", torch.from_numpy(found.scale))
                self.register_buffer(f"{node.name}_zero", torch.zeros(len(found.scale), dtype=torch.int64))
                bias = (found.bias * found.bias_scale.astype(np.float64)).astype(np.float32)
                self.register_buffer(f"{node.name}_bias", torch.from_numpy(bias))
            elif node.weight is not None:
                assert node.bias is not None
                self.register_buffer(f"{node.name}_weight", torch.from_numpy(node.weight))
                self.register_buffer(f"{node.name}_bias", torch.from_numpy(node.bias))

    def forward(self, x: Tensor) -> Tensor:
        """The network's output."""
        tensors = {self._graph.input: self._write(self._graph.input, x)}
        for node in self._graph.nodes:
            inputs = [self._read(name, tensors[name]) for name in node.inputs]
            y = apply_node(node, inputs, weight=self._weight(node), bias=getattr(self, f"{node.name}_bias", None))
            scale = self._scales.get(node.name)
            if node.clamped and not (scale is not None and scale.clamps(node.low, node.high)):
                y = torch.clamp(y, node.low, node.high)
            tensors[node.name] = self._write(node.name, y)
        return self._read(self._graph.output, tensors[self._graph.output])

    def _weight(self, node: Node) -> Tensor | None:
        weight: Tensor | None = getattr(self, f"{node.name}_weight", None)
        if node.name not in self._rounded:
            return weight
        scale, zero = getattr(self, f"{node.name}_scale"), getattr(self, f"{node.name}_zero")
        operator: Callable[..., Tensor] = torch.ops.quantized_decomposed.dequantize_per_channel
        return operator(weight, scale, zero, 0, -127, _HIGH, torch.int8)

    def _write(self, name: str, x: Tensor) -> Tensor:
        operator: Callable[..., Tensor] = torch.ops.quantized_decomposed.quantize_per_tensor
        return x if name not in self._scales else operator(x, *self._numbers(name))

    def _read(self, name: str, x: Tensor) -> Tensor:
        operator: Callable[..., Tensor] = torch.ops.quantized_decomposed.dequantize_per_tensor
        return x if name not in self._scales else operator(x, *self._numbers(name))

    def _numbers(self, name: str) -> tuple[Any, ...]:
        scale = self._scales[name]
        return (scale.step, scale.zero - _SHIFT, _LOW, _HIGH, torch.int8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ExecuTorch writes of its search for CPUs and of missing GPU libraries to both streams, from C++ too."""
    import warnings

    kept = [os.dup(number) for number in (1, 2)]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for number in (1, 2):
                os.dup2(nowhere, number)
            yield
        finally:
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            os.close(nowhere)
