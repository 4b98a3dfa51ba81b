"""The files that are measured: what is there already, and what has to be made from the graph first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skerry.canonical import sha256_hex
from skerry.device.bench.machine import installed
from skerry.device.bench.profile import Measured
from skerry.device.bench.records import Artefact
from skerry.device.model_source import ModelSource
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, MissingDependencyError
from skerry.fsio import write_atomic

if TYPE_CHECKING:
    from skerry.device.compression.graph import Graph
    from skerry.device.compression.quantize import Quantization

__all__ = ["DEFAULT_RUNTIMES", "Prepared", "prepare"]

DEFAULT_RUNTIMES = ("onnxruntime", "torch", "executorch")
_MODULES = {"onnxruntime": "onnxruntime", "skerry": "onnxruntime", "torch": "torch", "executorch": "executorch"}
_EXTRAS = {"onnxruntime": "device", "skerry": "device", "torch": "train", "executorch": "export"}
_CALIBRATION = 8


@dataclass(frozen=True)
class Prepared:
    """What can be measured of a model.

    Attributes:
        artefacts: one for each runtime and precision.
        absent: runtimes, or one of their precisions, that are not measured, with the reason.
        model: what a profile says of the model.
    """

    artefacts: tuple[Artefact, ...]
    absent: dict[str, str]
    model: Measured


def prepare(
    source: ModelSource,
    folder: Path,
    *,
    runtimes: Sequence[str] = (),
    precisions: Sequence[str] = ("fp32", "int8"),
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Find or make a file for each runtime and precision.

    Where a graph has no int8 version yet, one is made, calibrated on noise: its speed and size are those of any other
    calibration, its accuracy is not, and the profile says so.

    Args:
        source: the model.
        folder: an existing folder for what has to be made.
        runtimes: which to measure; empty for all that are installed.
        precisions: which to measure.
        seed: of the noise.
        progress: is told what is being made.

    Raises:
        MissingDependencyError: a runtime that was asked for is not installed.
        InputError: nothing can be measured in the way asked for.
    """
    absent: dict[str, str] = {}
    for runtime in runtimes or DEFAULT_RUNTIMES:
        if installed(_MODULES[runtime]):
            continue
        mend = f"pip install 'skerry[{_EXTRAS[runtime]}]'"
        if runtimes:
            raise MissingDependencyError(f"{runtime} is not installed", where=f"--runtime {runtime}", mend=mend)
        absent[runtime] = f"not installed; {mend}"
    maker = _Maker(source, folder, seed, progress)
    artefacts = []
    for runtime in runtimes or DEFAULT_RUNTIMES:
        if runtime in absent:
            continue
        for precision in precisions:
            file = maker.file(runtime, precision)
            if isinstance(file, Path):
                artefacts.append(Artefact(runtime, precision, file))
            else:
                absent[f"{runtime} {precision}"] = file
    if not artefacts:
        raise InputError(
            "nothing of this model can be measured in this way: "
            + "; ".join(f"{name}: {why}" for name, why in absent.items()),
            where=source.name,
        )
    files = {f"{a.precision} {a.runtime}": sha256_hex(a.file.read_bytes()) for a in artefacts}
    return Prepared(
        tuple(artefacts), absent, Measured(Path(source.name).name, source.kind, maker.input_shape(), files, maker.note)
    )


class _Maker:
    def __init__(self, source: ModelSource, folder: Path, seed: int, progress: Callable[[str], None]) -> None:
        self.note = source.note
        self._source = source
        self._folder = folder
        self._seed = seed
        self._progress = progress

    def file(self, runtime: str, precision: str) -> Path | str:
        """The file, or why there is none."""
        if self._source.kind == "onnx" and precision not in self._source.onnx:
            return f"the model is in {next(iter(self._source.onnx))} only"
        if runtime in {"onnxruntime", "skerry"}:
            return self._onnx(precision)
        if runtime == "executorch":
            return self._program(precision)
        return "torch has no int8 kernels for a graph" if precision == "int8" else self._graph_file()

    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        if self._source.onnx:
            return OnnxModel(next(iter(self._source.onnx.values()))).input_shape
        return self._graph.input_shape

    def _onnx(self, precision: str) -> Path | str:
        if precision in self._source.onnx:
            return self._source.onnx[precision]
        from skerry.device.compression.onnx_export import to_onnx

        self._progress(f"writing {precision} ONNX")
        path = self._folder / f"model.{precision}.onnx"
        write_atomic(path, to_onnx(*self._network(precision)).SerializeToString(), durable=False)
        return path

    def _program(self, precision: str) -> Path | str:
        from skerry.device.export.lowering import lower

        try:
            network = self._network(precision)
        except InputError as error:
            return error.what
        self._progress(f"lowering {precision} for ExecuTorch, about a minute")
        path = self._folder / f"model.{precision}.pte"
        write_atomic(path, lower(*network), durable=False)
        return path

    def _network(self, precision: str) -> "tuple[Graph, Quantization | None]":
        if precision == "fp32":
            return self._graph, None
        quantized = self._source.quantized()
        if quantized is not None:
            return quantized
        said = "int8 was calibrated on noise: speed and size count, accuracy does not"
        self.note = "; ".join(filter(None, [self._source.note, said]))
        return self._graph, self._quantization

    @cached_property
    def _quantization(self) -> "Quantization":
        from skerry.device.compression.quantize import quantize

        shape = (_CALIBRATION, *self._graph.input_shape)
        return quantize(self._graph, np.random.default_rng(self._seed).standard_normal(shape, np.float32))

    def _graph_file(self) -> Path | str:
        if self._source.graph_file is not None:
            return self._source.graph_file
        from skerry.device.compression.graph_file import save_graph

        try:
            graph = self._graph
        except InputError as error:
            return error.what
        path = self._folder / "graph.safetensors"
        save_graph(graph, path)
        return path

    @cached_property
    def _graph(self) -> "Graph":
        return self._source.graph()
