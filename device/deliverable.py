"""The deliverable: one ONNX file from example to scores, the trained part by itself, and its card."""

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

__all__ = ["assemble_model", "write_deliverable"]


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
    return write_deliverable(
        model.SerializeToString(),
        {"head.weight": weight.astype(np.float32)},
        out,
        part="head",
        bits=base.bits,
        input_shape=base.input_shape,
        classes=base.classes,
        base={"digest": base.digest, **{k: base.facts[k] for k in ("architecture", "bits", "weights", "public")}},
        card=card,
    )


def write_deliverable(
    model: bytes,
    tensors: Mapping[str, Float32Array],
    out: Path,
    *,
    part: str,
    bits: int,
    input_shape: tuple[int, int, int],
    classes: tuple[str, ...],
    base: Mapping[str, Any],
    card: Mapping[str, Any],
) -> dict[str, Path]:
    """Write a model that goes to devices, what was trained of it, and its card.

    Args:
        model: the ONNX file, ``image`` in, ``scores`` out.
        tensors: the trained part, by name.
        out: folder to write to.
        part: its file's name without the ending.
        bits: per weight of the model.
        input_shape: channels, height, width.
        classes: names of the scores.
        base: what the card says of the base; with its ``digest``.
        card: what the card says beside (run, accuracy, privacy).
    """
    network = out / f"model.{'int8' if bits == 8 else 'fp32'}.onnx"
    write_atomic(network, model)
    trained = f"{part}.safetensors"
    write_atomic(out / trained, save(dict(tensors), {"base": base["digest"]}))
    facts = {
        "schema": 1,
        "model": network.name,
        "sha256": sha256_hex(model),
        "input": {"name": "image", "shape": ["n", *input_shape]},
        "output": {"name": "scores", "classes": list(classes)},
        "base": dict(base),
        **card,
    }
    write_json(out / "card.json", facts)
    write_atomic(out / "card.md", _markdown(facts).encode())
    return {name: out / name for name in (network.name, trained, "card.json", "card.md")}


def _markdown(facts: Mapping[str, Any]) -> str:
    lines = [f"# {facts['base']['architecture']}, {facts['base']['bits']} bits", ""]
    lines += [f"- **{key}**: {_plain(value)}" for key, value in facts.items() if key != "schema"]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
