"""Mobile models in int8 against float: bytes, latency, accuracy, what our runner costs, and whether runtimes agree.

``speed``: int8 and float of a network at 224 pixels in two processes that take turns, so that a busy minute of the
machine strikes both. ``runner``: skerry's runner and onnxruntime itself, likewise. ``quality``: networks trained on
public data (kept between calls, :mod:`_checkpoints`), each quantized by each recipe (:mod:`_recipes`). ``bits``:
adaptive bits against uniform ones (:mod:`_bits`). ``pruning``: half of the work pruned away (:mod:`_pruning`). ``fit``:
`model fit` against hand-made settings (:mod:`_fitting`). ``runtimes``: outputs of the same network on 1,000 pictures in
onnxruntime, torch and, where it is installed, ExecuTorch.
"""

import contextlib
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bits import bits
from _checkpoints import NETWORKS, TASKS, Checkpoint, checkpoint
from _fitting import fitting
from _harness import HERE, ROOT, Claim, Peer, Samples, main, progress, run, versions
from _pruning import pruning
from _recipes import RECIPES

from skerry.config import ModelConfig, TaskConfig
from skerry.device.bench.probing import Job, Probe
from skerry.device.calibration import calibration_examples
from skerry.device.compression.graph import Graph
from skerry.device.compression.graph_file import save_graph
from skerry.device.compression.graph_module import GraphModule
from skerry.device.compression.onnx_export import to_onnx
from skerry.device.compression.quantize import Quantization, QuantizationRecipe, quantize
from skerry.device.export.reference import QuantizedReference, in_batches
from skerry.device.model_source import NetworkOptions, resolve_model
from skerry.device.runtime import OnnxModel
from skerry.device.tasks.registry import load_task
from skerry.records import Float32Array

SHORT = {"efficientnet_lite0": "lite0", "mobilenet_v2": "mobilenet_v2"}
SIZE, CLASSES = 224, 10
SMALL, MANY = 64, 1000
TURNS, CALLS = 11, 20
INPUTS = 1000
EXPORT = Path(os.environ.get("SKERRY_EXPORT_PYTHON", ROOT / ".venv-export" / "bin" / "python"))


def speed(folder: Path) -> Iterator[Claim]:
    """Bytes and latency of int8 over float, one thread."""
    for network, short in SHORT.items():
        files = _files(network, SIZE, folder)
        sizes = {kind: file.stat().st_size for kind, file in files.items()}
        yield Claim(
            id=f"bytes_{short}",
            text=f"{network}, {CLASSES} classes: ONNX file in int8 over float32",
            value=sizes["int8"] / sizes["fp32"],
            unit="ratio",
            op="<=",
            bar=0.30,
            peer=Peer("float32, bytes", sizes["fp32"]),
        )
        many = _sizes(network, MANY)
        yield Claim(
            id=f"bytes_thousand_{short}",
            text=f"{network}, {MANY:,} classes: ONNX file in int8, its classifier too, over float32",
            value=many["int8"] / many["fp32"],
            unit="ratio",
            op="<=",
            bar=0.30,
            peer=Peer("float32, bytes", many["fp32"]),
            detail={"float_classifier": many["float_classifier"] / many["fp32"]},
        )
        progress(f"{network}: latency in turns")
        times = _in_turns({kind: Job("onnxruntime", file) for kind, file in files.items()})
        yield _ratio(
            f"latency_{short}",
            f"{network} at {SIZE} px, onnxruntime, one thread: median latency in int8 over float32, by turns",
            times["int8"],
            times["fp32"],
            0.60,
            "float32, ms",
        )


def runner(folder: Path) -> Iterator[Claim]:
    """What OnnxModel adds to onnxruntime."""
    for network, short in SHORT.items():
        file = _files(network, SIZE, folder)["int8"]
        progress(f"{network}: runner and onnxruntime in turns")
        times = _in_turns({"skerry": Job("skerry", file), "onnxruntime": Job("onnxruntime", file)})
        yield _ratio(
            f"runner_{short}",
            f"{network} in int8 at {SIZE} px: latency of one picture by our runner over onnxruntime's own, by turns",
            times["skerry"],
            times["onnxruntime"],
            1.05,
            "onnxruntime, ms",
        )


