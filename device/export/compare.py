"""Whether a file computes what it should: outputs against the reference, whole and operation by operation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from skerry.device.compression.graph import Graph
from skerry.device.compression.quantize import Quantization
from skerry.device.export.reference import apply_quantized
from skerry.errors import RefusedError
from skerry.records import Float32Array

__all__ = ["FLOAT", "INT8", "Agreement", "Tolerance", "check_operations", "compare", "require"]


@dataclass(frozen=True)
class Tolerance:
    """How far outputs may be from the reference.

    Attributes:
        relative: root of the mean squared difference over that of the reference.
        same_class: share of inputs that must get the same class, among those for which the reference is decided: its
            two best scores are further apart than twice the largest difference that ``relative`` allows for one.
    """

    relative: float
    same_class: float


FLOAT = Tolerance(relative=1e-4, same_class=1.0)
"""Float formats differ from torch by the order in which they add."""
INT8 = Tolerance(relative=0.1, same_class=1.0)
"""Measured, EfficientNet-Lite0 on photographs at 96 pixels: onnxruntime 0.03 from the reference, as are two of its own
optimisation levels from each other; quantization itself is 0.03 from float."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        inputs: how many were compared.
        relative: root of the mean squared difference over that of the reference.
        largest: largest absolute difference of one output.
        same_class: share of inputs with the same best output.
        decided: inputs for which the reference is decided, see :class:`Tolerance`.
        decided_same: share of those with the same best output.
    """

    inputs: int
    relative: float
    largest: float
    same_class: float
    decided: int
    decided_same: float


def compare(reference: Float32Array, outputs: Float32Array, tolerance: Tolerance) -> Agreement:
    """Compare outputs ``(n, m)`` with the reference's, of the same shape."""
    size = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    apart = np.abs(outputs.astype(np.float64) - reference)
    same = outputs.argmax(1) == reference.argmax(1)
    best = np.sort(reference, 1)
    margin = best[:, -1] - best[:, -2] if reference.shape[1] > 1 else np.full(len(reference), np.inf)
    decided = margin > 6 * tolerance.relative * size  # three deviations of each of the two
    return Agreement(
        len(reference),
        float(np.sqrt(np.mean(apart**2))) / max(size, 1e-30),
        float(apart.max()),
        float(same.mean()),
        int(decided.sum()),
        float(same[decided].mean()) if decided.any() else 1.0,
    )


def require(agreement: Agreement, tolerance: Tolerance, where: str) -> None:
    """Refuse a file that does not compute what it should.

    Raises:
        RefusedError: ``outputs_differ``.
    """
    # Written so that a NaN refuses too.
    if agreement.relative <= tolerance.relative and agreement.decided_same >= tolerance.same_class:
        return
    raise RefusedError(
        "outputs_differ",
        f"the file's outputs differ from torch's by {agreement.relative:.2g} of their size "
        f"({tolerance.relative:g} is tolerated); {agreement.decided_same:.1%} of {agreement.decided} clear cases get "
        "the same class",
        where=where,
        mend="nothing was written; this is a fault of the exporter or of the runtime: report it with `skerry doctor`",
    )


def check_operations(path: Path, graph: Graph, quantization: Quantization, x: Float32Array) -> int:
    """Check an int8 ONNX file operation by operation, each from the inputs that onnxruntime itself had for it.

    Guarantee: every integer that onnxruntime computes is at most one step from what the reference rounds to, and every
    float within 1e-3 of its tensor's size. An error cannot hide behind what other operations do to it.

    Args:
        path: of the file.
        graph: the network that it should hold.
        quantization: its integers.
        x: a few examples.

    Returns:
        How many operations were checked.

    Raises:
        RefusedError: ``outputs_differ``, naming the operation.
    """
    values = _all_tensors(path, graph, quantization, x)
    for node in graph.nodes:
        inputs = [torch.from_numpy(values[name]) for name in node.inputs]
        with torch.no_grad():
            expected = apply_quantized(node, inputs, quantization)
        scale = quantization.tensors.get(node.name)
        if scale is not None:
            allowed, unit = 1.01 * scale.step, scale.step
            expected = scale.round(expected)
        else:
            allowed, unit = 1e-3 * float(expected.abs().max()) + 1e-6, 1.0
        off = float((expected - torch.from_numpy(values[node.name])).abs().max())
        if not off <= allowed:
            raise RefusedError(
                "outputs_differ",
                f"the operation {node.name} ({node.op}) of the int8 file is {off / unit:.3g} "
                + ("steps" if scale else "")
                + " from what it should be",
                where=path.name,
                mend="nothing was written; this is a fault of the exporter or of the runtime",
            )
    return len(graph.nodes)


def _all_tensors(path: Path, graph: Graph, quantization: Quantization, x: Float32Array) -> dict[str, Float32Array]:
    """Every tensor of the graph as onnxruntime computes it, integers as the numbers they stand for."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    model = onnx.load(str(path))
    kept = {one.name for one in model.graph.output}
    shown: dict[str, str] = {}
    for name in (graph.input, *(node.name for node in graph.nodes)):
        quantized = name in quantization.tensors
        shown[name] = f"{name}.quantized" if quantized else name
        if shown[name] not in kept and (quantized or name != graph.input):
            kind = TensorProto.UINT8 if quantized else TensorProto.FLOAT
            model.graph.output.append(helper.make_tensor_value_info(shown[name], kind, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(names, {graph.input: x}), strict=True))
    values = {}
    for name, tensor in shown.items():
        raw = x if tensor == graph.input else found[tensor]
        scale = quantization.tensors.get(name)
        number = raw if scale is None else np.float32(scale.step) * (raw.astype(np.int32) - scale.zero)
        values[name] = number.astype(np.float32)
    return values
