"""Every format in which a model is exported: how it is written, how it is run, and what it is compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.quantize import Quantization
from skerry.device.export.compare import FLOAT, INT8, Tolerance
from skerry.device.export.lowering import lower, run_program
from skerry.device.export.reference import in_batches
from skerry.device.runtime import OnnxModel
from skerry.fsio import write_atomic
from skerry.records import Float32Array

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: on the command line.
        suffix: of its file, after the model's name.
        int8: whether it holds the quantized network.
        tolerance: how far its outputs may be from torch's.
        write: the network into a file.
        run: a file on examples, as a device would run it.
    """

    name: str
    suffix: str
    int8: bool
    tolerance: Tolerance
    write: Callable[[Graph, Quantization | None, Path], None]
    run: Callable[[Path, Float32Array], Float32Array]


def _write_onnx(graph: Graph, quantization: Quantization | None, path: Path) -> None:
    from skerry.device.compression.onnx_export import to_onnx

    write_atomic(path, to_onnx(graph, quantization).SerializeToString())


def _run_onnx(path: Path, x: Float32Array) -> Float32Array:
    return OnnxModel(path).run(x)


def _write_graph(graph: Graph, _: Quantization | None, path: Path) -> None:
    save_graph(graph, path)


def _run_graph(path: Path, x: Float32Array) -> Float32Array:
    return in_batches(GraphModule(load_graph(path)).eval(), x)


def _write_program(graph: Graph, quantization: Quantization | None, path: Path) -> None:
    write_atomic(path, lower(graph, quantization))


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        made.name: made
        for made in (
            Format("onnx", ".fp32.onnx", False, FLOAT, _write_onnx, _run_onnx),
            Format("onnx-int8", ".int8.onnx", True, INT8, _write_onnx, _run_onnx),
            Format("safetensors", ".safetensors", False, FLOAT, _write_graph, _run_graph),
            Format("executorch", ".fp32.pte", False, FLOAT, _write_program, run_program),
            Format("executorch-int8", ".int8.pte", True, INT8, _write_program, run_program),
        )
    }
)
"""By name."""
