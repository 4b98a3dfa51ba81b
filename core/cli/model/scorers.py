"""From what the user names to models that can be measured side by side: a run's, a graph's, ONNX files'."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from skerry.device.evaluation import Scorer
    from skerry.device.model_source import ModelSource
    from skerry.device.tasks.task import Task
    from skerry.records import Examples, Float32Array
    from skerry.runfolder import RunFolder

__all__ = ["file_scorers", "run_scorers"]

Kind = Literal["int8", "float"]

_KINDS: dict[str, Kind] = {"int8": "int8", "fp32": "float"}


def run_scorers(folder: "RunFolder", task: "Task") -> tuple[list["Scorer"], int]:
    """What a run delivered, else its last finished round; and beside int8 the same weights in float. And the round.

    Raises:
        InputError: no round was finished.
    """
    from skerry.device.evaluation import Scorer
    from skerry.device.local_model import load_local_model
    from skerry.errors import InputError
    from skerry.server.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder)
    named = folder.path / "model" / "base.json"
    if checkpoint is None or not named.is_file():
        raise InputError(
            "no round of this run was finished: there is no model to measure",
            where=str(folder.path),
            mend=f"`skerry runs show {folder.id}` says how far it came",
        )
    config, vector = folder.scenario.model, checkpoint.released
    digest = json.loads(named.read_text(encoding="utf-8"))["digest"]
    model = load_local_model(config, digest, cast("Task", _Given(task)))
    delivered = {kind: folder.path / "model" / f"model.{precision}.onnx" for precision, kind in _KINDS.items()}
    scorers = [
        _onnx(path, f"{path.name}, as delivered", sort, task) for sort, path in delivered.items() if path.is_file()
    ]
    if not scorers:
        kind: Kind = "int8" if model.quantized else "float"
        name = f"{kind} model"
        scorers.append(Scorer(name, kind, lambda x: model.deployed_logits(vector, x, model.prepare(x))))
    if model.quantized and not delivered["float"].is_file():
        int8 = delivered["int8"]
        twin = (lambda: _twin(int8, rounding=False)) if int8.is_file() else None
        scorers.append(Scorer("the same weights in float", "float", lambda x: model.float_logits(vector, x), twin))
    return scorers, checkpoint.round


def file_scorers(source: "ModelSource", task: "Task", folder: Path) -> list["Scorer"]:
    """The ONNX files of a source; of a graph, its float32 form and an int8 one that is calibrated on public examples.

    Args:
        source: a graph or an ONNX file.
        task: for whose examples.
        folder: an existing folder for the files that are made.

    Raises:
        InputError: a base, which gives features and not classes; or a network for other inputs.
        MissingDependencyError: a graph without torch and onnx.
    """
    from skerry.errors import InputError

    if source.kind == "base":
        raise InputError(
            "a base gives features, not classes",
            where=source.name,
            mend="evaluate a run that trained a head on it",
        )
    files = dict(source.onnx) or _made_from(source, task, folder)
    return [_onnx(files[p], _name(source, files[p], p), _KINDS[p], task) for p in _KINDS if p in files]


def _made_from(source: "ModelSource", task: "Task", folder: Path) -> dict[str, Path]:
    from skerry.device.calibration import calibration_examples
    from skerry.errors import MissingDependencyError
    from skerry.fsio import write_atomic

    try:
        from skerry.device.compression.onnx_export import to_onnx
        from skerry.device.compression.quantize import quantize
    except ImportError as error:
        raise MissingDependencyError(
            f"a graph is evaluated in int8 with {error.name}", where=source.name, mend="pip install 'skerry[train]'"
        ) from error
    graph = source.graph()
    _must_fit(graph.input_shape, task, source.name)
    made = {"int8": to_onnx(graph, quantize(graph, calibration_examples(task))), "fp32": to_onnx(graph)}
    paths = {precision: folder / f"{precision}.onnx" for precision in made}
    for precision, proto in made.items():
        write_atomic(paths[precision], proto.SerializeToString(), durable=False)
    return paths


def _name(source: "ModelSource", path: Path, precision: str) -> str:
    return path.name if source.kind == "onnx" else f"{Path(source.name).name}, {precision}"


def _onnx(path: Path, name: str, kind: "Kind", task: "Task") -> "Scorer":
    from skerry.device.evaluation import Scorer
    from skerry.device.runtime import OnnxModel

    model = OnnxModel(path, workers=os.cpu_count() or 1)
    _must_fit(model.input_shape, task, str(path))
    return Scorer(name, kind, model.run, lambda: _twin(path))


def _twin(path: Path, *, rounding: bool = True) -> Any:
    """What a file computes, in torch and with gradients; of an int8 one through its rounding, or without it.

    Raises:
        InputError: the file is not one that skerry wrote.
        MissingDependencyError: torch or onnx is not installed.
    """
    from skerry.errors import MissingDependencyError

    try:
        import onnx

        from skerry.device.compression.fake_quant import FakeQuantGraphModule
        from skerry.device.compression.graph_module import GraphModule
        from skerry.device.compression.onnx_import import from_onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"attacks follow gradients, by {error.name}", where=str(path), mend="pip install 'skerry[train]'"
        ) from error
    graph, quantization = from_onnx(onnx.load(path))
    module = GraphModule(graph) if quantization is None or not rounding else FakeQuantGraphModule(graph, quantization)
    return module.eval().requires_grad_(requires_grad=False)


def _must_fit(shape: tuple[int, ...], task: "Task", where: str) -> None:
    from skerry.errors import InputError

    if tuple(shape) != task.input_shape:
        wanted, given = ("×".join(map(str, one)) for one in (shape, task.input_shape))
        raise InputError(
            f"the network takes inputs of {wanted}, and the task {task.name} gives {given}",
            where=where,
            mend="set model.input_size, task.channels or task.window by --set, or name its own scenario",
        )


class _Given:
    """A task whose examples were transformed already: corrupted ones are."""

    def __init__(self, task: "Task") -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def public_data(self) -> "Examples":
        """Public examples, transformed too: they calibrate int8."""
        from skerry.records import Examples

        public = self._task.public_data()
        return Examples(self._task.transform(public.x), public.y)

    def transform(self, x: "npt.NDArray[np.float32]") -> "Float32Array":
        """The examples themselves."""
        return x
