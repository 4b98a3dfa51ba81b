"""Exporting a model, format by format; a file gets its name when it has been read back and computes what it should."""

import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from skerry.device.card import CardFile, file_entry, write_card
from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.quantize import Quantization, QuantizationRecipe, quantize
from skerry.device.export.compare import check_operations, compare, require
from skerry.device.export.describe import describe
from skerry.device.export.formats import FORMATS, Format
from skerry.device.export.reference import QuantizedReference, in_batches
from skerry.device.model_source import ModelSource
from skerry.errors import InputError
from skerry.fsio import disk_errors
from skerry.records import Float32Array

__all__ = ["Calibration", "Exported", "export_model"]

CHECKED_INPUTS = 64
_OPERATION_INPUTS = 4
_MANY_SCORES = 100
"""From here on the classifier is int8 too, which halves the file at 1,000; not beside ExecuTorch programs, for which it
was not tried (ADR 22)."""


@dataclass(frozen=True)
class Calibration:
    """Public examples by which int8 is calibrated, and on which files are checked.

    Attributes:
        examples: ``(n, channels, height, width)`` float32, transformed.
        origin: what they are, for the card.
    """

    examples: Float32Array
    origin: str


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: by name, the card's two among them.
        card: the content of ``card.json``.
    """

    files: dict[str, Path]
    card: dict[str, Any]


@dataclass(frozen=True)
class _Networks:
    """The float network, and the int8 one where a format wants it; each with what it is compared with."""

    graph: Graph
    quantized: tuple[Graph, Quantization] | None
    recipe: str | None


def export_model(
    source: ModelSource,
    formats: Sequence[str],
    out: Path,
    *,
    calibration: Calibration | None = None,
    inputs: int = CHECKED_INPUTS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a model in one or more formats, with one card.

    Each file is written under another name, read back by the runtime that it is for, and its outputs are compared with
    torch's on noise and on the calibration examples; int8 ONNX also operation by operation. What differs by more than
    its format's tolerance is removed, and nothing of this export is left.

    Args:
        source: the model.
        formats: names of :data:`~skerry.device.export.formats.FORMATS`.
        out: folder to write to, made when missing; files of the same names are replaced.
        calibration: needed for int8 where the model has no int8 version yet.
        inputs: examples that each file is checked on; half noise, half calibration examples where there are some.
        seed: of the noise.
        progress: is told each stage.

    Raises:
        InputError: a format is not known, an int8 format lacks its calibration, the graph cannot be read.
        MissingDependencyError: a format's runtime is not installed.
        RefusedError: ``outputs_differ``.
    """
    chosen = [_format(name) for name in dict.fromkeys(formats)]
    networks = _networks(source, calibration, chosen, progress)
    x = _examples(networks.graph.input_shape, calibration, inputs, seed)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source.name).name.removesuffix(".onnx").removesuffix(".safetensors"))
    new = not out.exists()
    with disk_errors(out):
        temporary = out / f".exporting-{secrets.token_hex(4)}"
        temporary.mkdir(parents=True)
    try:
        entries: dict[str, CardFile] = {}
        for made in chosen:
            name = f"{stem}{made.suffix}"
            progress(f"writing {name}")
            entries[name] = _write(made, networks, x, temporary / name, progress)
        card = describe(source, networks.graph, networks.recipe, entries)
        write_card(temporary, card)
        for name in (*entries, "card.json", "card.md"):
            (temporary / name).replace(out / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new and not any(out.iterdir()):
            out.rmdir()
    return Exported({name: out / name for name in (*entries, "card.json", "card.md")}, card.document())


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"{name!r} is no format", where="--format", mend=f"known are: {', '.join(FORMATS)}")
    return FORMATS[name]


def _networks(
    source: ModelSource, calibration: Calibration | None, formats: Sequence[Format], progress: Callable[[str], None]
) -> _Networks:
    progress("reading the model")
    graph = source.graph()
    classes = source.classes or graph.classes
    graph = replace(graph, classes=classes if len(classes) == graph.outputs else ())
    if not any(f.int8 for f in formats):
        return _Networks(graph, None, None)
    quantized = source.quantized()
    if quantized is not None:
        return _Networks(graph, quantized, "as when the model was made")
    if calibration is None:
        raise InputError(
            "int8 needs examples to be calibrated on",
            where=source.name,
            mend="name a task whose public data fit, a .npy file of transformed examples, or noise: --calibration",
        )
    _require_shape(calibration, graph.input_shape)
    progress("quantizing")
    whole = graph.outputs >= _MANY_SCORES and not any(f.suffix.endswith(".pte") for f in formats)
    recipe = QuantizationRecipe(classifier="int8" if whole else "float")
    return _Networks(graph, (graph, quantize(graph, calibration.examples, recipe=recipe)), calibration.origin)


def _require_shape(calibration: Calibration, shape: tuple[int, int, int]) -> None:
    if not len(calibration.examples):
        raise InputError("the calibration set is empty", where=calibration.origin, mend="give at least one example")
    if calibration.examples.shape[1:] != shape:
        raise InputError(
            f"calibration examples have the shape {calibration.examples.shape[1:]}, the model reads {shape}",
            where=calibration.origin,
        )
    if not np.isfinite(calibration.examples).all():
        raise InputError("a calibration example holds a number that is not finite", where=calibration.origin)


def _examples(shape: tuple[int, int, int], calibration: Calibration | None, count: int, seed: int) -> Float32Array:
    noise = np.random.default_rng(seed).standard_normal((count, *shape), np.float32)
    if calibration is None:
        return noise
    _require_shape(calibration, shape)
    known = calibration.examples[: count // 2]
    return np.concatenate([known, noise[: count - len(known)]])


def _write(made: Format, networks: _Networks, x: Float32Array, path: Path, progress: Callable[[str], None]) -> CardFile:
    graph, quantization = networks.graph, None
    module: nn.Module = GraphModule(graph)
    if made.int8:
        assert networks.quantized is not None
        graph, quantization = networks.quantized
        module = QuantizedReference(graph, quantization)
    made.write(graph, quantization, path)
    progress(f"checking {path.name}")
    agreement = compare(in_batches(module.eval(), x), made.run(path, x), made.tolerance)
    require(agreement, made.tolerance, path.name)
    check = {**asdict(agreement), "tolerated": made.tolerance.relative}
    if quantization is not None and path.suffix == ".onnx":
        check["operations"] = check_operations(path, graph, quantization, x[:: max(1, len(x) // _OPERATION_INPUTS)])
    return file_entry(path, made.name, check)
