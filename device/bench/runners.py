"""The runtimes that can be measured, each opened inside the measured process.

``onnxruntime`` is the runtime as its own documentation uses it; ``skerry`` is our runner over it, one picture at a
time; ``torch`` runs a graph file eagerly; ``executorch`` runs a ``.pte`` program by XNNPACK.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["RUNTIMES", "Opened", "UnsuitableError", "open_model"]

Call = Callable[[], object]
Maker = Callable[[int], Call]


class UnsuitableError(Exception):
    """The file cannot be run in this way; says why."""


@dataclass(frozen=True)
class Opened:
    """A model ready to run.

    Attributes:
        import_s: time to import the runtime.
        load_s: time to load the model.
        shape: of one example, ``(channels, height, width)``.
        call: for a number of examples, what runs them once on noise; the input is made beforehand.
    """

    import_s: float
    load_s: float
    shape: tuple[int, ...]
    call: Maker


def open_model(runtime: str, file: Path, threads: int, seed: int) -> Opened:
    """Import the runtime and load the model, timing both.

    Raises:
        UnsuitableError: the runtime cannot run this file.
        ImportError: the runtime is not installed.
    """
    return RUNTIMES[runtime](file, threads, seed)


def _noise(shape: tuple[int, ...], batch: int, seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).standard_normal((batch, *shape), np.float32)


def _example_shape(input_name: str, shape: list[Any]) -> tuple[int, ...]:
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape[1:]):
        raise UnsuitableError(f"the input {input_name!r} has the shape {shape}: all but the first must be fixed")
    return tuple(shape[1:])


def _onnxruntime(file: Path, threads: int, seed: int) -> Opened:
    begin = time.perf_counter()
    import numpy  # noqa: F401, ICN001 (its import is part of the runtime's)
    import onnxruntime

    imported = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    loaded = time.perf_counter()
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        kinds = ", ".join(f"{one.name}: {one.type}" for one in inputs)
        raise UnsuitableError(f"one float32 input is needed, the model has: {kinds}")
    shape = _example_shape(inputs[0].name, inputs[0].shape)
    fixed = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None

    def call(batch: int) -> Call:
        if fixed not in {None, batch}:
            raise UnsuitableError(f"the model takes batches of {fixed} only")
        feed = {inputs[0].name: _noise(shape, batch, seed)}
        return lambda: session.run(None, feed)

    return Opened(imported - begin, loaded - imported, shape, call)


def _skerry(file: Path, threads: int, seed: int) -> Opened:
    if threads != 1:
        raise UnsuitableError("skerry's runner gives each picture one thread")
    begin = time.perf_counter()
    import onnxruntime  # noqa: F401

    from skerry.device.runtime import OnnxModel

    imported = time.perf_counter()
    model = OnnxModel(file)
    loaded = time.perf_counter()

    def call(batch: int) -> Call:
        x = _noise(model.input_shape, batch, seed)
        return lambda: model.run(x)

    return Opened(imported - begin, loaded - imported, model.input_shape, call)


def _torch(file: Path, threads: int, seed: int) -> Opened:
    begin = time.perf_counter()
    import torch

    from skerry.device.compression.graph_file import load_graph
    from skerry.device.compression.graph_module import GraphModule

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    graph = load_graph(file)
    module = GraphModule(graph).eval().requires_grad_(requires_grad=False)
    loaded = time.perf_counter()

    def call(batch: int) -> Call:
        x = torch.from_numpy(_noise(graph.input_shape, batch, seed))

        def once() -> object:
            with torch.inference_mode():
                return module(x)

        return once

    return Opened(imported - begin, loaded - imported, graph.input_shape, call)


def _executorch(file: Path, threads: int, seed: int) -> Opened:
    begin = time.perf_counter()
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)  # noqa: SLF001 (there is no other way; safe before a program is loaded)
    imported = time.perf_counter()
    method = Runtime.get().load_program(file).load_method("forward")
    loaded = time.perf_counter()
    sizes = tuple(method.metadata.input_tensor_meta(0).sizes())

    def call(batch: int) -> Call:
        if batch != sizes[0]:
            raise UnsuitableError(f"the program takes batches of {sizes[0]} only")
        x = torch.from_numpy(_noise(sizes[1:], batch, seed))
        return lambda: method.execute([x])

    return Opened(imported - begin, loaded - imported, sizes[1:], call)


RUNTIMES: dict[str, Callable[[Path, int, int], Opened]] = {
    "onnxruntime": _onnxruntime,
    "torch": _torch,
    "executorch": _executorch,
    "skerry": _skerry,
}
"""By name."""
