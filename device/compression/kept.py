"""What each step of a compression left, in a folder that appears whole or not at all, and is found again by its key."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from skerry.device.bench.quiet import Timing
from skerry.device.compression.figures import Figures
from skerry.device.compression.graph_file import load_graph, save_graph
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.packing import load_packed, save_packed
from skerry.device.compression.quantization_file import load_quantization, save_quantization
from skerry.device.compression.steps import State
from skerry.errors import InputError
from skerry.fsio import disk_errors, write_atomic, write_json

__all__ = ["PACKED", "Files", "Stage", "deliver", "find", "keep"]

PACKED = "model.bits.safetensors"
"""The file of weights of few bits."""

_GRAPH, _QUANTIZATION, _ABOUT = "graph.safetensors", "quantization.safetensors", "stage.json"


@dataclass(frozen=True)
class Stage:
    """What one step left.

    Attributes:
        number: from 1; 0 for the uncompressed network.
        kind: of the step.
        figures: of the file that a device would store now.
        seconds: that the step took, without measuring.
        reused: it was found in the output folder.
    """

    number: int
    kind: str
    figures: Figures
    seconds: float
    reused: bool = False

    @property
    def folder(self) -> str:
        """Its name below ``steps/``."""
        return f"{self.number:02d}-{self.kind}"


@dataclass(frozen=True)
class Files:
    """The files of one stage: what runs, and what a device stores."""

    runs: Path
    stored: Path


def find(folder: Path, key: str, before: State | None) -> tuple[State, Stage] | None:
    """What lies in a stage's folder, when it was made from the same things.

    Args:
        folder: of the stage.
        key: digest of all that it comes from.
        before: the network before the step.
    """
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if about["key"] != key:
            return None
        graph = load_graph(folder / _GRAPH)
        quantized = folder / _QUANTIZATION
        quantization = load_quantization(quantized) if quantized.is_file() else None
        packed = load_packed(folder / PACKED) if (folder / PACKED).is_file() else None
        stage = about["stage"]
        told = stage.pop("figures")
        timing = told.pop("timing", None)
        figures = Figures(**told, timing=None if timing is None else Timing(**timing))
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None  # never taken, or damaged: take it again
    state = State(graph, quantization, None if before is None else before.uncompressed, packed)
    return state, replace(Stage(**stage, figures=figures), reused=True)


def keep(folder: Path, key: str, state: State, measure: Callable[[Files], Stage]) -> Stage:
    """Write a stage's files, measure them, and let the folder appear.

    Args:
        folder: of the stage; replaced.
        key: digest of all that it comes from.
        state: the network after the step.
        measure: runs the files.
    """
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            files = _write(made, state)
            stage = measure(files)
            write_json(made / _ABOUT, {"key": key, "stage": asdict(stage)}, durable=False)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return stage


def deliver(stage: Path, model: Path) -> None:
    """Copy a stage's files, without what is said about them; other files leave.

    Args:
        stage: the folder to copy from.
        model: the folder to copy to; made when missing.
    """
    wanted = [path for path in sorted(stage.iterdir()) if path.name != _ABOUT]
    for path in wanted:
        write_atomic(model / path.name, path.read_bytes(), durable=False)
    for path in model.iterdir():
        if path.name not in {kept.name for kept in wanted}:
            path.unlink()


def _write(folder: Path, state: State) -> Files:
    save_graph(state.graph, folder / _GRAPH)
    if state.quantization is not None:
        save_quantization(state.quantization, folder / _QUANTIZATION)
    runs = folder / ("model.fp32.onnx" if state.quantization is None else "model.int8.onnx")
    write_atomic(runs, to_onnx(state.graph, state.quantization).SerializeToString(), durable=False)
    if state.packed is None:
        return Files(runs, runs)
    save_packed(state.packed, folder / PACKED)
    return Files(runs, folder / PACKED if state.quantization is None else runs)