def quality(_folder: Path) -> Iterator[Claim]:
    """Accuracy lost to int8 and agreement with float, for each checkpoint and recipe."""
    torch.set_num_threads(1)
    for network in NETWORKS:
        for task in TASKS:
            made = checkpoint(network, task, progress)
            x, y = made.held_out
            floating = OnnxModel(to_onnx(made.graph).SerializeToString()).run(x)
            for recipe, quantized in RECIPES.items():
                int8 = to_onnx(made.graph, quantized(made.graph, made.calibration))
                rounded = OnnxModel(int8.SerializeToString()).run(x)
                yield from _compared(made, recipe, y, floating, rounded)


def _compared(
    made: Checkpoint, recipe: str, y: np.ndarray, floating: Float32Array, rounded: Float32Array
) -> Iterator[Claim]:
    network, task = made.settings.network, made.settings.task
    there, here = (float((scores.argmax(1) == y).mean()) for scores in (floating, rounded))
    agree = float((floating.argmax(1) == rounded.argmax(1)).mean())
    progress(f"{network} on {task}, {recipe}: float {there:.4f}, int8 {here:.4f}, agree {agree:.4f}")
    name = f"{SHORT[network]}_{task}_{recipe}"
    said = (
        f"{network} trained on {task} ({made.settings.size} px), int8 by recipe {recipe!r}, {len(y)} held-out examples"
    )
    detail = {"float": there, "int8": here, "examples": len(y)}
    yield Claim(
        id=f"accuracy_{name}",
        text=f"{said}: difference of accuracy from float32",
        value=abs(here - there),
        unit="of examples",
        op="<=",
        bar=0.01,
        peer=Peer("float32", there),
        detail=detail,
    )
    yield Claim(
        id=f"agreement_{name}",
        text=f"{said}: the same class as float32",
        value=agree,
        unit="of examples",
        op=">=",
        bar=0.95,
        detail=detail,
    )


@dataclass(frozen=True)
class _Outputs:
    """One network's outputs on the same inputs: what each runtime says, in float and in int8."""

    torch: dict[str, Float32Array]
    onnxruntime: dict[str, Float32Array]
    executorch: dict[str, Float32Array] | None
    version: str | None
    absent: str | None


def runtimes(folder: Path) -> Iterator[Claim]:
    """Float outputs to 1e-4 of their size; int8 outputs within what quantization itself changes."""
    torch.set_num_threads(1)
    for network, short in SHORT.items():
        made = checkpoint(network, "fashion", progress)
        data = made.task.public_data()
        x = made.task.transform(data.x[np.linspace(0, len(data) - 1, INPUTS).round().astype(int)])
        place = folder / network
        place.mkdir()
        got = _outputs(made.graph, next(iter(RECIPES.values()))(made.graph, made.calibration), x, place)
        yield from _agreements(short, network, got)


def _outputs(graph: Graph, quantization: Quantization, x: Float32Array, folder: Path) -> _Outputs:
    progress("torch and onnxruntime")
    by_torch = {
        "fp32": in_batches(GraphModule(graph).eval(), x),
        "int8": in_batches(QuantizedReference(graph, quantization), x),
    }
    (folder / "model.int8.onnx").write_bytes(to_onnx(graph, quantization).SerializeToString())
    by_onnx = {
        "fp32": OnnxModel(to_onnx(graph).SerializeToString()).run(x),
        "int8": OnnxModel(folder / "model.int8.onnx").run(x),
    }
    if not EXPORT.exists():
        return _Outputs(by_torch, by_onnx, None, None, "not installed: make export-setup")
    progress("lowering for ExecuTorch")
    save_graph(graph, folder / "graph.safetensors")
    np.save(folder / "x.npy", x)
    where = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    done = run([EXPORT, HERE / "_programs.py", folder], timeout_s=1800, environment={"PYTHONPATH": where})
    programs = {kind: np.load(folder / f"{kind}.npy") for kind in ("fp32", "int8")}
    return _Outputs(by_torch, by_onnx, programs, done.document["executorch"], None)


