"""The files that are measured: what is there already, and what has to be made from the graph first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skerry.canonical import sha256_hex
from skerry.device.bench.machine import installed
from skerry.device.bench.measuring import Artefact
from skerry.device.bench.profile import Measured
from skerry.device.model_source import ModelSource
from skerry.device.runtime import OnnxModel
from skerry.errors import InputError, MissingDependencyError
from skerry.fsio import write_atomic

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
        tuple(artefacts), absent, Measured(source.name, source.kind, maker.input_shape(), files, maker.note)
    )


class _Maker:
    def __init__(self, source: ModelSource, folder: Path, seed: int, progress: Callable[[str], None]) -> None:
        self.note = ""
        self._source = source
        self._folder = folder
        self._seed = seed
        self._progress = progress

    def file(self, runtime: str, precision: str) -> Path | str:
        """The file, or why there is none."""
        if runtime in {"onnxruntime", "skerry"}:
            return self._onnx(precision)
        if precision == "int8":
            return "torch has no int8 kernels for a graph" if runtime == "torch" else "only fp32 is lowered here"
        if self._source.graph_file is None and "fp32" not in self._source.onnx:
            return "the model exists in int8 only"
        if runtime == "torch":
            return self._graph_file()
        return "not lowered here yet"

    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        if self._source.graph_file is not None:
            return self._source.graph().input_shape
        return OnnxModel(next(iter(self._source.onnx.values()))).input_shape

    def _onnx(self, precision: str) -> Path | str:
        if precision in self._source.onnx:
            return self._source.onnx[precision]
        if self._source.graph_file is None:
            return f"the model has no {precision} file"
        from skerry.device.compression.onnx_export import to_onnx
        from skerry.device.compression.quantize import quantize

        graph = self._source.graph()
        self._progress(f"writing {precision} ONNX")
        quantization = None
        if precision == "int8":
            noise = np.random.default_rng(self._seed).standard_normal((_CALIBRATION, *graph.input_shape), np.float32)
            quantization = quantize(graph, noise)
            self.note = "int8 was calibrated on noise: speed and size count, accuracy does not"
        path = self._folder / f"model.{precision}.onnx"
        write_atomic(path, to_onnx(graph, quantization).SerializeToString(), durable=False)
        return path

    def _graph_file(self) -> Path | str:
        if self._source.graph_file is not None:
            return self._source.graph_file
        from skerry.device.compression.graph_file import save_graph

        try:
            graph = self._source.graph()
        except InputError as error:
            return error.what
        path = self._folder / "graph.safetensors"
        save_graph(graph, path)
        return path
