"""The deliverable: one ONNX file from picture to scores, the head by itself, and a card that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from skerry.canonical import sha256_hex
from skerry.device.basemodel import BaseModel
from skerry.fsio import write_atomic, write_json
from skerry.records import Float32Array

__all__ = ["assemble_model"]


def assemble_model(base: BaseModel, head: Float32Array, out: Path, card: Mapping[str, Any]) -> dict[str, Path]:
    """Append whitening and head, multiplied into one matrix, to the deployed network.

    Args:
        base: the frozen base.
        head: ``(d,)`` float32, laid out as ``(classes, width)``.
        out: folder to write to.
        card: what the model card says beside the facts of the base (run, accuracy, privacy).

    Returns:
        The files by name: the ONNX model (``image`` in, ``scores`` out), ``head.safetensors``, ``card.json``,
        ``card.md``.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = head.reshape(len(base.classes), base.width).astype(np.float64)
    matrix = base.projection.astype(np.float64) @ weight[:, :-1].T
    offset = weight[:, -1] * base.bias - base.mean.astype(np.float64) @ matrix
    model = onnx.load(str(base.file(base.bits)))
    graph = model.graph
    constants = [
        numpy_helper.from_array(matrix.astype(np.float32), "head.matrix"),
        numpy_helper.from_array(offset.astype(np.float32), "head.offset"),
    ]
    graph.initializer.extend(constants)
    graph.node.append(helper.make_node("Gemm", [graph.output[0].name, "head.matrix", "head.offset"], ["scores"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(base.classes)]))
    onnx.checker.check_model(model, full_check=True)
    network = out / f"model.{'int8' if base.bits == 8 else 'fp32'}.onnx"
    write_atomic(network, model.SerializeToString())
    write_atomic(out / "head.safetensors", save({"head.weight": weight.astype(np.float32)}, {"base": base.digest}))
    facts = {
        "schema": 1,
        "model": network.name,
        "sha256": sha256_hex(network.read_bytes()),
        "input": {"name": "image", "shape": ["n", 3, base.facts["input_size"], base.facts["input_size"]]},
        "output": {"name": "scores", "classes": list(base.classes)},
        "base": {"digest": base.digest, **{k: base.facts[k] for k in ("architecture", "bits", "weights", "public")}},
        **card,
    }
    write_json(out / "card.json", facts)
    write_atomic(out / "card.md", _markdown(facts).encode())
    return {name: out / name for name in (network.name, "head.safetensors", "card.json", "card.md")}


def _markdown(facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts['base']['architecture']}, {facts['base']['bits']} bits", ""]
    lines += [f"- **{key}**: {_plain(value)}" for key, value in facts.items() if key != "schema"]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