def _agreements(short: str, network: str, got: _Outputs) -> Iterator[Claim]:
    lost = _apart(got.torch["int8"], got.torch["fp32"])
    pairs: list[tuple[str, str, dict[str, Float32Array] | None, dict[str, Float32Array]]] = [
        ("onnxruntime", "torch", got.onnxruntime, got.torch),
        ("executorch", "torch", got.executorch, got.torch),
        ("executorch", "onnxruntime", got.executorch, got.onnxruntime),
    ]
    for one, other, mine, theirs in pairs:
        absent = got.absent if mine is None else None
        for kind, bar, unit in (("fp32", 1e-4, "of the outputs' size"), ("int8", 1.0, "of quantization's own error")):
            value = same = None
            if mine is not None:
                size = 1.0 if kind == "int8" else _apart(theirs[kind], np.zeros_like(theirs[kind]))
                value = _apart(mine[kind], theirs[kind]) / (lost if kind == "int8" else size)
                same = float((mine[kind].argmax(1) == theirs[kind].argmax(1)).mean())
            yield Claim(
                id=f"{one}_{other}_{kind}_{short}",
                text=f"{network}, {INPUTS} pictures, {kind}: outputs of {one} from those of {other}, root mean square",
                value=value,
                unit=unit,
                op="<=",
                bar=bar,
                peer=Peer(other, None, got.version if one == "executorch" else None, absent) if absent else None,
                detail={"same_class": same, "quantization_error": lost},
            )


def _apart(a: Float32Array, b: Float32Array) -> float:
    return float(np.sqrt(np.mean(np.square(a.astype(np.float64) - b))))


def _files(network: str, size: int, folder: Path) -> dict[str, Path]:
    """A network's two ONNX files; weights do not change their speed or size, so any do."""
    options = NetworkOptions((3, size, size), classes=CLASSES)
    files = {kind: folder / f"{network}.{kind}.onnx" for kind in ("fp32", "int8")}
    if not files["int8"].exists():
        progress(f"{network}: exporting at {size} px")
        graph = resolve_model(network, folder, options).graph()
        task = load_task(TaskConfig(name="fashion"), ModelConfig(architecture=network, input_size=size))
        quantization = next(iter(RECIPES.values()))(graph, calibration_examples(task)[:16])
        files["fp32"].write_bytes(to_onnx(graph).SerializeToString())
        files["int8"].write_bytes(to_onnx(graph, quantization).SerializeToString())
    return files


def _sizes(network: str, classes: int) -> dict[str, int]:
    """Bytes of a network's files; any weights do, and any way of rounding them."""
    graph = resolve_model(network, HERE, NetworkOptions((3, SMALL, SMALL), classes=classes)).graph()
    noise = np.random.default_rng(0).standard_normal((4, *graph.input_shape), np.float32)
    plain = QuantizationRecipe(rounding="nearest", refit=False)
    forms: dict[str, Quantization | None] = {
        "fp32": None,
        "float_classifier": quantize(graph, noise, recipe=plain),
        "int8": quantize(graph, noise, recipe=replace(plain, classifier="int8")),
    }
    return {name: len(to_onnx(graph, form).SerializeToString()) for name, form in forms.items()}


def _in_turns(jobs: dict[str, Job]) -> dict[str, list[float]]:
    """For each job the median latency, ms, of each of its turns; all are open at once and take turns."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    with contextlib.ExitStack() as stack:
        probes = {name: stack.enter_context(Probe()) for name in jobs}
        for name, probe in probes.items():
            probe.open(jobs[name], start_s=probe.up())
        for turn in range(TURNS + 1):
            for name in list(jobs) if turn % 2 else list(jobs)[::-1]:
                burst = probes[name].burst(count=CALLS)
                if turn:  # the first one warms up
                    times[name].append(1e3 * statistics.median(burst.latencies))
    return times


def _ratio(name: str, text: str, mine: Sequence[float], theirs: Sequence[float], bar: float, peer: str) -> Claim:
    ratios = Samples([a / b for a, b in zip(mine, theirs, strict=True)])
    detail: dict[str, Any] = {"ms": statistics.median(mine), "least_ms": min(mine), "peer_least_ms": min(theirs)}
    return Claim(
        id=name,
        text=text,
        value=ratios.median,
        unit="ratio",
        op="<=",
        bar=bar,
        peer=Peer(peer, statistics.median(theirs), versions("onnxruntime")["onnxruntime"]),
        spread=ratios.spread,
        detail=detail,
    )


if __name__ == "__main__":
    groups = {
        "speed": speed,
        "runner": runner,
        "quality": quality,
        "bits": bits,
        "pruning": pruning,
        "fit": fitting,
        "runtimes": runtimes,
    }
    main("models", groups, versions("skerry", "onnxruntime", "torch", "onnx", "numpy"))
